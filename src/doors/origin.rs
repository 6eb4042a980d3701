//! Origins (RFC 6454), and which are let in (RFC 6455 §10.2).

use std::net::Ipv6Addr;

use http::header::{HeaderMap, HeaderValue, ORIGIN, REFERER};
use http::{Request, StatusCode};

use crate::error::Error;
use crate::http1::Answer;
use crate::http1::authority::{default_port, parse_authority};
use crate::http1::{single, the_host};

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
        // RFC 3986 §3.1; extensions of browsers have schemes with a hyphen.
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_part) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = parse_authority(authority)?;
        let host = one_spelling(host)?;
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

/// A host in the form in which all are compared: an IPv6 address is in its
/// short form.
fn one_spelling(host: String) -> Option<String> {
    let Some(bracketed) = host.strip_prefix('[') else {
        return Some(host);
    };
    let address: Ipv6Addr = bracketed.strip_suffix(']')?.parse().ok()?;
    Some(format!("[{address}]"))
}

/// An entry of [`Config::allow_origin`](crate::Config::allow_origin).
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Any,
    Null,
    One(Origin),
    /// All origins whose host has one more label in front of this one.
    Below(Origin),
}

impl Entry {
    /// # Errors
    ///
    /// Why no Origin header can match this.
    fn parse(text: &str) -> Result<Entry, &'static str> {
        let entry = match text {
            "*" => return Ok(Entry::Any),
            "null" => return Ok(Entry::Null),
            text => match text.split_once("://*.") {
                Some((scheme, host)) => {
                    Origin::parse(&format!("{scheme}://{host}")).map(Entry::Below)
                }
                None => Origin::parse(text).map(Entry::One),
            },
        };
        let Some(entry) = entry else {
            return Err("is not scheme://host[:port], scheme://*.host[:port], null or *");
        };
        let (Entry::One(origin) | Entry::Below(origin)) = &entry else {
            return Ok(entry);
        };
        if matches!(origin.scheme.as_str(), "ws" | "wss") {
            return Err("never comes: a page has the scheme http or https");
        }
        if origin.host.contains('*') {
            return Err("has a * that is not its whole first label, as in https://*.example.com");
        }
        if matches!(entry, Entry::Below(_)) && origin.host.starts_with('[') {
            return Err("has a * before an address, which has no labels");
        }
        Ok(entry)
    }

    fn matches(&self, origin: &str, parsed: Option<&Origin>) -> bool {
        match (self, parsed) {
            (Entry::Any, _) => true,
            (Entry::Null, _) => origin == "null",
            (Entry::One(listed), Some(origin)) => listed == origin,
            (Entry::Below(listed), Some(origin)) => {
                let above = origin.host.split_once('.');
                let is_below =
                    above.is_some_and(|(label, host)| !label.is_empty() && host == listed.host);
                is_below && origin.scheme == listed.scheme && origin.port == listed.port
            }
            (_, None) => false,
        }
    }
}

/// The origins that are let in beside the server's own, as
/// [`Config::allow_origin`](crate::Config::allow_origin) lists them.
#[derive(Debug)]
pub(super) struct Origins(Vec<Entry>);

impl Origins {
    /// # Errors
    ///
    /// An entry that no Origin header can match; the text names it.
    pub(super) fn parse(entries: &[String]) -> Result<Origins, Error> {
        let parse = |text: &String| {
            Entry::parse(text).map_err(|why| Error::config(format!("allow-origin {text:?} {why}")))
        };
        entries
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Origins)
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

    /// Refuses requests of pages that this host does not serve, whatever is
    /// listed.
    pub(super) fn check_own(request: &Request<()>) -> Result<(), Answer> {
        let checked = Origins(Vec::new()).check(request);
        checked.map_err(|answer| match answer.status {
            StatusCode::FORBIDDEN => Answer::text(
                StatusCode::FORBIDDEN,
                "pages of other Origins are never answered here, whatever --allow-origin lists",
            ),
            _ => answer,
        })
    }

    /// Refuses requests that come from a page of another site by a browser
    /// that says neither Origin nor Fetch Metadata, as over plain HTTP: the
    /// Referer tells.
    pub(super) fn check_referer(&self, request: &Request<()>) -> Result<(), Answer> {
        let headers = request.headers();
        let referer = headers.get(REFERER).and_then(|value| value.to_str().ok());
        let Some(referer) = referer.filter(|_| !headers.contains_key(ORIGIN)) else {
            return Ok(());
        };
        let host = the_host(request)?;
        let Some((scheme, rest)) = referer.split_once("://") else {
            return Ok(());
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        match self.let_in(&format!("{scheme}://{authority}"), host) {
            true => Ok(()),
            false => Err(foreign()),
        }
    }

    /// The Origin of a request, if it is let in.
    pub(super) fn allowed<'a>(&self, request: &'a Request<()>) -> Option<&'a HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        self.check(request).is_ok().then_some(origin)
    }

    /// Whether a request with this Origin header, for this Host, is let in.
    fn let_in(&self, origin: &str, host: &str) -> bool {
        let parsed = Origin::parse(origin);
        let is_own = parsed.as_ref().is_some_and(|origin| origin.is_of(host));
        is_own
            || self
                .0
                .iter()
                .any(|entry| entry.matches(origin, parsed.as_ref()))
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
    fn an_entry_that_can_never_match_is_refused_with_what_is_possible() {
        let possible = "is not scheme://host[:port], scheme://*.host[:port], null or *";
        for (entry, why) in [
            ("example.org", possible),
            ("https://a.example/", possible),
            ("https://a.example/path", possible),
            ("https://a.example?x", possible),
            ("https://user@a.example", possible),
            ("https://a.example:", possible),
            ("https://*", "has a * that is not its whole first label"),
            ("https://a.*.example", "has a * that is not"),
            ("https://*.*.example", "has a * that is not"),
            ("https://*a.example", "has a * that is not"),
            ("https://*.[::1]", "has a * before an address"),
            (
                "wss://a.example",
                "never comes: a page has the scheme http or https",
            ),
            ("https://b\u{fc}cher.example", possible),
            ("1a://b", possible),
            ("https://[::g]", possible),
            (" https://a.example", possible),
            ("Null", possible),
            ("", possible),
        ] {
            let error = Origins::parse(&[entry.to_owned()]).unwrap_err();
            let line = format!("allow-origin {entry:?} {why}");
            assert!(error.to_string().starts_with(&line), "{error}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let listed = ["https://*.example.com".to_owned()];
        for origin in ["https://a.example.com", "https://A-1.EXAMPLE.com:443"] {
            assert!(is_allowed(origin, "chat", &listed), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://a.b.example.com",
            "https://evil-example.com",
            "https://aexample.com",
            "https://a.example.com.evil.example",
            "https://a.example.com:8443",
            "http://a.example.com",
            "null",
        ] {
            assert!(!is_allowed(origin, "chat", &listed), "{origin}");
        }
        let with_port = ["http://*.localhost:5173".to_owned()];
        assert!(is_allowed("http://app.localhost:5173", "chat", &with_port));
        assert!(!is_allowed("http://app.localhost", "chat", &with_port));
    }

    #[test]
    fn origins_of_extensions_and_addresses_are_compared_in_one_spelling() {
        let listed = ["chrome-extension://abc", "http://[0:0::1]:8080"].map(str::to_owned);
        assert!(is_allowed("chrome-extension://abc", "chat", &listed));
        assert!(is_allowed("http://[::1]:8080", "chat", &listed));
        assert!(!is_allowed("moz-extension://abc", "chat", &listed));
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
