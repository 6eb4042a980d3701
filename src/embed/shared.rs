//! The state that all threads of one server share.

use std::sync::Arc;

use crate::config::Config;
#[cfg(feature = "redis")]
use crate::engine::Engine;
use crate::hub::Inbox;
use crate::hub::Publisher;
use crate::names::ClientId;
use crate::net::{Certificates, Stop};
use crate::stats::Counters;

/// The state that all threads of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) inbox: Inbox,
    pub(crate) publisher: Publisher,
    pub(crate) stop: Stop,
    /// The event before that one: soon the server stops. There if it drains.
    pub(crate) leaving: Option<Stop>,
    /// `None`: all listeners speak plain text.
    pub(crate) certificates: Option<Certificates>,
    pub(crate) counters: Arc<Counters>,
    /// There if the log is that of several nodes.
    #[cfg(feature = "redis")]
    pub(crate) engine: Option<Engine>,
}

impl Shared {
    /// The id of the next client.
    pub(crate) fn next_id(&self) -> ClientId {
        self.full_id(ClientId(self.counters.accepted.next()))
    }

    /// A client's id as the hub knows it: a number alone is of this node.
    pub(crate) fn full_id(&self, client: ClientId) -> ClientId {
        client.of(self.publisher.tag)
    }

    /// Whether the server stops, or soon does.
    pub(crate) fn is_leaving(&self) -> bool {
        let soon = self.leaving.as_ref().is_some_and(Stop::is_triggered);
        soon || self.stop.is_triggered()
    }
}
