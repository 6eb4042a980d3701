//! WebSocket frames (RFC 6455 §5.2): those of a client, written, and those of a
//! server, read. Written by hand, so that what no library would send can be sent and
//! nothing a server sends is overlooked.

use std::io::{self, ErrorKind, Read};

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

/// The highest bits of a frame's first byte. The opcode is the lowest four.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const RSV2: u8 = 0x20;
pub(crate) const RSV3: u8 = 0x10;
/// The highest bit of the second byte. The others are the length, or its form.
pub(crate) const MASKED: u8 = 0x80;

/// Any key does that is not zero: a server could take a short cut on zeros.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];
/// No frame of any test is larger. A header that announces more is an error.
const MAX_PAYLOAD: u64 = 64 << 20;

impl Opcode {
    fn from_bits(bits: u8) -> Option<Opcode> {
        let all = [
            Opcode::Continuation,
            Opcode::Text,
            Opcode::Binary,
            Opcode::Close,
            Opcode::Ping,
            Opcode::Pong,
        ];
        all.into_iter().find(|&opcode| opcode as u8 == bits)
    }

    pub(crate) fn is_control(self) -> bool {
        self >= Opcode::Close
    }

    /// The first byte of a frame that is complete by itself, or the last of its
    /// message.
    pub(crate) fn last(self) -> u8 {
        FIN | self as u8
    }

    /// The first byte of a frame that others of its message follow.
    pub(crate) fn begun(self) -> u8 {
        self as u8
    }
}

/// How a frame is put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As a client sends it: masked.
    Client,
    /// As a server sends it.
    Server,
}

/// Appends a frame with this first byte.
pub(crate) fn push(out: &mut Vec<u8>, dialect: Dialect, first: u8, payload: &[u8]) {
    let masked = match dialect {
        Dialect::Client => MASKED,
        Dialect::Server => 0,
    };
    out.push(first);
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

/// A client's frame that is complete by itself, or the last of its message.
pub(crate) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    masked_as(opcode.last(), payload)
}

/// A client's frame that others of its message follow.
pub(crate) fn fragment(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    masked_as(opcode.begun(), payload)
}

/// A client's frame with any first byte.
pub(crate) fn masked_as(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    push(&mut frame, Dialect::Client, first, payload);
    frame
}

/// A server's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a Close frame that has one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        match (self.opcode, &self.payload[..]) {
            (Opcode::Close, [a, b, ..]) => Some(u16::from_be_bytes([*a, *b])),
            _ => None,
        }
    }
}

/// Reads a server's frame, and nothing behind it.
pub(crate) fn read(stream: &mut impl Read) -> io::Result<Frame> {
    let mut bytes = [0; 10];
    stream.read_exact(&mut bytes[..2])?;
    let end = Header::len(bytes[1]);
    stream.read_exact(&mut bytes[2..end])?;
    let header = Header::parse(&bytes[..end])?.ok_or(ErrorKind::UnexpectedEof)?;
    let mut payload = vec![0; header.payload];
    stream.read_exact(&mut payload)?;
    Ok(Frame {
        fin: header.fin,
        opcode: header.opcode,
        payload,
    })
}

/// A server's frame at the start of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: &'a [u8],
    /// Bytes of header and payload together.
    pub(crate) len: usize,
}

impl<'a> Parsed<'a> {
    /// The frame at the start of `bytes`; `None` while it is incomplete.
    pub(crate) fn parse(bytes: &'a [u8]) -> io::Result<Option<Parsed<'a>>> {
        let Some(header) = Header::parse(bytes)? else {
            return Ok(None);
        };
        let start = Header::len(bytes[1]);
        let len = start + header.payload;
        Ok(bytes.get(start..len).map(|payload| Parsed {
            fin: header.fin,
            opcode: header.opcode,
            payload,
            len,
        }))
    }

    pub(crate) fn to_frame(self) -> Frame {
        Frame {
            fin: self.fin,
            opcode: self.opcode,
            payload: self.payload.to_vec(),
        }
    }
}

/// The header of a server's frame.
struct Header {
    fin: bool,
    opcode: Opcode,
    /// Bytes of the payload.
    payload: usize,
}

impl Header {
    /// Bytes of a header with this second byte; a server's has no mask.
    fn len(second: u8) -> usize {
        match second & !MASKED {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    /// The header at the start of `bytes`; `None` while it is incomplete. Fails on
    /// what a server must not send.
    fn parse(bytes: &[u8]) -> io::Result<Option<Header>> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if second & MASKED != 0 {
            return Err(invalid("a server's frame is masked (RFC 6455 §5.1)".into()));
        }
        if first & (RSV1 | RSV2 | RSV3) != 0 {
            return Err(invalid(format!("a reserved bit is set: {first:#04x}")));
        }
        let opcode = Opcode::from_bits(first & 0x0f)
            .ok_or_else(|| invalid(format!("an opcode that means nothing: {first:#04x}")))?;
        let payload = match (second & !MASKED, rest) {
            (126, [a, b, ..]) => u64::from(u16::from_be_bytes([*a, *b])),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
            }
            (126 | 127, _) => return Ok(None),
            (len, _) => u64::from(len),
        };
        if payload > MAX_PAYLOAD {
            return Err(invalid(format!("a frame of {payload} bytes")));
        }
        Ok(Some(Header {
            fin: first & FIN != 0,
            opcode,
            payload: payload as usize,
        }))
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
