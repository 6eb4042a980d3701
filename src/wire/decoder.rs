//! From a client's bytes to its messages, without I/O.
//!
//! A state machine over tungstenite's frame headers: tungstenite reads and
//! writes headers and opcodes, and names the rules; the messages are assembled
//! here. tungstenite's own assembly refuses every frame with RSV1, so that no
//! extension can compress messages
//! (<https://github.com/snapview/tungstenite-rs/pull/426> would change that).
//! It checks text at the end of a frame instead of as it comes, and it reserves
//! the length that a header announces.
//!
//! A message that is whole in one read is never copied: an [`Incoming`] borrows
//! from the read buffer. Only a message that comes in several reads is
//! collected. The rest of a large frame is received straight into the message
//! (see [`Decoder::room`]), and whoever takes the message may keep its memory.

use std::io::Cursor;

use tungstenite::error::{Error as WsError, ProtocolError};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::close::{Cause, CloseCode, CloseFrame, Violation};
use crate::config::Config;
use crate::wire::collected::{Collected, Payload};

/// The longest frame header (RFC 6455 §5.2).
const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL: u64 = 125;
/// A fragment shorter than this is reported, because it costs work and carries
/// little.
const SHORT_FRAGMENT: u64 = 1024;

/// Something that a client has sent.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A text message; the bytes are UTF-8.
    Text(Payload<'a>),
    /// A binary message.
    Binary(Payload<'a>),
    /// A compressed message, text or not: nothing of it is checked yet.
    #[cfg(feature = "deflate")]
    Compressed {
        is_text: bool,
        payload: Payload<'a>,
    },
    /// A short fragment of a message, not its first. Reported because it costs
    /// as much work as a message; its bytes come with the message.
    ShortFragment,
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    Close(CloseFrame),
}

/// A frame whose payload is incomplete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// Rotated, so that it begins with the mask of the next byte.
    mask: [u8; 4],
    /// Bytes of payload that are still to come.
    left: usize,
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    is_text: bool,
    is_compressed: bool,
}

/// The protocol's state of one client.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message_size: usize,
    max_fragments: usize,
    /// It was agreed that messages may be compressed.
    is_deflated: bool,
    /// The beginning of a header that came in pieces.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The frame that is open.
    frame: Option<Frame>,
    /// The kind of the message that is open.
    kind: Option<Kind>,
    /// Its frames so far.
    fragments: usize,
    message: Collected,
    /// The beginning of a control frame's payload that came in pieces.
    control: Vec<u8>,
    /// Whether the message that is open began in the last feed.
    is_new: bool,
    /// The Close frame has come.
    closed: bool,
}

impl Decoder {
    pub(crate) fn new(config: &Config) -> Decoder {
        Decoder {
            max_message_size: config.max_message_size,
            max_fragments: config.max_fragments,
            is_deflated: false,
            header: [0; MAX_HEADER],
            header_len: 0,
            frame: None,
            kind: None,
            fragments: 0,
            message: Collected::default(),
            control: Vec::new(),
            is_new: false,
            closed: false,
        }
    }

    /// Takes compressed messages, too (RFC 7692 §6), if it `is_deflated`.
    pub(crate) fn deflated(self, is_deflated: bool) -> Decoder {
        Decoder {
            is_deflated,
            ..self
        }
    }

