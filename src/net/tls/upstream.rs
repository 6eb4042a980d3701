//! TLS on a connection that this program makes: it is used by one thread, so
//! it needs none of what a client's session does.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore};

use super::certificates::{certificates, private_key};
use crate::error::Error;
use crate::net::raw;
use crate::net::received::Received;
use crate::net::stop::{Stop, Wake};

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Whom such a connection trusts, and what it shows.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// Trusts the authorities of a file, or those of the system, and shows a
    /// certificate where one is given, with its key.
    ///
    /// # Errors
    ///
    /// What is wrong with a file, in one line.
    pub(crate) fn new(
        authorities: Option<&Path>,
        own: Option<(&Path, &Path)>,
    ) -> Result<Trust, Error> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => {
                for authority in certificates("engine-ca", path)? {
                    roots.add(authority).map_err(|error| {
                        Error::config(format!("engine-ca {path:?} cannot be used: {error}"))
                    })?;
                }
            }
            None => {
                let system = SYSTEM.map(Path::new).into_iter().find(|path| path.exists());
                let Some(system) = system else {
                    return Err(Error::config(
                        "rediss:// needs engine-ca, the file of the authority that has signed the \
                         engine's certificate: this system has no list of authorities",
                    ));
                };
                roots.add_parsable_certificates(certificates("engine-ca", system)?);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config(format!("engine: {error}")))?
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("engine-cert", certificate)?;
                let secret = private_key("engine-key", key)?;
                let with = builder.with_client_auth_cert(chain, secret);
                with.map_err(|error| {
                    Error::config(format!(
                        "engine-cert {certificate:?} and engine-key {key:?}: {error}"
                    ))
                })?
            }
        };
        Ok(Trust(Arc::new(config)))
    }
}

/// A connection over TLS, which goes by a socket.
pub(crate) struct Upstream {
    tls: Box<ClientConnection>,
    /// How much plaintext has come and is not taken yet.
    plain: usize,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

impl Upstream {
    /// Shakes hands with a server of this name by the deadline.
    pub(crate) fn shake_hands(
        trust: &Trust,
        host: &str,
        socket: BorrowedFd<'_>,
        stop: &Stop,
        deadline: Instant,
    ) -> io::Result<Upstream> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| io::Error::other("a certificate cannot be for this name"))?;
        let tls = ClientConnection::new(trust.0.clone(), name).map_err(refused)?;
        let mut upstream = Upstream {
            tls: Box::new(tls),
            plain: 0,
        };
        while upstream.tls.is_handshaking() {
            if !upstream.flush(socket)? {
                if !raw::wait_writable(socket, deadline)? {
                    return Err(late());
                }
                continue;
            }
            match stop.wait_readable(socket, Some(deadline))? {
                Wake::Ready => {}
                Wake::Stopping => return Err(io::Error::other("the server is stopping")),
                Wake::TimedOut => return Err(late()),
            }
            if !upstream.fetch(socket)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(upstream)
    }

    /// Takes some of these bytes, and sends as much as can be sent at once.
    /// Fails with `WouldBlock` where nothing is taken.
    pub(crate) fn try_send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.tls.writer().write(bytes)?;
        match self.flush(socket)? || taken > 0 {
            true => Ok(taken),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether something that was taken is not sent.
    pub(crate) fn owes(&self) -> bool {
        self.tls.wants_write()
    }

    /// Whether a read returns plaintext without the socket.
    pub(crate) fn is_readable(&self) -> bool {
        self.plain > 0
    }

    /// Reads once.
    pub(crate) fn receive_into(
        &mut self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> io::Result<Received<usize>> {
        let is_open = self.plain > 0 || self.fetch(socket)?;
        let len = match self.plain {
            0 => 0,
            _ => self.tls.reader().read(buffer)?,
        };
        self.plain -= len;
        Ok(match (len, is_open) {
            (0, true) => Received::Nothing,
            (0, false) => Received::End,
            (len, _) => Received::Bytes(len),
        })
    }

    /// Reads the socket once; false at its end.
    fn fetch(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let is_open = match self.tls.read_tls(&mut Socket(socket)) {
            Ok(len) => len > 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => return Err(error),
        };
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                self.flush(socket)?;
                Ok(is_open && !state.peer_has_closed())
            }
            Err(error) => {
                // It is told, as well as possible.
                let _ = self.flush(socket);
                Err(refused(error))
            }
        }
    }

    /// Sends what can be sent at once; whether that was all.
    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Reads what has come, and writes what can be written at once.
struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (len, _) = recv(self.0, buffer, RecvFlags::empty())?;
        Ok(len)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        raw::try_send(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn late() -> io::Error {
    let text = "the handshake does not end in time; it may not speak TLS there";
    io::Error::new(ErrorKind::TimedOut, text)
}

/// What somebody must change is said so.
fn refused(error: rustls::Error) -> io::Error {
    use rustls::Error as Tls;
    let text = match &error {
        Tls::InvalidMessage(_) => {
            return io::Error::new(ErrorKind::InvalidData, "it does not speak TLS");
        }
        Tls::InvalidCertificate(_) => {
            format!("its certificate is not accepted: {error}; see engine-ca")
        }
        Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        ) => format!("it does not accept this node's certificate: {error}; see engine-cert"),
        _ => return io::Error::new(ErrorKind::InvalidData, error),
    };
    io::Error::new(ErrorKind::PermissionDenied, text)
}
