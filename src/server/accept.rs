//! The accept thread: it lets connections in and gives each its thread.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::connection::Admission;
use crate::connection::Connection;
use crate::connection::Service;
use crate::connection::{Readers, Threads};
use crate::doors::Entrance;
use crate::http1::{Answer, DRAIN, NO_THREAD, RETRY_AFTER, STOPPING};
use crate::names::Peer;
use crate::net::Outlet;
use crate::net::poll_until;
use crate::net::{LISTEN_BACKLOG, Listener};
use crate::net::{Stop, Stream};

/// The first wait after an error that lasts, such as a lack of descriptors; it
/// doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// The shortest time between two log lines about the same error.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// For which part of a drain the server goes on accepting: one in this many.
pub(super) const OPEN_SHARE: u32 = 4;
/// The most refused connections that are kept until their answer was read.
/// Beyond that the oldest are closed.
const MAX_REFUSALS: usize = 32;

/// A listener, and what its connections are checked and counted by.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) listener: Listener,
    pub(super) entrance: Entrance,
    /// Whether its connections speak TLS.
    pub(super) over_tls: bool,
    /// The operator's listener has its own places, so that it answers when the
    /// server is full.
    pub(super) admission: Arc<Admission>,
}

/// Accepts connections at all gates until the server stops: the first gate on
/// this thread, each other on a thread of its own.
pub(super) fn accept(
    gates: &[Gate],
    service: &Arc<Service>,
    threads: &Arc<Threads>,
) -> io::Result<()> {
    let [first, others @ ..] = gates else {
        return Ok(());
    };
    let readers = &Readers::new(threads.clone(), service.shared.config.stack_size);
    thread::scope(|scope| {
        let mut beside = Vec::new();
        for gate in others {
            let name = match gate.entrance {
                Entrance::Main => "hubcast-accept",
                Entrance::Admin => "hubcast-admin",
            };
            let spawned = thread::Builder::new()
                .name(name.to_owned())
                .stack_size(service.shared.config.stack_size)
                .spawn_scoped(scope, || accept_at(gate, service, readers));
            beside.push(spawned?);
        }
        let mut accepted = accept_at(first, service, readers);
        for thread in beside {
            let ended = thread.join();
            let ended = ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
            accepted = accepted.and(ended);
        }
        accepted
    })
}

/// Accepts connections at one gate until the server stops. When it returns, the
/// server stops, so that no other gate goes on alone; where it drains, all gates
/// end by themselves.
fn accept_at(gate: &Gate, service: &Arc<Service>, readers: &Readers) -> io::Result<()> {
    let result = Acceptor::new(gate, service, readers).run();
    if result.is_err() || !service.shared.is_leaving() {
        service.shared.stop.trigger();
    }
    result
}

/// What an accept thread owns.
struct Acceptor<'a> {
    gate: &'a Gate,
    service: &'a Arc<Service>,
    readers: &'a Readers,
    /// Connections that were refused without a thread, and when to close them.
    /// Closing one before the peer has read the answer may destroy the answer.
    refusals: VecDeque<(Instant, Stream)>,
    backoff: Duration,
    /// How many handshakes had made way when that was looked at last.
    displaced: u64,
    logged: Option<Instant>,
    /// Until when a server that drains accepts.
    until: Option<Instant>,
}

impl<'a> Acceptor<'a> {
    fn new(gate: &'a Gate, service: &'a Arc<Service>, readers: &'a Readers) -> Acceptor<'a> {
        Acceptor {
            gate,
            service,
            readers,
            refusals: VecDeque::new(),
            backoff: MIN_BACKOFF,
            displaced: 0,
            logged: None,
            until: None,
        }
    }

    /// Runs on the accept thread until the server stops.
    fn run(&mut self) -> io::Result<()> {
        while !self.is_over() {
            match self.gate.listener.accept() {
                Ok((socket, peer)) => {
                    self.backoff = MIN_BACKOFF;
                    self.admit(socket, peer_of(peer));
                }
                Err(error) => match self.trouble(error) {
                    Trouble::Empty => self.wait()?,
                    Trouble::Passing => {}
                    Trouble::Lasting(error) => self.back_off(&error)?,
                },
            }
            self.forget_refusals();
        }
        if !self.gate.listener.is_shared {
            self.turn_away();
        }
        Ok(())
    }

    /// Whether nobody is accepted any more.
    fn is_over(&mut self) -> bool {
        let shared = &self.service.shared;
        if self.until.is_none() && shared.is_leaving() {
            self.until = Some(Instant::now() + shared.config.drain / OPEN_SHARE);
        }
        shared.stop.is_triggered() || self.until.is_some_and(|until| until <= Instant::now())
    }

    /// The event that ends the wait for connections.
    fn event(&self) -> &Stop {
        let shared = &self.service.shared;
        let leaving = shared.leaving.as_ref().filter(|_| self.until.is_none());
        leaving.unwrap_or(&shared.stop)
    }

    /// Answers those who were still waiting to be accepted when the server
    /// stopped: closing the listener would reset them.
    fn turn_away(&mut self) {
        // At most as many as fit into the backlog, because new ones keep
        // coming.
        for _ in 0..LISTEN_BACKLOG {
            let Ok((socket, peer)) = self.gate.listener.accept() else {
                return;
            };
            self.service.shared.counters.accepted.add(1);
            // Reads the request first: a socket closed with unread bytes is
            // reset, and the answer would be lost.
            let is_gone = socket.set_nonblocking(true).is_err() || is_over(&socket);
            if !is_gone {
                self.refuse(socket, peer_of(peer), STOPPING);
            }
        }
    }

    /// Waits for a connection, the end of a refused one, or the stop.
    fn wait(&mut self) -> io::Result<()> {
        let refusal = self.refusals.front().map(|(at, _)| *at);
        let deadline = refusal.into_iter().chain(self.until).min();
        let mut fds = vec![
            PollFd::new(&self.gate.listener, PollFlags::IN),
            PollFd::from_borrowed_fd(self.event().event(), PollFlags::IN),
        ];
        let sockets = self.refusals.iter().map(|(_, socket)| socket);
        fds.extend(sockets.map(|s| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)));
        poll_until(&mut fds, deadline)?;
        let ended: Vec<bool> = fds[2..].iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        // What a refused peer still sends is discarded. At its end of stream
        // the connection is closed.
        self.refusals
            .retain(|(_, socket)| !(ended.next().unwrap_or(false) && is_over(socket)));
        Ok(())
    }

