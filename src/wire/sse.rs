//! Messages as server-sent events.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::burst::Burst;
use crate::close::CloseFrame;
use crate::names::ClientId;
use crate::position::{Epoch, Offset, Position};

/// Keeps an idle stream alive: a comment, which clients ignore.
pub(crate) const KEEPALIVE: &[u8] = b": keepalive\n\n";

/// What an event adds to each line of a text.
const LINE: &[u8] = b"data: ";
/// How the event of a binary message begins.
const BINARY: &[u8] = b"event: binary\n";
/// The longest line of an id.
const ID_LINE: usize = 34;

/// The messages of a burst of frames as events.
pub(crate) fn encode(burst: &Burst) -> Burst {
    // Enough for text of one line; more lines make it grow.
    let room = burst.bytes.len() + burst.messages as usize * (LINE.len() + 2);
    let mut bytes = Vec::with_capacity(room);
    let mut ends = Vec::with_capacity(burst.messages as usize);
    for (is_text, payload) in burst.payloads() {
        match is_text {
            true => text_event(&mut bytes, &payload),
            false => binary_event(&mut bytes, &payload),
        }
        ends.push(bytes.len());
    }
    let bytes = Bytes::from(bytes.into_boxed_slice());
    Burst::of_events(bytes, ends).placed_like(burst)
}

/// The events of a burst with their positions as ids. A message that is not
/// in the log has none, and leaves the client where it was.
pub(super) fn with_ids(events: &Burst, epoch: Epoch) -> Burst {
    let messages = events.messages as usize;
    let mut bytes = Vec::with_capacity(events.bytes.len() + messages * ID_LINE);
    let mut ends = Vec::with_capacity(messages);
    for (index, event) in events.slices().enumerate() {
        match events.offset(index) {
            Offset::NONE => {}
            offset => id(&mut bytes, Position { epoch, offset }),
        }
        bytes.extend_from_slice(event);
        ends.push(bytes.len());
    }
    let bytes = Bytes::from(bytes.into_boxed_slice());
    let numbered = Burst::of_events(bytes, ends).placed_like(events);
    numbered.with_positions()
}

/// The events of a burst, named after the room that the messages are for; binary
/// data keeps its name before that.
pub(super) fn in_room(events: &Burst, room: Option<&str>) -> Burst {
    let Some(room) = room else {
        return events.clone();
    };
    let messages = events.messages as usize;
    let mut bytes = Vec::with_capacity(events.bytes.len() + messages * (room.len() + 16));
    let mut ends = Vec::with_capacity(messages);
    for event in events.slices() {
        let (name, data) = match event.strip_prefix(BINARY) {
            Some(data) => ("binary ", data),
            None => ("", event),
        };
        // Writing to a vector does not fail.
        let _ = writeln!(bytes, "event: {name}{room}");
        bytes.extend_from_slice(data);
        ends.push(bytes.len());
    }
    let bytes = Bytes::from(bytes.into_boxed_slice());
    Burst::of_events(bytes, ends).placed_like(events)
}

/// Events by their names and their data, which is of one line.
pub(crate) fn named(events: impl Iterator<Item = (&'static str, String)>) -> Burst {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for (name, data) in events {
        // Writing to a vector does not fail.
        let _ = write!(bytes, "event: {name}\ndata: {data}\n\n");
        ends.push(bytes.len());
    }
    Burst::of_events(Bytes::from(bytes), ends)
}

/// The line by which a client of events knows where it is; on its own, with
/// an empty line behind it, a browser notes it and shows nothing.
fn id(out: &mut Vec<u8>, position: Position) {
    // Writing to a vector does not fail.
    let _ = writeln!(out, "id: {position}");
}

/// What the stream of a client that follows positions begins with: where it
/// is, and how long it waits before it connects again.
pub(crate) fn preamble(position: Position, retry: Duration) -> Bytes {
    let mut bytes = Vec::new();
    id(&mut bytes, position);
    let _ = write!(bytes, "retry: {}\n\n", retry.as_millis());
    Bytes::from(bytes)
}

/// The event that says that between two positions something is missing.
pub(crate) fn gap(from: Position, to: Position) -> Bytes {
    let mut bytes = Vec::new();
    id(&mut bytes, to);
    let _ = write!(
        bytes,
        "event: gap\ndata: {{\"from\":\"{from}\",\"to\":\"{to}\"}}\n\n"
    );
    Bytes::from(bytes)
}

