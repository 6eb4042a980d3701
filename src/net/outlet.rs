//! What an outbox asks of a client's stream: its sending side.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// What a non-blocking send has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// How many bytes were taken. They need not, and must not, be sent again.
    pub(crate) bytes: usize,
    /// How many bytes the stream owes the peer: what it has encrypted and the
    /// socket has not taken yet. They go out with the next send.
    pub(crate) owed: usize,
}

impl Sent {
    /// What a stream that owes nothing has taken.
    pub(crate) fn whole(bytes: usize) -> Sent {
        Sent { bytes, owed: 0 }
    }
}

/// The sending side of a client's socket. Only one thread at a time may send;
/// the outbox decides which.
pub(crate) trait Outlet: Debug + Send + Sync {
    /// Sends as much as fits, without blocking.
    fn try_send(&self, bytes: &[u8]) -> io::Result<Sent>;

    /// Like [`try_send`](Outlet::try_send), from several pieces.
    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<Sent>;

    /// Takes at least one byte, after what is owed is out, and blocks for at
    /// most `timeout`, which must not be zero; then it fails with `WouldBlock`.
    fn send_within(&self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize>;

    /// Sends what is owed, and blocks for at most `timeout`; then it fails with
    /// `WouldBlock`. A stream that never owes anything has nothing to do.
    fn flush_within(&self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    /// Ends our direction of the stream: the peer reads the end of stream
    /// behind what was sent.
    fn finish(&self);

    /// Ends both directions; a thread that is blocked on the socket returns.
    /// What was sent still goes out.
    fn end(&self);

    /// Like [`end`](Outlet::end), but nothing goes out any more: what is unsent
    /// is dropped when the socket is closed, and the peer gets a reset.
    /// Otherwise the system would go on sending for minutes to a peer that does
    /// not read.
    fn abort(&self);
}

/// Sends everything by the deadline, however little the peer takes at a time.
pub(crate) fn send_all(
    socket: &dyn Outlet,
    mut slices: &mut [IoSlice<'_>],
    deadline: Instant,
) -> io::Result<()> {
    // Skips empty slices, which would look like no progress.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let sent = socket.send_within(slices, left)?;
        IoSlice::advance_slices(&mut slices, sent);
    }
    socket.flush_within(deadline.saturating_duration_since(Instant::now()))
}
