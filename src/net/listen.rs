//! What a server listens on: a TCP port or a Unix socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::stream::Stream;
use super::unix::{self, SocketFile};
use crate::error::Error;

/// How many connections may wait to be accepted: std asks for 128, and a
/// burst beyond it costs each client a second for its retransmitted SYN.
pub(crate) const LISTEN_BACKLOG: i32 = 4096;

/// A socket that is listened on: a TCP port or a Unix socket. Given to
/// [`ServerBuilder::from_listener`](crate::ServerBuilder::from_listener) and
/// [`ServerBuilder::also_listen`](crate::ServerBuilder::also_listen); made from
/// an address, a path, or a listener of the standard library.
///
/// The text is its address, as in `127.0.0.1:8080` or `unix:/run/chat.sock`.
///
/// ```
/// use hubcast::{Listener, Server};
///
/// let path = std::env::temp_dir().join(format!("chat-{}.sock", std::process::id()));
/// let running = Server::builder()
///     .also_listen(Listener::bind_unix(&path, Some(0o600))?)
///     .bind("127.0.0.1:0")?
///     .spawn()?;
/// assert!(path.exists());
/// running.shutdown()?;
/// assert!(!path.exists());
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    pub(crate) is_shared: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// With its file, if that is ours to remove.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    /// Listens on an address, with a long backlog. If a name stands for several
    /// addresses, it is the first that is free. Port 0 takes a free port.
    ///
    /// Blocks only where a name has to be looked up.
    ///
    /// # Errors
    ///
    /// The address cannot be parsed
    /// ([`ErrorKind::Config`](crate::ErrorKind::Config)), or the system refuses
    /// it ([`Bind`](crate::ErrorKind::Bind)).
    pub fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<Listener, Error> {
        let bound = TcpListener::bind(&address).and_then(|listener| {
            rustix::net::listen(&listener, LISTEN_BACKLOG)?;
            Ok(listener)
        });
        bound
            .map(Listener::from)
            .map_err(|error| match error.kind() {
                // The address cannot be parsed, so no system could listen on it.
                io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
                    let line =
                        format!("cannot listen on {address:?}: {error}; HOST:PORT is expected");
                    Error::config(line)
                }
                _ => Error::bind(format!("cannot listen on {address:?}"), error),
            })
    }

    /// Listens on a Unix socket at `path`, with a long backlog. `mode` is the
    /// file's mode, of which write permission lets others connect; `None`
    /// leaves it to the umask.
    ///
    /// A socket that nobody listens on any more, as a server that was killed
    /// leaves it, is replaced. The file is removed when the server stops.
    ///
    /// # Errors
    ///
    /// Somebody listens there, the path is another kind of file, or the system
    /// refuses it ([`ErrorKind::Bind`](crate::ErrorKind::Bind)).
    pub fn bind_unix(path: impl AsRef<Path>, mode: Option<u32>) -> Result<Listener, Error> {
        let path = path.as_ref();
        let (listener, file) = unix::bind(path, mode, LISTEN_BACKLOG).map_err(|error| {
            Error::bind(format!("cannot listen on unix:{}", path.display()), error)
        })?;
        Ok(Listener {
            socket: Socket::Unix(listener, Some(file)),
            is_shared: false,
        })
    }

    /// Says that another process holds this socket too, as a service manager
    /// does with one that it passes on. Connections that nobody has accepted
    /// when the server stops are left to its successor; otherwise they are
    /// answered with 503.
    pub fn shared(mut self) -> Listener {
        self.is_shared = true;
        self
    }

    /// The address, with the real port; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Accepts a connection, and the peer's address if it is a network's. An
    /// IPv4 address is one, whatever socket it came by.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((socket.into(), Some(peer)))
            }
            Socket::Unix(listener, _) => Ok((listener.accept()?.0.into(), None)),
        }
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(listener) => listener.set_nonblocking(true),
            Socket::Unix(listener, _) => listener.set_nonblocking(true),
        }
    }
}

impl Listener {
    /// Bounds how many bytes the system keeps for each connection beyond those
    /// that are on their way to the peer (TCP_NOTSENT_LOWAT, which connections
    /// take over from their listener). 0: as many as it likes. Other systems
    /// than Linux have no such bound, and Unix sockets need none.
    pub(crate) fn bound_unsent(&self, bytes: usize) -> io::Result<()> {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Socket::Tcp(listener) = &self.socket {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            return socket2::SockRef::from(listener).set_tcp_notsent_lowat(bytes);
        }
        Ok(())
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener {
            socket: Socket::Tcp(listener),
            is_shared: false,
        }
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Listener {
        Listener {
            socket: Socket::Unix(listener, None),
            is_shared: false,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Socket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("a closed port"),
            },
            Socket::Unix(_, Some(file)) => write!(f, "unix:{}", file.path().display()),
            Socket::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                match path {
                    Some(path) => write!(f, "unix:{}", path.display()),
                    None => f.write_str("unix"),
                }
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_connection_takes_the_bound_over_from_its_listener() {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        listener.bound_unsent(12_345).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let socket = socket2::SockRef::from(&socket);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 12_345);
    }
}
