//! A socket's own sends, whatever the bytes are.
//!
//! The socket blocks. Sends are non-blocking by a flag on each call, so that
//! reader and writer thread can still block on it. A broken pipe is an error,
//! whatever your program does about signals.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::poll::poll_until;

/// Sends as much as fits, without blocking.
pub(super) fn try_send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::io::retry_on_intr(|| send(&socket, bytes, flags))?)
}

/// Like [`try_send`], from several pieces.
pub(super) fn try_send_vectored(socket: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::io::retry_on_intr(|| {
        sendmsg(&socket, slices, &mut SendAncillaryBuffer::default(), flags)
    })?)
}

/// Sends at least one byte, and blocks for at most `timeout`; then it fails with
/// `WouldBlock`.
pub(super) fn send_within(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    timeout: Duration,
) -> io::Result<usize> {
    // A blocking send takes what fits and waits for room for the rest. When
    // its time is over it returns the part that fitted at first, which
    // would look like progress.
    let deadline = Instant::now() + timeout;
    while wait_writable(socket, deadline)? {
        match try_send_vectored(socket, slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Waits until the socket takes something (true), or the deadline passes
/// (false).
pub(super) fn wait_writable(socket: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    poll_until(&mut fds, Some(deadline))
}
