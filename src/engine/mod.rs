//! What orders the log.
//!
//! An engine places messages in their one order: it implements the hub's
//! trait `Order` (`hub/log.rs`). The hub takes messages as they were placed,
//! and cannot tell which engine that was. Which one is used is chosen where
//! the hub is made (`server/mod.rs`).

mod memory;
#[cfg(feature = "redis")]
mod records;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "redis")]
pub(crate) use memory::Elsewhere;
pub(crate) use memory::Memory;
#[cfg(feature = "redis")]
pub(crate) use redis::{Engine, NodeInfo, Status, Threads};
