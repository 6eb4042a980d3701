//! Messages as lines, for programs: as text that a terminal can show, or as
//! JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::burst::{Burst, Encoding};
use super::json;
use crate::close::CloseFrame;
use crate::message::append_line;
use crate::names::ClientId;
use crate::position::{Epoch, Offset, Position};

/// What comes after a silence: an empty line.
pub(crate) const KEEPALIVE: &[u8] = b"\n";

/// The messages of a burst of frames, each as a line of text.
pub(super) fn encode(burst: &Burst) -> Burst {
    encode_by(burst, Encoding::Lines, |out, text, payload| {
        append_line(out, text.ok_or(payload.len()))
    })
}

/// When messages were taken, and the client that has sent them, if one has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    at: u128,
    from: Option<ClientId>,
}

impl Taken {
    pub(super) fn now(from: Option<ClientId>) -> Taken {
        Taken { at: now(), from }
    }
}

/// The messages of a burst of frames, each as an object of JSON.
pub(super) fn encode_json(burst: &Burst, taken: Option<Taken>) -> Burst {
    encode_by(burst, Encoding::JsonLines, |out, text, payload| {
        json::object(out, |object| {
            if let Some(Taken { at, from }) = taken {
                object.plain("at", at);
                if let Some(id) = from {
                    object.plain("from", id);
                }
            }
            match text {
                Some(text) => object.string("text", text),
                None => object.string("base64", &BASE64.encode(payload)),
            };
        });
    })
}

