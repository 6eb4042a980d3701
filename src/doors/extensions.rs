//! Agreeing on permessage-deflate (RFC 7692 §7.1).
//!
//! A server agrees without context takeover in either direction, whatever a
//! client offers, so that nothing is kept for a client. A window of any size
//! can be agreed to: see [`Encoding::with_window`]. Where rooms have shared
//! streams, a client with the whole window keeps it, unless it does not want to.

use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_EXTENSIONS, USER_AGENT};

use crate::wire::Encoding;

const NAME: &str = "permessage-deflate";
const SERVER_FORGETS: &str = "server_no_context_takeover";

/// What was agreed with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// `server_max_window_bits`, if the client asks for one.
    window_bits: Option<u8>,
    /// The client keeps its window from one message to the next.
    keeps_window: bool,
}

impl Agreement {
    /// Agrees to the first offer that can be kept. With `shared`, the client may
    /// follow its room's shared stream.
    pub(super) fn find(headers: &HeaderMap, shared: bool) -> Option<Agreement> {
        if is_safari_15(headers) {
            return None;
        }
        let lines = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| split(line, ','))
            .find_map(|offer| Agreement::to(offer, shared))
    }

    /// Agrees to an offer: an extension and its parameters.
    fn to(offer: &str, shared: bool) -> Option<Agreement> {
        let mut parts = split(offer, ';');
        if !parts.next()?.trim().eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut seen = Vec::new();
        let mut window_bits = None;
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim())?)),
                None => (part.trim(), None),
            };
            let name = name.to_ascii_lowercase();
            match (name.as_str(), value) {
                (SERVER_FORGETS | "client_no_context_takeover", None) => {}
                // A hint, or a limit that what inflates does not need.
                ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(value)) => drop(bits(value)?),
                ("server_max_window_bits", Some(value)) => window_bits = Some(bits(value)?),
                _ => return None,
            }
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
        }
        let forgets = seen.iter().any(|name| name == SERVER_FORGETS);
        let is_whole = window_bits.is_none_or(|bits| bits == 15);
        Some(Agreement {
            window_bits,
            keeps_window: shared && is_whole && !forgets,
        })
    }

    pub(super) fn encoding(self) -> Encoding {
        match self.keeps_window {
            true => Encoding::DeflatedShared,
            false => Encoding::with_window(self.window_bits.unwrap_or(15)),
        }
    }

    /// The header of the answer.
    pub(super) fn header(self) -> String {
        let mut line = format!("sec-websocket-extensions: {NAME}");
        if !self.keeps_window {
            line.push_str(&format!("; {SERVER_FORGETS}"));
        }
        line.push_str("; client_no_context_takeover");
        if let Some(bits) = self.window_bits {
            line.push_str(&format!("; server_max_window_bits={bits}"));
        }
        line.push_str("\r\n");
        line
    }
}

/// Safari 15.0 to 15.3 offers the extension, and then keeps its context where
/// the answer says not to: <https://github.com/uNetworking/uWebSockets/issues/1347>.
fn is_safari_15(headers: &HeaderMap) -> bool {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let Some((_, version)) = agent.and_then(|agent| agent.split_once("Version/15.")) else {
        return false;
    };
    let minor = version.split(|c: char| !c.is_ascii_digit()).next();
    version.contains("Safari/") && matches!(minor, Some("0" | "1" | "2" | "3"))
}

/// Splits a header's text where the separator is not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
}

