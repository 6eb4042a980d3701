//! A model of the outbox, run beside it for any choices: what the socket
//! takes, what is pushed, and when the writer thread gets how far.
//!
//! Two things are compared after every step. The model says what a policy
//! keeps, what the writer thread is handed and what the outbox reports about
//! itself. A reader of the wire, which knows nothing of the outbox, sees that
//! frames are whole and in order and that a Close is the last.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::fake::{FakeSocket, FakeWriters, taken};
use super::*;
use crate::close::{CloseCode, CloseFrame};
use crate::fuzzing::choices::Choices;
use crate::outbox::MAX_BURSTS;
use crate::wire::frame;
use crate::wire::{Burst, BurstBuilder};

/// What a run has come across, so that a test can tell that it was not idle.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) steps: u64,
    pub(super) messages: u64,
    pub(super) begun: u64,
    pub(super) owed: u64,
    pub(super) chunks: u64,
    pub(super) dropped: u64,
    pub(super) shed: u64,
    pub(super) overflows: u64,
    pub(super) replaced: u64,
    pub(super) closed: u64,
    pub(super) failed: u64,
}

/// Runs an outbox and its model for at most `steps` steps.
pub(crate) fn run(
    choices: &mut Choices<'_>,
    slow_consumer: SlowConsumer,
    steps: usize,
    tally: &mut Tally,
) {
    let mut world = World::new(choices, slow_consumer, tally);
    let mut steps_left = steps;
    while steps_left > 0 && world.choices.is_left() {
        steps_left -= 1;
        if world.model.close == Close::Sent {
            // After the Close every step is the same, so few are enough.
            steps_left /= 2;
        }
        world.tally.steps += 1;
        if world.step() == Life::Over {
            world.tally.failed += 1;
            return;
        }
    }
    world.drain();
}

/// Messages, pings and pongs are numbered, each kind for itself.
const MESSAGE: usize = 0;
const PING: usize = 1;
const PONG: usize = 2;

#[derive(Debug, PartialEq, Eq)]
enum Life {
    GoesOn,
    Over,
}

/// An outbox, its socket, its writer, and what is expected of it.
struct World<'a, 'b> {
    choices: &'a mut Choices<'b>,
    tally: &'a mut Tally,
    socket: Arc<FakeSocket>,
    outbox: Outbox,
    scratch: Vec<u8>,
    model: Model,
    wire: WireReader,
    /// How many messages, pings and pongs were made.
    made: [u64; 3],
}

impl<'a, 'b> World<'a, 'b> {
    fn new(
        choices: &'a mut Choices<'b>,
        slow_consumer: SlowConsumer,
        tally: &'a mut Tally,
    ) -> World<'a, 'b> {
        let max_messages = [1, 2, 3, 8, 100, 1_000][choices.below(6)];
        let max_bytes = [1, 50, 500, 5_000, 200_000, 1 << 20][choices.below(6)];
        let writers = FakeWriters::default();
        let id = ClientId(1);
        let socket = writers.socket(id);
        let record = [0, 0, 40, 1_000, 16_384][choices.below(5)];
        socket.wire().record = record;
        let rules = OutboxRules {
            max_messages,
            max_bytes,
            slow_consumer,
            writers: Box::new(writers),
        };
        World {
            choices,
            tally,
            outbox: Outbox::new(id, socket.clone(), Arc::new(rules)),
            socket,
            scratch: Vec::new(),
            model: Model {
                slow_consumer,
                max_messages,
                max_bytes,
                record,
                waiting: None,
                close: Close::Open,
                finish: false,
                dropped: 0,
            },
            wire: WireReader {
                gapless: slow_consumer == SlowConsumer::Disconnect,
                ..WireReader::default()
            },
            made: [0; 3],
        }
    }

    fn step(&mut self) -> Life {
        let room = self.room();
        self.socket.set_room(room);
        if self.choices.one_in(256) {
            self.socket.wire().error = Some(io::ErrorKind::ConnectionReset);
        }
        let life = match self.choices.below(24) {
            0..8 => self.push(room),
            8..10 => self.ping(room),
            10..12 => self.pong(room),
            12..19 => self.write(),
            19..21 => self.shed(),
            21 => self.discard(),
            22 => self.close(room),
            _ => self.finish(),
        };
        if life == Life::GoesOn {
            self.check();
        }
        life
    }

    /// How much the socket takes, or the writer writes, at once.
    fn room(&mut self) -> usize {
        match self.choices.below(4) {
            0 => usize::MAX,
            1 => 0,
            2 => self.choices.below(256),
            _ => self.choices.below(200_000),
        }
    }

