//! A server that runs on threads of its own.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use super::shutdown::Summary;
use crate::embed::Handle;
use crate::error::Error;

/// A server that runs on threads of its own; from
/// [`Server::spawn`](crate::Server::spawn).
///
/// Dropping it shuts the server down and waits, as
/// [`shutdown`](Running::shutdown) does. Keep it for as long as the server
/// should run, or call [`wait`](Running::wait).
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
    pub(super) address: SocketAddr,
    pub(super) handle: Handle,
    pub(super) accept: Option<JoinHandle<Result<Summary, Error>>>,
}

impl Running {
    /// The address the server listens on; see
    /// [`Server::local_addr`](crate::Server::local_addr).
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle to the server. It does not keep the server alive.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the server in order and waits for its end, for at most
    /// [`Config::drain`](crate::Config::drain),
    /// [`Config::shutdown_timeout`](crate::Config::shutdown_timeout) and a
    /// second. No new connections are accepted; every client gets its queued
    /// messages and a Close with 1001.
    ///
    /// # Errors
    ///
    /// As [`Server::run`](crate::Server::run).
    pub fn shutdown(self) -> Result<Summary, Error> {
        self.handle.shutdown();
        self.wait()
    }

    /// Waits until the server has been shut down by a [`Handle`], and for
    /// its end.
    ///
    /// # Errors
    ///
    /// As [`Server::run`](crate::Server::run).
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
            // A drop cannot return the error.
            let _ = self.join();
        }
    }
}
