//! A room's shared stream: what clients inflate that keep their windows.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::*;
use crate::wire::Deflate;
use crate::wire::burst::{BurstBuilder, parts};

/// The largest window there is (RFC 7692 §7.1.2).
const WINDOW: usize = 1 << 15;

/// What inflates the messages of one client, and is never reset unless the
/// client has asked for that.
struct Inflater {
    state: Box<DecompressorOxide>,
    window: Vec<u8>,
    at: usize,
    keeps_window: bool,
}

impl Inflater {
    fn new(encoding: Encoding) -> Inflater {
        Inflater {
            state: Box::default(),
            window: vec![0; WINDOW],
            at: 0,
            keeps_window: encoding == Encoding::DeflatedShared,
        }
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.keeps_window {
            *self = Inflater::new(Encoding::Deflated);
        }
        let whole = [payload, &[0x00, 0x00, 0xff, 0xff]].concat();
        let (mut input, mut out) = (&whole[..], Vec::new());
        loop {
            let flags = TINFL_FLAG_HAS_MORE_INPUT;
            let (status, read, written) =
                decompress(&mut self.state, input, &mut self.window, self.at, flags);
            input = &input[read..];
            out.extend_from_slice(&self.window[self.at..self.at + written]);
            self.at = (self.at + written) % WINDOW;
            match status {
                TINFLStatus::NeedsMoreInput => return out,
                TINFLStatus::HasMoreOutput => {}
                status => panic!("{status:?}"),
            }
        }
    }
}

/// A client of a random test: what it is to receive, and what it has received.
struct Reader {
    peer: Peer,
    inflater: Inflater,
    rooms: BTreeSet<&'static str>,
    expected: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
    compressed: usize,
    /// What came in and is no whole frame yet.
    bytes: Vec<u8>,
}

impl Reader {
    fn new(world: &mut World, room: &'static str, encoding: Encoding) -> Reader {
        Reader {
            peer: world.join_as(room, encoding),
            inflater: Inflater::new(encoding),
            rooms: [room].into(),
            expected: Vec::new(),
            received: Vec::new(),
            compressed: 0,
            bytes: Vec::new(),
        }
    }

    /// Reads the whole messages that have come.
    fn read(&mut self) {
        self.bytes.extend(self.peer.socket.take_out());
        let mut at = 0;
        while let Some(len) = whole_frame(&self.bytes[at..]) {
            let frame = &self.bytes[at..at + len];
            at += len;
            match frame[0] {
                0x81 | 0x82 => self.received.push(parts(frame).1.to_vec()),
                0xc1 | 0xc2 => {
                    self.compressed += 1;
                    let message = self.inflater.inflate(parts(frame).1);
                    self.received.push(message);
                }
                first => assert_eq!(first & 0xf8, 0x88, "{first:x}"),
            }
        }
        self.bytes.drain(..at);
    }
}

/// The length of the frame at the beginning, if all of it is there.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let (header, len) = match bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, 126, ..] => return None,
        [_, len, ..] => (2, usize::from(*len)),
        _ => return None,
    };
    (bytes.len() >= header + len).then_some(header + len)
}

/// Texts of which each looks like the ones before it.
fn text(choices: &mut Choices<'_>, step: usize) -> Vec<u8> {
    let len = match choices.below(20) {
        0 => 1_000 + choices.below(3_000),
        1..4 => choices.below(18),
        _ => 60 + choices.below(400),
    };
    let noisy = choices.one_in(12);
    let mut text = format!("{{\"step\":{step},\"from\":\"ann\",").into_bytes();
    while text.len() < len {
        match choices.below(3) {
            _ if noisy => text.extend(choices.below(1 << 24).to_le_bytes()),
            0 => text.extend(format!("\"x\":{},", choices.below(1000)).bytes()),
            1 => text.extend(b"\"symbol\":\"HUB\","),
            _ => text.extend(b"\"price\":"),
        }
    }
    text.truncate(len);
    text
}

