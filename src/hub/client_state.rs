//! A client's state, shared by its threads and the hub.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::places::Place;
use crate::close::{Cause, CloseFrame, Departure};
use crate::names::{ClientId, Peer};
use crate::rights::Rights;

/// The value that `Upgrade::attach` attached to a client.
pub(crate) type Attachment = Arc<dyn Any + Send + Sync>;
type WeakAttachment = Weak<dyn Any + Send + Sync>;

/// A client's state, shared by its threads and the hub.
pub(crate) struct ClientState {
    pub(crate) id: ClientId,
    pub(crate) peer: Peer,
    /// The room the client came in by.
    pub(crate) room: Arc<str>,
    /// The others that it asked for.
    pub(crate) further_rooms: Box<[Arc<str>]>,
    pub(crate) place: Place,
    /// How the client is shown to those who follow who is in its rooms.
    pub(crate) name: Option<Box<str>>,
    /// It follows who is in its room, and says nothing there.
    pub(crate) is_watching: bool,
    pub(super) joined: Instant,
    /// Weak, because the hub holds this state too, and dropping the attached
    /// value may run your program's code (invariant 1).
    pub(crate) attachment: Option<WeakAttachment>,
    /// `None` where nothing limits them.
    pub(crate) rights: Option<Arc<Rights>>,
    /// Why the connection ends. Set once, by the thread that sees the end
    /// first. From then on what the client sends is discarded.
    pub(crate) cause: OnceLock<Cause>,
    /// The Close frame that the hub sent.
    pub(super) sent: OnceLock<CloseFrame>,
    /// The peer's Close frame. Set before the hub is told that the client
    /// leaves.
    pub(crate) received: OnceLock<CloseFrame>,
    // Written by the reader thread alone, read by any. No order is needed.
    pub(crate) received_messages: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    /// The round trip of the last answered ping in microseconds; zero before
    /// the first.
    pub(crate) rtt_micros: AtomicU64,
}

impl ClientState {
    pub(crate) fn new(
        id: ClientId,
        peer: Peer,
        room: Arc<str>,
        place: Place,
        attachment: Option<&Attachment>,
    ) -> ClientState {
        ClientState {
            id,
            peer,
            room,
            further_rooms: Box::default(),
            place,
            name: None,
            is_watching: false,
            joined: Instant::now(),
            attachment: attachment.map(Arc::downgrade),
            rights: None,
            cause: OnceLock::new(),
            sent: OnceLock::new(),
            received: OnceLock::new(),
            received_messages: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            rtt_micros: AtomicU64::new(0),
        }
    }

    /// The rooms the client came in by.
    pub(super) fn rooms(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.room).chain(&self.further_rooms)
    }

    /// The name that the client's token gives it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.rights.as_ref()?.shown_name()
    }

    /// How the connection has ended. If the peer sent a Close and went, a write
    /// that failed afterwards is not the cause.
    pub(crate) fn departure(&self) -> Departure {
        let received = self.received.get();
        let cause = match self.cause.get() {
            Some(Cause::WriteFailed(_) | Cause::ReadFailed(_)) if received.is_some() => {
                Cause::ClosedByPeer
            }
            Some(cause) => cause.clone(),
            None => Cause::EndOfStream,
        };
        Departure {
            cause,
            sent: self.sent.get().cloned(),
            received: received.cloned(),
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.cause.get().is_some()
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
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

/// How every log line about a client begins.
impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client={} peer={} room={:?}",
            self.id, self.peer, self.room
        )?;
        for room in &self.further_rooms {
            write!(f, " room={room:?}")?;
        }
        match self.name() {
            Some(name) => write!(f, " name={name:?}"),
            None => Ok(()),
        }
    }
}
