//! A request that may be accepted, and the answer if it is not.

use std::any::Any;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, StatusCode};

use crate::names::{Peer, clean_name, room_name};
use crate::rights::Rights;

/// The headers of an answer that are the server's to say.
const OURS: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A valid request that has not been accepted yet; what
/// [`Handler::on_upgrade`](crate::Handler::on_upgrade) decides about: a
/// WebSocket, a `GET` that asks for events, a `GET` that asks for JSON (how
/// many clients the room has), or, where
/// [`Config::allow_publish`](crate::Config::allow_publish) is on, a `POST` that
/// publishes.
///
/// Its methods show the request, and set what the client gets: its room, its
/// subprotocol, and a value that stays with it.
///
/// ```
/// use hubcast::Server;
///
/// let running = Server::builder()
///     .on_upgrade(|upgrade| {
///         let header = upgrade.request().headers().get("user-agent");
///         let agent = header.and_then(|value| value.to_str().ok());
///         upgrade.attach(agent.unwrap_or("unknown").to_owned());
///         if upgrade.room() == "/" {
///             upgrade.set_room("/lobby");
///         }
///         Ok(())
///     })
///     .on_join(|client| {
///         let agent: Option<&String> = client.attached();
///         let _ = client.send(format!("{} in {}", agent.unwrap(), client.room()));
///     })
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// assert_eq!(client.read()?.to_text()?, "unknown in /lobby");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Upgrade<'a> {
    request: &'a Request<()>,
    peer: Peer,
    certificates: &'a [Vec<u8>],
    pub(crate) room: String,
    pub(crate) further_rooms: Vec<String>,
    offered: Vec<&'a str>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) rights: Option<Arc<Rights>>,
    pub(crate) name: Option<String>,
    pub(crate) attachment: Option<Box<dyn Any + Send + Sync>>,
    /// What the hook adds to the answer.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    #[cfg(feature = "deflate")]
    pub(crate) compression: bool,
}

