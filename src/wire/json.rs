//! The little JSON (RFC 8259) that the server writes.

use std::fmt::{Display, Write};

use crate::names::ClientId;

/// Appends a string, quoted and escaped.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Escaped although JSON does not ask for it, so that the text is
            // harmless inside a page too.
            c if c.is_control() || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends `items`, comma-separated and bracketed, each written by `item`.
pub(crate) fn array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (i, value) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        item(out, value);
    }
    out.push(']');
}

/// Appends an object, whose members `members` writes.
pub(crate) fn object(out: &mut String, members: impl FnOnce(&mut Object)) {
    out.push('{');
    members(&mut Object {
        out,
        is_begun: false,
    });
    out.push('}');
}

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    is_begun: bool,
}

impl Object<'_> {
    /// The member `id`: a number, or text where it names a node as well.
    pub(crate) fn id(&mut self, id: ClientId) -> &mut Self {
        match id.tag() {
            None => self.plain("id", id),
            Some(_) => self.string("id", &id.to_string()),
        }
    }

    /// A member whose value is written as displayed: a number, `true` or
    /// `null`.
    pub(crate) fn plain(&mut self, name: &str, value: impl Display) -> &mut Self {
        let _ = write!(self.member(name), "{value}");
        self
    }

    pub(crate) fn string(&mut self, name: &str, text: &str) -> &mut Self {
        string(self.member(name), text);
        self
    }

    /// A member whose value is an array; see [`array`](fn@array).
    pub(crate) fn array<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        item: impl FnMut(&mut String, T),
    ) -> &mut Self {
        array(self.member(name), items, item);
        self
    }

    /// Begins a member. The value must be appended to the returned string.
    fn member(&mut self, name: &str) -> &mut String {
        if self.is_begun {
            self.out.push(',');
        }
        self.is_begun = true;
        string(self.out, name);
        self.out.push(':');
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        string(&mut out, "a\"b\\c\n</script>é\u{7f}");
        assert_eq!(out, r#""a\"b\\c\u000a\u003c/script\u003eé\u007f""#);
    }

    #[test]
    fn arrays_have_commas_between() {
        let mut out = String::new();
        array(&mut out, [1, 2], |out, n| out.push_str(&n.to_string()));
        array(&mut out, [""; 0], string);
        assert_eq!(out, "[1,2][]");
    }

    #[test]
    fn objects_have_named_members() {
        let mut out = String::new();
        object(&mut out, |object| {
            object.plain("n", 1).string("\"", "x").plain("none", "null");
            object.array("list", ["a"], string);
        });
        object(&mut out, |_| {});
        assert_eq!(out, r#"{"n":1,"\"":"x","none":null,"list":["a"]}{}"#);
    }
}