/// A value without its quotes; `None` if they are not a pair.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// A number of window bits, 8 to 15 (RFC 7692 §7.1.2).
fn bits(value: &str) -> Option<u8> {
    let is_plain = !value.starts_with(['0', '+']);
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits));
    bits.filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn agreed(lines: &[&str], agent: &str) -> Option<Agreement> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                SEC_WEBSOCKET_EXTENSIONS,
                HeaderValue::from_str(line).unwrap(),
            );
        }
        headers.insert(USER_AGENT, HeaderValue::from_str(agent).unwrap());
        Agreement::find(&headers, false)
    }

    #[test]
    fn offers_that_can_be_kept_are_agreed_to() {
        for (offer, window_bits) in [
            ("permessage-deflate", None),
            ("Permessage-Deflate ; Client_Max_Window_Bits", None),
            ("permessage-deflate; client_max_window_bits", None),
            ("permessage-deflate; client_max_window_bits=10", None),
            ("permessage-deflate; client_max_window_bits=\"10\"", None),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                None,
            ),
            ("permessage-deflate; server_max_window_bits=15", Some(15)),
            ("permessage-deflate;server_max_window_bits = \"9\"", Some(9)),
            ("permessage-deflate; server_max_window_bits=8", Some(8)),
            // The first that can be kept.
            ("x-webkit-deflate-frame, permessage-deflate", None),
            (
                "permessage-deflate; server_max_window_bits=7, \
                 permessage-deflate; server_max_window_bits=12, permessage-deflate",
                Some(12),
            ),
            (
                "other; text=\"a, permessage-deflate; b\", permessage-deflate",
                None,
            ),
        ] {
            assert_eq!(
                agreed(&[offer], ""),
                Some(Agreement {
                    window_bits,
                    keeps_window: false
                }),
                "{offer}"
            );
        }
        let lines = ["other", "permessage-deflate; server_max_window_bits=10"];
        assert_eq!(agreed(&lines, "").unwrap().window_bits, Some(10));
    }

    #[test]
    fn offers_that_cannot_be_kept_are_declined() {
        for offer in [
            "",
            "other",
            "x-webkit-deflate-frame",
            "permessage-deflate2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=-9",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-deflate;",
            "other; text=\"permessage-deflate, permessage-deflate\"",
        ] {
            assert_eq!(agreed(&[offer], ""), None, "{offer}");
        }
    }

    #[test]
    fn the_safari_that_keeps_its_context_gets_none() {
        let agent = |version: &str| {
            format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) Version/{version} Safari/605.1.15"
            )
        };
        for (version, declined) in [
            ("15.0", true),
            ("15.3", true),
            ("15.3.1", true),
            ("15.4", false),
            ("15.10", false),
            ("14.1", false),
            ("17.0", false),
        ] {
            let agreed = agreed(&["permessage-deflate"], &agent(version));
            assert_eq!(agreed.is_none(), declined, "{version}");
        }
    }

    #[test]
    fn the_answer_says_what_was_agreed() {
        let header = |offer, shared| Agreement::to(offer, shared).unwrap().header();
        let forgets = "sec-websocket-extensions: permessage-deflate; \
                       server_no_context_takeover; client_no_context_takeover\r\n";
        assert_eq!(header(NAME, false), forgets);
        let small = "permessage-deflate; server_max_window_bits=9";
        assert!(header(small, false).ends_with("takeover; server_max_window_bits=9\r\n"));
        let keeps = "sec-websocket-extensions: permessage-deflate; client_no_context_takeover";
        assert_eq!(header(NAME, true), format!("{keeps}\r\n"));
        let whole = "permessage-deflate; server_max_window_bits=15";
        let expected = format!("{keeps}; server_max_window_bits=15\r\n");
        assert_eq!(header(whole, true), expected);
    }

    #[test]
    fn only_a_client_that_keeps_the_whole_window_follows_a_shared_stream() {
        for (offer, encoding) in [
            ("permessage-deflate", Encoding::DeflatedShared),
            (
                "permessage-deflate; client_max_window_bits; server_max_window_bits=15",
                Encoding::DeflatedShared,
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                Encoding::DeflatedShared,
            ),
            (
                "permessage-deflate; server_no_context_takeover",
                Encoding::Deflated,
            ),
            (
                "permessage-deflate; Server_No_Context_Takeover",
                Encoding::Deflated,
            ),
            (
                "permessage-deflate; server_max_window_bits=14",
                Encoding::Deflated4KiB,
            ),
            (
                "permessage-deflate; server_max_window_bits=8",
                Encoding::Deflated256,
            ),
        ] {
            let agreed = |shared| Agreement::to(offer, shared).unwrap().encoding();
            assert_eq!(agreed(true), encoding, "{offer}");
            assert_ne!(agreed(false), Encoding::DeflatedShared, "{offer}");
        }
    }
}