/// The objects of a burst with their positions. A message that is not in the log
/// has none.
pub(super) fn with_positions(objects: &Burst, epoch: Epoch) -> Burst {
    let mut bytes = Vec::with_capacity(objects.bytes.len());
    let mut ends = Vec::with_capacity(objects.messages as usize);
    for (index, object) in objects.slices().enumerate() {
        match objects.offset(index) {
            Offset::NONE => bytes.extend_from_slice(object),
            offset => {
                let position = Position { epoch, offset };
                // Each object has a member, so a comma belongs before it.
                bytes.extend_from_slice(format!(r#"{{"position":"{position}","#).as_bytes());
                bytes.extend_from_slice(object.strip_prefix(b"{").unwrap_or(object));
            }
        }
        ends.push(bytes.len());
    }
    let bytes = Bytes::from(bytes.into_boxed_slice());
    let positioned = Burst::of_events(bytes, ends).encoded_as(Encoding::PositionedJsonLines);
    positioned.placed_like(objects)
}

/// Lines that begin with the room that the messages are for, and a tab.
pub(super) fn lines_in_room(lines: &Burst, room: Option<&str>) -> Burst {
    begin_each(lines, |out, line| {
        if let Some(room) = room {
            append_line(out, Ok(room));
            out.push('\t');
        }
        line
    })
}

/// Objects that name the room that the messages are for.
pub(super) fn objects_in_room(objects: &Burst, room: Option<&str>) -> Burst {
    begin_each(objects, |out, object| {
        let Some(room) = room else {
            return object;
        };
        out.push_str("{\"room\":");
        json::string(out, room);
        // Each object has a member, so a comma belongs before it.
        out.push(',');
        object.strip_prefix('{').unwrap_or(object)
    })
}

/// The lines of a burst with something before each. `begin` writes it, and
/// returns the rest of the line.
fn begin_each(lines: &Burst, begin: impl for<'a> Fn(&mut String, &'a str) -> &'a str) -> Burst {
    let mut out = String::with_capacity(lines.bytes.len());
    let mut ends = Vec::with_capacity(lines.messages as usize);
    for line in lines.slices() {
        // It was made of text, so nothing is replaced.
        let line = String::from_utf8_lossy(line);
        let rest = begin(&mut out, &line);
        out.push_str(rest);
        ends.push(out.len());
    }
    let bytes = Bytes::from(out.into_bytes().into_boxed_slice());
    Burst::of_events(bytes, ends).placed_like(lines)
}

/// What the stream of a client that follows positions begins with: where it is,
/// and how it came there.
pub(crate) fn at(position: Position, how: &str) -> Bytes {
    notice(format!(r#"{{"resume":"{how}","position":"{position}"}}"#))
}

/// Between two positions something is missing.
pub(crate) fn gap(from: Position, to: Position) -> Bytes {
    notice(format!(r#"{{"gap":{{"from":"{from}","to":"{to}"}}}}"#))
}

fn notice(mut line: String) -> Bytes {
    line.push('\n');
    Bytes::from(line)
}

fn encode_by(
    burst: &Burst,
    encoding: Encoding,
    append: impl Fn(&mut String, Option<&str>, &[u8]),
) -> Burst {
    let mut lines = String::with_capacity(burst.bytes.len());
    let mut ends = Vec::with_capacity(burst.messages as usize);
    for (is_text, payload) in burst.payloads() {
        // A text is UTF-8, so nothing is replaced.
        let text = is_text.then(|| String::from_utf8_lossy(&payload));
        append(&mut lines, text.as_deref(), &payload);
        lines.push('\n');
        ends.push(lines.len());
    }
    let bytes = Bytes::from(lines.into_bytes().into_boxed_slice());
    let lines = Burst::of_events(bytes, ends).encoded_as(encoding);
    lines.placed_like(burst)
}

/// The last line of a stream of text.
pub(crate) fn close_line(frame: &CloseFrame) -> Bytes {
    let mut line = String::from("[closed: ");
    append_line(&mut line, Ok(&frame.to_string()));
    line.push_str("]\n");
    Bytes::from(line)
}

/// The last line of a stream of JSON.
pub(crate) fn json_close_line(frame: &CloseFrame) -> Bytes {
    let code = frame.code.map_or(1005, |code| code.value());
    let mut line = String::new();
    json::object(&mut line, |object| {
        object.plain("at", now()).plain("close", code);
        object.string("reason", &frame.reason);
    });
    line.push('\n');
    Bytes::from(line)
}

/// What comes after a silence in a stream of JSON: an object without a message.
pub(crate) fn json_keepalive() -> Bytes {
    Bytes::from(format!("{{\"at\":{}}}\n", now()))
}

/// Milliseconds since 1970, as a browser's Date takes them.
fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::wire::burst::BurstBuilder;

    fn burst() -> Burst {
        let mut builder = BurstBuilder::default();
        builder.text("two\nlines\u{1b}[2J", false);
        builder.text("é \"<\u{202e}", true);
        builder.binary(&[0, 255]);
        builder.text("", false);
        builder.take()
    }

    #[test]
    fn each_message_is_a_line_that_steers_no_terminal() {
        let lines = encode(&burst());
        let expected = [
            "two\\nlines\\u{1b}[2J\n",
            "é \"<\\u{202e}\n",
            "[binary, 2 bytes]\n",
            "\n",
        ];
        assert_eq!(lines.frames().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_message_is_an_object_on_a_line() {
        let lines = encode_json(&burst(), Some(Taken::now(Some(ClientId(7)))));
        let lines: Vec<String> = lines
            .frames()
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        for (line, end) in lines.iter().map(|line| line.replace('\u{202e}', "")).zip([
            r#","from":7,"text":"two\u000alines\u001b[2J"}"#,
            r#","from":7,"text":"é \"\u003c\u000a"}"#,
            r#","from":7,"base64":"AP8="}"#,
            r#","from":7,"text":""}"#,
        ]) {
            let rest = line.strip_prefix("{\"at\":").unwrap();
            let (time, rest) = rest.split_at(rest.find(',').unwrap());
            assert!(time.parse::<u64>().unwrap() > 1_700_000_000_000, "{line}");
            assert_eq!(rest, format!("{end}\n"));
        }
        assert_eq!(lines.len(), 4);
        let anonymous = encode_json(&burst(), None);
        assert!(anonymous.bytes.ends_with(b"{\"text\":\"\"}\n"));
    }

    #[test]
    fn objects_say_where_they_stand() {
        let epoch = "k3f9x2qa-1".parse::<Position>().unwrap().epoch;
        let mut objects = encode_json(&burst(), None);
        assert_eq!(with_positions(&objects, epoch).bytes, objects.bytes);
        objects.place("k3f9x2qa-7".parse::<Position>().unwrap().offset);
        let placed = with_positions(&objects, epoch);
        let lines: Vec<Bytes> = placed.frames().collect();
        let expected = "{\"position\":\"k3f9x2qa-9\",\"base64\":\"AP8=\"}\n";
        assert_eq!(lines[2], expected);
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn the_end_is_a_line() {
        let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "too\nslow");
        let line = close_line(&frame);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(line.starts_with(b"[closed: 1008"), "{line:?}");
        let line = json_close_line(&frame);
        assert!(
            line.ends_with(b",\"close\":1008,\"reason\":\"too\\u000aslow\"}\n"),
            "{line:?}"
        );
    }
}
