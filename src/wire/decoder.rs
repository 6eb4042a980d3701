//! From a client's bytes to its messages, without I/O.
//!
//! tungstenite parses and checks the frames. Its state is made when bytes
//! come and dropped when the client rests, or has sent something large, so
//! that an idle client holds no buffer. What it would write is discarded: pongs and Close replies are the
//! hub's to send.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::Message as Ws;
use tungstenite::error::{CapacityError, Error as WsError};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use crate::close::{Cause, CloseCode, CloseFrame, Violation};
use crate::config::Config;
use crate::wire::headers::Progress;

/// A payload larger than this leaves a large buffer behind.
const LARGE: usize = 64 * 1024;

/// Something whole that a client has sent.
#[derive(Debug)]
pub(crate) enum Unit {
    Text(tungstenite::Utf8Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseFrame),
}

impl Unit {
    /// How many bytes of payload it holds.
    fn len(&self) -> usize {
        match self {
            Unit::Text(text) => text.len(),
            Unit::Binary(bytes) | Unit::Ping(bytes) | Unit::Pong(bytes) => bytes.len(),
            Unit::Close(frame) => frame.reason.len(),
        }
    }
}

/// The protocol's state of one client.
#[derive(Debug)]
pub(crate) struct Decoder {
    settings: WebSocketConfig,
    max_fragments: usize,
    context: Option<WebSocketContext>,
    progress: Progress,
    /// The Close frame has come.
    closed: bool,
}

impl Decoder {
    pub(crate) fn new(config: &Config) -> Decoder {
        Decoder {
            settings: WebSocketConfig::default()
                .read_buffer_size(config.read_buffer)
                .write_buffer_size(0)
                .max_message_size(Some(config.max_message_size))
                .max_frame_size(Some(config.max_message_size)),
            max_fragments: config.max_fragments,
            context: None,
            progress: Progress::default(),
            closed: false,
        }
    }

    /// Decodes the next bytes of the stream and passes everything that is
    /// whole to `take`, until that fails or a rule is broken.
    pub(crate) fn feed<E: From<Violation>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Unit) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.closed {
            return Ok(());
        }
        let allowed = self.progress.feed(bytes, self.max_fragments);
        let settings = self.settings;
        let context = self
            .context
            .get_or_insert_with(|| WebSocketContext::new(Role::Server, Some(settings)));
        let mut largest = 0;
        let mut fed = Fed(&bytes[..allowed]);
        loop {
            match context.read(&mut fed) {
                Ok(message) => {
                    let Some(unit) = unit(message) else {
                        continue;
                    };
                    let is_last = matches!(unit, Unit::Close(_));
                    largest = largest.max(unit.len());
                    take(unit)?;
                    if is_last {
                        // Nothing counts behind a Close (RFC 6455 §5.5.1).
                        self.closed = true;
                        return Ok(());
                    }
                }
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(violation(error).into()),
            }
        }
        if allowed < bytes.len() {
            return Err(Violation {
                reason: format!("more than {} fragments", self.max_fragments),
                cause: Cause::TooManyFragments,
            }
            .into());
        }
        if largest > LARGE {
            self.rest();
        }
        Ok(())
    }

    /// Lets go of the buffer, unless a message is in it: the client has been
    /// silent for a while.
    pub(crate) fn rest(&mut self) {
        if !self.progress.in_message() {
            self.context = None;
        }
    }

    /// Whether a frame or a fragmented message is incomplete.
    pub(crate) fn in_message(&self) -> bool {
        self.progress.in_message()
    }
}

fn unit(message: Ws) -> Option<Unit> {
    Some(match message {
        Ws::Text(text) => Unit::Text(text),
        Ws::Binary(bytes) => Unit::Binary(bytes),
        Ws::Ping(payload) => Unit::Ping(payload),
        Ws::Pong(payload) => Unit::Pong(payload),
        Ws::Close(frame) => Unit::Close(close_frame(frame)),
        // Never returned by a read.
        Ws::Frame(_) => return None,
    })
}

