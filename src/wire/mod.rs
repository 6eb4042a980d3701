//! Protocol bytes, without I/O: messages as WebSocket frames, as server-sent
//! events and as lines, and a client's bytes back to messages. Everything that
//! publishes, delivers or reads uses it.

pub(crate) mod burst;
mod collected;
mod decimal;
mod decoder;
#[cfg(feature = "deflate")]
mod deflate;
pub(crate) mod forms;
pub(crate) mod frame;
pub(crate) mod json;
pub(crate) mod lines;
#[cfg(feature = "deflate")]
mod pool;
pub(crate) mod positions;
#[cfg(feature = "deflate")]
mod shared;
pub(crate) mod sse;

pub(crate) use burst::{Burst, BurstBuilder, Encoding};
pub(crate) use collected::Payload;
pub(crate) use decimal::Decimal;
pub(crate) use decoder::{Decoder, Incoming};
#[cfg(feature = "deflate")]
pub(crate) use decoder::{invalid_utf8, too_large};
#[cfg(feature = "deflate")]
pub(crate) use deflate::{Deflate, Fault};
pub(crate) use forms::Forms;
#[cfg(feature = "deflate")]
pub(crate) use shared::SharedCompressor;
