//! What every outbox of a server has in common.

use crate::config::SlowConsumer;
use crate::outbox::writer::StartWriter;

/// A chunk for the writer thread is full at so many bytes of messages, but
/// always takes one. What it holds can no longer be dropped or overtaken.
const CHUNK_BYTES: usize = 64 * 1024;
/// A chunk is also full at so many messages: it becomes one vectored send,
/// and not every system takes many slices.
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
    /// How many messages and bytes of messages fill a chunk: never more than
    /// half of what may wait, so that the other half is left to the newest.
    pub(super) fn chunk(&self) -> (usize, usize) {
        let messages = CHUNK_MESSAGES.min(self.max_messages / 2).max(1);
        (messages, CHUNK_BYTES.min(self.max_bytes / 2).max(1))
    }
}
