//! The hub's end of a subscription.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::wire::burst::Burst;

/// How many bursts may wait for your program to take them.
const BURSTS: usize = 1024;
/// How many bytes may wait, whichever is reached first.
const BYTES: usize = 4 * 1024 * 1024;

/// The hub's end of a subscription.
#[derive(Debug)]
pub(crate) struct Tap {
    bursts: Sender<Burst>,
    shared: Arc<TapCounts>,
}

/// What both ends of a subscription count.
#[derive(Debug, Default)]
pub(crate) struct TapCounts {
    pub(crate) waiting_bytes: AtomicUsize,
    pub(crate) missed: AtomicU64,
}

impl Tap {
    /// A tap, the channel it copies into, and what both ends count.
    pub(crate) fn new() -> (Tap, Receiver<Burst>, Arc<TapCounts>) {
        let (sender, bursts) = bounded(BURSTS);
        let shared = Arc::new(TapCounts::default());
        let tap = Tap {
            bursts: sender,
            shared: shared.clone(),
        };
        (tap, bursts, shared)
    }

    /// Whether the subscription is still there: it shares the counts.
    pub(crate) fn is_heard(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Copies a burst into the subscription; false if that was dropped.
    pub(crate) fn give(&self, burst: &Burst) -> bool {
        let len = burst.bytes.len();
        let waiting = self.shared.waiting_bytes.load(Ordering::Relaxed);
        let fits = waiting == 0 || waiting + len <= BYTES;
        if fits {
            self.shared.waiting_bytes.fetch_add(len, Ordering::Relaxed);
            match self.bursts.try_send(burst.clone()) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) => {
                    self.shared.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
                }
            }
        }
        let missed = u64::from(burst.messages);
        self.shared.missed.fetch_add(missed, Ordering::Relaxed);
        true
    }
}
