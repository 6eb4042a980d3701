//! A connection's byte stream, whatever carries it.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, Shutdown, getsockname, recv, shutdown, sockopt};

use super::outlet::{Outlet, Sent};
use super::poll::poll_until;
use super::raw;
use super::received::{Plain, Received};
use super::stop::{Stop, Wake};
use super::tls::{Certificates, NoTls, Session, shake_hands};

/// The most bytes that are drained.
const DRAIN_BYTES: usize = 256 * 1024;

/// A connection's byte stream. Everything outside of this module uses this
/// type, so that only this module knows what carries the bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    /// Set by the handshake, before anybody else uses the stream. On the heap,
    /// so that it costs a plain stream little.
    tls: OnceLock<Box<Session>>,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream {
            socket: socket.into(),
            tls: OnceLock::new(),
        }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Stream {
        Stream {
            socket: socket.into(),
            tls: OnceLock::new(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Stream {
    /// Makes this a stream over TLS, by the deadline. False: the peer does not
    /// speak TLS but plain text, of which nothing is read.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    pub(crate) fn secure(
        &self,
        certificates: &Certificates,
        stop: &Stop,
        deadline: Instant,
    ) -> Result<bool, NoTls> {
        match shake_hands(certificates, self.as_fd(), stop, deadline)? {
            Some(session) => Ok(self.tls.set(Box::new(session)).is_ok()),
            None => Ok(false),
        }
    }

    fn session(&self) -> Option<&Session> {
        self.tls.get().map(|session| &**session)
    }

    /// The certificates that the peer has shown, in DER, its own first.
    pub(crate) fn peer_certificates(&self) -> Vec<Vec<u8>> {
        let session = self.session();
        session.map(Session::peer_certificates).unwrap_or_default()
    }

    /// Reads once into memory that need not be initialised; it is not touched
    /// before bytes come.
    pub(super) fn receive<'b>(
        &self,
        buffer: &'b mut [MaybeUninit<u8>],
    ) -> io::Result<Received<Plain<'b>>> {
        if let Some(session) = self.session() {
            return session.receive(self.as_fd(), buffer);
        }
        Ok(match recv(self, buffer, RecvFlags::empty())? {
            (([], _), _) => Received::End,
            ((bytes, _), _) => Received::Bytes(Plain::Here(bytes)),
        })
    }

    /// Reads once into initialised memory; returns how many bytes have come.
    pub(crate) fn receive_into(&self, buffer: &mut [u8]) -> io::Result<Received<usize>> {
        if let Some(session) = self.session() {
            return session.receive_into(self.as_fd(), buffer);
        }
        Ok(match recv(self, buffer, RecvFlags::empty())? {
            (0, _) => Received::End,
            (len, _) => Received::Bytes(len),
        })
    }

    /// Waits until a read returns at once, the server stops, or `deadline`
    /// passes. What has come may be the beginning of a TLS record only; the
    /// read is interrupted then.
    pub(crate) fn wait_readable(&self, stop: &Stop, deadline: Option<Instant>) -> io::Result<Wake> {
        match self.session() {
            Some(session) if session.is_readable() => Ok(Wake::Ready),
            _ => stop.wait_readable(self, deadline),
        }
    }

    /// Ends our direction of the stream, and waits for at most `timeout` until
    /// that can be said.
    pub(crate) fn finish_within(&self, timeout: Duration) {
        if let Some(session) = self.session() {
            session.say_goodbye(self.as_fd(), timeout);
        }
        // It fails only when the connection is gone already.
        let _ = shutdown(self, Shutdown::Write);
    }

    /// Discards what comes from the socket, until the end of the stream or the
    /// deadline.
    pub(crate) fn drain(&self, deadline: Instant) -> io::Result<()> {
        let mut scratch = [0; 1024];
        let mut drained = 0;
        while drained < DRAIN_BYTES {
            let mut fds = [PollFd::new(&self, PollFlags::IN)];
            if !poll_until(&mut fds, Some(deadline))? {
                break;
            }
            match self.discard(&mut scratch)? {
                0 => break,
                n => drained += n,
            }
        }
        Ok(())
    }

    /// Reads what has come from the socket, whatever it means; zero at the end
    /// of the stream.
    pub(crate) fn discard(&self, scratch: &mut [u8]) -> io::Result<usize> {
        let (len, _) = recv(self, scratch, RecvFlags::empty())?;
        Ok(len)
    }

    /// Sets how long a read may block; `None` for no limit.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let kind = sockopt::Timeout::Recv;
        Ok(sockopt::set_socket_timeout(self, kind, timeout)?)
    }

    /// Makes every read and write of this stream return at once, or block.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self, nonblocking)?)
    }

    /// Sends small pieces at once. Fails for a stream without such a setting,
    /// which never gathers them.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(self, true)?)
    }

    /// Our own address, if it is a network address.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        getsockname(self).ok()?.try_into().ok()
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.receive_into(buffer)? {
            Received::Bytes(len) => Ok(len),
            Received::Nothing => Err(io::ErrorKind::Interrupted.into()),
            Received::End => Ok(0),
        }
    }
}

impl Outlet for Stream {
    fn try_send(&self, bytes: &[u8]) -> io::Result<Sent> {
        match self.session() {
            Some(session) => session.try_send(self.as_fd(), &[IoSlice::new(bytes)]),
            None => Ok(Sent::whole(raw::try_send(self, bytes)?)),
        }
    }

    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self.session() {
            Some(session) => session.try_send(self.as_fd(), slices),
            None => Ok(Sent::whole(raw::try_send_vectored(self, slices)?)),
        }
    }

    fn send_within(&self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize> {
        match self.session() {
            Some(session) => session.send_within(self.as_fd(), slices, timeout),
            None => raw::send_within(self.as_fd(), slices, timeout),
        }
    }

    fn flush_within(&self, timeout: Duration) -> io::Result<()> {
        match self.session() {
            Some(session) => session.flush_within(self.as_fd(), timeout),
            None => Ok(()),
        }
    }

    fn finish(&self) {
        self.finish_within(Duration::ZERO);
    }

    fn end(&self) {
        let _ = shutdown(self, Shutdown::Both);
    }

    fn abort(&self) {
        let _ = sockopt::set_socket_linger(self, Some(Duration::ZERO));
        self.end();
    }
}
