//! The opening handshake (RFC 6455 §4.2): the checks, and the answer.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, StatusCode};

use crate::config::Config;
use crate::doors::token;
use crate::http1::answer::Answer;
use crate::http1::request::{check_origin, room_of, single, tokens};
use crate::hub::client_state::Attachment;
use crate::wire::burst::Encoding;
use crate::wire::sse;

/// A valid request that has not been accepted yet; what
/// [`Handler::on_upgrade`](crate::Handler::on_upgrade) decides about: a
/// WebSocket, or a `GET` that asks for events, or, where
/// [`Config::allow_publish`] is on, a `POST` that publishes.
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
    peer: SocketAddr,
    pub(crate) room: String,
    pub(crate) subprotocol: Option<String>,
    pub(crate) attachment: Option<Box<dyn Any + Send + Sync>>,
}

impl<'a> Upgrade<'a> {
    fn new(request: &'a Request<()>, peer: SocketAddr) -> Result<Upgrade<'a>, Answer> {
        Ok(Upgrade {
            request,
            peer,
            room: room_of(request.uri().path())?,
            subprotocol: None,
            attachment: None,
        })
    }

    /// The request, as it came. The types are those of the `http` crate,
    /// which is stable and what Rust's HTTP programs share.
    pub fn request(&self) -> &'a Request<()> {
        self.request
    }

    /// The peer's address. Behind a proxy it is the proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The room the client will join: the decoded path, unless it has been
    /// set to another.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Sets the room the client will join, whatever the path says. A leading
    /// slash is added where it is missing.
    pub fn set_room(&mut self, room: &str) {
        self.room = crate::names::room_name(room).to_string();
    }

    /// The subprotocols that the client offers, in its order of preference;
    /// without the entry that carries a `hubcast.token.`.
    pub fn offered_subprotocols(&self) -> impl Iterator<Item = &'a str> {
        let offers = tokens(self.request.headers(), SEC_WEBSOCKET_PROTOCOL);
        offers.filter(|offer| !token::is_token_entry(offer))
    }

    /// The subprotocol that will be answered, if any: the first offered one
    /// that is in [`Config::subprotocol`], unless it has been set to another.
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
pub struct Refusal(pub(crate) Answer);

impl Refusal {
    /// A refusal with a status and one line of text, which becomes the body.
    /// It is best when it says what was wrong and what to do.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal(Answer::text(status, text))
    }

    /// Adds a header to the answer. Those about the body and the connection
    /// are there already.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Refusal {
        Refusal(self.0.header(name, value))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

/// What was agreed with who enters a room.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) room: Arc<str>,
    pub(crate) attachment: Option<Attachment>,
    /// The whole head of the answer.
    pub(crate) response: Vec<u8>,
    pub(crate) encoding: Encoding,
}

/// The subprotocol that is answered to a client that brings its token in a
/// subprotocol entry: it must be answered one (RFC 6455 §4.1), but not that.
const OWN_SUBPROTOCOL: &str = "hubcast";

