//! Server-sent events: a receive-only member of a room, over plain HTTP.

use std::io::{self, Read};
use std::net::TcpStream;

use bytes::Bytes;
use data_encoding::BASE64;

use crate::client::Client;
use crate::close::{Cause, CloseFrame};
use crate::frame::{Burst, Encoding};
use crate::hub::Command;
use crate::server::Shared;

/// The answer to a request for events, and a comment so that a client sees
/// at once that the stream is open.
pub(crate) const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream\r\n\
    cache-control: no-store\r\n\
    x-accel-buffering: no\r\n\
    connection: close\r\n";

/// The most bytes a client of events may send behind its request; it has
/// nothing to say.
const MAX_INPUT: usize = 4096;

/// What keeps an idle stream alive: a comment, which clients ignore.
const KEEPALIVE: &[u8] = b": keepalive\n\n";

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

/// The last event of a stream: what a Close frame would say.
pub(crate) fn close_event(frame: &CloseFrame) -> Bytes {
    let code = frame.code.map_or(1005, |code| code.value());
    // A reason is ours, or the program's: a line of text all the same.
    let reason = frame.reason.replace(['\n', '\r'], " ");
    Bytes::from(format!("event: close\ndata: {code} {reason}\n\n"))
}

/// Runs on the client's thread: waits for the end of the stream and keeps it
/// alive meanwhile. What a client of events sends is discarded.
pub(crate) fn follow(shared: &Shared, client: &Client, mut socket: &TcpStream) {
    let interval = shared.config.ping_interval;
    let _ = socket.set_read_timeout((!interval.is_zero()).then_some(interval));
    // It answers no ping: that it has vanished shows in a keepalive, or a
    // message, that nobody acknowledges.
    #[cfg(target_os = "linux")]
    if !interval.is_zero() {
        let patience = shared.config.pong_timeout.as_millis();
        let patience = u32::try_from(patience).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(socket, patience);
    }
    let mut scratch = [0; 256];
    let mut heard = 0;
    let cause = loop {
        match socket.read(&mut scratch) {
            Ok(0) => break Cause::ClosedByPeer,
            Ok(n) => {
                heard += n;
                if heard > MAX_INPUT {
                    break Cause::ProtocolError("a client of events has sent data".to_owned());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let keepalive = Command::Ping {
                    id: client.id(),
                    frame: Bytes::from_static(KEEPALIVE),
                };
                if shared.inbox.send(keepalive).is_err() {
                    break Cause::Shutdown;
                }
            }
            Err(error) => break Cause::ReadFailed(error.kind()),
        }
    };
    // The hub may have ended it first.
    let _ = client.state.cause.set(cause);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::frame::single;
    use crate::message::Message;

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
