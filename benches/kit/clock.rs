//! One monotonic clock for the whole run, in nanoseconds, small enough to
//! travel inside a message.

use std::time::{Duration, Instant};

/// Nanoseconds since the clock was started.
pub(crate) type Nanos = u64;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        nanos(self.start.elapsed())
    }
}

/// A duration as nanoseconds; 584 years fit.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}
