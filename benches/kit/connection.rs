//! One connection of the load generator: a non-blocking socket after its opening
//! handshake, the start of a frame that is not complete yet, and bytes that the
//! socket has not taken yet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use super::Result;
use super::frame::Dialect;
use super::http::{MAX_HEAD, check_upgrade, handshake, head_end};
use super::socket::{dial, is_transient, reset_on_drop};
use super::tls::{Identity, Session};

/// How long connecting and each half of the opening handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    /// Over TLS.
    session: Option<Session>,
    /// The number of the next message that this client has to receive.
    pub(crate) next: u64,
    /// The start of an incomplete frame.
    partial: Vec<u8>,
    unsent: Vec<u8>,
    /// Whether the epoll set watches for room to write.
    pub(crate) waits_to_write: bool,
}

impl Connection {
    /// Connects and, as a WebSocket client, asks for the upgrade to the room of this
    /// path. The answer is
    /// left for [`Connection::finish`], so that many can be under way at once.
    pub(crate) fn start(
        address: SocketAddr,
        path: &str,
        dialect: Dialect,
        tls: Option<&Identity>,
    ) -> Result<Connection> {
        let socket = dial(address, PATIENCE)?;
        reset_on_drop(&socket)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = tls.map(|identity| identity.connect(&socket)).transpose()?;
        let mut connection = Connection {
            socket,
            session,
            next: 0,
            partial: Vec::new(),
            unsent: Vec::new(),
            waits_to_write: false,
        };
        if dialect == Dialect::Client {
            connection.unsent = handshake(path);
            connection.flush()?;
        }
        Ok(connection)
    }

    /// Waits for the answer to the upgrade request, and turns non-blocking.
    pub(crate) fn finish(&mut self, dialect: Dialect) -> Result<()> {
        if dialect == Dialect::Client {
            self.read_head()?;
        }
        self.socket.set_nonblocking(true)?;
        Ok(())
    }

    fn read_head(&mut self) -> Result<()> {
        let mut head = Vec::new();
        let mut buffer = [0; MAX_HEAD];
        loop {
            let len = self.read(&mut buffer)?;
            head.extend_from_slice(&buffer[..len]);
            match head_end(&head) {
                Some(end) => {
                    self.partial = head.split_off(end);
                    break;
                }
                None if len == 0 || head.len() > MAX_HEAD => break,
                None => {}
            }
        }
        check_upgrade(&String::from_utf8_lossy(&head))
    }

    /// Gives the peer the smallest receive buffer there is: a client that is about
    /// to stall.
    pub(crate) fn shrink(&self) -> Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size(&self.socket, 1)?)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.read(&self.socket, buffer),
            None => (&self.socket).read(buffer),
        }
    }

    /// Reads once. `None`: there was nothing.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match self.read(buffer) {
            Ok(0) => Err("the server ended the connection".into()),
            Ok(len) => Ok(Some(len)),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(format!("receiving: {error}").into()),
        }
    }

    /// Gives `use_up` the bytes received after those left over from before. It
    /// answers with how many it used; the rest is kept for the next time.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        use_up: impl FnOnce(&mut u64, &[u8]) -> Result<usize>,
    ) -> Result<()> {
        if self.partial.is_empty() {
            let used = use_up(&mut self.next, bytes)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let used = use_up(&mut self.next, &self.partial)?;
            self.partial.drain(..used);
        }
        Ok(())
    }

    /// Puts bytes behind those that the socket has not taken yet.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// Writes what the socket takes. False: some bytes are left.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        if let Some(session) = &mut self.session {
            let is_written = session.write(&self.socket, &self.unsent);
            self.unsent.clear();
            return is_written.map_err(|error| format!("sending: {error}").into());
        }
        let mut written = 0;
        while written < self.unsent.len() {
            match (&self.socket).write(&self.unsent[written..]) {
                Ok(len) => written += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(format!("sending: {error}").into()),
            }
        }
        self.unsent.drain(..written);
        Ok(self.unsent.is_empty())
    }
}
