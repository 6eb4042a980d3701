//! Messages and control frames as wire bytes.
//!
//! Frames of a server are unmasked (RFC 6455 §5.1), so the same bytes serve
//! every client: a message is encoded once, by the thread that publishes it,
//! and shared from there on.

use bytes::Bytes;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::close::CloseFrame;
use crate::message::Message;

/// How much a burst of several messages grows at once, in bytes.
const BURST_STEP: usize = 4096;

/// How messages are written for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// WebSocket frames.
    Frames,
    /// Server-sent events.
    Events,
}

/// One or more whole messages as wire bytes, one frame (or event) each, in
/// order.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u32,
    pub(crate) encoding: Encoding,
}

impl Burst {
    /// The frames of this burst, each as a slice of the shared bytes.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        // Most bursts are a single message: no header to read.
        let single = self.messages == 1;
        std::iter::from_fn(move || {
            let rest = &self.bytes[at..];
            if rest.is_empty() {
                return None;
            }
            let len = match self.encoding {
                _ if single => rest.len(),
                Encoding::Frames => frame_len(rest),
                Encoding::Events => event_len(rest),
            };
            at += len;
            Some(self.bytes.slice(at - len..at))
        })
    }

    /// The messages of a burst of frames: whether each is text, and its
    /// payload.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (bool, Bytes)> + '_ {
        debug_assert_eq!(self.encoding, Encoding::Frames);
        self.frames().map(|frame| {
            let is_text = frame[0] & 0x0f == u8::from(OpCode::Data(Data::Text));
            (is_text, frame.slice(header_len(&frame)..))
        })
    }
}

/// The length of the first event of `bytes`: it ends with an empty line.
fn event_len(bytes: &[u8]) -> usize {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    end.map_or(bytes.len(), |at| at + 2)
}

/// The length of the header of an unmasked frame (RFC 6455 §5.2).
fn header_len(frame: &[u8]) -> usize {
    match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// The length of the first frame of `bytes`, which [`BurstBuilder`] wrote:
/// unmasked, whole (RFC 6455 §5.2).
fn frame_len(bytes: &[u8]) -> usize {
    let payload = match bytes[1] {
        126 => usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let mut len = [0; 8];
            len.copy_from_slice(&bytes[2..10]);
            // It was a usize when it was written.
            u64::from_be_bytes(len) as usize
        }
        short => usize::from(short),
    };
    header_len(bytes) + payload
}

/// Where the frame ends that the first `sent` bytes of whole frames end in;
/// `sent` itself, where they end with one.
pub(crate) fn begun_until(frames: &[u8], sent: usize) -> usize {
    let mut at = 0;
    while at < sent {
        at += frame_len(&frames[at..]);
    }
    at
}

/// Collects messages into one [`Burst`].
#[derive(Debug, Default)]
pub(crate) struct BurstBuilder {
    bytes: Vec<u8>,
    messages: u32,
}

impl BurstBuilder {
    pub(crate) fn text(&mut self, text: &str, append_newline: bool) {
        let newline: &[u8] = if append_newline { b"\n" } else { b"" };
        self.frame(OpCode::Data(Data::Text), text.as_bytes(), newline);
    }

    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        self.frame(OpCode::Data(Data::Binary), bytes, b"");
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8], tail: &[u8]) {
        write_frame(&mut self.bytes, opcode, payload, tail);
        self.messages += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// The burst so far; the builder is empty again.
    pub(crate) fn take(&mut self) -> Burst {
        let bytes = std::mem::take(&mut self.bytes);
        Burst {
            // The queue keeps these bytes for as long as the slowest client
            // takes: no spare capacity in them.
            bytes: Bytes::from(bytes.into_boxed_slice()),
            messages: std::mem::take(&mut self.messages),
            encoding: Encoding::Frames,
        }
    }
}

/// One message as a burst of its own.
pub(crate) fn single(message: &Message, append_newline: bool) -> Burst {
    let mut builder = BurstBuilder::default();
    match message {
        Message::Text(text) => builder.text(text, append_newline),
        Message::Binary(bytes) => builder.binary(bytes),
    }
    builder.take()
}

