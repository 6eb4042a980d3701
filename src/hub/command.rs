//! All commands of the hub.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::behind::Start;
use super::client_state::ClientState;
use super::departed::Departed;
#[cfg(feature = "redis")]
use super::info::Attendees;
use super::info::{ClientInfo, Here, Recollection, RoomInfo, TapStart};
use super::interest::Interested;
use super::permit::Permit;
use super::reply::Reply;
use super::tap::Tap;
use crate::close::{Cause, CloseFrame};
use crate::names::ClientId;
use crate::outbox::Outbox;
use crate::position::Position;
use crate::since::Since;
use crate::wire::Encoding;
use crate::wire::Forms;

/// All commands of the hub.
#[derive(Debug)]
pub(crate) enum Command {
    /// A client has finished its opening handshake.
    Join(Box<Joining>),
    /// Messages for an audience. The permit is held while a large burst
    /// waits in the inbox.
    Publish {
        to: Audience,
        forms: Forms,
        permit: Option<Permit>,
        /// Told where the last of them stands in the log.
        receipt: Option<Reply<Receipt>>,
    },
    /// The next part of the log, from an engine.
    #[cfg(feature = "redis")]
    Commit(super::committed::Committed),
    /// Tell the other nodes who is in the rooms here.
    #[cfg(feature = "redis")]
    Announce,
    /// How many clients a room has at this point.
    Count { room: Arc<str>, reply: Reply<usize> },
    /// Copy what a room receives into a channel, for a subscription.
    Tap { room: Arc<str>, tap: Tap },
    /// The same, with what the room remembers first.
    TapSince {
        room: Arc<str>,
        tap: Tap,
        since: Since,
        reply: Reply<TapStart>,
    },
    /// Tell what a room remembers, and give the messages from a point on.
    Recall {
        room: Arc<str>,
        since: Option<Since>,
        reply: Reply<Recollection>,
    },
    /// Tell who is in all rooms that show it, on all nodes.
    #[cfg(feature = "redis")]
    Everyone { reply: Reply<Vec<Attendees>> },
    /// Tell who is in a room.
    Here { room: Arc<str>, reply: Reply<Here> },
    /// A Ping frame for a client.
    Ping { id: ClientId, frame: Bytes },
    /// Pong frames for a client: all that are due, and the newest of them,
    /// which is sent alone if the client has a backlog.
    Pong {
        id: ClientId,
        all: Bytes,
        newest: Bytes,
    },
    /// The peer's Close frame has come; this is the answer to it.
    PeerClosed { id: ClientId, reply: CloseFrame },
    /// Close the connection. If `finish`, the peer's Close is not waited for,
    /// because its bytes cannot be read any more.
    Close {
        id: ClientId,
        frame: CloseFrame,
        cause: Cause,
        finish: bool,
    },
    /// The client's writer thread has written its chunk, or failed to.
    Written {
        id: ClientId,
        result: Result<(), Cause>,
    },
    /// The client's reader has ended.
    Leave { id: ClientId },
    /// Put a client into one more room.
    Enter { id: ClientId, room: Arc<str> },
    /// Take a client out of a room.
    Exit { id: ClientId, room: Arc<str> },
    /// List the clients, of a room or all.
    Clients {
        room: Option<Arc<str>>,
        reply: Reply<Vec<ClientInfo>>,
    },
    /// The states of a room's members.
    Members {
        room: Arc<str>,
        reply: Reply<Vec<Arc<ClientState>>>,
    },
    /// List the clients that have left last.
    Departures { reply: Reply<Vec<Arc<Departed>>> },
    /// List the rooms.
    Rooms { reply: Reply<Vec<RoomInfo>> },
    /// Close every client, one after the other over this time.
    Drain { over: Duration },
    /// Close every client, now and from now on.
    Shutdown,
    /// End the connections whose Close was sent, without waiting for the
    /// answer.
    EndClosed,
    /// End every connection at once.
    Abort,
    /// End the hub.
    End,
}

/// A client that has finished its opening handshake, but for the answer.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) client: Arc<ClientState>,
    pub(crate) outbox: Outbox,
    pub(crate) encoding: Encoding,
    /// The head that answers its request. Nobody else sends it: whoever has
    /// read it is in the room.
    pub(crate) answer: Bytes,
    /// Held until the client is in its room, which holds one of its own.
    pub(crate) following: Option<Interested>,
    /// From where on it wants the room's messages.
    pub(crate) start: Start,
}

/// What is told about messages once they are in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    /// Where the last of them stands.
    pub(crate) position: Position,
    /// How many clients are in the room to get them.
    pub(crate) clients: usize,
}

/// Who receives a burst.
#[derive(Debug)]
pub(crate) enum Audience {
    /// The members of a room.
    Room {
        room: Arc<str>,
        except: Option<ClientId>,
    },
    /// The members of all rooms.
    Everybody { except: Option<ClientId> },
    /// One client.
    Client(ClientId),
    /// These clients.
    Clients(Vec<ClientId>),
}

/// What can be done to a client; the server's own doors do so, or your program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Close(CloseFrame),
    Enter(Arc<str>),
    Exit(Arc<str>),
}

impl Act {
    pub(super) fn command(self, id: ClientId) -> Command {
        match self {
            Act::Close(frame) => Command::Close {
                id,
                frame,
                cause: Cause::Disconnected,
                finish: false,
            },
            Act::Enter(room) => Command::Enter { id, room },
            Act::Exit(room) => Command::Exit { id, room },
        }
    }
}

impl Audience {
    /// Whether messages for it have a place in the log.
    pub(crate) fn is_in_the_log(&self) -> bool {
        matches!(self, Audience::Room { .. } | Audience::Everybody { .. })
    }
}
