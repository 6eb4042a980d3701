//! Compression of messages: permessage-deflate (RFC 7692) without context
//! takeover.
//!
//! Each message is compressed on its own, so a compressed message is the same
//! for every client, any message may be dropped, and a client costs no state.
//! The threads that publish and read borrow what compresses and inflates, of
//! which there is one for each core at most. The hub never does.

use std::fmt;
use std::sync::Arc;
use std::thread;

use miniz_oxide::DataFormat;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress,
};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::stats::Counters;
use crate::wire::burst::Burst;
use crate::wire::frame::write_compressed_frame;
use crate::wire::pool::Pool;

/// What a compressed message ends with, and leaves out (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The same, and behind it a last block that is empty: only a stream that is
/// whole ends with it.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// The stack of the thread that makes a compressor, which takes some 70 KiB.
const MAKER_STACK: usize = 1024 * 1024;

/// Bits of the compressor's window, the largest. What is sent to a client that
/// has a smaller one, [`Encoding`](super::burst::Encoding) knows.
const FULL_WINDOW: u8 = 15;

/// Why a message could not be inflated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has more bytes than are allowed.
    TooLarge,
    /// It is no deflate stream, or it is cut off.
    NotDeflate,
}

/// Compresses and inflates for all clients of a server.
pub(crate) struct Deflate {
    /// Shorter messages are not compressed.
    threshold: usize,
    level: u8,
    counters: Arc<Counters>,
    compressors: Pool<CompressorOxide>,
    inflaters: Pool<DecompressorOxide>,
}

impl Deflate {
    pub(crate) fn new(threshold: usize, level: u8, counters: Arc<Counters>) -> Deflate {
        Deflate {
            threshold,
            level,
            counters,
            compressors: Pool::new(),
            inflaters: Pool::new(),
        }
    }

    /// The same messages in frames, compressed where that makes them shorter.
    /// `None` if that is nowhere so.
    pub(crate) fn compress(&self, burst: &Burst) -> Option<Burst> {
        if burst.longest < self.threshold {
            return None;
        }
        let compress = |compressor: &mut _| self.compress_with(compressor, burst);
        self.compressors.with(|| make(self.level), compress)?
    }

    fn compress_with(&self, compressor: &mut CompressorOxide, burst: &Burst) -> Option<Burst> {
        let (mut bytes, mut packed) = (Vec::new(), Vec::new());
        let mut is_shorter = false;
        for (frame, (is_text, payload)) in burst.frames().zip(burst.payloads()) {
            if payload.len() < self.threshold || !pack(compressor, &payload, &mut packed) {
                bytes.extend_from_slice(&frame);
                continue;
            }
            let kind = if is_text { Data::Text } else { Data::Binary };
            write_compressed_frame(&mut bytes, OpCode::Data(kind), &packed);
            self.counters.compressed.count(payload.len(), packed.len());
            is_shorter = true;
        }
        is_shorter.then(|| burst.with_bytes(bytes))
    }

    /// Inflates the payload of a message that may have at most `limit` bytes
    /// (RFC 7692 §7.2.2). The memory grows with what comes out.
    pub(crate) fn inflate(&self, payload: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
        let inflate = |inflater: &mut _| unpack(inflater, payload, limit);
        let inflated = self.inflaters.with(|| Some(new_inflater()), inflate);
        let inflated = inflated.unwrap_or(Err(Fault::NotDeflate))?;
        self.counters.inflated.count(payload.len(), inflated.len());
        Ok(inflated)
    }
}

