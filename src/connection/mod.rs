//! One connection, from its first byte to its departure, on its own thread.

pub(crate) mod admission;
pub(crate) mod end;
pub(crate) mod follower;
pub(crate) mod keepalive;
#[cfg(any(fuzzing, test))]
pub(crate) mod model;
pub(crate) mod rate;
pub(crate) mod reader;
pub(crate) mod relay;
pub(crate) mod threads;

use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue, VARY};
use http::{Method, StatusCode};

use crate::close::{Cause, CloseFrame, Departure};
use crate::connection::admission::Admitted;
use crate::connection::reader::Reader;
use crate::connection::threads::Presence;
use crate::doors::publish::{self, Announced};
use crate::doors::{self, Caller, Door, Entrance};
use crate::embed::client::Client;
use crate::embed::handle::Handle;
use crate::embed::upgrade::Agreed;
use crate::http1::answer::{Answer, stopping};
use crate::http1::body::Body;
use crate::http1::head::{Dismissed, Head, read_head};
use crate::http1::request::allowed_origin;
use crate::hub::Command;
use crate::hub::client_state::ClientState;
use crate::names::ClientId;
use crate::net::socket::Socket;
use crate::outbox::Outbox;
use crate::server::Shared;
use crate::wire::burst::Encoding;

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ClientId,
    pub(crate) peer: SocketAddr,
    pub(crate) socket: Arc<TcpStream>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) entrance: Entrance,
    /// Its place among the connections; given back at the end.
    pub(crate) admitted: Admitted,
    /// Its thread is counted until everything else is dropped.
    pub(crate) _presence: Presence,
}

/// That a client is a member of the hub; dropped, by a panic too, the hub
/// forgets it.
struct Membership<'a>(&'a Connection);

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        let Connection {
            id, socket, shared, ..
        } = self.0;
        // Whoever is still blocked on the socket is to return: nothing more
        // is to be said on it.
        socket.end();
        shared.counters.clients.down();
        // An error means that the hub has ended, and the client with it.
        let _ = shared.inbox.send(Command::Leave { id: *id });
    }
}

