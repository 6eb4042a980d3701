//! Origins (RFC 6454), and which are let in (RFC 6455 §10.2).

use http::header::{HeaderMap, HeaderValue, ORIGIN};
use http::{Request, StatusCode};

use crate::error::Error;
use crate::http1::answer::Answer;
use crate::http1::authority::{default_port, parse_authority};
use crate::http1::request::{single, the_host};

/// The parts of `scheme://host[:port]`, lower-cased.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
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

/// The origins that are let in beside the server's own, as
/// [`Config::allow_origin`](crate::Config::allow_origin) lists them.
#[derive(Debug)]
pub(super) struct Origins {
    any: bool,
    null: bool,
    listed: Vec<Origin>,
}

impl Origins {
    /// # Errors
    ///
    /// An entry is neither an origin nor `null` nor `*`; the text has it.
    pub(super) fn parse(entries: &[String]) -> Result<Origins, Error> {
        let mut origins = Origins {
            any: false,
            null: false,
            listed: Vec::new(),
        };
        for entry in entries {
            match entry.as_str() {
                "*" => origins.any = true,
                "null" => origins.null = true,
                text => origins.listed.push(Origin::parse(text).ok_or_else(|| {
                    let line = "is not scheme://host[:port], null or *";
                    Error::config(format!("allow-origin {text:?} {line}"))
                })?),
            }
        }
        Ok(origins)
    }

    /// Refuses requests that a browser sends for a page of another site (RFC
    /// 6455 §10.2).
    pub(super) fn check(&self, request: &Request<()>) -> Result<(), Answer> {
        let headers = request.headers();
        let host = the_host(request)?;
        let Some(origin) = single(headers, ORIGIN)? else {
            // Either no browser sent this, or it is a plain GET. Of a GET the
            // browser says whether it is for another site's page (Fetch
            // Metadata).
            return match headers.get("sec-fetch-site") {
                Some(site) if site == "cross-site" && !is_navigation(headers) => Err(foreign()),
                _ => Ok(()),
            };
        };
        if self.let_in(origin.to_str().unwrap_or_default(), host) {
            return Ok(());
        }
        Err(foreign())
    }

    /// The Origin of a request, if it is let in.
    pub(super) fn allowed<'a>(&self, request: &'a Request<()>) -> Option<&'a HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        self.check(request).is_ok().then_some(origin)
    }

    /// Whether a request with this Origin header, for this Host, is let in.
    fn let_in(&self, origin: &str, host: &str) -> bool {
        if self.any || (self.null && origin == "null") {
            return true;
        }
        let parsed = Origin::parse(origin);
        parsed.is_some_and(|origin| origin.is_of(host) || self.listed.contains(&origin))
    }
}

/// Whether somebody follows a link, which is allowed from another site.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-mode")
        .is_some_and(|mode| mode == "navigate")
}

fn foreign() -> Answer {
    Answer::text(
        StatusCode::FORBIDDEN,
        "this Origin is not allowed here; the server's operator can allow it with --allow-origin",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(origin: &str, host: &str, listed: &[String]) -> bool {
        Origins::parse(listed).unwrap().let_in(origin, host)
    }

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
    fn an_entry_that_is_no_origin_is_named() {
        let error = Origins::parse(&["example.org".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "allow-origin \"example.org\" is not scheme://host[:port], null or *"
        );
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
