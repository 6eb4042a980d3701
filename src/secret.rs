//! A secret text: compared in constant time, shown nowhere.

use std::fmt;
use std::hint::black_box;

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
