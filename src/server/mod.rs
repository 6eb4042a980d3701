//! The server: bind, run, stop.

pub(crate) mod accept;
pub(crate) mod builder;
pub(crate) mod capacity;
pub(crate) mod running;
pub(crate) mod shutdown;
pub(crate) mod writers;

use std::fmt;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::{self};

use crate::config::Config;
use crate::connection::admission::Admission;
use crate::connection::threads::Threads;
use crate::embed::handle::Handle;
use crate::embed::handler::Handler;
use crate::error::Error;
use crate::hub::Hub;
use crate::hub::inbox::{Commands, Inbox};
use crate::net::stop::Stop;
use crate::outbox::OutboxRules;
use crate::server::builder::ServerBuilder;
use crate::server::capacity::ClientLimit;
use crate::server::running::Running;
use crate::server::shutdown::{EndHubOnDrop, StopOnDrop, Summary, serve};
use crate::stats::Counters;

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