    fn push(&mut self, room: usize) -> Life {
        let bursts = self.bursts();
        let frames: Vec<Bytes> = bursts.iter().flat_map(Burst::frames).collect();
        self.tally.messages += frames.len() as u64;
        let outbox = &mut self.outbox;
        let outcome = Delivery::prepare(&bursts, &mut self.scratch, |delivery| {
            assert_eq!(delivery.messages, frames.len());
            assert_eq!(delivery.bytes, frames.iter().map(Bytes::len).sum::<usize>());
            outbox.push(delivery)
        });
        if self.model.sends_now() && self.has_failed() {
            return self.failed(&outcome);
        }
        let dropped = self.model.dropped;
        let expected = self.model.push(&frames, room);
        self.tally.dropped += self.model.dropped - dropped;
        self.settle(expected, outcome)
    }

    /// Messages as they come from publishers: mostly one small one.
    fn bursts(&mut self) -> Vec<Burst> {
        let bursts = match self.choices.below(8) {
            0..4 => 1,
            4..7 => 1 + self.choices.below(4),
            _ => 1 + self.choices.below(MAX_BURSTS),
        };
        (0..bursts).map(|_| self.burst()).collect()
    }

    fn burst(&mut self) -> Burst {
        let messages = match self.choices.below(4) {
            0..3 => 1,
            _ => 1 + self.choices.below(5),
        };
        let mut builder = BurstBuilder::default();
        for _ in 0..messages {
            let len = match self.choices.below(128) {
                0..80 => 8,
                80..100 => 8 + self.choices.below(120),
                100 => 0,
                101 => 125,
                102 => 126,
                103..126 => 8 + self.choices.below(1000),
                _ => [65_535, 65_536, 70_000][self.choices.below(3)],
            };
            builder.binary(&self.payload(MESSAGE, len));
        }
        builder.take()
    }

    /// A payload that tells which it is and whether all of it is there.
    fn payload(&mut self, kind: usize, len: usize) -> Vec<u8> {
        if len < 8 {
            return vec![0; len];
        }
        self.made[kind] += 1;
        numbered(self.made[kind], len)
    }

    fn ping(&mut self, room: usize) -> Life {
        let frame = frame::ping(&self.payload(PING, 8));
        let outcome = self.outbox.ping(frame.clone());
        self.control(frame, outcome, room, |waiting| &mut waiting.ping)
    }

    fn pong(&mut self, room: usize) -> Life {
        let len = [8, 125, 0][self.choices.below(3)];
        let frame = frame::pong(&self.payload(PONG, len));
        let outcome = self.outbox.pong(frame.clone(), frame.clone());
        self.control(frame, outcome, room, |waiting| &mut waiting.pong)
    }

    fn control(
        &mut self,
        frame: Bytes,
        outcome: Outcome,
        room: usize,
        slot: fn(&mut Waiting) -> &mut Option<Bytes>,
    ) -> Life {
        if self.model.sends_now() && self.has_failed() {
            return self.failed(&outcome);
        }
        let mut expected = Expected::default();
        match &mut self.model.waiting {
            _ if self.model.close != Close::Open => {}
            Some(waiting) => {
                let waited = slot(waiting).replace(frame);
                self.tally.replaced += u64::from(waited.is_some());
            }
            None => expected = self.model.send_alone(frame, room),
        }
        self.settle(expected, outcome)
    }

    fn close(&mut self, room: usize) -> Life {
        if self.choices.below(4) > 0 {
            // A life in which nothing is pushed any more is dull.
            return Life::GoesOn;
        }
        self.close_now(room)
    }

    fn close_now(&mut self, room: usize) -> Life {
        let frame = frame::close(&CloseFrame::new(CloseCode::NORMAL, "bye"));
        let outcome = self.outbox.close(frame.clone());
        if self.model.sends_now() && self.has_failed() {
            return self.failed(&outcome);
        }
        let mut expected = Expected::default();
        if self.model.close == Close::Open {
            self.tally.closed += 1;
            self.model.close = Close::Waiting;
            match &mut self.model.waiting {
                Some(waiting) => waiting.close = Some(frame),
                None => expected = self.model.send_alone(frame, room),
            }
            if self.model.waiting.is_none() {
                self.model.close = Close::Sent;
            }
        }
        self.settle(expected, outcome)
    }

    fn finish(&mut self) -> Life {
        if self.choices.below(4) == 0 {
            self.outbox.finish();
            self.model.finish = true;
        }
        Life::GoesOn
    }

