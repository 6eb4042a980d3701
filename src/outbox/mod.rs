//! One client's way out: straight to the socket, or through a queue.
//!
//! An outbox belongs to the hub thread. While nothing is queued, the hub
//! sends to the socket itself, without blocking. What the socket does not
//! take becomes the backlog, and from then on the client's writer thread
//! (see `writer.rs`) sends: the hub hands it one chunk at a time and hears
//! of each chunk's end by a command, so the queue itself never leaves the hub
//! thread and needs no lock. When the backlog is gone, the hub sends again.

mod backlog;
mod delivery;
#[cfg(any(fuzzing, test))]
pub(crate) mod fake;
#[cfg(any(fuzzing, test))]
pub(crate) mod model;
mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

pub(crate) use delivery::{Delivery, MAX_BURSTS};
pub(crate) use rules::OutboxRules;
pub(crate) use writer::{Chunk, StartWriter};

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Sender;

use crate::close::Cause;
use crate::config::SlowConsumer;
use crate::names::ClientId;
use crate::net::{Outlet, Sent};
use crate::position::{Epoch, Offset, Position};
use crate::wire::Encoding;
use crate::wire::{forms, frame};

use backlog::{Backlog, Gap, Item, Load};

/// The outcome of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was sent or queued, or dropped and counted as the policy says.
    Done,
    /// The outbox is full and the policy is to evict.
    Overflow,
    /// The client cannot be written to any more.
    Failed(Cause),
}

/// One client's way out.
#[derive(Debug)]
pub(crate) struct Outbox {
    socket: Arc<dyn Outlet>,
    /// Invariant: while this is `None`, the hub writes to the socket; while
    /// there is a backlog, the writer thread has a chunk of it and only it
    /// writes. This is the one place where that is decided.
    backlog: Option<Box<Backlog>>,
    closing: Closing,
    rules: Arc<OutboxRules>,
    /// Where chunks go; the thread is started with the first.
    writer: Option<Sender<Chunk>>,
    id: ClientId,
    dropped: u64,
    /// The client is told what was dropped, in this encoding and epoch.
    told: Option<(Encoding, Epoch)>,
}

/// How far the closing of our direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Closing {
    close: CloseSent,
    /// End our direction of the stream once the Close is out.
    finish: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloseSent {
    No,
    /// The Close is in the backlog; nothing else is taken.
    Waiting,
    Yes,
}

impl Outbox {
    pub(crate) fn new(id: ClientId, socket: Arc<dyn Outlet>, rules: Arc<OutboxRules>) -> Outbox {
        Outbox {
            socket,
            backlog: None,
            closing: Closing {
                close: CloseSent::No,
                finish: false,
            },
            rules,
            writer: None,
            id,
            dropped: 0,
            told: None,
        }
    }

    /// Sends the answer to the request of the client, before anything else.
    pub(crate) fn answer(&mut self, answer: Bytes) -> Outcome {
        let sent = match sent(self.socket.try_send(&answer)) {
            Ok(sent) if sent == Sent::whole(answer.len()) => return Outcome::Done,
            Ok(sent) => sent,
            Err(cause) => return Outcome::Failed(cause),
        };
        self.backlog = Some(Box::default());
        let begun = (sent.bytes < answer.len()).then(|| answer.slice(sent.bytes..));
        self.hand_over_uncounted(begun, sent.owed)
    }

    /// From now on the client is told where messages were dropped.
    pub(crate) fn tell_gaps(&mut self, encoding: Encoding, epoch: Epoch) {
        self.told = Some((encoding, epoch));
    }

    /// Sends or queues a fan-out. Never blocks.
    pub(crate) fn push(&mut self, delivery: &Delivery<'_>) -> Outcome {
        self.send_or_queue(delivery, true)
    }

    /// Sends or queues a piece of what a room remembers: of it, more may
    /// wait than an outbox holds, because the next piece is given only when
    /// nothing waits any more.
    pub(crate) fn push_piece(&mut self, piece: &Delivery<'_>) -> Outcome {
        self.send_or_queue(piece, false)
    }