    /// Decodes the next bytes of the stream, unmasks them where they are, and
    /// passes each whole message and control frame to `take`, until `take`
    /// fails or a rule is broken. Bytes after a Close are ignored (RFC 6455
    /// §5.5.1).
    pub(crate) fn feed<E: From<Violation>>(
        &mut self,
        mut bytes: &mut [u8],
        mut take: impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.is_new = false;
        while !bytes.is_empty() && !self.closed {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let Some((header, len)) = self.header(&mut bytes)? else {
                        break;
                    };
                    let frame = self.begin(&header, len)?;
                    if is_short_fragment(&header, len) {
                        take(Incoming::ShortFragment)?;
                    }
                    frame
                }
            };
            let (piece, rest) = bytes.split_at_mut(frame.left.min(bytes.len()));
            bytes = rest;
            frame.came(piece);
            if frame.left > 0 {
                self.frame = Some(frame);
            }
            match frame.opcode {
                OpCode::Data(_) => self.data(frame, piece, &mut take)?,
                OpCode::Control(control) => self.control(control, frame.left, piece, &mut take)?,
            }
        }
        Ok(())
    }

    /// Memory at the end of the open message, for the reader to receive into.
    /// That saves many reads. `Some` while more bytes of a frame are missing
    /// than `buffer`, the size of the read buffer. After the read, call
    /// [`Decoder::received`]. The memory grows with the bytes that have come,
    /// not with the length that a header announced.
    pub(crate) fn room(&mut self, buffer: usize) -> Option<&mut [u8]> {
        let frame = self.frame.filter(|frame| frame.left > buffer)?;
        // A control frame is collected elsewhere.
        matches!(frame.opcode, OpCode::Data(_))
            .then(|| self.message.room(frame.left, self.bound(frame)))
    }

    /// Called when the first `len` bytes of [`Decoder::room`] have been
    /// received.
    pub(crate) fn received<E: From<Violation>>(
        &mut self,
        len: usize,
        mut take: impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.is_new = false;
        let Some(mut frame) = self.frame.take() else {
            return Ok(());
        };
        frame.came(self.message.received(len));
        if frame.left > 0 {
            self.frame = Some(frame);
        }
        self.collected(frame, &mut take)
    }

    /// Frees the buffers, unless a message is in them. Called when the client
    /// has been silent for a while.
    pub(crate) fn rest(&mut self) {
        if !self.in_message() {
            self.message = Collected::default();
            self.control = Vec::new();
        }
    }

    /// Whether a frame or a fragmented message is incomplete.
    pub(crate) fn in_message(&self) -> bool {
        self.kind.is_some() || self.frame.is_some() || self.header_len > 0
    }

    /// Whether the message that is open began in the bytes of the last feed.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes the next header from the bytes; `None` if it is incomplete.
    fn header(&mut self, bytes: &mut &mut [u8]) -> Result<Option<(FrameHeader, u64)>, Violation> {
        if self.header_len == 0 {
            // A control frame between fragments begins no message.
            self.is_new |= self.kind.is_none();
            if let Some((header, size, len)) = parse(bytes)? {
                *bytes = &mut std::mem::take(bytes)[size..];
                return Ok(Some((header, len)));
            }
        }
        while let Some((next, rest)) = std::mem::take(bytes).split_first_mut() {
            *bytes = rest;
            // In bounds: the longest header fits, and is complete then.
            self.header[self.header_len] = *next;
            self.header_len += 1;
            if let Some((header, _, len)) = parse(&self.header[..self.header_len])? {
                self.header_len = 0;
                return Ok(Some((header, len)));
            }
        }
        Ok(None)
    }

    /// Opens a frame, checked by its header before any memory is spent on it.
    fn begin(&mut self, header: &FrameHeader, len: u64) -> Result<Frame, Violation> {
        if len >> 63 != 0 {
            // RFC 6455 §5.2. tungstenite does not check it.
            return Err(broken("The most significant bit of a length is not 0"));
        }
        let Some(mask) = header.mask else {
            return Err(ProtocolError::UnmaskedFrameFromClient.into());
        };
        // RSV1 is set on the first frame of a compressed message alone.
        let begins = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let may_rsv1 = self.is_deflated && begins;
        if header.rsv1 && !may_rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        match header.opcode {
            OpCode::Data(data) => self.begin_data(data, header.rsv1, len)?,
            OpCode::Control(_) if !header.is_final => {
                return Err(ProtocolError::FragmentedControlFrame.into());
            }
            OpCode::Control(_) if len > MAX_CONTROL => {
                return Err(ProtocolError::ControlFrameTooBig.into());
            }
            OpCode::Control(_) => {}
        }
        Ok(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask,
            left: len as usize,
        })
    }

    /// The next frame of the message that is open, or the first of one.
    fn begin_data(&mut self, data: Data, rsv1: bool, len: u64) -> Result<(), Violation> {
        match (data, self.kind) {
            (Data::Continue, None) => return Err(ProtocolError::UnexpectedContinueFrame.into()),
            (Data::Continue, Some(_)) => self.fragments += 1,
            (_, Some(_)) => return Err(ProtocolError::ExpectedFragment(data).into()),
            (_, None) => {
                self.fragments = 1;
                self.kind = Some(Kind {
                    is_text: data == Data::Text,
                    is_compressed: rsv1,
                });
            }
        }
        if self.fragments > self.max_fragments {
            return Err(too_many_fragments(self.max_fragments));
        }
        if len > (self.max_message_size - self.message.len()) as u64 {
            return Err(too_large(self.max_message_size));
        }
        Ok(())
    }

    /// The most bytes that the message of this frame may have.
    fn bound(&self, frame: Frame) -> usize {
        match frame.is_final {
            true => self.message.len() + frame.left,
            false => self.max_message_size,
        }
    }

    /// Takes a piece of the message that is open.
    fn data<E: From<Violation>>(
        &mut self,
        frame: Frame,
        piece: &[u8],
        take: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(kind) = self.kind
            && frame.is_last()
            && self.message.is_empty()
        {
            // The whole message came in one read, as nearly all do.
            self.kind = None;
            let is_bad = || !piece.is_ascii() && std::str::from_utf8(piece).is_err();
            if kind.is_plain_text() && is_bad() {
                return Err(invalid_utf8().into());
            }
            return take(kind.message(Payload::Here(piece)));
        }
        self.message.push(piece, self.bound(frame) + piece.len());
        self.collected(frame, take)
    }

    /// Checks the bytes that came last, and passes the message on if it is
    /// whole.
    fn collected<E: From<Violation>>(
        &mut self,
        frame: Frame,
        take: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(kind) = self.kind else {
            return Ok(());
        };
        if kind.is_plain_text() && !self.message.is_utf8(frame.is_last()) {
            return Err(invalid_utf8().into());
        }
        if frame.is_last() {
            self.kind = None;
            take(kind.message(Payload::Apart(&mut self.message)))?;
            self.message.clear();
        }
        Ok(())
    }

    /// Takes a piece of a control frame, of which `left` bytes are missing.
    fn control<E: From<Violation>>(
        &mut self,
        control: Control,
        left: usize,
        piece: &[u8],
        take: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_cut = left > 0 || !self.control.is_empty();
        if is_cut {
            self.control.extend_from_slice(piece);
        }
        if left > 0 {
            return Ok(());
        }
        let payload = if is_cut { &self.control } else { piece };
        take(match control {
            Control::Ping => Incoming::Ping(payload),
            Control::Pong => Incoming::Pong(payload),
            // A reserved opcode has no header that can be parsed.
            Control::Close | Control::Reserved(_) => {
                self.closed = true;
                Incoming::Close(close_frame(payload)?)
            }
        })?;
        self.control.clear();
        Ok(())
    }
}

