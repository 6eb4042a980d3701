//! The reading side of a client's socket.

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::net::outlet::Outlet;
use crate::net::stream::Stream;

/// What a read has brought. `B` stands for the bytes.
#[derive(Debug)]
pub(crate) enum Read<B> {
    Bytes(B),
    /// The peer was silent for this long: the timeout, or less if a signal
    /// interrupted the wait.
    Silence(Duration),
    /// The peer has ended the stream.
    End,
    Failed(io::ErrorKind),
}

/// Reads a client's socket.
#[derive(Debug)]
pub(crate) struct Inlet<'a> {
    socket: &'a Stream,
    timeout: Option<Duration>,
}

impl<'a> Inlet<'a> {
    pub(crate) fn new(socket: &'a Stream) -> Inlet<'a> {
        Inlet {
            socket,
            timeout: None,
        }
    }

    /// Reads once, blocking for at most `timeout`. The buffer need not be
    /// initialised: its memory stays untouched until bytes come.
    pub(crate) fn receive<'b>(
        &mut self,
        buffer: &'b mut [MaybeUninit<u8>],
        timeout: Option<Duration>,
    ) -> Read<&'b mut [u8]> {
        let start = self.set_timeout(timeout);
        match self.socket.receive(buffer) {
            Ok([]) => Read::End,
            Ok(bytes) => Read::Bytes(bytes),
            Err(errno) => self.failed(errno, start),
        }
    }

    /// The same with memory that is initialised; returns how many bytes have
    /// come.
    pub(crate) fn receive_into(
        &mut self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> Read<usize> {
        let start = self.set_timeout(timeout);
        match self.socket.receive_into(buffer) {
            Ok(0) => Read::End,
            Ok(len) => Read::Bytes(len),
            Err(errno) => self.failed(errno, start),
        }
    }

    /// What it means that a read which began at `start` brought no bytes.
    fn failed<B>(&self, errno: Errno, start: Instant) -> Read<B> {
        match errno {
            Errno::INTR => Read::Silence(start.elapsed()),
            Errno::AGAIN => Read::Silence(self.timeout.unwrap_or_default()),
            errno => Read::Failed(io::Error::from(errno).kind()),
        }
    }

    pub(crate) fn socket(&self) -> &Stream {
        self.socket
    }

    /// Gives the peer up.
    pub(crate) fn abort(&self) {
        self.socket.abort();
    }

    /// Discards what comes, until the peer ends the stream, or the hub does
    /// because closing took too long.
    pub(crate) fn discard(&mut self, buffer: &mut [MaybeUninit<u8>]) {
        while let Read::Bytes(_) | Read::Silence(_) = self.receive(buffer, self.timeout) {}
    }

    /// Sets how long the next read may block; returns the time.
    fn set_timeout(&mut self, timeout: Option<Duration>) -> Instant {
        // Zero would mean no timeout.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        if timeout != self.timeout {
            self.timeout = timeout;
            // It fails only when the socket is gone, which the read reports.
            let _ = self.socket.set_read_timeout(timeout);
        }
        Instant::now()
    }
}
