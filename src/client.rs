//! A client as a program sees it, and what its threads share about it.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::close::{Cause, CloseCode, CloseFrame};
use crate::error::{SendError, Stopped};
use crate::handle::Handle;
use crate::message::Message;

/// Names a client for as long as the server lives; never used again, so what
/// is said to a client that has left reaches nobody else.
///
/// Later connections have larger ids. The text is the number.
///
/// ```
/// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
/// let handle = running.handle();
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// # while handle.stats().joins < 1 { std::thread::yield_now() }
/// let id = handle.clients()?[0].id;
/// assert_eq!(id.to_string(), id.value().to_string());
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
type WeakAttachment = Weak<dyn Any + Send + Sync>;

/// What the threads of one client and the hub share about it.
pub(crate) struct ClientState {
    pub(crate) id: ClientId,
    pub(crate) peer: SocketAddr,
    /// The room the client came in by.
    pub(crate) room: Arc<str>,
    pub(crate) joined: Instant,
    /// Weak, since the hub holds this too: dropping what a program has
    /// attached may run the program's code (invariant 1).
    attachment: Option<WeakAttachment>,
    /// Why the connection ends: set once, by whoever sees the end first.
    /// Once it is set, what the client sends is read and discarded.
    pub(crate) cause: OnceLock<Cause>,
    /// The Close frame that the hub sent.
    pub(crate) sent: OnceLock<CloseFrame>,
    // Written by the reader alone, read by whoever asks: no order needed.
    pub(crate) received_messages: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    /// The last ping's round trip in microseconds; zero: none yet.
    pub(crate) rtt_micros: AtomicU64,
}

impl ClientState {
    pub(crate) fn new(
        id: ClientId,
        peer: SocketAddr,
        room: Arc<str>,
        attachment: Option<&Attachment>,
    ) -> ClientState {
        ClientState {
            id,
            peer,
            room,
            joined: Instant::now(),
            attachment: attachment.map(Arc::downgrade),
            cause: OnceLock::new(),
            sent: OnceLock::new(),
            received_messages: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
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

/// One client, as the hooks of a [`Handler`](crate::Handler) see it, and as
/// [`Handle::members`] lists it.
///
/// # Threads and cloning
///
/// Cheap to clone and usable from any thread; a clone may be kept. It does
/// not keep the connection open: what is sent to a client that has left goes
/// nowhere, without an error. It keeps what is attached to the client.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use hubcast::Server;
///
/// /// What is attached to every client.
/// #[derive(Default)]
/// struct Count(AtomicU32);
///
/// let running = Server::builder()
///     .on_upgrade(|upgrade| {
///         upgrade.attach(Count::default());
///         Ok(())
///     })
///     .on_message(|client, _message| {
///         let Count(count) = client.attached()?;
///         let number = 1 + count.fetch_add(1, Ordering::Relaxed);
///         let _ = client.send(format!("message {number} of {}", client.id()));
///         None
///     })
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// for number in 1..=3 {
///     client.send("hello".into())?;
///     assert_eq!(client.read()?.to_text()?, format!("message {number} of 1"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) state: Arc<ClientState>,
    pub(crate) handle: Handle,
    pub(crate) attachment: Option<Attachment>,
}

impl Client {
    /// The client of this state; `None` when it has left, and what was
    /// attached to it is gone.
    pub(crate) fn of(state: Arc<ClientState>, handle: &Handle) -> Option<Client> {
        let attachment = match &state.attachment {
            None => None,
            Some(weak) => Some(weak.upgrade()?),
        };
        Some(Client {
            state,
            handle: handle.clone(),
            attachment,
        })
    }

    /// The client's id.
    pub fn id(&self) -> ClientId {
        self.state.id
    }

    /// The peer's address. Behind a proxy it is the proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.state.peer
    }

    /// The room the client came in by; what it sends is relayed there, even
    /// after [`Handle::remove_from_room`].
    pub fn room(&self) -> &str {
        &self.state.room
    }

    /// What [`Upgrade::attach`](crate::Upgrade::attach) attached, if it is a
    /// `T`; otherwise `None`. To change it later, attach something that can
    /// be changed through a shared reference, such as a `Mutex`.
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.attachment.as_ref()?.downcast_ref()
    }

    /// The server's handle, to speak to others than this client.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sends a message to this client alone; see [`Handle::send`].
    ///
    /// # Errors
    ///
    /// The server is stopping or gone, or the message is too large.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.send(self.id(), message)
    }

    /// Closes this client's connection; see [`Handle::disconnect`].
    ///
    /// # Errors
    ///
    /// The server has stopped, so the client is gone anyway.
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

/// What is known about one client; from [`Handle::clients`] and
/// [`Handle::clients_in`]. A snapshot: it does not change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The client's id.
    pub id: ClientId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The rooms the client is in, in the order in which it entered them.
    pub rooms: Vec<String>,
    /// How long ago it joined.
    pub age: Duration,
    /// How many messages wait in its queue: zero, unless its socket is full.
    pub queue_messages: usize,
    /// How many bytes wait in its queue, frame headers included.
    pub queue_bytes: usize,
    /// How many messages it has sent.
    pub received_messages: u64,
    /// How many bytes it has sent, frame headers included.
    pub received_bytes: u64,
    /// How many messages were given to its outbox.
    pub sent_messages: u64,
    /// How many bytes were given to its outbox, frame headers included.
    pub sent_bytes: u64,
    /// How many of the messages given to its outbox were dropped, because it
    /// is a slow consumer.
    pub dropped_messages: u64,
    /// The round trip of the last Ping that was answered; `None` before the
    /// first. A client that is never silent gets no Ping.
    pub rtt: Option<Duration>,
}

/// What is known about one room; from [`Handle::rooms`]. A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// The room's name, beginning with a slash.
    pub name: String,
    /// How many clients are in it.
    pub clients: usize,
}
