//! Origins (RFC 6454) and whether a request's is let in (RFC 6455 §10.2).

use crate::http1::authority::{default_port, parse_authority};

/// The parts of `scheme://host[:port]`, lower-cased.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    pub(crate) fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = parse_authority(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Origin { scheme, host, port })
    }

    /// Whether this is the origin of a page that the host itself serves. The
    /// scheme is not compared: behind a proxy that ends TLS the server
    /// cannot know it.
    fn is_of(&self, host_header: &str) -> bool {
        let Some((host, port)) = parse_authority(host_header) else {
            return false;
        };
        host == self.host && port.or_else(|| default_port(&self.scheme)) == self.port
    }
}

/// Whether a request with this Origin header, for this Host, is let in.
pub(crate) fn is_allowed(origin: &str, host: &str, allowed: &[String]) -> bool {
    let parsed = Origin::parse(origin);
    if parsed.as_ref().is_some_and(|origin| origin.is_of(host)) {
        return true;
    }
    allowed.iter().any(|entry| match entry.as_str() {
        "*" => true,
        "null" => origin == "null",
        entry => parsed.is_some() && Origin::parse(entry) == parsed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_origin_is_let_in() {
        for (origin, host) in [
            ("http://chat.example", "chat.example"),
            ("http://chat.example", "chat.example:80"),
            ("https://chat.example", "chat.example"),
            ("https://CHAT.example:443", "chat.EXAMPLE"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]"),
        ] {
            assert!(is_allowed(origin, host, &[]), "{origin} for {host}");
        }
    }

    #[test]
    fn a_foreign_origin_is_not() {
        for (origin, host) in [
            ("http://evil.example", "chat.example"),
            ("http://chat.example:81", "chat.example"),
            ("http://chat.example", "chat.example:8080"),
            ("http://chat.example.evil", "chat.example"),
            ("http://evil@chat.example", "chat.example"),
            ("http://chat.example/path", "chat.example"),
            ("null", "chat.example"),
            ("chat.example", "chat.example"),
            ("", "chat.example"),
            ("http://", ""),
        ] {
            assert!(!is_allowed(origin, host, &[]), "{origin} for {host}");
        }
    }

    #[test]
    fn listed_origins_are_compared_whole() {
        let listed = ["https://a.example".to_owned(), "null".to_owned()];
        assert!(is_allowed("https://a.example", "b.example", &listed));
        assert!(is_allowed("https://A.example:443", "b.example", &listed));
        assert!(is_allowed("null", "b.example", &listed));
        assert!(!is_allowed("http://a.example", "b.example", &listed));
        assert!(!is_allowed("https://a.example:8443", "b.example", &listed));
        assert!(is_allowed("gopher", "b.example", &["*".to_owned()]));
    }
}
