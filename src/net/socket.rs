//! What an outbox asks of a socket, and how a TCP socket answers.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg, sockopt};

use crate::net::poll::poll_until;

/// The sending side of a client's socket.
pub(crate) trait Socket: Debug + Send + Sync {
    /// Sends as much as fits, without blocking.
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Like [`try_send`](Socket::try_send), from several pieces.
    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends at least one byte, blocking for at most `timeout`, which must
    /// not be zero; then it fails with `WouldBlock`.
    fn send_within(&self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize>;

    /// Ends our direction of the stream: the peer reads the end of stream
    /// behind what was sent.
    fn finish(&self);

    /// Ends both directions; whoever is blocked on the socket returns. What
    /// was sent still goes out.
    fn end(&self);

    /// Like [`end`](Socket::end), but nothing goes out any more: what is
    /// unsent is dropped when the socket is closed, and the peer gets a
    /// reset. Otherwise the system keeps offering it for minutes to a peer
    /// that does not read.
    fn abort(&self);
}

/// Sends all of it by the deadline, however little the peer takes at a time.
pub(crate) fn send_all(
    socket: &dyn Socket,
    mut slices: &mut [IoSlice<'_>],
    deadline: Instant,
) -> io::Result<()> {
    // Empty slices are nothing to send.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let sent = socket.send_within(slices, left)?;
        IoSlice::advance_slices(&mut slices, sent);
    }
    Ok(())
}

/// A blocking TCP socket: only the flag of a single send makes that send
/// non-blocking, so reader and writer thread can still block on it. A broken
/// pipe is an error, whatever the embedding program does about signals.
impl Socket for TcpStream {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::io::retry_on_intr(|| send(self, bytes, flags))?)
    }

    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::io::retry_on_intr(|| {
            sendmsg(self, slices, &mut SendAncillaryBuffer::default(), flags)
        })?)
    }

    fn send_within(&self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize> {
        // A blocking send takes what fits, waits for room for the rest, and
        // returns the first part when its time is over: that would look like
        // progress and be none.
        let deadline = Instant::now() + timeout;
        let mut fds = [PollFd::new(self, PollFlags::OUT)];
        while poll_until(&mut fds, Some(deadline))? {
            match self.try_send_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn finish(&self) {
        // It fails only when the connection is gone already.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }

    fn abort(&self) {
        let _ = sockopt::set_socket_linger(self, Some(Duration::ZERO));
        self.end();
    }
}