/// Makes a compressor on a thread of its own: what making it leaves behind on
/// a stack would stay with the client whose thread this is, or not fit.
pub(super) fn make(level: u8) -> Option<Box<CompressorOxide>> {
    let make = move || {
        let (format, strategy) = (DataFormat::Raw, CompressionStrategy::Default);
        Box::new(CompressorOxide::with_params(
            format,
            level,
            strategy,
            FULL_WINDOW,
        ))
    };
    let maker = thread::Builder::new().stack_size(MAKER_STACK).spawn(make);
    maker.ok()?.join().ok()
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflate")
            .field("threshold", &self.threshold)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

// Not inlined: it touches 10 KiB of the stack, which would stay resident for
// every client that sends a compressed message.
#[inline(never)]
fn new_inflater() -> Box<DecompressorOxide> {
    Box::default()
}

/// Compresses a message into `out`; false if that does not make it shorter.
fn pack(compressor: &mut CompressorOxide, payload: &[u8], out: &mut Vec<u8>) -> bool {
    // A full flush forgets the message, and the next one is on its own.
    pack_with(compressor, payload, out, TDEFLFlush::Full) && out.len() < payload.len()
}

/// Compresses a message into `out`; false if that fails.
pub(super) fn pack_with(
    compressor: &mut CompressorOxide,
    payload: &[u8],
    out: &mut Vec<u8>,
    flush: TDEFLFlush,
) -> bool {
    // All of it fits, whatever it is: the compressor must come to its end.
    out.clear();
    out.resize(payload.len() + payload.len() / 8 + 256, 0);
    let (status, read, written) = compress(compressor, payload, out, flush);
    out.truncate(written);
    let is_whole = status == TDEFLStatus::Okay && read == payload.len() && out.ends_with(&TAIL);
    debug_assert!(is_whole, "{status:?}, {read} of {} bytes", payload.len());
    out.truncate(written.saturating_sub(TAIL.len()));
    is_whole
}

fn unpack(
    inflater: &mut DecompressorOxide,
    payload: &[u8],
    limit: usize,
) -> Result<Vec<u8>, Fault> {
    if payload.is_empty() {
        // Taken for an empty message, although no deflate stream is that short.
        return Ok(Vec::new());
    }
    // A byte beyond the limit: a message of just that size must be told from
    // a longer one.
    let most = limit.saturating_add(1);
    let mut out = vec![0; (2 * payload.len()).max(256).min(most)];
    let (mut len, mut input) = (0, payload);
    let mut flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_HAS_MORE_INPUT;
    inflater.init();
    loop {
        let (status, read, written) = decompress(inflater, input, &mut out, len, flags);
        input = input.get(read..).unwrap_or_default();
        len += written;
        if len > limit {
            return Err(Fault::TooLarge);
        }
        match status {
            // A block that says it is the last ends the message (§7.2.3.4).
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput => out.resize((2 * out.len()).min(most), 0),
            TINFLStatus::NeedsMoreInput => {
                input = &END;
                flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
            }
            _ => return Err(Fault::NotDeflate),
        }
    }
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::choices::Choices;
    use crate::message::Message;
    use crate::wire::burst::single;

    const LIMIT: usize = 1 << 20;

    fn deflate() -> Deflate {
        Deflate::new(1, 1, Arc::default())
    }

    /// The payload of a message compressed, if that is shorter.
    fn compressed(deflate: &Deflate, message: &[u8]) -> Option<Vec<u8>> {
        let burst = deflate.compress(&single(&Message::from(message), false))?;
        assert_eq!(burst.bytes[0], 0xc2, "final, RSV1, binary");
        let (_, payload) = burst.payloads().next().unwrap();
        Some(payload.to_vec())
    }

    /// Bytes in which some things come again.
    fn text(choices: &mut Choices<'_>, len: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < len {
            match choices.below(4) {
                0 => text.extend(choices.below(1 << 24).to_le_bytes()),
                n => text.extend([&b"{\"price\":"[..], b"\"symbol\"", b"000000"][n - 1]),
            }
        }
        text.truncate(len);
        text
    }

    #[test]
    fn the_examples_of_rfc_7692_section_7_2_3_inflate() {
        let cases: [&[u8]; 4] = [
            b"\xf2\x48\xcd\xc9\xc9\x07\x00",
            // Without compression.
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            // A block that is the last, and the byte behind it.
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            // Two blocks.
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ];
        for case in cases {
            assert_eq!(deflate().inflate(case, LIMIT).unwrap(), b"Hello");
        }
        for empty in [&b""[..], b"\x00", b"\x02\x00"] {
            assert_eq!(deflate().inflate(empty, LIMIT).unwrap(), b"", "{empty:?}");
        }
    }

    #[test]
    fn what_is_compressed_inflates_to_the_same_with_no_history() {
        let deflate = deflate();
        let mut choices = Choices::Seed(7);
        let mut shorter = 0;
        for round in 0..300 {
            let len = choices.below([40, 5_000, 200_000][round % 3]);
            let message = text(&mut choices, len);
            let Some(packed) = compressed(&deflate, &message) else {
                continue;
            };
            shorter += 1;
            assert!(packed.len() < message.len());
            assert_eq!(deflate.inflate(&packed, message.len()).unwrap(), message);
        }
        assert!(shorter > 150, "{shorter}");
    }

    #[test]
    fn what_would_not_be_shorter_is_sent_as_it_is() {
        let deflate = deflate();
        let mut choices = Choices::Seed(1);
        let noise: Vec<u8> = (0..100_000).map(|_| choices.below(256) as u8).collect();
        assert_eq!(compressed(&deflate, &noise), None);
        assert_eq!(compressed(&deflate, b"ab"), None);
        // And the compressor is as good as new.
        let packed = compressed(&deflate, &[b'x'; 1000]).unwrap();
        assert_eq!(deflate.inflate(&packed, 1000).unwrap(), [b'x'; 1000]);
    }

    #[test]
    fn the_messages_of_a_burst_stay_in_order_compressed_or_not() {
        let deflate = Deflate::new(100, 1, Arc::default());
        let mut builder = crate::wire::burst::BurstBuilder::default();
        let long = "a long one, ".repeat(20);
        builder.text("short", false);
        builder.text(&long, true);
        builder.binary(long.as_bytes());
        let burst = builder.take();
        let packed = deflate.compress(&burst).unwrap();
        assert_eq!((packed.messages, packed.longest), (3, burst.longest));
        let frames: Vec<_> = packed.frames().collect();
        assert_eq!(&frames[0][..], b"\x81\x05short");
        assert_eq!((frames[1][0], frames[2][0]), (0xc1, 0xc2));
        let payloads: Vec<_> = packed.payloads().skip(1).collect();
        let inflated = |payload: &[u8]| deflate.inflate(payload, LIMIT).unwrap();
        assert_eq!(inflated(&payloads[0].1), format!("{long}\n").as_bytes());
        assert_eq!(inflated(&payloads[1].1), long.as_bytes());
        let short = single(&Message::from("x".repeat(99)), false);
        assert!(deflate.compress(&short).is_none(), "below the threshold");
    }

    #[test]
    fn the_limit_is_exact() {
        let deflate = deflate();
        for len in [1_usize, 255, 256, 257, 1000, 70_000] {
            let message = vec![b'x'; len.max(20)];
            let packed = compressed(&deflate, &message).unwrap();
            let limit = message.len();
            assert_eq!(deflate.inflate(&packed, limit).unwrap(), message);
            assert_eq!(deflate.inflate(&packed, limit + 1).unwrap(), message);
            let larger = deflate.inflate(&packed, limit - 1);
            assert_eq!(larger, Err(Fault::TooLarge));
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let deflate = deflate();
        let bomb = compressed(&deflate, &vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 500_000, "{}", bomb.len());
        assert_eq!(deflate.inflate(&bomb, LIMIT), Err(Fault::TooLarge));
    }

    #[test]
    fn what_is_cut_off_or_noise_is_an_error() {
        let deflate = deflate();
        let mut choices = Choices::Seed(3);
        let message = text(&mut choices, 3000);
        let packed = compressed(&deflate, &message).unwrap();
        for cut in 1..packed.len() {
            let inflated = deflate.inflate(&packed[..cut], LIMIT);
            assert_ne!(inflated.as_deref(), Ok(&message[..]), "cut at {cut}");
        }
        let mut faults = 0;
        for _ in 0..2000 {
            let len = 1 + choices.below(300);
            let noise: Vec<u8> = (0..len).map(|_| choices.below(256) as u8).collect();
            faults += usize::from(deflate.inflate(&noise, LIMIT).is_err());
        }
        assert!(faults > 1900, "{faults}");
    }
}
