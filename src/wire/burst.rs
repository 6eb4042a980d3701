//! Messages as shared bytes, whatever the encoding.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::message::Message;
use crate::position::Offset;
use crate::wire::collected::{FRONT, Payload};
use crate::wire::frame::{frame_len, header_len, write_frame, write_header};

/// The bit of a frame's first byte that marks a compressed message.
#[cfg(feature = "deflate")]
const RSV1: u8 = 0x40;

/// How messages are written for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// WebSocket frames.
    #[default]
    Frames,
    /// WebSocket frames that begin with their positions.
    PositionedFrames,
    /// Server-sent events.
    Events,
    /// Server-sent events that have their positions as ids.
    PositionedEvents,
    /// Lines of text.
    Lines,
    /// Lines of JSON.
    JsonLines,
    /// Lines of JSON that have their positions.
    PositionedJsonLines,
    /// WebSocket frames that begin with their positions and rooms.
    RoomFrames,
    /// Server-sent events named after their rooms.
    RoomEvents,
    /// The same, with their positions as ids.
    PositionedRoomEvents,
    /// Lines of text that begin with their rooms.
    RoomLines,
    /// Lines of JSON that name their rooms.
    RoomJsonLines,
    /// The same, with their positions.
    PositionedRoomJsonLines,
    /// WebSocket frames, compressed where that makes a message shorter.
    #[cfg(feature = "deflate")]
    Deflated,
    /// The same for clients that keep their window from one message to the
    /// next, so that they can follow their rooms' shared streams.
    #[cfg(feature = "deflate")]
    DeflatedShared,
    /// The same for clients whose window is 4 KiB.
    #[cfg(feature = "deflate")]
    Deflated4KiB,
    /// The same for clients whose window is 256 bytes.
    #[cfg(feature = "deflate")]
    Deflated256,
}

impl Encoding {
    /// All of them, each before what it is made of: a form that is missing is
    /// made. Before plain frames the one that may take the compressed form away.
    #[cfg(feature = "deflate")]
    pub(crate) const ALL: [Encoding; 17] = [
        Encoding::PositionedRoomJsonLines,
        Encoding::RoomJsonLines,
        Encoding::PositionedRoomEvents,
        Encoding::RoomEvents,
        Encoding::RoomLines,
        Encoding::RoomFrames,
        Encoding::PositionedJsonLines,
        Encoding::JsonLines,
        Encoding::Lines,
        Encoding::PositionedEvents,
        Encoding::Events,
        Encoding::PositionedFrames,
        Encoding::Deflated256,
        Encoding::Deflated4KiB,
        Encoding::DeflatedShared,
        Encoding::Deflated,
        Encoding::Frames,
    ];

    /// All of them, each before what it is made of: a form that is missing is
    /// made.
    #[cfg(not(feature = "deflate"))]
    pub(crate) const ALL: [Encoding; 13] = [
        Encoding::PositionedRoomJsonLines,
        Encoding::RoomJsonLines,
        Encoding::PositionedRoomEvents,
        Encoding::RoomEvents,
        Encoding::RoomLines,
        Encoding::RoomFrames,
        Encoding::PositionedJsonLines,
        Encoding::JsonLines,
        Encoding::Lines,
        Encoding::PositionedEvents,
        Encoding::Events,
        Encoding::PositionedFrames,
        Encoding::Frames,
    ];

    /// Whether the client is told where each message stands in the log, and
    /// where something is missing.
    pub(crate) fn has_positions(self) -> bool {
        matches!(
            self,
            Encoding::PositionedFrames
                | Encoding::PositionedEvents
                | Encoding::PositionedJsonLines
                | Encoding::RoomFrames
                | Encoding::PositionedRoomEvents
                | Encoding::PositionedRoomJsonLines
        )
    }

    /// The encoding of the same kind that has positions, if there is one.
    pub(crate) fn with_positions(self) -> Encoding {
        match self {
            Encoding::Events => Encoding::PositionedEvents,
            Encoding::JsonLines => Encoding::PositionedJsonLines,
            Encoding::RoomEvents => Encoding::PositionedRoomEvents,
            Encoding::RoomJsonLines => Encoding::PositionedRoomJsonLines,
            _ if self.is_stream() || self.has_positions() => self,
            _ => Encoding::PositionedFrames,
        }
    }

