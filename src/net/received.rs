//! What one read of a stream has brought.

use std::ops::{Deref, DerefMut};

/// What one read of a stream has brought. `B` stands for the bytes.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "only TLS reads like that")
)]
pub(crate) enum Received<B> {
    Bytes(B),
    /// Bytes have come, but none for us yet: TLS needs more of a record, or
    /// has kept what came to itself.
    Nothing,
    /// The peer has ended the stream.
    End,
}

/// Bytes that were read: in the buffer of the caller, or in one of their own.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "only TLS reads like that")
)]
pub(crate) enum Plain<'b> {
    Here(&'b mut [u8]),
    Apart(Vec<u8>),
}

impl Deref for Plain<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Plain::Here(bytes) => bytes,
            Plain::Apart(bytes) => bytes,
        }
    }
}

impl DerefMut for Plain<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Plain::Here(bytes) => bytes,
            Plain::Apart(bytes) => bytes,
        }
    }
}
