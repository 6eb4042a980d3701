//! How clients and rooms are named.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The longest room name, in bytes.
pub(crate) const MAX_ROOM: usize = 256;
/// Paths below this are the operator's; no room has such a name.
pub(crate) const ADMIN_PREFIX: &str = "/-/";

/// Names a client for as long as the server lives. It is never reused, so a
/// message to a client that has left reaches nobody else.
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

/// The room's full name: a leading slash is added if it is missing.
pub(crate) fn room_name(name: &str) -> Arc<str> {
    if name.starts_with('/') {
        name.into()
    } else {
        format!("/{name}").into()
    }
}

/// Where a client connects from.
///
/// The text is its address, or `unix` for a Unix socket, whose peers have
/// none.
///
/// ```
/// use std::net::SocketAddr;
///
/// use hubcast::Peer;
///
/// let address: SocketAddr = ([192, 0, 2, 1], 4711).into();
/// let peer = Peer::from(address);
/// assert_eq!(peer.to_string(), "192.0.2.1:4711");
/// assert_eq!(peer.ip(), Some(address.ip()));
/// assert_eq!(Peer::Unix.ip(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// An address of a network, and a port.
    Network(SocketAddr),
    /// A process on this machine, by a Unix socket.
    Unix,
}

impl Peer {
    /// The peer's IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Network(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer::Network(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Network(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}
