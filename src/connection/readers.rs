//! The threads that serve connections: started for one, and kept for a moment
//! for the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Connection;
use super::threads::Threads;

/// How long a thread waits for another connection when its own has ended …
const KEPT: Duration = Duration::from_secs(2);
/// … and how many do so at the same time. Each keeps its stack.
const MAX_KEPT: usize = 64;

/// Gives connections their threads. Starting one takes most of what a client
/// costs that comes and goes, so threads that have just become free are used
/// first. Those that wait end when this is dropped.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Has no capacity: sending succeeds only where a thread waits.
    next: Sender<Connection>,
    kept: Kept,
    threads: Arc<Threads>,
    stack_size: usize,
}

/// Where a thread that has become free waits.
#[derive(Clone, Debug)]
struct Kept {
    next: Receiver<Connection>,
    waiting: Arc<AtomicUsize>,
}

impl Readers {
    pub(crate) fn new(threads: Arc<Threads>, stack_size: usize) -> Readers {
        let (sender, next) = bounded(0);
        let waiting = Arc::default();
        Readers {
            next: sender,
            kept: Kept { next, waiting },
            threads,
            stack_size,
        }
    }

    /// Serves a connection on a thread that is free, or on a new one. Fails if
    /// the system refuses it; the connection is dropped then.
    pub(crate) fn serve(&self, connection: Connection) -> io::Result<()> {
        let Err(refused) = self.next.try_send(connection) else {
            return Ok(());
        };
        let connection = refused.into_inner();
        let kept = self.kept.clone();
        let presence = self.threads.enter();
        thread::Builder::new()
            .name(format!("reader-{}", connection.id))
            .stack_size(self.stack_size)
            .spawn(move || {
                // Dropped last: the thread counts until it is gone.
                let _presence = presence;
                connection.run();
                while let Some(connection) = kept.next() {
                    rename(&connection);
                    connection.run();
                }
            })?;
        Ok(())
    }
}

impl Kept {
    /// Waits for another connection, unless enough threads do.
    fn next(&self) -> Option<Connection> {
        let add = |waiting| (waiting < MAX_KEPT).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok()?;
        let next = self.next.recv_timeout(KEPT);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        next.ok()
    }
}

/// Names the thread after its new client, for whoever lists the threads.
fn rename(connection: &Connection) {
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::ffi::CString::new(format!("reader-{}", connection.id)) {
        // A name that is too long is cut off.
        let _ = rustix::thread::set_name(&name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = connection;
}
