//! The rights that a token gives, and who is asked for them.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;
use crate::room_rule::{fault, fit};

/// The rights of a client: what it may do in which rooms, until when, and under
/// which name.
///
/// A pattern is a room's name, or the beginning of one followed by `*`: `/lobby`,
/// `/news/*`, `/*`. Rights that are new allow nothing.
///
/// ```
/// use hubcast::Rights;
///
/// let rights = Rights::new().name("ann").read("/*").write("/lobby");
/// assert!(rights.may_read("/news") && !rights.may_write("/news"));
/// assert!(rights.may_write("/lobby"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    name: Option<String>,
    read: Vec<String>,
    write: Vec<String>,
    admin: bool,
    expires: Option<SystemTime>,
}

impl Rights {
    /// Rights that allow nothing yet.
    pub fn new() -> Rights {
        Rights::default()
    }

    /// Sets the name under which the client is listed and logged. It is not
    /// checked for being anybody else's.
    pub fn name(mut self, name: impl Into<String>) -> Rights {
        self.name = Some(name.into());
        self
    }

    /// Allows to enter these rooms, and to receive what is sent there.
    pub fn read(mut self, pattern: impl Into<String>) -> Rights {
        self.read.push(pattern.into());
        self
    }

    /// Allows to send to these rooms: by a WebSocket, which
    /// [`read`](Rights::read) must allow, and by a `POST`.
    pub fn write(mut self, pattern: impl Into<String>) -> Rights {
        self.write.push(pattern.into());
        self
    }

    /// Allows to ask under `/-/`.
    pub fn admin(mut self, admin: bool) -> Rights {
        self.admin = admin;
        self
    }

    /// Sets when the rights end. The connection is closed then, with 1008.
    pub fn expires(mut self, at: SystemTime) -> Rights {
        self.expires = Some(at);
        self
    }

    /// The client's name, if it has one.
    pub fn shown_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the client may enter this room.
    pub fn may_read(&self, room: &str) -> bool {
        self.read.iter().any(|pattern| fit(pattern, room).is_some())
    }

    /// Whether the client may send to this room.
    pub fn may_write(&self, room: &str) -> bool {
        let mut patterns = self.write.iter();
        patterns.any(|pattern| fit(pattern, room).is_some())
    }

    /// Whether the client may ask under `/-/`.
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// When the rights end, if they do.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether the rights have ended.
    pub fn have_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= SystemTime::now())
    }

    /// Checks that the patterns can fit a room.
    ///
    /// # Errors
    ///
    /// A pattern does not begin with a slash, or has a `*` elsewhere than at its
    /// end; the text has it.
    pub fn check(&self) -> Result<(), Error> {
        for pattern in self.read.iter().chain(&self.write) {
            if let Some(why) = fault(pattern) {
                return Err(Error::config(format!("the room pattern {pattern:?} {why}")));
            }
        }
        Ok(())
    }
}

type Verify = dyn Fn(&str) -> Result<Rights, &'static str> + Send + Sync;

/// The function that is asked which rights a token gives; see
/// [`Config::token_verifier`](crate::Config::token_verifier).
///
/// It runs on the client's own thread. What it returns as an error follows "the
/// token" in the answer, 401: `"has expired"`, `"is for another audience"`.
///
/// ```
/// use hubcast::{Rights, Server, TokenVerifier};
///
/// let verifier = TokenVerifier::new(|token| match token {
///     "s3cret" => Ok(Rights::new().name("ann").read("/*")),
///     _ => Err("is unknown"),
/// });
/// let running = Server::builder()
///     .configure(|config| config.token_verifier = Some(verifier))
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/?token=s3cret", running.local_addr());
/// let (client, _) = tungstenite::connect(url)?;
/// let clients = running.handle().clients()?;
/// assert_eq!(clients[0].name.as_deref(), Some("ann"));
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenVerifier(Arc<Verify>);

impl TokenVerifier {
    /// Asks this function.
    pub fn new<F>(verify: F) -> TokenVerifier
    where
        F: Fn(&str) -> Result<Rights, &'static str> + Send + Sync + 'static,
    {
        TokenVerifier(Arc::new(verify))
    }

    /// The rights that a token gives now.
    ///
    /// # Errors
    ///
    /// Why it gives none, as it follows "the token".
    pub fn verify(&self, token: &str) -> Result<Rights, &'static str> {
        let rights = (self.0)(token)?;
        match rights.have_expired() {
            true => Err("has expired"),
            false => Ok(rights),
        }
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVerifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn new_rights_allow_nothing() {
        let rights = Rights::new();
        assert!(!rights.may_read("/") && !rights.may_write("/"));
        assert!(!rights.is_admin() && !rights.have_expired());
    }

    #[test]
    fn a_verifier_lets_nobody_in_whose_time_is_over() {
        let at = |seconds: i64| match seconds {
            0.. => SystemTime::now() + Duration::from_secs(seconds as u64),
            _ => SystemTime::now() - Duration::from_secs(seconds.unsigned_abs()),
        };
        let verifier = TokenVerifier::new(move |token| {
            Ok(Rights::new().expires(at(token.parse().unwrap_or(0))))
        });
        assert_eq!(verifier.verify("-1").unwrap_err(), "has expired");
        assert!(verifier.verify("60").is_ok());
    }

    #[test]
    fn a_pattern_that_fits_no_room_is_named() {
        for bad in ["lobby", "", "/a*b", "/**"] {
            let error = Rights::new().read("/").write(bad).check().unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        Rights::new().read("/*").write("/a/*").check().unwrap();
    }
}
