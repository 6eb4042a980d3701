//! The reading side of a client's socket.

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use crate::net::outlet::Outlet;
use crate::net::received::{Plain, Received};
use crate::net::stream::Stream;

/// What a read has brought. `B` stands for the bytes.
#[derive(Debug)]
pub(crate) enum Read<B> {
    Bytes(B),
    /// The peer was silent for this long: the timeout, or less if a signal
    /// interrupted the wait, or what came is the beginning of a TLS record.
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
    ) -> Read<Plain<'b>> {
        let start = self.set_timeout(timeout);
        let received = self.socket.receive(buffer);
        self.read(received, start)
    }

    /// The same with memory that is initialised; returns how many bytes have
    /// come.
    pub(crate) fn receive_into(
        &mut self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> Read<usize> {
        let start = self.set_timeout(timeout);
        let received = self.socket.receive_into(buffer);
        self.read(received, start)
    }

    /// What it means what a read has brought that began at `start`.
    fn read<B>(&self, received: io::Result<Received<B>>, start: Instant) -> Read<B> {
        match received.map_err(|error| error.kind()) {
            Ok(Received::Bytes(bytes)) => Read::Bytes(bytes),
            // A peer that sends a record drop by drop is silent, too.
            Ok(Received::Nothing) | Err(io::ErrorKind::Interrupted) => {
                Read::Silence(start.elapsed())
            }
            Ok(Received::End) => Read::End,
            Err(io::ErrorKind::WouldBlock) => Read::Silence(self.timeout.unwrap_or_default()),
            Err(kind) => Read::Failed(kind),
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
