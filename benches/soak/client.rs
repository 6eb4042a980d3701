//! One WebSocket client under full control: every byte, every pause, every way to
//! end. Its socket never blocks; what waits here waits until a deadline.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::TcpMaxSeg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use crate::kit::Result;
use crate::kit::frame::{Frame, Opcode, Parsed, masked};
use crate::kit::http::{self, MAX_HEAD, check_upgrade, handshake, head_end};
use crate::kit::socket::{self, dial_prepared, is_transient, reset_on_drop};

/// How long whatever is waited for may take, unless it is said otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The segments of an ordinary network. Over loopback they would be 64 KiB, and
/// the system would keep some megabytes for a client that does not read.
const SEGMENT: u32 = 1460;
/// The receive buffer of a client that is slow.
const TIGHT: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    /// Bytes received, and how many of them are used up.
    buffer: Vec<u8>,
    used: usize,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes,
    Nothing,
    /// The end of the stream, or a reset.
    End,
}

/// A TCP connection to the server. It ends with a reset, so that no port stays in
/// TIME_WAIT.
pub(crate) fn dial(address: SocketAddr) -> Result<TcpStream> {
    ready(socket::dial(address, PATIENCE)?)
}

/// Like [`dial`], from this address of our own.
pub(crate) fn dial_from(source: SocketAddrV4, address: SocketAddr) -> Result<TcpStream> {
    let stream = dial_prepared(address, |socket| Ok(rustix::net::bind(socket, &source)?));
    ready(stream?)
}

/// Like [`dial`], with as small buffers on both sides as a slow, distant client has.
fn dial_tight(address: SocketAddr) -> Result<TcpStream> {
    let stream = dial_prepared(address, |socket| {
        sockopt::set_socket_recv_buffer_size(socket, TIGHT)?;
        Ok(setsockopt(socket, TcpMaxSeg, &SEGMENT)?)
    });
    ready(stream?)
}

fn ready(stream: TcpStream) -> Result<TcpStream> {
    reset_on_drop(&stream)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

impl Client {
    /// Connects and enters a room.
    pub(crate) fn join(address: SocketAddr, path: &str) -> Result<Client> {
        Client::open(dial(address)?, path)
    }

    /// Like [`Client::join`], over a connection with small buffers.
    pub(crate) fn join_tight(address: SocketAddr, path: &str) -> Result<Client> {
        Client::open(dial_tight(address)?, path)
    }

    fn open(socket: TcpStream, path: &str) -> Result<Client> {
        let mut client = Client::over(socket);
        client.write(&handshake(path))?;
        check_upgrade(&client.read_head()?)?;
        Ok(client)
    }

    /// Follows a room as server-sent events.
    pub(crate) fn follow(address: SocketAddr, path: &str) -> Result<Client> {
        let mut client = Client::over(dial(address)?);
        client.write(&http::follow(path, &[]))?;
        let head = client.read_head()?;
        match head.starts_with("HTTP/1.1 200") {
            true => Ok(client),
            false => Err(format!("no events: {head:?}").into()),
        }
    }

    /// A client that has said nothing yet.
    pub(crate) fn over(socket: TcpStream) -> Client {
        Client {
            socket,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// Reads the head of an HTTP answer, or as much as came before the end.
    pub(crate) fn read_head(&mut self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = head_end(&self.buffer) {
                self.used = end;
                break;
            }
            if self.buffer.len() > MAX_HEAD || !self.fill_by(MAX_HEAD, deadline)? {
                self.used = self.buffer.len();
                break;
            }
        }
        Ok(String::from_utf8_lossy(&self.buffer[..self.used]).into_owned())
    }

    /// The head of an HTTP answer, if all of it has been read.
    pub(crate) fn head(&mut self) -> Option<String> {
        self.used = head_end(&self.buffer)?;
        Some(String::from_utf8_lossy(&self.buffer[..self.used]).into_owned())
    }

    /// The address by which the server knows this client.
    pub(crate) fn local(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Reads once, at most `most` bytes, without waiting.
    pub(crate) fn fill(&mut self, most: usize) -> Got {
        self.buffer.drain(..self.used);
        self.used = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + most, 0);
        let read = (&self.socket).read(&mut self.buffer[len..]);
        let n = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(len + n);
        match read {
            Ok(0) => Got::End,
            Ok(_) => Got::Bytes,
            Err(error) if is_transient(&error) => Got::Nothing,
            Err(_) => Got::End,
        }
    }

    /// Waits for bytes and reads once. False: the stream has ended.
    fn fill_by(&mut self, most: usize, deadline: Instant) -> Result<bool> {
        loop {
            match self.fill(most) {
                Got::Bytes => return Ok(true),
                Got::End => return Ok(false),
                Got::Nothing => wait(&self.socket, PollFlags::IN, deadline)?,
            }
        }
    }

    /// The next frame of what has been read.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>> {
        let Some(frame) = Parsed::parse(&self.buffer[self.used..])? else {
            return Ok(None);
        };
        if !frame.fin {
            return Err("a frame without FIN, which this server never sends".into());
        }
        self.used += frame.len;
        Ok(Some(frame.to_frame()))
    }

    /// Waits for the next frame. `None`: the stream has ended.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(Some(frame));
            }
            if !self.fill_by(64 * 1024, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether these bytes come before the deadline.
    pub(crate) fn reads(&mut self, bytes: &[u8], deadline: Instant) -> bool {
        loop {
            let came = &self.buffer[self.used..];
            if came.windows(bytes.len()).any(|part| part == bytes) {
                return true;
            }
            // What is used up would be dropped by the next read, and what came is not.
            let used = std::mem::take(&mut self.used);
            self.buffer.drain(..used);
            if !matches!(self.fill_by(4096, deadline), Ok(true)) {
                return false;
            }
        }
    }

    /// Forgets what has been read.
    pub(crate) fn forget(&mut self) {
        self.used = self.buffer.len();
    }

    /// Reads everything until the end; the code of the Close frame, if one came.
    pub(crate) fn read_to_close(&mut self) -> Result<Option<u16>> {
        let deadline = Instant::now() + PATIENCE;
        let mut code = None;
        while let Some(frame) = self.next(deadline)? {
            code = frame.close_code().or(code);
            if frame.opcode == Opcode::Close {
                // The answer may come too late: the server has seen enough.
                drop(self.say(Opcode::Close, &frame.payload[..2.min(frame.payload.len())]));
            }
        }
        Ok(code)
    }

    /// Sends one whole frame.
    pub(crate) fn say(&mut self, opcode: Opcode, payload: &[u8]) -> Result<()> {
        self.write(&masked(opcode, payload))
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = bytes;
        while !rest.is_empty() {
            match (&self.socket).write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(error) if is_transient(&error) => {
                    wait(&self.socket, PollFlags::OUT, deadline)?;
                }
                Err(error) => return Err(format!("sending: {error}").into()),
            }
        }
        Ok(())
    }
}

/// Waits until the socket is ready, and fails when the deadline passes.
fn wait(socket: &TcpStream, what: PollFlags, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("it took too long".into());
    }
    let timeout = Timespec::try_from(left)?;
    match poll(&mut [PollFd::new(socket, what)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
