//! The little JSON that the binary writes.

use std::fmt::Write;

/// A string of JSON, which is one of YAML, too.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_string_or_a_line_is_escaped() {
        assert_eq!(
            quoted("a\"\\\n\u{85}\u{e9}"),
            "\"a\\\"\\\\\\u000a\\u0085\u{e9}\""
        );
    }
}
