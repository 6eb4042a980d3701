//! The little JSON (RFC 8259) that the server writes.

use std::fmt::Write;

/// Appends a string, quoted and escaped.
pub(super) fn string(out: &mut String, text: &str) {
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
pub(super) fn array<T>(
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
}
