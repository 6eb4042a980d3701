//! Where the engine is: `redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DB]`,
//! `rediss://` over TLS, or `redis+unix:PATH`.

use std::fmt;
use std::path::PathBuf;

use crate::net::Trust;

/// The port of an address that names none.
const PORT: u16 = 6379;

/// Where the engine is, and how to log in there.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) places: Vec<Place>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
    pub(super) is_secure: bool,
    /// There if it is to be reached over TLS.
    pub(super) trust: Option<Trust>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Network { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Network { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Network { host, port } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Shows no password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.places).finish()
    }
}

impl Address {
    /// Parses an address; an error says what it must be, and shows nothing of
    /// it, since it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("redis+unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err("the path behind redis+unix: must begin with a slash".to_owned());
            }
            return Ok(Address {
                places: vec![Place::Unix(path.into())],
                user: None,
                password: None,
                database: 0,
                is_secure: false,
                trust: None,
            });
        }
        let secure = text.strip_prefix("rediss://");
        let Some(rest) = secure.or(text.strip_prefix("redis://")) else {
            return Err("it must begin with redis://, rediss:// or redis+unix:".to_owned());
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (hosts, database) = match rest.split_once('/') {
            Some((hosts, "")) => (hosts, 0),
            Some((hosts, database)) => {
                let number = database.parse();
                let number = number.map_err(|_| "the database behind the slash must be a number");
                (hosts, number?)
            }
            None => (rest, 0),
        };
        let places: Result<Vec<Place>, String> = hosts.split(',').map(place).collect();
        let (user, password) =
            match credentials.map(|both| both.split_once(':').unwrap_or(("", both))) {
                Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
                None => (None, None),
            };
        Ok(Address {
            places: places?,
            user: user.filter(|user| !user.is_empty()),
            password,
            database,
            is_secure: secure.is_some(),
            trust: None,
        })
    }
}

impl Address {
    /// A password that is not in the address, but in a file.
    pub(super) fn take_password(&mut self, password: Option<&str>) {
        if let Some(password) = password {
            self.password = Some(password.to_owned());
        }
    }
}

fn place(text: &str) -> Result<Place, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port
            .parse()
            .map_err(|_| format!("the port must be a number from 1 to 65535, not {port:?}"))?,
        None => PORT,
    };
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    let host = host.to_owned();
    Ok(Place::Network { host, port })
}

/// Decodes what is written as `%40`.
fn decoded(text: &str) -> Result<String, String> {
    let flaw = || "user and password must be UTF-8, with @ : / % written as %40 %3A %2F %25";
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = (*first == b'%').then(|| behind.get(..2)).flatten();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            (b'%', None) => return Err(flaw().to_owned()),
            (byte, _) => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| flaw().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_hosts_a_login_and_a_database() {
        let address = Address::parse("redis://ann:p%40ss@one:7000,[::1]:7001,three/5").unwrap();
        let places: Vec<String> = address.places.iter().map(Place::to_string).collect();
        assert_eq!(places, ["one:7000", "[::1]:7001", "three:6379"]);
        assert_eq!(address.user.as_deref(), Some("ann"));
        assert_eq!(address.password.as_deref(), Some("p@ss"));
        assert_eq!((address.database, address.is_secure), (5, false));
        assert!(!format!("{address:?}").contains("p@ss"));

        let address = Address::parse("redis://:secret@localhost").unwrap();
        assert_eq!(
            (address.user, address.password.as_deref()),
            (None, Some("secret"))
        );
        assert!(Address::parse("rediss://localhost").unwrap().is_secure);
        let address = Address::parse("redis+unix:/run/redis.sock").unwrap();
        assert_eq!(address.places[0].to_string(), "/run/redis.sock");
    }

    #[test]
    fn an_error_says_what_is_possible_and_no_password() {
        for (text, expected) in [
            ("http://localhost", "redis://"),
            ("redis://user:hush@localhost:x", "port"),
            ("redis://user:hush@localhost:99999", "port"),
            ("redis://user:hush@localhost/main", "database"),
            ("redis://user:hush@", "host"),
            ("redis://us%4:hush@localhost", "%40"),
            ("redis+unix:run", "slash"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
