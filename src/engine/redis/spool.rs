//! What this node has accepted and the log does not show yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::engine::records;
use crate::hub::{Act, Append, Audience, InboxError, Receipt, Reply};
use crate::names::ClientId;
use crate::wire::Burst;

/// The most messages of one batch …
const BATCH_MESSAGES: usize = 8192;
/// … and the most bytes; a larger message goes alone.
const BATCH_BYTES: usize = 256 * 1024;
/// What a waiting burst costs beside its bytes, about.
const PLACE: usize = 128;

/// The bounded queue between the publishers and the thread that appends.
/// What was appended counts until it has been read back, because until then
/// only this node has it for certain.
#[derive(Debug)]
pub(super) struct Spool {
    waiting: Mutex<Waiting>,
    /// There is room again, or will never be.
    room: Condvar,
    /// There is something to append, or to do.
    work: Condvar,
    max_bytes: usize,
    max_messages: usize,
    patience: Duration,
    pub(super) waits: AtomicU64,
    pub(super) refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Of the items, and of the batches that were not read back.
    load: Load,
    /// The thread that appends is wanted.
    nudged: bool,
    closed: bool,
}

#[derive(Debug)]
enum Item {
    Messages {
        to: Audience,
        frames: Burst,
        receipt: Option<Reply<Receipt>>,
    },
    Act {
        client: ClientId,
        act: Act,
    },
}

impl Item {
    /// What it costs until it has come back.
    fn load(&self) -> Load {
        let (bytes, messages) = match self {
            Item::Messages { to, frames, .. } => {
                let room = match to {
                    Audience::Room { room, .. } => room.len(),
                    _ => 0,
                };
                (room + frames.bytes.len(), frames.messages as usize)
            }
            Item::Act { act, .. } => match act {
                Act::Close(frame) => (frame.reason.len(), 1),
                Act::Enter(room) | Act::Exit(room) => (room.len(), 1),
            },
        };
        Load {
            bytes: bytes + PLACE,
            messages,
        }
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

/// A batch that was taken from the spool.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its number among those of this node.
    pub(super) number: u64,
    pub(super) messages: u64,
    pub(super) records: Bytes,
    /// Who waits for which record to be in the log.
    pub(super) receipts: Vec<(usize, Reply<Receipt>)>,
    pub(super) load: Load,
    pub(super) taken: Instant,
}

impl Spool {
    pub(super) fn new(max_bytes: usize, max_messages: usize, patience: Duration) -> Spool {
        Spool {
            waiting: Mutex::default(),
            room: Condvar::new(),
            work: Condvar::new(),
            max_bytes,
            max_messages,
            patience,
            waits: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, waiting: &Waiting, more: Load) -> bool {
        let load = waiting.load;
        // One burst may always wait, however large.
        load.messages == 0
            || (load.bytes + more.bytes <= self.max_bytes
                && load.messages + more.messages <= self.max_messages)
    }

    /// Takes the next batch, if anything waits.
    pub(super) fn take(&self, number: u64) -> Option<Batch> {
        let mut waiting = self.lock();
        let mut records = Vec::new();
        let mut batch = Batch {
            number,
            messages: 0,
            records: Bytes::new(),
            receipts: Vec::new(),
            load: Load::default(),
            taken: Instant::now(),
        };
        let mut count = 0;
        while let Some(item) = waiting.items.front() {
            let load = item.load();
            let is_full = records.len() + load.bytes > BATCH_BYTES
                || batch.load.messages + load.messages > BATCH_MESSAGES;
            if count > 0 && is_full {
                break;
            }
            let Some(item) = waiting.items.pop_front() else {
                break;
            };
            match item {
                Item::Messages {
                    to,
                    frames,
                    receipt,
                } => {
                    write(&mut records, &to, &frames);
                    batch
                        .receipts
                        .extend(receipt.map(|receipt| (count, receipt)));
                    if to.is_in_the_log() {
                        batch.messages += u64::from(frames.messages);
                    }
                }
                Item::Act { client, act } => records::write_act(&mut records, client.0, &act),
            }
            batch.load.bytes += load.bytes;
            batch.load.messages += load.messages;
            count += 1;
        }
        batch.records = records.into();
        (count > 0).then_some(batch)
    }

    /// A batch was read back: its room is free again.
    pub(super) fn release(&self, load: Load) {
        let mut waiting = self.lock();
        waiting.load.bytes = waiting.load.bytes.saturating_sub(load.bytes);
        waiting.load.messages = waiting.load.messages.saturating_sub(load.messages);
        drop(waiting);
        self.room.notify_all();
    }

    /// Counts a batch again that was read back from a log that is void.
    pub(super) fn charge(&self, load: Load) {
        let mut waiting = self.lock();
        waiting.load.bytes += load.bytes;
        waiting.load.messages += load.messages;
    }

    pub(super) fn load(&self) -> Load {
        self.lock().load
    }

    /// Waits until there is something to append, the thread is nudged, or the
    /// deadline has come. Returns whether it was nudged.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        let mut waiting = self.lock();
        while waiting.items.is_empty() && !waiting.nudged && !waiting.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.work.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut waiting.nudged)
    }

    /// Has the thread that appends look what is to be done.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.work.notify_all();
    }

    /// Whether nothing more is taken, and nothing is left.
    pub(super) fn is_drained(&self) -> bool {
        let waiting = self.lock();
        waiting.closed && waiting.items.is_empty()
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.work.notify_all();
    }
}

fn write(records: &mut Vec<u8>, to: &Audience, frames: &Burst) {
    #[cfg(feature = "deflate")]
    if frames.must_stay_plain() {
        records::write_plain(records);
    }
    let frames = &frames.bytes;
    match to {
        Audience::Room { room, except } => {
            let except = except.map_or(0, |client| client.0);
            records::write_messages(records, room, except, frames);
        }
        Audience::Everybody { except } => {
            let except = except.map_or(0, |client| client.0);
            records::write_everybody(records, except, frames);
        }
        Audience::Client(client) => records::write_direct(records, client.0, frames),
        // They are of this node, so the hub has them.
        Audience::Clients(_) => {}
    }
}

impl Append for Spool {
    fn append(
        &self,
        to: Audience,
        frames: Burst,
        receipt: Option<Reply<Receipt>>,
        may_wait: bool,
    ) -> Result<(), InboxError> {
        let item = Item::Messages {
            to,
            frames,
            receipt,
        };
        self.put(item, may_wait)
    }

    fn act(&self, client: ClientId, act: Act) -> Result<(), InboxError> {
        self.put(Item::Act { client, act }, true)
    }
}

impl Spool {
    fn put(&self, item: Item, may_wait: bool) -> Result<(), InboxError> {
        let more = item.load();
        let mut waiting = self.lock();
        let mut deadline = None;
        loop {
            if waiting.closed {
                return Err(InboxError::Gone);
            }
            if self.fits(&waiting, more) {
                break;
            }
            if deadline.is_none() {
                self.waits.fetch_add(1, Ordering::Relaxed);
            }
            let by = *deadline.get_or_insert_with(|| Instant::now() + self.patience);
            let left = by.saturating_duration_since(Instant::now());
            if !may_wait || left.is_zero() {
                self.refused
                    .fetch_add(more.messages as u64, Ordering::Relaxed);
                return Err(InboxError::Full);
            }
            let woken = self.room.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.load.bytes += more.bytes;
        waiting.load.messages += more.messages;
        let was_empty = waiting.items.is_empty();
        waiting.items.push_back(item);
        drop(waiting);
        if was_empty {
            self.work.notify_all();
        }
        Ok(())
    }
}
