//! How many threads serve clients, and waiting for their end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

/// Counts the reader and writer threads of a server. They are not joined one by
/// one, because thousands of join handles would have to be kept.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    live: AtomicUsize,
    /// The thread that waits for the end of all others.
    waiter: OnceLock<Thread>,
}

/// Counts one live thread. Made before the thread is spawned, so that none is
/// missed, and dropped as the last thing the thread does.
#[derive(Debug)]
pub(crate) struct Presence(Arc<Threads>);

impl Threads {
    /// Counts one more thread.
    pub(crate) fn enter(self: &Arc<Threads>) -> Presence {
        self.live.fetch_add(1, Ordering::SeqCst);
        Presence(self.clone())
    }

    /// Waits until no thread is left or the deadline passes. Returns how
    /// many are left. Only one thread may wait.
    pub(crate) fn wait_for_none(&self, deadline: Instant) -> usize {
        self.waiter.get_or_init(thread::current);
        loop {
            let live = self.live.load(Ordering::SeqCst);
            let left = deadline.saturating_duration_since(Instant::now());
            if live == 0 || left.is_zero() {
                return live;
            }
            // The last thread unparks this one; if the park ends for another
            // reason, the loop checks again.
            thread::park_timeout(left);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(waiter) = self.0.waiter.get()
        {
            waiter.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waiting_ends_with_the_last_thread_or_the_deadline() {
        let threads = Arc::new(Threads::default());
        assert_eq!(threads.wait_for_none(Instant::now()), 0);
        let first = threads.enter();
        let second = threads.enter();
        assert_eq!(threads.wait_for_none(Instant::now()), 2);
        drop(first);
        thread::scope(|scope| {
            scope.spawn(move || drop(second));
            let deadline = Instant::now() + Duration::from_secs(60);
            assert_eq!(threads.wait_for_none(deadline), 0);
        });
    }
}
