//! What every outbox of a server has in common.

use crate::config::SlowConsumer;
use crate::outbox::writer::StartWriter;

/// At this many bytes of messages a chunk for the writer thread is full, but it
/// always takes one message. What is in a chunk can no longer be dropped or
/// overtaken.
const CHUNK_BYTES: usize = 64 * 1024;
/// At this many messages a chunk is full, too. It becomes one vectored send,
/// and some systems take few slices.
const CHUNK_MESSAGES: usize = 64;

/// What every outbox of a server has in common.
#[derive(Debug)]
pub(crate) struct OutboxRules {
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
    pub(crate) slow_consumer: SlowConsumer,
    pub(crate) writers: Box<dyn StartWriter>,
}

impl OutboxRules {
    /// How many messages and bytes fill a chunk: at most half of what may wait,
    /// so that the other half is left for newer messages.
    pub(super) fn chunk(&self) -> (usize, usize) {
        let messages = CHUNK_MESSAGES.min(self.max_messages / 2).max(1);
        (messages, CHUNK_BYTES.min(self.max_bytes / 2).max(1))
    }
}
