//! A strict reading of JSON (RFC 8259).

use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Json {
        let mut parser = Parser(text.chars().peekable());
        let value = parser.value();
        parser.skip_space();
        assert_eq!(parser.0.next(), None, "behind the value: {text:?}");
        value
    }

    /// The member of this name.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &Json {
        let Json::Object(members) = self else {
            panic!("not an object: {self:?}");
        };
        let mut values = members.iter().filter(|(n, _)| n == name);
        let (_, value) = values
            .next()
            .unwrap_or_else(|| panic!("no {name}: {self:?}"));
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        value
    }

    #[track_caller]
    pub(crate) fn items(&self) -> &[Json] {
        match self {
            Json::Array(items) => items,
            _ => panic!("not an array: {self:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn number(&self) -> f64 {
        match self {
            Json::Number(number) => *number,
            _ => panic!("not a number: {self:?}"),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::String(text.to_owned())
    }
}

struct Parser<'a>(Peekable<Chars<'a>>);

impl Parser<'_> {
    fn skip_space(&mut self) {
        while self.0.next_if(|c| " \t\r\n".contains(*c)).is_some() {}
    }

    /// Whether this comes next, space aside; then it is taken.
    fn comes(&mut self, c: char) -> bool {
        self.skip_space();
        self.0.next_if_eq(&c).is_some()
    }

    fn expect(&mut self, text: &str) {
        for c in text.chars() {
            assert_eq!(self.0.next(), Some(c));
        }
    }

    fn value(&mut self) -> Json {
        self.skip_space();
        match self.0.peek().expect("a value") {
            'n' => {
                self.expect("null");
                Json::Null
            }
            't' => {
                self.expect("true");
                Json::Bool(true)
            }
            'f' => {
                self.expect("false");
                Json::Bool(false)
            }
            '"' => Json::String(self.string()),
            '[' => Json::Array(self.list('[', ']', Parser::value)),
            '{' => Json::Object(self.list('{', '}', |parser| {
                parser.skip_space();
                let name = parser.string();
                assert!(parser.comes(':'), "a colon");
                (name, parser.value())
            })),
            _ => self.number(),
        }
    }

    fn list<T>(&mut self, open: char, close: char, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        assert!(self.comes(open));
        if self.comes(close) {
            return items;
        }
        loop {
            items.push(item(self));
            if self.comes(close) {
                return items;
            }
            assert!(self.comes(','), "a comma");
        }
    }

    fn string(&mut self) -> String {
        let mut text = String::new();
        self.expect("\"");
        loop {
            match self.0.next().expect("the end of a string") {
                '"' => return text,
                '\\' => text.push(self.escaped()),
                c => {
                    assert!(c >= ' ', "a bare control character");
                    text.push(c);
                }
            }
        }
    }

    fn escaped(&mut self) -> char {
        match self.0.next().unwrap() {
            c @ ('"' | '\\' | '/') => c,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let digits: String = (0..4).map(|_| self.0.next().unwrap()).collect();
                let code = u32::from_str_radix(&digits, 16).unwrap();
                char::from_u32(code).expect("no half of a pair is written here")
            }
            c => panic!("an unknown escape: {c:?}"),
        }
    }

    fn number(&mut self) -> Json {
        let mut text = String::new();
        while let Some(c) = self.0.next_if(|c| "+-.eE0123456789".contains(*c)) {
            text.push(c);
        }
        let digits = text.trim_start_matches('-');
        let is_whole = digits == "0" || !digits.starts_with('0') || digits.starts_with("0.");
        assert!(is_whole && !digits.starts_with(['.', '+']), "{text}");
        Json::Number(text.parse().expect(&text))
    }
}