/// Checks a WebSocket request as RFC 6455 §4.2.1 has it. `hook` decides last.
pub(crate) fn accept(
    request: &Request<()>,
    peer: SocketAddr,
    config: &Config,
    hook: impl FnOnce(&mut Upgrade<'_>) -> Result<(), Refusal>,
) -> Result<Agreed, Answer> {
    let key = check(request)?;
    admit(request, peer, config, hook, |upgrade| {
        (response(key, upgrade.subprotocol()), Encoding::Frames)
    })
}

/// Checks a request for events; `hook` decides last, as it does for a
/// WebSocket.
pub(crate) fn accept_events(
    request: &Request<()>,
    peer: SocketAddr,
    config: &Config,
    hook: impl FnOnce(&mut Upgrade<'_>) -> Result<(), Refusal>,
) -> Result<Agreed, Answer> {
    admit(request, peer, config, hook, |_| {
        let mut head = sse::RESPONSE.as_bytes().to_vec();
        if let Some(origin) = request.headers().get(ORIGIN) {
            head.extend_from_slice(b"vary: origin\r\naccess-control-allow-origin: ");
            head.extend_from_slice(origin.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n: welcome\n\n");
        (head, Encoding::Events)
    })
}

/// Asks the hook whether a request may publish, and in which room.
pub(crate) fn room_for(
    request: &Request<()>,
    peer: SocketAddr,
    hook: impl FnOnce(&mut Upgrade<'_>) -> Result<(), Refusal>,
) -> Result<String, Answer> {
    let mut upgrade = Upgrade::new(request, peer)?;
    hook(&mut upgrade).map_err(|refusal| refusal.0)?;
    Ok(upgrade.room)
}

/// What everybody passes who enters a room: origin, token, room, hook.
fn admit(
    request: &Request<()>,
    peer: SocketAddr,
    config: &Config,
    hook: impl FnOnce(&mut Upgrade<'_>) -> Result<(), Refusal>,
    answer: impl FnOnce(&Upgrade<'_>) -> (Vec<u8>, Encoding),
) -> Result<Agreed, Answer> {
    check_origin(request, config)?;
    token::check(request, config.token.as_slice())?;
    let known = |name: &&str| {
        *name == OWN_SUBPROTOCOL || config.subprotocol.iter().any(|known| known == name)
    };
    let mut upgrade = Upgrade::new(request, peer)?;
    let chosen = upgrade.offered_subprotocols().find(known);
    upgrade.subprotocol = chosen.map(str::to_owned);
    hook(&mut upgrade).map_err(|refusal| refusal.0)?;
    let (response, encoding) = answer(&upgrade);
    Ok(Agreed {
        room: upgrade.room.into(),
        attachment: upgrade.attachment.map(Attachment::from),
        response,
        encoding,
    })
}

/// Every check that needs no hook, in the order in which the answers help
/// most. Returns the key.
fn check(request: &Request<()>) -> Result<&HeaderValue, Answer> {
    let headers = request.headers();
    if !tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(Answer::bad_request(
            "the header `Connection: Upgrade` is missing; a proxy may have taken it away",
        ));
    }
    if single(headers, SEC_WEBSOCKET_VERSION)?.is_none_or(|version| version != "13") {
        return Err(upgrade_required("this server speaks WebSocket version 13")
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let key = single(headers, SEC_WEBSOCKET_KEY)?
        .ok_or_else(|| Answer::bad_request("the header Sec-WebSocket-Key is missing"))?;
    if BASE64.decode(key.as_bytes()).map(|key| key.len()) != Ok(16) {
        return Err(Answer::bad_request(
            "the header Sec-WebSocket-Key must be the base64 of 16 bytes",
        ));
    }
    let no_body = single(headers, CONTENT_LENGTH)?.is_none_or(|length| length == "0");
    if !no_body || headers.contains_key(TRANSFER_ENCODING) {
        return Err(Answer::bad_request(
            "a WebSocket request has no body; send none",
        ));
    }
    Ok(key)
}

/// Whether this asks for a WebSocket, well or badly.
pub(crate) fn is_asked(request: &Request<()>) -> bool {
    let mut upgrades = tokens(request.headers(), UPGRADE);
    request.method() == Method::GET && upgrades.any(|name| name.eq_ignore_ascii_case("websocket"))
}

/// The answer to a request that should have asked for a WebSocket.
pub(crate) fn upgrade_required(line: &str) -> Answer {
    Answer::text(StatusCode::UPGRADE_REQUIRED, line)
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(CONNECTION, HeaderValue::from_static("upgrade, close"))
}

/// The 101 answer (RFC 6455 §4.2.2).
fn response(key: &HeaderValue, subprotocol: Option<&str>) -> Vec<u8> {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         upgrade: websocket\r\n\
         connection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\n"
    );
    if let Some(name) = subprotocol {
        text.push_str(&format!("sec-websocket-protocol: {name}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_rfc_6455_section_1_3_gets_its_answer() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let text = String::from_utf8(response(&key, Some("chat"))).unwrap();
        assert!(text.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(text.contains("sec-websocket-protocol: chat\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }
}
