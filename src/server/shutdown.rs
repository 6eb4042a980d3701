//! The orderly end of a server, step by step.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::accept::{Gate, OPEN_SHARE, accept};
use super::capacity::ClientLimit;
use crate::connection::Service;
use crate::connection::Threads;
use crate::doors::Entrance;
use crate::embed::Shared;
#[cfg(feature = "redis")]
use crate::engine;
use crate::error::Error;
use crate::hub::Command;

/// How long a client may take to answer the Close of a shutdown.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);
/// How long the threads of aborted connections may take to end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a node waits for the log before it accepts.
#[cfg(feature = "redis")]
const LOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks whether it has read the log.
#[cfg(feature = "redis")]
const LOOK: Duration = Duration::from_millis(5);

/// Stops the server when the hub thread ends, however it ends.
pub(super) struct StopOnDrop(pub(super) Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.trigger();
    }
}

/// Ends the hub when the accept thread ends, or was refused by the system.
pub(super) struct EndHubOnDrop(pub(super) Arc<Shared>);

impl Drop for EndHubOnDrop {
    fn drop(&mut self) {
        // It fails only when the hub has ended already.
        let _ = self.0.inbox.send(Command::End);
    }
}

/// A running server, as its accept thread has it.
pub(super) struct Run {
    pub(super) gates: Vec<Gate>,
    pub(super) service: Arc<Service>,
    pub(super) threads: Arc<Threads>,
    pub(super) limit: ClientLimit,
    pub(super) hub: JoinHandle<()>,
    #[cfg(feature = "redis")]
    pub(super) engine: Option<engine::Threads>,
}

impl Run {
    /// Runs on the accept thread: serves, and then ends the server in order.
    pub(super) fn until_stopped(self) -> Result<Summary, Error> {
        self.announce();
        #[cfg(feature = "redis")]
        self.await_log();
        let accepted = accept(&self.gates, &self.service, &self.threads);
        // Nobody new from here on; the port is free.
        drop(self.gates);
        if accepted.is_ok() {
            drain(&self.service.shared, &self.threads);
        }
        self.service.shared.stop.trigger();
        #[cfg(feature = "redis")]
        let deadline = Instant::now() + self.service.shared.config.shutdown_timeout;
        #[cfg(feature = "redis")]
        self.engine.iter().for_each(engine::Threads::drain);
        let (aborted, left) = shut_down(&self.service.shared, &self.threads);
        #[cfg(feature = "redis")]
        if let Some(engine) = self.engine {
            match engine.end(deadline) {
                0 => {}
                unsent => {
                    log::warn!("messages that did not get into the log, and are lost: {unsent}")
                }
            }
        }
        let hub_ended = self.hub.join();
        let summary = Summary {
            aborted,
            left,
            stats: self.service.shared.counters.snapshot(),
        };
        log::info!("stopped: {summary}");
        if hub_ended.is_err() {
            return Err(Error::internal("the hub thread panicked"));
        }
        accepted.map_err(|error| Error::start("cannot wait for connections", error))?;
        Ok(summary)
    }

    /// Waits until this node has read the log: before, it would tell clients that
    /// come back that they have missed something. They wait to be accepted
    /// meanwhile, but not for long where there is no engine.
    #[cfg(feature = "redis")]
    fn await_log(&self) {
        let shared = &self.service.shared;
        let until = Instant::now() + LOG_TIMEOUT;
        let is_behind = || shared.engine.as_ref().is_some_and(|e| e.flaw().is_some());
        while is_behind() && Instant::now() < until {
            if shared.stop.wait(Instant::now() + LOOK).unwrap_or(true) {
                return;
            }
        }
    }

    fn announce(&self) {
        let is_secured = self.gates.iter().any(|gate| gate.over_tls);
        for gate in &self.gates {
            let listener = &gate.listener;
            let s = if gate.over_tls { "s" } else { "" };
            match (gate.entrance, listener.local_addr()) {
                (Entrance::Main, Some(address)) if gate.over_tls != is_secured => {
                    log::info!("listening without TLS on ws://{address}/");
                }
                (Entrance::Main, Some(address)) => {
                    log::info!("listening on ws{s}://{address}/, at most {}", self.limit);
                }
                (Entrance::Main, None) => {
                    log::info!("listening on {listener}, at most {}", self.limit);
                }
                (Entrance::Admin, _) => {
                    log::info!("answering the operator on http{s}://{listener}/-/");
                }
            }
        }
    }
}

/// Closes the clients one after the other, if the server drains. Until then it
/// serves them as ever.
fn drain(shared: &Shared, threads: &Threads) {
    let over = shared.config.drain - shared.config.drain / OPEN_SHARE;
    if over.is_zero() || shared.stop.is_triggered() {
        return;
    }
    let clients = shared.counters.clients.get();
    log::info!("draining over {over:?}, clients={clients}");
    if shared.inbox.send(Command::Drain { over }).is_ok() {
        threads.wait_for_none(Instant::now() + over);
    }
}

/// Ends all connections, and the hub after them. Returns how many threads
/// were aborted, and how many of those were left even then.
fn shut_down(shared: &Shared, threads: &Threads) -> (usize, usize) {
    let deadline = Instant::now() + shared.config.shutdown_timeout;
    log::info!("shutting down, clients={}", shared.counters.clients.get());
    // Sending fails only if the hub has ended already.
    let _ = shared.inbox.send(Command::Shutdown);
    // Some clients never answer a Close. A client that has been sent its
    // Close gets `ANSWER_TIMEOUT` to reply; one that is still receiving its
    // backlog gets the whole shutdown timeout.
    let patience = deadline.min(Instant::now() + ANSWER_TIMEOUT);
    if threads.wait_for_none(patience) > 0 {
        let _ = shared.inbox.send(Command::EndClosed);
    }
    let aborted = threads.wait_for_none(deadline);
    let mut left = 0;
    if aborted > 0 {
        let _ = shared.inbox.send(Command::Abort);
        left = threads.wait_for_none(Instant::now() + ABORT_TIMEOUT);
    }
    let _ = shared.inbox.send(Command::End);
    (aborted, left)
}

/// What a server has done, once it has ended; from
/// [`Server::run`](crate::Server::run),
/// [`Running::shutdown`](crate::Running::shutdown) and
/// [`Running::wait`](crate::Running::wait).
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
    /// How many client threads were still running at the shutdown's deadline.
    /// Their connections were aborted.
    pub aborted: usize,
    /// How many of them did not end even then, because a hook has not returned.
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
