//! The opening handshake (RFC 6455 §4.2): the checks, and the answer.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, StatusCode, Version};
use sha1_smol::Sha1;

use super::caller::Caller;
use super::entry::{CLIENT, Entry, POSITIONS, finish_head};
#[cfg(feature = "deflate")]
use super::extensions::Agreement;
use super::hall::Doors;
use super::start::wish;
use super::token;
use crate::embed::Upgrade;
use crate::http1::{Answer, http_date};
use crate::http1::{single, tokens};
use crate::rights::Rights;
use crate::wire::Encoding;

impl Doors {
    /// Accepts a WebSocket request (RFC 6455 §4.2.1); the hook decides last.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    pub(super) fn websocket(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
    ) -> Result<Entry, Answer> {
        let key = check(request)?;
        check_offers(request, caller)?;
        let wish = wish(request)?;
        let place = self.place(caller)?;
        let upgrade = self.admit_to_all(request, caller, rights)?;
        if wish.start.watch.is_some() {
            self.check_presence(&upgrade.room)?;
        }
        let mut head = response(key, upgrade.subprotocol());
        head.push_str(&format!("{CLIENT}: {}\r\n", caller.id));
        let asked = wish.positions || upgrade.subprotocol() == Some(POSITIONS);
        let has_positions = (asked || wish.names_rooms) && wish.start.watch.is_none();
        let encoding = match has_positions {
            // Each message begins with a line of its own then, and is compressed
            // for nobody else.
            true => Encoding::PositionedFrames,
            false => self.agree(request, &upgrade, &mut head),
        };
        let head = finish_head(head.into_bytes(), &upgrade);
        Ok(Entry::new(upgrade, place, head, encoding, &wish))
    }

    /// Agrees to compress messages, if that is on and the client can; appends
    /// to the head that it is so. Returns how messages are sent.
    #[cfg(feature = "deflate")]
    fn agree(&self, request: &Request<()>, upgrade: &Upgrade<'_>, head: &mut String) -> Encoding {
        let may_compress = self.config().deflate && upgrade.compression;
        let shared = self.config().deflate_rooms;
        let found = may_compress.then(|| Agreement::find(request.headers(), shared));
        let Some(agreement) = found.flatten() else {
            return Encoding::Frames;
        };
        head.push_str(&agreement.header());
        agreement.encoding()
    }

    #[cfg(not(feature = "deflate"))]
    fn agree(&self, _: &Request<()>, _: &Upgrade<'_>, _: &mut String) -> Encoding {
        Encoding::Frames
    }
}

/// Every check that needs no hook, in the order in which the answers help most.
/// Returns Sec-WebSocket-Key.
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
    if !is_key(key.as_bytes()) {
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

/// Whether this is the base64 of 16 bytes. The last digit has four bits more
/// than are needed; the example of RFC 6455 §4.1 has some of them set.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |b: &u8| b.is_ascii_alphanumeric() || b"+/".contains(b);
    let digits = key.strip_suffix(b"==");
    digits.is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

/// Refuses a browser that offers its token and nothing else: the entry with
/// the token is never answered, and a browser fails a connection where none
/// of its offers is.
fn check_offers(request: &Request<()>, caller: &Caller) -> Result<(), Answer> {
    let headers = request.headers();
    let mut offers = tokens(headers, SEC_WEBSOCKET_PROTOCOL).peekable();
    let is_browser = headers.contains_key(ORIGIN);
    if !is_browser || offers.peek().is_none() || !offers.all(token::is_entry) {
        return Ok(());
    }
    let line = "a browser must offer a subprotocol beside the one that carries its token; \
                offer `hubcast` as well";
    log::info!("peer={} refused: {line}", caller.peer);
    Err(Answer::bad_request(line))
}

/// Whether this asks for a WebSocket, correctly or not.
pub(super) fn is_asked(request: &Request<()>) -> bool {
    let mut upgrades = tokens(request.headers(), UPGRADE);
    // An Upgrade of HTTP/1.0 is to be ignored (RFC 9110 §7.8).
    request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && upgrades.any(|name| name.eq_ignore_ascii_case("websocket"))
}

/// The answer to a request that should have asked for a WebSocket.
pub(super) fn upgrade_required(line: &str) -> Answer {
    Answer::text(StatusCode::UPGRADE_REQUIRED, line)
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(CONNECTION, HeaderValue::from_static("upgrade, close"))
}

/// The 101 answer (RFC 6455 §4.2.2), but for the extensions and the empty line.
fn response(key: &HeaderValue, subprotocol: Option<&str>) -> String {
    let date = http_date();
    let accept = accept_key(key.as_bytes());
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         date: {date}\r\n\
         upgrade: websocket\r\n\
         connection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\n"
    );
    if let Some(name) = subprotocol {
        text.push_str(&format!("sec-websocket-protocol: {name}\r\n"));
    }
    text
}

/// The proof that the request was understood (RFC 6455 §4.2.2, item 5.4).
fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::from(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.digest().bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_rfc_6455_section_1_3_gets_its_answer() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let text = response(&key, Some("chat"));
        assert!(text.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(text.contains("sec-websocket-protocol: chat\r\n"));
    }
}
