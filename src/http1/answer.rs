//! An HTTP answer and its delivery.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::date::http_date;
use crate::net::send_all;
use crate::net::{Stop, Stream};

/// How long an answered connection is drained, so that what the peer still
/// sends causes no reset, which would destroy the answer.
pub(crate) const DRAIN: Duration = Duration::from_millis(500);
/// In how many seconds a refused client may try again.
pub(crate) const RETRY_AFTER: u32 = 5;
/// The answer's text while the server stops.
pub(crate) const STOPPING: &str = "the server is shutting down; try again later";
/// The answer's text where the system refuses a thread.
pub(crate) const NO_THREAD: &str = "the server has no thread for more; try again later";
/// How long an answer may take to be written.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a file is sent at once.
const PIECE: usize = 16 * 1024;

/// An HTTP answer that ends the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: String,
    /// In place of the body: a file, and how many bytes of it.
    pub(crate) file: Option<(File, u64)>,
    /// In place of the body: bytes that need not be text. Boxed, since few
    /// answers have any.
    pub(crate) bytes: Option<Box<Bytes>>,
    /// Whether the request was a HEAD: the body is announced and not sent.
    pub(crate) head_only: bool,
}

impl Answer {
    /// An answer with one line of text, which says what was wrong and what
    /// to do.
    pub(crate) fn text(status: StatusCode, line: impl Into<String>) -> Answer {
        let mut body = line.into();
        body.push('\n');
        Answer::new(status, "text/plain; charset=utf-8", body)
    }

    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: String) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            content_type: HeaderValue::from_static(content_type),
            body,
            file: None,
            bytes: None,
            head_only: false,
        }
    }

    pub(crate) fn bad_request(line: impl Into<String>) -> Answer {
        Answer::text(StatusCode::BAD_REQUEST, line)
    }

    /// The answer while the server cannot serve more.
    pub(crate) fn unavailable(line: &str, retry_after: u32) -> Answer {
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, line)
            .header(http::header::RETRY_AFTER, retry_after.into())
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Answer {
        self.headers.push((name, value));
        self
    }

    /// The answer as it goes on the wire.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(self.sent_body());
        bytes
    }

    /// The part of the body that is sent.
    fn sent_body(&self) -> &[u8] {
        match self.head_only || !self.has_body() {
            true => b"",
            false => self.body.as_bytes(),
        }
    }

    /// A 204 and a 304 have neither a body nor a length (RFC 9110 §8.6).
    fn has_body(&self) -> bool {
        !matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
    }

    /// The status line and the headers, up to the empty line.
    fn head(&self) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or("");
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()).into_bytes();
        let names_connection = self
            .headers
            .iter()
            .any(|(name, _)| name == http::header::CONNECTION);
        let mut line = |name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        };
        if self.has_body() {
            line("content-type", self.content_type.as_bytes());
            let body = self.body.len() as u64;
            let body = self.bytes.as_ref().map_or(body, |bytes| bytes.len() as u64);
            let len = self.file.as_ref().map_or(body, |(_, len)| *len);
            line("content-length", len.to_string().as_bytes());
        }
        line("date", http_date().as_bytes());
        if !names_connection {
            line("connection", b"close");
        }
        for (name, value) in &self.headers {
            line(name.as_str(), value.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Writes the answer, and closes the socket so that the answer arrives: our
    /// direction first, then a short drain. All of it has a deadline, so that a
    /// peer that reads slowly does not keep its place.
    /// A file, or your program's bytes, may take longer, each piece by itself,
    /// until the server stops.
    pub(crate) fn deliver(&self, socket: &Stream, stop: &Stop) -> io::Result<()> {
        let head = self.head();
        let mut slices = [IoSlice::new(&head), IoSlice::new(self.sent_body())];
        let mut deadline = Instant::now() + ANSWER_TIMEOUT;
        send_all(socket, &mut slices, deadline)?;
        if let Some((file, len)) = self.file.as_ref().filter(|_| !self.head_only) {
            send_pieces(file.take(*len), *len, socket, stop)?;
            deadline = Instant::now() + ANSWER_TIMEOUT;
        }
        let bytes = self.bytes.as_deref();
        if let Some(bytes) = bytes.filter(|_| self.has_body() && !self.head_only) {
            send_pieces(&bytes[..], bytes.len() as u64, socket, stop)?;
            deadline = Instant::now() + ANSWER_TIMEOUT;
        }
        socket.finish_within(deadline.saturating_duration_since(Instant::now()));
        socket.drain(Instant::now() + DRAIN)
    }
}

/// Sends a body piece by piece, so that no file is in memory as a whole, and a
/// peer that reads slowly gets all of it. A file that has become shorter cuts
/// the connection: its length was announced.
fn send_pieces(mut body: impl Read, len: u64, socket: &Stream, stop: &Stop) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut left = len;
    while left > 0 {
        let read = body.read(&mut piece)?;
        if read == 0 || stop.is_triggered() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        send_all(socket, &mut [IoSlice::new(&piece[..read])], deadline)?;
        left -= read as u64;
    }
    Ok(())
}

/// The answer while the server stops.
pub(crate) fn stopping() -> Answer {
    Answer::unavailable(STOPPING, RETRY_AFTER)
}