    /// The encoding of the same kind that names the room of each message.
    pub(crate) fn with_rooms(self) -> Encoding {
        match self {
            _ if self.is_events() => Encoding::RoomEvents,
            _ if self.is_json() => Encoding::RoomJsonLines,
            Encoding::Lines => Encoding::RoomLines,
            _ => Encoding::RoomFrames,
        }
    }

    /// Whether each message names its room: the client is in several.
    pub(crate) fn names_rooms(self) -> bool {
        matches!(
            self,
            Encoding::RoomFrames
                | Encoding::RoomEvents
                | Encoding::PositionedRoomEvents
                | Encoding::RoomLines
                | Encoding::RoomJsonLines
                | Encoding::PositionedRoomJsonLines
        )
    }

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
            Encoding::Deflated256 => 1 << 8,
            Encoding::Deflated4KiB => 1 << 12,
            Encoding::Deflated | Encoding::DeflatedShared => usize::MAX,
            _ => 0,
        }
    }

    /// Whether messages may be compressed, in both directions.
    pub(crate) fn is_deflated(self) -> bool {
        !matches!(self, Encoding::Frames) && !self.is_stream() && !self.has_positions()
    }

    /// Whether these are server-sent events.
    pub(crate) fn is_events(self) -> bool {
        matches!(
            self,
            Encoding::Events
                | Encoding::PositionedEvents
                | Encoding::RoomEvents
                | Encoding::PositionedRoomEvents
        )
    }

    /// Whether these are lines of JSON.
    pub(crate) fn is_json(self) -> bool {
        matches!(
            self,
            Encoding::JsonLines
                | Encoding::PositionedJsonLines
                | Encoding::RoomJsonLines
                | Encoding::PositionedRoomJsonLines
        )
    }

    /// Whether these are lines of text.
    pub(crate) fn is_lines(self) -> bool {
        matches!(self, Encoding::Lines | Encoding::RoomLines)
    }

    /// Whether this is the body of an answer of HTTP, whose client sends nothing.
    pub(crate) fn is_stream(self) -> bool {
        self.is_events() || self.is_json() || self.is_lines()
    }
}

/// One or more whole messages as wire bytes, one frame (or event, or line) each,
/// in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Burst {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u32,
    /// The length of the longest message, in bytes; 0 of messages that are
    /// never compressed, such as events.
    #[cfg(feature = "deflate")]
    pub(super) longest: usize,
    pub(crate) encoding: Encoding,
    /// Where the first message stands in the log; the others follow, unless
    /// `details` says otherwise.
    first: Offset,
    details: Option<Arc<Details>>,
}

/// What is known of each message of a burst, where it does not go without
/// saying.
#[derive(Clone, Debug, Default)]
struct Details {
    /// Where each event ends, if these are events; a frame says its length.
    ends: Vec<usize>,
    /// Where each message stands in the log, if they do not follow each other.
    offsets: Vec<Offset>,
}

impl Burst {
    fn of_frames(bytes: Bytes, messages: u32) -> Burst {
        Burst {
            bytes,
            messages,
            ..Burst::default()
        }
    }

    /// Frames that stand one behind the other in the log, from `first` on.
    #[cfg(feature = "redis")]
    pub(crate) fn placed(bytes: Bytes, messages: u32, first: Offset) -> Burst {
        let burst = Burst {
            first,
            ..Burst::of_frames(bytes, messages)
        };
        Burst {
            #[cfg(feature = "deflate")]
            longest: burst
                .slices()
                .map(|frame| parts(frame).1.len())
                .max()
                .unwrap_or(0),
            ..burst.clone()
        }
    }

    /// Frames that stand at these places in the log.
    pub(crate) fn remembered(bytes: Bytes, offsets: Vec<Offset>) -> Burst {
        let messages = offsets.len() as u32;
        let ends = Vec::new();
        Burst {
            details: Some(Arc::new(Details { ends, offsets })),
            ..Burst::of_frames(bytes, messages)
        }
    }

    /// Events or lines, of which each ends where `ends` says.
    pub(super) fn of_events(bytes: Bytes, ends: Vec<usize>) -> Burst {
        let offsets = Vec::new();
        Burst {
            bytes,
            messages: ends.len() as u32,
            encoding: Encoding::Events,
            details: Some(Arc::new(Details { ends, offsets })),
            ..Burst::default()
        }
    }

