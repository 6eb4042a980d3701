//! The threads that serve connections: started for one, and kept for a moment
//! for the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::threads::Threads;
use super::{Connection, Entered, deliver};
use crate::http1::{Answer, NO_THREAD, RETRY_AFTER};
use crate::names::ClientId;

/// How long a thread waits for another connection when its own has ended …
const KEPT: Duration = Duration::from_secs(2);
/// … and how many of a kind do so at the same time. Each keeps its stack.
const MAX_KEPT: usize = 64;

/// Gives connections their threads: one that reads the request and answers it,
/// and, where the peer becomes a client, another that reads the client. What a
/// thread has touched of its stack stays resident for as long as the thread
/// lives, and a request touches more of it than a client ever does: 9 KiB, and
/// with a TLS handshake 20 KiB more.
///
/// Starting a thread takes most of what a client costs that comes and goes, so
/// threads that have just become free are used first. Those that wait end when
/// this is dropped.
#[derive(Debug)]
pub(crate) struct Readers {
    doors: Pool<Connection>,
    clients: Arc<Pool<Box<Entered>>>,
}

impl Readers {
    pub(crate) fn new(threads: Arc<Threads>, stack_size: usize) -> Readers {
        Readers {
            doors: Pool::new("door", threads.clone(), stack_size),
            clients: Arc::new(Pool::new("reader", threads, stack_size)),
        }
    }

    /// Serves a connection on a thread that is free, or on a new one. Fails if
    /// the system refuses it; the connection is dropped then.
    pub(crate) fn serve(&self, connection: Connection) -> io::Result<()> {
        let clients = self.clients.clone();
        self.doors.give(connection, move |connection| {
            if let Some(entered) = connection.run() {
                pass_on(&clients, entered);
            }
        })
    }
}

/// Has another thread serve a client that was let in.
fn pass_on(clients: &Pool<Box<Entered>>, entered: Box<Entered>) {
    let Connection {
        socket,
        peer,
        service,
        ..
    } = &entered.connection;
    let (socket, peer, service) = (socket.clone(), *peer, service.clone());
    if let Err(error) = clients.give(entered, |entered| entered.serve()) {
        // The client, and its connection, was dropped.
        log::warn!("no thread for a client: {error}");
        let answer = Answer::unavailable(NO_THREAD, RETRY_AFTER);
        deliver(&answer, &socket, peer, &service.shared);
    }
}

/// Work that is for one client's sake.
trait Work: Send + 'static {
    fn id(&self) -> ClientId;
}

impl Work for Connection {
    fn id(&self) -> ClientId {
        self.id
    }
}

impl Work for Box<Entered> {
    fn id(&self) -> ClientId {
        self.connection.id
    }
}

/// Threads that do work of one kind.
#[derive(Debug)]
struct Pool<T> {
    name: &'static str,
    /// Has no capacity: sending succeeds only where a thread waits.
    next: Sender<T>,
    kept: Arc<Kept<T>>,
    threads: Arc<Threads>,
    stack_size: usize,
}

/// Where a thread that has become free waits.
#[derive(Debug)]
struct Kept<T> {
    next: Receiver<T>,
    waiting: AtomicUsize,
}

impl<T: Work> Pool<T> {
    fn new(name: &'static str, threads: Arc<Threads>, stack_size: usize) -> Pool<T> {
        let (sender, next) = bounded(0);
        let waiting = AtomicUsize::new(0);
        Pool {
            name,
            next: sender,
            kept: Arc::new(Kept { next, waiting }),
            threads,
            stack_size,
        }
    }

    /// Has a thread that is free do this work, or a new one. Fails if the
    /// system refuses it; the work is dropped then.
    fn give(&self, work: T, run: impl Fn(T) + Send + 'static) -> io::Result<()> {
        let Err(refused) = self.next.try_send(work) else {
            return Ok(());
        };
        let work = refused.into_inner();
        let (name, kept) = (self.name, self.kept.clone());
        let presence = self.threads.enter();
        thread::Builder::new()
            .name(format!("{name}-{}", work.id()))
            .stack_size(self.stack_size)
            .spawn(move || {
                // Dropped last: the thread counts until it is gone.
                let _presence = presence;
                run(work);
                while let Some(work) = kept.next() {
                    rename(name, work.id());
                    run(work);
                }
            })?;
        Ok(())
    }
}

impl<T> Kept<T> {
    /// Waits for more work, unless enough threads do.
    fn next(&self) -> Option<T> {
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
fn rename(name: &str, id: ClientId) {
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::ffi::CString::new(format!("{name}-{id}")) {
        // A name that is too long is cut off.
        let _ = rustix::thread::set_name(&name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (name, id);
}
