//! The stop event: set once, seen by every thread that waits on a socket.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use crate::net::poll::poll_until;

/// The poll flag for a peer that has ended its stream. Systems without one
/// report only a reset, which needs no flag.
#[cfg(target_os = "linux")]
const HUNG_UP: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const HUNG_UP: PollFlags = PollFlags::empty();

/// The reason why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The socket is ready, or has failed, which a read reports.
    Ready,
    /// The server is stopping.
    Stopping,
    /// The deadline passed.
    TimedOut,
}

/// An event that can be polled beside a socket. Once triggered it stays
/// triggered.
///
/// It is a socket pair of which one end is never written to: shutting it down
/// makes the other end readable for all threads, for good.
#[derive(Debug)]
pub(crate) struct Stop {
    stopping: AtomicBool,
    trigger: UnixStream,
    event: UnixStream,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Stop> {
        let (trigger, event) = UnixStream::pair()?;
        Ok(Stop {
            stopping: AtomicBool::new(false),
            trigger,
            event,
        })
    }

    /// Sets the event. Returns whether this call was the first.
    pub(crate) fn trigger(&self) -> bool {
        let first = !self.stopping.swap(true, Ordering::SeqCst);
        if first {
            // It fails only if it was done before.
            let _ = self.trigger.shutdown(Shutdown::Both);
        }
        first
    }

    pub(crate) fn is_triggered(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The descriptor that becomes readable when the server stops.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Waits until the socket can be read or has ended, the server stops, or
    /// `deadline` passes, whichever comes first.
    pub(super) fn wait_readable(
        &self,
        socket: impl AsFd,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        self.wait_for(PollFlags::IN, socket, deadline)
    }

    /// Waits until the peer has ended the stream, even if bytes before its end
    /// are unread, the server stops, or `deadline` passes.
    pub(crate) fn wait_hung_up(&self, socket: impl AsFd, deadline: Instant) -> io::Result<Wake> {
        self.wait_for(HUNG_UP, socket, Some(deadline))
    }

    fn wait_for(
        &self,
        flags: PollFlags,
        socket: impl AsFd,
        deadline: Option<Instant>,
    ) -> io::Result<Wake> {
        loop {
            let mut fds = [
                PollFd::new(&socket, flags),
                PollFd::from_borrowed_fd(self.event(), PollFlags::IN),
            ];
            match poll_until(&mut fds, deadline)? {
                false => return Ok(Wake::TimedOut),
                true if !fds[1].revents().is_empty() => return Ok(Wake::Stopping),
                true if !fds[0].revents().is_empty() => return Ok(Wake::Ready),
                true => {}
            }
        }
    }

    /// Waits until the server stops or `deadline` passes. Returns whether
    /// the server is stopping.
    pub(crate) fn wait(&self, deadline: Instant) -> io::Result<bool> {
        let mut fds = [PollFd::from_borrowed_fd(self.event(), PollFlags::IN)];
        poll_until(&mut fds, Some(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_triggered_stop_wakes_every_waiter_for_ever() {
        let stop = Stop::new().unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert_eq!(
            stop.wait_readable(&socket, Some(Instant::now())).unwrap(),
            Wake::TimedOut
        );
        assert!(stop.trigger());
        assert!(!stop.trigger());
        for _ in 0..3 {
            assert_eq!(stop.wait_readable(&socket, None).unwrap(), Wake::Stopping);
        }
        assert!(stop.wait(Instant::now() + Duration::from_secs(60)).unwrap());
    }
}