    fn write(&mut self) -> Life {
        let n = self.room();
        self.write_up_to(n);
        Life::GoesOn
    }

    fn write_up_to(&mut self, n: usize) {
        let whole = self.socket.write(n);
        self.wire.feed(&self.socket.take_out());
        if whole {
            self.model.written();
            assert_eq!(self.outbox.written(), Outcome::Done);
        } else if !self.socket.is_writing() {
            // No chunk was handed over. A report is wrong then, and must do no
            // harm.
            assert_eq!(self.outbox.written(), Outcome::Done);
        }
        self.hand_over();
    }

    fn shed(&mut self) -> Life {
        let dropped = self.model.dropped;
        assert_eq!(self.outbox.shed(), self.model.shed());
        self.tally.shed += self.model.dropped - dropped;
        Life::GoesOn
    }

    fn discard(&mut self) -> Life {
        if self.choices.below(4) == 0 {
            self.wire.gapless = false;
            self.discard_now();
        }
        Life::GoesOn
    }

    fn discard_now(&mut self) {
        let was = (self.model.messages(), self.model.bytes());
        assert_eq!(self.outbox.discard(), was, "what was discarded");
        self.model.discard();
    }

    /// Compares what has happened with what was expected.
    fn settle(&mut self, expected: Expected, outcome: Outcome) -> Life {
        let out = self.socket.take_out();
        assert!(out == expected.out, "the hub has sent something else");
        self.wire.feed(&out);
        self.tally.begun += u64::from(expected.is_begun);
        self.tally.owed += u64::from(expected.owes);
        if !expected.overflow {
            assert_eq!(outcome, Outcome::Done);
            self.hand_over();
            return Life::GoesOn;
        }
        assert_eq!(outcome, Outcome::Overflow);
        self.tally.overflows += 1;
        if expected.is_begun || expected.owes {
            self.hand_over();
        }
        // The hub evicts: this is what it does then.
        self.discard_now();
        let room = self.room();
        self.socket.set_room(room);
        self.close_now(room)
    }

    /// The writer gets its next chunk now if it has none and something waits.
    fn hand_over(&mut self) {
        let chunk = self.socket.take_chunk();
        // At most half of what may wait is out of reach of the policy.
        let chunk_limits = (
            (self.model.max_messages / 2).clamp(1, 64),
            (self.model.max_bytes / 2).clamp(1, 64 * 1024),
        );
        match (&mut self.model.waiting, chunk) {
            (Some(waiting), Some(frames)) if !waiting.is_handed => {
                self.tally.chunks += 1;
                waiting.take_chunk(&frames, chunk_limits);
            }
            (Some(waiting), None) => assert!(waiting.is_handed, "nobody writes"),
            (None, None) => {}
            (_, Some(frames)) => panic!("a chunk of {} frames for nothing", frames.len()),
        }
    }

    fn has_failed(&self) -> bool {
        self.socket.wire().error.is_some()
    }

    fn failed(&self, outcome: &Outcome) -> Life {
        let kind = io::ErrorKind::ConnectionReset;
        assert_eq!(*outcome, Outcome::Failed(Cause::WriteFailed(kind)));
        Life::Over
    }

    fn check(&self) {
        let model = &self.model;
        assert_eq!(self.outbox.backlog_messages(), model.messages());
        assert_eq!(self.outbox.backlog_bytes(), model.bytes());
        assert_eq!(self.outbox.dropped(), model.dropped);
        assert_eq!(
            self.socket.is_writing(),
            model.waiting.is_some(),
            "who writes"
        );
        let finished = self.socket.wire().finished > 0;
        assert_eq!(finished, model.finish && model.close == Close::Sent);
        if let Some(waiting) = &model.waiting {
            assert!(waiting.queue.len() <= model.max_messages);
            assert!(waiting.queue.len() <= 1 || waiting.queued_bytes() <= model.max_bytes);
        }
    }

    /// Lets the writer write until nothing is left.
    fn drain(&mut self) {
        while self.socket.is_writing() {
            self.write_up_to(usize::MAX);
            self.check();
        }
        assert!(self.model.waiting.is_none(), "something was left behind");
        assert!(self.wire.part.is_empty(), "half a frame at the end");
        assert_eq!(self.wire.is_closed, self.model.close == Close::Sent);
    }
}

/// What must be visible after an operation.
#[derive(Debug, Default)]
struct Expected {
    /// What the hub sends itself.
    out: Vec<u8>,
    /// A frame was begun and not finished.
    is_begun: bool,
    /// Something was taken that has not gone out.
    owes: bool,
    overflow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    Open,
    Waiting,
    Sent,
}