/// A text: a `data` line for each of its lines, which may end in `\n`, `\r` or
/// `\r\n`.
fn text_event(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    out.extend_from_slice(LINE);
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        out.extend_from_slice(LINE);
        let end = if rest[at..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[at + end..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\n\n");
}

/// Bytes, as base64 under an event name of their own.
fn binary_event(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(BINARY);
    out.extend_from_slice(LINE);
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// A sign of life that a page can see. It tells the client its id.
pub(crate) fn ping_event(id: ClientId) -> Bytes {
    Bytes::from(format!("event: ping\ndata: {id}\n\n"))
}

/// The last event of a stream, with the code and reason of a Close frame.
pub(crate) fn close_event(frame: &CloseFrame) -> Bytes {
    let code = frame.code.map_or(1005, |code| code.value());
    // A reason that your program gave may have line ends; an event's data line
    // must not.
    let reason = frame.reason.replace(['\n', '\r'], " ");
    Bytes::from(format!("event: close\ndata: {code} {reason}\n\n"))
}

/// The same for a client that is asked to come back after this time.
pub(crate) fn retry_event(frame: &CloseFrame, after: Duration) -> Bytes {
    let retry = format!("retry: {}\n", after.as_millis());
    Bytes::from([retry.as_bytes(), &close_event(frame)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::message::Message;
    use crate::wire::burst::{BurstBuilder, Encoding, single};

    fn event(message: impl Into<Message>) -> String {
        let burst = encode(&single(&message.into(), false));
        String::from_utf8(burst.bytes.to_vec()).unwrap()
    }

    #[test]
    fn text_is_data_lines() {
        assert_eq!(event("hello"), "data: hello\n\n");
        assert_eq!(event(""), "data: \n\n");
        assert_eq!(
            event("a\nb\r\nc\rd"),
            "data: a\ndata: b\ndata: c\ndata: d\n\n"
        );
    }

    #[test]
    fn a_text_cannot_forge_an_event() {
        let event = event("x\n\nevent: close\n\rdata: y");
        assert!(
            event
                .lines()
                .all(|l| l.is_empty() || l.starts_with("data: ")),
            "{event}"
        );
        assert_eq!(event.matches("\n\n").count(), 1, "{event:?}");
    }

    #[test]
    fn binary_is_base64_under_its_own_name() {
        assert_eq!(event(vec![0, 255]), "event: binary\ndata: AP8=\n\n");
    }

    #[test]
    fn events_split_as_they_were_joined() {
        let mut builder = BurstBuilder::default();
        for text in ["a", "b\nc", ""] {
            builder.text(text, false);
        }
        let burst = encode(&builder.take());
        assert_eq!(burst.messages, 3);
        let events: Vec<Bytes> = burst.frames().collect();
        assert_eq!(
            events,
            ["data: a\n\n", "data: b\ndata: c\n\n", "data: \n\n"]
        );
    }

    #[test]
    fn the_end_is_an_event_of_one_line() {
        let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "too\nslow");
        assert_eq!(
            &close_event(&frame)[..],
            b"event: close\ndata: 1008 too slow\n\n"
        );
    }

    #[test]
    fn a_position_is_the_id_and_stays_where_a_message_has_none() {
        let at: Position = "k3f9x2qa-7".parse().unwrap();
        let mut builder = BurstBuilder::default();
        builder.text("a\n\nb", false);
        builder.text("c", false);
        let offsets = [at.offset, Offset::NONE];
        let burst = Burst::remembered(builder.take().bytes, offsets.into());
        let burst = with_ids(&encode(&burst), at.epoch);
        assert_eq!(burst.encoding, Encoding::PositionedEvents);
        let events: Vec<Bytes> = burst.frames().collect();
        assert_eq!(
            events,
            [
                "id: k3f9x2qa-7\ndata: a\ndata: \ndata: b\n\n",
                "data: c\n\n"
            ]
        );
        assert_eq!([0, 1].map(|index| burst.offset(index)), offsets);
        let retry = Duration::from_millis(1250);
        assert_eq!(&preamble(at, retry)[..], b"id: k3f9x2qa-7\nretry: 1250\n\n");
        let gap = gap("00000000-1".parse().unwrap(), at);
        assert_eq!(
            &gap[..],
            b"id: k3f9x2qa-7\nevent: gap\ndata: {\"from\":\"00000000-1\",\"to\":\"k3f9x2qa-7\"}\n\n"
        );
    }
}
