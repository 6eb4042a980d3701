//! Messages as server-sent events.

use bytes::Bytes;
use data_encoding::BASE64;

use super::burst::Burst;
use crate::close::CloseFrame;

/// What an event adds to each line of a text.
const LINE: &[u8] = b"data: ";

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
    Burst::of_events(Bytes::from(bytes.into_boxed_slice()), ends)
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
    out.extend_from_slice(b"event: binary\ndata: ");
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// The last event of a stream, with the code and reason of a Close frame.
pub(crate) fn close_event(frame: &CloseFrame) -> Bytes {
    let code = frame.code.map_or(1005, |code| code.value());
    // A reason that your program gave may have line ends; an event's data line
    // must not.
    let reason = frame.reason.replace(['\n', '\r'], " ");
    Bytes::from(format!("event: close\ndata: {code} {reason}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::message::Message;
    use crate::wire::burst::{BurstBuilder, single};

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
}
