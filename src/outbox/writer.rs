//! The writer thread of a client whose socket was full once.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use crate::close::Cause;
use crate::names::ClientId;
use crate::net::Outlet;

/// The shortest time between two log lines about one client's drops.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What a writer thread writes next: frames, of which the first may be the
/// rest of one; or none, where the stream owes only what it has taken before.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(super) frames: Vec<Bytes>,
    /// How many messages were dropped for this client so far.
    dropped: u64,
}

impl Chunk {
    pub(super) fn new(dropped: u64) -> Chunk {
        Chunk {
            frames: Vec::new(),
            dropped,
        }
    }

    /// Writes the whole chunk. Each frame may take `timeout`.
    pub(super) fn write(&self, socket: &dyn Outlet, timeout: Duration) -> Result<(), Cause> {
        let mut slices: Vec<IoSlice<'_>> = self
            .frames
            .iter()
            .map(|frame| IoSlice::new(frame))
            .collect();
        let mut rest = &mut slices[..];
        let mut deadline = Instant::now() + timeout;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Cause::WriteTimeout);
            }
            let n = match socket.send_within(rest, left) {
                Ok(0) => return Err(Cause::WriteFailed(io::ErrorKind::WriteZero)),
                Ok(n) => n,
                Err(error) => return Err(Cause::of_write(&error)),
            };
            let frames = rest.len();
            IoSlice::advance_slices(&mut rest, n);
            if rest.len() < frames {
                deadline = Instant::now() + timeout;
            }
        }
        let flushed = socket.flush_within(timeout);
        flushed.map_err(|error| Cause::of_write(&error))
    }
}

/// Starts writer threads, or stands in for them in a test.
pub(crate) trait StartWriter: Debug + Send + Sync {
    /// Starts the writer thread of a client. It ends when the sender is
    /// dropped, after the chunk it has.
    fn start(&self, id: ClientId, socket: Arc<dyn Outlet>) -> io::Result<Sender<Chunk>>;
}

/// Runs on the writer thread: writes each chunk and reports its end, until
/// the hub drops the other end of the channel or is gone.
pub(crate) fn run(
    id: ClientId,
    socket: &dyn Outlet,
    chunks: &Receiver<Chunk>,
    timeout: Duration,
    report: impl Fn(Result<(), Cause>) -> bool,
) {
    let mut logged: (u64, Option<Instant>) = (0, None);
    for chunk in chunks {
        let due = logged.1.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if chunk.dropped > logged.0 && due {
            logged = (chunk.dropped, Some(Instant::now()));
            log::warn!(
                "client={id} slow consumer, {} messages dropped so far",
                chunk.dropped
            );
        }
        let result = chunk.write(socket, timeout);
        drop(chunk);
        if !report(result) {
            return;
        }
    }
}
