//! What orders the log.
//!
//! An engine places messages in their one order: it implements the hub's
//! trait `Order` (`hub/log.rs`). The hub takes messages as they were placed,
//! and cannot tell which engine that was. Which one is used is chosen where
//! the hub is made (`server/mod.rs`).

mod memory;

pub(crate) use memory::Memory;
