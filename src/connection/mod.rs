//! One connection, from its first byte to its departure, on its own thread.

mod admission;
mod end;
mod follower;
mod keepalive;
#[cfg(any(fuzzing, test))]
pub(crate) mod model;
mod reader;
mod readers;
mod relay;
mod service;
mod threads;

pub(crate) use admission::Admission;
pub(crate) use readers::Readers;
pub(crate) use service::Service;
pub(crate) use threads::Threads;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::close::{Cause, CloseFrame};
use crate::doors::{self, Caller, Entrance, Entry, Opened};
use crate::embed::{Client, Shared};
use crate::http1::Body;
use crate::http1::{Answer, DRAIN, stopping};
use crate::http1::{Head, NoHead, read_head};
use crate::hub::ClientState;
use crate::hub::{Command, Joining, Need, Start};
use crate::names::{ClientId, Peer};
use crate::net::NoTls;
use crate::net::Outlet;
use crate::net::Stream;
use crate::net::{NoHeader, read_proxy_header};
use crate::outbox::Outbox;
use crate::wire::Encoding;
use admission::Slot;
use reader::Reader;

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ClientId,
    pub(crate) peer: Peer,
    pub(crate) socket: Arc<Stream>,
    pub(crate) service: Arc<Service>,
    pub(crate) entrance: Entrance,
    /// Whether it must begin with a TLS handshake.
    pub(crate) over_tls: bool,
    /// Its place among the connections; given back at the end.
    pub(crate) slot: Slot,
}

/// A connection whose peer was let in as a client.
#[derive(Debug)]
struct Entered {
    connection: Connection,
    entry: Box<Entry>,
    rest: Vec<u8>,
}

impl Entered {
    /// Runs on the client's own thread, its reader thread. It ends with the
    /// connection, or at the shutdown's deadline.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    fn serve(self) {
        self.connection.serve(*self.entry, self.rest);
    }
}

/// Held while the hub knows this client. Dropping it, by a panic too, makes
/// the hub forget the client.
struct Joined<'a> {
    connection: &'a Connection,
    state: Arc<ClientState>,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        let Connection { id, socket, .. } = self.connection;
        let inbox = &self.connection.service.shared.inbox;
        // First what the peer may rely on once it sees its end: its place is
        // free, and it is in no room.
        self.state.place.release();
        // An error means that the hub has ended, and the client with it.
        let _ = inbox.send(Command::Leave { id: *id });
        // Wakes a writer thread that is blocked on the socket, too; nothing
        // more will be sent.
        socket.end();
    }
}

/// The outcome of a request.
enum Opening {
    /// A client of a room, and the bytes that came after its request.
    Room(Box<Entry>, Vec<u8>),
    /// The peer gets this answer, and the connection ends.
    Answered(Answer),
    /// The peer speaks another protocol; it is not answered in HTTP/1.1.
    Foreign(&'static str),
    /// There is no TLS session, so no answer can be read.
    NoTls(NoTls),
    /// The stream has ended or failed, so no answer can be sent.
    Gone(io::ErrorKind),
}

impl Connection {
    /// Runs on the connection's first thread, until the request is answered, or
    /// its peer is let in as a client, which another thread serves.
    fn run(mut self) -> Option<Box<Entered>> {
        // A panic itself has been reported where it happened.
        let opening = catch_unwind(AssertUnwindSafe(|| self.open())).unwrap_or_else(|_| {
            Opening::Answered(Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed to answer this request",
            ))
        });
        match opening {
            Opening::Room(entry, rest) => {
                if !self.slot.handshake_done() {
                    return None;
                }
                let connection = self;
                return Some(Box::new(Entered {
                    connection,
                    entry,
                    rest,
                }));
            }
            Opening::Answered(answer) => self.answer(&answer),
            Opening::Foreign(protocol) => {
                self.service.doors.foreign_protocol(self.peer, protocol);
                self.socket.end();
            }
            Opening::NoTls(why) => {
                log::debug!("peer={} no TLS: {why}", self.peer);
                let failures = &self.service.shared.counters.tls_failures;
                failures.count(why.reason());
                // The alert that says so arrives.
                self.socket.finish();
                let _ = self.socket.drain(Instant::now() + DRAIN);
            }
            Opening::Gone(kind) => {
                log::debug!("peer={} gone in the handshake: {kind}", self.peer);
            }
        }
        None
    }

