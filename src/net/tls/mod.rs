//! TLS (RFC 8446, RFC 5246) on a stream: the handshake, what is encrypted and
//! decrypted, and the certificate.
//!
//! One connection is used by two threads: one reads, and one sends (the hub, or
//! the client's writer thread). Whoever sends encrypts. The session's state is
//! behind a mutex that is held for one record's cryptography and never across a
//! system call. The hub tries it for 2 µs and otherwise
//! treats the client as one whose socket is full. rustls 0.24 splits a
//! connection in a sending and a receiving half, which needs no such lock; only
//! this module would change.
//!
//! Without the feature `tls` no stream has a session, and there is no code for
//! one.

#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod handshake;
#[cfg(not(feature = "tls"))]
mod off;
#[cfg(feature = "tls")]
mod session;
#[cfg(all(feature = "tls", feature = "redis"))]
mod upstream;

#[cfg(feature = "tls")]
pub(crate) use certificates::Certificates;
#[cfg(feature = "tls")]
pub(crate) use handshake::NoTls;
#[cfg(feature = "tls")]
pub(super) use handshake::shake_hands;
#[cfg(not(feature = "tls"))]
pub(crate) use off::{Certificates, NoTls};
#[cfg(not(feature = "tls"))]
pub(super) use off::{Session, shake_hands};
#[cfg(all(not(feature = "tls"), feature = "redis"))]
pub(crate) use off::{Trust, Upstream};
#[cfg(feature = "tls")]
pub(super) use session::Session;
#[cfg(all(feature = "tls", feature = "redis"))]
pub(crate) use upstream::{Trust, Upstream};
