//! The server: bind, run, stop.

mod accept;
mod builder;
mod capacity;
mod running;
mod shutdown;
mod writers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use crate::config::Config;
use crate::connection::Service;
use crate::connection::Threads;
use crate::embed::Handle;
use crate::embed::Shared;
use crate::engine::Memory;
#[cfg(feature = "redis")]
use crate::engine::{self, Elsewhere};
use crate::error::Error;
use crate::hub::Commands;
use crate::hub::log::Order;
use crate::hub::{self, Helpers, Hub};
use crate::task::Task;
use accept::Gate;
use capacity::ClientLimit;
use shutdown::{EndHubOnDrop, Run, StopOnDrop};

pub use builder::ServerBuilder;
pub use running::Running;
pub use shutdown::Summary;

/// A server that is bound to its address and not yet running.
///
/// [`run`](Server::run) blocks for as long as the server lives;
/// [`spawn`](Server::spawn) leaves the calling thread free. Dropping it without
/// either frees the port.
///
/// ```no_run
/// hubcast::Server::bind("127.0.0.1:8080")?.run()?;
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a server serves nobody until it runs"]
pub struct Server {
    /// The server's own gates, and the operator's if there is one.
    gates: Vec<Gate>,
    address: SocketAddr,
    service: Arc<Service>,
    threads: Arc<Threads>,
    commands: Commands,
    limit: ClientLimit,
}

impl Server {
    /// The address the server is bound to, with the real port; of several
    /// listeners, the first's that has one. A server that listens on Unix
    /// sockets only has none: it is `0.0.0.0:0`.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many clients there may be at once, and what sets that limit:
    /// [`Config::max_clients`], or one of the system's.
    pub fn capacity(&self) -> (usize, &str) {
        (self.limit.clients, &self.limit.because)
    }

    /// A handle to the server, to be given to other threads before
    /// [`run`](Server::run) takes this one.
    ///
    /// Commands are carried out once the server runs. Until then a query, such
    /// as [`Handle::clients`], waits, and so does a broadcast once the inbox is
    /// full. Call neither on the thread that will call `run`. If the server is
    /// dropped instead, they fail.
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
        self.service.handle()
    }

    /// Runs the server and blocks until it has been shut down by a
    /// [`Handle`]. The calling thread only waits: the server has threads of
    /// its own.
    ///
    /// # Errors
    ///
    /// The system refuses a thread
    /// ([`ErrorKind::Start`](crate::ErrorKind::Start)), or a thread of the
    /// server ended unexpectedly ([`Internal`](crate::ErrorKind::Internal)).
    /// What happens to a single client is never an error here.
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
        let shared = self.service.shared.clone();
        let spawn = |name: &str| {
            thread::Builder::new()
                .name(name.to_owned())
                .stack_size(shared.config.stack_size)
        };
        let (address, commands) = (self.address, self.commands);
        let hub = Hub::new(
            &shared.config,
            shared.counters.clone(),
            shared.publisher.interest.clone(),
            order(&shared),
        )
        .with_helpers(start_helpers(&shared.config));
        #[cfg(feature = "redis")]
        let hub = hub.with_others(
            shared.publisher.tag,
            announcer(&shared),
            shared.config.node_timeout,
        );
        let guard = StopOnDrop(shared.clone());
        let hub = spawn("hubcast-hub")
            .spawn(Box::new(move || {
                let _guard = guard;
                hub.run(&commands);
            }) as Task)
            .map_err(|error| Error::start("cannot start the hub thread", error))?;
        #[cfg(feature = "redis")]
        let engine = start_engine(&shared)?;
        let run = Run {
            #[cfg(feature = "redis")]
            engine,
            gates: self.gates,
            service: self.service,
            threads: self.threads,
            limit: self.limit,
            hub,
        };
        let ending = EndHubOnDrop(shared.clone());
        let accept = spawn("hubcast-accept")
            .spawn(move || {
                let _ending = ending;
                run.until_stopped()
            })
            .map_err(|error| Error::start("cannot start the accept thread", error))?;
        Ok(Running {
            address,
            handle,
            accept: Some(accept),
        })
    }
}

/// What places messages in the log: an engine does so elsewhere.
fn order(shared: &Shared) -> Box<dyn Order> {
    #[cfg(feature = "redis")]
    if shared.engine.is_some() {
        return Box::new(Elsewhere::new());
    }
    let _ = shared;
    Box::new(Memory::new())
}

#[cfg(feature = "redis")]
fn announcer(shared: &Shared) -> Option<Arc<dyn hub::Announce>> {
    shared.engine.as_ref()?.announcer()
}

#[cfg(feature = "redis")]
fn start_engine(shared: &Shared) -> Result<Option<engine::Threads>, Error> {
    let stack_size = shared.config.stack_size;
    let start = |engine: &engine::Engine| engine.start(&shared.publisher, stack_size);
    let threads = shared.engine.as_ref().map(start).transpose();
    threads.map_err(|error| Error::start("cannot start the threads of the engine", error))
}

/// Starts the hub's helpers. With fewer than wanted, or none, fan-outs take
/// longer; that is no reason not to serve.
fn start_helpers(config: &Config) -> Helpers {
    let mut helpers = Helpers::none();
    for _ in 1..hub::fan_out_threads(config.fan_out_threads) {
        if let Err(error) = helpers.start(config.stack_size) {
            log::warn!("no thread for one more helper of the fan-out: {error}");
            break;
        }
    }
    helpers
}
