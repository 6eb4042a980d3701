//! Publishing over HTTP: `POST` or `PUT` to a room; its body is the message, or
//! a message a line.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, TRANSFER_ENCODING,
};
use http::{Request, StatusCode, Version};

use super::admin::JSON;
use super::caller::Caller;
use super::hall::Doors;
use super::retries::{self, Turn};
use super::room;
use super::rooms::Asked;
use crate::error::SendErrorReason;
use crate::http1::{Answer, stopping};
use crate::http1::{Body, gone, too_large};
use crate::http1::{query_parameters, single};
use crate::hub::Audience;
use crate::message::Message;
use crate::names::{ClientId, room_name};
use crate::net::send_all;
use crate::rights::Rights;
use crate::wire::{Burst, BurstBuilder};

/// The most messages of one request.
const MAX_MESSAGES: u32 = 1000;

impl Doors {
    /// Publishes the body of a request in a room. A handler that decides who
    /// enters a room decides about who publishes there, too.
    pub(super) fn publish(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
        body: &mut Body<'_>,
    ) -> Result<Answer, Answer> {
        Asked::of(request)?.only("publishing")?;
        let room = self.admit(request, caller, rights)?.room;
        let max = self.config().max_message_size;
        let (except, key) = (self.except(request)?, retries::key(request)?);
        let head = head_of(request, max)?;
        let ip = caller.peer.ip();
        self.pace.take(ip, head.length.unwrap_or(0) as u64)?;
        body.deadline = Instant::now() + self.config().message_timeout;
        let message = read_message(&head, body, max)?;
        if head.length.is_none() {
            self.pace.owe(ip, 0, message.len() as u64);
        }
        let claim = match key {
            None => None,
            Some(key) => match self.retries.begin(&room, &key, &message)? {
                Turn::First(claim) => Some(claim),
                Turn::Done(answer) => return Ok(retries::mark(accepted(answer))),
            },
        };
        let burst = self.burst(&head, &message)?;
        // The first was paid for with the request.
        self.pace
            .owe(ip, u64::from(burst.messages).saturating_sub(1), 0);
        let to = Audience::Room {
            room: room_name(&room),
            except,
        };
        let sent = self.handle.publish_burst(to, burst).map_err(refused)?;
        let mut answer = room::beginning(&room, sent.clients);
        if self.config().room_settings(&room).history > 0 {
            answer.push_str(&format!(",\"position\":\"{}\"", sent.position));
        }
        answer.push_str("}\n");
        if let Some(claim) = claim {
            claim.done(&answer);
        }
        Ok(accepted(answer))
    }

    /// The client that is not to receive the message.
    fn except(&self, request: &Request<()>) -> Result<Option<ClientId>, Answer> {
        let Some(text) = query_parameters(request, "except").next() else {
            return Ok(None);
        };
        self.client_named(&text.unwrap_or_default()).map(Some)
    }

    /// The messages of a body; all of them are accepted, or none.
    fn burst(&self, head: &PublishHead, body: &Message) -> Result<Burst, Answer> {
        let newline = self.config().append_newline;
        let mut builder = BurstBuilder::default();
        match body {
            Message::Binary(bytes) => builder.binary(bytes),
            Message::Text(text) if head.kind == Kind::Lines => {
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    builder.text(line, newline);
                    if builder.len() > MAX_MESSAGES {
                        let line = format!("a request has at most {MAX_MESSAGES} messages");
                        return Err(Answer::text(StatusCode::PAYLOAD_TOO_LARGE, line));
                    }
                }
            }
            Message::Text(text) => builder.text(text, newline),
        }
        match builder.is_empty() {
            true => Err(Answer::bad_request(
                "there is no message in the body; each is a line",
            )),
            false => Ok(builder.take()),
        }
    }
}

fn accepted(body: String) -> Answer {
    Answer::new(StatusCode::ACCEPTED, JSON, body)
}

/// The answer to a message that is not in the log.
fn refused(reason: SendErrorReason) -> Answer {
    match reason {
        #[cfg(feature = "redis")]
        SendErrorReason::Full => {
            let line = "too much waits for the engine; the message was not taken";
            Answer::unavailable(line, 1)
        }
        #[cfg(feature = "redis")]
        SendErrorReason::Late => Answer::text(
            StatusCode::GATEWAY_TIMEOUT,
            "the engine is away; the message was taken, and goes out when it is back",
        ),
        _ => stopping(),
    }
}

pub(super) fn is_off() -> Answer {
    Answer::text(
        StatusCode::FORBIDDEN,
        "publishing over HTTP is off; the server's operator can allow it with --allow-publish",
    )
}

/// What a body is, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One message of text.
    Text,
    /// A message of text in each line.
    Lines,
    /// One message of bytes.
    Binary,
}

/// What the head of a request to publish says about the body.
#[derive(Debug)]
pub(super) struct PublishHead {
    kind: Kind,
    /// `None`: the body comes in chunks.
    length: Option<usize>,
    expects_continue: bool,
}

/// Checks the head of a request to publish.
pub(super) fn head_of(request: &Request<()>, max: usize) -> Result<PublishHead, Answer> {
    let headers = request.headers();
    let kind = kind_of(headers)?;
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
        kind,
        length,
        expects_continue,
    })
}

/// What the body is. The type that `curl -d` sends, a form's, is taken for text.
fn kind_of(headers: &HeaderMap) -> Result<Kind, Answer> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(unsupported("send the body without a Content-Encoding"));
    }
    let Some(value) = single(headers, CONTENT_TYPE)? else {
        return Ok(Kind::Text);
    };
    let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let mut charsets = parts.filter_map(|part| part.strip_prefix("charset="));
    if !charsets.all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii")) {
        return Err(unsupported("send the text as UTF-8"));
    }
    match kind {
        "application/octet-stream" => Ok(Kind::Binary),
        "application/x-ndjson" => Ok(Kind::Lines),
        "application/json" | "application/x-www-form-urlencoded" => Ok(Kind::Text),
        _ if kind.starts_with("text/") || kind.ends_with("+json") => Ok(Kind::Text),
        _ => Err(unsupported(
            "send text, JSON, messages in lines as application/x-ndjson, \
             or bytes as application/octet-stream",
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
        let mut answer = [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
        send_all(body.socket, &mut answer, body.deadline).map_err(|_| gone())?;
    }
    let bytes = match head.length {
        Some(length) => {
            let mut bytes = Vec::new();
            body.take(length, &mut bytes)?;
            bytes
        }
        None => body.take_chunks(max)?,
    };
    if head.kind == Kind::Binary {
        return Ok(Message::Binary(bytes));
    }
    String::from_utf8(bytes).map(Message::Text).map_err(|_| {
        Answer::bad_request(
            "text must be UTF-8; send bytes with Content-Type: application/octet-stream",
        )
    })
}
