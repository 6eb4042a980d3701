//! What the room has said, in the order in which it said it.
//!
//! Whichever client is first to receive a message writes it down: the stamp must
//! be its sender's next and the rest of the payload what was sent. Every other
//! client must then receive exactly these frames in exactly this order, which one
//! comparison of bytes per delivery proves: nothing lost, doubled, changed or out
//! of order, and one order for all. A message is done with when everybody has it.

use super::Result;
use super::clock::Nanos;
use super::frame::{Opcode, Parsed};
use super::histogram::Histogram;
use super::stamp::{STAMP_LEN, Stamp};

/// Finished messages are forgotten in lots of at least this many bytes.
const FORGET: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Ledger {
    receivers: u32,
    opcode: Opcode,
    /// The bytes of every payload behind its stamp.
    filler: Vec<u8>,
    /// The next sequence number of each sender.
    expected: Vec<u64>,
    /// The frames of `messages`, one after another.
    frames: Vec<u8>,
    messages: Vec<Message>,
    /// How many messages were forgotten before the first of `messages`.
    forgotten: u64,
    /// How many of `messages` everybody has.
    finished: usize,
    pub(crate) latency: Histogram,
}

#[derive(Debug)]
struct Message {
    sender: u32,
    received: u32,
    sent: Nanos,
    start: usize,
    end: usize,
}

/// What a client got out of some bytes.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Bytes used up; the rest is an incomplete frame.
    pub(crate) bytes: usize,
    pub(crate) deliveries: u64,
    /// The payload of a ping that wants an answer.
    pub(crate) ping: Option<Vec<u8>>,
}

impl Ledger {
    pub(crate) fn new(receivers: usize, senders: usize, opcode: Opcode, filler: Vec<u8>) -> Ledger {
        Ledger {
            receivers: receivers as u32,
            opcode,
            filler,
            expected: vec![0; senders],
            frames: Vec::new(),
            messages: Vec::new(),
            forgotten: 0,
            finished: 0,
            latency: Histogram::new(),
        }
    }

    /// Messages that everybody has received.
    pub(crate) fn finished(&self) -> u64 {
        self.forgotten + self.finished as u64
    }

    /// Checks `bytes`, received at `now` by the client whose next message is
    /// number `next`. Appends the sender of each message that is now finished to
    /// `finished`.
    pub(crate) fn take(
        &mut self,
        next: &mut u64,
        bytes: &[u8],
        now: Nanos,
        finished: &mut Vec<u32>,
    ) -> Result<Taken> {
        let mut taken = Taken::default();
        loop {
            let rest = &bytes[taken.bytes..];
            let index = (*next - self.forgotten) as usize;
            if let Some(message) = self.messages.get_mut(index) {
                let frame = &self.frames[message.start..message.end];
                if rest.starts_with(frame) {
                    message.received += 1;
                    if message.received == self.receivers {
                        self.finished += 1;
                        finished.push(message.sender);
                    }
                    self.latency.record(now.saturating_sub(message.sent));
                    *next += 1;
                    taken.bytes += frame.len();
                    taken.deliveries += 1;
                    continue;
                }
            }
            let Some(frame) = Parsed::parse(rest)? else {
                self.forget();
                return Ok(taken);
            };
            if frame.opcode.is_control() {
                taken.bytes += frame.len;
                taken.ping = control(&frame)?.or(taken.ping);
            } else if let Some(message) = self.messages.get(index) {
                let expected = &self.frames[message.start..message.end];
                return Err(difference(expected, rest).into());
            } else {
                self.write_down(&frame, &rest[..frame.len])?;
            }
        }
    }

    /// The first client to receive a message vouches for it.
    fn write_down(&mut self, frame: &Parsed<'_>, bytes: &[u8]) -> Result<()> {
        if frame.opcode == Opcode::Continuation || !frame.fin {
            return Err("a message came in fragments, which this load never sends".into());
        }
        let stamp = Stamp::read(frame.payload).ok_or("a message without a stamp")?;
        if frame.opcode != self.opcode || frame.payload[STAMP_LEN..] != self.filler {
            return Err(format!("a message was changed on the way: {stamp:?}").into());
        }
        let expected = self
            .expected
            .get_mut(stamp.sender as usize)
            .ok_or_else(|| format!("nobody sent this: {stamp:?}"))?;
        if stamp.sequence != *expected {
            return Err(format!(
                "sender {}: message {} came where {expected} was due (lost, doubled or out of order)",
                stamp.sender, stamp.sequence
            )
            .into());
        }
        *expected += 1;
        let start = self.frames.len();
        self.frames.extend_from_slice(bytes);
        self.messages.push(Message {
            sender: stamp.sender,
            received: 0,
            sent: stamp.sent,
            start,
            end: self.frames.len(),
        });
        Ok(())
    }

    fn forget(&mut self) {
        let Some(last) = self.finished.checked_sub(1) else {
            return;
        };
        let end = self.messages[last].end;
        if end < FORGET || end < self.frames.len() / 2 {
            return;
        }
        self.frames.drain(..end);
        self.messages.drain(..self.finished);
        for message in &mut self.messages {
            message.start -= end;
            message.end -= end;
        }
        self.forgotten += self.finished as u64;
        self.finished = 0;
    }
}

/// A ping's payload. A Close frame is an error: the load is not over.
fn control(frame: &Parsed<'_>) -> Result<Option<Vec<u8>>> {
    match frame.opcode {
        Opcode::Ping => Ok(Some(frame.payload.to_vec())),
        Opcode::Pong => Ok(None),
        Opcode::Close => Err(format!("the server closed: {}", close_text(frame.payload)).into()),
        opcode => Err(format!("{opcode:?} is no control frame").into()),
    }
}

fn close_text(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            format!("{code} {:?}", String::from_utf8_lossy(reason))
        }
        _ => "no code".to_owned(),
    }
}

fn difference(expected: &[u8], received: &[u8]) -> String {
    let stamp = |bytes| match Parsed::parse(bytes) {
        Ok(Some(frame)) => Stamp::read(frame.payload),
        _ => None,
    };
    format!(
        "a client received {:?} where another received {:?}",
        stamp(received),
        stamp(expected)
    )
}
