//! The server: bind, run, stop.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::accept::Acceptor;
use crate::admission::Admission;
use crate::client::{Client, ClientId};
use crate::close::Departure;
use crate::config::Config;
use crate::error::Error;
use crate::handle::Handle;
use crate::handler::{Handler, Hooks};
use crate::hub::{Command, Hub};
use crate::inbox::Inbox;
use crate::limits::ClientLimit;
use crate::message::Message;
use crate::outbox::OutboxRules;
use crate::socket::Socket;
use crate::stats::Counters;
use crate::stop::Stop;
use crate::threads::Threads;
use crate::upgrade::{Refusal, Upgrade};
use crate::writer::{self, Chunk, StartWriter};

/// How many connections may wait to be accepted: std asks for 128, and a
/// burst beyond it costs each client a second for its retransmitted SYN.
const LISTEN_BACKLOG: i32 = 4096;
/// How long aborted connections may take to be gone.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the threads of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) handler: Option<Arc<dyn Handler>>,
    pub(crate) inbox: Inbox,
    pub(crate) stop: Stop,
    pub(crate) counters: Arc<Counters>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) outboxes: Arc<OutboxRules>,
    pub(crate) threads: Arc<Threads>,
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Handler")
    }
}

/// A server that is bound to its address and not yet running.
///
/// ```no_run
/// hubcast::Server::bind("127.0.0.1:8080")?.run()?;
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    limit: ClientLimit,
}

impl Server {
    /// Binds a plain relay with the default [`Config`]. Port 0 takes a free
    /// port; [`local_addr`](Server::local_addr) says which.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the system lacks what the
    /// server needs.
    pub fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<Server, Error> {
        Server::builder().bind(address)
    }

    /// A plain relay on a listener that is bound already; see
    /// [`ServerBuilder::from_listener`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Server::bind).
    pub fn from_listener(listener: TcpListener) -> Result<Server, Error> {
        Server::builder().from_listener(listener)
    }

    /// A builder, for a server with settings or hooks.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address the server is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle to the server; what it is asked to do happens once the
    /// server runs.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Runs the server and blocks until it has been shut down by a
    /// [`Handle`].
    ///
    /// # Errors
    ///
    /// The system refuses a thread, or a thread ends that must not.
    pub fn run(self) -> Result<Summary, Error> {
        self.spawn()?.wait()
    }

    /// Runs the server on threads of its own.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn spawn(self) -> Result<Running, Error> {
        let handle = self.handle();
        let (address, stack_size) = (self.address, self.shared.config.stack_size);
        let spawn = |name: &str| {
            thread::Builder::new()
                .name(name.to_owned())
                .stack_size(stack_size)
        };
        let commands = self.commands;
        let hub = Hub::new(&self.shared.config, self.shared.counters.clone());
        let guard = StopOnDrop(self.shared.clone());
        let hub = spawn("hubcast-hub")
            .spawn(move || {
                let _guard = guard;
                hub.run(&commands);
            })
            .map_err(|error| Error::start("cannot start the hub thread", error))?;
        let (listener, shared, limit) = (self.listener, self.shared, self.limit);
        let ending = EndHubOnDrop(shared.clone());
        let accept = spawn("hubcast-accept")
            .spawn(move || {
                let _ending = ending;
                serve(listener, &shared, &limit, hub)
            })
            .map_err(|error| Error::start("cannot start the accept thread", error))?;
        Ok(Running {
            address,
            handle,
            accept: Some(accept),
        })
    }
}

/// Stops the server when the hub thread ends, however it ends.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.trigger();
    }
}

/// Ends the hub when the accept thread ends, or was refused by the system.
struct EndHubOnDrop(Arc<Shared>);

impl Drop for EndHubOnDrop {
    fn drop(&mut self) {
        // It fails only when the hub has ended already.
        let _ = self.0.inbox.send(Command::End);
    }
}

/// Runs on the accept thread: serves, and then ends the server in order.
fn serve(
    listener: TcpListener,
    shared: &Arc<Shared>,
    limit: &ClientLimit,
    hub: JoinHandle<()>,
) -> Result<Summary, Error> {
    if let Ok(address) = listener.local_addr() {
        log::info!("listening on ws://{address}/, at most {limit} clients");
    }
    let accepted = Acceptor::new(&listener, shared).run();
    shared.stop.trigger();
    // Nobody new from here on; the port is free.
    drop(listener);
    let deadline = Instant::now() + shared.config.shutdown_timeout;
    log::info!("shutting down, clients={}", shared.counters.clients.get());
    // Neither command is lost but to a hub that has ended.
    let _ = shared.inbox.send(Command::Shutdown);
    let aborted = shared.threads.wait_for_none(deadline);
    let mut left = 0;
    if aborted > 0 {
        let _ = shared.inbox.send(Command::Abort);
        left = shared.threads.wait_for_none(Instant::now() + ABORT_TIMEOUT);
    }
    let _ = shared.inbox.send(Command::End);
    let hub_ended = hub.join();
    let stats = shared.counters.snapshot();
    let summary = Summary {
        aborted,
        left,
        stats,
    };
    log::info!("stopped: {summary}");
    if hub_ended.is_err() {
        return Err(Error::internal("the hub thread panicked"));
    }
    accepted.map_err(|error| Error::start("cannot wait for connections", error))?;
    Ok(summary)
}

/// What a server has done, once it has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// How many threads of clients were still there at the shutdown's
    /// deadline, so that their connections were aborted.
    pub aborted: usize,
    /// How many of them did not end even then: a hook has not returned.
    pub left: usize,
    /// The final counters.
    pub stats: crate::stats::Stats,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        write!(
            f,
            "clients={} messages={} deliveries={} dropped={} aborted={} left={}",
            stats.joins,
            stats.messages_in,
            stats.deliveries,
            stats.dropped,
            self.aborted,
            self.left
        )
    }
}

/// A server that runs on threads of its own. Dropping it shuts the server
/// down and waits, as [`shutdown`](Running::shutdown) does.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    accept: Option<JoinHandle<Result<Summary, Error>>>,
}

impl Running {
    /// The address the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle to the server.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the server in order and waits for its end, for at most
    /// [`Config::shutdown_timeout`] and a second: no new connections, every
    /// client its queued messages and a Close with 1001.
    ///
    /// # Errors
    ///
    /// As [`Server::run`].
    pub fn shutdown(self) -> Result<Summary, Error> {
        self.handle.shutdown();
        self.wait()
    }

    /// Waits until the server has been shut down by a [`Handle`].
    ///
    /// # Errors
    ///
    /// As [`Server::run`].
    pub fn wait(mut self) -> Result<Summary, Error> {
        self.join()
    }

    fn join(&mut self) -> Result<Summary, Error> {
        let ended = self.accept.take().map(JoinHandle::join);
        match ended {
            Some(Ok(result)) => result,
            _ => Err(Error::internal("the accept thread panicked")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.accept.is_some() {
            self.handle.shutdown();
            // Whoever drops it does not want to know.
            let _ = self.join();
        }
    }
}

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
        let stop = Stop::new().map_err(|error| Error::start("cannot make a socket pair", error))?;
        let config = self.config;
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
            address,
            shared: Arc::new(shared),
            commands,
            limit,
        })
    }
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