    /// The same, which are not events but something like them.
    pub(super) fn encoded_as(self, encoding: Encoding) -> Burst {
        Burst { encoding, ..self }
    }

    /// Where a message of the burst stands in the log; [`Offset::NONE`] if it
    /// is for single clients, or has no place yet.
    pub(crate) fn offset(&self, index: usize) -> Offset {
        let details = self.details.as_ref().filter(|d| !d.offsets.is_empty());
        match (details, self.first) {
            (Some(details), _) => details.offsets.get(index).copied().unwrap_or_default(),
            (None, Offset::NONE) => Offset::NONE,
            (None, first) => first.plus(index as u64),
        }
    }

    /// Gives the messages their places in the log, one behind the other.
    pub(crate) fn place(&mut self, first: Offset) {
        self.first = first;
    }

    /// The same messages as `other`, and so at the same places.
    pub(super) fn placed_like(mut self, other: &Burst) -> Burst {
        self.first = other.first;
        let theirs = other.details.as_ref().filter(|d| !d.offsets.is_empty());
        if let Some(theirs) = theirs {
            let mut details = self.details.as_deref().cloned().unwrap_or_default();
            details.offsets.clone_from(&theirs.offsets);
            self.details = Some(Arc::new(details));
        }
        self
    }

    /// One thing that a client is told, which is no message of the log.
    pub(crate) fn notice(bytes: Bytes, encoding: Encoding) -> Burst {
        Burst {
            encoding,
            ..Burst::of_frames(bytes, 1)
        }
    }

    /// The same messages in other frames.
    pub(super) fn in_frames(&self, bytes: Bytes) -> Burst {
        Burst::of_frames(bytes, self.messages)
    }

    /// The same messages with their positions.
    pub(super) fn with_positions(self) -> Burst {
        Burst {
            encoding: self.encoding.with_positions(),
            ..self
        }
    }

    /// The same messages, which will not be compressed.
    #[cfg(feature = "deflate")]
    pub(crate) fn uncompressed(self) -> Burst {
        Burst { longest: 0, ..self }
    }

    /// Whether these messages will not be compressed.
    #[cfg(feature = "deflate")]
    pub(crate) fn must_stay_plain(&self) -> bool {
        self.longest == 0
    }

    /// Whether any of these frames is compressed.
    #[cfg(feature = "deflate")]
    pub(crate) fn is_compressed(&self) -> bool {
        self.slices().any(is_compressed)
    }

    /// The messages behind the first `messages`.
    #[cfg(feature = "deflate")]
    pub(crate) fn behind(&self, messages: usize) -> Burst {
        let at: usize = self.slices().take(messages).map(<[u8]>::len).sum();
        let offsets = messages..self.messages as usize;
        let offsets = offsets.map(|index| self.offset(index)).collect();
        Burst::remembered(self.bytes.slice(at..), offsets)
    }

    /// The same messages in other frames.
    #[cfg(feature = "deflate")]
    pub(crate) fn with_bytes(&self, bytes: Vec<u8>) -> Burst {
        let bytes = Bytes::from(bytes.into_boxed_slice());
        Burst {
            longest: self.longest,
            ..Burst::of_frames(bytes, self.messages)
        }
    }

    /// The frames (or events) of this burst, each as a slice of the shared
    /// bytes.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.ranges().map(|range| self.bytes.slice(range))
    }

    /// The bytes of each frame (or event).
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges().map(|range| &self.bytes[range])
    }

    fn end(&self, index: usize) -> usize {
        let end = self.details.as_ref().and_then(|d| d.ends.get(index));
        end.copied().unwrap_or(self.bytes.len())
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let (mut at, mut index) = (0, 0);
        std::iter::from_fn(move || {
            let rest = &self.bytes[at..];
            if rest.is_empty() {
                return None;
            }
            let start = at;
            at = match self.encoding.is_stream() {
                // Most bursts are a single message: no header to read.
                _ if self.messages == 1 => self.bytes.len(),
                false => at + frame_len(rest),
                true => self.end(index),
            };
            index += 1;
            Some(start..at)
        })
    }

    /// The messages of a burst of frames: whether each is text, and its
    /// payload.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (bool, Bytes)> + '_ {
        debug_assert_eq!(self.encoding, Encoding::Frames);
        self.frames().map(|frame| {
            let (is_text, start) = (is_text(&frame), header_len(&frame));
            (is_text, frame.slice(start..))
        })
    }
}