/// What the outbox holds, in the plainest words.
#[derive(Debug)]
struct Model {
    slow_consumer: SlowConsumer,
    max_messages: usize,
    max_bytes: usize,
    /// How much of what is sent the socket takes as a whole, if not zero.
    record: usize,
    /// `None`: the hub writes.
    waiting: Option<Waiting>,
    close: Close,
    finish: bool,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    is_handed: bool,
    handed_messages: usize,
    handed_bytes: usize,
    handed_close: bool,
    /// How many bytes the socket has taken that are not out.
    owed: usize,
    /// The rest of a frame of which the beginning is out.
    begun: Option<Bytes>,
    begun_is_message: bool,
    queue: VecDeque<Bytes>,
    ping: Option<Bytes>,
    pong: Option<Bytes>,
    close: Option<Bytes>,
}

impl Model {
    /// Whether the next frame goes to the socket in the hub's own send.
    fn sends_now(&self) -> bool {
        self.waiting.is_none() && self.close == Close::Open
    }

    fn messages(&self) -> usize {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |w| w.handed_messages + w.queue.len())
    }

    fn bytes(&self) -> usize {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |w| w.handed_bytes + w.queued_bytes())
    }

    fn push(&mut self, frames: &[Bytes], room: usize) -> Expected {
        let mut expected = Expected::default();
        if self.close != Close::Open {
            return expected;
        }
        let len = frames.iter().map(Bytes::len).sum();
        let (mut left, mut out) = match self.waiting {
            Some(_) => (0, 0),
            None => taken(len, room, self.record),
        };
        if left > out {
            expected.owes = true;
            self.waiting.get_or_insert_default().owed = left - out;
        }
        for frame in frames {
            let sent = left.min(frame.len());
            left -= sent;
            let now = out.min(frame.len());
            out -= now;
            expected.out.extend_from_slice(&frame[..now]);
            if sent == frame.len() {
                continue;
            }
            if expected.overflow {
                self.dropped += 1;
                continue;
            }
            if sent > 0 {
                expected.is_begun = true;
                let waiting = self.waiting.get_or_insert_default();
                waiting.begun = Some(frame.slice(sent..));
                waiting.begun_is_message = true;
            } else if !self.queue(frame) {
                expected.overflow = true;
                self.dropped += 1;
            }
        }
        expected
    }

    fn queue(&mut self, frame: &Bytes) -> bool {
        let waiting = self.waiting.get_or_insert_default();
        loop {
            let messages = waiting.handed_messages + waiting.queue.len();
            let bytes = waiting.handed_bytes + waiting.queued_bytes();
            let fits = messages < self.max_messages && bytes + frame.len() <= self.max_bytes;
            if fits || waiting.queue.is_empty() {
                waiting.queue.push_back(frame.clone());
                return true;
            }
            match self.slow_consumer {
                SlowConsumer::Disconnect => return false,
                SlowConsumer::DropNewest => {
                    self.dropped += 1;
                    return true;
                }
                SlowConsumer::DropOldest => {
                    self.dropped += 1;
                    waiting.queue.pop_front();
                }
            }
        }
    }

    /// Sends a control frame while nothing waits.
    fn send_alone(&mut self, frame: Bytes, room: usize) -> Expected {
        let (sent, out) = taken(frame.len(), room, self.record);
        if out < frame.len() {
            self.waiting = Some(Waiting {
                begun: (sent < frame.len()).then(|| frame.slice(sent..)),
                owed: sent - out,
                handed_close: self.close == Close::Waiting,
                ..Waiting::default()
            });
        }
        Expected {
            out: frame[..out].to_vec(),
            is_begun: 0 < sent && sent < frame.len(),
            owes: sent > out,
            overflow: false,
        }
    }

    fn written(&mut self) {
        let Some(waiting) = &mut self.waiting else {
            panic!("written, but nothing was waiting");
        };
        waiting.is_handed = false;
        waiting.handed_messages = 0;
        waiting.handed_bytes = 0;
        if waiting.handed_close {
            self.close = Close::Sent;
        }
        let left = waiting.queue.len()
            + [&waiting.ping, &waiting.pong, &waiting.close]
                .into_iter()
                .flatten()
                .count();
        if left == 0 {
            self.waiting = None;
        }
    }

    fn shed(&mut self) -> bool {
        let Some(waiting) = &mut self.waiting else {
            return false;
        };
        let shed = match self.slow_consumer {
            SlowConsumer::Disconnect => None,
            SlowConsumer::DropOldest => waiting.queue.pop_front(),
            SlowConsumer::DropNewest => waiting.queue.pop_back(),
        };
        self.dropped += u64::from(shed.is_some());
        shed.is_some()
    }

    fn discard(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            self.dropped += waiting.queue.len() as u64;
            waiting.queue.clear();
            (waiting.ping, waiting.pong) = (None, None);
            if !waiting.is_handed {
                self.waiting = None;
            }
        }
    }
}

