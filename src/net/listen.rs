//! A listener with a long backlog.

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};

use crate::error::Error;

/// How many connections may wait to be accepted: std asks for 128, and a
/// burst beyond it costs each client a second for its retransmitted SYN.
pub(crate) const LISTEN_BACKLOG: i32 = 4096;

/// A listener with a long backlog whose accept does not block.
pub(crate) fn listen(address: impl ToSocketAddrs + fmt::Debug) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(&address).and_then(|listener| {
        rustix::net::listen(&listener, LISTEN_BACKLOG)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| match error.kind() {
        // The address cannot be parsed, so no system could listen on it.
        io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
            let line = format!("cannot listen on {address:?}: {error}; HOST:PORT is expected");
            Error::config(line)
        }
        _ => Error::bind(format!("cannot listen on {address:?}"), error),
    })
}
