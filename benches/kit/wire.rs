//! What travels: the stamp that makes every message unique, and as much of
//! RFC 6455 §5.2 as a load generator needs.

use super::Result;
use super::clock::Nanos;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A stamp is printable, so that it fits a text message as well.
pub(crate) const STAMP_LEN: usize = 2 * SIXTEEN + 8;
const SIXTEEN: usize = 16;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Any key will do that is not zero, which a server could take a short cut on.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// Who sent a message, as which of its messages, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sender: u32,
    pub(crate) sequence: u64,
    pub(crate) sent: Nanos,
}

impl Stamp {
    pub(crate) fn write(&self, payload: &mut [u8]) {
        write_hex(&mut payload[..8], u64::from(self.sender));
        write_hex(&mut payload[8..8 + SIXTEEN], self.sequence);
        write_hex(&mut payload[8 + SIXTEEN..STAMP_LEN], self.sent);
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
        Some(Stamp {
            sender: u32::try_from(read_hex(payload.get(..8)?)?).ok()?,
            sequence: read_hex(payload.get(8..8 + SIXTEEN)?)?,
            sent: read_hex(payload.get(8 + SIXTEEN..STAMP_LEN)?)?,
        })
    }
}

fn write_hex(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// How the generator's messages are put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As a client sends them: masked.
    Client,
    /// As a server sends them. The floor passes these bytes on as they are.
    Server,
}

/// Appends one whole frame.
pub(crate) fn push_frame(out: &mut Vec<u8>, dialect: Dialect, opcode: u8, payload: &[u8]) {
    let masked = match dialect {
        Dialect::Client => MASKED,
        Dialect::Server => 0,
    };
    out.push(FIN | opcode);
    match payload.len() {
        len @ 0..126 => out.push(masked | len as u8),
        len @ 126..0x1_0000 => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if dialect == Dialect::Server {
        out.extend_from_slice(payload);
        return;
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    for (byte, key) in out[start..].iter_mut().zip(MASK.iter().cycle()) {
        *byte ^= key;
    }
}

/// A whole frame from a server, at the start of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) fin: bool,
    pub(crate) payload: &'a [u8],
    /// Header and payload together.
    pub(crate) len: usize,
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`, or `None` while it is incomplete.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Option<Frame<'a>>> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if second & MASKED != 0 {
            return Err("a server frame was masked (RFC 6455 §5.1)".into());
        }
        let (payload_len, extended) = match (second & 127, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8)
            }
            (126 | 127, _) => return Ok(None),
            (len, _) => (u64::from(len), 0),
        };
        let start = 2_usize + extended;
        let len = start.saturating_add(usize::try_from(payload_len)?);
        Ok(bytes.get(start..len).map(|payload| Frame {
            opcode: first & 15,
            fin: first & FIN != 0,
            payload,
            len,
        }))
    }

    pub(crate) fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }
}
