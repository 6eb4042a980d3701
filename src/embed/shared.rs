//! What every thread of one server may use.

use std::sync::Arc;

use crate::config::Config;
use crate::hub::inbox::Inbox;
use crate::hub::publisher::Publisher;
use crate::net::stop::Stop;
use crate::stats::Counters;

/// What every thread of one server may use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) inbox: Inbox,
    pub(crate) publisher: Publisher,
    pub(crate) stop: Stop,
    pub(crate) counters: Arc<Counters>,
}
