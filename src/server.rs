//! The server: bind, run, stop.

use std::fmt;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::accept::accept;
use crate::admission::Admission;
use crate::builder::ServerBuilder;
use crate::config::Config;
use crate::error::Error;
use crate::handle::Handle;
use crate::handler::Handler;
use crate::hub::{Command, Hub};
use crate::inbox::{Commands, Inbox};
use crate::limits::ClientLimit;
use crate::outbox::OutboxRules;
use crate::stats::Counters;
use crate::stop::Stop;
use crate::threads::Threads;

/// How long clients have to answer the Close of a shutdown.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);
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
    /// The operator's own listener has places of its own: it answers when the
    /// server is full.
    pub(crate) admin_admission: Arc<Admission>,
    /// Held by who makes a list for the operator, so that it is one at a time.
    pub(crate) listing: Mutex<()>,
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
/// [`run`](Server::run) blocks for as long as the server lives;
/// [`spawn`](Server::spawn) leaves the calling thread free. Dropped without
/// either, the server gives its port back.
///
/// ```no_run
/// hubcast::Server::bind("127.0.0.1:8080")?.run()?;
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a server serves nobody until it runs"]
pub struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: Commands,
    pub(crate) limit: ClientLimit,
}

impl Server {
    /// Binds a plain relay with the default [`Config`]. Port 0 takes a free
    /// port; [`local_addr`](Server::local_addr) says which.
    ///
    /// Blocks only where a name has to be looked up.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the system lacks what the
    /// server needs.
    ///
    /// ```
    /// use hubcast::{ErrorKind, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let error = Server::bind(server.local_addr()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Bind, "the port is in use");
    /// # Ok::<(), hubcast::Error>(())
    /// ```
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

    /// A builder, for a server with settings or hooks; see
    /// [`ServerBuilder`].
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address the server is bound to, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle to the server, to be given to other threads before
    /// [`run`](Server::run) takes this one.
    ///
    /// What it is asked to do happens once the server runs. Until then a
    /// question, such as [`Handle::clients`], waits, and so does a broadcast
    /// once the inbox is full: do neither on the thread that is to call
    /// `run`. If the server is dropped instead, they fail.
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// let server = hubcast::Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// thread::spawn(move || {
    ///     thread::sleep(Duration::from_millis(1)); // some work
    ///     handle.shutdown();
    /// });
    /// let summary = server.run()?; // until the handle shuts it down
    /// assert_eq!(summary.stats.joins, 0);
    /// # Ok::<(), hubcast::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Runs the server and blocks until it has been shut down by a
    /// [`Handle`]. The calling thread only waits: the server has threads of
    /// its own.
    ///
    /// # Errors
    ///
    /// The system refuses a thread
    /// ([`ErrorKind::Start`](crate::ErrorKind::Start)), or a thread ends that
    /// must not ([`Internal`](crate::ErrorKind::Internal)). What happens to a
    /// single client is never an error here.
    pub fn run(self) -> Result<Summary, Error> {
        self.spawn()?.wait()
    }

    /// Runs the server on threads of its own and returns at once.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    ///
    /// ```
    /// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
    /// let url = format!("ws://{}/", running.local_addr());
    /// let (mut client, _) = tungstenite::connect(url)?;
    /// client.send("to all of the room, me included".into())?;
    /// assert!(client.read()?.is_text());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let listeners = (self.listener, self.admin);
        let (shared, limit) = (self.shared, self.limit);
        let ending = EndHubOnDrop(shared.clone());
        let accept = spawn("hubcast-accept")
            .spawn(move || {
                let _ending = ending;
                serve(listeners, &shared, &limit, hub)
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
    listeners: (TcpListener, Option<TcpListener>),
    shared: &Arc<Shared>,
    limit: &ClientLimit,
    hub: JoinHandle<()>,
) -> Result<Summary, Error> {
    if let Ok(address) = listeners.0.local_addr() {
        log::info!("listening on ws://{address}/, at most {limit}");
    }
    if let Some(Ok(address)) = listeners.1.as_ref().map(TcpListener::local_addr) {
        log::info!("answering the operator on http://{address}/-/");
    }
    let accepted = accept(&listeners, shared);
    shared.stop.trigger();
    // Nobody new from here on; the port is free.
    drop(listeners);
    let deadline = Instant::now() + shared.config.shutdown_timeout;
    log::info!("shutting down, clients={}", shared.counters.clients.get());
    // Neither command is lost but to a hub that has ended.
    let _ = shared.inbox.send(Command::Shutdown);
    // Some clients never answer a Close. Who has it, and does not answer at
    // once, is not waited for; who is still getting what was queued is.
    let patience = deadline.min(Instant::now() + ANSWER_TIMEOUT);
    if shared.threads.wait_for_none(patience) > 0 {
        let _ = shared.inbox.send(Command::EndClosed);
    }
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

/// What a server has done, once it has ended; from [`Server::run`],
/// [`Running::shutdown`] and [`Running::wait`].
///
/// Its text is the line that the log ends with.
///
/// ```
/// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
/// running.handle().broadcast("/", "nobody hears this")?;
/// let summary = running.shutdown()?;
/// assert_eq!((summary.aborted, summary.left), (0, 0));
/// assert_eq!(summary.stats.broadcasts, 1);
/// assert!(summary.to_string().starts_with("clients=0 "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
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
            stats.received_messages,
            stats.deliveries,
            stats.dropped_messages,
            self.aborted,
            self.left
        )
    }
}

/// A server that runs on threads of its own; from [`Server::spawn`].
///
/// Dropping it shuts the server down and waits, as
/// [`shutdown`](Running::shutdown) does. Keep it for as long as the server is
/// to live, or [`wait`](Running::wait).
///
/// ```
/// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
/// let handle = running.handle();
/// assert!(handle.broadcast("/", "the server lives").is_ok());
/// drop(running);
/// assert!(handle.broadcast("/", "too late").is_err());
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the server is shut down when this is dropped"]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    accept: Option<JoinHandle<Result<Summary, Error>>>,
}

impl Running {
    /// The address the server listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle to the server. It does not keep the server alive.
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

    /// Waits until the server has been shut down by a [`Handle`], and for
    /// its end.
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