impl<'a> Upgrade<'a> {
    pub(crate) fn new(
        request: &'a Request<()>,
        peer: Peer,
        certificates: &'a [Vec<u8>],
        room: String,
        offered: Vec<&'a str>,
    ) -> Upgrade<'a> {
        Upgrade {
            request,
            peer,
            certificates,
            room,
            further_rooms: Vec::new(),
            offered,
            subprotocol: None,
            rights: None,
            name: None,
            attachment: None,
            headers: Vec::new(),
            #[cfg(feature = "deflate")]
            compression: true,
        }
    }

    /// The request, as it came. The types are those of the `http` crate,
    /// which is stable and what Rust's HTTP programs share.
    pub fn request(&self) -> &'a Request<()> {
        self.request
    }

    /// The peer's address. Behind a proxy it is the proxy's, unless
    /// [`Config::trust_proxy`](crate::Config::trust_proxy) or
    /// [`Config::proxy_protocol`](crate::Config::proxy_protocol) say otherwise.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The certificates that the client has shown over TLS, in DER, its own
    /// first. They were verified. Empty where clients are asked for none, which
    /// is the default; with the feature `tls`, `Tls::client_ca` asks for them.
    pub fn peer_certificates(&self) -> &'a [Vec<u8>] {
        self.certificates
    }

    /// The rights that the client's token gives; `None` where nothing limits
    /// them. They were looked at for the room that the path names.
    pub fn rights(&self) -> Option<&Rights> {
        self.rights.as_deref()
    }

    /// Sets the client's rights. The request itself has passed already; what the
    /// client sends later, and how long it stays, is what they allow.
    pub fn set_rights(&mut self, rights: Rights) {
        self.rights = Some(Arc::new(rights));
    }

    /// The room the client will join: the decoded path, unless it has been
    /// set to another. Of a client that wants to follow several, `/?room=a&room=b`,
    /// the hook is called once for each, and this is the one that it is called
    /// for; a refusal of one refuses the client. What the hook adds and attaches
    /// counts as of the last call.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Sets the room the client will join, whatever the path says. A leading
    /// slash is added where it is missing.
    pub fn set_room(&mut self, room: &str) {
        self.room = room_name(room).to_string();
    }

    /// The subprotocols that the client offers, in its order of preference;
    /// without the entry that carries a `hubcast.token.`.
    pub fn offered_subprotocols(&self) -> impl Iterator<Item = &'a str> {
        self.offered.iter().copied()
    }

    /// The subprotocol that will be answered, if any: the first offered one
    /// that is in [`Config::subprotocol`](crate::Config::subprotocol), unless
    /// it has been set to another.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Sets the subprotocol that will be answered. A name that the client
    /// did not offer is not answered: the client would fail the connection
    /// (RFC 6455 §4.1).
    pub fn set_subprotocol(&mut self, name: Option<&str>) {
        let offered = |name: &&str| self.offered_subprotocols().any(|offer| offer == *name);
        self.subprotocol = name.filter(offered).map(str::to_owned);
    }

    /// Sets whether messages to and from this client may be compressed, where
    /// [`Config::deflate`](crate::Config::deflate) is on and the client offers
    /// it. Default: true.
    #[cfg(feature = "deflate")]
    pub fn set_compression(&mut self, compression: bool) {
        self.compression = compression;
    }

    /// How the client is shown to those who follow who is in its room: by the
    /// `name` of its query, unless it has been set to another. See
    /// [`Config::presence`](crate::Config::presence).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Sets how the client is shown to those who follow who is in its room;
    /// `None` or an empty name shows its id only. Characters that are not seen
    /// are left out, and of what is longer than 64 bytes the beginning is kept.
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .configure(|config| config.presence = true)
    ///     .on_upgrade(|upgrade| {
    ///         let is_admin = upgrade.request().headers().contains_key("x-admin");
    ///         if is_admin {
    ///             upgrade.set_name(Some("the operator"));
    ///         }
    ///         Ok(())
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/?name=ann", running.local_addr());
    /// let (_ann, _) = tungstenite::connect(url)?;
    /// let url = format!("ws://{}/?presence", running.local_addr());
    /// let (mut here, _) = tungstenite::connect(url)?;
    /// assert!(here.read()?.to_text()?.contains(r#""name":"ann""#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_name(&mut self, name: Option<&str>) {
        let name = name.map(clean_name);
        self.name = name.filter(|name| !name.is_empty());
    }

    /// Adds a header to the answer that accepts a WebSocket or a stream of
    /// events, such as `Set-Cookie`; other answers do not get it. What the
    /// server itself says is left out: `Connection`, `Upgrade`,
    /// `Content-Length`, `Transfer-Encoding`, `Content-Type`, `Cache-Control`,
    /// `Access-Control-Allow-Origin`, and all that begin with
    /// `Sec-WebSocket-`.
    ///
    /// ```
    /// use http::{HeaderValue, header};
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_upgrade(|upgrade| {
    ///         let seat = HeaderValue::from_static("seat=7");
    ///         upgrade.add_header(header::SET_COOKIE, seat);
    ///         Ok(())
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (_client, answer) = tungstenite::connect(url)?;
    /// assert_eq!(answer.headers()["set-cookie"], "seat=7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_header(&mut self, name: HeaderName, value: HeaderValue) {
        let is_ours = OURS.contains(&name) || name.as_str().starts_with("sec-websocket-");
        if !is_ours {
            self.headers.push((name, value));
        }
    }

    /// Attaches a value to the client; see
    /// [`Client::attached`](crate::Client::attached). A second value
    /// replaces the first.
    pub fn attach<T: Any + Send + Sync>(&mut self, value: T) {
        self.attachment = Some(Box::new(value));
    }
}

/// The answer to a request that is not accepted: a complete HTTP response,
/// after which the connection is closed.
///
/// ```
/// use http::{HeaderValue, StatusCode, header};
/// use hubcast::Refusal;
///
/// let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "closed for lunch")
///     .header(header::RETRY_AFTER, HeaderValue::from_static("3600"));
/// assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) line: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A refusal with a status and one line of text, which becomes the body.
    /// The line should say what was wrong and what to do.
    ///
    /// Where a status has no body (204, 304), none is sent. An informational
    /// status (1xx) is no final answer: 500 is sent instead, and logged.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            line: text.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header to the answer. `Content-Type` replaces that of plain
    /// text; `Content-Length`, `Transfer-Encoding` and `Connection` are the
    /// server's to say, and left out.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.headers.push((name, value));
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}
