//! A client as a program sees it, and what its threads share about it.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::close::{Cause, CloseCode, CloseFrame};
use crate::error::{SendError, Stopped};
use crate::handle::Handle;
use crate::message::Message;

/// Names a client for as long as the server lives; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(crate) u64);

impl ClientId {
    /// The number, as the log and the names of the client's threads have it.
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a program attached to a client.
pub(crate) type Attachment = Arc<dyn Any + Send + Sync>;

/// What the threads of one client and the hub share about it.
pub(crate) struct ClientState {
    pub(crate) id: ClientId,
    pub(crate) peer: SocketAddr,
    /// The room the client came in by.
    pub(crate) room: Arc<str>,
    pub(crate) joined: Instant,
    pub(crate) attachment: Option<Attachment>,
    /// Why the connection ends: set once, by whoever sees the end first.
    /// Once it is set, what the client sends is read and discarded.
    pub(crate) cause: OnceLock<Cause>,
    /// The Close frame that the hub sent.
    pub(crate) sent: OnceLock<CloseFrame>,
    // Written by the reader alone, read by whoever asks: no order needed.
    pub(crate) messages_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    /// The last ping's round trip in microseconds; zero: none yet.
    pub(crate) rtt_micros: AtomicU64,
}

impl ClientState {
    pub(crate) fn new(
        id: ClientId,
        peer: SocketAddr,
        room: Arc<str>,
        attachment: Option<Attachment>,
    ) -> ClientState {
        ClientState {
            id,
            peer,
            room,
            joined: Instant::now(),
            attachment,
            cause: OnceLock::new(),
            sent: OnceLock::new(),
            messages_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            rtt_micros: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.cause.get().is_some()
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        match self.rtt_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }
}

impl fmt::Debug for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientState")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// The line every log message about a client begins with.
impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client={} peer={} room={:?}",
            self.id, self.peer, self.room
        )
    }
}

/// One client, as the hooks of a [`Handler`](crate::Handler) see it.
///
/// # Threads and cloning
///
/// Cheap to clone and usable from any thread; a clone may be kept. It does
/// not keep the connection open: what is sent to a client that has left goes
/// nowhere, without an error.
#[derive(Clone)]
pub struct Client {
    pub(crate) state: Arc<ClientState>,
    pub(crate) handle: Handle,
}

impl Client {
    /// The client's id.
    pub fn id(&self) -> ClientId {
        self.state.id
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.state.peer
    }

    /// The room the client came in by; what it sends is relayed there.
    pub fn room(&self) -> &str {
        &self.state.room
    }

    /// What [`Upgrade::attach`](crate::Upgrade::attach) attached, if it is a
    /// `T`.
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.state.attachment.as_ref()?.downcast_ref()
    }

    /// The server's handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sends a message to this client alone; see [`Handle::send`].
    ///
    /// # Errors
    ///
    /// The server is stopping, or the message is too large.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.send(self.id(), message)
    }

    /// Closes this client's connection; see [`Handle::disconnect`].
    ///
    /// # Errors
    ///
    /// The server is stopping, so the client is closed anyway.
    pub fn disconnect(&self, code: CloseCode, reason: impl Into<String>) -> Result<(), Stopped> {
        self.handle.disconnect(self.id(), code, reason)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.state.id)
            .field("peer", &self.state.peer)
            .field("room", &self.state.room)
            .finish_non_exhaustive()
    }
}

/// What the server knows of one client; see [`Handle::clients`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The client's id.
    pub id: ClientId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The rooms the client is in, the one it came in by first.
    pub rooms: Vec<String>,
    /// How long ago it joined.
    pub age: Duration,
    /// How many messages wait in its outbox.
    pub backlog_messages: usize,
    /// How many bytes wait in its outbox.
    pub backlog_bytes: usize,
    /// How many messages it has sent.
    pub messages_in: u64,
    /// How many bytes it has sent, frame headers included.
    pub bytes_in: u64,
    /// How many messages were given to its outbox.
    pub messages_out: u64,
    /// How many bytes were given to its outbox, frame headers included.
    pub bytes_out: u64,
    /// How many of them were dropped, because it is a slow consumer.
    pub dropped: u64,
    /// The round trip of the last Ping that was answered.
    pub rtt: Option<Duration>,
}

/// What the server knows of one room; see [`Handle::rooms`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// The room's name, beginning with a slash.
    pub name: String,
    /// How many clients are in it.
    pub clients: usize,
}
