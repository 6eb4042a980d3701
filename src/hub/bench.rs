//! Micro-benchmarks of the hub and the outbox without sockets, so that a
//! regression shows where it is. They are tests that measure instead of
//! checking, so they are ignored: `make bench-micro` runs them.

use bytes::Bytes;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::close::Violation;
use crate::config::{Config, SlowConsumer};
use crate::engine::Memory;
#[cfg(feature = "deflate")]
use crate::fuzzing::choices::Choices;
use crate::hub::interest::Interest;
use crate::hub::{Audience, Command, Hub, Joining};
use crate::hub::{ClientState, Place, Start};
use crate::message::Message;
use crate::names::ClientId;
use crate::net::{Outlet, Sent};
use crate::outbox::{Chunk, StartWriter};
use crate::outbox::{Outbox, OutboxRules};
use crate::since::Since;
use crate::wire::burst::single;
use crate::wire::{Burst, BurstBuilder, Encoding};
use crate::wire::{Decoder, Incoming};
#[cfg(feature = "deflate")]
use crate::wire::{Deflate, SharedCompressor};

/// How long each case is measured.
const TIME: Duration = Duration::from_millis(500);

/// A socket that takes everything, or nothing.
#[derive(Debug, Default)]
struct Sink {
    is_full: AtomicBool,
}

