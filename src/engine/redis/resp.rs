//! The protocol of Redis (RESP 2): commands to bytes, and bytes to replies,
//! within bounds.
//!
//! Written here because what the engine needs of it is small, and because a
//! client library gives a reply all the memory that it announces.

use bytes::{Buf, Bytes, BytesMut};

/// The longest line of a reply: a number, a state, or an error.
const MAX_LINE: usize = 4096;
/// How deep replies stand in each other: an entry of a stream is four deep.
const MAX_DEPTH: usize = 8;
/// The most elements of one array.
const MAX_ELEMENTS: usize = 100_000;

/// A reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    Number(i64),
    Bytes(Bytes),
    Many(Vec<Reply>),
    /// An error in place of the reply.
    Error(String),
}

/// Why bytes are not a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// They are something else; shows how they begin.
    Unknown(String),
    /// The reply is larger than what may come.
    TooLarge,
}

impl Reply {
    /// The text of a reply that is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number of a reply that is one, as a number or as text.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Reply::Number(number) => u64::try_from(*number).ok(),
            _ => self.text()?.parse().ok(),
        }
    }

    pub(super) fn list(&self) -> Option<&[Reply]> {
        match self {
            Reply::Many(replies) => Some(replies),
            _ => None,
        }
    }
}

/// Writes a command.
pub(super) fn write_command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// Gathers the bytes of replies, at most `max` of one reply.
#[derive(Debug)]
pub(super) struct Parser {
    pub(super) buffer: BytesMut,
    max: usize,
    /// A reply is not whole before the buffer has this many bytes.
    needed: usize,
}

impl Parser {
    pub(super) fn new(max: usize) -> Parser {
        Parser {
            buffer: BytesMut::new(),
            max,
            needed: 0,
        }
    }

    /// Takes the next reply, if it is whole.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Malformed> {
        if self.buffer.len() < self.needed.max(1) {
            return Ok(None);
        }
        let mut scan = Scan {
            bytes: &self.buffer,
            at: 0,
            max: self.max,
        };
        match scan.skip(0) {
            Ok(()) => {
                let len = scan.at;
                let mut bytes = self.buffer.split_to(len).freeze();
                self.needed = 0;
                Ok(Some(take(&mut bytes)))
            }
            Err(Stop::Missing(needed)) => {
                self.needed = needed;
                Ok(None)
            }
            Err(Stop::Malformed(malformed)) => Err(malformed),
        }
    }
}

enum Stop {
    /// The reply has at least this many bytes.
    Missing(usize),
    Malformed(Malformed),
}

/// Looks whether a reply is whole, and well-formed.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    max: usize,
}

impl Scan<'_> {
    fn skip(&mut self, depth: usize) -> Result<(), Stop> {
        let unknown = |bytes: &[u8]| {
            let begin = &bytes[..bytes.len().min(40)];
            let shown = String::from_utf8_lossy(begin).into_owned();
            Stop::Malformed(Malformed::Unknown(shown))
        };
        if depth > MAX_DEPTH {
            return Err(unknown(&self.bytes[self.at..]));
        }
        let start = self.at;
        let kind = *self.bytes.get(start).ok_or(Stop::Missing(start + 1))?;
        if !b"+-:$*".contains(&kind) {
            return Err(unknown(&self.bytes[start..]));
        }
        let line = self.line()?;
        let length = std::str::from_utf8(line)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        match (kind, length) {
            (b'+' | b'-', _) | (b':', Some(_)) | (b'$' | b'*', Some(-1)) => Ok(()),
            (b'$', Some(length @ 0..)) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > self.max.saturating_sub(self.at) {
                    return Err(Stop::Malformed(Malformed::TooLarge));
                }
                let end = self.at + length + 2;
                if self.bytes.len() < end {
                    return Err(Stop::Missing(end));
                }
                if &self.bytes[end - 2..end] != b"\r\n" {
                    return Err(unknown(&self.bytes[start..]));
                }
                self.at = end;
                Ok(())
            }
            (b'*', Some(length @ 0..)) => {
                if usize::try_from(length).unwrap_or(usize::MAX) > MAX_ELEMENTS {
                    return Err(Stop::Malformed(Malformed::TooLarge));
                }
                (0..length).try_for_each(|_| self.skip(depth + 1))
            }
            _ => Err(unknown(&self.bytes[start..])),
        }
    }

    /// The rest of a line, behind its first byte.
    fn line(&mut self) -> Result<&[u8], Stop> {
        let rest = &self.bytes[self.at + 1..];
        match rest.iter().take(MAX_LINE).position(|byte| *byte == b'\r') {
            Some(end) if rest.len() > end + 1 => {
                self.at += 1 + end + 2;
                Ok(&rest[..end])
            }
            None if rest.len() >= MAX_LINE => Err(Stop::Malformed(Malformed::TooLarge)),
            _ => Err(Stop::Missing(self.bytes.len() + 1)),
        }
    }
}

