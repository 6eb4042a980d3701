//! A connection's byte stream, whatever carries it.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, getsockname, recv, send, shutdown, sockopt};

use super::outlet::{Outlet, Sent};
use super::raw;

/// A connection's byte stream. Everything outside of this module uses this
/// type, so that only this module knows what carries the bytes.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream {
            socket: socket.into(),
        }
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Stream {
        Stream {
            socket: socket.into(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Stream {
    /// Reads once into memory that need not be initialised; it is not touched
    /// before bytes come. `None` if the peer has ended the stream.
    pub(crate) fn receive<'b>(
        &self,
        buffer: &'b mut [MaybeUninit<u8>],
    ) -> Result<&'b mut [u8], rustix::io::Errno> {
        let ((bytes, _), _) = recv(self, buffer, RecvFlags::empty())?;
        Ok(bytes)
    }

    /// Reads once into initialised memory; returns how many bytes have come.
    /// `None` if the peer has ended the stream.
    pub(crate) fn receive_into(&self, buffer: &mut [u8]) -> Result<usize, rustix::io::Errno> {
        let (len, _) = recv(self, buffer, RecvFlags::empty())?;
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
        let (n, _) = recv(self, buffer, RecvFlags::empty())?;
        Ok(n)
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outlet for Stream {
    fn try_send(&self, bytes: &[u8]) -> io::Result<Sent> {
        Ok(Sent::whole(raw::try_send(&self.socket, bytes)?))
    }

    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        Ok(Sent::whole(raw::try_send_vectored(&self.socket, slices)?))
    }

    fn send_within(&self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize> {
        raw::send_within(self.as_fd(), slices, timeout)
    }

    fn finish(&self) {
        // It fails only when the connection is gone already.
        let _ = shutdown(self, Shutdown::Write);
    }

    fn end(&self) {
        let _ = shutdown(self, Shutdown::Both);
    }

    fn abort(&self) {
        let _ = sockopt::set_socket_linger(self, Some(Duration::ZERO));
        self.end();
    }
}
