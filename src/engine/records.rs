//! What an entry of the log says: records to bytes and back.
//!
//! A record is its kind (one byte), the length of its body, and the body;
//! numbers are written in groups of seven bits, the lowest first. What comes
//! from the engine is input like any other: nothing in it is trusted. A
//! record of a kind that is not known is skipped, so that a newer version of
//! the program may write more.

use bytes::Bytes;

use crate::names::MAX_ROOM;
use crate::wire::frame;

const MESSAGES: u8 = 1;
const EVERYBODY: u8 = 2;
const UP: u8 = 3;

/// One record of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Messages for a room.
    Messages {
        room: String,
        /// The client that does not receive them, as the bits of its id;
        /// zero: there is none.
        except: u64,
        frames: Frames,
    },
    /// Messages for the members of all rooms.
    Everybody { except: u64, frames: Frames },
    /// A node shows that its entries come back to it.
    Up,
}

/// Whole messages as frames, as clients get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u32,
}

/// The records of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) records: Vec<Record>,
    /// How many were of an unknown kind.
    pub(super) unknown: u64,
}

/// Bytes are not records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends a record of messages for a room.
pub(crate) fn write_messages(out: &mut Vec<u8>, room: &str, except: u64, frames: &[u8]) {
    let head = number_len(room.len() as u64) + room.len() + number_len(except);
    begin(out, MESSAGES, head + frames.len());
    write_number(out, room.len() as u64);
    out.extend_from_slice(room.as_bytes());
    write_number(out, except);
    out.extend_from_slice(frames);
}

/// Appends a record of messages for the members of all rooms.
pub(crate) fn write_everybody(out: &mut Vec<u8>, except: u64, frames: &[u8]) {
    begin(out, EVERYBODY, number_len(except) + frames.len());
    write_number(out, except);
    out.extend_from_slice(frames);
}

/// Appends a record that shows that the node's entries come back to it.
pub(crate) fn write_up(out: &mut Vec<u8>) {
    begin(out, UP, 0);
}

fn begin(out: &mut Vec<u8>, kind: u8, body: usize) {
    out.push(kind);
    write_number(out, body as u64);
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads the records of an entry. Frames are slices of it.
pub(super) fn read(mut entry: Bytes) -> Result<Records, Malformed> {
    let mut read = Records::default();
    while !entry.is_empty() {
        let kind = entry.split_to(1)[0];
        let mut body = take(&mut entry)?;
        match kind {
            MESSAGES => {
                let room = take(&mut body)?;
                if room.len() > MAX_ROOM {
                    return Err(Malformed);
                }
                let room = std::str::from_utf8(&room)
                    .map_err(|_| Malformed)?
                    .to_owned();
                let except = number(&mut body)?;
                let frames = frames(body)?;
                read.records.push(Record::Messages {
                    room,
                    except,
                    frames,
                });
            }
            EVERYBODY => {
                let except = number(&mut body)?;
                let frames = frames(body)?;
                read.records.push(Record::Everybody { except, frames });
            }
            UP if body.is_empty() => read.records.push(Record::Up),
            UP => return Err(Malformed),
            _ => read.unknown += 1,
        }
    }
    Ok(read)
}

fn number(bytes: &mut Bytes) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        if bytes.is_empty() {
            return Err(Malformed);
        }
        let byte = bytes.split_to(1)[0];
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// Takes a length and as many bytes.
fn take(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = usize::try_from(number(bytes)?).map_err(|_| Malformed)?;
    if len > bytes.len() {
        return Err(Malformed);
    }
    Ok(bytes.split_to(len))
}

fn frames(bytes: Bytes) -> Result<Frames, Malformed> {
    let messages = frame::count_messages(&bytes).ok_or(Malformed)?;
    Ok(Frames { bytes, messages })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::choices::Choices;
    use crate::wire::BurstBuilder;

    fn some_frames() -> (Bytes, u32) {
        let mut builder = BurstBuilder::default();
        builder.text("hällo", false);
        builder.binary(&[0xff; 200]);
        let burst = builder.take();
        (burst.bytes, burst.messages)
    }

    #[test]
    fn records_are_what_was_written() {
        let (bytes, messages) = some_frames();
        let frames = Frames {
            bytes: bytes.clone(),
            messages,
        };
        let mut out = Vec::new();
        write_messages(&mut out, "/lobby", 300, &bytes);
        write_everybody(&mut out, u64::MAX, &bytes);
        write_up(&mut out);
        let read = read(out.into()).unwrap();
        let room = "/lobby".to_owned();
        assert_eq!(
            read.records,
            [
                Record::Messages {
                    room,
                    except: 300,
                    frames: frames.clone()
                },
                Record::Everybody {
                    except: u64::MAX,
                    frames
                },
                Record::Up,
            ]
        );
        assert_eq!(read.unknown, 0);
    }

    #[test]
    fn a_kind_that_is_not_known_is_skipped_and_counted() {
        let mut out = vec![99, 3, 1, 2, 3, 0, 0];
        write_up(&mut out);
        let read = read(out.into()).unwrap();
        assert_eq!((read.records, read.unknown), (vec![Record::Up], 2));
    }

    #[test]
    fn what_could_break_a_client_is_no_record() {
        let messages = |frames: &[u8]| {
            let mut out = Vec::new();
            write_messages(&mut out, "/", 0, frames);
            read(out.into())
        };
        assert!(messages(b"\x81\x02hi").is_ok());
        for frames in [
            &b""[..],              // no message
            b"\x81\x03hi",         // cut off
            b"\x81",               // cut off
            b"\x81\x7e\x00",       // cut off
            b"\x81\x02\xff\xff",   // not UTF-8
            b"\x81\x82....hi",     // masked
            b"\x01\x02hi",         // a fragment
            b"\xc1\x02hi",         // compressed
            b"\x88\x00",           // a Close
            b"\x81\x7e\x00\x02hi", // a length longer than need be
            b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(messages(frames), Err(Malformed), "{frames:?}");
        }
        let mut out = Vec::new();
        write_messages(&mut out, &"x".repeat(MAX_ROOM + 1), 0, b"\x81\x02hi");
        assert_eq!(read(out.into()), Err(Malformed));
        for bytes in [&[1][..], &[1, 5, 0], &[1, 3, 2, 0xff, 0xff], &[3, 1, 0]] {
            assert_eq!(read(Bytes::copy_from_slice(bytes)), Err(Malformed));
        }
        assert_eq!(read(Bytes::from_static(&[0xff; 20])), Err(Malformed));
    }

    /// Whatever was written comes back, and whatever is done to its bytes
    /// ends in records or in an error.
    #[test]
    fn records_survive_any_bytes() {
        for seed in 0..3000 {
            let mut choices = Choices::Seed(seed);
            let (frames, _) = some_frames();
            let mut out = Vec::new();
            let count = choices.below(8);
            for _ in 0..count {
                let except = choices.below(1 << 20) as u64;
                match choices.below(3) {
                    0 => write_messages(&mut out, "/a", except, &frames),
                    1 => write_everybody(&mut out, except, &frames),
                    _ => write_up(&mut out),
                }
            }
            let whole = read(out.clone().into()).unwrap();
            assert_eq!(whole.records.len(), count);
            for _ in 0..8 {
                if !out.is_empty() {
                    let at = choices.below(out.len());
                    out[at] = choices.below(256) as u8;
                }
                let _ = read(out.clone().into());
            }
        }
    }
}
