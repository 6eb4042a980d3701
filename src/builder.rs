//! Building a server: its settings, its hooks, and what its threads share.

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::admission::Admission;
use crate::client::{Client, ClientId};
use crate::close::Departure;
use crate::config::Config;
use crate::error::Error;
use crate::handler::{Handler, Hooks};
use crate::hub::Command;
use crate::inbox::Inbox;
use crate::limits::ClientLimit;
use crate::message::Message;
use crate::outbox::OutboxRules;
use crate::server::{Server, Shared};
use crate::socket::Socket;
use crate::stats::Counters;
use crate::stop::Stop;
use crate::threads::Threads;
use crate::upgrade::{Refusal, Upgrade};
use crate::writer::{self, Chunk, StartWriter};

/// How many connections may wait to be accepted: std asks for 128, and a
/// burst beyond it costs each client a second for its retransmitted SYN.
pub(crate) const LISTEN_BACKLOG: i32 = 4096;

/// Builds a [`Server`] with settings and hooks; made by
/// [`Server::builder`].
///
/// Without any, the server is a plain relay with the default [`Config`].
///
/// ```
/// use hubcast::{Message, Server};
///
/// let running = Server::builder()
///     .configure(|config| config.append_newline = true)
///     .on_message(|client, message| {
///         let text = message.as_text()?;
///         Some(Message::from(format!("{}: {text}", client.id())))
///     })
///     .bind("127.0.0.1:0")?
///     .spawn()?;
///
/// let url = format!("ws://{}/", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// client.send("hello".into())?;
/// assert_eq!(client.read()?.to_text()?, "1: hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is bound"]
pub struct ServerBuilder {
    config: Config,
    hooks: Hooks,
}

impl ServerBuilder {
    /// Sets all settings at once. Settings made before are replaced.
    ///
    /// They are checked by [`bind`](ServerBuilder::bind), not here.
    pub fn config(mut self, config: Config) -> ServerBuilder {
        self.config = config;
        self
    }

    /// Changes some settings and keeps the others.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use hubcast::{ErrorKind, Server};
    ///
    /// let builder = Server::builder().configure(|config| {
    ///     config.max_clients = 50;
    ///     config.ping_interval = Duration::from_secs(5);
    ///     config.write_timeout = Duration::ZERO; // this one cannot be
    /// });
    /// let error = builder.bind("127.0.0.1:0").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// assert_eq!(error.to_string(), "write-timeout must be more than 0");
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> ServerBuilder {
        change(&mut self.config);
        self
    }

    /// Sets the handler, whose hooks take part in what clients do. Default:
    /// none, the server is a plain relay.
    ///
    /// A closure for one of the hooks takes the place of the handler's.
    pub fn handler(mut self, handler: impl Handler) -> ServerBuilder {
        self.hooks.handler = Some(Arc::new(handler));
        self
    }

