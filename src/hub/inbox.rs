//! The way into the hub: a channel that is bounded in commands and in bytes.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use super::command::Command;
use super::reply::Answer;

/// The most commands that wait for the hub.
const COMMANDS: usize = 1024;
/// The sending side of the hub's inbox; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    commands: Sender<Command>,
    pub(crate) gone: Gone,
}

/// The hub's side of its inbox.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(crate) receiver: Receiver<Command>,
    /// Dropped when the hub ends, which wakes everybody who waits for it.
    _alive: Sender<()>,
}

/// Signals that the hub has ended. Commands left in its inbox are never
/// answered, so a caller waits for the answer and for this signal at once.
#[derive(Clone, Debug)]
pub(crate) struct Gone(Receiver<()>);

impl Gone {
    /// Receives from a channel that the hub sends on; `None` when the hub has
    /// ended and the channel is empty.
    pub(crate) fn or_recv<T>(&self, channel: &Receiver<T>) -> Option<T> {
        select! {
            recv(channel) -> value => value.ok(),
            // An answer that was sent before the end is still taken.
            recv(self.0) -> _ => channel.try_recv().ok(),
        }
    }

    /// Waits for the hub's answer; `None` when the hub has ended without it.
    pub(crate) fn or_answer<T>(&self, answer: &Answer<T>) -> Option<T> {
        self.or_recv(&answer.done);
        answer.take()
    }
}

#[cfg(feature = "redis")]
impl Gone {
    /// The same within a time.
    pub(super) fn or_answer_within<T>(
        &self,
        answer: &Answer<T>,
        time: std::time::Duration,
    ) -> Result<T, InboxError> {
        select! {
            recv(answer.done) -> _ => (),
            recv(self.0) -> _ => (),
            default(time) => return Err(InboxError::Late),
        }
        answer.take().ok_or(InboxError::Gone)
    }
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InboxError {
    Full,
    /// It was taken, and its answer is not there in time.
    #[cfg(feature = "redis")]
    Late,
    Gone,
}

impl Inbox {
    pub(crate) fn new() -> (Inbox, Commands) {
        let (commands, receiver) = bounded(COMMANDS);
        let (alive, gone) = bounded(0);
        let inbox = Inbox {
            commands,
            gone: Gone(gone),
        };
        let commands = Commands {
            receiver,
            _alive: alive,
        };
        (inbox, commands)
    }

    /// Sends a command, waiting while the inbox is full.
    pub(crate) fn send(&self, command: Command) -> Result<(), InboxError> {
        self.commands.send(command).map_err(|_| InboxError::Gone)
    }

    /// Sends a command unless the inbox is full.
    pub(super) fn try_send(&self, command: Command) -> Result<(), InboxError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => InboxError::Full,
                TrySendError::Disconnected(_) => InboxError::Gone,
            })
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }
}
