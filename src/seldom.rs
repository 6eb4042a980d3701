//! What is logged at most once in some seconds, however often it happens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something that may happen often, because a peer decides how often, and is
/// logged at most once in some seconds.
#[derive(Debug)]
pub(crate) struct Seldom {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    since: u64,
}

impl Seldom {
    pub(crate) const fn new(interval: Duration) -> Seldom {
        let state = State {
            logged: None,
            since: 0,
        };
        Seldom {
            interval,
            state: Mutex::new(state),
        }
    }

    /// Counts one more. Returns how many there were since this was logged
    /// last, this one included, if it is to be logged now.
    pub(crate) fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.since += 1;
        let is_due = |at| now.saturating_duration_since(at) >= self.interval;
        if !state.logged.is_none_or(is_due) {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_once_and_then_with_a_count() {
        let seldom = Seldom::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| seldom.count_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(3));
        assert_eq!(at(11), None);
    }
}
