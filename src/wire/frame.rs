//! Messages and control frames as wire bytes.
//!
//! Frames of a server are unmasked (RFC 6455 §5.1), so the same bytes serve
//! every client: a message is encoded once, by the thread that publishes it,
//! and shared from there on.

use bytes::Bytes;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, OpCode},
};

use crate::close::CloseFrame;

/// How much a burst of several messages grows at once, in bytes.
const BURST_STEP: usize = 4096;

/// The length of the header of an unmasked frame (RFC 6455 §5.2).
pub(super) fn header_len(frame: &[u8]) -> usize {
    match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// The length of the first frame of `bytes`, which
/// [`BurstBuilder`](crate::wire::burst::BurstBuilder) wrote: unmasked, whole
/// (RFC 6455 §5.2).
pub(super) fn frame_len(bytes: &[u8]) -> usize {
    let payload = match bytes[1] {
        126 => usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let mut len = [0; 8];
            len.copy_from_slice(&bytes[2..10]);
            // It was a `usize` when the header was written, so it fits.
            u64::from_be_bytes(len) as usize
        }
        short => usize::from(short),
    };
    header_len(bytes) + payload
}

/// How many messages these bytes are, if they are nothing but whole messages
/// as a server sends them: final frames, unmasked, of the shortest header,
/// text as UTF-8 (RFC 6455 §5.2). `None` if they are anything else, or empty.
#[cfg(feature = "redis")]
pub(crate) fn count_messages(mut bytes: &[u8]) -> Option<u32> {
    let mut messages = 0_u32;
    while let [first, length, rest @ ..] = bytes {
        let (payload, behind) = match length {
            0..=125 => (u64::from(*length), rest),
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let length = u64::from(u16::from_be_bytes(*length));
                (length > 125).then_some((length, rest))?
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>()?;
                let length = u64::from_be_bytes(*length);
                (length > u64::from(u16::MAX)).then_some((length, rest))?
            }
            _ => return None,
        };
        let (payload, behind) = behind.split_at_checked(usize::try_from(payload).ok()?)?;
        match first {
            0x81 => drop(std::str::from_utf8(payload).ok()?),
            0x82 => {}
            _ => return None,
        }
        messages = messages.checked_add(1)?;
        bytes = behind;
    }
    (bytes.is_empty() && messages > 0).then_some(messages)
}

/// The end of the frame that byte `sent` falls into; `sent` itself if it is a
/// frame boundary.
pub(crate) fn begun_until(frames: &[u8], sent: usize) -> usize {
    let mut at = 0;
    while at < sent {
        at += frame_len(&frames[at..]);
    }
    at
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
pub(super) fn write_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], tail: &[u8]) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    write(out, header, payload, tail);
}

/// The same of a compressed message: RSV1 says that it is (RFC 7692 §6).
#[cfg(feature = "deflate")]
pub(super) fn write_compressed_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader {
        opcode,
        rsv1: true,
        ..FrameHeader::default()
    };
    write(out, header, payload, b"");
}

/// Writes the header of an unmasked final frame so that it ends where `front`
/// ends, which has room for it; returns where it begins.
pub(super) fn write_header(front: &mut [u8], opcode: OpCode, len: usize) -> usize {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let start = front.len() - header.len(len as u64);
    // There is room, so writing cannot fail.
    let _ = header.format(len as u64, &mut &mut front[start..]);
    start
}

fn write(out: &mut Vec<u8>, header: FrameHeader, payload: &[u8], tail: &[u8]) {
    let len = (payload.len() + tail.len()) as u64;
    let whole = header.len(len) + payload.len() + tail.len();
    if out.is_empty() {
        // A single message, the common case: allocated exactly.
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
    fn control_frames() {
        assert_eq!(&ping(b"x")[..], b"\x89\x01x");
        assert_eq!(&pong(b"")[..], b"\x8a\x00");
        assert_eq!(&close(&CloseFrame::empty())[..], b"\x88\x00");
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "bye");
        assert_eq!(&close(&frame)[..], b"\x88\x05\x03\xe9bye");
    }
}
