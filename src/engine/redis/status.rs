//! How the engine is, for health and metrics.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::position::Offset;
use crate::stats::{Counter, Gauge};

/// The engine has answered within this time, or it is not ready.
const ANSWER: Duration = Duration::from_secs(5);
/// What this node appends comes back within this time, or it is not ready.
const RETURN: Duration = Duration::from_secs(10);

/// How the engine is. Each number is one of its own.
#[derive(Debug)]
pub(crate) struct Status {
    begun: Instant,
    /// When the engine last answered; milliseconds since `begun`, plus one.
    answered: Gauge,
    is_up: Gauge,
    is_caught_up: Gauge,
    pub(crate) away_millis: Counter,
    pub(crate) head: Gauge,
    /// The next offset, as the engine said last.
    pub(crate) next: Gauge,
    pub(crate) lag_millis: Gauge,
    pub(crate) nodes: Gauge,
    pub(crate) reconnects: Counter,
    pub(crate) restores: Counter,
    pub(crate) restored_entries: Counter,
    pub(crate) epochs: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) gaps: Counter,
    pub(crate) gap_messages: Counter,
    pub(crate) unknown_records: Counter,
    pub(crate) malformed_entries: Counter,
    pub(crate) batches: Counter,
    pub(crate) batch_messages: Counter,
    pub(crate) batch_bytes: Counter,
    pub(crate) append_micros: Counter,
    pub(crate) returned: Counter,
    pub(crate) return_micros: Counter,
}

impl Status {
    pub(super) fn new() -> Status {
        Status {
            begun: Instant::now(),
            answered: Gauge::default(),
            is_up: Gauge::default(),
            is_caught_up: Gauge::default(),
            away_millis: Counter::default(),
            head: Gauge::default(),
            next: Gauge::default(),
            lag_millis: Gauge::default(),
            nodes: Gauge::default(),
            reconnects: Counter::default(),
            restores: Counter::default(),
            restored_entries: Counter::default(),
            epochs: Counter::default(),
            duplicates: Counter::default(),
            gaps: Counter::default(),
            gap_messages: Counter::default(),
            unknown_records: Counter::default(),
            malformed_entries: Counter::default(),
            batches: Counter::default(),
            batch_messages: Counter::default(),
            batch_bytes: Counter::default(),
            append_micros: Counter::default(),
            returned: Counter::default(),
            return_micros: Counter::default(),
        }
    }

    fn answered(&self) {
        self.answered
            .set(self.begun.elapsed().as_millis() as u64 + 1);
    }

    pub(super) fn appended(&self, took: Duration, messages: u64, bytes: usize) {
        self.answered();
        self.batches.add(1);
        self.batch_messages.add(messages);
        self.batch_bytes.add(bytes as u64);
        self.append_micros.add(took.as_micros() as u64);
    }

    /// A batch was read back, so long after it was taken from the spool.
    pub(super) fn read_back(&self, after: Duration) {
        self.returned.add(1);
        self.return_micros.add(after.as_micros() as u64);
    }

    pub(super) fn beat(&self, next: Offset, nodes: u64) {
        self.answered();
        self.next.set(next.0);
        self.nodes.set(nodes);
    }

    /// An entry of this time of the engine has come.
    pub(super) fn came(&self, time: u64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.lag_millis
            .set((now.as_millis() as u64).saturating_sub(time));
    }

    pub(super) fn caught_up(&self) {
        self.is_caught_up.set(1);
    }

    pub(super) fn away(&self) {
        self.is_up.set(0);
    }

    pub(super) fn up(&self) {
        self.answered();
        self.is_up.set(1);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.get() == 1
    }

    /// Why the node is not ready, if so; strangers may know it. `unread` is how long what it has
    /// appended has not come back.
    pub(super) fn flaw(&self, unread: Option<Duration>) -> Option<&'static str> {
        if !self.is_up() {
            return Some("the engine is away");
        }
        let now = self.begun.elapsed().as_millis() as u64;
        if now.saturating_sub(self.answered.get()) > ANSWER.as_millis() as u64 {
            return Some("the engine has not answered for 5 s");
        }
        if self.is_caught_up.get() == 0 {
            return Some("the log was not read to its end yet");
        }
        let is_late = unread.is_some_and(|time| time > RETURN);
        is_late.then_some("what this node appends does not come back through the log")
    }
}