impl Connection {
    /// Runs on the connection's own thread, which is its reader thread. It
    /// ends with the connection, or at the shutdown's deadline.
    pub(crate) fn run(mut self) {
        let opened = catch_unwind(AssertUnwindSafe(|| self.open()));
        match opened {
            Ok(Ok((agreed, rest))) => {
                self.admitted.handshake_done();
                self.serve(agreed, rest);
            }
            Ok(Err(refused)) => self.dismiss(refused),
            // The panic itself has been reported where it happened.
            Err(_) => self.dismiss(Dismissed::Answered(Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed to answer this request",
            ))),
        }
    }

    /// Reads the request and finds its door. What is not a way into a room
    /// is answered, and that is all.
    fn open(&self) -> Result<(Agreed, Vec<u8>), Dismissed> {
        let shared = &self.shared;
        // It fails only when the connection is gone, as the next read tells.
        let _ = self.socket.set_nodelay(true);
        let deadline = Instant::now() + shared.config.handshake_timeout;
        let Head { request, rest } = read_head(&self.socket, &shared.stop, deadline)?;
        let head_only = request.method() == Method::HEAD;
        let answer = match doors::open(&self.handle(), &request, &self.caller()) {
            Ok(Door::Room(_)) if shared.stop.is_triggered() => stopping(),
            Ok(Door::Room(agreed)) => return Ok((agreed, rest)),
            Ok(Door::Publish(room, announced)) => self
                .publish(&room, &announced, rest)
                .unwrap_or_else(|refused| refused),
            Ok(Door::Answer(answer)) | Err(answer) => answer,
        };
        let mut answer = Answer {
            head_only,
            ..answer
        };
        // A page of an allowed site may read what became of its request.
        if let Some(origin) = allowed_origin(&request, &shared.config) {
            answer = answer
                .header(VARY, HeaderValue::from_static("origin"))
                .header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        Err(Dismissed::Answered(answer))
    }

    fn caller(&self) -> Caller {
        let ip = self.peer.ip();
        let ours = || self.socket.local_addr().is_ok_and(|ours| ours.ip() == ip);
        Caller {
            peer: self.peer,
            entrance: self.entrance,
            is_near: ip.to_canonical().is_loopback() || ours(),
        }
    }

    /// Publishes the body of a request in a room.
    fn publish(&self, room: &str, announced: &Announced, early: Vec<u8>) -> Result<Answer, Answer> {
        let config = &self.shared.config;
        let body = Body {
            socket: &self.socket,
            stop: &self.shared.stop,
            early,
            deadline: Instant::now() + config.message_timeout,
        };
        let message = publish::read_message(announced, body, config.max_message_size)?;
        let handle = self.handle();
        // The number of clients is asked for first: nobody who joins later
        // is counted as a receiver.
        let clients = handle.count(room).map_err(|_| stopping())?;
        handle.broadcast(room, message).map_err(|_| stopping())?;
        Ok(publish::accepted(room, clients))
    }

    fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Ends a connection that is no client's. The log line names no header
    /// and no query: they may hold secrets.
    fn dismiss(&self, refused: Dismissed) {
        let peer = self.peer;
        match refused {
            Dismissed::Answered(answer) => {
                let status = answer.status.as_u16();
                if status >= 400 {
                    self.shared.counters.refused.count(status);
                    log::debug!("peer={peer} refused: {status} {:?}", answer.body.trim_end());
                }
                if let Err(error) = answer.deliver(&self.socket) {
                    log::debug!("peer={peer} answer not delivered: {error}");
                }
            }
            Dismissed::Foreign(protocol) => {
                log::info!("peer={peer} speaks {protocol}");
                self.socket.end();
            }
            Dismissed::Gone(kind) => log::debug!("peer={peer} gone in the handshake: {kind}"),
        }
    }

    /// Serves the client until it leaves.
    fn serve(&self, agreed: Agreed, rest: Vec<u8>) {
        let sent = self.socket.try_send(&agreed.response);
        if sent.ok() != Some(agreed.response.len()) {
            // An empty send buffer takes an answer whole, or the peer is gone.
            log::debug!("peer={} gone in the handshake", self.peer);
            return;
        }
        let room = agreed.room;
        let state = ClientState::new(self.id, self.peer, room, agreed.attachment.as_ref());
        let client = Client {
            state: Arc::new(state),
            handle: self.handle(),
            attachment: agreed.attachment,
        };
        drop(agreed.response);
        let Some(membership) = self.join(&client, agreed.encoding) else {
            return;
        };
        let received = self.converse(&client, agreed.encoding, rest);
        drop(membership);
        self.departed(&client, received);
    }

    /// Makes the client a member. Only from here on does the hub write to
    /// the socket, and nobody else does.
    fn join(&self, client: &Client, encoding: Encoding) -> Option<Membership<'_>> {
        let counters = &self.shared.counters;
        let outbox = Outbox::new(self.id, self.socket.clone(), self.shared.outboxes.clone());
        let joined = self.shared.inbox.send(Command::Join {
            client: client.state.clone(),
            outbox: Box::new(outbox),
            encoding,
        });
        joined.ok()?;
        counters.joins.add(1);
        let clients = counters.clients.up();
        let membership = Membership(self);
        log::info!("{} joined, clients={clients}", client.state);
        Some(membership)
    }

    /// The conversation and the hooks around it. A panic in any of them ends
    /// this connection with 1011.
    // Its frame, which is large, is not to lie below that of the log line of
    // the join: a page of the stack that was touched once stays.
    #[inline(never)]
    fn converse(&self, client: &Client, encoding: Encoding, rest: Vec<u8>) -> Option<CloseFrame> {
        let mut reader = Reader::new(&self.shared, client, &self.socket);
        if let Some(handler) = &self.shared.handler
            && catch_unwind(AssertUnwindSafe(|| handler.on_join(client))).is_err()
        {
            return reader.fail_for_panic();
        }
        if encoding == Encoding::Events {
            follower::follow(&self.shared, client, &self.socket);
            return None;
        }
        catch_unwind(AssertUnwindSafe(|| reader.run(&rest)))
            .unwrap_or_else(|_| reader.fail_for_panic())
    }

    /// Logs the end, counts it, and tells the program.
    fn departed(&self, client: &Client, received: Option<CloseFrame>) {
        let state = &client.state;
        let departure = Departure {
            cause: departure_cause(state, received.is_some()),
            sent: state.sent.get().cloned(),
            received,
        };
        let counters = &self.shared.counters;
        counters.departed(&departure.cause);
        let clients = counters.clients.get();
        let level = match departure.cause {
            Cause::Evicted { .. } | Cause::NoWriterThread | Cause::HandlerPanicked => {
                log::Level::Warn
            }
            _ => log::Level::Info,
        };
        let how = if departure.is_normal() {
            "left"
        } else {
            "lost"
        };
        log::log!(level, "{state} {how}: {departure}, clients={clients}");
        if let Some(handler) = &self.shared.handler
            && catch_unwind(AssertUnwindSafe(|| handler.on_leave(client, &departure))).is_err()
        {
            log::warn!("{state} on_leave panicked");
        }
    }
}

/// Why the connection ended. A write that failed because the peer had closed
/// in order, and gone, is not what ended it.
fn departure_cause(state: &ClientState, close_came: bool) -> Cause {
    match state.cause.get() {
        Some(Cause::WriteFailed(_) | Cause::ReadFailed(_)) if close_came => Cause::ClosedByPeer,
        Some(cause) => cause.clone(),
        None => Cause::EndOfStream,
    }
}