/// Takes a reply apart that was scanned.
fn take(bytes: &mut Bytes) -> Reply {
    let kind = bytes.first().copied().unwrap_or(b'$');
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\r')
        .unwrap_or(bytes.len());
    let line = bytes.slice(1.min(end)..end);
    bytes.advance((end + 2).min(bytes.len()));
    let text = String::from_utf8_lossy(&line);
    let number: i64 = text.parse().unwrap_or(-1);
    match (kind, usize::try_from(number)) {
        (b'+', _) => Reply::Bytes(line),
        (b'-', _) => Reply::Error(text.into_owned()),
        (b':', _) => Reply::Number(number),
        (b'*', Ok(length)) => Reply::Many((0..length).map(|_| take(bytes)).collect()),
        (b'$', Ok(length)) => {
            let value = bytes.split_to(length.min(bytes.len()));
            bytes.advance(2.min(bytes.len()));
            Reply::Bytes(value)
        }
        _ => Reply::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser(bytes: &[u8]) -> Parser {
        let mut parser = Parser::new(1000);
        parser.buffer.extend_from_slice(bytes);
        parser
    }

    #[test]
    fn a_reply_is_the_same_however_it_comes() {
        let bytes = b"*5\r\n$5\r\nhe\r\no\r\n:-7\r\n$-1\r\n*1\r\n+OK\r\n-ERR no\r\n:1\r\n";
        let expected = Reply::Many(vec![
            Reply::Bytes(Bytes::from_static(b"he\r\no")),
            Reply::Number(-7),
            Reply::Nothing,
            Reply::Many(vec![Reply::Bytes(Bytes::from_static(b"OK"))]),
            Reply::Error("ERR no".to_owned()),
        ]);
        let mut whole = parser(bytes);
        assert_eq!(whole.next(), Ok(Some(expected.clone())));
        assert_eq!(whole.next(), Ok(Some(Reply::Number(1))));
        assert_eq!(whole.next(), Ok(None));

        let mut slow = parser(b"");
        let mut replies = Vec::new();
        for byte in bytes {
            slow.buffer.extend_from_slice(&[*byte]);
            replies.extend(slow.next().unwrap());
        }
        assert_eq!(replies, [expected, Reply::Number(1)]);
    }

    #[test]
    fn what_is_no_reply_is_shown() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\x15\x03\x03\x00\x02\x02\x46",
            b"$x\r\n",
            b"$2\r\nabcd",
            b":1.5\r\n",
            b"*-2\r\n",
        ] {
            let malformed = parser(bytes).next().unwrap_err();
            assert!(matches!(malformed, Malformed::Unknown(_)), "{malformed:?}");
        }
        let nested = b"*1\r\n".repeat(20);
        assert!(parser(&nested).next().is_err());
    }

    #[test]
    fn a_reply_has_no_more_memory_than_it_may() {
        for bytes in [
            "$1000000000\r\nabc".to_owned(),
            "*2\r\n$900\r\n".to_owned() + &"x".repeat(900) + "\r\n$200\r\n",
            "*1000000000\r\n".to_owned(),
            "+".to_owned() + &"x".repeat(MAX_LINE + 1),
            "$9223372036854775807\r\n".to_owned(),
        ] {
            let malformed = parser(bytes.as_bytes()).next();
            assert_eq!(malformed, Err(Malformed::TooLarge), "{}", &bytes[..10]);
        }
    }

    /// Bytes made of pieces of replies are taken or refused, whatever they
    /// are.
    #[test]
    fn any_bytes_are_taken_or_refused() {
        let pieces: [&[u8]; 9] = [
            b"*", b"$", b"2", b"-1", b"\r\n", b"\r", b"+OK", b":", b"\xff",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut parser = Parser::new(100);
            for _ in 0..12 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                parser
                    .buffer
                    .extend_from_slice(pieces[(state >> 33) as usize % pieces.len()]);
                if parser.next().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_command_says_how_long_it_is() {
        let mut out = Vec::new();
        write_command(&mut out, &[b"GET", b"a\r\n"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
    }
}
