//! Protocol bytes, without I/O: messages as WebSocket frames and as
//! server-sent events, and a client's bytes back to messages. Everything that
//! publishes, delivers or reads uses it.

pub(crate) mod burst;
mod collected;
mod decoder;
mod forms;
pub(crate) mod frame;
pub(crate) mod sse;

pub(crate) use burst::{Burst, BurstBuilder, Encoding};
pub(crate) use decoder::{Decoder, Incoming};
pub(crate) use forms::Forms;