/// A Close frame (RFC 6455 §5.5.1).
pub(crate) fn close(frame: &CloseFrame) -> Bytes {
    let mut payload = Vec::new();
    if let Some(code) = frame.code {
        payload.extend_from_slice(&code.value().to_be_bytes());
        payload.extend_from_slice(frame.reason.as_bytes());
    }
    control(Control::Close, &payload)
}

/// A Ping frame (RFC 6455 §5.5.2).
pub(crate) fn ping(payload: &[u8]) -> Bytes {
    control(Control::Ping, payload)
}

/// Appends a Pong frame (RFC 6455 §5.5.3).
pub(crate) fn append_pong(out: &mut Vec<u8>, payload: &[u8]) {
    append_control(out, Control::Pong, payload);
}

fn control(opcode: Control, payload: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    append_control(&mut bytes, opcode, payload);
    Bytes::from(bytes)
}

fn append_control(out: &mut Vec<u8>, opcode: Control, payload: &[u8]) {
    debug_assert!(
        payload.len() <= 125,
        "control frames hold 125 bytes (RFC 6455 §5.5)"
    );
    write_frame(out, OpCode::Control(opcode), payload, b"");
}

/// Appends one unmasked final frame whose payload is `payload` and `tail`.
fn write_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], tail: &[u8]) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let len = (payload.len() + tail.len()) as u64;
    let whole = header.len(len) + payload.len() + tail.len();
    if out.is_empty() {
        // A message alone, the common case: not a byte too many.
        out.reserve_exact(whole);
    } else {
        out.reserve(whole.max(BURST_STEP));
    }
    // Writing to a vector cannot fail.
    let _ = header.format(len, out);
    out.extend_from_slice(payload);
    out.extend_from_slice(tail);
}

/// A Pong frame alone.
#[cfg(any(fuzzing, test))]
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    control(Control::Pong, payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;

    #[test]
    fn a_short_text_is_one_unmasked_final_frame() {
        let burst = single(&Message::from("Hello"), false);
        assert_eq!(&burst.bytes[..], b"\x81\x05Hello");
    }

    #[test]
    fn newline_is_appended_to_text_only() {
        assert_eq!(&single(&Message::from("a"), true).bytes[..], b"\x81\x02a\n");
        assert_eq!(
            &single(&Message::from(vec![7]), true).bytes[..],
            b"\x82\x01\x07"
        );
    }

    #[test]
    fn lengths_are_as_in_rfc_6455_section_5_7() {
        let medium = single(&Message::from(vec![0; 256]), false);
        assert_eq!(&medium.bytes[..4], b"\x82\x7e\x01\x00");
        let long = single(&Message::from(vec![0; 65536]), false);
        assert_eq!(
            &long.bytes[..10],
            b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
        );
    }

    #[test]
    fn a_burst_splits_into_its_frames() {
        let mut builder = BurstBuilder::default();
        let sizes = [0, 1, 125, 126, 65535, 65536];
        for size in sizes {
            builder.binary(&vec![3; size]);
        }
        let burst = builder.take();
        assert!(builder.is_empty());
        let frames: Vec<Bytes> = burst.frames().collect();
        assert_eq!(frames.len(), sizes.len());
        assert_eq!(frames.concat(), &burst.bytes[..]);
        for (frame, size) in frames.iter().zip(sizes) {
            assert_eq!(frame_len(frame), frame.len());
            assert!(frame.len() >= size);
        }
    }

    #[test]
    fn control_frames() {
        assert_eq!(&ping(b"x")[..], b"\x89\x01x");
        assert_eq!(&pong(b"")[..], b"\x8a\x00");
        assert_eq!(&close(&CloseFrame::empty())[..], b"\x88\x00");
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "bye");
        assert_eq!(&close(&frame)[..], b"\x88\x05\x03\xe9bye");
    }
}
