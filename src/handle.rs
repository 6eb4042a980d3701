//! The handle: what a program asks of a running server, from any thread.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use crate::client::{Client, ClientId, ClientInfo, RoomInfo};
use crate::close::{Cause, CloseCode, CloseFrame};
use crate::error::{SendError, SendErrorReason, Stopped};
use crate::frame;
use crate::hub::{Audience, Command};
use crate::inbox::InboxError;
use crate::message::Message;
use crate::server::Shared;
use crate::stats::Stats;
use crate::subscription::Subscription;

/// What a program asks of a running server.
///
/// # What `Ok` means
///
/// The hub has taken the message into its inbox. It is given to everybody
/// who is in the room when its turn comes, in the order in which the hub took
/// the messages, at most once; a slow consumer may lose it as
/// [`Config::slow_consumer`](crate::Config::slow_consumer) says. A room is
/// named by the path of its URL; the leading slash may be left out.
///
/// # Threads and cloning
///
/// Cheap to clone and usable from any thread, the threads that run hooks
/// included. Sending waits while the hub's inbox is full, which is short: the
/// hub never waits for a client. Only [`try_broadcast`](Handle::try_broadcast)
/// never waits.
///
/// ```
/// use hubcast::Server;
///
/// let running = Server::bind("127.0.0.1:0")?.spawn()?;
/// let handle = running.handle();
/// handle.broadcast("/lobby", "hello")?;
/// assert!(handle.clients()?.is_empty());
/// running.shutdown()?;
/// assert!(handle.broadcast("/lobby", "too late").unwrap_err().is_stopped());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Sends a message to every client of a room.
    ///
    /// # Errors
    ///
    /// The server is stopping, or the message is too large; the error hands
    /// the message back.
    pub fn broadcast(&self, room: &str, message: impl Into<Message>) -> Result<(), SendError> {
        let room = room_name(room);
        self.publish(Audience::Room { room, except: None }, message.into())
    }

    /// Like [`broadcast`](Handle::broadcast), but fails where that waits.
    ///
    /// # Errors
    ///
    /// The inbox is full, the server is stopping, or the message is too
    /// large.
    pub fn try_broadcast(&self, room: &str, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        let room = room_name(room);
        match self.try_publish(Audience::Room { room, except: None }, &message) {
            Ok(()) => Ok(()),
            Err(reason) => Err(SendError::new(message, reason)),
        }
    }

    /// Sends a message to every client of a room but one.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    pub fn broadcast_except(
        &self,
        room: &str,
        except: ClientId,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let to = Audience::Room {
            room: room_name(room),
            except: Some(except),
        };
        self.publish(to, message.into())
    }

    /// Sends a message to the clients of a room for whom `filter` is true.
    ///
    /// The filter runs here, on the calling thread, over those who are in
    /// the room now.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    pub fn broadcast_where(
        &self,
        room: &str,
        mut filter: impl FnMut(&Client) -> bool,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let message = message.into();
        let Ok(members) = self.members(room) else {
            return Err(SendError::new(message, SendErrorReason::Stopped));
        };
        let chosen = members.into_iter().filter(|client| filter(client));
        let to = Audience::Clients(chosen.map(|client| client.id()).collect());
        self.publish(to, message)
    }

    /// Sends a message to every client of every room.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    pub fn broadcast_all(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.publish(Audience::Everybody { except: None }, message.into())
    }

    /// Sends a message to every client of every room but one.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    pub fn broadcast_all_except(
        &self,
        except: ClientId,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let except = Some(except);
        self.publish(Audience::Everybody { except }, message.into())
    }

    /// Sends a message to one client. Nothing happens if it has left.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    pub fn send(&self, client: ClientId, message: impl Into<Message>) -> Result<(), SendError> {
        self.publish(Audience::Client(client), message.into())
    }

    /// Closes one client's connection in order: what was sent to it goes out
    /// first. A reason longer than [`MAX_REASON`](crate::MAX_REASON) bytes is
    /// cut. Nothing happens if the client has left.
    ///
    /// # Errors
    ///
    /// The server is stopping, so the client is closed anyway.
    pub fn disconnect(
        &self,
        client: ClientId,
        code: CloseCode,
        reason: impl Into<String>,
    ) -> Result<(), Stopped> {
        self.ask(Command::Close {
            id: client,
            frame: CloseFrame::new(code, reason),
            cause: Cause::Disconnected,
            finish: false,
        })
    }

    /// Puts a client into one more room; it receives what is sent there, and
    /// what it sends still goes to the room it came in by.
    ///
    /// # Errors
    ///
    /// The server is stopping.
    pub fn add_to_room(&self, client: ClientId, room: &str) -> Result<(), Stopped> {
        self.ask(Command::Enter {
            id: client,
            room: room_name(room),
        })
    }

    /// Takes a client out of a room. It stays connected, even in no room.
    ///
    /// # Errors
    ///
    /// The server is stopping.
    pub fn remove_from_room(&self, client: ClientId, room: &str) -> Result<(), Stopped> {
        self.ask(Command::Exit {
            id: client,
            room: room_name(room),
        })
    }

    /// Lists the clients. Waits for the hub to answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    pub fn clients(&self) -> Result<Vec<ClientInfo>, Stopped> {
        self.query(|reply| Command::Clients { room: None, reply })
    }

    /// Lists the clients of a room. Waits for the hub to answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    pub fn clients_in(&self, room: &str) -> Result<Vec<ClientInfo>, Stopped> {
        let room = Some(room_name(room));
        self.query(|reply| Command::Clients { room, reply })
    }

    /// The clients of a room, to look at what is attached to them. Waits for
    /// the hub to answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    pub fn members(&self, room: &str) -> Result<Vec<Client>, Stopped> {
        let room = room_name(room);
        let states = self.query(|reply| Command::Members { room, reply })?;
        let client = |state| Client {
            state,
            handle: self.clone(),
        };
        Ok(states.into_iter().map(client).collect())
    }

    /// Lists the rooms, each with at least one client. Waits for the hub to
    /// answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    pub fn rooms(&self) -> Result<Vec<RoomInfo>, Stopped> {
        self.query(|reply| Command::Rooms { reply })
    }

    /// Listens to a room: the subscription gives every message that the room
    /// receives from here on, whoever sends it.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// use hubcast::{Message, Server};
    ///
    /// let running = Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let mut lobby = handle.subscribe("/lobby")?;
    /// handle.broadcast("/lobby", "hello")?;
    /// assert_eq!(lobby.next(), Some(Message::from("hello")));
    /// running.shutdown()?;
    /// assert_eq!(lobby.next(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self, room: &str) -> Result<Subscription, Stopped> {
        let (subscription, tap) = Subscription::new();
        let room = room_name(room);
        self.ask(Command::Tap { room, tap })?;
        Ok(subscription)
    }

    /// How many clients a room has, behind everything sent so far. Waits for
    /// the hub to answer.
    pub(crate) fn count(&self, room: &str) -> Result<usize, Stopped> {
        let room = room_name(room);
        self.query(|reply| Command::Count { room, reply })
    }

    /// A snapshot of the server's counters. Does not wait.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// Begins the orderly end of the server and returns at once: no new
    /// connections, every client its queued messages and a Close with 1001.
    /// To wait for the end, [`Running::shutdown`](crate::Running::shutdown).
    pub fn shutdown(&self) {
        self.shared.stop.trigger();
    }

    fn publish(&self, to: Audience, message: Message) -> Result<(), SendError> {
        if let Err(reason) = self.check(&message) {
            return Err(SendError::new(message, reason));
        }
        let burst = frame::single(&message, self.shared.config.append_newline);
        let command = Command::Publish {
            to,
            permit: self.shared.inbox.permit(&burst.bytes),
            burst,
        };
        match self.shared.inbox.send(command) {
            Ok(()) => Ok(()),
            Err(_) => Err(SendError::new(message, SendErrorReason::Stopped)),
        }
    }

    fn try_publish(&self, to: Audience, message: &Message) -> Result<(), SendErrorReason> {
        self.check(message)?;
        let inbox = &self.shared.inbox;
        let burst = frame::single(message, self.shared.config.append_newline);
        let permit = inbox.try_permit(&burst.bytes)?;
        Ok(inbox.try_send(Command::Publish { to, burst, permit })?)
    }

    fn check(&self, message: &Message) -> Result<(), SendErrorReason> {
        if self.shared.stop.is_triggered() {
            Err(SendErrorReason::Stopped)
        } else if message.len() > self.shared.config.max_message_size {
            Err(SendErrorReason::TooLarge)
        } else {
            Ok(())
        }
    }

    fn ask(&self, command: Command) -> Result<(), Stopped> {
        self.shared.inbox.send(command).map_err(|_| Stopped)
    }

    fn query<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = bounded(1);
        self.ask(command(reply))?;
        // The hub answers, or its end drops the other side.
        answer.recv().map_err(|_| Stopped)
    }
}

impl From<InboxError> for SendErrorReason {
    fn from(error: InboxError) -> SendErrorReason {
        match error {
            InboxError::Full => SendErrorReason::Full,
            InboxError::Gone => SendErrorReason::Stopped,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The room of that name; a leading slash is added where it is missing.
pub(crate) fn room_name(name: &str) -> Arc<str> {
    if name.starts_with('/') {
        name.into()
    } else {
        format!("/{name}").into()
    }
}
