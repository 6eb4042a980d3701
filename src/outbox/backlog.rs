//! What waits for a client while its writer thread writes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::outbox::rules::OutboxRules;
use crate::position::Offset;

/// What waits while the writer thread writes.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The messages and bytes of the chunk that the writer thread has.
    pub(super) handed: Load,
    /// What waits for the next chunk, none of it begun.
    queue: VecDeque<Item>,
    /// How many of it are messages, and their bytes.
    pub(super) queued: Load,
    /// What was dropped before the queue's front, and behind its end.
    front_gap: Option<Gap>,
    back_gap: Option<Gap>,
    /// The first message that was not queued because the client is evicted.
    refused: Offset,
    /// Control frames overtake messages; a newer one replaces one that still
    /// waits (RFC 6455 §5.5.3).
    pub(super) ping: Option<Bytes>,
    pub(super) pong: Option<Bytes>,
    /// The Close frame goes out last.
    pub(super) close: Option<Bytes>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Load {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// What goes out in turn.
#[derive(Debug)]
pub(super) enum Item {
    /// A whole frame of a message, and its place in the log.
    Message(Bytes, Offset),
    /// Messages were dropped here.
    Gap(Gap),
}

/// Messages that were dropped: those after the first offset, up to the
/// second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: Offset,
    pub(crate) to: Offset,
}

impl Gap {
    fn around(self, other: Option<Gap>) -> Gap {
        other.map_or(self, |other| Gap {
            from: self.from.min(other.from),
            to: self.to.max(other.to),
        })
    }
}

impl Backlog {
    /// Whether one more message may wait. One may always, however large.
    pub(super) fn has_room(&self, len: usize, rules: &OutboxRules) -> bool {
        self.queued.messages == 0
            || (self.handed.messages + self.queued.messages < rules.max_messages
                && self.handed.bytes + self.queued.bytes + len <= rules.max_bytes)
    }

    pub(super) fn push(&mut self, frame: Bytes, offset: Offset) {
        self.queue.extend(self.back_gap.take().map(Item::Gap));
        self.queued.messages += 1;
        self.queued.bytes += frame.len();
        self.queue.push_back(Item::Message(frame, offset));
    }

    /// What is next, in front of everything else: a gap, or a message.
    pub(super) fn pop(&mut self) -> Option<Item> {
        if let Some(gap) = self.front_gap.take() {
            return Some(Item::Gap(gap));
        }
        let item = self.queue.pop_front();
        if let Some(Item::Message(frame, _)) = &item {
            self.queued.messages -= 1;
            self.queued.bytes -= frame.len();
        }
        item.or_else(|| self.back_gap.take().map(Item::Gap))
    }

    /// Whether nothing is left for the next chunk.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.front_gap.is_none() && self.back_gap.is_none()
    }

    /// Drops the oldest message that waits. False: there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        while let Some(item) = self.queue.pop_front() {
            let dropped = self.dropped(&item);
            self.front_gap = dropped
                .map(|gap| gap.around(self.front_gap))
                .or(self.front_gap);
            if matches!(item, Item::Message(..)) {
                return true;
            }
        }
        false
    }

    /// Drops the newest message that waits. False: there is none.
    pub(super) fn drop_newest(&mut self) -> bool {
        while let Some(item) = self.queue.pop_back() {
            let dropped = self.dropped(&item);
            self.back_gap = dropped
                .map(|gap| gap.around(self.back_gap))
                .or(self.back_gap);
            if matches!(item, Item::Message(..)) {
                return true;
            }
        }
        false
    }

    /// Counts an item out of the queue; returns what of the log is missing
    /// without it.
    fn dropped(&mut self, item: &Item) -> Option<Gap> {
        match item {
            Item::Gap(gap) => Some(*gap),
            Item::Message(frame, offset) => {
                self.queued.messages -= 1;
                self.queued.bytes -= frame.len();
                gap_at(*offset)
            }
        }
    }

    /// A message is dropped instead of being queued.
    pub(super) fn drop_new(&mut self, offset: Offset) {
        let gap = gap_at(offset);
        self.back_gap = gap.map(|gap| gap.around(self.back_gap)).or(self.back_gap);
    }

    /// A message is not queued: its client is evicted.
    pub(super) fn refuse(&mut self, offset: Offset) {
        if self.refused == Offset::NONE {
            self.refused = offset;
        }
    }

    /// The first message of the log that goes missing if nothing of this is
    /// sent.
    pub(super) fn first(&self) -> Option<Offset> {
        let queued = self.queue.iter().find_map(|item| match item {
            Item::Message(_, offset) => gap_at(*offset).map(|_| *offset),
            Item::Gap(_) => None,
        });
        queued.or(gap_at(self.refused).map(|_| self.refused))
    }

    /// Forgets what waits and has not begun to go out.
    pub(super) fn discard(&mut self) {
        self.queue = VecDeque::new();
        self.queued = Load::default();
        (self.front_gap, self.back_gap) = (None, None);
        (self.ping, self.pong) = (None, None);
    }
}

/// The gap that one message leaves; none, if it is not in the log.
fn gap_at(offset: Offset) -> Option<Gap> {
    (offset != Offset::NONE).then(|| Gap {
        from: offset.before(),
        to: offset,
    })
}
