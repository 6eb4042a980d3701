//! The opening handshake (RFC 6455 §4.2): the checks, and the answer.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, StatusCode};

use crate::client::Attachment;
use crate::config::{Config, is_token};
use crate::http::Answer;
use crate::origin;

/// The longest room name, in bytes.
pub(crate) const MAX_ROOM: usize = 256;

/// A valid WebSocket request that has not been accepted yet; what
/// [`Handler::on_upgrade`](crate::Handler::on_upgrade) decides about.
#[derive(Debug)]
pub struct Upgrade<'a> {
    request: &'a Request<()>,
    peer: SocketAddr,
    pub(crate) room: String,
    pub(crate) subprotocol: Option<String>,
    pub(crate) attachment: Option<Box<dyn Any + Send + Sync>>,
}

impl<'a> Upgrade<'a> {
    /// The request, as it came. The types are those of the `http` crate,
    /// which is stable and what Rust's HTTP programs share.
    pub fn request(&self) -> &'a Request<()> {
        self.request
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The room the client will join: the decoded path, unless it has been
    /// set to another.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// Sets the room the client will join. A leading slash is added where it
    /// is missing.
    pub fn set_room(&mut self, room: &str) {
        self.room = crate::handle::room_name(room).to_string();
    }

    /// The subprotocols that the client offers, in its order of preference.
    pub fn offered_subprotocols(&self) -> impl Iterator<Item = &'a str> {
        tokens(self.request.headers(), SEC_WEBSOCKET_PROTOCOL)
    }

    /// The subprotocol that will be answered, if any.
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

/// The answer to a request that is not accepted.
///
/// ```
/// use http::StatusCode;
/// use hubcast::Refusal;
///
/// let refusal = Refusal::new(StatusCode::FORBIDDEN, "members only");
/// assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal(pub(crate) Answer);

impl Refusal {
    /// A refusal with a status and one line of text.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal(Answer::text(status, text))
    }

    /// Adds a header to the answer.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Refusal {
        Refusal(self.0.header(name, value))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

/// What was agreed in an opening handshake.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) room: Arc<str>,
    pub(crate) attachment: Option<Attachment>,
    /// The whole 101 answer.
    pub(crate) response: Vec<u8>,
}

/// Checks a request as RFC 6455 §4.2.1 has it. `hook` decides last.
pub(crate) fn accept(
    request: &Request<()>,
    peer: SocketAddr,
    config: &Config,
    hook: impl FnOnce(&mut Upgrade<'_>) -> Result<(), Refusal>,
) -> Result<Agreed, Answer> {
    let key = check(request, config)?;
    let offered = tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL);
    let known = |name: &&str| config.subprotocol.iter().any(|known| known == name);
    let mut upgrade = Upgrade {
        request,
        peer,
        room: room_of(request.uri().path())?,
        subprotocol: offered.into_iter().find(known).map(str::to_owned),
        attachment: None,
    };
    hook(&mut upgrade).map_err(|refusal| refusal.0)?;
    Ok(Agreed {
        response: response(key, upgrade.subprotocol.as_deref()),
        room: upgrade.room.into(),
        attachment: upgrade.attachment.map(Attachment::from),
    })
}

/// Every check that needs no hook, in the order in which the answers help
/// most. Returns the key.
fn check<'a>(request: &'a Request<()>, config: &Config) -> Result<&'a HeaderValue, Answer> {
    let headers = request.headers();
    let host = the_host(request)?;
    if request.method() != Method::GET {
        let line = "only GET has a meaning here; open a WebSocket, for example with websocat";
        return Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, line)
            .header(http::header::ALLOW, HeaderValue::from_static("GET")));
    }
    if !tokens(headers, UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Err(upgrade_required(
            "this is a WebSocket server; connect with a WebSocket client, \
             for example: websocat ws://HOST:PORT/",
        ));
    }
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
    check_origin(headers, host, config)?;
    Ok(key)
}

/// The host that is asked for: one Host header, which the authority of an
/// absolute-form target overrides (RFC 9112 §3.2).
fn the_host(request: &Request<()>) -> Result<&str, Answer> {
    let host = single(request.headers(), HOST)?
        .ok_or_else(|| Answer::bad_request("the header Host is missing"))?
        .to_str()
        .map_err(|_| Answer::bad_request("the header Host is malformed"))?;
    let authority = request.uri().authority();
    Ok(authority.map_or(host, |authority| authority.as_str()))
}

fn check_origin(headers: &HeaderMap, host: &str, config: &Config) -> Result<(), Answer> {
    let Some(origin) = single(headers, ORIGIN)? else {
        // No browser sent this: only browsers are tricked across sites.
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    if origin::is_allowed(origin, host, &config.allow_origin) {
        return Ok(());
    }
    Err(Answer::text(
        StatusCode::FORBIDDEN,
        "this Origin is not allowed here; the server's operator can allow it with --allow-origin",
    ))
}

fn upgrade_required(line: &str) -> Answer {
    Answer::text(StatusCode::UPGRADE_REQUIRED, line)
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(CONNECTION, HeaderValue::from_static("upgrade, close"))
}

/// The value of a header that must not come twice.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, Answer> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Answer::bad_request(format!(
            "the header {name} may come only once"
        )));
    }
    Ok(first)
}

/// The comma-separated tokens of a header, over all of its lines.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| is_token(token))
}

/// The room that a path names: the path, percent-decoded, with nothing
/// normalised away.
pub(crate) fn room_of(path: &str) -> Result<String, Answer> {
    let room = percent_decode(path).ok_or_else(|| {
        Answer::bad_request("the path is not percent-encoded UTF-8; %25 stands for a percent sign")
    })?;
    if room.chars().any(char::is_control) {
        return Err(Answer::bad_request("the path holds a control character"));
    }
    if room.len() > MAX_ROOM {
        return Err(Answer::text(
            StatusCode::URI_TOO_LONG,
            format!("a room name is at most {MAX_ROOM} bytes long"),
        ));
    }
    Ok(room)
}

/// Decodes `%XX` (RFC 3986 §2.1); `None` where that is malformed or the
/// result is not UTF-8. Ten lines here, or one crate more for everybody who
/// embeds this one.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(
            *data_encoding::HEXUPPER_PERMISSIVE
                .decode(digits)
                .ok()?
                .first()?,
        );
        rest = tail;
    }
    String::from_utf8(bytes).ok()
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

    #[test]
    fn rooms_are_decoded_paths() {
        for (path, room) in [
            ("/", "/"),
            ("/lobby", "/lobby"),
            ("/lob%62y", "/lobby"),
            ("/caf%C3%A9", "/café"),
            ("/a%2Fb", "/a/b"),
            ("/../x//y/", "/../x//y/"),
            ("/%25", "/%"),
        ] {
            assert_eq!(room_of(path).unwrap(), room, "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%ff", "/%00", "/%0A", "/%C2%85"] {
            let status = room_of(path).unwrap_err().status;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        }
        assert!(room_of(&format!("/{}", "x".repeat(255))).is_ok());
        let long = room_of(&format!("/{}", "x".repeat(256))).unwrap_err();
        assert_eq!(long.status, StatusCode::URI_TOO_LONG);
    }
}
