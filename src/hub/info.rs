//! What the hub tells about clients and rooms.

#[cfg(feature = "redis")]
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ring::Millis;
use crate::names::{ClientId, Peer};
use crate::position::Position;

/// What is known about one client; from
/// [`Handle::clients`](crate::Handle::clients) and
/// [`Handle::clients_in`](crate::Handle::clients_in). A snapshot: it does not
/// change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The client's id.
    pub id: ClientId,
    /// The peer's address.
    pub peer: Peer,
    /// The name that its token gives it; see [`Rights::name`](crate::Rights::name).
    pub name: Option<String>,
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
    /// How many of the messages given to its outbox were dropped because it was
    /// too slow.
    pub dropped_messages: u64,
    /// The round trip of the last Ping that was answered; `None` before the
    /// first. A client that is never silent gets no Ping.
    pub rtt: Option<Duration>,
    /// Whether it was agreed that messages may be compressed; see
    /// [`Config::deflate`](crate::Config::deflate).
    #[cfg(feature = "deflate")]
    pub deflate: bool,
}

/// What is known about one room; from [`Handle::rooms`](crate::Handle::rooms).
/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// The room's name, beginning with a slash.
    pub name: String,
    /// How many clients are in it.
    pub clients: usize,
    /// Whether that is of all nodes, as where presence is on; see
    /// [several nodes](crate::guide::nodes).
    #[cfg(feature = "redis")]
    pub is_of_all_nodes: bool,
}

/// What a room remembers, as it is told to somebody who is no client.
#[derive(Debug)]
pub(crate) struct Recollection {
    /// How many clients the room has.
    pub(crate) clients: usize,
    /// Behind everything that was said so far.
    pub(crate) position: Position,
    /// Everything that came after this is remembered.
    pub(crate) oldest: Position,
    /// Nothing is missing of what was asked for.
    pub(crate) is_complete: bool,
    pub(crate) messages: Vec<Recalled>,
}

/// A message that is remembered.
#[derive(Debug)]
pub(crate) struct Recalled {
    pub(crate) position: Position,
    pub(crate) at: Millis,
    pub(crate) frame: Bytes,
}

/// Who is in a room.
#[derive(Debug)]
pub(crate) struct Here {
    pub(crate) clients: usize,
    pub(crate) position: Position,
    pub(crate) present: Vec<Present>,
}

/// The members of a room that shows them.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Attendees {
    pub(crate) room: Arc<str>,
    pub(crate) present: Vec<Present>,
}

/// A member of a room, as it is shown.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) id: ClientId,
    pub(crate) name: Option<String>,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapStart {
    pub(crate) position: Position,
    pub(crate) is_complete: bool,
}
