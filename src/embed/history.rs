//! The methods of a handle that are about what rooms remember.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::handle::Handle;
use super::subscription::Subscription;
use crate::error::{SendError, Stopped};
#[cfg(feature = "redis")]
use crate::hub::Attendees;
use crate::hub::info::{Recalled, Recollection};
use crate::hub::{Audience, Command};
use crate::hub::{Departed, Here};
use crate::message::Message;
use crate::names::room_name;
use crate::position::Position;
use crate::since::Since;
use crate::wire::burst::{self, parts};

/// What a room remembers; from [`Handle::history`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct History {
    /// The messages that were asked for, the oldest first.
    pub messages: Vec<PastMessage>,
    /// Whether nothing is missing of what was asked for. Where something is,
    /// the room has forgotten it, or the position is not of this server's
    /// log.
    pub complete: bool,
    /// Behind everything that was said so far: ask from here on next time.
    pub position: Position,
}

/// A message that a room remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastMessage {
    /// The message, as clients received it.
    pub message: Message,
    /// Where it stands in the log.
    pub position: Position,
    /// When it was published.
    pub at: SystemTime,
}

impl Handle {
    /// Sends a message to every client of a room, and waits until it has its
    /// place in the log, which it returns.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let first = handle.broadcast_confirmed("/lobby", "hello")?;
    /// let second = handle.broadcast_confirmed("/cellar", "hello")?;
    /// assert_ne!(first, second);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast_confirmed(
        &self,
        room: &str,
        message: impl Into<Message>,
    ) -> Result<Position, SendError> {
        let (position, _) = self.publish_counted(room, message.into())?;
        Ok(position)
    }

    /// Publishes a message in a room; returns its position, and how many
    /// clients are there to get it.
    pub(super) fn publish_counted(
        &self,
        room: &str,
        message: Message,
    ) -> Result<(Position, usize), SendError> {
        if let Err(reason) = self.check(&message) {
            return Err(SendError::new(message, reason));
        }
        let room = room_name(room);
        let to = Audience::Room { room, except: None };
        let burst = burst::single(&message, self.shared.config.append_newline);
        match self.shared.publisher.publish_confirmed(to, burst) {
            Ok(receipt) => Ok((receipt.position, receipt.clients)),
            Err(error) => Err(SendError::new(message, error.into())),
        }
    }

    /// What a room remembers, from a point on; a [`Position`] is one. A room
    /// remembers as much as [`Config::history`](crate::Config::history) and
    /// its bounds say. Waits for the hub to answer, behind everything that
    /// was sent before.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// use hubcast::{Server, Since};
    ///
    /// let running = Server::builder()
    ///     .configure(|config| config.history = 100)
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    /// let handle = running.handle();
    /// let first = handle.broadcast_confirmed("/lobby", "first")?;
    /// handle.broadcast("/lobby", "second")?;
    ///
    /// let last = handle.history("/lobby", Since::Last(10))?;
    /// assert_eq!(last.messages.len(), 2);
    /// let missed = handle.history("/lobby", first)?;
    /// assert!(missed.complete);
    /// assert_eq!(missed.messages[0].message.as_text(), Some("second"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(&self, room: &str, since: impl Into<Since>) -> Result<History, Stopped> {
        let recollection = self.recall(room, Some(since.into()))?;
        Ok(History {
            messages: recollection
                .messages
                .iter()
                .map(PastMessage::from)
                .collect(),
            complete: recollection.is_complete,
            position: recollection.position,
        })
    }

    /// What a room remembers, and how many clients it has.
    pub(crate) fn recall(&self, room: &str, since: Option<Since>) -> Result<Recollection, Stopped> {
        let room = room_name(room);
        self.query(|reply| Command::Recall { room, since, reply })
    }

    /// The clients that have left, the last one first.
    pub(crate) fn departures(&self) -> Result<Vec<Arc<Departed>>, Stopped> {
        self.query(|reply| Command::Departures { reply })
    }

    /// Who is in all rooms that show it, on all nodes.
    #[cfg(feature = "redis")]
    pub(crate) fn everyone(&self) -> Result<Vec<Attendees>, Stopped> {
        self.query(|reply| Command::Everyone { reply })
    }

    /// Who is in a room, as it is shown.
    pub(crate) fn here(&self, room: &str) -> Result<Here, Stopped> {
        let room = room_name(room);
        self.query(|reply| Command::Here { room, reply })
    }

    /// Like [`subscribe`](Handle::subscribe), and begins with what the room
    /// remembers from a point on. Nothing falls between that and what is said
    /// later, and nothing comes twice. Waits for the hub to answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// use hubcast::{Message, Server};
    ///
    /// let running = Server::builder()
    ///     .configure(|config| config.history = 100)
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    /// let handle = running.handle();
    /// let position = handle.broadcast_confirmed("/lobby", "first")?;
    /// handle.broadcast("/lobby", "second")?;
    ///
    /// let mut lobby = handle.subscribe_since("/lobby", position)?;
    /// assert!(lobby.is_complete());
    /// handle.broadcast("/lobby", "third")?;
    /// assert_eq!(lobby.next(), Some(Message::from("second")));
    /// assert_eq!(lobby.next(), Some(Message::from("third")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_since(
        &self,
        room: &str,
        since: impl Into<Since>,
    ) -> Result<Subscription, Stopped> {
        let (mut subscription, tap) = Subscription::new(self.shared.inbox.gone.clone());
        let (room, since) = (room_name(room), since.into());
        let start = self.query(|reply| Command::TapSince {
            room,
            tap,
            since,
            reply,
        })?;
        subscription.begin(start.position, start.is_complete);
        Ok(subscription)
    }
}

impl From<&Recalled> for PastMessage {
    fn from(recalled: &Recalled) -> PastMessage {
        let (is_text, payload) = parts(&recalled.frame);
        PastMessage {
            message: Message::of_payload(is_text, payload),
            position: recalled.position,
            at: UNIX_EPOCH + Duration::from_millis(recalled.at.0),
        }
    }
}
