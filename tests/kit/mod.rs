//! The client's side of the protocol, for the tests and the benchmarks: frames
//! ([`frame`]), HTTP ([`http`]), sockets ([`socket`]), a server as a child process
//! ([`child`]), what a process holds ([`process`]), and waiting ([`wait`]).
//!
//! Nothing here panics on what a server sends or the system decides, so that a
//! benchmark can report it; a test unwraps.

pub(crate) mod child;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod wait;

/// Says why something failed; no caller distinguishes the reasons.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Failure>;