impl Sink {
    fn take(&self, len: usize) -> io::Result<Sent> {
        match self.is_full.load(Ordering::Relaxed) {
            false => Ok(Sent::whole(black_box(len))),
            true => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Outlet for Sink {
    fn try_send(&self, bytes: &[u8]) -> io::Result<Sent> {
        self.take(bytes.len())
    }

    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        self.take(slices.iter().map(|slice| slice.len()).sum())
    }

    fn send_within(&self, _: &[IoSlice<'_>], _: Duration) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn finish(&self) {}

    fn end(&self) {}

    fn abort(&self) {}
}

/// Gives the chunks of all writers to the benchmark.
#[derive(Debug)]
struct Chunks(Sender<Chunk>);

impl StartWriter for Chunks {
    fn start(&self, _: ClientId, _: Arc<dyn Outlet>) -> io::Result<Sender<Chunk>> {
        Ok(self.0.clone())
    }
}

struct World {
    hub: Hub,
    sink: Arc<Sink>,
    chunks: Receiver<Chunk>,
    rules: Arc<OutboxRules>,
}

fn world(clients: u64) -> World {
    world_with(clients, &Config::default())
}

fn world_with(clients: u64, config: &Config) -> World {
    let (sender, chunks) = bounded(clients as usize);
    let rules = Arc::new(OutboxRules {
        max_messages: 1024,
        max_bytes: 1 << 20,
        slow_consumer: SlowConsumer::DropOldest,
        writers: Box::new(Chunks(sender)),
    });
    let sink = Arc::new(Sink::default());
    let hub = Hub::new(
        config,
        Arc::default(),
        Arc::new(Interest::new()),
        Box::new(Memory::new()),
    );
    let mut world = World {
        hub,
        sink,
        chunks,
        rules,
    };
    (1..=clients).for_each(|id| world.join(id, None));
    world
}

impl World {
    fn join(&mut self, id: u64, since: Option<Since>) {
        let (id, place) = (ClientId(id), Place::anywhere());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1)).into();
        self.hub.apply(Command::Join(Box::new(Joining {
            client: Arc::new(ClientState::new(id, peer, "/".into(), place, None)),
            outbox: Outbox::new(id, self.sink.clone(), self.rules.clone()),
            encoding: Encoding::Frames,
            answer: Bytes::new(),
            following: None,
            start: Start {
                since,
                ..Start::default()
            },
        })));
    }
}

fn publish(hub: &mut Hub, burst: &Burst) {
    hub.apply(Command::Publish {
        to: Audience::Room {
            room: "/".into(),
            except: None,
        },
        forms: burst.clone().into(),
        permit: None,
        receipt: None,
    });
}

/// Repeats `act` for a while and prints the time per unit. Each call does
/// `units` of them.
fn measure(what: &str, units: u64, mut act: impl FnMut()) {
    (0..10).for_each(|_| act());
    let (start, mut times) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        act();
        times += 1;
    }
    let nanos = start.elapsed().as_nanos() as f64 / (times * units) as f64;
    println!("{what:<58} {nanos:>9.1} ns");
}

fn burst(size: usize) -> Burst {
    single(&Message::from(vec![7; size]), false)
}

#[test]
#[ignore = "measures; `make bench-micro` runs it"]
fn hub_and_outbox() {
    println!();
    let small = burst(128);
    for clients in [100, 1_000, 5_000] {
        let mut world = world(clients);
        measure(
            &format!("delivery, {clients} clients, one message a pass"),
            clients,
            || {
                publish(&mut world.hub, &small);
                world.hub.end_pass();
            },
        );
        measure(
            &format!("delivery, {clients} clients, 64 messages a pass"),
            64 * clients,
            || {
                (0..64).for_each(|_| publish(&mut world.hub, &small));
                world.hub.end_pass();
            },
        );
    }
    let large = burst(16 * 1024);
    let mut world = world(100);
    measure(
        "delivery, 100 clients, 16 messages of 16 KiB a pass",
        1_600,
        || {
            (0..16).for_each(|_| publish(&mut world.hub, &large));
            world.hub.end_pass();
        },
    );
    world.sink.is_full.store(true, Ordering::Relaxed);
    measure(
        "queued for a full socket and handed to its writer",
        100,
        || {
            publish(&mut world.hub, &small);
            world.hub.end_pass();
            while world.chunks.try_recv().is_ok() {}
            for id in (1..=100).map(ClientId) {
                let result = Ok(());
                world.hub.apply(Command::Written { id, result });
            }
        },
    );
}

#[test]
#[ignore = "measures; `make bench-micro` runs it"]
fn history() {
    println!();
    let small = burst(128);
    let mut config = Config::default();
    for history in [0, 100] {
        config.history = history;
        let mut world = world_with(100, &config);
        for messages in [1, 64] {
            measure(
                &format!("delivery, 100 clients, {messages} a pass, history {history}"),
                100 * messages,
                || {
                    (0..messages).for_each(|_| publish(&mut world.hub, &small));
                    world.hub.end_pass();
                },
            );
        }
    }
    let mut world = world_with(0, &config);
    (0..100).for_each(|_| publish(&mut world.hub, &small));
    let mut id = 0;
    measure("a client that resumes with 100 messages", 1, || {
        id += 1;
        let since = Some(Since::Last(100));
        world.join(id, since);
        let id = ClientId(id);
        world.hub.apply(Command::Leave { id });
    });
}

/// A message like those of a busy room: the same fields, other values.
#[cfg(feature = "deflate")]
fn event(choices: &mut Choices<'_>, len: usize) -> String {
    let words = "build deploy failed passed queue worker region disk started node";
    let words: Vec<&str> = words.split(' ').collect();
    let at = 1_764_201_600_000 + choices.below(1 << 30);
    let (user, level) = (choices.below(5_000), ["info", "warn"][choices.below(2)]);
    let mut text =
        format!("{{\"at\":{at},\"user\":\"user-{user}\",\"level\":\"{level}\",\"text\":\"");
    while text.len() + 2 < len {
        text.push_str(words[choices.below(words.len())]);
        text.push_str(&format!(" {} ", choices.below(100_000)));
    }
    text.truncate(len - 2);
    text.push_str("\"}");
    text
}

/// Messages compressed alone, and in a room's shared stream: bytes on the wire
/// of those of plain frames, and time per message.
#[cfg(feature = "deflate")]
#[test]
#[ignore = "measures; `make bench-micro` runs it"]
fn compression() {
    println!();
    for (len, level) in [(123, 1), (224, 1), (444, 1), (958, 1), (224, 6)] {
        let mut choices = Choices::Seed(1);
        let messages = (0..200).map(|_| event(&mut choices, len));
        let bursts: Vec<Burst> = messages
            .map(|text| single(&Message::from(text), false))
            .collect();
        let alone = Deflate::new(1, level, Arc::default());
        quickest(&format!("{len} B, level {level}, alone"), &bursts, || {
            let packed = bursts.iter().map(|burst| alone.compress(burst));
            let packed = packed.zip(&bursts);
            let len = |(packed, plain): (Option<Burst>, &Burst)| {
                packed.map_or(plain.bytes.len(), |packed| packed.bytes.len())
            };
            packed.map(len).sum()
        });
        for every in [20, 200] {
            let mut compressor = SharedCompressor::make(level).unwrap();
            let mut out = Vec::new();
            let what = format!("{len} B, level {level}, a key frame every {every}");
            quickest(&what, &bursts, || {
                out.clear();
                for (n, burst) in bursts.iter().enumerate() {
                    if n % every == 0 {
                        assert!(compressor.forget());
                    }
                    compressor.append(&burst.bytes, &mut out).unwrap();
                }
                out.len()
            });
        }
    }
}

/// Prints how many bytes `compress` makes of these messages, and the time per
/// message of its quickest run.
#[cfg(feature = "deflate")]
fn quickest(what: &str, bursts: &[Burst], mut compress: impl FnMut() -> usize) {
    let plain: usize = bursts.iter().map(|burst| burst.bytes.len()).sum();
    let (begun, mut best, mut bytes) = (Instant::now(), Duration::MAX, 0);
    while begun.elapsed() < 2 * TIME {
        let start = Instant::now();
        bytes = compress();
        best = best.min(start.elapsed());
    }
    let micros = best.as_secs_f64() * 1e6 / bursts.len() as f64;
    let share = bytes as f64 / plain as f64;
    println!("{what:<58} {share:>5.2} {micros:>7.2} µs");
}

#[test]
#[ignore = "measures; `make bench-micro` runs it"]
fn codec() {
    println!();
    let text = Message::from("x".repeat(128));
    measure("encode a text of 128 bytes", 1, || {
        black_box(single(&text, false));
    });
    for (len, in_a_read) in [
        (16, 60),
        (128, 1),
        (128, 28),
        (1024, 1),
        (16 * 1024, 1),
        (256 * 1024, 1),
    ] {
        let stream = text_frame(len).repeat(in_a_read as usize);
        let mut reading = Reading::default();
        measure(
            &format!("decode texts of {len} bytes, {in_a_read} at a time"),
            in_a_read,
            || reading.run(&stream),
        );
    }
}

/// A masked text frame with a payload of this length.
fn text_frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0x81];
    match len {
        ..126 => frame.push(0x80 | len as u8),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend((0..len).map(|i| b'x' ^ [1, 2, 3, 4][i % 4]));
    frame
}

