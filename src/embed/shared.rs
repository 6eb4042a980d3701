//! The state that all threads of one server share.

use std::sync::Arc;

use crate::config::Config;
#[cfg(feature = "redis")]
use crate::engine::Engine;
use crate::hub::Inbox;
use crate::hub::Publisher;
use crate::net::{Certificates, Stop};
use crate::stats::Counters;

/// The state that all threads of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) inbox: Inbox,
    pub(crate) publisher: Publisher,
    pub(crate) stop: Stop,
    /// `None`: all listeners speak plain text.
    pub(crate) certificates: Option<Certificates>,
    pub(crate) counters: Arc<Counters>,
    /// There if the log is that of several nodes.
    #[cfg(feature = "redis")]
    pub(crate) engine: Option<Engine>,
}
