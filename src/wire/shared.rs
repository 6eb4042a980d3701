//! Compression of messages that refer to those before them: permessage-deflate
//! (RFC 7692) with context takeover, one compressor for many clients.

use std::fmt;

use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::wire::burst;
use crate::wire::deflate;
use crate::wire::frame::write_compressed_frame;

/// Compresses messages one behind the other. Whoever has inflated all of them
/// since the compressor was made, or has [forgotten](SharedCompressor::forget)
/// what came before, can inflate the next.
pub(crate) struct SharedCompressor {
    compressor: Box<CompressorOxide>,
    /// Working space.
    packed: Vec<u8>,
}

impl SharedCompressor {
    /// `None` if there is no thread that could make it.
    pub(crate) fn make(level: u8) -> Option<SharedCompressor> {
        Some(SharedCompressor {
            compressor: deflate::make(level)?,
            packed: Vec::new(),
        })
    }

    /// Forgets all messages: the next one refers to none before it. False if
    /// that fails; then the compressor is of no use any more.
    pub(crate) fn forget(&mut self) -> bool {
        // An empty block, which nobody needs: the last message ended with one.
        // A reset would do the same in five times the time.
        deflate::pack_with(
            &mut self.compressor,
            b"",
            &mut self.packed,
            TDEFLFlush::Full,
        )
    }

    /// Appends the message of a plain frame to `out`, in a compressed frame.
    /// Returns the bytes of its payload, or `None` if that fails; then the
    /// compressor is of no use any more.
    pub(crate) fn append(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let (is_text, payload) = burst::parts(frame);
        let (compressor, packed) = (&mut self.compressor, &mut self.packed);
        if !deflate::pack_with(compressor, payload, packed, TDEFLFlush::Sync) {
            return None;
        }
        let kind = if is_text { Data::Text } else { Data::Binary };
        write_compressed_frame(out, OpCode::Data(kind), packed);
        Some(packed.len())
    }
}

impl fmt::Debug for SharedCompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedCompressor(…)")
    }
}
