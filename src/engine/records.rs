//! What an entry of the log says: records to bytes and back.
//!
//! A record is its kind (one byte), the length of its body, and the body;
//! numbers are written in groups of seven bits, the lowest first. What comes
//! from the engine is input like any other: nothing in it is trusted. A
//! record of a kind that is not known is skipped, so that a newer version of
//! the program may write more.

use std::sync::Arc;

use bytes::Bytes;

use crate::close::{CloseCode, CloseFrame, MAX_REASON};
use crate::hub::{Act, Attendance};
use crate::names::{name_flaw, room_flaw};
use crate::wire::frame;

const MESSAGES: u8 = 1;
const EVERYBODY: u8 = 2;
const UP: u8 = 3;
const DIRECT: u8 = 4;
const CLOSE: u8 = 5;
const ENTER: u8 = 6;
const EXIT: u8 = 7;
const HELLO: u8 = 8;
const BEGINS: u8 = 9;
const COMPLETE: u8 = 10;
const JOINED: u8 = 11;
const LEFT: u8 = 12;
/// The engine's scripts write this one …
const GONE: u8 = 13;
/// … and this one.
const CAME: u8 = 14;
/// Of the record behind it.
const PLAIN: u8 = 15;

/// The most members that a record names.
const MOST_MEMBERS: usize = 4096;

/// One record of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Messages for a room, which may be one that programs alone can name.
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
    /// A node does not know who is in the rooms of the others.
    Hello,
    /// What the node tells about its members.
    Attendance(Attendance),
    /// A node has said goodbye, or was buried.
    Gone { node: String },
    /// The node of the entry has given its first sign of life.
    Came { about: String },
    /// Messages for the client with these bits, which have no offsets.
    Direct { client: u64, frames: Frames },
    /// Something is done to the client with these bits.
    Act { client: u64, act: Act },
}

/// Whole messages as frames, as clients get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u32,
    /// Nobody is to get them compressed.
    pub(crate) is_plain: bool,
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

/// Appends a record that says that the messages of the next one are not to be
/// compressed. A node that does not know it compresses them like any others.
#[cfg(feature = "deflate")]
pub(crate) fn write_plain(out: &mut Vec<u8>) {
    begin(out, PLAIN, 0);
}

/// Appends a record that shows that the node's entries come back to it.
pub(crate) fn write_up(out: &mut Vec<u8>) {
    begin(out, UP, 0);
}

/// Appends a record that asks the other nodes who is in their rooms.
pub(crate) fn write_hello(out: &mut Vec<u8>) {
    begin(out, HELLO, 0);
}

/// Appends a record that says that a node is gone.
#[cfg(test)]
pub(crate) fn write_gone(out: &mut Vec<u8>, node: &str) {
    begin(out, GONE, node.len());
    out.extend_from_slice(node.as_bytes());
}

