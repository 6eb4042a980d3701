//! What every connection needs to be served.

use std::fmt;
use std::sync::Arc;

use crate::doors::Doors;
use crate::embed::Handle;
use crate::embed::Handler;
use crate::embed::Shared;
use crate::outbox::OutboxRules;

/// What every connection needs to be served; all share it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) doors: Doors,
    /// `None`: a plain relay, which needs no call.
    pub(crate) hooks: Option<Arc<dyn Handler>>,
    pub(crate) outboxes: Arc<OutboxRules>,
}

impl Service {
    pub(crate) fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Handler")
    }
}
