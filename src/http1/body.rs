//! The body of a request: by length or in chunks.

use std::io::{self, Read};
use std::time::Instant;

use http::StatusCode;

use crate::http1::answer::{Answer, stopping};
use crate::http1::head::{MAX_HEAD, MAX_HEADERS};
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
        let wake = self.stop.wait_readable(self.socket, Some(self.deadline));
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
        loop {
            match httparse::parse_chunk_size(&self.early) {
                // httparse parses a line without a digit as 0.
                Ok(httparse::Status::Complete((used, size)))
                    if self.early.first().is_some_and(u8::is_ascii_hexdigit) =>
                {
                    self.early.drain(..used);
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) if self.early.len() < MAX_CHUNK_LINE => {
                    self.fill()?
                }
                _ => return Err(Answer::bad_request("a chunk's size is malformed")),
            }
        }
    }

    /// Skips the trailers and the empty line after the last chunk.
    fn skip_trailers(&mut self) -> Result<(), Answer> {
        let mut lines = 0;
        loop {
            let end = self.early.windows(2).position(|pair| pair == b"\r\n");
            match end {
                Some(0) => return Ok(()),
                Some(end) if lines < MAX_HEADERS => {
                    self.early.drain(..end + 2);
                    lines += 1;
                }
                None if self.early.len() < MAX_HEAD => self.fill()?,
                _ => return Err(Answer::bad_request("the trailers are too large")),
            }
        }
    }
}
