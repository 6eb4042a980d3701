//! The API of your program: handles, clients, subscriptions, hooks. All of them
//! are thin: they send commands to the hub.

mod answerer;
pub(crate) mod client;
pub(crate) mod handle;
pub(crate) mod handler;
pub(crate) mod history;
mod members;
mod shared;
pub(crate) mod subscription;
pub(crate) mod upgrade;

pub(crate) use answerer::Answerer;
pub(crate) use client::Client;
pub(crate) use handle::Handle;
pub(crate) use handler::{Handler, Hooks};
pub(crate) use shared::Shared;
pub(crate) use upgrade::{Refusal, Upgrade};
