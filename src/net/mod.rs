//! Sockets and waiting, without anything of hubcast's own: what a client's
//! socket can do, reading it, listening, polling by a deadline, and the stop
//! event.

mod inlet;
pub(crate) mod listen;
mod outlet;
mod poll;
pub(crate) mod proxied;
mod raw;
mod received;
mod stop;
mod stream;
mod tls;
mod unix;

pub(crate) use inlet::{Inlet, Read};
pub(crate) use listen::{LISTEN_BACKLOG, Listener};
pub(crate) use outlet::{Outlet, Sent, send_all};
pub(crate) use poll::poll_until;
pub(crate) use proxied::{NoHeader, read_proxy_header};
#[cfg(feature = "redis")]
pub(crate) use received::Received;
pub(crate) use stop::{Stop, Wake};
pub(crate) use stream::Stream;
pub(crate) use tls::{Certificates, NoTls};
#[cfg(feature = "redis")]
pub(crate) use tls::{Trust, Upstream};