    /// Sends of a delivery what the socket takes now, if nothing waits; nothing
    /// of it is queued but the rest of a frame that was begun. Returns how many
    /// of its messages, and their bytes, are on their way by that.
    #[cfg(feature = "deflate")]
    pub(crate) fn send_begun(&mut self, delivery: &Delivery<'_>) -> Result<(usize, usize), Cause> {
        if self.closing.close != CloseSent::No || self.backlog.is_some() {
            return Ok((0, 0));
        }
        let sent = sent(delivery.try_send(&*self.socket))?;
        if sent == Sent::whole(delivery.bytes) {
            return Ok((delivery.messages, delivery.bytes));
        }
        let Sent { bytes: sent, owed } = sent;
        let (mut messages, mut end, mut begun) = (0, 0, None);
        for (frame, _) in delivery.frames() {
            if end >= sent {
                break;
            }
            let start = end;
            end += frame.len();
            messages += 1;
            begun = (end > sent).then(|| frame.slice(sent - start..));
        }
        if begun.is_some() || owed > 0 {
            self.backlog = Some(Box::default());
            if let Outcome::Failed(cause) = self.hand_over(begun, owed) {
                return Err(cause);
            }
        }
        Ok((messages, end))
    }

    fn send_or_queue(&mut self, delivery: &Delivery<'_>, is_bounded: bool) -> Outcome {
        if self.closing.close != CloseSent::No {
            return Outcome::Done;
        }
        if self.backlog.is_some() {
            return self.queue_from(delivery, Sent::default(), is_bounded);
        }
        match sent(delivery.try_send(&*self.socket)) {
            Ok(sent) if sent == Sent::whole(delivery.bytes) => Outcome::Done,
            Ok(sent) => self.queue_from(delivery, sent, is_bounded),
            Err(cause) => Outcome::Failed(cause),
        }
    }

    /// Queues what was not sent of the delivery.
    fn queue_from(&mut self, delivery: &Delivery<'_>, sent: Sent, is_bounded: bool) -> Outcome {
        let Sent { bytes: sent, owed } = sent;
        if owed > 0 {
            self.backlog.get_or_insert_default();
        }
        let mut begun = None;
        let mut fits = true;
        let mut at = 0;
        for (frame, offset) in delivery.frames() {
            let end = at + frame.len();
            if at >= sent {
                fits = fits && self.queue(frame, offset, is_bounded);
                // An evicted client loses the rest of the delivery, too.
                self.dropped += u64::from(!fits);
            } else if end > sent {
                begun = Some(frame.slice(sent - at..));
                self.backlog.get_or_insert_default();
            }
            at = end;
        }
        // Even a client that is about to be evicted gets the rest of a frame
        // that was begun, and what its stream owes it.
        let handed = match (fits, &begun) {
            (false, None) if owed == 0 => Outcome::Done,
            _ => self.hand_over(begun, owed),
        };
        match (fits, handed) {
            (false, Outcome::Done) => Outcome::Overflow,
            (_, handed) => handed,
        }
    }

    /// Queues one frame of a message as the policy says; false if the client
    /// must be evicted.
    fn queue(&mut self, frame: Bytes, offset: Offset, is_bounded: bool) -> bool {
        let policy = self.rules.slow_consumer;
        let backlog = self.backlog.get_or_insert_default();
        // Where messages are dropped and nobody is told, nobody needs to
        // know which they were.
        let offset = match policy {
            SlowConsumer::DropOldest | SlowConsumer::DropNewest if self.told.is_none() => {
                Offset::NONE
            }
            _ => offset,
        };
        while is_bounded && !backlog.has_room(frame.len(), &self.rules) {
            match policy {
                SlowConsumer::Disconnect => {
                    backlog.refuse(offset);
                    return false;
                }
                SlowConsumer::DropNewest => {
                    self.dropped += 1;
                    backlog.drop_new(offset);
                    return true;
                }
                SlowConsumer::DropOldest => {
                    self.dropped += 1;
                    backlog.drop_oldest();
                }
            }
        }
        backlog.push(frame, offset);
        true
    }

