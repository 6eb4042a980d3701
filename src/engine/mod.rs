//! What orders the log.
//!
//! The hub takes messages in the order in which an engine has placed them,
//! and cannot tell which engine that was.

mod memory;

pub(crate) use memory::Memory;
