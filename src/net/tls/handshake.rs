//! The TLS handshake, from the first byte to the session.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, Error, PeerIncompatible};

use super::certificates::Certificates;
use super::session::{Session, encode};
use crate::net::raw;
use crate::net::stop::{Stop, Wake};

/// How much is read at a time: most of a client's first message.
const READ: usize = 2048;

/// Why there is no TLS session.
#[derive(Debug)]
pub(crate) enum NoTls {
    /// The server is stopping.
    Stopping,
    /// The handshake took too long.
    TimedOut,
    /// The stream has ended or failed.
    Gone(io::ErrorKind),
    /// The two do not agree, or one of them does not speak TLS.
    Failed(Error),
}

impl NoTls {
    /// The reason in a word, one of
    /// [`TLS_FAILURES`](crate::stats::TLS_FAILURES).
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            NoTls::Stopping => "stopping",
            NoTls::TimedOut => "timed_out",
            NoTls::Gone(_) => "gone",
            NoTls::Failed(error) => match error {
                Error::InvalidMessage(_) => "not_tls",
                Error::NoApplicationProtocol => "no_alpn",
                Error::PeerIncompatible(
                    PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
                ) => "no_certificate",
                Error::PeerIncompatible(_) => "no_shared_version_or_cipher",
                Error::NoCertificatesPresented | Error::InvalidCertificate(_) => "no_certificate",
                Error::AlertReceived(AlertDescription::ProtocolVersion) => {
                    "no_shared_version_or_cipher"
                }
                Error::AlertReceived(_) => "refused_by_peer",
                _ => "other",
            },
        }
    }
}

impl fmt::Display for NoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoTls::Stopping => f.write_str("the server is stopping"),
            NoTls::TimedOut => f.write_str("the handshake did not end in time"),
            NoTls::Gone(kind) => write!(f, "gone in the handshake: {kind}"),
            NoTls::Failed(error) => error.fmt(f),
        }
    }
}

impl From<Error> for NoTls {
    fn from(error: Error) -> NoTls {
        NoTls::Failed(error)
    }
}

fn gone(error: io::Error) -> NoTls {
    NoTls::Gone(error.kind())
}

/// What the handshake needs next.
enum Step {
    Go,
    Read,
    Done,
}

/// Shakes hands by the deadline, however slowly the peer's bytes come. `None`:
/// the peer speaks plain text, of which nothing is read.
pub(in crate::net) fn shake_hands(
    certificates: &Certificates,
    socket: BorrowedFd<'_>,
    stop: &Stop,
    deadline: Instant,
) -> Result<Option<Session>, NoTls> {
    wait(socket, stop, deadline)?;
    if speaks_plain_text(socket) {
        return Ok(None);
    }
    let mut connection = UnbufferedServerConnection::new(certificates.config())?;
    let (mut incoming, mut outgoing, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut incoming);
        let step = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, &mut outgoing)?;
                Step::Go
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                send(socket, &mut outgoing, deadline)?;
                data.done();
                Step::Go
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    plain.extend_from_slice(record?.payload);
                }
                Step::Go
            }
            Ok(ConnectionState::BlockedHandshake) => Step::Read,
            // We may send before the peer has finished.
            Ok(ConnectionState::WriteTraffic(_)) => Step::Done,
            Ok(_) => return Err(NoTls::Gone(io::ErrorKind::UnexpectedEof)),
            Err(error) => {
                // It is told, as well as possible. Nothing is decrypted again
                // while there is something to say.
                while connection.wants_write()
                    && let UnbufferedStatus {
                        state: Ok(ConnectionState::EncodeTlsData(mut alert)),
                        ..
                    } = connection.process_tls_records(&mut [])
                {
                    encode(&mut alert, &mut outgoing)?;
                }
                let _ = raw::try_send(socket, &outgoing);
                return Err(error.into());
            }
        };
        incoming.drain(..discard);
        match step {
            Step::Go => {}
            Step::Done if !connection.is_handshaking() => {
                let session = Session::new(connection, incoming, plain);
                return session.map(Some).map_err(gone);
            }
            Step::Read | Step::Done => receive(socket, &mut incoming, stop, deadline)?,
        }
    }
}

fn wait(socket: BorrowedFd<'_>, stop: &Stop, deadline: Instant) -> Result<(), NoTls> {
    match stop.wait_readable(socket, Some(deadline)).map_err(gone)? {
        Wake::Ready => Ok(()),
        Wake::Stopping => Err(NoTls::Stopping),
        Wake::TimedOut => Err(NoTls::TimedOut),
    }
}

/// Whether the first byte that has come is a letter, as every HTTP request
/// begins with, and no TLS record does.
fn speaks_plain_text(socket: BorrowedFd<'_>) -> bool {
    let mut first = [0];
    let peeked = recv(socket, &mut first, RecvFlags::PEEK);
    peeked.is_ok_and(|(len, _)| len == 1 && first[0].is_ascii_alphabetic())
}

fn receive(
    socket: BorrowedFd<'_>,
    incoming: &mut Vec<u8>,
    stop: &Stop,
    deadline: Instant,
) -> Result<(), NoTls> {
    wait(socket, stop, deadline)?;
    incoming.reserve(READ);
    match recv(socket, spare_capacity(incoming), RecvFlags::empty()) {
        Ok((0, _)) => Err(NoTls::Gone(io::ErrorKind::UnexpectedEof)),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(gone(errno.into())),
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &mut Vec<u8>, deadline: Instant) -> Result<(), NoTls> {
    let mut sent = 0;
    while sent < bytes.len() {
        match raw::try_send(socket, &bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !raw::wait_writable(socket, deadline).map_err(gone)? {
                    return Err(NoTls::TimedOut);
                }
            }
            Err(error) => return Err(gone(error)),
        }
    }
    bytes.clear();
    Ok(())
}
