//! Whose request a proxy passes on: `Forwarded` (RFC 7239) and
//! `X-Forwarded-For`, believed of trusted proxies alone.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName};

use crate::error::Error;
use crate::http1::Answer;
use crate::names::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed, as
/// [`Config::trust_proxy`](crate::Config::trust_proxy) lists them.
#[derive(Debug)]
pub(crate) struct Proxies(Vec<Proxy>);

#[derive(Debug, PartialEq, Eq)]
enum Proxy {
    /// Whoever connects by a Unix socket.
    Unix,
    /// The addresses that share their first bits with this one.
    Network(IpAddr, u32),
}

impl Proxy {
    fn parse(text: &str) -> Option<Proxy> {
        if text == "unix" {
            return Some(Proxy::Unix);
        }
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let (value, width) = number(ip);
        let bits = bits.unwrap_or(width);
        // An address with bits behind the network's is a slip.
        let is_network = bits <= width && value & !mask(bits, width) == 0;
        is_network.then_some(Proxy::Network(ip, bits))
    }

    fn is(&self, peer: Peer) -> bool {
        match (self, peer.ip()) {
            (Proxy::Unix, _) => peer == Peer::Unix,
            (Proxy::Network(network, bits), Some(ip)) => {
                let (network, width) = number(*network);
                let (ip, ip_width) = number(ip.to_canonical());
                width == ip_width && (network ^ ip) & mask(*bits, width) == 0
            }
            (Proxy::Network(..), None) => false,
        }
    }
}

/// An address as a number, and its width in bits.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    }
}

/// The first bits of a number of this width.
fn mask(bits: u32, width: u32) -> u128 {
    let behind = width - bits;
    (u128::MAX.checked_shl(behind).unwrap_or(0)) & (u128::MAX >> (128 - width))
}

impl Proxies {
    /// # Errors
    ///
    /// An entry that is neither a network nor `unix`; the text has it.
    pub(super) fn parse(entries: &[String]) -> Result<Proxies, Error> {
        let parse = |text: &String| {
            Proxy::parse(text).ok_or_else(|| {
                Error::config(format!(
                    "trust-proxy {text:?} must be an address, a network such as 10.0.0.0/8 \
                     or fd00::/8, or the word unix"
                ))
            })
        };
        let parsed = entries.iter().map(parse);
        parsed.collect::<Result<_, _>>().map(Proxies)
    }

    /// Whether nobody is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn trust(&self, peer: Peer) -> bool {
        self.0.iter().any(|proxy| proxy.is(peer))
    }

    /// Whose request this is: of the hops that the headers list, the last one
    /// that is no trusted proxy.
    ///
    /// # Errors
    ///
    /// Both headers are there and disagree, so that one of them is the client's
    /// own.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> Result<Peer, Answer> {
        if !self.trust(peer) {
            return Ok(peer);
        }
        let standard = self.walk(peer, elements(headers, &FORWARDED), hop_of_element);
        let common = self.walk(peer, elements(headers, &X_FORWARDED_FOR), address_of);
        match (standard, common) {
            (Some(a), Some(b)) if a != b => Err(Answer::bad_request(
                "the headers Forwarded and X-Forwarded-For name different clients; \
                 the proxy must remove the one that it does not write",
            )),
            (a, b) => Ok(a.or(b).unwrap_or(peer)),
        }
    }

    /// Goes from hop to hop, from the last to the first, for as long as each is
    /// trusted and says who was before it. `None`: there is no hop.
    fn walk<'a>(
        &self,
        peer: Peer,
        hops: Vec<&'a str>,
        address: fn(&'a str) -> Option<IpAddr>,
    ) -> Option<Peer> {
        if hops.is_empty() {
            return None;
        }
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            match address(hop) {
                Some(ip) if self.trust(client) => client = Peer::Forwarded(ip),
                _ => break,
            }
        }
        Some(client)
    }
}

/// The elements of a header that is a list, over all of its lines. A line that
/// is no text is an element that names nobody.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.map(|line| line.to_str().unwrap_or("?"));
    lines
        .flat_map(|line| split_outside_quotes(line, ','))
        .collect()
}

fn split_outside_quotes(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == at && !is_quoted
    })
    .map(str::trim)
}