/// Decodes what a socket brings, and encodes it again, as a reader does.
struct Reading {
    decoder: Decoder,
    buffer: [u8; 4096],
    burst: BurstBuilder,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            decoder: Decoder::new(&Config::default()),
            buffer: [0; 4096],
            burst: BurstBuilder::default(),
        }
    }
}

impl Reading {
    fn run(&mut self, mut stream: &[u8]) {
        let Reading {
            decoder,
            buffer,
            burst,
        } = self;
        while !stream.is_empty() {
            let take = |incoming: Incoming<'_>| {
                if let Incoming::Text(text) = incoming {
                    burst.payload(true, text, false);
                }
                Ok::<(), Violation>(())
            };
            let (fed, rest) = match decoder.room(buffer.len()) {
                Some(room) => {
                    let (now, rest) = stream.split_at(room.len().min(stream.len()));
                    room[..now.len()].copy_from_slice(now);
                    (decoder.received(now.len(), take), rest)
                }
                None => {
                    let (now, rest) = stream.split_at(buffer.len().min(stream.len()));
                    buffer[..now.len()].copy_from_slice(now);
                    (decoder.feed(&mut buffer[..now.len()], take), rest)
                }
            };
            assert!(fed.is_ok());
            stream = rest;
        }
        black_box(burst.take());
    }
}
