//! The body of a request: by length or in chunks.

use std::io::{self, Read};
use std::time::Instant;

use http::StatusCode;

use crate::http1::head::{MAX_HEAD, MAX_HEADERS};
use crate::http1::{Answer, stopping};
use crate::net::Stream;
use crate::net::{Stop, Wake};

/// The longest line that opens a chunk, its extensions included.
const MAX_CHUNK_LINE: usize = 256;

pub(crate) fn too_large(max: usize) -> Answer {
    Answer::text(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("a message has at most {max} bytes here"),
    )
}

pub(crate) fn gone() -> Answer {
    Answer::bad_request("the body ended before its announced end")
}

/// The body of a request on its way in.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) socket: &'a Stream,
    pub(crate) stop: &'a Stop,
    /// Bytes that came with the head and are not taken yet.
    pub(crate) early: Vec<u8>,
    pub(crate) deadline: Instant,
}

impl Body<'_> {
    /// Waits for more bytes.
    fn fill(&mut self) -> Result<(), Answer> {
        let wake = self.socket.wait_readable(self.stop, Some(self.deadline));
        match wake.map_err(|_| gone())? {
            Wake::Ready => {}
            Wake::Stopping => return Err(stopping()),
            Wake::TimedOut => {
                let line = "the body did not come in time; send it at once";
                return Err(Answer::text(StatusCode::REQUEST_TIMEOUT, line));
            }
        }
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => Err(gone()),
            Ok(n) => {
                self.early.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(gone()),
        }
    }

    /// Takes exactly `length` more bytes.
    pub(crate) fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), Answer> {
        let end = into.len() + length;
        loop {
            let n = self.early.len().min(end - into.len());
            into.extend(self.early.drain(..n));
            if into.len() == end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Takes a chunked body (RFC 9112 §7.1), its trailers too.
    pub(crate) fn take_chunks(&mut self, max: usize) -> Result<Vec<u8>, Answer> {
        let mut bytes = Vec::new();
        loop {
            let size = self.chunk_size()?;
            if size == 0 {
                self.skip_trailers()?;
                return Ok(bytes);
            }
            if size > (max - bytes.len()) as u64 {
                return Err(too_large(max));
            }
            self.take(size as usize, &mut bytes)?;
            let mut end = Vec::new();
            self.take(2, &mut end)?;
            if end != b"\r\n" {
                return Err(Answer::bad_request("a chunk is longer than it says"));
            }
        }
    }

    fn chunk_size(&mut self) -> Result<u64, Answer> {
        let end = loop {
            match self.early.iter().position(|b| *b == b'\n') {
                Some(end) => break end + 1,
                None if self.early.len() < MAX_CHUNK_LINE => self.fill()?,
                None => break usize::MAX,
            }
        };
        let line = self.early.get(..end.min(MAX_CHUNK_LINE + 1));
        let size = line.and_then(parse_chunk_line);
        let size = size.ok_or_else(|| Answer::bad_request("a chunk's size is malformed"))?;
        self.early.drain(..end);
        Ok(size)
    }

    /// Skips the trailers and the empty line after the last chunk.
    fn skip_trailers(&mut self) -> Result<(), Answer> {
        let mut lines = 0;
        loop {
            let end = self.early.windows(2).position(|pair| pair == b"\r\n");
            match end {
                Some(0) => return Ok(()),
                Some(end) if lines < MAX_HEADERS && !holds_control(&self.early[..end]) => {
                    self.early.drain(..end + 2);
                    lines += 1;
                }
                None if self.early.len() < MAX_HEAD => self.fill()?,
                _ => {
                    return Err(Answer::bad_request(
                        "the trailers are malformed or too large",
                    ));
                }
            }
        }
    }
}

/// The size that a chunk's line says (RFC 9112 §7.1). An extension must not
/// hold a line end of any kind: some servers take it for the end of the line,
/// and would see another body.
fn parse_chunk_line(line: &[u8]) -> Option<u64> {
    let text = line.strip_suffix(b"\r\n")?;
    if line.len() > MAX_CHUNK_LINE || holds_control(text) {
        return None;
    }
    match httparse::parse_chunk_size(line) {
        // httparse parses a line without a digit as 0.
        Ok(httparse::Status::Complete((used, size)))
            if used == line.len() && line[0].is_ascii_hexdigit() =>
        {
            Some(size)
        }
        _ => None,
    }
}

fn holds_control(line: &[u8]) -> bool {
    line.iter().any(|b| b.is_ascii_control() && *b != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunks_line_has_a_size_and_no_line_end_before_its_own() {
        for (line, size) in [
            (&b"3\r\n"[..], Some(3)),
            (b"0\r\n", Some(0)),
            (b"Ff;name=\"a\tb\"\r\n", Some(255)),
            (b"3 ;a\r\n", Some(3)),
            (b"3;a\n", None),
            (b"3;a\nxx\r\n", None),
            (b"3;a\rxx\r\n", None),
            (b"3;\0\r\n", None),
            (b"3\n", None),
            (b"\r\n", None),
            (b";a\r\n", None),
            (b"-3\r\n", None),
            (b"0x3\r\n", None),
            (b"10000000000000000\r\n", None),
        ] {
            assert_eq!(
                parse_chunk_line(line),
                size,
                "{:?}",
                line.escape_ascii().to_string()
            );
        }
        let long = [&[b'1'; 1], &b";"[..], &[b'a'; MAX_CHUNK_LINE], b"\r\n"].concat();
        assert_eq!(parse_chunk_line(&long), None);
    }
}
