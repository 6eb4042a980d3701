//! The integration tests: a real server, real sockets.

#![allow(missing_docs, unreachable_pub)] // nobody reads these docs
#![allow(clippy::unwrap_used)] // tests may panic

mod announced;
mod book;
mod chat;
mod closing;
#[cfg(feature = "deflate")]
mod deflate;
mod doors;
mod examples;
mod explained;
#[cfg(feature = "redis")]
#[cfg(feature = "generate")]
mod generated;
mod handshake;
mod history;
mod http;
mod keepalive;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "the benchmarks use more of it")]
mod kit;
mod library;
mod limits;
mod listening;
mod load;
mod presence;
mod probe;
mod process;
mod proxied;
mod rfc6455;
mod rights;
mod shutdown;
mod slow;
mod support;
#[cfg(feature = "tls")]
mod tls;
