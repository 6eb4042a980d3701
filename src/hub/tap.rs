//! The hub's end of a subscription.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::position::Epoch;
use crate::wire::Burst;

/// How many bytes may wait for your program to take them.
const BYTES: usize = 16 * 1024 * 1024;
/// The bytes counted for a burst beside its own, so that small ones are bounded too.
const PLACE: usize = 128;

/// The hub's end of a subscription.
#[derive(Debug)]
pub(crate) struct Tap {
    copies: Sender<Copied>,
    shared: Arc<TapCounts>,
}

/// A burst on its way to a subscription.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) burst: Burst,
    /// What its offsets are of.
    pub(crate) epoch: Epoch,
    /// How many messages had been missed, in total, when this one was sent.
    pub(crate) missed: u64,
}

/// What both ends of a subscription count.
#[derive(Debug, Default)]
pub(crate) struct TapCounts {
    waiting_bytes: AtomicUsize,
    missed: AtomicU64,
}

impl TapCounts {
    /// Makes the place of this burst free again.
    pub(crate) fn taken(&self, burst: &Burst) {
        let size = burst.bytes.len() + PLACE;
        self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// How many messages did not fit so far. All that fitted before them is in
    /// the channel for whoever sees this number.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Acquire)
    }
}

impl Tap {
    /// A tap, the channel it copies into, and what both ends count.
    pub(crate) fn new() -> (Tap, Receiver<Copied>, Arc<TapCounts>) {
        let (sender, copies) = unbounded();
        let shared = Arc::new(TapCounts::default());
        let tap = Tap {
            copies: sender,
            shared: shared.clone(),
        };
        (tap, copies, shared)
    }

    /// Whether the other end is still there: it shares the counts.
    pub(super) fn is_heard(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Copies a burst, or counts it as missed; false when nobody listens any more.
    pub(super) fn give(&self, burst: &Burst, epoch: Epoch) -> bool {
        let size = burst.bytes.len() + PLACE;
        let waiting = self.shared.waiting_bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + size > BYTES {
            let missed = u64::from(burst.messages);
            self.shared.missed.fetch_add(missed, Ordering::Release);
            return self.is_heard();
        }
        self.shared.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let copied = Copied {
            burst: burst.clone(),
            epoch,
            missed: self.shared.missed.load(Ordering::Relaxed),
        };
        self.copies.send(copied).is_ok()
    }
}
