//! How clients and rooms are named.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Error;

/// The longest room name, in bytes.
pub(crate) const MAX_ROOM: usize = 256;
/// Paths below this are the operator's; no room has such a name.
pub(crate) const ADMIN_PREFIX: &str = "/-/";

/// Checks that clients can name this room; a leading slash may be missing. The
/// server itself takes any name, but in a room that fails here your program would
/// be alone.
///
/// # Errors
///
/// The name is empty, longer than 256 bytes, begins with `/-/`, or holds a
/// control character.
///
/// ```
/// assert!(hubcast::check_room("/lobby").is_ok());
/// let error = hubcast::check_room("/-/healthz").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "no client can name the room \"/-/healthz\": paths below /-/ are the operator's"
/// );
/// ```
pub fn check_room(name: &str) -> Result<(), Error> {
    let why = match room_flaw(&room_name(name)) {
        _ if name.is_empty() => "it has no name; / is a room".to_owned(),
        None => return Ok(()),
        Some(RoomFlaw::Control) => "it holds a control character".to_owned(),
        Some(RoomFlaw::Operators) => "paths below /-/ are the operator's".to_owned(),
        Some(RoomFlaw::TooLong) => format!("a name is at most {MAX_ROOM} bytes long"),
    };
    let line = format!("no client can name the room {name:?}: {why}");
    Err(Error::config(line))
}

/// Why a name is no room's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomFlaw {
    Control,
    Operators,
    TooLong,
}

/// The longest name of a client, in bytes.
const MAX_NAME: usize = 64;

/// What keeps a client from being shown by this name.
pub(crate) fn name_flaw(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        Some("is longer than 64 bytes")
    } else if name.contains(is_unseen) {
        Some("holds a character that is not seen, or reorders others")
    } else {
        None
    }
}

/// Control characters, separators of lines, and those that change the
/// direction of text or take no room.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// A name without what may not be in it, cut where it is too long.
pub(crate) fn clean_name(name: &str) -> String {
    let mut clean: String = name.chars().filter(|c| !is_unseen(*c)).collect();
    while clean.len() > MAX_NAME {
        clean.pop();
    }
    clean
}

/// What keeps clients from naming a room, which begins with a slash.
pub(crate) fn room_flaw(room: &str) -> Option<RoomFlaw> {
    if room.contains(char::is_control) {
        Some(RoomFlaw::Control)
    } else if room.starts_with(ADMIN_PREFIX) {
        Some(RoomFlaw::Operators)
    } else if room.len() > MAX_ROOM {
        Some(RoomFlaw::TooLong)
    } else {
        None
    }
}

/// Names a client for as long as the server lives. It is never reused, so a
/// message to a client that has left reaches nobody else.
///
/// Later connections have larger ids. The text is the number. Where several
/// nodes are one server, it is the number and the node, as in `17@b3f1c9`;
/// the number alone is a client of the node that is asked. Capitals are read,
/// too.
///
/// ```
/// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
/// let handle = running.handle();
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// let id = handle.clients()?[0].id;
/// assert_eq!(id.to_string(), id.value().to_string());
/// assert_eq!(id.to_string().parse::<hubcast::ClientId>()?, id);
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(
    /// The number, and above it the tag of the node; zero: it has none.
    pub(crate) u64,
);

/// Where in an id the node's tag begins. What is left for the number suffices
/// for ten thousand connections a second over three years.
const TAG_AT: u32 = 40;
const NUMBER: u64 = (1 << TAG_AT) - 1;

impl ClientId {
    /// The number. Each node counts its own clients.
    pub fn value(self) -> u64 {
        self.0 & NUMBER
    }

    /// The tag of the client's node, if its id has one.
    pub(crate) fn tag(self) -> Option<NodeTag> {
        NodeTag::new((self.0 >> TAG_AT) as u32)
    }

    /// The same client; where the id is a number alone, that of this node.
    pub(crate) fn of(self, node: Option<NodeTag>) -> ClientId {
        match (self.tag(), node) {
            (None, Some(NodeTag(tag))) => ClientId(self.0 | u64::from(tag) << TAG_AT),
            _ => self,
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())?;
        match self.tag() {
            None => Ok(()),
            Some(tag) => write!(f, "@{tag}"),
        }
    }
}

impl FromStr for ClientId {
    type Err = Error;

    /// Reads an id's text.
    fn from_str(text: &str) -> Result<ClientId, Error> {
        parse_id(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::config(format!(
                "{shown:?} is not a client's id, which is a number, \
                 or a number and a node as in 17@b3f1c9; the header Hubcast-Client tells it"
            ))
        })
    }
}

fn parse_id(text: &str) -> Option<ClientId> {
    let (number, tag) = match text.split_once('@') {
        None => (text, None),
        Some((number, tag)) => (number, Some(NodeTag::parse(tag)?)),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|number| *number <= NUMBER)?;
    is_number.then_some(ClientId(number).of(tag))
}

/// Tells the nodes of one server apart in the ids of their clients: the
/// beginning of a node's own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeTag(u32);

impl NodeTag {
    /// The length of its text.
    const LEN: usize = 6;

    fn new(tag: u32) -> Option<NodeTag> {
        (1..1 << (4 * NodeTag::LEN))
            .contains(&tag)
            .then_some(NodeTag(tag))
    }

    fn parse(text: &str) -> Option<NodeTag> {
        // Capitals are the same digits: people copy ids by hand, and some tools change them.
        if text.len() != NodeTag::LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        NodeTag::new(u32::from_str_radix(text, 16).ok()?)
    }

    /// The tag of the node with this id.
    #[cfg(feature = "redis")]
    pub(crate) fn of_node(id: &str) -> Option<NodeTag> {
        NodeTag::parse(id.get(..NodeTag::LEN)?)
    }
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = NodeTag::LEN)
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
    /// The address that a trusted proxy names; see
    /// [`Config::trust_proxy`](crate::Config::trust_proxy). The text has no
    /// port, since proxies name none.
    Forwarded(IpAddr),
    /// A process on this machine, by a Unix socket.
    Unix,
}

impl Peer {
    /// The peer's IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Network(address) => Some(address.ip()),
            Peer::Forwarded(ip) => Some(*ip),
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
            Peer::Forwarded(ip) => ip.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown() {
        for text in ["0", "17", "1099511627775", "17@b3f1c9", "1@000001"] {
            let id: ClientId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        let id: ClientId = "17@b3f1c9".parse().unwrap();
        assert_eq!((id.value(), id.tag()), (17, NodeTag::parse("b3f1c9")));
        assert_eq!(ClientId(17).of(id.tag()), id);
        assert_eq!(id.of(NodeTag::parse("000001")), id);
        assert_eq!("17@B3f1C9".parse::<ClientId>().unwrap(), id);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "@",
            "+17",
            "-1",
            "seventeen",
            "1099511627776",
            "17@",
            "@b3f1c9",
            "17@000000",
            "17@B3F1CG",
            "17@b3f1c",
            "17@b3f1c90",
            "17@b3f1c9@b3f1c9",
            "17@é1c9",
        ] {
            let refused = text.parse::<ClientId>().unwrap_err().to_string();
            let begin = format!("{text:?} is not a client's id");
            assert!(refused.starts_with(&begin), "{refused}");
        }
    }
}
