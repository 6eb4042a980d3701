//! The engine is away: said once when it goes and once when it is back.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::connection::Fault;
use super::status::Status;

/// The pauses between attempts: an engine that has restarted is soon found.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Whether the engine is away, and since when.
#[derive(Debug)]
pub(super) struct Away {
    since: Option<Instant>,
    said: String,
}

impl Away {
    /// Nobody has reached it yet.
    pub(super) fn new() -> Away {
        Away {
            since: None,
            said: String::new(),
        }
    }

    /// It is away: said when it goes, and when the reason changes to one that
    /// somebody must see to.
    pub(super) fn begin(&mut self, fault: &Fault, status: &Status) {
        let text = fault.text();
        let is_first = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        status.away();
        let is_news = match fault {
            Fault::Denied(_) | Fault::Full(_) => self.said != text,
            _ => is_first,
        };
        if is_news {
            log::warn!("the engine is away, messages wait in the spool: {text}");
            text.clone_into(&mut self.said);
        }
    }

    /// It is back.
    pub(super) fn end(&mut self, status: &Status, waiting: usize) {
        status.up();
        let Some(since) = self.since.take() else {
            return;
        };
        let away = since.elapsed();
        status.away_millis.add(away.as_millis() as u64);
        self.said.clear();
        log::warn!("the engine is back after {away:.1?}, {waiting} messages waited");
    }
}

/// How long to pause before the next attempt: longer each time, and not the
/// same for all nodes.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff(MIN_PAUSE)
    }

    pub(super) fn reset(&mut self) {
        self.0 = MIN_PAUSE;
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = MAX_PAUSE.min(pause * 2);
        let random = RandomState::new().hash_one(0) % 512;
        pause * (512 + random as u32) / 1024
    }
}
