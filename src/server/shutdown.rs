//! The orderly end of a server, step by step.

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::hub::Command;
use crate::server::Shared;
use crate::server::accept::accept;
use crate::server::capacity::ClientLimit;

/// How long clients have to answer the Close of a shutdown.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);
/// How long aborted connections may take to be gone.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Stops the server when the hub thread ends, however it ends.
pub(crate) struct StopOnDrop(pub(crate) Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.trigger();
    }
}

/// Ends the hub when the accept thread ends, or was refused by the system.
pub(crate) struct EndHubOnDrop(pub(crate) Arc<Shared>);

impl Drop for EndHubOnDrop {
    fn drop(&mut self) {
        // It fails only when the hub has ended already.
        let _ = self.0.inbox.send(Command::End);
    }
}

/// Runs on the accept thread: serves, and then ends the server in order.
pub(crate) fn serve(
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
