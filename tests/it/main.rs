//! The integration tests: a real server, real sockets.

#![allow(missing_docs, clippy::unwrap_used)] // tests may panic

mod chat;
mod support;
