//! HTTP/1.1 as a client speaks it: requests, the opening handshake among them, and
//! answers taken apart.

use std::io::{self, ErrorKind, Read};

use super::Result;

/// The example of RFC 6455 §1.3, whose answer is known …
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// … and the header lines of a good opening handshake with it.
pub(crate) const UPGRADE: [&str; 5] = [
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
/// The head of an answer is shorter than this.
pub(crate) const MAX_HEAD: usize = 4096;

/// A request without a body.
pub(crate) fn request(line: &str, headers: &[&str]) -> Vec<u8> {
    let mut text = format!("{line}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A good opening handshake for this target.
pub(crate) fn handshake(target: &str) -> Vec<u8> {
    request(&format!("GET {target} HTTP/1.1"), &UPGRADE)
}

/// A request without a body that upgrades nothing.
pub(crate) fn plain(method: &str, target: &str, headers: &[&str]) -> Vec<u8> {
    let headers = [&["Host: localhost"], headers].concat();
    request(&format!("{method} {target} HTTP/1.1"), &headers)
}

/// A request to follow a room's events.
pub(crate) fn follow(target: &str, headers: &[&str]) -> Vec<u8> {
    let headers = [&["Accept: text/event-stream"], headers].concat();
    plain("GET", target, &headers)
}

/// A request to publish this body.
pub(crate) fn post(target: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    let head = plain("POST", target, &[headers, &[&length]].concat());
    [&head, body].concat()
}

/// Where the head at the start of some bytes ends.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    let blank = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    blank.map(|at| at + 4)
}

/// Reads the head of an answer, byte by byte so as to take nothing behind it.
pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Fails unless this is the head that answers a [`handshake`] with the upgrade.
pub(crate) fn check_upgrade(head: &str) -> Result<()> {
    match head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
        true => Ok(()),
        false => Err(format!("no upgrade: {head:?}").into()),
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A head and what follows it.
    pub(crate) fn parse(text: &str) -> Result<Answer> {
        let parts = || {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let mut lines = head.split("\r\n");
            let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
            let header = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                Some((name.to_lowercase(), value.to_owned()))
            };
            Some(Answer {
                status: status.parse().ok()?,
                headers: lines.map(header).collect::<Option<_>>()?,
                body: body.to_owned(),
            })
        };
        parts().ok_or_else(|| format!("no answer of HTTP/1.1: {text:?}").into())
    }

    /// Reads to the end of the stream, which must come in order and not by a reset,
    /// and fails unless the answer is whole and says that it is the last.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Answer> {
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        end.map_err(|error| format!("no end of stream: {error}, after {text:?}"))?;
        let answer = Answer::parse(&text)?;
        let length = match answer.status {
            204 | 304 => String::new(),
            _ => answer.body.len().to_string(),
        };
        if answer.header("content-length") != length {
            return Err(format!("a body of another length: {answer:?}").into());
        }
        if !answer.header("connection").contains("close") {
            return Err(format!("an answer that does not say it is the last: {answer:?}").into());
        }
        Ok(answer)
    }

    /// All values of a header, joined; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> String {
        let lines = self.headers.iter().filter(|(n, _)| n == name);
        let values: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    }
}