/// Random comings, goings, stalls and left-out senders in two rooms with streams.
/// The clients keep their inflaters from the first message to the last.
fn streams_hold(seed: u64, slow_consumer: SlowConsumer, helpers: usize) -> (usize, u64) {
    let mut choices = Choices::Seed(seed);
    let mut world = World::with(slow_consumer, |config| {
        config.deflate_rooms = true;
        config.queue_messages = [2, 5, 30][choices.below(3)];
        config.queue_bytes = 20_000;
        config.slow_consumer = slow_consumer;
    })
    .helped(helpers);
    let thresholds = [1, 100, 256, 3_000];
    let threshold = thresholds[choices.below(thresholds.len())];
    let deflate = Deflate::new(threshold, 1, Arc::default());
    let rooms = ["/a", "/b"];
    let mut readers: Vec<Reader> = Vec::new();
    let mut compressed = 0;
    for step in 0..600 {
        let room = rooms[usize::from(choices.one_in(4))];
        let (who, count) = (choices.below(readers.len()), readers.len());
        match (choices.below(40), readers.get_mut(who)) {
            (0..2, _) | (_, None) => {
                let encoding = match choices.below(5) {
                    0 => Encoding::Frames,
                    1 => Encoding::Deflated,
                    _ => Encoding::DeflatedShared,
                };
                readers.push(Reader::new(&mut world, room, encoding));
            }
            (2, _) if count > 3 => {
                let mut gone = readers.swap_remove(who);
                finish(&mut world, &mut gone, seed, slow_consumer);
                compressed += gone.compressed;
            }
            (3, Some(reader)) => {
                world.enter(&reader.peer, room);
                reader.rooms.insert(room);
            }
            (4, Some(reader)) if reader.rooms.len() > 1 => {
                world.exit(&reader.peer, room);
                reader.rooms.remove(room);
            }
            (5..8, Some(reader)) => {
                let rooms = [0, 1, 50, 300, usize::MAX, usize::MAX];
                let room = rooms[choices.below(rooms.len())];
                reader.peer.socket.set_room(room);
            }
            (8..20, Some(reader)) => {
                if reader.peer.socket.write(choices.below(2_000)) {
                    let (id, result) = (reader.peer.id, Ok(()));
                    world.hub.apply(Command::Written { id, result });
                }
            }
            (choice, Some(_)) => {
                let id = readers[who].peer.id;
                let mut builder = BurstBuilder::default();
                let several = choices.below(4) * usize::from(choices.one_in(4));
                let texts: Vec<Vec<u8>> = (0..=several).map(|_| text(&mut choices, step)).collect();
                texts.iter().for_each(|text| builder.binary(text));
                let mut burst = builder.take();
                if choices.one_in(20) {
                    burst = burst.uncompressed();
                }
                let mut forms: crate::wire::Forms = burst.into();
                forms.deflated = deflate.compress(&forms.frames);
                let to = match choice {
                    20 => Audience::Client(id),
                    21 => Audience::Everybody { except: Some(id) },
                    _ => Audience::Room {
                        room: room.into(),
                        except: (choice < 27).then_some(id),
                    },
                };
                for (n, reader) in readers.iter_mut().enumerate() {
                    let hears = match choice {
                        20 => n == who,
                        21 => n != who,
                        0..27 => n != who && reader.rooms.contains(room),
                        _ => reader.rooms.contains(room),
                    };
                    if hears && !reader.peer.state.is_ending() {
                        reader.expected.extend(texts.iter().cloned());
                    }
                }
                // A socket may be full for this moment only.
                let blinks = choices.one_in(3).then(|| choices.below(count));
                let blinks = blinks.map(|n| readers[n].peer.socket.clone());
                if let Some(socket) = &blinks {
                    socket.set_room([0, 1, 50, 300][choices.below(4)]);
                }
                world.hub.apply(Command::Publish {
                    to,
                    forms,
                    permit: None,
                    receipt: None,
                });
                if let Some(socket) = blinks {
                    world.hub.end_pass();
                    socket.set_room(usize::MAX);
                }
            }
        }
        if choices.one_in(3) {
            world.hub.end_pass();
        }
        readers.iter_mut().for_each(Reader::read);
    }
    for mut reader in readers {
        finish(&mut world, &mut reader, seed, slow_consumer);
        compressed += reader.compressed;
    }
    (compressed, world.counters.key_frames.get())
}

/// Reads to the end, and compares.
fn finish(world: &mut World, reader: &mut Reader, seed: u64, slow_consumer: SlowConsumer) {
    world.hub.end_pass();
    reader.peer.socket.set_room(usize::MAX);
    world.write_all(&reader.peer);
    reader.read();
    let is_closed = reader.peer.state.is_ending();
    let place = world.hub.places[&reader.peer.id];
    let dropped = world.hub.members.get(place).unwrap().outbox.dropped();
    world.leave(&reader.peer);
    assert!(reader.bytes.is_empty(), "seed {seed}: half a frame");
    let (expected, received) = (&reader.expected, &reader.received);
    let id = reader.peer.id;
    if slow_consumer == SlowConsumer::Disconnect {
        let is_prefix = expected.starts_with(received);
        assert!(is_prefix, "seed {seed}, client {id}: other messages");
        assert!(
            is_closed || received.len() == expected.len(),
            "seed {seed}, client {id}"
        );
        return;
    }
    assert_eq!(
        received.len() as u64 + dropped,
        expected.len() as u64,
        "seed {seed}, client {id}"
    );
    // Some are missing, and what is there is in order.
    let mut rest = expected.iter();
    for message in received {
        let found = rest.any(|expected| expected == message);
        assert!(found, "seed {seed}, client {id}: no such message");
    }
}

#[test]
fn whoever_keeps_its_window_inflates_exactly_what_was_sent() {
    let (mut compressed, mut keys) = (0, 0);
    for seed in 0..12 {
        for policy in [
            SlowConsumer::Disconnect,
            SlowConsumer::DropOldest,
            SlowConsumer::DropNewest,
        ] {
            let helpers = (seed % 3) as usize;
            let (these, key_frames) = streams_hold(seed, policy, helpers);
            compressed += these;
            keys += key_frames;
        }
    }
    // Not all of it was sent plain.
    assert!(compressed > 5_000, "{compressed}");
    assert!(keys > 200, "{keys}");
}