/// Appends a record of what a node tells about its members.
pub(crate) fn write_attendance(out: &mut Vec<u8>, told: &Attendance) {
    let mut body = Vec::new();
    let kind = match told {
        Attendance::Begins(number) => {
            write_number(&mut body, *number);
            BEGINS
        }
        Attendance::Complete(number) => {
            write_number(&mut body, *number);
            COMPLETE
        }
        Attendance::Joined { room, members } => {
            write_text(&mut body, room);
            for (id, name) in members {
                write_number(&mut body, *id);
                write_text(&mut body, name.as_deref().unwrap_or_default());
            }
            JOINED
        }
        Attendance::Left {
            room,
            members,
            is_lost,
        } => {
            write_text(&mut body, room);
            body.push(u8::from(*is_lost));
            members.iter().for_each(|id| write_number(&mut body, *id));
            LEFT
        }
        // It names the node: others say so of one that cannot any more.
        Attendance::Gone => return,
    };
    begin(out, kind, body.len());
    out.extend_from_slice(&body);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a record of messages for one client.
pub(crate) fn write_direct(out: &mut Vec<u8>, client: u64, frames: &[u8]) {
    begin(out, DIRECT, number_len(client) + frames.len());
    write_number(out, client);
    out.extend_from_slice(frames);
}

/// Appends a record of what is done to one client.
pub(crate) fn write_act(out: &mut Vec<u8>, client: u64, act: &Act) {
    let (kind, code, text) = match act {
        Act::Close(frame) => (
            CLOSE,
            frame.code.map(|code| u64::from(code.value())),
            &*frame.reason,
        ),
        Act::Enter(room) => (ENTER, None, &**room),
        Act::Exit(room) => (EXIT, None, &**room),
    };
    begin(
        out,
        kind,
        number_len(client) + code.map_or(0, number_len) + text.len(),
    );
    write_number(out, client);
    code.into_iter().for_each(|code| write_number(out, code));
    out.extend_from_slice(text.as_bytes());
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
    let mut is_plain = false;
    while !entry.is_empty() {
        let kind = entry.split_to(1)[0];
        let mut body = take(&mut entry)?;
        match kind {
            MESSAGES => {
                let room = take(&mut body)?;
                let room = std::str::from_utf8(&room)
                    .map_err(|_| Malformed)?
                    .to_owned();
                let except = number(&mut body)?;
                let frames = frames(body, std::mem::take(&mut is_plain))?;
                read.records.push(Record::Messages {
                    room,
                    except,
                    frames,
                });
            }
            EVERYBODY => {
                let except = number(&mut body)?;
                let frames = frames(body, std::mem::take(&mut is_plain))?;
                read.records.push(Record::Everybody { except, frames });
            }
            UP if body.is_empty() => read.records.push(Record::Up),
            HELLO if body.is_empty() => read.records.push(Record::Hello),
            PLAIN if body.is_empty() => is_plain = true,
            UP | HELLO | PLAIN => return Err(Malformed),
            DIRECT => {
                let client = number(&mut body)?;
                let frames = frames(body, std::mem::take(&mut is_plain))?;
                read.records.push(Record::Direct { client, frames });
            }
            CLOSE | ENTER | EXIT => {
                let client = number(&mut body)?;
                let act = act(kind, body)?;
                read.records.push(Record::Act { client, act });
            }
            GONE => {
                let node = text(body)?;
                read.records.push(Record::Gone { node });
            }
            CAME => {
                let about = text(body)?;
                read.records.push(Record::Came { about });
            }
            BEGINS | COMPLETE | JOINED | LEFT => {
                let told = attendance(kind, body)?;
                read.records.push(Record::Attendance(told));
            }
            _ => read.unknown += 1,
        }
    }
    Ok(read)
}

fn attendance(kind: u8, mut body: Bytes) -> Result<Attendance, Malformed> {
    let told = match kind {
        BEGINS => Attendance::Begins(number(&mut body)?),
        COMPLETE => Attendance::Complete(number(&mut body)?),
        JOINED => {
            let room = room(&mut body)?;
            let mut members = Vec::new();
            while !body.is_empty() && members.len() < MOST_MEMBERS {
                members.push((number(&mut body)?, name(&mut body)?));
            }
            Attendance::Joined { room, members }
        }
        _ => {
            let room = room(&mut body)?;
            let is_lost = number(&mut body)? != 0;
            let mut members = Vec::new();
            while !body.is_empty() && members.len() < MOST_MEMBERS {
                members.push(number(&mut body)?);
            }
            Attendance::Left {
                room,
                members,
                is_lost,
            }
        }
    };
    body.is_empty().then_some(told).ok_or(Malformed)
}

/// The name of a room that clients can be in.
fn room(body: &mut Bytes) -> Result<Arc<str>, Malformed> {
    let room = text(take(body)?)?;
    let is_one = room.starts_with('/') && room_flaw(&room).is_none();
    is_one.then(|| room.into()).ok_or(Malformed)
}

/// The name of a client, if it has one.
fn name(body: &mut Bytes) -> Result<Option<Box<str>>, Malformed> {
    let name = text(take(body)?)?;
    match name_flaw(&name) {
        Some(_) => Err(Malformed),
        None => Ok((!name.is_empty()).then(|| name.into())),
    }
}

fn text(bytes: Bytes) -> Result<String, Malformed> {
    String::from_utf8(bytes.into()).map_err(|_| Malformed)
}

fn act(kind: u8, mut body: Bytes) -> Result<Act, Malformed> {
    let code = match kind {
        CLOSE => Some(number(&mut body)?),
        _ => None,
    };
    let text = std::str::from_utf8(&body).map_err(|_| Malformed)?;
    if let Some(code) = code {
        let code = u16::try_from(code).ok().and_then(CloseCode::new);
        let is_short = text.len() <= MAX_REASON;
        let frame = code.filter(|_| is_short);
        let frame = frame.map(|code| Act::Close(CloseFrame::new(code, text)));
        return frame.ok_or(Malformed);
    }
    match kind {
        _ if !text.starts_with('/') => Err(Malformed),
        ENTER => Ok(Act::Enter(text.into())),
        _ => Ok(Act::Exit(text.into())),
    }
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

fn frames(bytes: Bytes, is_plain: bool) -> Result<Frames, Malformed> {
    let messages = frame::count_messages(&bytes).ok_or(Malformed)?;
    Ok(Frames {
        bytes,
        messages,
        is_plain,
    })
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
            is_plain: false,
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

    fn some_joined(id: u64) -> Attendance {
        Attendance::Joined {
            room: "/lobby".into(),
            members: vec![(id, Some("änn".into())), (3, None)],
        }
    }

    #[test]
    fn what_is_told_about_members_is_what_was_written() {
        let all = [
            Attendance::Begins(300),
            some_joined(u64::MAX),
            Attendance::Left {
                room: "/".into(),
                members: vec![1, 1 << 40],
                is_lost: true,
            },
            Attendance::Complete(300),
        ];
        let mut out = Vec::new();
        write_hello(&mut out);
        all.iter().for_each(|told| write_attendance(&mut out, told));
        write_gone(&mut out, "0123abcd");
        let mut expected = vec![Record::Hello];
        expected.extend(all.map(Record::Attendance));
        expected.push(Record::Gone {
            node: "0123abcd".to_owned(),
        });
        assert_eq!(read(out.into()).unwrap().records, expected);
    }

    #[test]
    fn members_whom_no_room_could_have_are_no_record() {
        let joined = |room: &str, name: &str| {
            let mut out = Vec::new();
            let members = vec![(1, Some(name.into()))];
            let room = room.into();
            write_attendance(&mut out, &Attendance::Joined { room, members });
            read(out.into()).map(|read| read.records.len())
        };
        assert_eq!(joined("/", "ann"), Ok(1));
        let long = "x".repeat(65);
        for (room, name) in [
            ("lobby", "ann"),
            ("/-/metrics", "ann"),
            ("/a\nb", "ann"),
            ("/", "a\nb"),
            ("/", "\u{202e}ann"),
            ("/", long.as_str()),
        ] {
            assert_eq!(joined(room, name), Err(Malformed), "{room:?} {name:?}");
        }
        let mut out = Vec::new();
        let members = vec![(1, None); MOST_MEMBERS + 1];
        let room = "/".into();
        write_attendance(&mut out, &Attendance::Joined { room, members });
        assert_eq!(read(out.into()), Err(Malformed), "too many at once");
        for bytes in [
            &[8, 1, 0][..],
            &[9, 0],
            &[10, 2, 1, 1],
            &[11, 1, 1],
            &[13, 1, 0xff],
        ] {
            assert_eq!(
                read(Bytes::copy_from_slice(bytes)),
                Err(Malformed),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn acts_are_what_was_written() {
        let (bytes, messages) = some_frames();
        let acts = [
            Act::Close(CloseFrame::new(CloseCode::POLICY_VIOLATION, "too löud")),
            Act::Enter("/cellar".into()),
            Act::Exit("/".into()),
        ];
        let mut out = Vec::new();
        write_direct(&mut out, u64::MAX, &bytes);
        acts.iter().for_each(|act| write_act(&mut out, 300, act));
        let mut expected = vec![Record::Direct {
            client: u64::MAX,
            frames: Frames {
                bytes,
                messages,
                is_plain: false,
            },
        }];
        expected.extend(acts.map(|act| Record::Act { client: 300, act }));
        assert_eq!(read(out.into()).unwrap().records, expected);
    }

    #[test]
    fn what_nobody_may_do_to_a_client_is_no_record() {
        let long = "x".repeat(MAX_REASON + 1);
        let close = |code: &[u8], reason: &[u8]| [&[7][..], code, reason].concat();
        for (kind, body) in [
            (CLOSE, close(&[0xf0], b"")),                // cut off
            (CLOSE, close(&[0xed, 7], b"")),             // 1005, never sent
            (CLOSE, close(&[0xe8, 0xff, 0xff, 1], b"")), // no code
            (CLOSE, close(&[0xe8, 7], b"\xff")),         // not UTF-8
            (CLOSE, close(&[0xe8, 7], long.as_bytes())),
            (CLOSE, vec![]),
            (ENTER, vec![7]),
            (ENTER, b"\x07lobby".to_vec()),
            (EXIT, vec![0x80]),
            (DIRECT, vec![7]),
            (DIRECT, b"\x07\x88\x00".to_vec()),
        ] {
            let mut out = Vec::new();
            begin(&mut out, kind, body.len());
            out.extend_from_slice(&body);
            assert_eq!(read(out.into()), Err(Malformed), "{kind} {body:?}");
        }
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
                match choices.below(7) {
                    5 => write_direct(&mut out, except, &frames),
                    6 => write_act(&mut out, except, &Act::Enter("/a".into())),
                    0 => write_messages(&mut out, "/a", except, &frames),
                    1 => write_everybody(&mut out, except, &frames),
                    2 => write_attendance(&mut out, &some_joined(except)),
                    3 => write_gone(&mut out, "0123abcd"),
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
