//! What waits for a client while its writer thread writes.

use std::collections::VecDeque;

use bytes::Bytes;

use super::OutboxRules;

/// What waits while the writer thread writes.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The messages and bytes of the chunk that the writer thread has.
    pub(super) handed: Load,
    /// Whole frames of messages, none of them begun.
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued_bytes: usize,
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

impl Backlog {
    /// Whether one more message may wait. One may always, however large.
    pub(super) fn has_room(&self, len: usize, rules: &OutboxRules) -> bool {
        self.queue.is_empty()
            || (self.handed.messages + self.queue.len() < rules.max_messages
                && self.handed.bytes + self.queued_bytes + len <= rules.max_bytes)
    }

    pub(super) fn drop_oldest(&mut self) -> bool {
        let frame = self.queue.pop_front();
        self.queued_bytes -= frame.as_ref().map_or(0, Bytes::len);
        frame.is_some()
    }

    pub(super) fn drop_newest(&mut self) -> bool {
        let frame = self.queue.pop_back();
        self.queued_bytes -= frame.as_ref().map_or(0, Bytes::len);
        frame.is_some()
    }
}
