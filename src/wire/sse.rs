//! Messages as server-sent events.

use bytes::Bytes;
use data_encoding::BASE64;

use crate::close::CloseFrame;
use crate::wire::burst::{Burst, Encoding};

/// The messages of some bursts as events, in one burst.
pub(crate) fn encode(bursts: &[Burst]) -> Burst {
    let mut bytes = Vec::new();
    let mut messages = 0;
    for (is_text, payload) in bursts.iter().flat_map(Burst::payloads) {
        messages += 1;
        match std::str::from_utf8(&payload) {
            Ok(text) if is_text => text_event(&mut bytes, text),
            _ => binary_event(&mut bytes, &payload),
        }
    }
    Burst {
        bytes: Bytes::from(bytes),
        messages,
        encoding: Encoding::Events,
    }
}

/// A text: a `data` line for each of its lines, whichever way they end.
fn text_event(out: &mut Vec<u8>, text: &str) {
    let text = text.replace("\r\n", "\n");
    for line in text.split(['\n', '\r']) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Bytes, as base64 under an event name of their own.
fn binary_event(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"event: binary\ndata: ");
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// The length of the first event of `bytes`: it ends with an empty line.
pub(crate) fn event_len(bytes: &[u8]) -> usize {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    end.map_or(bytes.len(), |at| at + 2)
}

/// The last event of a stream: what a Close frame would say.
pub(crate) fn close_event(frame: &CloseFrame) -> Bytes {
    let code = frame.code.map_or(1005, |code| code.value());
    // A reason is ours, or the program's: a line of text all the same.
    let reason = frame.reason.replace(['\n', '\r'], " ");
    Bytes::from(format!("event: close\ndata: {code} {reason}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::message::Message;
    use crate::wire::burst::single;

    fn event(message: impl Into<Message>) -> String {
        let burst = encode(&[single(&message.into(), false)]);
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
        let messages = ["a", "b\nc", ""].map(|text| single(&Message::from(text), false));
        let burst = encode(&messages);
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
