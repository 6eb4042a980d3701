//! The header by which a proxy says whose connection it passes on: HAProxy's
//! PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::stop::{Stop, Wake};
use super::stream::Stream;

/// What a header of version 2 begins with, and what follows that: version and
/// command, family, and a length of two bytes.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// The longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// The most that may follow the fixed part: addresses, and what proxies say
/// beside them, which is skipped.
const MAX_REST: usize = 2048;

/// What the bytes so far come to.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// The header is not whole before it has this length.
    Needs(usize),
    /// The client's address; `None` where the proxy speaks for itself, or does
    /// not say.
    Client(Option<SocketAddr>),
    Wrong,
}

/// Why there is no header.
#[derive(Debug)]
pub(crate) enum NoHeader {
    Stopping,
    TimedOut,
    /// The connection begins with something else.
    Wrong,
    Gone(io::ErrorKind),
}

/// Reads the header, and nothing behind it, by the deadline. Returns the
/// client's address, unless the proxy speaks for itself or does not say.
pub(crate) fn read_proxy_header(
    mut socket: &Stream,
    stop: &Stop,
    deadline: Instant,
) -> Result<Option<SocketAddr>, NoHeader> {
    let gone = |error: io::Error| NoHeader::Gone(error.kind());
    let mut bytes = Vec::new();
    loop {
        let needed = match parse(&bytes) {
            Parsed::Client(client) => return Ok(client),
            Parsed::Wrong => return Err(NoHeader::Wrong),
            Parsed::Needs(needed) => needed,
        };
        match stop.wait_readable(socket, Some(deadline)).map_err(gone)? {
            Wake::Ready => {}
            Wake::Stopping => return Err(NoHeader::Stopping),
            Wake::TimedOut => return Err(NoHeader::TimedOut),
        }
        let filled = bytes.len();
        bytes.resize(needed, 0);
        let read = socket.read(&mut bytes[filled..]);
        bytes.truncate(filled + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => return Err(NoHeader::Gone(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(gone(error)),
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed {
    // The first byte says which version it is; a line of version 1 may be
    // shorter than the fixed part of version 2.
    if bytes.is_empty() {
        return Parsed::Needs(SIGNATURE.len());
    }
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] == SIGNATURE[..known] {
        return parse_binary(bytes);
    }
    let known = bytes.len().min(b"PROXY ".len());
    if bytes[..known] != b"PROXY "[..known] {
        return Parsed::Wrong;
    }
    match bytes.strip_suffix(b"\r\n") {
        Some(line) => parse_line(line).map_or(Parsed::Wrong, Parsed::Client),
        None if bytes.len() < MAX_LINE => Parsed::Needs(bytes.len().max(11) + 1),
        None => Parsed::Wrong,
    }
}

/// Version 1, without the end of its line.
fn parse_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let [ip, _, port, to] = [(); 4].map(|()| words.next());
    let ip: IpAddr = ip?.parse().ok()?;
    let is_right = words.next().is_none()
        && to?.parse::<u16>().is_ok()
        && match family {
            "TCP4" => ip.is_ipv4(),
            "TCP6" => ip.is_ipv6(),
            _ => false,
        };
    is_right.then_some(())?;
    let port = port?.parse().ok()?;
    Some(Some(SocketAddr::new(ip.to_canonical(), port)))
}

/// Version 2.
fn parse_binary(bytes: &[u8]) -> Parsed {
    let &[.., command, family, high, low] = bytes.get(..FIXED).unwrap_or_default() else {
        return Parsed::Needs(FIXED);
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > MAX_REST {
        return Parsed::Wrong;
    }
    let Some(rest) = bytes.get(FIXED..FIXED + rest) else {
        return Parsed::Needs(FIXED + rest);
    };
    match (command, family) {
        // The proxy's own connection, such as a check of health.
        (0x20, _) => Parsed::Client(None),
        // TCP over IPv4, and over IPv6.
        (0x21, 0x11) => address::<4>(rest, 8, |octets| Ipv4Addr::from(octets).into()),
        (0x21, 0x21) => address::<16>(rest, 32, |octets| Ipv6Addr::from(octets).into()),
        // A Unix socket, a datagram, or not said.
        (0x21, _) => Parsed::Client(None),
        _ => Parsed::Wrong,
    }
}

/// The client's address: the first of two, whose ports stand behind both.
fn address<const N: usize>(rest: &[u8], ports: usize, ip: fn([u8; N]) -> IpAddr) -> Parsed {
    let Some((octets, port)) = rest.first_chunk().zip(rest.get(ports..ports + 4)) else {
        return Parsed::Wrong;
    };
    let port = u16::from_be_bytes([port[0], port[1]]);
    Parsed::Client(Some(SocketAddr::new(ip(*octets).to_canonical(), port)))
}

/// Any bytes are read as a header: never further than it goes, and the same
/// however they are cut.
#[cfg(any(fuzzing, test))]
pub(crate) fn check(bytes: &[u8]) {
    let mut len = 0;
    loop {
        match parse(&bytes[..len]) {
            Parsed::Needs(needed) => {
                assert!(needed > len && needed <= FIXED + MAX_REST);
                for cut in len..needed.min(bytes.len()) {
                    // Fewer bytes than asked for may come.
                    let at = parse(&bytes[..cut]);
                    assert!(matches!(at, Parsed::Wrong | Parsed::Needs(_)), "{at:?}");
                }
                if needed > bytes.len() {
                    return;
                }
                len = needed;
            }
            Parsed::Client(_) | Parsed::Wrong => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Parsed {
        Parsed::Client(Some(text.parse().unwrap()))
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn lines_say_who_it_is() {
        for (line, parsed) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n",
                client("192.0.2.1:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 4711 80\r\n",
                client("[2001:db8::1]:4711"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
                client("192.0.2.1:1"),
            ),
            ("PROXY UNKNOWN\r\n", Parsed::Client(None)),
            (
                "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
                Parsed::Client(None),
            ),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", Parsed::Wrong),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Parsed::Wrong),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Parsed::Wrong),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", Parsed::Wrong),
            ("PROXY \r\n", Parsed::Wrong),
            ("GET / HTTP/1.1\r\n", Parsed::Wrong),
        ] {
            assert_eq!(parse(line.as_bytes()), parsed, "{line}");
            check(line.as_bytes());
        }
        let endless = "PROXY UNKNOWN ".to_owned() + &"x".repeat(MAX_LINE);
        assert_eq!(parse(&endless.as_bytes()[..MAX_LINE]), Parsed::Wrong);
    }

    #[test]
    fn binary_headers_say_who_it_is() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x67, 0, 80];
        assert_eq!(parse(&binary(0x21, 0x11, &v4)), client("192.0.2.1:4711"));
        let mut v6 = [0; 40];
        v6[15] = 1;
        v6[33] = 7;
        // What stands behind the addresses is skipped.
        assert_eq!(parse(&binary(0x21, 0x21, &v6)), client("[::1]:7"));
        for (command, family) in [
            (0x20, 0x11),
            (0x20, 0),
            (0x21, 0),
            (0x21, 0x31),
            (0x21, 0x12),
        ] {
            let parsed = parse(&binary(command, family, &[]));
            assert_eq!(parsed, Parsed::Client(None), "{command:x} {family:x}");
        }
        for wrong in [
            binary(0x11, 0x11, &v4),
            binary(0x22, 0x11, &v4),
            binary(0x21, 0x11, &v4[..11]),
            binary(0x21, 0x21, &v4),
            binary(0x21, 0x11, &[0; MAX_REST + 1]),
        ] {
            assert_eq!(parse(&wrong), Parsed::Wrong);
            check(&wrong);
        }
        check(&binary(0x21, 0x21, &v6));
    }
}