impl Kind {
    /// Whether it must be UTF-8 as it comes. What is compressed is text only
    /// when it is inflated.
    fn is_plain_text(self) -> bool {
        self.is_text && !self.is_compressed
    }

    fn message(self, payload: Payload<'_>) -> Incoming<'_> {
        match self {
            #[cfg(feature = "deflate")]
            Kind {
                is_text,
                is_compressed: true,
            } => Incoming::Compressed { is_text, payload },
            Kind { is_text: true, .. } => Incoming::Text(payload),
            Kind { is_text: false, .. } => Incoming::Binary(payload),
        }
    }
}

impl Frame {
    /// Takes a piece of the payload, and unmasks it.
    fn came(&mut self, piece: &mut [u8]) {
        unmask(piece, self.mask);
        self.mask.rotate_left(piece.len() % 4);
        self.left -= piece.len();
    }

    /// Whether the payload is whole and the message ends with it.
    fn is_last(&self) -> bool {
        self.is_final && self.left == 0
    }
}

/// Reads the header at the beginning of `bytes`: the header, its own length and
/// that of the payload; `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, usize, u64)>, Violation> {
    if let Some(short) = parse_short(bytes) {
        return Ok(Some(short));
    }
    let mut cursor = Cursor::new(bytes);
    match FrameHeader::parse(&mut cursor) {
        Ok(parsed) => Ok(parsed.map(|(header, len)| (header, cursor.position() as usize, len))),
        Err(WsError::Protocol(rule)) => Err(rule.into()),
        Err(other) => Err(broken(&other.to_string())),
    }
}

