//! Protocol bytes, without I/O: messages as WebSocket frames and as
//! server-sent events, and a client's bytes back to messages. Everything that
//! publishes, delivers or reads uses it.

pub(crate) mod burst;
pub(crate) mod decoder;
#[cfg(any(fuzzing, test))]
pub(crate) mod decoder_old;
pub(crate) mod frame;
#[cfg(any(fuzzing, test))]
pub(crate) mod headers;
pub(crate) mod sse;
