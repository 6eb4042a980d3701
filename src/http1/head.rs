//! Plain HTTP on the server's port: the request head, read within a deadline,
//! and complete answers that are delivered.

use std::io::{self, Read};
use std::time::Instant;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};

use crate::http1::{Answer, stopping};
use crate::net::Stream;
use crate::net::{Stop, Wake};

/// The largest request head, in bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// The longest request target, in bytes.
pub(super) const MAX_TARGET: usize = 4 * 1024;
/// The most header lines.
pub(crate) const MAX_HEADERS: usize = 100;
/// Memory of this size goes back to all threads when it is freed. Up to 1,032
/// bytes, glibc keeps it for the thread, which a client has as long as it is
/// here.
const NOT_KEPT: usize = 1280;

/// A request head, and the bytes that came after it in the same reads.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request<()>,
    pub(crate) rest: Vec<u8>,
}

/// Why there is no request head.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The peer gets this answer.
    Answered(Answer),
    /// The peer speaks another protocol; it is not answered in HTTP/1.1.
    Foreign(&'static str),
    /// The stream has ended or failed, so no answer can be sent.
    Gone(io::ErrorKind),
}

/// Reads a request head by the deadline, however slowly its bytes come.
// Not inlined: `Readers` says why the stack counts.
#[inline(never)]
pub(crate) fn read_head(
    mut socket: &Stream,
    stop: &Stop,
    deadline: Instant,
) -> Result<Head, NoHead> {
    let gone = |error: io::Error| NoHead::Gone(error.kind());
    let mut bytes = Vec::with_capacity(NOT_KEPT);
    loop {
        match socket.wait_readable(stop, Some(deadline)).map_err(gone)? {
            Wake::Ready => {}
            Wake::Stopping => return Err(NoHead::Answered(stopping())),
            Wake::TimedOut => return Err(NoHead::Answered(timed_out())),
        }
        if bytes.len() == bytes.capacity() {
            bytes.reserve(bytes.len());
        }
        let filled = bytes.len();
        bytes.resize(bytes.capacity().min(MAX_HEAD + 1), 0);
        let n = socket.read(&mut bytes[filled..]);
        bytes.truncate(filled + n.as_ref().copied().unwrap_or(0));
        match n {
            Ok(0) => return Err(NoHead::Gone(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(gone(error)),
        }
        if let Some(protocol) = foreign_protocol(&bytes) {
            return Err(NoHead::Foreign(protocol));
        }
        // Only the end of a line can complete a head, or reveal a new error.
        let complete_lines = bytes[filled..].contains(&b'\n');
        if complete_lines
            && let Some((request, len)) = parse_head(&bytes).map_err(NoHead::Answered)?
        {
            let rest = bytes.split_off(len);
            return Ok(Head { request, rest });
        }
        if bytes.len() > MAX_HEAD {
            return Err(NoHead::Answered(too_large(&bytes)));
        }
    }
}

fn timed_out() -> Answer {
    Answer::text(
        StatusCode::REQUEST_TIMEOUT,
        "the request head did not come in time; send it at once",
    )
}

fn too_large(bytes: &[u8]) -> Answer {
    if !bytes.contains(&b'\n') {
        return target_too_long();
    }
    Answer::text(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        format!("the request head is larger than {MAX_HEAD} bytes; send fewer or shorter headers"),
    )
}

fn target_too_long() -> Answer {
    Answer::text(
        StatusCode::URI_TOO_LONG,
        format!("the request target is longer than {MAX_TARGET} bytes; use a shorter path"),
    )
}

/// Recognises other protocols by their first bytes.
fn foreign_protocol(bytes: &[u8]) -> Option<&'static str> {
    // A TLS record of type handshake (RFC 8446 §5.1).
    if bytes.starts_with(b"\x16\x03") {
        return Some("TLS: use ws:// and http://, or give this port a certificate (tls-cert)");
    }
    // A proxy's line before the request (the PROXY protocol, versions 1 and 2).
    if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        return Some("the PROXY protocol, which is not expected here: turn it off in the proxy");
    }
    // The HTTP/2 connection preface (RFC 9113 §3.4).
    if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
        return Some("HTTP/2: use HTTP/1.1");
    }
    None
}

