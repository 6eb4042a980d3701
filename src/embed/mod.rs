//! The API of your program: handles, clients, subscriptions, hooks. All of them
//! are thin: they send commands to the hub.

pub(crate) mod client;
pub(crate) mod handle;
pub(crate) mod handler;
pub(crate) mod members;
pub(crate) mod shared;
pub(crate) mod subscription;
pub(crate) mod upgrade;
