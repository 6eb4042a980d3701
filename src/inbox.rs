//! The way into the hub: a channel that is bounded in commands and in bytes.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::hub::Command;

/// The most commands that wait for the hub.
const COMMANDS: usize = 1024;
/// Bursts up to this size count as a command only.
const SMALL: usize = 64 * 1024;
/// The most larger bursts that wait: each holds one of so many permits.
const LARGE: usize = 16;

/// The sending side of the hub's inbox; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    commands: Sender<Command>,
    permits: Receiver<()>,
    back: Sender<()>,
}

/// Leave for one large burst to wait in the inbox; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // There are never more permits than places for them.
        let _ = self.0.try_send(());
    }
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InboxError {
    Full,
    Gone,
}

impl Inbox {
    pub(crate) fn new() -> (Inbox, Receiver<Command>) {
        let (commands, receiver) = bounded(COMMANDS);
        let (back, permits) = bounded(LARGE);
        for _ in 0..LARGE {
            drop(Permit(back.clone()));
        }
        let inbox = Inbox {
            commands,
            permits,
            back,
        };
        (inbox, receiver)
    }

    /// Sends a command, waiting while the inbox is full.
    pub(crate) fn send(&self, command: Command) -> Result<(), InboxError> {
        self.commands.send(command).map_err(|_| InboxError::Gone)
    }

    /// Sends a command unless the inbox is full.
    pub(crate) fn try_send(&self, command: Command) -> Result<(), InboxError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => InboxError::Full,
                TrySendError::Disconnected(_) => InboxError::Gone,
            })
    }

    /// The permit that a burst of these bytes needs, if it needs one; waits
    /// until there is one.
    pub(crate) fn permit(&self, bytes: &Bytes) -> Option<Permit> {
        if bytes.len() <= SMALL {
            return None;
        }
        // It cannot fail: this side holds a sender.
        self.permits.recv().ok()?;
        Some(Permit(self.back.clone()))
    }

    /// Like [`permit`](Inbox::permit), without waiting.
    pub(crate) fn try_permit(&self, bytes: &Bytes) -> Result<Option<Permit>, InboxError> {
        if bytes.len() <= SMALL {
            return Ok(None);
        }
        self.permits.try_recv().map_err(|_| InboxError::Full)?;
        Ok(Some(Permit(self.back.clone())))
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }
}