/// Parses a request head. `None`: it is not whole yet. Otherwise the request
/// and the length of its head, or the answer that refuses it.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<(Request<()>, usize)>, Answer> {
    // On the heap, because stack pages stay resident once touched.
    let mut lines = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut lines);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::Version) => {
            return match as_http_1_1(bytes) {
                Some(bytes) => parse_head(&bytes),
                // Only a whole line says which version it is.
                None if !bytes.trim_ascii_start().contains(&b'\n') => Ok(None),
                None => Err(wrong_version(bytes)),
            };
        }
        Err(error) => return Err(malformed(error)),
    };
    if len > MAX_HEAD {
        return Err(too_large(bytes));
    }
    let target = head.path.unwrap_or_default();
    if target.len() > MAX_TARGET {
        return Err(target_too_long());
    }
    let method = Method::from_bytes(head.method.unwrap_or_default().as_bytes())
        .map_err(|_| Answer::bad_request("the method is malformed"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(parse_target(target)?)
        .version(match head.version {
            Some(0) => Version::HTTP_10,
            _ => Version::HTTP_11,
        })
        .body(())
        .map_err(|_| Answer::bad_request("the request line is malformed"))?;
    // An entry has about 100 bytes.
    request.headers_mut().reserve(NOT_KEPT / 100);
    for line in head.headers.iter() {
        let header = HeaderName::try_from(line.name).ok();
        let Some((name, value)) = header.zip(HeaderValue::from_bytes(line.value).ok()) else {
            return Err(Answer::bad_request("a header line is malformed"));
        };
        request.headers_mut().append(name, value);
    }
    Ok(Some((request, len)))
}

/// The target in origin form or absolute form (RFC 9112 §3.2).
fn parse_target(target: &str) -> Result<Uri, Answer> {
    let uri: Uri = target
        .parse()
        .map_err(|_| Answer::bad_request("the request target is malformed"))?;
    let is_absolute = uri.scheme().is_some();
    if target.contains('#') || !(is_absolute || target.starts_with('/')) {
        return Err(Answer::bad_request(
            "the request target must be a path, such as /lobby",
        ));
    }
    Ok(uri)
}

fn malformed(error: httparse::Error) -> Answer {
    match error {
        httparse::Error::TooManyHeaders => Answer::text(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request has more than {MAX_HEADERS} headers; send fewer"),
        ),
        error => Answer::bad_request(format!("the request head is malformed: {error}")),
    }
}

/// The same head in HTTP/1.1, where it is of a later HTTP/1: such a request is
/// processed as one of the highest minor version known (RFC 9110 §2.5).
fn as_http_1_1(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes
        .windows(9)
        .position(|nine| nine.starts_with(b" HTTP/1."))?
        + 8;
    let is_in_first_line = !bytes[..at].trim_ascii_start().contains(&b'\n');
    let is_last_word = bytes.get(at + 1).is_some_and(|b| b"\r\n".contains(b));
    let is_later = matches!(bytes[at], b'2'..=b'9');
    (is_in_first_line && is_last_word && is_later).then(|| {
        let mut bytes = bytes.to_vec();
        bytes[at] = b'1';
        bytes
    })
}

/// What is wrong with the third word of a request line: it is a version that
/// is not spoken here (RFC 9110 §15.6.6), or no version at all, because the
/// target holds a blank.
fn wrong_version(bytes: &[u8]) -> Answer {
    let mut lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let is_version = |word: &[u8]| {
        let number = word.strip_prefix(b"HTTP/").unwrap_or_default();
        !number.is_empty() && number.iter().all(|b| b.is_ascii_digit() || *b == b'.')
    };
    match words[..] {
        [_, _, version] if is_version(version) => Answer::text(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "this server speaks HTTP/1.1 and HTTP/1.0",
        ),
        _ => Answer::bad_request(
            "the request line is not `METHOD TARGET HTTP/1.1`; a blank in the target is %20",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_or_waits() {
        let head = b"GET /lobby?x=1 HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\nrest";
        for cut in 0..head.len() - 4 {
            assert!(parse_head(&head[..cut]).unwrap().is_none(), "{cut}");
        }
        let (request, len) = parse_head(head).unwrap().unwrap();
        assert_eq!(&head[len..], b"rest");
        assert_eq!(request.uri().path(), "/lobby");
        assert_eq!(request.headers().get_all("x").iter().count(), 2);
    }

    #[test]
    fn an_answer_is_complete_http() {
        let answer = Answer::unavailable("full", 5);
        let text = String::from_utf8(answer.to_bytes()).unwrap();
        let (before, rest) = text.split_once("date: ").unwrap();
        let (date, behind) = rest.split_once("\r\n").unwrap();
        assert!(date.ends_with(" GMT"), "{date}");
        assert_eq!(
            [before, behind].concat(),
            "HTTP/1.1 503 Service Unavailable\r\n\
             content-type: text/plain; charset=utf-8\r\n\
             content-length: 5\r\n\
             connection: close\r\n\
             retry-after: 5\r\n\r\nfull\n"
        );
    }
}
