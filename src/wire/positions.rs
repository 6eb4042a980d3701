//! Messages that say where they stand in the log, as WebSocket frames: the
//! payload of each begins with a line of its own.

use std::io::Write;

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::burst::{Burst, parts};
use super::frame::write_frame;
use crate::position::{Epoch, Offset, Position};

/// The line before a message that is not in the log: it was sent to this
/// client, not to a room.
const DIRECT: &[u8] = b"!direct";
/// The longest line of a position alone, and what it may add to a header.
const LINE: usize = 40;

/// The messages of a burst of frames with their positions, and their room where
/// it is given.
pub(super) fn encode(burst: &Burst, epoch: Epoch, room: Option<&str>) -> Burst {
    let longest = LINE + room.map_or(0, |room| room.len() + 1);
    let mut bytes = Vec::with_capacity(burst.bytes.len() + burst.messages as usize * longest);
    let mut line = Vec::with_capacity(LINE);
    for (index, frame) in burst.slices().enumerate() {
        line.clear();
        match burst.offset(index) {
            Offset::NONE => line.extend_from_slice(DIRECT),
            // Writing to a vector does not fail.
            offset => drop(write!(line, "{}", Position { epoch, offset })),
        }
        if let Some(room) = room {
            line.push(b' ');
            line.extend_from_slice(room.as_bytes());
        }
        line.push(b'\n');
        let (is_text, payload) = parts(frame);
        let kind = if is_text { Data::Text } else { Data::Binary };
        write_frame(&mut bytes, OpCode::Data(kind), &line, payload);
    }
    let bytes = Bytes::from(bytes.into_boxed_slice());
    burst.in_frames(bytes).placed_like(burst).with_positions()
}

/// The first message of a client: where it is, and how it came there.
pub(crate) fn at(position: Position, how: &str) -> Bytes {
    notice(format!("!at {position} {how}\n"))
}

/// Between two positions something is missing. `from` is shown as the
/// client knows it.
pub(crate) fn gap(from: Position, to: Position) -> Bytes {
    notice(format!("!gap {from} {to}\n"))
}

fn notice(line: String) -> Bytes {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, OpCode::Data(Data::Text), line.as_bytes(), b"");
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::wire::burst::{Encoding, single};

    const AT: &str = "k3f9x2qa-10482";

    fn position() -> Position {
        AT.parse().unwrap()
    }

    fn payload(message: Message, offset: Offset) -> (bool, Vec<u8>) {
        let mut burst = single(&message, false);
        burst.place(offset);
        let burst = encode(&burst, position().epoch, None);
        assert_eq!(burst.encoding, Encoding::PositionedFrames);
        assert_eq!((burst.messages, burst.offset(0)), (1, offset));
        let (is_text, payload) = parts(&burst.bytes);
        (is_text, payload.to_vec())
    }

    #[test]
    fn a_line_before_the_payload_and_the_kind_as_it_was() {
        let offset = position().offset;
        let text = payload("hello\nyou".into(), offset);
        assert_eq!(text, (true, format!("{AT}\nhello\nyou").into_bytes()));
        let binary = payload(vec![0, 255].into(), offset);
        assert_eq!(binary, (false, [AT.as_bytes(), b"\n\0\xff"].concat()));
        let direct = payload("hello".into(), Offset::NONE);
        assert_eq!(direct, (true, b"!direct\nhello".to_vec()));
    }

    #[test]
    fn notices_are_texts_of_one_line() {
        let text = at(position(), "complete");
        assert_eq!(&text[2..], b"!at k3f9x2qa-10482 complete\n");
        let text = gap(position(), "k3f9x2qa-10490".parse().unwrap());
        assert_eq!(&text[..2], b"\x81\x23");
        assert_eq!(&text[2..], b"!gap k3f9x2qa-10482 k3f9x2qa-10490\n");
    }
}