    /// Reads the request and shows it to the doors. Behind a proxy, the peer is
    /// the proxy's client from here on.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    fn open(&mut self) -> Opening {
        let service = self.service.clone();
        let shared = &service.shared;
        // It fails only when the connection is gone, which the next read
        // reports.
        let _ = self.socket.set_nodelay();
        let deadline = Instant::now() + shared.config.handshake_timeout;
        if shared.config.proxy_protocol && self.entrance == Entrance::Main {
            match self.behind_proxy(deadline) {
                Ok(Some(client)) => self.peer = client.into(),
                Ok(None) => {}
                Err(opening) => return opening,
            }
        }
        let is_secured = match &shared.certificates {
            Some(certificates) if self.over_tls => {
                match self.socket.secure(certificates, &shared.stop, deadline) {
                    Ok(is_secured) => is_secured,
                    Err(why) => return Opening::NoTls(why),
                }
            }
            _ => false,
        };
        let Head { request, rest } = match read_head(&self.socket, &shared.stop, deadline) {
            Ok(head) => head,
            Err(NoHead::Answered(answer)) => return Opening::Answered(answer),
            Err(NoHead::Foreign(protocol)) => return Opening::Foreign(protocol),
            Err(NoHead::Gone(kind)) => return Opening::Gone(kind),
        };
        if self.over_tls && !is_secured {
            return Opening::Answered(doors::to_tls(&request));
        }
        match service.doors.proxies.client(self.peer, request.headers()) {
            Ok(client) => self.peer = client,
            Err(answer) => return Opening::Answered(answer),
        }
        let mut body = Body {
            socket: &self.socket,
            stop: &shared.stop,
            early: rest,
            deadline,
        };
        let caller = Caller {
            id: self.id,
            peer: self.peer,
            certificates: &self.socket.peer_certificates(),
            entrance: self.entrance,
            has_near_address: self.has_near_address(),
        };
        let opened = service.doors.open(&request, &caller, &mut body);
        match opened {
            Opened::Room(entry) => Opening::Room(entry, body.early),
            Opened::Answered(answer) => Opening::Answered(answer),
        }
    }

    /// Reads the header in which a proxy names its client.
    fn behind_proxy(&self, deadline: Instant) -> Result<Option<SocketAddr>, Opening> {
        let proxies = &self.service.doors.proxies;
        if !proxies.is_empty() && !proxies.trust(self.peer) {
            return Err(Opening::Foreign("for no proxy that trust-proxy lists"));
        }
        let stop = &self.service.shared.stop;
        read_proxy_header(&self.socket, stop, deadline).map_err(|why| match why {
            NoHeader::Stopping => Opening::Answered(stopping()),
            NoHeader::TimedOut => Opening::Gone(io::ErrorKind::TimedOut),
            NoHeader::Wrong => Opening::Foreign("something without the PROXY protocol's header"),
            NoHeader::Gone(kind) => Opening::Gone(kind),
        })
    }

    /// Whether the peer's address is one of the server's own machine.
    fn has_near_address(&self) -> bool {
        let Some(ip) = self.peer.ip() else {
            return true;
        };
        let ours = || {
            self.socket
                .local_addr()
                .map(|ours| ours.ip().to_canonical())
        };
        ip.is_loopback() || ours() == Some(ip)
    }

    /// Answers a request that is for no room. The log line names no header
    /// and no query: they may hold secrets.
    fn answer(&self, answer: &Answer) {
        deliver(answer, &self.socket, self.peer, &self.service.shared);
    }

    /// Serves the client until it leaves.
    fn serve(&self, entry: Entry, rest: Vec<u8>) {
        let attachment = entry.attachment.as_ref();
        let mut state = ClientState::new(self.id, self.peer, entry.room, entry.place, attachment);
        state.further_rooms = entry.further_rooms;
        state.rights = entry.rights;
        state.name = entry.name.map(String::into_boxed_str);
        state.is_watching = entry.start.watch.is_some();
        let client = Client {
            state: Arc::new(state),
            handle: self.service.handle(),
            attachment: entry.attachment,
        };
        let Some(joined) = self.join(&client, entry.encoding, entry.start, entry.response) else {
            return;
        };
        let received = self.converse(&client, entry.encoding, entry.beat, rest);
        if let Some(received) = received {
            let _ = client.state.received.set(received);
        }
        drop(joined);
        self.departed(&client);
    }

    /// Makes the client a member. Only from here on does the hub write to
    /// the socket, and nobody else does.
    fn join(
        &self,
        client: &Client,
        encoding: Encoding,
        start: Start,
        answer: Vec<u8>,
    ) -> Option<Joined<'_>> {
        let clients = client.state.place.join();
        let outbox = Outbox::new(self.id, self.socket.clone(), self.service.outboxes.clone());
        let interest = &self.service.shared.publisher.interest;
        let following = Need::of(encoding).map(|need| interest.add(need, &client.state.room));
        let joining = Joining {
            client: client.state.clone(),
            outbox,
            encoding,
            answer: answer.into(),
            following,
            start,
        };
        let joined = self
            .service
            .shared
            .inbox
            .send(Command::Join(Box::new(joining)));
        joined.ok()?;
        let guard = Joined {
            connection: self,
            state: client.state.clone(),
        };
        log::info!("{} joined, clients={clients}", client.state);
        Some(guard)
    }

    /// The conversation and the hooks around it. A panic in any of them ends
    /// this connection with 1011.
    // Not inlined: its stack frame is large, and inlined it would lie beneath
    // that of the log call in `join`. A stack page stays resident once it was
    // touched, for every client.
    #[inline(never)]
    fn converse(
        &self,
        client: &Client,
        encoding: Encoding,
        beat: Option<Duration>,
        rest: Vec<u8>,
    ) -> Option<CloseFrame> {
        let mut reader = Reader::new(&self.service, client, &self.socket, encoding);
        if let Some(handler) = &self.service.hooks
            && !client.state.is_watching
            && catch_unwind(AssertUnwindSafe(|| handler.on_join(client))).is_err()
        {
            return reader.fail(Cause::HandlerPanicked);
        }
        if encoding.is_stream() {
            follower::follow(&self.service.shared, client, &self.socket, encoding, beat);
            return None;
        }
        // The hooks that it calls are caught one by one.
        catch_unwind(AssertUnwindSafe(|| reader.run(rest)))
            .unwrap_or_else(|_| reader.fail(Cause::InternalError))
    }

    /// Logs the end, counts it, and calls the hook.
    fn departed(&self, client: &Client) {
        let state = &client.state;
        let departure = state.departure();
        let counters = &self.service.shared.counters;
        counters.departed(&departure.cause);
        let clients = counters.clients.get();
        let level = match departure.cause {
            Cause::Evicted { .. }
            | Cause::NoWriterThread
            | Cause::HandlerPanicked
            | Cause::InternalError => log::Level::Warn,
            _ => log::Level::Info,
        };
        let how = if departure.is_normal() {
            "left"
        } else {
            "lost"
        };
        log::log!(level, "{state} {how}: {departure}, clients={clients}");
        if let Some(handler) = &self.service.hooks
            && !state.is_watching
            && catch_unwind(AssertUnwindSafe(|| handler.on_leave(client, &departure))).is_err()
        {
            log::warn!("{state} on_leave panicked");
        }
    }
}

/// Answers a request that makes no client.
fn deliver(answer: &Answer, socket: &Stream, peer: Peer, shared: &Shared) {
    let status = answer.status.as_u16();
    if status >= 400 {
        shared.counters.refused.count(status);
        log::debug!("peer={peer} refused: {status} {:?}", answer.body.trim_end());
    }
    if let Err(error) = answer.deliver(socket, &shared.stop) {
        log::debug!("peer={peer} answer not delivered: {error}");
    }
}
