//! A client's bytes on their way into tungstenite.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::progress::Progress;

/// The stream that tungstenite reads: one read of the socket each time it is
/// armed, then `WouldBlock`, so that what one read brings goes on together.
/// What tungstenite writes is discarded: its answers are given by the hub.
#[derive(Debug)]
pub(crate) struct Inlet<'a> {
    socket: &'a TcpStream,
    early: Vec<u8>,
    armed: bool,
    timeout: Option<Duration>,
    /// How much the last armed read has brought; nothing: it timed out.
    pub(crate) read: usize,
    pub(crate) ended: bool,
    pub(crate) failed: Option<io::ErrorKind>,
    pub(crate) progress: Progress,
}

impl<'a> Inlet<'a> {
    pub(crate) fn new(socket: &'a TcpStream, early: Vec<u8>) -> Inlet<'a> {
        Inlet {
            socket,
            early,
            armed: false,
            timeout: None,
            read: 0,
            ended: false,
            failed: None,
            progress: Progress::default(),
        }
    }

    /// Allows one read, which may block for `timeout`.
    pub(crate) fn arm(&mut self, timeout: Option<Duration>) {
        self.armed = true;
        self.read = 0;
        // Zero would mean for ever.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        if timeout != self.timeout {
            self.timeout = timeout;
            // It fails only when the socket is gone, as the read will tell.
            let _ = self.socket.set_read_timeout(timeout);
        }
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.early.is_empty() {
            let n = self.early.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.early[..n]);
            self.early.drain(..n);
            return Ok(n);
        }
        loop {
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Reads and forgets until the end of the stream: the peer's, or the
    /// hub's when the closing has taken too long.
    pub(crate) fn discard(&mut self) {
        let mut scratch = [0; 1024];
        loop {
            match self.read_once(&mut scratch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

impl Read for Inlet<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.armed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.armed = false;
        match self.read_once(buffer) {
            Ok(n) => {
                self.ended = n == 0;
                self.read = n;
                self.progress.feed(&buffer[..n]);
                Ok(n)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.failed = Some(error.kind());
                }
                Err(error)
            }
        }
    }
}

impl Write for Inlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
