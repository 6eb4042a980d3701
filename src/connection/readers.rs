//! The threads that serve connections: started for one, and kept for a moment
//! for the next.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::threads::Threads;
use super::{Connection, Entered, deliver};
use crate::http1::{Answer, NO_THREAD, RETRY_AFTER};
use crate::names::ClientId;
use crate::task::Task;

/// How long a thread waits for another connection when its own has ended …
const KEPT: Duration = Duration::from_secs(2);
/// … and how many of a kind do so at the same time. Each keeps its stack.
const MAX_KEPT: usize = 64;

/// Gives connections their threads. A connection has one from its request to its
/// end, unless it speaks TLS: what a thread has touched of its stack stays
/// resident for as long as the thread lives, and a TLS handshake touches 20 KiB
/// more than a client ever does, so another thread makes it. A request touches as
/// much as a client does, two pages, as long as the functions between the two
/// are not inlined into one another, which adds up their frames.
///
/// Starting a thread takes most of what a client costs that comes and goes, so
/// threads that have just become free are used first. Those that wait end when
/// this is dropped.
#[derive(Debug)]
pub(crate) struct Readers {
    doors: Pool,
    clients: Arc<Pool>,
}

/// What a thread is to do next.
#[derive(Debug)]
enum Work {
    /// Read the request, and answer it or serve the client that asks.
    Open(Connection),
    /// Serve a client whose request was read.
    Serve(Box<Entered>),
}

impl Work {
    fn connection(&self) -> &Connection {
        match self {
            Work::Open(connection) => connection,
            Work::Serve(entered) => &entered.connection,
        }
    }

    /// Does it, up to the client that has another thread serve it, if any.
    fn run(self) -> Option<Box<Entered>> {
        match self {
            Work::Open(connection) => connection.run(),
            Work::Serve(entered) => Some(entered),
        }
    }
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
        if !connection.over_tls {
            return self.clients.give(Work::Open(connection), Box::new(serve));
        }
        let clients = self.clients.clone();
        let open = move |work: Work| {
            if let Some(entered) = work.run() {
                pass_on(&clients, entered);
            }
        };
        self.doors.give(Work::Open(connection), Box::new(open))
    }
}

/// How the threads of a pool do their work.
type Run = Box<dyn Fn(Work) + Send>;

fn serve(work: Work) {
    if let Some(entered) = work.run() {
        entered.serve();
    }
}

/// Has another thread serve a client that was let in.
fn pass_on(clients: &Pool, entered: Box<Entered>) {
    let Connection {
        socket,
        peer,
        service,
        ..
    } = &entered.connection;
    let (socket, peer, service) = (socket.clone(), *peer, service.clone());
    if let Err(error) = clients.give(Work::Serve(entered), Box::new(serve)) {
        // The client, and its connection, was dropped.
        log::warn!("no thread for a client: {error}");
        let answer = Answer::unavailable(NO_THREAD, RETRY_AFTER);
        deliver(&answer, &socket, peer, &service.shared);
    }
}

/// Threads that do the same part of the work. Those that wait end when this is
/// dropped.
#[derive(Debug)]
struct Pool {
    name: &'static str,
    kept: Arc<Kept>,
    threads: Arc<Threads>,
    stack_size: usize,
}

/// Where threads that have become free wait.
#[derive(Debug, Default)]
struct Kept {
    /// The threads of one pool and who has work for them hold it for a moment.
    desk: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Desk {
    /// How many threads wait …
    waiting: usize,
    /// … and the work of those that are about to wake up: no more than wait.
    work: Vec<Work>,
    is_closed: bool,
}

impl Pool {
    fn new(name: &'static str, threads: Arc<Threads>, stack_size: usize) -> Pool {
        Pool {
            name,
            kept: Arc::default(),
            threads,
            stack_size,
        }
    }

    /// Has a thread that is free do this work, or a new one. Fails if the
    /// system refuses it; the work is dropped then.
    fn give(&self, work: Work, run: Run) -> io::Result<()> {
        let Some(work) = self.kept.give(work) else {
            return Ok(());
        };
        let (name, kept) = (self.name, self.kept.clone());
        let presence = self.threads.enter();
        thread::Builder::new()
            .name(format!("{name}-{}", work.connection().id))
            .stack_size(self.stack_size)
            .spawn(Box::new(move || {
                // Dropped last: the thread counts until it is gone.
                let _presence = presence;
                run(work);
                while let Some(work) = kept.next() {
                    rename(name, work.connection().id);
                    run(work);
                }
            }) as Task)?;
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.kept.desk().is_closed = true;
        self.kept.changed.notify_all();
    }
}

impl Kept {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the work to a thread that waits; back, if none does.
    fn give(&self, work: Work) -> Option<Work> {
        let mut desk = self.desk();
        if desk.work.len() >= desk.waiting {
            return Some(work);
        }
        desk.work.push(work);
        self.changed.notify_one();
        None
    }

    /// Waits for more work, unless enough threads do.
    fn next(&self) -> Option<Work> {
        let mut desk = self.desk();
        if desk.waiting >= MAX_KEPT {
            return None;
        }
        desk.waiting += 1;
        let idle = |desk: &mut Desk| desk.work.is_empty() && !desk.is_closed;
        let waited = self.changed.wait_timeout_while(desk, KEPT, idle);
        let (mut desk, _) = waited.unwrap_or_else(PoisonError::into_inner);
        desk.waiting -= 1;
        desk.work.pop()
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
