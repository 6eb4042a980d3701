//! The one way for messages into the hub.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::command::{Audience, Command, Receipt};
use super::inbox::{Inbox, InboxError};
use super::interest::{Interest, Need};
use super::permit::{NoPermit, Permits};
use crate::wire::Burst;
#[cfg(feature = "deflate")]
use crate::wire::Deflate;
use crate::wire::Forms;
use crate::wire::sse;

/// The one way for messages into the hub; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    inbox: Inbox,
    permits: Permits,
    /// Who needs more than plain frames.
    pub(crate) interest: Arc<Interest>,
    /// There if messages may be compressed.
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<Arc<Deflate>>,
}

impl Publisher {
    pub(crate) fn new(inbox: Inbox) -> Publisher {
        Publisher {
            inbox,
            permits: Permits::new(),
            interest: Arc::new(Interest::new()),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Compresses messages for those who have agreed to it.
    #[cfg(feature = "deflate")]
    pub(crate) fn with_deflate(self, deflate: Option<Deflate>) -> Publisher {
        let deflate = deflate.map(Arc::new);
        Publisher { deflate, ..self }
    }

    /// Publishes messages; waits while too much waits for the hub.
    pub(crate) fn publish(&self, to: Audience, burst: Burst) -> Result<(), InboxError> {
        self.send(to, burst, None)
    }

    /// Publishes messages and waits until they are in the log.
    pub(crate) fn publish_confirmed(
        &self,
        to: Audience,
        burst: Burst,
    ) -> Result<Receipt, InboxError> {
        let (sender, receipt) = bounded(1);
        self.send(to, burst, Some(sender))?;
        self.inbox.gone.or_recv(&receipt).ok_or(InboxError::Gone)
    }

    fn send(
        &self,
        to: Audience,
        burst: Burst,
        receipt: Option<Sender<Receipt>>,
    ) -> Result<(), InboxError> {
        let forms = self.forms(&to, burst);
        // Without the hub no permit comes back, and none is needed.
        let wait = |free: &Receiver<()>| self.inbox.gone.or_recv(free);
        let permit = self.permits.wait_for(&forms, wait);
        self.inbox.send(Command::Publish {
            to,
            forms,
            permit,
            receipt,
        })
    }

    /// Publishes messages unless too much waits for the hub.
    pub(crate) fn try_publish(&self, to: Audience, burst: Burst) -> Result<(), InboxError> {
        let forms = self.forms(&to, burst);
        let permit = self.permits.try_take(&forms);
        let permit = permit.map_err(|NoPermit| InboxError::Full)?;
        self.inbox.try_send(Command::Publish {
            to,
            forms,
            permit,
            receipt: None,
        })
    }

    /// Encodes what the audience needs beside plain frames.
    fn forms(&self, to: &Audience, frames: Burst) -> Forms {
        let is_needed = |need| match to {
            Audience::Room { room, .. } => self.interest.is_in(need, room),
            Audience::Everybody { .. } | Audience::Client(_) | Audience::Clients(_) => {
                self.interest.is_anywhere(need)
            }
        };
        Forms {
            events: is_needed(Need::Events).then(|| sse::encode(&frames)),
            #[cfg(feature = "deflate")]
            deflated: self
                .deflate
                .as_ref()
                .filter(|_| is_needed(Need::Deflated))
                .and_then(|deflate| deflate.compress(&frames)),
            frames,
        }
    }
}
