//! Sockets and waiting, and nothing of hubcast's: what a client's socket can
//! do, reading it, listening, polling by a deadline, and the stop event.
//! Whoever waits on a socket uses it.

pub(crate) mod inlet;
pub(crate) mod listen;
pub(crate) mod outlet;
pub(crate) mod poll;
pub(crate) mod stop;
pub(crate) mod stream;
