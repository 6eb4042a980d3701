//! Messages: text or binary.

/// One message, as a client or your program sends it.
///
/// A message is whole: fragments are joined before your program sees a message,
/// and no two messages are ever merged. Methods that take a message also take
/// `&str` and `String`, as text, and `&[u8]` and `Vec<u8>`, as binary.
///
/// ```
/// use hubcast::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message.as_bytes(), b"hello");
/// assert!(Message::from(vec![0, 1]).as_text().is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text, valid UTF-8 (RFC 6455 §5.6).
    Text(String),
    /// Any bytes (RFC 6455 §5.6).
    Binary(Vec<u8>),
}

impl Message {
    /// The text, or `None` for a binary message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The payload, whichever kind it is.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The message of a payload that was encoded here, so that a text is
    /// UTF-8.
    pub(crate) fn of_payload(is_text: bool, payload: &[u8]) -> Message {
        match String::from_utf8(payload.to_vec()) {
            Ok(text) if is_text => Message::Text(text),
            Ok(text) => Message::Binary(text.into_bytes()),
            Err(error) => Message::Binary(error.into_bytes()),
        }
    }

    /// The message as one line without its end, escaped so that it can neither
    /// steer a terminal nor reorder its text. Of bytes it says how many they are.
    ///
    /// ```
    /// use hubcast::Message;
    ///
    /// assert_eq!(Message::from("two\nlines").to_line(), r"two\nlines");
    /// assert_eq!(Message::from(vec![0, 1]).to_line(), "[binary, 2 bytes]");
    /// ```
    pub fn to_line(&self) -> String {
        let mut line = String::with_capacity(self.len() + 1);
        append_line(&mut line, self.as_text().ok_or(self.len()));
        line
    }

    /// The payload's length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Appends a text as one line, or that it is this many bytes.
pub(crate) fn append_line(out: &mut String, text: Result<&str, usize>) {
    let text = match text {
        Ok(text) => text.strip_suffix('\n').unwrap_or(text),
        Err(bytes) => return out.push_str(&format!("[binary, {bytes} bytes]")),
    };
    for c in text.chars() {
        if is_shown_as_is(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
}

/// Whether a terminal shows this character by itself, or as a mark on the one
/// before it.
fn is_shown_as_is(c: char) -> bool {
    if c.is_ascii() {
        return c == '\t' || !c.is_control();
    }
    // After another character, a combining mark is not escaped.
    let mut pair = String::from("a");
    pair.push(c);
    pair.escape_debug().nth(1) == Some(c)
}

/// Shows the kind, the length and the beginning of a text, because payloads can
/// be long, and may be private.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Message::Text(text) => match text.char_indices().nth(40) {
                Some((end, _)) => write!(f, "Text({:?}…, {} bytes)", &text[..end], text.len()),
                None => write!(f, "Text({text:?})"),
            },
            Message::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Message {
        Message::Binary(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Message {
        Message::Binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_long_payload() {
        let long = Message::from("é".repeat(1000));
        let shown = format!("{long:?}");
        assert!(shown.len() < 200, "{shown}");
        assert!(shown.ends_with("2000 bytes)"), "{shown}");
        assert_eq!(
            format!("{:?}", Message::from(vec![0; 9])),
            "Binary(9 bytes)"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_or_reorder_is_escaped() {
        let message = Message::from("a\tb\u{1b}[2J\nc\n");
        assert_eq!(message.to_line(), "a\tb\\u{1b}[2J\\nc");
        assert_eq!(Message::from(vec![1, 2]).to_line(), "[binary, 2 bytes]");
        for reordering in ['\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}', '\u{e0041}'] {
            let message = Message::from(format!("a{reordering}b"));
            let code = u32::from(reordering);
            assert_eq!(message.to_line(), format!("a\\u{{{code:x}}}b"));
        }
        for shown in [
            "\"quoted\" \\ 'as is'",
            "e\u{301} \u{1f389} \u{65e5}\u{672c}",
        ] {
            assert_eq!(Message::from(shown).to_line(), shown);
        }
    }
}
