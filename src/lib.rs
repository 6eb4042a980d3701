//! A synchronous WebSocket broadcast server: what one client of a room
//! sends, every client of that room receives.

#![cfg_attr(
    any(fuzzing, test),
    allow(clippy::unwrap_used, reason = "tests may panic")
)]

mod accept;
mod admin;
mod admission;
mod builder;
mod client;
mod close;
mod config;
mod connection;
mod decoder;
mod delivery;
mod door;
mod error;
mod events;
mod frame;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod handler;
mod http;
mod hub;
mod inbox;
mod inlet;
mod json;
mod keepalive;
mod limits;
mod message;
mod metrics;
mod origin;
mod outbox;
mod page;
mod progress;
mod publish;
mod rate;
mod reader;
mod request;
mod rooms;
mod server;
mod slab;
mod socket;
mod stats;
mod stop;
mod subscription;
mod threads;
mod token;
mod upgrade;
mod writer;

pub use builder::ServerBuilder;
pub use client::{Client, ClientId, ClientInfo, RoomInfo};
pub use close::{Cause, CloseCode, CloseFrame, Departure, MAX_REASON};
pub use config::{Config, SlowConsumer};
pub use error::{Error, ErrorKind, SendError, Stopped};
pub use handle::Handle;
pub use handler::Handler;
pub use message::Message;
pub use server::{Running, Server, Summary};
pub use stats::Stats;
pub use subscription::Subscription;
pub use token::Secret;
pub use upgrade::{Refusal, Upgrade};