    /// Gives the writer thread its next chunk, unless it has one. The `owed`
    /// bytes of the stream go first; they are in no frame of the chunk. Then
    /// `begun`, the rest of a frame that was sent in part.
    fn hand_over(&mut self, begun: Option<Bytes>, owed: usize) -> Outcome {
        let Some(backlog) = self.backlog.as_mut() else {
            return Outcome::Done;
        };
        if backlog.handed.bytes > 0 {
            return Outcome::Done;
        }
        let (max_messages, max_bytes) = self.rules.chunk();
        let mut chunk = Chunk::new(self.dropped);
        let (mut messages, mut bytes) = (0, owed);
        if let Some(begun) = begun {
            (messages, bytes) = (1, owed + begun.len());
            chunk.frames.push(begun);
        }
        chunk.frames.extend(backlog.pong.take());
        chunk.frames.extend(backlog.ping.take());
        while messages < max_messages
            && bytes < max_bytes
            && let Some(item) = backlog.pop()
        {
            let frame = match item {
                Item::Message(frame, _) => {
                    messages += 1;
                    Some(frame)
                }
                Item::Gap(gap) => self.told.map(|told| gap_notice(told, gap)),
            };
            bytes += frame.as_ref().map_or(0, Bytes::len);
            chunk.frames.extend(frame);
        }
        if backlog.is_empty() {
            // Invariant: the Close is the last frame of all.
            chunk.frames.extend(backlog.close.take());
        }
        backlog.handed = Load {
            messages,
            bytes: owed + chunk.frames.iter().map(Bytes::len).sum::<usize>(),
        };
        if backlog.handed.bytes == 0 {
            self.backlog = None;
            return Outcome::Done;
        }
        match self.pass_on(chunk) {
            Ok(()) => Outcome::Done,
            Err(cause) => Outcome::Failed(cause),
        }
    }

    fn pass_on(&mut self, chunk: Chunk) -> Result<(), Cause> {
        let writer = match &self.writer {
            Some(writer) => writer,
            None => {
                let started = self.rules.writers.start(self.id, self.socket.clone());
                self.writer
                    .insert(started.map_err(|_| Cause::NoWriterThread)?)
            }
        };
        // Never full: the channel holds one chunk, and the thread has none.
        writer.try_send(chunk).map_err(|_| Cause::NoWriterThread)
    }

    /// Called when the writer thread has written its chunk.
    pub(crate) fn written(&mut self) -> Outcome {
        let Some(backlog) = self.backlog.as_mut() else {
            return Outcome::Done;
        };
        let close_is_out = self.closing.close == CloseSent::Waiting && backlog.close.is_none();
        backlog.handed = Load::default();
        if close_is_out {
            self.backlog = None;
            self.close_is_out();
            return Outcome::Done;
        }
        self.hand_over(None, 0)
    }

    /// Sends a Ping as soon as the frame that is going out is finished.
    pub(crate) fn ping(&mut self, frame: Bytes) -> Outcome {
        self.control(frame.clone(), frame, |backlog| &mut backlog.ping)
    }

    /// Sends Pongs: all of them now, or the newest alone as soon as the frame
    /// that is going out is finished (RFC 6455 §5.5.3).
    pub(crate) fn pong(&mut self, all: Bytes, newest: Bytes) -> Outcome {
        self.control(all, newest, |backlog| &mut backlog.pong)
    }

    fn control(
        &mut self,
        now: Bytes,
        later: Bytes,
        slot: impl FnOnce(&mut Backlog) -> &mut Option<Bytes>,
    ) -> Outcome {
        if self.closing.close != CloseSent::No {
            return Outcome::Done;
        }
        match self.backlog.as_mut() {
            Some(backlog) => {
                *slot(backlog) = Some(later);
                Outcome::Done
            }
            None => self.send_now(now, later, slot),
        }
    }

    /// Sends control frames while there is no backlog. If the socket takes only
    /// part of `now`, the frame that was cut is finished first; of the frames
    /// not begun, only the newest, `later`, is kept.
    fn send_now(
        &mut self,
        now: Bytes,
        later: Bytes,
        slot: impl FnOnce(&mut Backlog) -> &mut Option<Bytes>,
    ) -> Outcome {
        let sent = match sent(self.socket.try_send(&now)) {
            Ok(sent) if sent == Sent::whole(now.len()) => return Outcome::Done,
            Ok(sent) => sent,
            Err(cause) => return Outcome::Failed(cause),
        };
        let Sent { bytes: sent, owed } = sent;
        let end = match sent {
            0 => 0,
            _ if now.len() == later.len() => now.len(),
            _ => frame::begun_until(&now, sent),
        };
        let backlog = self.backlog.insert(Box::default());
        if end < now.len() {
            *slot(backlog) = Some(later);
        }
        self.hand_over_uncounted((sent < end).then(|| now.slice(sent..end)), owed)
    }

    /// Gives the writer thread the rest of what is no message.
    fn hand_over_uncounted(&mut self, begun: Option<Bytes>, owed: usize) -> Outcome {
        let outcome = self.hand_over(begun, owed);
        if let Some(backlog) = self.backlog.as_mut() {
            backlog.handed.messages = 0;
        }
        outcome
    }

