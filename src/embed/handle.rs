//! The handle: your program's access to a running server, from any thread.

use std::fmt;
use std::sync::Arc;

use crate::close::{CloseCode, CloseFrame};
use crate::embed::shared::Shared;
use crate::embed::subscription::Subscription;
#[cfg(feature = "tls")]
use crate::error::Error;
use crate::error::{SendError, SendErrorReason, Stopped};
use crate::hub::InboxError;
use crate::hub::{Act, Audience, Command, Receipt};
use crate::hub::{ClientInfo, Reply, RoomInfo};
use crate::message::Message;
use crate::names::ClientId;
use crate::names::room_name;
use crate::stats::Stats;
use crate::wire::{Burst, burst};

/// Your program's access to a running server; from
/// [`Running::handle`](crate::Running::handle),
/// [`Server::handle`](crate::Server::handle) or
/// [`Client::handle`](crate::Client::handle).
///
/// # What `Ok` means
///
/// The message was accepted: it waits in the hub's inbox. When its turn comes,
/// each client of the room receives it, at most once, in the order in which
/// messages were accepted. A room without clients is no error. A slow consumer
/// may lose a message as
/// [`Config::slow_consumer`](crate::Config::slow_consumer) says, and what was
/// accepted before an abort may not go out.
///
/// # Rooms
///
/// A room is named by the path of its URL; the leading slash may be left
/// out, so `"lobby"` is `"/lobby"`. A room exists while a client is in it.
///
/// # Threads and cloning
///
/// Cheap to clone and usable from any thread, the threads that run hooks
/// included. A handle does not keep the server alive.
///
/// Methods that send wait while the hub's inbox is full. That is short, because
/// the hub never waits for a client. Methods that ask wait for the hub's
/// answer. [`try_broadcast`](Handle::try_broadcast), [`stats`](Handle::stats)
/// and [`shutdown`](Handle::shutdown) never wait.
///
/// # Several nodes
///
/// Where an engine makes several servers one, messages to rooms reach the clients
/// of all of them. [`send`](Handle::send), [`disconnect`](Handle::disconnect),
/// [`enter_room`](Handle::enter_room) and [`exit_room`](Handle::exit_room) work
/// for a client of any node, by its full id. They reach one of another node
/// through the log, behind everything that this node has accepted before, if
/// that node lives. While the engine is away, that takes until it is back; if
/// too much waits for it, a client of another node is left as it is, which the
/// log says. Lists, counts and filters are of this node's clients.
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
    /// Sends a message to every client of a room. Waits while the inbox is
    /// full.
    ///
    /// # Errors
    ///
    /// The server is stopping or gone, or the message is larger than
    /// [`Config::max_message_size`](crate::Config::max_message_size). The
    /// error hands the message back.
    ///
    /// ```
    /// use hubcast::{Message, Server};
    ///
    /// let running = Server::builder()
    ///     .configure(|config| config.max_message_size = 5)
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    /// let handle = running.handle();
    /// handle.broadcast("/lobby", "small")?;
    /// let error = handle.broadcast("/lobby", "too large").unwrap_err();
    /// assert!(error.is_too_large());
    /// assert_eq!(error.into_message(), Message::from("too large"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast(&self, room: &str, message: impl Into<Message>) -> Result<(), SendError> {
        let room = room_name(room);
        self.publish(Audience::Room { room, except: None }, message.into())
    }

    /// Like [`broadcast`](Handle::broadcast), but nobody gets the message
    /// compressed; see [`Config::deflate`](crate::Config::deflate).
    ///
    /// For a message that holds a secret beside text that somebody else has
    /// chosen: its compressed length would tell how alike the two are. It holds
    /// on all nodes that share an engine.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    #[cfg(feature = "deflate")]
    pub fn broadcast_uncompressed(
        &self,
        room: &str,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let (room, except) = (room_name(room), None);
        self.publish_as(Audience::Room { room, except }, message.into(), |burst| {
            burst.uncompressed()
        })
    }

    /// Like [`broadcast`](Handle::broadcast), but fails instead of waiting.
    ///
    /// # Errors
    ///
    /// The inbox is full, the server is stopping or gone, or the message is
    /// too large.
    ///
    /// ```
    /// // The server does not run yet, so its inbox fills up.
    /// let server = hubcast::Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// let error = loop {
    ///     if let Err(error) = handle.try_broadcast("/", "tick") {
    ///         break error;
    ///     }
    /// };
    /// assert!(error.is_full());
    /// # Ok::<(), hubcast::Error>(())
    /// ```
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
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_join(|client| {
    ///         let hello = format!("{} is here too", client.id());
    ///         let _ = client
    ///             .handle()
    ///             .broadcast_except(client.room(), client.id(), hello);
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut ann, _) = tungstenite::connect(&url)?;
    /// let (_bob, _) = tungstenite::connect(&url)?;
    /// assert_eq!(ann.read()?.to_text()?, "2 is here too");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast_except(
        &self,
        room: &str,
        except: ClientId,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let to = Audience::Room {
            room: room_name(room),
            except: Some(self.shared.full_id(except)),
        };
        self.publish(to, message.into())
    }

    /// Sends a message to every client of every room, once to each.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let url = format!("ws://{}", running.local_addr());
    /// let (mut lobby, _) = tungstenite::connect(format!("{url}/lobby"))?;
    /// let (mut cellar, _) = tungstenite::connect(format!("{url}/cellar"))?;
    /// running.handle().broadcast_all("a restart at noon")?;
    /// assert_eq!(lobby.read()?, cellar.read()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let except = Some(self.shared.full_id(except));
        self.publish(Audience::Everybody { except }, message.into())
    }

    /// Sends a message to one client. Nothing happens if it has left. The
    /// client receives it after everything that was accepted for it before, in
    /// any room.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Handle::broadcast).
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// handle.broadcast("/", "first")?;
    /// for info in handle.clients()? {
    ///     handle.send(info.id, "second")?;
    /// }
    /// assert_eq!(client.read()?.to_text()?, "first");
    /// assert_eq!(client.read()?.to_text()?, "second");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&self, client: ClientId, message: impl Into<Message>) -> Result<(), SendError> {
        let client = self.shared.full_id(client);
        self.publish(Audience::Client(client), message.into())
    }

    /// Closes one client's connection in order. What was sent to it goes out
    /// first, then the Close frame, and the peer's Close is waited for, for at
    /// most [`Config::close_timeout`](crate::Config::close_timeout). The call
    /// itself does not wait for any of it. A reason longer than
    /// [`MAX_REASON`](crate::MAX_REASON) bytes is cut. Nothing happens if the
    /// client has left.
    ///
    /// # Errors
    ///
    /// The server has stopped, so the client is gone anyway.
    ///
    /// ```
    /// use hubcast::CloseCode;
    ///
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// for info in handle.clients()? {
    ///     handle.disconnect(info.id, CloseCode::POLICY_VIOLATION, "too loud")?;
    /// }
    /// let tungstenite::Message::Close(Some(frame)) = client.read()? else {
    ///     panic!("expected a Close frame");
    /// };
    /// assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "too loud"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn disconnect(
        &self,
        client: ClientId,
        code: CloseCode,
        reason: impl Into<String>,
    ) -> Result<(), Stopped> {
        self.act(client, Act::Close(CloseFrame::new(code, reason)))
    }

    /// Puts a client into one more room, whose messages it then receives. Its
    /// own messages still go to the room it came in by. Nothing happens if it
    /// is in that room already, or has left.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let url = format!("ws://{}/lobby", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// let id = handle.clients()?[0].id;
    ///
    /// handle.enter_room(id, "/cellar")?;
    /// handle.broadcast("/cellar", "who is down there?")?;
    /// assert_eq!(client.read()?.to_text()?, "who is down there?");
    ///
    /// handle.exit_room(id, "/lobby")?;
    /// assert_eq!(handle.clients()?[0].rooms, ["/cellar"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enter_room(&self, client: ClientId, room: &str) -> Result<(), Stopped> {
        self.act(client, Act::Enter(room_name(room)))
    }

    /// Takes a client out of a room; see [`enter_room`](Handle::enter_room).
    /// It stays connected, even in no room. Nothing happens if it is not in
    /// that room, or has left.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    pub fn exit_room(&self, client: ClientId, room: &str) -> Result<(), Stopped> {
        self.act(client, Act::Exit(room_name(room)))
    }

    /// Lists what is known about every client, in no particular order. Waits
    /// for the hub to answer, behind everything that was sent before. Clients
    /// whose Close is under way are not among them.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let url = format!("ws://{}/lobby", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// handle.broadcast("/lobby", "hello")?;
    ///
    /// let clients = handle.clients()?;
    /// assert_eq!(clients.len(), 1);
    /// assert_eq!(clients[0].rooms, ["/lobby"]);
    /// assert!(clients[0].peer.ip().is_some_and(|ip| ip.is_loopback()));
    /// # drop(client);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clients(&self) -> Result<Vec<ClientInfo>, Stopped> {
        self.query(|reply| Command::Clients { room: None, reply })
    }

    /// Lists what is known about the clients of a room; see
    /// [`clients`](Handle::clients).
    ///
    /// # Errors
    ///
    /// The server has stopped.
    pub fn clients_in(&self, room: &str) -> Result<Vec<ClientInfo>, Stopped> {
        let room = Some(room_name(room));
        self.query(|reply| Command::Clients { room, reply })
    }

    /// Lists the rooms, in no particular order; of all nodes, where an engine
    /// makes several servers one and presence is on. Waits for the hub to
    /// answer.
    ///
    /// # Errors
    ///
    /// The server has stopped.
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// assert!(handle.rooms()?.is_empty());
    ///
    /// let url = format!("ws://{}/caf%C3%A9", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// let rooms = handle.rooms()?;
    /// assert_eq!((rooms[0].name.as_str(), rooms[0].clients), ("/café", 1));
    /// # drop(client);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rooms(&self) -> Result<Vec<RoomInfo>, Stopped> {
        self.query(|reply| Command::Rooms { reply })
    }

    /// Listens to a room: the subscription gives every message that the room
    /// receives from here on, from any sender. The room need not have a client
    /// yet. The call waits while the inbox is full.
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
        let (subscription, tap) = Subscription::new(self.shared.inbox.gone.clone());
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

    /// A snapshot of the server's counters. Never waits, and works after the
    /// server's end.
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let handle = running.handle();
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// client.send("hello".into())?;
    /// client.read()?;
    /// let stats = handle.stats();
    /// assert_eq!((stats.joins, stats.received_messages), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// Begins the orderly end of the server and returns at once. No new
    /// connections are accepted; every client gets its queued messages and a
    /// Close with 1001, or one after the other as
    /// [`Config::drain`](crate::Config::drain) says. What is left after
    /// [`Config::shutdown_timeout`](crate::Config::shutdown_timeout) is
    /// aborted. To wait for the end as well, use
    /// [`Running::shutdown`](crate::Running::shutdown). A second call does
    /// nothing.
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// running.handle().shutdown();
    /// let tungstenite::Message::Close(Some(frame)) = client.read()? else {
    ///     panic!("expected a Close frame");
    /// };
    /// assert_eq!(u16::from(frame.code), 1001);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self) {
        let leaving = self.shared.leaving.as_ref();
        leaving.unwrap_or(&self.shared.stop).trigger();
    }

    /// Reads the certificate's files again, now. That happens by itself, too:
    /// within a second of a change, with the next handshake. Clients that are
    /// connected keep their connection; new ones get the new certificate.
    /// Without TLS, and with [`Tls::from_rustls`](crate::Tls::from_rustls),
    /// there is nothing to read.
    ///
    /// # Errors
    ///
    /// What is wrong with the files
    /// ([`ErrorKind::Config`](crate::ErrorKind::Config)). The certificate
    /// before stays in use.
    #[cfg(feature = "tls")]
    pub fn reload_tls(&self) -> Result<(), Error> {
        match &self.shared.certificates {
            Some(certificates) => certificates.reload(),
            None => Ok(()),
        }
    }

    pub(crate) fn publish(&self, to: Audience, message: Message) -> Result<(), SendError> {
        self.publish_as(to, message, |burst| burst)
    }

    fn publish_as(
        &self,
        to: Audience,
        message: Message,
        change: impl FnOnce(Burst) -> Burst,
    ) -> Result<(), SendError> {
        if let Err(reason) = self.check(&message) {
            return Err(SendError::new(message, reason));
        }
        let burst = burst::single(&message, self.shared.config.append_newline);
        match self.shared.publisher.publish(to, change(burst)) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError::new(message, error.into())),
        }
    }

    /// Publishes messages of which none is larger than may be; says where the last
    /// of them stands, and how many clients are there to get them.
    pub(crate) fn publish_burst(
        &self,
        to: Audience,
        burst: Burst,
    ) -> Result<Receipt, SendErrorReason> {
        if self.shared.stop.is_triggered() {
            return Err(SendErrorReason::Stopped);
        }
        Ok(self.shared.publisher.publish_confirmed(to, burst)?)
    }

    fn try_publish(&self, to: Audience, message: &Message) -> Result<(), SendErrorReason> {
        self.check(message)?;
        let burst = burst::single(message, self.shared.config.append_newline);
        Ok(self.shared.publisher.try_publish(to, burst)?)
    }

    pub(super) fn check(&self, message: &Message) -> Result<(), SendErrorReason> {
        if self.shared.stop.is_triggered() {
            Err(SendErrorReason::Stopped)
        } else if message.len() > self.shared.config.max_message_size {
            Err(SendErrorReason::TooLarge)
        } else {
            Ok(())
        }
    }

    fn act(&self, client: ClientId, act: Act) -> Result<(), Stopped> {
        let client = self.shared.full_id(client);
        match self.shared.publisher.act(client, act) {
            Err(InboxError::Gone) => Err(Stopped),
            Err(_) => {
                log::warn!("nothing was done to client {client}: too much waits for the engine");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn ask(&self, command: Command) -> Result<(), Stopped> {
        self.shared.inbox.send(command).map_err(|_| Stopped)
    }

    pub(super) fn query<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = Reply::pair();
        self.ask(command(reply))?;
        self.shared.inbox.gone.or_answer(&answer).ok_or(Stopped)
    }
}

impl From<InboxError> for SendErrorReason {
    fn from(error: InboxError) -> SendErrorReason {
        match error {
            InboxError::Full => SendErrorReason::Full,
            #[cfg(feature = "redis")]
            InboxError::Late => SendErrorReason::Late,
            InboxError::Gone => SendErrorReason::Stopped,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
