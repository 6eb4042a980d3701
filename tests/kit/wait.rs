//! Waiting by a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Calls `look` every so often until it finds something. `None` when nothing was
/// found `within` that time; the last look is behind its end.
pub(crate) fn wait_for<T, E>(
    within: Duration,
    every: Duration,
    mut look: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let until = Instant::now() + within;
    loop {
        let is_over = Instant::now() >= until;
        let found = look()?;
        if found.is_some() || is_over {
            return Ok(found);
        }
        thread::sleep(every);
    }
}
