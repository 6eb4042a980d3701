//! The decoder before the present one, its oracle in tests. It goes when the
//! comparison is done.
//!
//! tungstenite parses and checks the frames. Its state is made when bytes
//! come and dropped when the client rests, or has sent something large, so
//! that an idle client holds no buffer. What it would write is discarded: pongs and Close replies are the
//! hub's to send.

#![allow(dead_code)]

use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::Message as Ws;
use tungstenite::error::{CapacityError, Error as WsError};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use crate::close::{Cause, CloseCode, CloseFrame};
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

/// How a client is told that it broke a rule, and what is noted about it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
    pub(crate) cause: Cause,
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
                code: CloseCode::POLICY_VIOLATION,
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
    let (code, reason, cause) = match error {
        WsError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => (
            CloseCode::TOO_LARGE,
            format!("messages have at most {max_size} bytes here"),
            Cause::TooLarge,
        ),
        WsError::Utf8(_) => (
            CloseCode::INVALID_PAYLOAD,
            "text must be UTF-8".to_owned(),
            Cause::InvalidUtf8,
        ),
        error => {
            let rule = match error {
                WsError::Protocol(rule) => rule.to_string(),
                other => other.to_string(),
            };
            let cause = Cause::ProtocolError(rule.clone());
            (CloseCode::PROTOCOL_ERROR, rule, cause)
        }
    };
    Violation {
        code,
        reason,
        cause,
    }
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

#[cfg(any(fuzzing, test))]
pub(crate) mod differential {
    //! The decoder beside the one before it, over random cuts.

    use super::*;
    use crate::close::Violation as NewViolation;
    use crate::fuzzing::choices::Choices;
    use crate::wire::decoder::{Decoder as New, Incoming};

    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Seen {
        units: Vec<(char, Vec<u8>)>,
        code: Option<u16>,
    }

    /// How the two agreed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Agreement {
        Same,
        /// The new one refused a frame before its end had come.
        Earlier,
        /// Several rules broken by one header, and another one named.
        OtherRule(u16, u16),
        /// A Close whose code must not be sent: a violation, no longer a Close.
        BadCloseCode,
        /// tungstenite knows no 1014.
        Code1014,
        /// A control frame longer than a message may be.
        LongControl,
    }

    fn new(bytes: &[u8], config: &Config, choices: &mut Choices<'_>) -> Seen {
        let mut seen = Seen::default();
        let mut decoder = New::new(config);
        let mut rest = bytes;
        while !rest.is_empty() {
            let units = &mut seen.units;
            let take = |incoming: Incoming<'_>| {
                units.push(match incoming {
                    Incoming::Text(text) => {
                        assert!(std::str::from_utf8(text).is_ok());
                        ('t', text.to_vec())
                    }
                    Incoming::Binary(bytes) => ('b', bytes.to_vec()),
                    Incoming::Ping(bytes) => ('i', bytes.to_vec()),
                    Incoming::Pong(bytes) => ('o', bytes.to_vec()),
                    Incoming::Close(frame) => ('c', format!("{frame}").into_bytes()),
                    Incoming::ShortFragment => return Ok(()),
                });
                Ok::<(), NewViolation>(())
            };
            let most = [3, 20, 4096][choices.below(3)];
            let wanted = 1 + choices.below(most);
            let (fed, len) = match decoder.room(1 + choices.below(64)) {
                Some(room) => {
                    let len = wanted.min(room.len()).min(rest.len());
                    room[..len].copy_from_slice(&rest[..len]);
                    (decoder.received(len, take), len)
                }
                None => {
                    let len = wanted.min(rest.len());
                    (decoder.feed(&mut rest[..len].to_vec(), take), len)
                }
            };
            rest = &rest[len..];
            if let Err(violation) = fed {
                seen.code = violation.cause.close_code().map(CloseCode::value);
                break;
            }
            if choices.one_in(8) {
                decoder.rest();
            }
        }
        seen
    }

    fn old(bytes: &[u8], config: &Config) -> Seen {
        let mut seen = Seen::default();
        let mut decoder = Decoder::new(config);
        let fed = decoder.feed(bytes, |unit| {
            seen.units.push(match unit {
                Unit::Text(text) => ('t', text.as_bytes().to_vec()),
                Unit::Binary(bytes) => ('b', bytes.to_vec()),
                Unit::Ping(bytes) => ('i', bytes.to_vec()),
                Unit::Pong(bytes) => ('o', bytes.to_vec()),
                Unit::Close(frame) => ('c', format!("{frame}").into_bytes()),
            });
            Ok::<(), Violation>(())
        });
        seen.code = fed.err().map(|violation| violation.code.value());
        seen
    }

    /// Runs both; panics where they differ in a way that is not listed.
    pub(crate) fn run(bytes: &[u8], config: &Config, choices: &mut Choices<'_>) -> Agreement {
        let new = new(bytes, config, choices);
        let was = old(bytes, config);
        if new == was {
            return Agreement::Same;
        }
        if let Some(('c', text)) = was.units.last()
            && text.starts_with(b"1002")
            && new.code == Some(1002)
            && new.units[..] == was.units[..was.units.len() - 1]
        {
            return Agreement::BadCloseCode;
        }
        if let Some(('c', text)) = new.units.last()
            && text.starts_with(b"1014")
        {
            return Agreement::Code1014;
        }
        let rules = [Some(1002), Some(1007), Some(1008), Some(1009)];
        if new.units == was.units && rules.contains(&new.code) && rules.contains(&was.code) {
            return Agreement::OtherRule(new.code.unwrap_or(0), was.code.unwrap_or(0));
        }
        if config.max_message_size < 125 && was.code == Some(1009) {
            assert!(new.units.starts_with(&was.units));
            return Agreement::LongControl;
        }
        // The new one did not wait for the end of the frame: give the old one
        // the rest of it.
        assert!(new.code.is_some() && was.code.is_none(), "{new:?} {was:?}");
        assert_eq!(new.units, was.units);
        let zeros = [bytes, &vec![0; config.max_message_size.max(70_000) + 14]].concat();
        let later = old(&zeros, config);
        assert!(later.code.is_some(), "{new:?} {was:?}");
        assert!(
            later.code == new.code
                || rules.contains(&new.code) && rules.contains(&later.code)
                || later.units.len() > was.units.len(),
            "{new:?} {later:?}"
        );
        Agreement::Earlier
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
