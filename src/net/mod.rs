//! Sockets and waiting, without anything of hubcast's own: what a client's
//! socket can do, reading it, listening, polling by a deadline, and the stop
//! event.

pub(crate) mod inlet;
pub(crate) mod listen;
pub(crate) mod outlet;
pub(crate) mod poll;
pub(crate) mod stop;
pub(crate) mod stream;