/// The `for` of an element of `Forwarded` (RFC 7239 §4).
fn hop_of_element(element: &str) -> Option<IpAddr> {
    let mut pairs = split_outside_quotes(element, ';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    let quoted = node.strip_prefix('"').and_then(|n| n.strip_suffix('"'));
    address_of(quoted.unwrap_or(node))
}

/// An address with or without a port, and with or without brackets.
fn address_of(node: &str) -> Option<IpAddr> {
    let ip = match node.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => {
            let bracketed = node.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
            match bracketed {
                Some(ip) => ip.parse().ok()?,
                None => node.parse::<SocketAddr>().ok()?.ip(),
            }
        }
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        match text.parse::<SocketAddr>() {
            Ok(address) => address.into(),
            Err(_) => Peer::Forwarded(text.parse().unwrap()),
        }
    }

    fn trusted(entries: &[&str]) -> Proxies {
        let entries: Vec<String> = entries.iter().map(|&text| text.to_owned()).collect();
        Proxies::parse(&entries).unwrap()
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parsed = lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        parsed.collect()
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let proxies = trusted(&["127.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]);
        let proxy = peer("127.0.0.1:9");
        for (list, client) in [
            ("192.0.2.7", "192.0.2.7"),
            ("1.1.1.1, 192.0.2.7", "192.0.2.7"),
            ("127.0.0.1, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7, 10.1.255.1", "192.0.2.7"),
            ("192.0.2.7, 2001:db8::5,10.1.0.1", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("[2001:db9::1]:4711", "2001:db9::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            // All of them are trusted: the first.
            ("10.1.0.2, 10.1.0.1", "10.1.0.2"),
            // Beyond a hop that names nobody, nothing is known.
            ("192.0.2.7, unknown, 10.1.0.1", "10.1.0.1"),
        ] {
            let found = proxies.client(proxy, &headers(&[("x-forwarded-for", list)]));
            assert_eq!(found.unwrap(), peer(client), "{list}");
        }
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        // HeaderMap's collect keeps the last of a name; append keeps both.
        let mut both = HeaderMap::new();
        for (name, value) in lines {
            both.append(name, value.parse().unwrap());
        }
        assert_eq!(proxies.client(proxy, &both).unwrap(), peer("192.0.2.7"));
        for nobody in ["unknown", "", "192.0.2", "_hidden", "192.0.2.7 x"] {
            let found = proxies.client(proxy, &headers(&[("x-forwarded-for", nobody)]));
            assert_eq!(found.unwrap(), proxy, "{nobody}");
        }
        assert_eq!(proxies.client(proxy, &HeaderMap::new()).unwrap(), proxy);
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let proxies = trusted(&["unix"]);
        for (list, client) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            (
                "by=\"a;for=1.1.1.1,\" ; for = \"192.0.2.60:80\"",
                "192.0.2.60",
            ),
            ("for=1.1.1.1, for=198.51.100.17", "198.51.100.17"),
        ] {
            let found = proxies.client(Peer::Unix, &headers(&[("forwarded", list)]));
            assert_eq!(found.unwrap(), peer(client), "{list}");
        }
        for nobody in ["for=unknown", "for=_x", "proto=http", "\"", "for=\"1.1.1.1"] {
            let found = proxies.client(Peer::Unix, &headers(&[("forwarded", nobody)]));
            assert_eq!(found.unwrap(), Peer::Unix, "{nobody}");
        }
    }

    #[test]
    fn others_are_not_believed_and_two_headers_must_agree() {
        let proxies = trusted(&["127.0.0.1"]);
        let forged = headers(&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")]);
        for stranger in [peer("127.0.0.2:9"), peer("[::1]:9"), Peer::Unix] {
            assert_eq!(proxies.client(stranger, &forged).unwrap(), stranger);
        }
        let proxy = peer("127.0.0.1:9");
        assert!(proxies.client(proxy, &forged).is_err());
        let agreed = headers(&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")]);
        assert_eq!(proxies.client(proxy, &agreed).unwrap(), peer("1.1.1.1"));
    }

    #[test]
    fn an_entry_that_is_no_network_is_named() {
        for entry in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "fd00::/129",
            "localhost",
            "10.0.0.0/",
        ] {
            let error = Proxies::parse(&[entry.to_owned()]).unwrap_err();
            let line = format!("trust-proxy {entry:?} must be an address");
            assert!(error.to_string().starts_with(&line), "{error}");
        }
        let all = trusted(&["0.0.0.0/0", "::/0"]);
        assert!(all.trust(peer("1.2.3.4:5")) && all.trust(peer("[::1]:5")));
    }
}
