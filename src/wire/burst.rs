//! Messages as shared bytes, whatever the encoding.

use std::sync::Arc;

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::message::Message;
use crate::wire::frame::{frame_len, header_len, write_frame};

/// How messages are written for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// WebSocket frames.
    #[default]
    Frames,
    /// Server-sent events.
    Events,
    /// WebSocket frames, compressed where that makes a message shorter.
    #[cfg(feature = "deflate")]
    Deflated,
    /// The same for clients whose window is 4 KiB.
    #[cfg(feature = "deflate")]
    Deflated4KiB,
    /// The same for clients whose window is 256 bytes.
    #[cfg(feature = "deflate")]
    Deflated256,
}

impl Encoding {
    /// All of them, frames last: a form that is missing is made of them. Before
    /// them the one that may take the compressed form away.
    #[cfg(feature = "deflate")]
    pub(crate) const ALL: [Encoding; 5] = [
        Encoding::Events,
        Encoding::Deflated256,
        Encoding::Deflated4KiB,
        Encoding::Deflated,
        Encoding::Frames,
    ];

    /// All of them, frames last: a form that is missing is made of them.
    #[cfg(not(feature = "deflate"))]
    pub(crate) const ALL: [Encoding; 2] = [Encoding::Events, Encoding::Frames];

    /// That of a client whose window has this many bits, 8 to 15, or a little
    /// less of it.
    #[cfg(feature = "deflate")]
    pub(crate) fn with_window(bits: u8) -> Encoding {
        match bits {
            15.. => Encoding::Deflated,
            12.. => Encoding::Deflated4KiB,
            _ => Encoding::Deflated256,
        }
    }

    /// The longest message that this encoding may have compressed. No distance
    /// in a message is longer than the message, so one that fits into a small
    /// window needs no compressor of its own.
    #[cfg(feature = "deflate")]
    pub(super) fn longest_compressed(self) -> usize {
        match self {
            Encoding::Frames | Encoding::Events => 0,
            Encoding::Deflated256 => 1 << 8,
            Encoding::Deflated4KiB => 1 << 12,
            Encoding::Deflated => usize::MAX,
        }
    }

    /// Whether messages may be compressed, in both directions.
    pub(crate) fn is_deflated(self) -> bool {
        !matches!(self, Encoding::Frames | Encoding::Events)
    }
}

/// One or more whole messages as wire bytes, one frame (or event) each, in
/// order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Burst {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u32,
    /// The length of the longest message, in bytes; 0 of messages that are
    /// never compressed, such as events.
    #[cfg(feature = "deflate")]
    pub(crate) longest: usize,
    encoding: Encoding,
    /// Where each event ends, if there are several; a frame says its length.
    ends: Arc<[usize]>,
}

impl Burst {
    fn of_frames(bytes: Bytes, messages: u32) -> Burst {
        Burst {
            bytes,
            messages,
            #[cfg(feature = "deflate")]
            longest: 0,
            encoding: Encoding::Frames,
            ends: Arc::default(),
        }
    }

    /// Events, of which each ends where `ends` says.
    pub(super) fn of_events(bytes: Bytes, ends: Vec<usize>) -> Burst {
        Burst {
            bytes,
            messages: ends.len() as u32,
            #[cfg(feature = "deflate")]
            longest: 0,
            encoding: Encoding::Events,
            ends: ends.into(),
        }
    }

    /// The same messages, which will not be compressed.
    #[cfg(feature = "deflate")]
    pub(crate) fn uncompressed(self) -> Burst {
        Burst { longest: 0, ..self }
    }

    /// The same messages in other frames.
    #[cfg(feature = "deflate")]
    pub(super) fn with_bytes(&self, bytes: Vec<u8>) -> Burst {
        let bytes = Bytes::from(bytes.into_boxed_slice());
        Burst {
            longest: self.longest,
            ..Burst::of_frames(bytes, self.messages)
        }
    }