    fn forget_refusals(&mut self) {
        while let Some((at, _)) = self.refusals.front() {
            if self.refusals.len() <= MAX_REFUSALS && *at > Instant::now() {
                return;
            }
            self.refusals.pop_front();
        }
    }

    /// Gives a connection its thread, or a 503 without one.
    fn admit(&mut self, socket: Stream, peer: Peer) {
        // An accepted socket inherits the listener's non-blocking mode on other
        // systems than Linux.
        #[cfg(not(target_os = "linux"))]
        let _ = socket.set_nonblocking(false);
        // Numbers are never used again (invariant 9).
        let id = self.service.shared.next_id();
        let socket = Arc::new(socket);
        let admission = &self.gate.admission;
        let slot = match admission.admit(id, peer.ip(), &socket) {
            Ok(slot) => slot,
            Err(why) => {
                self.refuse_shared(socket, peer, why);
                return self.log(why);
            }
        };
        let displaced = admission.displaced();
        if displaced > std::mem::replace(&mut self.displaced, displaced) {
            let line = "too many connections are being opened; the oldest are closed";
            self.log(&format!("{line}, {displaced} so far"));
        }
        let connection = Connection {
            id,
            peer,
            socket: socket.clone(),
            service: self.service.clone(),
            entrance: self.gate.entrance,
            over_tls: self.gate.over_tls,
            slot,
        };
        if let Err(error) = self.readers.serve(connection) {
            self.refuse_shared(socket, peer, NO_THREAD);
            self.log(&format!("no thread for a connection: {error}"));
        }
    }

    /// Refuses a connection of which nobody else has a share.
    fn refuse_shared(&mut self, socket: Arc<Stream>, peer: Peer, why: &'static str) {
        if let Some(socket) = Arc::into_inner(socket) {
            self.refuse(socket, peer, why);
        }
    }

    fn refuse(&mut self, socket: Stream, peer: Peer, why: &'static str) {
        let answer = Answer::unavailable(why, RETRY_AFTER);
        self.service
            .shared
            .counters
            .refused
            .count(answer.status.as_u16());
        log::debug!("peer={peer} refused: {why}");
        if self.gate.over_tls {
            // Nothing can be said before a handshake.
            return;
        }
        // The send buffer of a new socket is empty, so it takes this short
        // answer at once.
        let _ = socket.try_send(&answer.to_bytes());
        socket.finish();
        if socket.set_nonblocking(true).is_ok() {
            self.refusals.push_back((Instant::now() + DRAIN, socket));
        }
    }

    fn trouble(&self, error: io::Error) -> Trouble {
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Trouble::Empty,
            // The connection was aborted, or the network failed it: the next
            // one is not affected (accept(2), "Error handling").
            Some(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH,
            ) => Trouble::Passing,
            // No descriptors, no memory, or a listener that was shut down.
            // Trying again at once would only burn a core.
            _ => Trouble::Lasting(error),
        }
    }

    /// Waits before the next try, unless the server stops.
    fn back_off(&mut self, error: &io::Error) -> io::Result<()> {
        self.service.shared.counters.accept_errors.add(1);
        self.log(&format!("cannot accept connections: {error}"));
        self.service
            .shared
            .stop
            .wait(Instant::now() + self.backoff)?;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        Ok(())
    }

    /// Logs an error, unless the same was logged a moment ago.
    fn log(&mut self, trouble: &str) {
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            let clients = self.service.shared.counters.clients.get();
            log::warn!("{trouble} (clients={clients})");
        }
    }
}

fn peer_of(address: Option<SocketAddr>) -> Peer {
    address.map_or(Peer::Unix, Peer::Network)
}

/// What a failed accept means.
enum Trouble {
    /// Nobody is waiting.
    Empty,
    /// This one connection is lost.
    Passing,
    /// The next one would fail too.
    Lasting(io::Error),
}

/// Reads what a refused peer has sent; true at its end of stream.
fn is_over(socket: &Stream) -> bool {
    let mut scratch = [0; 1024];
    match socket.discard(&mut scratch) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}
