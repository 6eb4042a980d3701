//! Under load, and whatever the messages look like: every message at every
//! client exactly once, whole, and in one order.

use std::collections::HashMap;
use std::io::BufReader;
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use hubcast::{Config, Running};

use crate::kit::frame::{self, Frame, Opcode, masked};
use crate::support::{Raw, reset, server};

/// Nobody is a slow consumer here, however far behind: what is lost is lost
/// by a fault.
fn patient(config: &mut Config) {
    config.queue_messages = 1_000_000;
    config.queue_bytes = 1 << 30;
    config.queue_total = 1 << 32;
}

/// A message of 128 bytes that names its sender and its number.
fn tagged(sender: usize, number: usize) -> Vec<u8> {
    format!("{sender} {number} ")
        .into_bytes()
        .into_iter()
        .chain(std::iter::repeat(b'.'))
        .take(128)
        .collect()
}

/// Who sent a message, and as which of its own.
type Tag = (usize, usize);

#[track_caller]
fn tag_of(frame: &Frame) -> Tag {
    assert_eq!((frame.opcode, frame.fin), (Opcode::Text, true));
    let text = std::str::from_utf8(&frame.payload).unwrap();
    let mut words = text.split(' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    let tag = (number(), number());
    assert_eq!(frame.payload, tagged(tag.0, tag.1), "the whole message");
    tag
}

/// Reads messages until `enough` of them have come.
fn listen(stream: &TcpStream, enough: usize) -> JoinHandle<Vec<Tag>> {
    let mut stream = BufReader::new(stream.try_clone().unwrap());
    thread::spawn(move || {
        (0..enough)
            .map(|_| tag_of(&frame::read(&mut stream).unwrap()))
            .collect()
    })
}

/// Sends numbered messages, as fast as they are taken.
fn talk(stream: &TcpStream, sender: usize, messages: usize) -> JoinHandle<()> {
    let mut raw = Raw {
        stream: stream.try_clone().unwrap(),
    };
    thread::spawn(move || {
        for number in 0..messages {
            raw.send(Opcode::Text, &tagged(sender, number));
        }
    })
}

fn connect_many(server: &Running, room: &str, clients: usize) -> Vec<Raw> {
    (0..clients).map(|_| Raw::connect(server, room)).collect()
}

/// Every sender's messages are there, once each and in its own order.
#[track_caller]
fn assert_complete(order: &[Tag], senders: usize, messages: usize) {
    let mut next: HashMap<usize, usize> = HashMap::new();
    for (sender, number) in order {
        let next = next.entry(*sender).or_default();
        assert_eq!(number, next, "of sender {sender}");
        *next += 1;
    }
    assert_eq!(next.len(), senders);
    assert!(next.values().all(|n| *n == messages), "{next:?}");
}

#[test]
fn a_hundred_clients_hear_ten_senders_completely_and_in_one_order() {
    const MESSAGES: usize = 200;
    let server = server(patient);
    let mut clients = connect_many(&server, "/", 100);
    let listeners: Vec<_> = clients
        .iter()
        .map(|client| listen(&client.stream, 10 * MESSAGES))
        .collect();
    let talkers: Vec<_> = (0..10)
        .map(|sender| talk(&clients[sender].stream, sender, MESSAGES))
        .collect();
    talkers
        .into_iter()
        .for_each(|talker| talker.join().unwrap());
    let mut orders = listeners.into_iter().map(|l| l.join().unwrap());
    let first = orders.next().unwrap();
    assert_complete(&first, 10, MESSAGES);
    assert!(orders.all(|order| order == first), "one order for all");
    // Nothing comes twice: the next message is the next frame.
    server.handle().broadcast("/", "the last").unwrap();
    for client in &mut clients {
        assert_eq!(client.data().payload, b"the last");
    }
    let stats = server.handle().stats();
    assert_eq!((stats.clients, stats.dropped_messages), (100, 0));
    assert_eq!(stats.received_messages, 10 * MESSAGES as u64);
}

#[test]
fn without_echo_each_sender_hears_all_others_in_the_common_order() {
    const MESSAGES: usize = 300;
    let server = server(|config| {
        patient(config);
        config.echo = false;
    });
    let senders = connect_many(&server, "/", 5);
    let observer = Raw::connect(&server, "/");
    let everything = listen(&observer.stream, 5 * MESSAGES);
    let listeners: Vec<_> = senders
        .iter()
        .map(|client| listen(&client.stream, 4 * MESSAGES))
        .collect();
    let talkers: Vec<_> = (0..5)
        .map(|sender| talk(&senders[sender].stream, sender, MESSAGES))
        .collect();
    talkers
        .into_iter()
        .for_each(|talker| talker.join().unwrap());
    let everything = everything.join().unwrap();
    assert_complete(&everything, 5, MESSAGES);
    for (sender, listener) in listeners.into_iter().enumerate() {
        let others = everything.iter().filter(|(from, _)| *from != sender);
        let others: Vec<Tag> = others.copied().collect();
        assert_eq!(listener.join().unwrap(), others, "heard by {sender}");
    }
}

#[test]
fn rooms_under_load_do_not_leak_into_each_other() {
    const MESSAGES: usize = 200;
    let server = server(patient);
    let rooms: Vec<Vec<Raw>> = (0..8)
        .map(|room| connect_many(&server, &format!("/{room}"), 5))
        .collect();
    let mut listeners = Vec::new();
    let mut talkers = Vec::new();
    for (number, clients) in rooms.iter().enumerate() {
        let heard: Vec<_> = clients
            .iter()
            .map(|client| listen(&client.stream, 2 * MESSAGES))
            .collect();
        listeners.push(heard);
        let first = number * 2;
        talkers.push(talk(&clients[0].stream, first, MESSAGES));
        talkers.push(talk(&clients[1].stream, first + 1, MESSAGES));
    }
    talkers
        .into_iter()
        .for_each(|talker| talker.join().unwrap());
    for (number, heard) in listeners.into_iter().enumerate() {
        let mut orders = heard.into_iter().map(|l| l.join().unwrap());
        let first = orders.next().unwrap();
        assert_complete(&first, 2, MESSAGES);
        assert!(first.iter().all(|(sender, _)| sender / 2 == number));
        assert!(orders.all(|order| order == first));
    }
}

#[test]
fn who_joins_under_load_misses_nothing_from_then_on() {
    const MESSAGES: usize = 2000;
    let server = server(patient);
    let talker = Raw::connect(&server, "/");
    let listener = listen(&talker.stream, MESSAGES);
    let talking = talk(&talker.stream, 0, MESSAGES);
    let late: Vec<_> = (0..20)
        .map(|_| {
            let client = Raw::open(server.local_addr(), "/");
            thread::spawn(move || {
                let mut stream = BufReader::new(client.stream);
                let mut heard: Vec<usize> = Vec::new();
                while heard.last() != Some(&MESSAGES) {
                    heard.push(tag_of(&frame::read(&mut stream).unwrap()).1);
                }
                heard
            })
        })
        .collect();
    talking.join().unwrap();
    assert_complete(&listener.join().unwrap(), 1, MESSAGES);
    // The end that all of them wait for, even those that came too late for
    // anything else.
    let last = String::from_utf8(tagged(0, MESSAGES)).unwrap();
    server.handle().broadcast("/", last).unwrap();
    for client in late {
        let heard = client.join().unwrap();
        let from = heard[0];
        assert_eq!(heard, (from..=MESSAGES).collect::<Vec<usize>>());
    }
}

#[test]
fn the_coming_and_going_of_others_costs_nobody_a_message() {
    const MESSAGES: usize = 1000;
    let server = server(patient);
    let clients = connect_many(&server, "/", 6);
    let listeners: Vec<_> = clients
        .iter()
        .map(|client| listen(&client.stream, 3 * MESSAGES))
        .collect();
    let talkers: Vec<_> = (0..3)
        .map(|sender| talk(&clients[sender].stream, sender, MESSAGES))
        .collect();
    for turn in 0..60 {
        let mut guest = Raw::open(server.local_addr(), "/");
        match turn % 3 {
            0 => guest.send(Opcode::Close, &[]),
            1 => reset(guest.stream),
            _ => drop(guest),
        }
    }
    talkers
        .into_iter()
        .for_each(|talker| talker.join().unwrap());
    let mut orders = listeners.into_iter().map(|l| l.join().unwrap());
    let first = orders.next().unwrap();
    assert_complete(&first, 3, MESSAGES);
    assert!(orders.all(|order| order == first));
}

/// A payload of this length that is not like itself anywhere.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn messages_of_all_sizes_keep_their_kind_and_their_boundaries() {
    let server = server(patient);
    let mut sender = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    let sizes = [
        0, 1, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1_048_576, 0, 3,
    ];
    let sent: Vec<(Opcode, Vec<u8>)> = sizes
        .iter()
        .flat_map(|&size| {
            let text = payload(size).iter().map(|byte| byte % 95 + 32).collect();
            [(Opcode::Text, text), (Opcode::Binary, payload(size))]
        })
        .collect();
    let frames: Vec<u8> = sent
        .iter()
        .flat_map(|(opcode, payload)| masked(*opcode, payload))
        .collect();
    let mut stream = sender.stream.try_clone().unwrap();
    let writer = thread::spawn(move || std::io::Write::write_all(&mut stream, &frames));
    for (opcode, payload) in &sent {
        for client in [&mut sender, &mut other] {
            let frame = client.data();
            assert_eq!((frame.fin, frame.opcode), (true, *opcode));
            let len = payload.len();
            assert!(frame.payload == *payload, "a message of {len} bytes");
        }
    }
    writer.join().unwrap().unwrap();
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    let server = server(|_| {});
    let mut sender = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    // Cut inside characters, and with fragments of nothing.
    let text = "πάντα ῥεῖ ☕ 𝄞".as_bytes();
    for size in [1, 2, 3, 5, 100] {
        let mut pieces = text.chunks(size);
        sender.send_fragment(Opcode::Text, pieces.next().unwrap());
        for (number, piece) in pieces.enumerate() {
            sender.send(Opcode::Ping, &[number as u8]);
            sender.send_fragment(Opcode::Continuation, b"");
            sender.send_fragment(Opcode::Continuation, piece);
            assert_eq!(sender.frame().payload, [number as u8], "its pong");
        }
        sender.send(Opcode::Continuation, b"");
        for client in [&mut sender, &mut other] {
            let frame = client.data();
            assert_eq!((frame.fin, frame.opcode), (true, Opcode::Text));
            assert_eq!(frame.payload, text, "in pieces of {size}");
        }
    }
    let bytes = payload(300_000);
    let pieces: Vec<&[u8]> = bytes.chunks(1000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        match at {
            0 => sender.send_fragment(Opcode::Binary, piece),
            _ if at + 1 == pieces.len() => sender.send(Opcode::Continuation, piece),
            _ => sender.send_fragment(Opcode::Continuation, piece),
        }
    }
    let frame = other.data();
    assert_eq!((frame.fin, frame.opcode), (true, Opcode::Binary));
    assert!(frame.payload == bytes);
}

#[test]
fn a_program_and_clients_that_send_at_once_are_heard_in_one_order() {
    const MESSAGES: usize = 300;
    let server = server(patient);
    let clients = connect_many(&server, "/", 10);
    let listeners: Vec<_> = clients
        .iter()
        .map(|client| listen(&client.stream, 6 * MESSAGES))
        .collect();
    let mut talkers: Vec<_> = (0..3)
        .map(|sender| talk(&clients[sender].stream, sender, MESSAGES))
        .collect();
    for sender in 3..6 {
        let handle = server.handle();
        talkers.push(thread::spawn(move || {
            for number in 0..MESSAGES {
                let text = String::from_utf8(tagged(sender, number)).unwrap();
                match sender {
                    3 => handle.broadcast("/", text).unwrap(),
                    4 => handle.broadcast_all(text).unwrap(),
                    _ => handle.broadcast_where("/", |_| true, text).unwrap(),
                }
            }
        }));
    }
    talkers
        .into_iter()
        .for_each(|talker| talker.join().unwrap());
    let mut orders = listeners.into_iter().map(|l| l.join().unwrap());
    let first = orders.next().unwrap();
    assert_complete(&first, 6, MESSAGES);
    assert!(orders.all(|order| order == first), "one order for all");
}