/// The header of most frames: of a short whole message, masked. Read here, for
/// half the time of a short message would go into reading its header.
fn parse_short(bytes: &[u8]) -> Option<(FrameHeader, usize, u64)> {
    let [first, second, mask @ ..] = bytes else {
        return None;
    };
    let data = match first {
        0x81 => Data::Text,
        0x82 => Data::Binary,
        _ => return None,
    };
    let len @ 0..=125 = second.checked_sub(0x80)? else {
        return None;
    };
    let header = FrameHeader {
        opcode: OpCode::Data(data),
        mask: Some(*mask.first_chunk()?),
        ..FrameHeader::default()
    };
    Some((header, 6, len.into()))
}

/// Whether this header's frame is a short piece of a message, neither its
/// first nor its last.
fn is_short_fragment(header: &FrameHeader, len: u64) -> bool {
    header.opcode == OpCode::Data(Data::Continue) && !header.is_final && len < SHORT_FRAGMENT
}

/// Removes the mask (RFC 6455 §5.3), 16 bytes at a time.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let word = u128::from(u32::from_ne_bytes(mask));
    let wide = word << 96 | word << 64 | word << 32 | word;
    let unmasked = |block: [u8; 16]| (u128::from_ne_bytes(block) ^ wide).to_ne_bytes();
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    let (fours, blocks) = blocks.as_chunks_mut::<4>();
    // Written out, because a release is optimised for size.
    for [a, b, c, d] in fours {
        *a = unmasked(*a);
        *b = unmasked(*b);
        *c = unmasked(*c);
        *d = unmasked(*d);
    }
    for block in blocks {
        *block = unmasked(*block);
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The payload of a Close frame (RFC 6455 §5.5.1).
fn close_frame(payload: &[u8]) -> Result<CloseFrame, Violation> {
    let ([high, low], reason) = match payload {
        [] => return Ok(CloseFrame::empty()),
        [high, low, reason @ ..] => ([*high, *low], reason),
        [_] => return Err(ProtocolError::InvalidCloseSequence.into()),
    };
    let value = u16::from_be_bytes([high, low]);
    let code = CloseCode::new(value)
        .ok_or_else(|| broken(&format!("Close code {value} must not be sent")))?;
    let reason = std::str::from_utf8(reason).map_err(|_| invalid_utf8())?;
    Ok(CloseFrame::new(code, reason))
}

impl From<ProtocolError> for Violation {
    fn from(rule: ProtocolError) -> Violation {
        broken(&rule.to_string())
    }
}

/// The violation of a rule of the protocol.
fn broken(rule: &str) -> Violation {
    Violation {
        reason: rule.to_owned(),
        cause: Cause::ProtocolError(rule.to_owned()),
    }
}

pub(crate) fn invalid_utf8() -> Violation {
    Violation {
        reason: "text must be UTF-8".to_owned(),
        cause: Cause::InvalidUtf8,
    }
}

pub(crate) fn too_large(max: usize) -> Violation {
    Violation {
        reason: format!("messages have at most {max} bytes here"),
        cause: Cause::TooLarge,
    }
}

fn too_many_fragments(max: usize) -> Violation {
    Violation {
        reason: format!("more than {max} fragments"),
        cause: Cause::TooManyFragments,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::collected::FRONT;

    /// "Hi", a Ping, binary 1, and a Close with 1000, all masked with zeros.
    const STREAM: &[u8] =
        b"\x81\x82\0\0\0\0Hi\x89\x80\0\0\0\0\x82\x81\0\0\0\0\x01\x88\x82\0\0\0\0\x03\xe8";
    /// "Hel" + "lo" in two masked fragments with a Ping between them.
    const FRAGMENTS: &[u8] =
        b"\x01\x83\x01\x02\x03\x04Igo\x89\x80\x01\x02\x03\x04\x80\x82\x01\x02\x03\x04mm";

    fn decoder() -> Decoder {
        Decoder::new(&Config::default())
    }

    fn decode(decoder: &mut Decoder, bytes: &[u8], out: &mut String) -> Result<(), Violation> {
        decoder.feed(&mut bytes.to_vec(), |incoming| {
            match incoming {
                Incoming::Text(text) => out.push_str(std::str::from_utf8(&text).unwrap()),
                other => out.push_str(&format!("{other:?}")),
            }
            out.push(';');
            Ok(())
        })
    }

    /// What these bytes come to, and the code of the violation.
    fn outcome(config: &Config, bytes: &[u8]) -> (String, Option<u16>) {
        let mut out = String::new();
        let decoded = decode(&mut Decoder::new(config), bytes, &mut out);
        (
            out,
            decoded
                .err()
                .map(|violation| violation.cause.close_code().map_or(0, CloseCode::value)),
        )
    }

    /// The code that these bytes are refused with.
    fn refused(bytes: &[u8]) -> Option<u16> {
        outcome(&Config::default(), bytes).1
    }

    /// A frame that is masked with zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn every_cut_of_the_stream_comes_to_the_same() {
        for (stream, count) in [(STREAM, 4), (FRAGMENTS, 2)] {
            let (whole, violation) = outcome(&Config::default(), stream);
            assert_eq!(violation, None);
            assert_eq!(whole.matches(';').count(), count, "{whole}");
            for cut in 1..stream.len() {
                let mut decoder = decoder();
                let mut out = String::new();
                decode(&mut decoder, &stream[..cut], &mut out).unwrap();
                decode(&mut decoder, &stream[cut..], &mut out).unwrap();
                assert_eq!(out, whole, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_message_is_open_from_its_first_byte_to_its_last() {
        let mut decoder = decoder();
        for (i, byte) in FRAGMENTS.iter().enumerate() {
            decode(&mut decoder, &[*byte], &mut String::new()).unwrap();
            assert_eq!(decoder.in_message(), i + 1 < FRAGMENTS.len(), "byte {i}");
            // The Ping between the fragments is no message of its own.
            assert_eq!(decoder.is_new(), i == 0, "byte {i}");
        }
    }

    #[test]
    fn a_message_that_begins_where_another_ends_is_new() {
        let mut decoder = decoder();
        let bytes = frame(0x82, b"abc").repeat(3);
        for piece in [&bytes[..4], &bytes[4..13], &bytes[13..22]] {
            decode(&mut decoder, piece, &mut String::new()).unwrap();
            assert!(decoder.in_message() && decoder.is_new());
        }
        decode(&mut decoder, &bytes[22..26], &mut String::new()).unwrap();
        assert!(decoder.in_message() && !decoder.is_new());
    }

    #[test]
    fn a_client_at_rest_holds_nothing() {
        let mut decoder = decoder();
        decode(&mut decoder, &STREAM[..7], &mut String::new()).unwrap();
        decoder.rest();
        assert_eq!(decoder.message.bytes(), b"H", "in the middle of a message");
        let mut out = String::new();
        decode(&mut decoder, &STREAM[7..8], &mut out).unwrap();
        assert_eq!(out, "Hi;");
        decoder.rest();
        assert_eq!(decoder.message.capacity(), 0);
    }

    #[test]
    fn nothing_large_is_kept() {
        let mut decoder = decoder();
        let large = frame(0x82, &[7; 0x20000]);
        let (first, rest) = large.split_at(4096);
        decode(&mut decoder, first, &mut String::new()).unwrap();
        decode(&mut decoder, rest, &mut String::new()).unwrap();
        assert!(!decoder.in_message());
        assert_eq!(decoder.message.capacity(), 0);
    }

    #[test]
    fn a_large_frame_is_received_straight_into_its_message() {
        let payload: Vec<u8> = (0..300_000u32).map(|i| (i % 100) as u8).collect();
        let mut large = frame(0x81, &payload);
        let header = large.len() - payload.len();
        large[header - 4..header].copy_from_slice(b"\x01\x02\x03\x04");
        unmask(&mut large[header..], *b"\x01\x02\x03\x04");
        let mut decoder = decoder();
        let mut stream = &large[..];
        let mut whole = Vec::new();
        let (mut reads, mut came) = (0, 0_usize);
        while !stream.is_empty() {
            let mut take = |incoming: Incoming<'_>| {
                match incoming {
                    Incoming::Text(text) => whole.extend_from_slice(&text),
                    other => panic!("{other:?}"),
                }
                Ok::<(), Violation>(())
            };
            let len = match decoder.room(4096) {
                None => {
                    let len = stream.len().min(4096);
                    decoder
                        .feed(&mut stream[..len].to_vec(), &mut take)
                        .map(|()| len)
                }
                Some(room) => {
                    // A bit less than there is room for, as a socket may do.
                    let len = room.len() - reads % 2;
                    assert!(
                        len <= (came + 1).next_power_of_two().max(4096),
                        "{len} at {came}"
                    );
                    room[..len].copy_from_slice(&stream[..len]);
                    decoder.received(len, &mut take).map(|()| len)
                }
            }
            .unwrap();
            stream = &stream[len..];
            (reads, came) = (reads + 1, came + len);
            assert!(decoder.message.capacity() <= 2 * came.max(4096));
        }
        assert_eq!(whole, payload);
        assert!(reads < 15, "{reads}");
    }

    #[test]
    fn what_a_header_announces_is_not_reserved() {
        let mut config = Config::default();
        config.max_message_size = usize::MAX;
        let mut decoder = Decoder::new(&config);
        let header = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
        decode(&mut decoder, header, &mut String::new()).unwrap();
        assert!(decoder.room(4096).unwrap().len() <= 4096);
        assert!(decoder.message.capacity() <= 4096 + FRONT);
    }

    #[test]
    fn the_limits_are_checked_before_the_payload_comes() {
        let mut config = Config::default();
        config.max_message_size = 5;
        config.max_fragments = 2;
        let header = |frame: Vec<u8>| frame[..6].to_vec();
        let code = |bytes: &[u8]| outcome(&config, bytes).1;
        assert_eq!(code(&header(frame(0x82, b"12345"))), None);
        assert_eq!(code(&header(frame(0x82, b"123456"))), Some(1009));
        let begun = frame(0x02, b"123");
        let more = |rest: Vec<u8>| code(&[&begun[..], &rest].concat());
        assert_eq!(more(header(frame(0x80, b"45"))), None);
        assert_eq!(more(header(frame(0x80, b"456"))), Some(1009));
        // Control frames have a limit of their own.
        assert_eq!(code(&frame(0x89, b"a longer ping")), None);
        let three = [frame(0x01, b""), frame(0, b""), frame(0x80, b"")].concat();
        assert_eq!(outcome(&config, &three).1, Some(1008));
    }

    #[test]
    fn frames_that_break_a_rule_are_refused_at_their_header() {
        let begun = frame(0x02, b"");
        let header = |first: u8, len: &[u8]| [&[first], len, &[0; 4][..]].concat();
        for (bytes, what) in [
            (header(0xc2, b"\x85"), "RSV1"),
            (header(0xa2, b"\x85"), "RSV2"),
            (header(0x92, b"\x85"), "RSV3"),
            (header(0x82, b"\x05"), "no mask"),
            (header(0x83, b"\x85"), "an unknown data opcode"),
            (header(0x8b, b"\x85"), "an unknown control opcode"),
            (header(0x09, b"\x85"), "a fragmented Ping"),
            (header(0x89, b"\xfe\x00\x7e"), "a Ping of 126 bytes"),
            (header(0x80, b"\x85"), "nothing to continue"),
            (
                [&begun[..], &header(0x82, b"\x85")].concat(),
                "a message within another",
            ),
            (
                [&begun[..], &header(0xc0, b"\x85")].concat(),
                "RSV1 on a continuation",
            ),
            (
                header(0x82, b"\xff\x80\0\0\0\0\0\0\0"),
                "a length of 64 bits",
            ),
        ] {
            assert_eq!(refused(&bytes), Some(1002), "{what}");
        }
    }

    #[test]
    fn text_is_checked_as_it_comes() {
        // Of RFC 3629: whole, cut, overlong, a surrogate, beyond U+10FFFF.
        let open = |payload: &[u8]| refused(&frame(0x01, payload));
        let whole = |payload: &[u8]| refused(&frame(0x81, payload));
        for text in ["κόσμε", "😀", "\u{7ff}\u{ffff}"] {
            assert_eq!(whole(text.as_bytes()), None);
            for cut in 0..text.len() {
                let is_boundary = text.is_char_boundary(cut);
                assert_eq!(open(&text.as_bytes()[..cut]), None, "{text} cut at {cut}");
                let code = (!is_boundary).then_some(1007);
                assert_eq!(whole(&text.as_bytes()[..cut]), code, "{text} cut at {cut}");
            }
        }
        for bad in [
            &b"\xc0\xaf"[..],
            b"a\xed\xa0",
            b"\xf4\x90",
            b"\xff",
            b"\x80",
        ] {
            assert_eq!(open(bad), Some(1007), "{bad:x?}");
            // In the middle of a frame whose end has not come.
            let cut = &frame(0x81, &[bad, b"more"].concat())[..6 + bad.len()];
            assert_eq!(refused(cut), Some(1007), "{bad:x?}");
        }
        assert_eq!(refused(&frame(0x82, b"\xff")), None, "binary is anything");
    }

    #[test]
    fn a_character_may_be_cut_between_fragments() {
        let text = "a😀b".as_bytes();
        for cut in 0..=text.len() {
            let bytes = [frame(0x01, &text[..cut]), frame(0x80, &text[cut..])].concat();
            let (out, code) = outcome(&Config::default(), &bytes);
            assert_eq!((out.as_str(), code), ("a😀b;", None));
        }
    }

    #[test]
    fn close_frames_are_checked() {
        let close = |payload: &[u8]| refused(&frame(0x88, payload));
        assert_eq!(close(b""), None);
        assert_eq!(close(b"\x03\xe8bye"), None);
        assert_eq!(close(b"\x03"), Some(1002));
        assert_eq!(close(b"\x03\xed"), Some(1002), "1005 is never sent");
        assert_eq!(close(b"\x03\xe8\xff"), Some(1007));
    }

    #[test]
    fn nothing_counts_behind_a_close() {
        let mut decoder = decoder();
        let mut out = String::new();
        let bytes = [frame(0x88, b""), frame(0x83, b"")].concat();
        decode(&mut decoder, &bytes, &mut out).unwrap();
        decode(&mut decoder, &frame(0x81, b"late"), &mut out).unwrap();
        assert_eq!(out.matches(';').count(), 1, "{out}");
    }

    #[test]
    fn short_fragments_are_reported() {
        let bytes = [
            frame(0x02, b""),
            frame(0, b""),
            frame(0, &[1; 1023]),
            frame(0, &[1; 1024]),
            frame(0x80, b""),
        ];
        let (out, _) = outcome(&Config::default(), &bytes.concat());
        assert_eq!(out.matches("ShortFragment").count(), 2);
    }
}
