//! Tracks where in a message the byte stream is.
//!
//! tungstenite parses and checks the frames; it does not say whether a message
//! has begun, nor in how many fragments it comes. Both are needed for limits,
//! so the headers are scanned here as well.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

/// The longest frame header (RFC 6455 §5.2).
const MAX_HEADER: usize = 14;

/// Follows a client's byte stream from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The beginning of a header that came in pieces.
    header: [u8; MAX_HEADER],
    header_len: usize,
    payload_left: u64,
    /// How many data frames the incomplete message has so far.
    fragments: usize,
    /// A message has begun, and its final fragment has not.
    open: bool,
    /// A header was invalid; tungstenite will report why.
    broken: bool,
}

impl Progress {
    /// Takes the next bytes of the stream. Returns how many of them come
    /// before the header of a frame that is one fragment too many.
    pub(crate) fn feed(&mut self, all: &[u8], max_fragments: usize) -> usize {
        let mut bytes = all;
        while !bytes.is_empty() && !self.broken {
            let before = all.len() - bytes.len();
            if self.payload_left > 0 {
                let skip = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= skip;
                bytes = &bytes[skip as usize..];
            } else if self.header_len == 0 {
                bytes = match self.header_at(bytes) {
                    Some(len) => &bytes[len..],
                    None => {
                        self.header_len = bytes.len().min(MAX_HEADER);
                        self.header[..self.header_len].copy_from_slice(&bytes[..self.header_len]);
                        return all.len();
                    }
                };
            } else {
                self.header[self.header_len] = bytes[0];
                self.header_len += 1;
                bytes = &bytes[1..];
                let header = self.header;
                if self.header_at(&header[..self.header_len]).is_some() {
                    self.header_len = 0;
                } else if self.header_len == MAX_HEADER {
                    self.broken = true;
                }
            }
            if self.fragments > max_fragments {
                return before;
            }
        }
        all.len()
    }

    /// Reads the header at the beginning of `bytes`; returns its length, or
    /// `None` if it is incomplete.
    fn header_at(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut cursor = Cursor::new(bytes);
        let Ok(parsed) = FrameHeader::parse(&mut cursor) else {
            self.broken = true;
            return None;
        };
        let (header, payload) = parsed?;
        self.payload_left = payload;
        if let OpCode::Data(kind) = header.opcode {
            self.fragments = match kind {
                Data::Continue => self.fragments + 1,
                _ => 1,
            };
            self.open = !header.is_final;
        }
        Some(cursor.position() as usize)
    }

    /// Whether a frame or a fragmented message is incomplete.
    pub(crate) fn in_message(&self) -> bool {
        self.open || self.payload_left > 0 || self.header_len > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Hel" + "lo" in two masked fragments with a Ping between them.
    const STREAM: &[u8] =
        b"\x01\x83\x01\x02\x03\x04abc\x89\x80\x01\x02\x03\x04\x80\x82\x01\x02\x03\x04de";

    #[test]
    fn every_cut_of_the_stream_gives_the_same_answer() {
        for cut in 0..STREAM.len() {
            let mut progress = Progress::default();
            progress.feed(&STREAM[..cut], 9);
            assert_eq!(progress.in_message(), cut > 0, "cut at {cut}");
            progress.feed(&STREAM[cut..], 9);
            assert!(!progress.in_message(), "cut at {cut}");
            assert_eq!(progress.fragments, 2);
        }
    }

    #[test]
    fn the_fragment_that_is_too_many_is_not_passed() {
        let mut progress = Progress::default();
        assert_eq!(progress.feed(STREAM, 2), STREAM.len());
        let mut progress = Progress::default();
        assert_eq!(progress.feed(STREAM, 1), 15, "the Ping still is");
    }

    #[test]
    fn a_byte_at_a_time() {
        let mut progress = Progress::default();
        for (i, byte) in STREAM.iter().enumerate() {
            progress.feed(&[*byte], 9);
            assert_eq!(progress.in_message(), i + 1 < STREAM.len());
        }
    }

    #[test]
    fn a_large_frame_is_in_progress_until_its_last_byte() {
        let mut progress = Progress::default();
        progress.feed(b"\x82\xff\0\0\0\0\0\x01\x00\x00\x01\x02\x03\x04", 9);
        progress.feed(&[0; 65535], 9);
        assert!(progress.in_message());
        progress.feed(&[0], 9);
        assert!(!progress.in_message());
        assert_eq!(progress.fragments, 1);
    }
}
