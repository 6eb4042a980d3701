//! Where the server listens: addresses as people write them, and sockets that
//! systemd passes.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use hubcast::{Error, ErrorKind, Listener};
use listenfd::ListenFd;

/// What a Unix socket's path begins with.
const UNIX: &str = "unix:";

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host, of which all addresses are meant, or an empty one for every
    /// address of this machine; and a port.
    Tcp(String, u16),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path {
                "" => Err("unix: must be followed by a path, as in unix:/run/hubcast.sock".into()),
                path => Ok(Address::Unix(path.into())),
            };
        }
        let (text, default_port) = match text.split_once("://") {
            None => (text, None),
            Some(("http" | "ws", rest)) => (rest.strip_suffix('/').unwrap_or(rest), Some(80)),
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is no address; write HOST:PORT"));
            }
        };
        if let Ok(port) = text.parse() {
            return Ok(Address::Tcp("127.0.0.1".to_owned(), port));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok()),
            _ => (text, default_port),
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err("an IPv6 address must be in brackets, as in [::1]:8080".into());
        }
        let is_host = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
        match (bare.unwrap_or(host), port) {
            (host, Some(port)) if host.chars().all(is_host) => {
                Ok(Address::Tcp(host.to_owned(), port))
            }
            _ => Err("HOST:PORT is expected, such as 127.0.0.1:8080, \
                      :8080 for all addresses, or unix:PATH"
                .into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Address {
    /// Listens here: at a name, on each of its addresses that this machine has.
    /// `unix_mode` is the mode of a Unix socket.
    pub(crate) fn bind(&self, unix_mode: Option<u32>) -> Result<Vec<Listener>, Error> {
        match self {
            Address::Unix(path) => Ok(vec![Listener::bind_unix(path, unix_mode)?]),
            Address::Tcp(host, port) if host.is_empty() => {
                // Where IPv6 is there, its any-address takes IPv4, too.
                let both = Listener::bind(("::", *port)).or_else(|error| match error.kind() {
                    ErrorKind::Bind if !is_in_use(&error) => Listener::bind(("0.0.0.0", *port)),
                    _ => Err(error),
                });
                Ok(vec![both?])
            }
            Address::Tcp(host, port) => self.bind_all((host.as_str(), *port)),
        }
    }

    fn bind_all(&self, address: (&str, u16)) -> Result<Vec<Listener>, Error> {
        let mut addresses: Vec<SocketAddr> = match address.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            // The library says what is wrong with it.
            Err(_) => return Ok(vec![Listener::bind(address)?]),
        };
        addresses.sort_unstable();
        addresses.dedup();
        let mut listeners: Vec<Listener> = Vec::new();
        let mut refused = None;
        for mut address in addresses {
            // Where any free port is asked for, it is the same everywhere.
            if let Some(first) = listeners.first().and_then(Listener::local_addr) {
                address.set_port(first.port());
            }
            match Listener::bind(address) {
                Ok(listener) => listeners.push(listener),
                Err(error) if is_in_use(&error) => return Err(error),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if listeners.is_empty() => return Err(error),
            Some(error) => log::warn!("{self} is several addresses, and one is left out: {error}"),
            None => {}
        }
        Ok(listeners)
    }
}

fn is_in_use(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The sockets that systemd passes (sd_listen_fds(3)). It keeps them open, so
/// that a restart refuses nobody.
pub(crate) fn passed() -> Result<Vec<Listener>, String> {
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).map(|i| {
        let taken = match passed.take_tcp_listener(i) {
            Ok(tcp) => tcp.map(Listener::from),
            Err(_) => passed
                .take_unix_listener(i)
                .map_err(|error| {
                    format!("LISTEN_FDS: {error}; a stream socket that listens is expected")
                })?
                .map(Listener::from),
        };
        let taken = taken.ok_or("LISTEN_FDS: a socket is there twice")?;
        Ok(taken.shared())
    });
    sockets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (text, address) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("8080", "127.0.0.1:8080"),
            (":8080", ":8080"),
            ("localhost:0", "localhost:0"),
            ("[::1]:8080", "[::1]:8080"),
            ("http://chat.example:8080/", "chat.example:8080"),
            ("http://chat.example", "chat.example:80"),
            ("ws://[::1]", "[::1]:80"),
            ("unix:/run/hubcast.sock", "unix:/run/hubcast.sock"),
        ] {
            assert_eq!(parsed(text), address, "{text}");
        }
        for (text, why) in [
            ("", "HOST:PORT is expected"),
            ("localhost", "HOST:PORT is expected"),
            ("localhost:http", "HOST:PORT is expected"),
            ("localhost:65536", "HOST:PORT is expected"),
            ("http://chat.example/room", "HOST:PORT is expected"),
            ("https://chat.example", "https:// is no address"),
            ("::1:8080", "in brackets"),
            ("unix:", "followed by a path"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn every_address_of_a_name_has_the_same_port() {
        let listeners = "localhost:0".parse::<Address>().unwrap().bind(None);
        let listeners = listeners.unwrap();
        let ports = listeners.iter().map(|l| l.local_addr().unwrap().port());
        let mut ports: Vec<u16> = ports.collect();
        ports.dedup();
        assert_eq!(ports.len(), 1);
        let taken = Address::Tcp("localhost".to_owned(), ports[0]);
        assert!(is_in_use(&taken.bind(None).unwrap_err()));
    }
}