    /// The frames (or events) of this burst, each as a slice of the shared
    /// bytes.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Bytes> + '_ {
        let (mut at, mut index) = (0, 0);
        std::iter::from_fn(move || {
            let rest = &self.bytes[at..];
            if rest.is_empty() {
                return None;
            }
            let start = at;
            at = match self.encoding {
                // Most bursts are a single message: no header to read.
                _ if self.messages == 1 => self.bytes.len(),
                Encoding::Events => self.ends[index],
                _ => at + frame_len(rest),
            };
            index += 1;
            Some(self.bytes.slice(start..at))
        })
    }

    /// The messages of a burst of frames: whether each is text, and its
    /// payload.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (bool, Bytes)> + '_ {
        debug_assert_eq!(self.encoding, Encoding::Frames);
        self.frames().map(|frame| {
            let is_text = frame[0] & 0x0f == u8::from(OpCode::Data(Data::Text));
            (is_text, frame.slice(header_len(&frame)..))
        })
    }
}

/// Collects messages into one [`Burst`].
#[derive(Debug, Default)]
pub(crate) struct BurstBuilder {
    bytes: Vec<u8>,
    messages: u32,
    #[cfg(feature = "deflate")]
    longest: usize,
}

impl BurstBuilder {
    /// Adds a text message; the bytes are UTF-8.
    pub(crate) fn text(&mut self, text: impl AsRef<[u8]>, append_newline: bool) {
        let newline: &[u8] = if append_newline { b"\n" } else { b"" };
        self.frame(OpCode::Data(Data::Text), text.as_ref(), newline);
    }

    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        self.frame(OpCode::Data(Data::Binary), bytes, b"");
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8], tail: &[u8]) {
        write_frame(&mut self.bytes, opcode, payload, tail);
        self.messages += 1;
        #[cfg(feature = "deflate")]
        {
            self.longest = self.longest.max(payload.len() + tail.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes the burst; the builder is empty then.
    pub(crate) fn take(&mut self) -> Burst {
        let bytes = std::mem::take(&mut self.bytes);
        // A queue keeps these bytes until the slowest client has them, so no
        // spare capacity stays in them.
        let bytes = Bytes::from(bytes.into_boxed_slice());
        let burst = Burst::of_frames(bytes, std::mem::take(&mut self.messages));
        #[cfg(feature = "deflate")]
        let burst = Burst {
            longest: std::mem::take(&mut self.longest),
            ..burst
        };
        burst
    }
}

/// One message as a burst of its own.
pub(crate) fn single(message: &Message, append_newline: bool) -> Burst {
    let mut builder = BurstBuilder::default();
    match message {
        Message::Text(text) => builder.text(text, append_newline),
        Message::Binary(bytes) => builder.binary(bytes),
    }
    builder.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_one_unmasked_final_frame() {
        let burst = single(&Message::from("Hello"), false);
        assert_eq!(&burst.bytes[..], b"\x81\x05Hello");
    }

    #[test]
    fn newline_is_appended_to_text_only() {
        assert_eq!(&single(&Message::from("a"), true).bytes[..], b"\x81\x02a\n");
        assert_eq!(
            &single(&Message::from(vec![7]), true).bytes[..],
            b"\x82\x01\x07"
        );
    }

    #[test]
    fn lengths_are_as_in_rfc_6455_section_5_7() {
        let medium = single(&Message::from(vec![0; 256]), false);
        assert_eq!(&medium.bytes[..4], b"\x82\x7e\x01\x00");
        let long = single(&Message::from(vec![0; 65536]), false);
        assert_eq!(
            &long.bytes[..10],
            b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
        );
    }

    #[test]
    fn a_burst_splits_into_its_frames() {
        let mut builder = BurstBuilder::default();
        let sizes = [0, 1, 125, 126, 65535, 65536];
        for size in sizes {
            builder.binary(&vec![3; size]);
        }
        let burst = builder.take();
        assert!(builder.is_empty());
        let frames: Vec<Bytes> = burst.frames().collect();
        assert_eq!(frames.len(), sizes.len());
        assert_eq!(frames.concat(), &burst.bytes[..]);
        for (frame, size) in frames.iter().zip(sizes) {
            assert_eq!(frame_len(frame), frame.len());
            assert!(frame.len() >= size);
        }
    }
}
