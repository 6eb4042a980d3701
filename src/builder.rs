//! Building a server: its settings, its hooks, and what its threads share.

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
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
const LISTEN_BACKLOG: i32 = 4096;

/// Builds a [`Server`] with settings and hooks.
///
/// ```
/// use hubcast::{Message, Server};
///
/// let server = Server::builder()
///     .configure(|config| config.no_echo = true)
///     .on_message(|client, message| {
///         let text = message.as_text()?;
///         Some(Message::from(format!("{}: {text}", client.id())))
///     })
///     .bind("127.0.0.1:0")?;
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ServerBuilder {
    config: Config,
    hooks: Hooks,
}

impl ServerBuilder {
    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> ServerBuilder {
        self.config = config;
        self
    }

    /// Changes some settings.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> ServerBuilder {
        change(&mut self.config);
        self
    }

    /// Sets the handler. A closure for one of its hooks takes the place of
    /// that hook.
    pub fn handler(mut self, handler: impl Handler) -> ServerBuilder {
        self.hooks.handler = Some(Arc::new(handler));
        self
    }

    /// Sets a closure as [`Handler::on_upgrade`].
    pub fn on_upgrade<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&mut Upgrade<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.hooks.on_upgrade = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_join`].
    pub fn on_join<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client) + Send + Sync + 'static,
    {
        self.hooks.on_join = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_message`].
    pub fn on_message<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client, Message) -> Option<Message> + Send + Sync + 'static,
    {
        self.hooks.on_message = Some(Box::new(hook));
        self
    }

    /// Sets a closure as [`Handler::on_leave`].
    pub fn on_leave<F>(mut self, hook: F) -> ServerBuilder
    where
        F: Fn(&Client, &Departure) + Send + Sync + 'static,
    {
        self.hooks.on_leave = Some(Box::new(hook));
        self
    }

    /// Binds the server to an address; see [`Server::bind`].
    ///
    /// # Errors
    ///
    /// A setting has a value that cannot be, the address cannot be listened
    /// on, or the system lacks what the server needs.
    pub fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Server, Error> {
        self.config.check()?;
        let bound = TcpListener::bind(&address).and_then(|listener| {
            rustix::net::listen(&listener, LISTEN_BACKLOG)?;
            Ok(listener)
        });
        let listener =
            bound.map_err(|error| Error::bind(format!("cannot listen on {address:?}"), error))?;
        self.from_listener(listener)
    }

    /// Takes a listener that is bound already: one that was handed over by
    /// a service manager, or a test's.
    ///
    /// # Errors
    ///
    /// As [`bind`](ServerBuilder::bind).
    pub fn from_listener(self, listener: TcpListener) -> Result<Server, Error> {
        self.config.check()?;
        let address = listener
            .set_nonblocking(true)
            .and_then(|()| listener.local_addr())
            .map_err(|error| Error::bind("cannot use the listener", error))?;
        let config = self.config;
        if config.publish && config.publish_token.is_none() && !address.ip().is_loopback() {
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
            outboxes: Arc::new(OutboxRules {
                max_messages: config.outbox_messages,
                max_bytes: config.outbox_bytes,
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
    bound.map_err(|error| Error::bind(format!("cannot listen on {address:?}"), error))
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
                writer::run(id, &*socket, &chunks, timeout, |result| {
                    inbox.send(Command::Written { id, result }).is_ok()
                });
            })?;
        Ok(sender)
    }
}