    /// Sends a Close frame behind everything that waits; from here on
    /// nothing else is taken. A second Close is ignored.
    pub(crate) fn close(&mut self, frame: Bytes) -> Outcome {
        if self.closing.close != CloseSent::No {
            return Outcome::Done;
        }
        self.closing.close = CloseSent::Waiting;
        if let Some(backlog) = self.backlog.as_mut() {
            backlog.close = Some(frame);
            return Outcome::Done;
        }
        let outcome = self.send_now(frame.clone(), frame, |backlog| &mut backlog.close);
        if self.backlog.is_none() {
            self.close_is_out();
        }
        outcome
    }

    /// Puts another Close in the place of one that waits.
    pub(crate) fn replace_close(&mut self, frame: Bytes) {
        if let Some(close) = self.backlog.as_mut().and_then(|b| b.close.as_mut()) {
            *close = frame;
        }
    }

    /// Discards what the writer thread does not have yet, except a Close.
    /// Returns how many messages and bytes the whole backlog had.
    pub(crate) fn discard(&mut self) -> (usize, usize) {
        let was = (self.backlog_messages(), self.backlog_bytes());
        if let Some(backlog) = self.backlog.as_mut() {
            self.dropped += backlog.queued.messages as u64;
            backlog.discard();
            if backlog.handed.bytes == 0 {
                self.backlog = None;
            }
        }
        was
    }

    /// Drops one message that waits, the oldest or the newest as the policy
    /// says, because all backlogs together are too large; false if there is
    /// none to drop, or the policy is to disconnect.
    pub(crate) fn shed(&mut self) -> bool {
        let Some(backlog) = self.backlog.as_mut() else {
            return false;
        };
        let dropped = match self.rules.slow_consumer {
            SlowConsumer::Disconnect => false,
            SlowConsumer::DropOldest => backlog.drop_oldest(),
            SlowConsumer::DropNewest => backlog.drop_newest(),
        };
        self.dropped += u64::from(dropped);
        dropped
    }

    /// Ends our direction of the stream as soon as the Close is out.
    pub(crate) fn finish(&mut self) {
        self.closing.finish = true;
        if self.closing.close == CloseSent::Yes {
            self.socket.finish();
        }
    }

    fn close_is_out(&mut self) {
        self.closing.close = CloseSent::Yes;
        if self.closing.finish {
            self.socket.finish();
        }
    }

    /// Whether the Close frame is out.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.close == CloseSent::Yes
    }

    /// Ends the stream in both directions; what was sent still goes out.
    pub(crate) fn end(&self) {
        self.socket.end();
    }

    /// Ends the stream in both directions; a thread that is blocked on it
    /// returns.
    pub(crate) fn abort(&self) {
        self.socket.abort();
    }

    /// How many messages wait, the ones that the writer thread has included.
    pub(crate) fn backlog_messages(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| {
            backlog.handed.messages + backlog.queued.messages
        })
    }

    /// How many bytes wait that the writer thread does not have.
    pub(crate) fn queued_bytes(&self) -> usize {
        let backlog = self.backlog.as_ref();
        backlog.map_or(0, |backlog| backlog.queued.bytes)
    }

    /// How many bytes wait, those that the writer thread has included.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog
            .as_ref()
            .map_or(0, |backlog| backlog.handed.bytes + backlog.queued.bytes)
    }

    /// How many messages and bytes may wait.
    pub(crate) fn limits(&self) -> (usize, usize) {
        (self.rules.max_messages, self.rules.max_bytes)
    }

    /// Whether nothing waits: what is pushed now goes to the socket.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog.is_none()
    }

    /// The first message of the log that the client will not get if nothing
    /// of what is queued goes out.
    pub(crate) fn first_queued(&self) -> Option<Offset> {
        self.backlog.as_ref()?.first()
    }

    /// How many messages were dropped for this client.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Says where messages were dropped.
fn gap_notice((encoding, epoch): (Encoding, Epoch), gap: Gap) -> Bytes {
    let [from, to] = [gap.from, gap.to].map(|offset| Position { epoch, offset });
    forms::gap_notice(encoding, from, to)
}

/// What a non-blocking send took; nothing if it would block.
fn sent(result: io::Result<Sent>) -> Result<Sent, Cause> {
    match result {
        Ok(sent) => Ok(sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::default()),
        Err(error) => Err(Cause::of_write(&error)),
    }
}
