//! Several nodes on a real redis-server: what holds when something fails.
//! Nodes are the built program. `make test-engine` runs all of it, `cargo
//! test` nothing: the tests take their time and need redis-server.

#![allow(missing_docs, unreachable_pub)] // nobody reads these docs
#![allow(clippy::unwrap_used)] // tests may panic

mod bench;
mod distance;
mod failover;
mod faults;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "the benchmarks use more of it")]
mod kit;
mod many;
mod net;
mod nodes;
mod operations;
mod presence;
mod redis;
mod restart;
mod resume;
mod rig;
mod roster;
mod start;
#[cfg(feature = "tls")]
mod tls;
