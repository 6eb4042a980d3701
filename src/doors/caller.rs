//! The caller: the peer of a request, and the listener it came by.

use http::Request;

use crate::names::{ClientId, Peer};

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The server's own, with TLS or beside it without.
    Main,
    /// The operator's, where there is one.
    Admin,
}

/// The peer of a request, and the listener it came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// Which client it would be.
    pub(crate) id: ClientId,
    pub(crate) peer: Peer,
    /// The certificates that it has shown, in DER, its own first.
    pub(crate) certificates: &'a [Vec<u8>],
    pub(crate) entrance: Entrance,
    /// Whether its address is one of the server's own machine.
    pub(crate) has_near_address: bool,
}

/// What a proxy adds to the requests that it passes on.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-real-ip", "cf-connecting-ip"];

impl Caller<'_> {
    /// Whether the request was made on the server's own machine. What a proxy
    /// or a tunnel there passes on was not.
    pub(super) fn is_near(&self, request: &Request<()>) -> bool {
        let is_forwarded = request.headers().keys().any(|name| {
            let name = name.as_str();
            FORWARDED.contains(&name) || name.starts_with("x-forwarded-")
        });
        self.has_near_address && !is_forwarded
    }
}
