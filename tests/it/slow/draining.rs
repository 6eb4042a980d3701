//! While a client drains slowly, no frame cuts into another.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use super::PATTERN;
use crate::kit::frame::{self, Opcode};
use crate::support::{Raw, server};

const MIXED: usize = 150;

/// The payload of one publisher's message of this number: mixed sizes, from
/// nothing to 1 MiB, across all borders of the length field.
fn mixed(number: usize) -> &'static [u8] {
    let sizes = [0, 1, 7, 125, 126, 127, 1000, 4096, 65_535, 65_536, 70_000];
    let size = match number % 30 {
        29 => 1 << 20,
        _ => sizes[number % sizes.len()],
    };
    &PATTERN[number % 89..][..size]
}

/// Reads a few bytes at a time.
struct Sips<'a> {
    stream: &'a std::net::TcpStream,
    turn: usize,
}

impl Read for Sips<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let sips = [1, 2, 3, 5, 13, 1, 700, 7];
        self.turn += 1;
        let sip = sips[self.turn % sips.len()].min(buffer.len());
        self.stream.read(&mut buffer[..sip])
    }
}

/// Two publishers, the server's pings and the client's own, and a client
/// that takes a few bytes at a time: every frame it gets is whole, each
/// publisher's messages are complete and in order, and so are the pongs.
fn slow_drain(client_pings: bool) {
    let server = server(|config| {
        config.queue_messages = 10 * MIXED;
        config.queue_bytes = 1 << 30;
        config.ping_interval = Duration::from_millis(10);
        config.pong_timeout = Duration::from_secs(600);
        config.write_timeout = Duration::from_secs(600);
    });
    let mut slow = Raw::connect_tight(&server, "/");
    let mut publisher = Raw::connect(&server, "/");
    let echoes = publisher.stream.try_clone().unwrap();
    let handle = server.handle();
    let texts = thread::spawn(move || {
        for number in 0..MIXED {
            let text = std::str::from_utf8(mixed(number)).unwrap();
            handle.broadcast("/", text).unwrap();
        }
    });
    let binaries = thread::spawn(move || {
        for number in 0..MIXED {
            publisher.send(Opcode::Binary, mixed(number));
        }
        publisher
    });
    let order_of_a_fast_one = thread::spawn(move || {
        let mut echoes = Raw { stream: echoes };
        let frames = (0..2 * MIXED).map(|_| echoes.data());
        frames.map(|frame| frame.opcode).collect::<Vec<_>>()
    });

    let stream = slow.stream.try_clone().unwrap();
    let mut sips = Sips {
        stream: &stream,
        turn: 0,
    };
    let (mut order, mut next) = (Vec::new(), [0, 0]);
    let (mut pings, mut pinged, mut ponged) = (0, 0u32, 0);
    while order.len() < 2 * MIXED || ponged < pinged {
        let frame = frame::read(&mut sips).unwrap();
        assert!(frame.fin, "the server does not fragment");
        match frame.opcode {
            Opcode::Text | Opcode::Binary => {
                let next = &mut next[usize::from(frame.opcode == Opcode::Binary)];
                let whole = frame.payload == mixed(*next);
                assert!(whole, "message {next} of {:?} is damaged", frame.opcode);
                *next += 1;
                order.push(frame.opcode);
                if client_pings && order.len() % 3 == 0 {
                    pinged += 1;
                    slow.send(Opcode::Ping, &pinged.to_be_bytes());
                }
            }
            Opcode::Ping => {
                pings += 1;
                slow.send(Opcode::Pong, &frame.payload);
            }
            Opcode::Pong => {
                let number = u32::from_be_bytes(frame.payload.try_into().unwrap());
                assert!(ponged < number && number <= pinged, "pongs go forward");
                ponged = number;
            }
            other => panic!("unexpected opcode {other:?}"),
        }
    }
    assert_eq!(next, [MIXED, MIXED]);
    assert_eq!(order, order_of_a_fast_one.join().unwrap());
    assert!(pings > 0 || client_pings, "the server has pinged");
    assert_eq!(ponged > 0, client_pings);
    assert_eq!(server.handle().stats().dropped_messages, 0);
    texts.join().unwrap();
    drop(binaries.join().unwrap());
}

#[test]
fn frames_never_interleave_while_a_client_drains_slowly() {
    slow_drain(false);
}

#[test]
fn pongs_do_not_cut_into_frames_while_a_client_drains_slowly() {
    slow_drain(true);
}
