//! The one way for messages into the hub.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::command::{Act, Audience, Command, Receipt};
#[cfg(feature = "redis")]
use super::committed::{Append, Committed};
use super::inbox::{Inbox, InboxError};
use super::interest::{Interest, Need};
use super::permit::{NoPermit, Permits};
use super::reply::Reply;
use crate::names::{ClientId, NodeTag};
use crate::wire::Burst;
#[cfg(feature = "deflate")]
use crate::wire::Deflate;
use crate::wire::Forms;
use crate::wire::forms::LineForms;
use crate::wire::sse;

/// How long a publisher waits for a message to be in the engine's log.
#[cfg(feature = "redis")]
const CONFIRMATION: std::time::Duration = std::time::Duration::from_secs(5);

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
    /// What tells this node's clients from those of others, if there are any.
    pub(crate) tag: Option<NodeTag>,
    /// There if an engine orders the log.
    #[cfg(feature = "redis")]
    engine: Option<Arc<dyn Append>>,
}

impl Publisher {
    pub(crate) fn new(inbox: Inbox) -> Publisher {
        Publisher {
            inbox,
            permits: Permits::new(),
            interest: Arc::new(Interest::new()),
            #[cfg(feature = "deflate")]
            deflate: None,
            tag: None,
            #[cfg(feature = "redis")]
            engine: None,
        }
    }

    /// Has an engine order what goes into the log.
    #[cfg(feature = "redis")]
    pub(crate) fn with_engine(
        self,
        engine: Option<Arc<dyn Append>>,
        tag: Option<NodeTag>,
    ) -> Publisher {
        Publisher {
            engine,
            tag,
            ..self
        }
    }

    /// Whether a client is one of another node.
    #[cfg(feature = "redis")]
    pub(crate) fn is_elsewhere(&self, client: ClientId) -> bool {
        client.tag() != self.tag
    }

    /// Does something to a client, by way of the log if it is one of another node:
    /// behind everything that this node has accepted before.
    pub(crate) fn act(&self, client: ClientId, act: Act) -> Result<(), InboxError> {
        #[cfg(feature = "redis")]
        if let Some(engine) = self.engine.as_ref().filter(|_| self.is_elsewhere(client)) {
            return engine.act(client, act);
        }
        self.inbox.send(act.command(client))
    }

    /// Gives the hub the next part of the log, from the engine.
    #[cfg(feature = "redis")]
    pub(crate) fn commit(&self, mut committed: Committed) -> Result<(), InboxError> {
        for placed in &mut committed.placed {
            let frames = std::mem::take(&mut placed.forms.frames);
            placed.forms = self.forms(None, &placed.to, frames);
        }
        let wait = |free: &Receiver<()>| self.inbox.gone.or_recv(free);
        committed.permit = self.permits.wait_for(committed.len(), wait);
        self.inbox.send(Command::Commit(committed))
    }

    /// The same, and waits until the hub has taken it. Returns how many members
    /// have left with each node that is gone.
    #[cfg(feature = "redis")]
    pub(crate) fn commit_departures(
        &self,
        mut committed: Committed,
    ) -> Result<Vec<(NodeTag, usize)>, InboxError> {
        let (reply, departures) = Reply::pair();
        committed.departures = Some(reply);
        self.commit(committed)?;
        let departures = self.inbox.gone.or_answer(&departures);
        departures.ok_or(InboxError::Gone)
    }

    /// Has the hub tell the other nodes who is in its rooms; fails if its inbox
    /// is full.
    #[cfg(feature = "redis")]
    pub(crate) fn ask_who_is_here(&self) -> Result<(), InboxError> {
        self.inbox.try_send(Command::Announce)
    }

    /// Compresses messages for those who have agreed to it.
    #[cfg(feature = "deflate")]
    pub(crate) fn with_deflate(self, deflate: Option<Deflate>) -> Publisher {
        let deflate = deflate.map(Arc::new);
        Publisher { deflate, ..self }
    }

    /// Publishes messages; waits while too much waits for the hub.
    pub(crate) fn publish(&self, to: Audience, burst: Burst) -> Result<(), InboxError> {
        self.send(None, to, burst, None)
    }

    /// Publishes messages that a client has sent.
    pub(crate) fn publish_from(
        &self,
        from: ClientId,
        to: Audience,
        burst: Burst,
    ) -> Result<(), InboxError> {
        self.send(Some(from), to, burst, None)
    }

    /// Publishes messages and waits until they are in the log.
    pub(crate) fn publish_confirmed(
        &self,
        to: Audience,
        burst: Burst,
    ) -> Result<Receipt, InboxError> {
        let (reply, receipt) = Reply::pair();
        self.send(None, to, burst, Some(reply))?;
        #[cfg(feature = "redis")]
        if self.engine.is_some() {
            return self.inbox.gone.or_answer_within(&receipt, CONFIRMATION);
        }
        self.inbox.gone.or_answer(&receipt).ok_or(InboxError::Gone)
    }

    fn send(
        &self,
        from: Option<ClientId>,
        to: Audience,
        burst: Burst,
        receipt: Option<Reply<Receipt>>,
    ) -> Result<(), InboxError> {
        #[cfg(feature = "redis")]
        if let Some(engine) = self.engine.as_ref().filter(|_| self.is_for_the_engine(&to)) {
            return engine.append(to, burst, receipt, true);
        }
        let forms = self.forms(from, &to, burst);
        // Without the hub no permit comes back, and none is needed.
        let wait = |free: &Receiver<()>| self.inbox.gone.or_recv(free);
        let permit = self.permits.wait_for(forms.len(), wait);
        self.inbox.send(Command::Publish {
            to,
            forms,
            permit,
            receipt,
        })
    }

    /// Whether other nodes get these messages.
    #[cfg(feature = "redis")]
    fn is_for_the_engine(&self, to: &Audience) -> bool {
        match to {
            Audience::Client(client) => self.is_elsewhere(*client),
            to => to.is_in_the_log(),
        }
    }

    /// Publishes messages unless too much waits for the hub.
    pub(crate) fn try_publish(&self, to: Audience, burst: Burst) -> Result<(), InboxError> {
        #[cfg(feature = "redis")]
        if let Some(engine) = self.engine.as_ref().filter(|_| to.is_in_the_log()) {
            return engine.append(to, burst, None, false);
        }
        let forms = self.forms(None, &to, burst);
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
    fn forms(&self, from: Option<ClientId>, to: &Audience, frames: Burst) -> Forms {
        let is_needed = |need| match to {
            Audience::Room { room, .. } => self.interest.is_in(need, room),
            Audience::Everybody { .. } | Audience::Client(_) | Audience::Clients(_) => {
                self.interest.is_anywhere(need)
            }
        };
        Forms {
            events: is_needed(Need::Events).then(|| sse::encode(&frames)),
            lines: LineForms::encode(
                &frames,
                is_needed(Need::Lines),
                is_needed(Need::JsonLines),
                from,
            ),
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
