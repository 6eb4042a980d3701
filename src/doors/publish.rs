//! Publishing over HTTP: `POST` to a room, its body is the message.

use std::io::Write;
use std::time::Instant;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, TRANSFER_ENCODING,
};
use http::{Request, StatusCode, Version};

use super::admin::JSON;
use super::caller::Caller;
use super::hall::Doors;
use super::room;
use crate::http1::single;
use crate::http1::{Answer, stopping};
use crate::http1::{Body, gone, too_large};
use crate::message::Message;

impl Doors {
    /// Publishes the body of a request in a room. A handler that decides who
    /// enters a room decides about who publishes there, too.
    pub(crate) fn publish(
        &self,
        request: &Request<()>,
        caller: &Caller,
        body: &mut Body<'_>,
    ) -> Result<Answer, Answer> {
        let room = self.admit(request, caller)?.room;
        let max = self.config().max_message_size;
        let head = head_of(request, max)?;
        let ip = caller.peer.ip();
        self.pace.take(ip, head.length.unwrap_or(0) as u64)?;
        body.deadline = Instant::now() + self.config().message_timeout;
        let message = read_message(&head, body, max)?;
        if head.length.is_none() {
            self.pace.owe(ip, message.len() as u64);
        }
        let sent = self.handle.publish_counted(&room, message);
        let (position, clients) = sent.map_err(|_| stopping())?;
        let mut body = room::beginning(&room, clients);
        if self.config().room_settings(&room).history > 0 {
            body.push_str(&format!(",\"position\":\"{position}\""));
        }
        body.push_str("}\n");
        Ok(Answer::new(StatusCode::ACCEPTED, JSON, body))
    }
}

pub(super) fn is_off() -> Answer {
    Answer::text(
        StatusCode::FORBIDDEN,
        "publishing over HTTP is off; the server's operator can allow it with --allow-publish",
    )
}

/// What the head of a request to publish says about the body.
#[derive(Debug)]
pub(super) struct PublishHead {
    is_text: bool,
    /// `None`: the body comes in chunks.
    length: Option<usize>,
    expects_continue: bool,
}

/// Checks the head of a request to publish.
pub(super) fn head_of(request: &Request<()>, max: usize) -> Result<PublishHead, Answer> {
    let headers = request.headers();
    let is_text = is_text(headers)?;
    let chunked = single(headers, TRANSFER_ENCODING)?;
    let length = single(headers, CONTENT_LENGTH)?;
    let length = match (chunked, length) {
        (None, None) => {
            let line = "the message is missing; send it as the body, with a Content-Length";
            return Err(Answer::text(StatusCode::LENGTH_REQUIRED, line));
        }
        // Who passes such a request on may see another end of it (RFC 9112 §6.1).
        (Some(_), _) if request.version() == Version::HTTP_10 => {
            return Err(Answer::bad_request(
                "HTTP/1.0 has no Transfer-Encoding; send a Content-Length",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Answer::bad_request(
                "Content-Length and Transfer-Encoding exclude each other",
            ));
        }
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        (Some(_), None) => {
            return Err(Answer::text(
                StatusCode::NOT_IMPLEMENTED,
                "the only transfer coding known here is chunked",
            ));
        }
        (None, Some(length)) => {
            let digits = length
                .to_str()
                .ok()
                .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length = digits
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| Answer::bad_request("the header Content-Length is malformed"))?;
            if length > max {
                return Err(too_large(max));
            }
            Some(length)
        }
    };
    let expects_continue = headers
        .get(EXPECT)
        .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        && request.version() == Version::HTTP_11;
    Ok(PublishHead {
        is_text,
        length,
        expects_continue,
    })
}

/// Whether the body is text. The type that `curl -d` sends, a form's, is taken
/// for text.
fn is_text(headers: &HeaderMap) -> Result<bool, Answer> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(unsupported("send the body without a Content-Encoding"));
    }
    let Some(value) = single(headers, CONTENT_TYPE)? else {
        return Ok(true);
    };
    let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let mut charsets = parts.filter_map(|part| part.strip_prefix("charset="));
    if !charsets.all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii")) {
        return Err(unsupported("send the text as UTF-8"));
    }
    match kind {
        "application/octet-stream" => Ok(false),
        "application/json" | "application/x-www-form-urlencoded" | "application/x-ndjson" => {
            Ok(true)
        }
        _ if kind.starts_with("text/") || kind.ends_with("+json") => Ok(true),
        _ => Err(unsupported(
            "send text, JSON, or bytes as application/octet-stream",
        )),
    }
}

fn unsupported(line: &str) -> Answer {
    Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, line)
}

/// Reads the body by the deadline.
pub(super) fn read_message(
    head: &PublishHead,
    body: &mut Body<'_>,
    max: usize,
) -> Result<Message, Answer> {
    if head.expects_continue && body.early.is_empty() {
        body.socket
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .map_err(|_| gone())?;
    }
    let bytes = match head.length {
        Some(length) => {
            let mut bytes = Vec::new();
            body.take(length, &mut bytes)?;
            bytes
        }
        None => body.take_chunks(max)?,
    };
    if !head.is_text {
        return Ok(Message::Binary(bytes));
    }
    String::from_utf8(bytes).map(Message::Text).map_err(|_| {
        Answer::bad_request(
            "text must be UTF-8; send bytes with Content-Type: application/octet-stream",
        )
    })
}
