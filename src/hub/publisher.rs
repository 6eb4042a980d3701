//! The one way for messages into the hub.

use super::command::{Audience, Command};
use super::inbox::{Inbox, InboxError};
use super::permit::Permits;
use crate::wire::burst::Burst;

/// The one way for messages into the hub; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    inbox: Inbox,
    permits: Permits,
}

impl Publisher {
    pub(crate) fn new(inbox: Inbox) -> Publisher {
        Publisher {
            inbox,
            permits: Permits::new(),
        }
    }

    /// Publishes a burst; waits while too much waits for the hub.
    pub(crate) fn publish(&self, to: Audience, burst: Burst) -> Result<(), InboxError> {
        let permit = self.permits.wait_for(&burst.bytes, &self.inbox.gone);
        self.inbox.send(Command::Publish { to, burst, permit })
    }

    /// Publishes a burst unless too much waits for the hub.
    pub(crate) fn try_publish(&self, to: Audience, burst: Burst) -> Result<(), InboxError> {
        let permit = self.permits.try_take(&burst.bytes)?;
        self.inbox.try_send(Command::Publish { to, burst, permit })
    }
}