    /// Sets a closure as [`Handler::on_upgrade`]: it decides who may come in.
    ///
    /// ```
    /// use http::StatusCode;
    /// use hubcast::{Refusal, Server};
    ///
    /// let running = Server::builder()
    ///     .on_upgrade(|upgrade| match upgrade.room() {
    ///         "/lobby" => Ok(()),
    ///         _ => Err(Refusal::new(StatusCode::NOT_FOUND, "there is only /lobby")),
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}", running.local_addr());
    /// assert!(tungstenite::connect(format!("{url}/cellar")).is_err());
    /// assert!(tungstenite::connect(format!("{url}/lobby")).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_upgrade<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&mut Upgrade<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.hooks.on_upgrade = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_join`]: it greets who has come in.
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_join(|client| {
    ///         // It fails only when the server is stopping.
    ///         let _ = client.send(format!("welcome to {}", client.room()));
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/lobby", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// assert_eq!(client.read()?.to_text()?, "welcome to /lobby");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_join<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client) + Send + Sync + 'static,
    {
        self.hooks.on_join = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_message`]: it relays, changes or stops
    /// what a client sends.
    ///
    /// ```
    /// use hubcast::Server;
    ///
    /// let running = Server::builder()
    ///     .on_message(|client, message| {
    ///         if message.as_text() == Some("ping?") {
    ///             let _ = client.send("pong!"); // to the sender alone
    ///             return None; // and to nobody else
    ///         }
    ///         Some(message)
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// client.send("ping?".into())?;
    /// assert_eq!(client.read()?.to_text()?, "pong!");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_message<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client, Message) -> Option<Message> + Send + Sync + 'static,
    {
        self.hooks.on_message = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_leave`]: it hears how and why a
    /// connection ended.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use hubcast::{Cause, Server};
    ///
    /// let (sender, departures) = mpsc::channel();
    /// let running = Server::builder()
    ///     .on_leave(move |_client, departure| {
    ///         let _ = sender.send(departure.clone());
    ///     })
    ///     .bind("127.0.0.1:0")?
    ///     .spawn()?;
    ///
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// client.close(None)?;
    /// drop(client);
    /// assert_eq!(departures.recv()?.cause, Cause::ClosedByPeer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_leave<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client, &Departure) + Send + Sync + 'static,
    {
        self.hooks.on_leave = Some(Box::new(hook));
        self
    }

    /// Binds the server to an address; see [`Server::bind`]. From here on
    /// connections are queued by the system; they are served once the server
    /// runs.
    ///
    /// A name that stands for several addresses is bound to the first that
    /// can be.
    ///
    /// # Errors
    ///
    /// A setting has a value that cannot be, or the address is none
    /// ([`ErrorKind::Config`](crate::ErrorKind::Config)), the address cannot
    /// be listened on ([`Bind`](crate::ErrorKind::Bind)), or the system lacks
    /// what the server needs ([`Start`](crate::ErrorKind::Start)).
    pub fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Server, Error> {
        self.config.check()?;
        let listener = listen(address)?;
        self.from_listener(listener)
    }

    /// Takes a listener that is bound already: one that was handed over by
    /// a service manager, or a test's. It is made non-blocking; its backlog
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// As [`bind`](ServerBuilder::bind).
    ///
    /// ```
    /// use std::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let server = hubcast::Server::builder().from_listener(listener)?;
    /// assert_eq!(server.local_addr(), address);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_listener(self, listener: TcpListener) -> Result<Server, Error> {
        self.config.check()?;
        let address = listener
            .set_nonblocking(true)
            .and_then(|()| listener.local_addr())
            .map_err(|error| Error::bind("cannot use the listener", error))?;
        let config = self.config;
        if config.allow_publish && config.publish_token.is_none() && !address.ip().is_loopback() {
            return Err(Error::config(format!(
                "publish on {address}, which others can reach, needs a publish-token"
            )));
        }
        let admin = config.admin_listen.as_ref().map(listen).transpose()?;
        let stop = Stop::new().map_err(|error| Error::start("cannot make a socket pair", error))?;
        let limit = match config.max_clients {
            0 => ClientLimit::of_this_process(),
            clients => ClientLimit::configured(clients),
        };
        let (inbox, commands) = Inbox::new();
        let counters = Arc::new(Counters::default());
        let threads = Arc::new(Threads::default());
        let writers = Writers {
            inbox: inbox.clone(),
            threads: threads.clone(),
            write_timeout: config.write_timeout,
            stack_size: config.stack_size,
        };
        let shared = Shared {
            admission: Arc::new(Admission::new(&config, limit.clients, counters.clone())),
            admin_admission: Arc::new(Admission::of_operator()),
            listing: Mutex::new(()),
            outboxes: Arc::new(OutboxRules {
                max_messages: config.queue_messages,
                max_bytes: config.queue_bytes,
                slow_consumer: config.slow_consumer,
                writers: Box::new(writers),
            }),
            handler: self.hooks.into_handler(),
            config,
            inbox,
            stop,
            counters,
            threads,
        };
        Ok(Server {
            listener,
            admin,
            address,
            shared: Arc::new(shared),
            commands,
            limit,
        })
    }
}

/// A listener with a long backlog whose accept does not block.
fn listen(address: impl ToSocketAddrs + fmt::Debug) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(&address).and_then(|listener| {
        rustix::net::listen(&listener, LISTEN_BACKLOG)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| match error.kind() {
        // It is no address at all, whatever the system has to offer.
        io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
            let line = format!("cannot listen on {address:?}: {error}; HOST:PORT is expected");
            Error::config(line)
        }
        _ => Error::bind(format!("cannot listen on {address:?}"), error),
    })
}

/// Starts real writer threads.
#[derive(Debug)]
struct Writers {
    inbox: Inbox,
    threads: Arc<Threads>,
    write_timeout: Duration,
    stack_size: usize,
}

impl StartWriter for Writers {
    fn start(&self, id: ClientId, socket: Arc<dyn Socket>) -> io::Result<Sender<Chunk>> {
        let (sender, chunks) = bounded(1);
        let (inbox, timeout) = (self.inbox.clone(), self.write_timeout);
        let presence = self.threads.enter();
        thread::Builder::new()
            .name(format!("writer-{id}"))
            .stack_size(self.stack_size)
            .spawn(move || {
                let _presence = presence;
                // Whoever has waited for this thread finds the socket closed.
                let socket = socket;
                writer::run(id, &*socket, &chunks, timeout, |result| {
                    inbox.send(Command::Written { id, result }).is_ok()
                });
            })?;
        Ok(sender)
    }
}
