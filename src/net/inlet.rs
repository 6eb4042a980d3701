//! The reading side of a client's socket.

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::net::outlet::Outlet;
use crate::net::stream::Stream;

/// What a read has brought.
#[derive(Debug)]
pub(crate) enum Read<'b> {
    Bytes(&'b [u8]),
    /// The peer has been silent for so long: the timeout, or less when a
    /// signal has cut the wait short.
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
    /// initialised: its memory is not touched before bytes come.
    pub(crate) fn receive<'b>(
        &mut self,
        buffer: &'b mut [MaybeUninit<u8>],
        timeout: Option<Duration>,
    ) -> Read<'b> {
        self.set_timeout(timeout);
        let start = Instant::now();
        match self.socket.receive(buffer) {
            Ok([]) => Read::End,
            Ok(bytes) => Read::Bytes(bytes),
            Err(Errno::INTR) => Read::Silence(start.elapsed()),
            Err(Errno::AGAIN) => Read::Silence(timeout.unwrap_or_default()),
            Err(errno) => Read::Failed(io::Error::from(errno).kind()),
        }
    }

    pub(crate) fn socket(&self) -> &Stream {
        self.socket
    }

    /// Gives the peer up.
    pub(crate) fn abort(&self) {
        self.socket.abort();
    }

    /// Reads and forgets until the end of the stream: the peer's, or the
    /// hub's when the closing has taken too long.
    pub(crate) fn discard(&mut self, buffer: &mut [MaybeUninit<u8>]) {
        while let Read::Bytes(_) | Read::Silence(_) = self.receive(buffer, self.timeout) {}
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) {
        // Zero would mean for ever.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        if timeout != self.timeout {
            self.timeout = timeout;
            // It fails only when the socket is gone, as the read will tell.
            let _ = self.socket.set_read_timeout(timeout);
        }
    }
}
