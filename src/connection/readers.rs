//! The threads that serve connections: started for one, and kept for a moment
//! for the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::threads::Threads;
use super::{Connection, deliver};
use crate::http1::{Answer, NO_THREAD, RETRY_AFTER};
use crate::names::ClientId;

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
    crew: Crew,
}

/// What the threads have in common.
#[derive(Clone, Debug)]
struct Crew {
    /// Where a thread that has become free waits.
    next: Receiver<Connection>,
    waiting: Arc<AtomicUsize>,
    threads: Arc<Threads>,
    stack_size: usize,
}

impl Readers {
    pub(crate) fn new(threads: Arc<Threads>, stack_size: usize) -> Readers {
        let (sender, next) = bounded(0);
        Readers {
            next: sender,
            crew: Crew {
                next,
                waiting: Arc::default(),
                threads,
                stack_size,
            },
        }
    }

    /// Serves a connection on a thread that is free, or on a new one. Fails if
    /// the system refuses it; the connection is dropped then.
    pub(crate) fn serve(&self, connection: Connection) -> io::Result<()> {
        let Err(refused) = self.next.try_send(connection) else {
            return Ok(());
        };
        let connection = refused.into_inner();
        let id = connection.id;
        self.crew.start(id, move |crew| crew.serve(connection))
    }
}

impl Crew {
    /// Starts a thread that does this first.
    fn start(&self, id: ClientId, first: impl FnOnce(&Crew) + Send + 'static) -> io::Result<()> {
        let crew = self.clone();
        let presence = self.threads.enter();
        thread::Builder::new()
            .name(format!("reader-{id}"))
            .stack_size(self.stack_size)
            .spawn(move || {
                // Dropped last: the thread counts until it is gone.
                let _presence = presence;
                first(&crew);
                while let Some(connection) = crew.next() {
                    rename(&connection);
                    crew.serve(connection);
                }
            })?;
        Ok(())
    }

    fn serve(&self, connection: Connection) {
        let Some(entered) = connection.run() else {
            return;
        };
        let Connection {
            id, peer, service, ..
        } = &entered.connection;
        let (id, peer, service) = (*id, *peer, service.clone());
        let socket = entered.connection.socket.clone();
        if let Err(error) = self.start(id, move |_| entered.serve()) {
            // The closure, and the connection in it, is gone.
            log::warn!("no thread for a client: {error}");
            let answer = Answer::unavailable(NO_THREAD, RETRY_AFTER);
            deliver(&answer, &socket, peer, &service.shared.counters);
        }
    }

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