/// A peer's Close frame in our words. tungstenite has put 1002 in the place
/// of a code that must not be sent.
fn close_frame(frame: Option<tungstenite::protocol::CloseFrame>) -> CloseFrame {
    let Some(frame) = frame else {
        return CloseFrame::empty();
    };
    let code = CloseCode::new(frame.code.into()).unwrap_or(CloseCode::PROTOCOL_ERROR);
    CloseFrame::new(code, frame.reason.as_str())
}

/// What an error of the protocol's reader means (RFC 6455 §7.4.1).
fn violation(error: WsError) -> Violation {
    let (reason, cause) = match error {
        WsError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => (
            format!("messages have at most {max_size} bytes here"),
            Cause::TooLarge,
        ),
        WsError::Utf8(_) => ("text must be UTF-8".to_owned(), Cause::InvalidUtf8),
        error => {
            let rule = match error {
                WsError::Protocol(rule) => rule.to_string(),
                other => other.to_string(),
            };
            (rule.clone(), Cause::ProtocolError(rule))
        }
    };
    Violation { cause, reason }
}

/// Bytes as the stream that tungstenite reads; behind them it would block.
struct Fed<'a>(&'a [u8]);

impl Read for Fed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Fed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Hi", a Ping, binary 1, and a Close with 1000, all masked with zeros.
    const STREAM: &[u8] =
        b"\x81\x82\0\0\0\0Hi\x89\x80\0\0\0\0\x82\x81\0\0\0\0\x01\x88\x82\0\0\0\0\x03\xe8";

    fn decode(decoder: &mut Decoder, bytes: &[u8], out: &mut String) -> Result<(), Violation> {
        decoder.feed(bytes, |unit| {
            out.push_str(&format!("{unit:?};"));
            Ok(())
        })
    }

    #[test]
    fn every_cut_of_the_stream_gives_the_same_units() {
        let mut whole = String::new();
        decode(&mut Decoder::new(&Config::default()), STREAM, &mut whole).unwrap();
        assert_eq!(whole.matches(';').count(), 4, "{whole}");
        for cut in 1..STREAM.len() {
            let mut decoder = Decoder::new(&Config::default());
            let mut units = String::new();
            decode(&mut decoder, &STREAM[..cut], &mut units).unwrap();
            decode(&mut decoder, &STREAM[cut..], &mut units).unwrap();
            assert_eq!(units, whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_client_at_rest_holds_nothing() {
        let mut decoder = Decoder::new(&Config::default());
        decode(&mut decoder, &STREAM[..3], &mut String::new()).unwrap();
        decoder.rest();
        assert!(decoder.context.is_some(), "in the middle of a message");
        decode(&mut decoder, &STREAM[3..8], &mut String::new()).unwrap();
        decoder.rest();
        assert!(decoder.context.is_none());
    }

    #[test]
    fn nothing_large_is_held() {
        let mut decoder = Decoder::new(&Config::default());
        let mut large = b"\x82\xff\0\0\0\0\0\x02\0\0\0\0\0\0".to_vec();
        large.resize(large.len() + 0x20000, 7);
        decode(&mut decoder, &large, &mut String::new()).unwrap();
        assert!(decoder.context.is_none());
    }

    #[test]
    fn fragments_are_counted() {
        let mut config = Config::default();
        config.max_fragments = 2;
        let mut decoder = Decoder::new(&config);
        let mut out = String::new();
        decode(&mut decoder, b"\x01\x80\0\0\0\0\0\x80\0\0\0\0", &mut out).unwrap();
        // The third is the last, and empty: the message is not to be taken.
        let violation = decode(&mut decoder, b"\x80\x80\0\0\0\0", &mut out).unwrap_err();
        assert_eq!(violation.cause, Cause::TooManyFragments);
        assert_eq!(out, "");
    }
}