impl Waiting {
    fn queued_bytes(&self) -> usize {
        self.queue.iter().map(Bytes::len).sum()
    }

    /// The writer thread got these frames: they are the right ones, enough
    /// and not too many.
    fn take_chunk(&mut self, frames: &[Bytes], (max_messages, max_bytes): (usize, usize)) {
        self.is_handed = true;
        self.handed_bytes = self.owed + frames.iter().map(Bytes::len).sum::<usize>();
        self.handed_messages = usize::from(self.begun.is_some() && self.begun_is_message);
        self.begun_is_message = false;
        let mut rest = frames;
        let mut messages = usize::from(self.begun.is_some());
        let mut bytes = std::mem::take(&mut self.owed) + self.begun.as_ref().map_or(0, Bytes::len);
        let first = [self.begun.take(), self.pong.take(), self.ping.take()];
        for expected in first.into_iter().flatten() {
            assert_eq!(rest[0], expected, "begun, pong, ping go first");
            rest = &rest[1..];
        }
        while let [first, others @ ..] = rest
            && self.queue.front() == Some(first)
        {
            assert!(
                messages < max_messages && bytes < max_bytes,
                "a chunk too large"
            );
            messages += 1;
            bytes += first.len();
            rest = others;
            self.queue.pop_front();
            self.handed_messages += 1;
        }
        if self.queue.is_empty() && rest.len() == 1 && self.close.as_ref() == Some(&rest[0]) {
            rest = &[];
            self.close = None;
            self.handed_close = true;
        }
        assert!(rest.is_empty(), "frames that nobody expected");
        let is_full = messages >= max_messages || bytes >= max_bytes;
        assert!(
            is_full || self.queue.is_empty(),
            "a chunk that could hold more"
        );
        assert!(
            !self.queue.is_empty() || self.close.is_none(),
            "the Close could go"
        );
    }
}

/// A payload of this length that names its number and fits no other.
fn numbered(number: u64, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    // In blocks: a debug build takes long for each byte.
    let block: Vec<u8> = (0..251.min(len - 8) as u8)
        .map(|i| i ^ payload[7])
        .collect();
    while payload.len() < len {
        let more = block.len().min(len - payload.len());
        payload.extend_from_slice(&block[..more]);
    }
    payload
}

/// Reads what came out, as a client would.
#[derive(Debug, Default)]
struct WireReader {
    part: Vec<u8>,
    /// No message may be missing in between.
    gapless: bool,
    /// The numbers of the last message, ping and pong.
    last: [u64; 3],
    is_closed: bool,
}

impl WireReader {
    fn feed(&mut self, bytes: &[u8]) {
        self.part.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(frame) = whole_frame(&self.part[at..]) {
            at += frame.header + frame.payload;
            let payload = at - frame.payload..at;
            let payload = self.part[payload].to_vec();
            self.take(frame.opcode, &payload);
        }
        self.part.drain(..at);
    }

    fn take(&mut self, opcode: u8, payload: &[u8]) {
        assert!(!self.is_closed, "a frame behind the Close");
        let kind = match opcode {
            2 => MESSAGE,
            9 => PING,
            10 => PONG,
            8 => {
                self.is_closed = true;
                return;
            }
            opcode => panic!("a frame of opcode {opcode}"),
        };
        let Some((number, _)) = payload.split_first_chunk() else {
            return;
        };
        let number = u64::from_be_bytes(*number);
        assert!(payload == numbered(number, payload.len()), "not as sent");
        let next = self.last[kind] + 1;
        assert!(number >= next, "out of order");
        assert!(number == next || kind != MESSAGE || !self.gapless, "lost");
        self.last[kind] = number;
    }
}

struct FrameAt {
    opcode: u8,
    header: usize,
    payload: usize,
}

/// Where the first frame of `bytes` is, if it is whole (RFC 6455 §5.2).
fn whole_frame(bytes: &[u8]) -> Option<FrameAt> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "not the beginning of a final frame");
    let number = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range)?.iter();
        Some(digits.fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    let (header, payload) = match second {
        126 => (4, number(2..4)?),
        127 => (10, number(2..10)?),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= header + payload).then_some(FrameAt {
        opcode: first & 0x0f,
        header,
        payload,
    })
}
