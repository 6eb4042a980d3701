//! A secret text: compared in constant time, shown nowhere.

use std::fmt;
use std::hint::black_box;

/// The longest token: in base64 it fits into the head of a request.
const MAX_LEN: usize = 4096;

/// A shorter token is remarked on.
const SHORT: usize = 8;

/// A secret text, such as a token. It is compared in a time that does not
/// depend on where it differs, and shown nowhere. Made from a `&str` or a
/// `String`. It cannot be read back; [`is`](Secret::is) is the only comparison.
///
/// ```
/// use hubcast::Secret;
///
/// let secret = Secret::from("open sesame");
/// assert!(secret.is("open sesame") && !secret.is("open says me"));
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Whether this is the secret.
    pub fn is(&self, candidate: &str) -> bool {
        let (secret, candidate) = (self.0.as_bytes(), candidate.as_bytes());
        let mut difference = u8::from(secret.len() != candidate.len());
        for (i, byte) in candidate.iter().enumerate() {
            difference |= byte ^ secret.get(i).copied().unwrap_or(!byte);
        }
        black_box(difference) == 0
    }

    /// Whether all values of this length can be tried.
    pub(crate) fn is_short(&self) -> bool {
        self.0.len() < SHORT
    }

    /// Whether another is the same secret.
    pub fn same(&self, other: &Secret) -> bool {
        self.is(&other.0)
    }

    /// The text, for whoever it is a secret with.
    #[cfg(feature = "redis")]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Why no client can bring this as a token, if so: what it must be instead.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        let text = self.0.as_str();
        if text.is_empty() {
            Some("not be empty")
        } else if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
            Some("not begin or end with a blank: no header can bring that")
        } else if text.contains('\u{feff}') {
            Some("hold no byte-order mark: nobody can type that")
        } else if text.contains(char::is_control) {
            Some("hold no control character, such as a line end: no header can bring that")
        } else if text.len() > MAX_LEN {
            Some("be at most 4096 bytes long, to fit into a request")
        } else {
            None
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_no_client_can_bring_have_a_flaw() {
        let long = "x".repeat(MAX_LEN);
        for good in ["s3cret", "open sesame", "ü", long.as_str()] {
            assert_eq!(Secret::from(good).flaw(), None, "{good:?}");
        }
        let longer = long.clone() + "x";
        for bad in [
            "",
            " ",
            "a ",
            "\u{a0}a",
            "a\tb",
            "a\n",
            "\0",
            "\u{7f}",
            "\u{feff}a",
            &longer,
        ] {
            assert!(Secret::from(bad).flaw().is_some(), "{bad:?}");
        }
    }
}