/// Whether this frame holds a compressed message (RFC 7692 §6).
#[cfg(feature = "deflate")]
pub(crate) fn is_compressed(frame: &[u8]) -> bool {
    frame[0] & RSV1 != 0
}

/// A message's frame in parts: whether it is text, and its payload.
pub(crate) fn parts(frame: &[u8]) -> (bool, &[u8]) {
    (is_text(frame), &frame[header_len(frame)..])
}

fn is_text(frame: &[u8]) -> bool {
    frame[0] & 0x0f == u8::from(OpCode::Data(Data::Text))
}

/// Collects messages into one [`Burst`].
#[derive(Debug, Default)]
pub(crate) struct BurstBuilder {
    bytes: Vec<u8>,
    /// Where in them the first frame begins.
    start: usize,
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

    /// Adds a message as it has come. The first one, if it has memory of its
    /// own, stays there.
    pub(crate) fn payload(&mut self, is_text: bool, payload: Payload<'_>, append_newline: bool) {
        match payload {
            Payload::Apart(message) if self.is_empty() && !(is_text && append_newline) => {
                let data = if is_text { Data::Text } else { Data::Binary };
                self.adopt(data, message.take());
            }
            text if is_text => self.text(&*text, append_newline),
            bytes => self.binary(&bytes),
        }
    }

    /// Begins with the message that stands behind [`FRONT`] bytes.
    fn adopt(&mut self, data: Data, bytes: Vec<u8>) {
        let len = bytes.len() - FRONT;
        self.bytes = bytes;
        self.start = write_header(&mut self.bytes[..FRONT], OpCode::Data(data), len);
        self.added(len);
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8], tail: &[u8]) {
        write_frame(&mut self.bytes, opcode, payload, tail);
        self.added(payload.len() + tail.len());
    }

    /// A message of this length has been added.
    #[cfg_attr(
        not(feature = "deflate"),
        allow(unused_variables, reason = "only compression asks for lengths")
    )]
    fn added(&mut self, len: usize) {
        self.messages += 1;
        #[cfg(feature = "deflate")]
        {
            self.longest = self.longest.max(len);
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.messages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes the burst; the builder is empty then.
    pub(crate) fn take(&mut self) -> Burst {
        let bytes = std::mem::take(&mut self.bytes);
        // A queue keeps these bytes until the slowest client has them, so no
        // spare capacity stays in them.
        let mut bytes = Bytes::from(bytes.into_boxed_slice());
        bytes.advance(std::mem::take(&mut self.start));
        let messages = std::mem::take(&mut self.messages);
        let burst = Burst::of_frames(bytes, messages);
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
    use crate::wire::collected::Collected;

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
    fn a_message_with_memory_of_its_own_stays_there() {
        for len in [1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(len);
            let mut message = Collected::default();
            message.push(text.as_bytes(), len);
            let mut builder = BurstBuilder::default();
            builder.payload(true, Payload::Apart(&mut message), false);
            builder.payload(false, Payload::Here(&[7]), false);
            let burst = builder.take();
            let frames: Vec<Bytes> = burst.frames().collect();
            assert_eq!(frames[0], single(&Message::from(text), false).bytes);
            assert_eq!(&frames[1][..], b"\x82\x01\x07");
            assert!(message.is_empty());

            message.push(&[7; 3], 3);
            builder.payload(false, Payload::Apart(&mut message), true);
            assert_eq!(&builder.take().bytes[..], b"\x82\x03\x07\x07\x07");
            message.push(b"abc", 3);
            builder.payload(true, Payload::Apart(&mut message), true);
            assert_eq!(&builder.take().bytes[..], b"\x81\x04abc\n");
            message.clear();

            message.push(&vec![7; len], len);
            builder.payload(false, Payload::Apart(&mut message), false);
            let alone = builder.take().bytes;
            assert_eq!(alone.len(), frame_len(&alone));
        }
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
