//! The caller: the peer of a request, and the listener it came by.

use crate::names::Peer;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The server's own.
    Main,
    /// The operator's, where there is one.
    Admin,
}

/// The peer of a request, and the listener it came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) entrance: Entrance,
    /// Whether it is on the server's own machine.
    pub(crate) is_near: bool,
}
