//! Who makes a request, and by which listener.

use crate::names::Peer;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The server's own.
    Main,
    /// The operator's, where there is one.
    Admin,
}

/// Who makes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) entrance: Entrance,
    /// Whether it is on the server's own machine.
    pub(crate) is_near: bool,
}
