//! Silence, dripping and haste: when the server pings, gives up, or reads
//! more slowly.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::frame::{Frame, Opcode, fragment, masked};
use crate::support::{Program, Raw, deadline, eventually, server, tight_server, wait_closed};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Longer than any test takes: what waits for it does not happen.
const NEVER: Duration = Duration::from_secs(600);

/// The next frame, which must be a Ping.
#[track_caller]
fn ping(client: &mut Raw) -> Frame {
    let frame = client.frame();
    assert_eq!((frame.opcode, frame.fin), (Opcode::Ping, true), "{frame:?}");
    assert!(frame.payload.len() <= 125);
    frame
}

#[test]
fn a_silent_client_is_pinged_after_the_interval_and_lost_after_the_timeout() {
    let server = server(|config| {
        config.ping_interval = millis(200);
        config.pong_timeout = millis(300);
    });
    let start = Instant::now();
    let mut client = Raw::connect(&server, "/");
    ping(&mut client);
    let pinged = start.elapsed();
    assert!(pinged >= millis(190), "{pinged:?}");
    client.expect_end();
    let lost = start.elapsed();
    assert!(lost >= millis(480), "{lost:?}");
    assert!(lost < deadline() / 4, "{lost:?}");
    wait_closed(&server, "pong_timeout", 1);
    assert_eq!(server.handle().stats().clients, 0);
}

#[test]
fn a_client_that_does_not_read_is_lost_all_the_same() {
    let server = tight_server(|config| {
        config.ping_interval = millis(50);
        config.pong_timeout = millis(50);
        config.write_timeout = NEVER;
        config.queue_bytes = 1 << 30;
    });
    let client = Raw::connect_tight(&server, "/");
    server.handle().broadcast("/", vec![0; 1 << 20]).unwrap();
    wait_closed(&server, "pong_timeout", 1);
    eventually("no backlog", || server.handle().stats().queue_bytes == 0);
    drop(client);
}

#[test]
fn a_client_that_answers_stays_and_its_round_trip_is_shown() {
    let server = server(|config| {
        config.ping_interval = millis(20);
        // A loaded machine takes its time to answer.
        config.pong_timeout = NEVER;
    });
    let mut client = Raw::connect(&server, "/");
    let rtt = || server.handle().clients().unwrap()[0].rtt;
    let mut payloads = Vec::new();
    for turn in 0..10 {
        let ping = ping(&mut client);
        if turn == 0 {
            assert_eq!(rtt(), None);
        }
        thread::sleep(millis(10)); // its pace
        client.send(Opcode::Pong, &ping.payload);
        payloads.push(ping.payload);
    }
    eventually("the round trip", || rtt().is_some());
    let rtt = rtt().unwrap();
    assert!(rtt >= millis(10) && rtt < deadline(), "{rtt:?}");
    // A late pong cannot be taken for another's.
    payloads.dedup();
    assert_eq!(payloads.len(), 10);
    assert_eq!(server.handle().stats().clients, 1);
}

#[test]
fn whatever_comes_from_a_client_is_a_sign_of_life() {
    let server = server(|config| {
        config.ping_interval = millis(30);
        config.pong_timeout = deadline() / 10;
        config.message_timeout = NEVER;
    });
    let mut client = Raw::connect(&server, "/");
    // For longer than the timeout, with never a right pong.
    let start = Instant::now();
    let mut signs = [
        masked(Opcode::Text, b"not a pong"),
        masked(Opcode::Pong, b"another's"),
        masked(Opcode::Ping, b"are you?"),
        fragment(Opcode::Text, b"a begun"),
        masked(Opcode::Continuation, b" message")[..3].to_vec(),
        masked(Opcode::Continuation, b" message")[3..].to_vec(),
    ]
    .into_iter()
    .cycle();
    while start.elapsed() < deadline() / 8 {
        while client.frame().opcode != Opcode::Ping {}
        client.send_bytes(&signs.next().unwrap());
    }
    assert_eq!(server.handle().stats().clients, 1);
}

#[test]
fn a_client_that_talks_is_not_pinged() {
    let interval = deadline() / 20;
    let server = server(|config| config.ping_interval = interval);
    let mut client = Raw::connect(&server, "/");
    let start = Instant::now();
    while start.elapsed() < interval * 3 / 2 {
        client.send(Opcode::Text, b"bla");
        assert_eq!(client.frame().payload, b"bla", "no ping");
        thread::sleep(millis(50)); // its pace
    }
}

#[test]
fn without_an_interval_nobody_is_pinged() {
    let server = server(|config| {
        config.ping_interval = Duration::ZERO;
        config.pong_timeout = millis(1);
    });
    let mut client = Raw::connect(&server, "/");
    thread::sleep(millis(300)); // the silence
    server.handle().broadcast("/", "first").unwrap();
    assert_eq!(client.frame().payload, b"first");
}

#[test]
fn a_ping_is_answered_at_once_with_its_payload() {
    let server = server(|_| {});
    let mut client = Raw::connect(&server, "/");
    let start = Instant::now();
    for length in 0..=125 {
        let payload: Vec<u8> = (0..length).map(|byte| byte * 2 + 1).collect();
        client.send(Opcode::Ping, &payload);
        let pong = client.frame();
        assert_eq!((pong.opcode, pong.fin), (Opcode::Pong, true));
        assert_eq!(pong.payload, payload);
    }
    assert!(start.elapsed() < deadline() / 4, "{:?}", start.elapsed());
    // Several in one segment: the last of them is answered in any case.
    let pings: Vec<u8> = (0..20)
        .flat_map(|n: u8| masked(Opcode::Ping, &[n]))
        .collect();
    client.send_bytes(&pings);
    let mut last = 0;
    while last < 19 {
        let pong = client.frame();
        assert!(pong.opcode == Opcode::Pong && (last == 0 || pong.payload[0] > last));
        last = pong.payload[0];
    }
}

/// Sends pieces, one every 30 ms, until the server has had enough; returns
/// how long that took.
fn drip(pieces: impl Iterator<Item = Vec<u8>>) -> Duration {
    let server = server(|config| config.message_timeout = millis(300));
    let mut client = Raw::connect(&server, "/");
    let start = Instant::now();
    for piece in pieces {
        if start.elapsed() > deadline() || client.stream.write_all(&piece).is_err() {
            break;
        }
        if server.handle().clients().unwrap().is_empty() {
            break;
        }
        thread::sleep(millis(30)); // its pace
    }
    let took = start.elapsed();
    let close = loop {
        let frame = client.data();
        if frame.opcode == Opcode::Close {
            break frame;
        }
    };
    assert_eq!(close.close_code(), Some(1008));
    assert!(close.payload[2..].starts_with(b"message not completed in time #"));
    drop(client);
    wait_closed(&server, "message_timeout", 1);
    took
}

#[test]
fn a_message_must_be_complete_in_time_however_it_drips() {
    let fragments =
        std::iter::once(fragment(Opcode::Text, b"a")).chain(std::iter::repeat_with(|| {
            // Whole control frames between them are no progress.
            [
                fragment(Opcode::Continuation, b"b"),
                masked(Opcode::Ping, b"c"),
            ]
            .concat()
        }));
    let bytes = masked(Opcode::Binary, &[7; 60_000])
        .into_iter()
        .map(|b| vec![b]);
    let header = [0x82, 0xff].into_iter().chain(std::iter::repeat(0));
    let header = header.map(|byte| vec![byte]).take(13);
    let begun = std::iter::once(vec![Opcode::Text.last()]).chain(std::iter::repeat(vec![]));
    thread::scope(|scope| {
        let drips = [
            scope.spawn(|| drip(fragments)),
            scope.spawn(|| drip(bytes)),
            scope.spawn(|| drip(header.chain(std::iter::repeat(vec![])))),
            scope.spawn(|| drip(begun)),
        ];
        for drip in drips {
            let took = drip.join().unwrap();
            assert!(took >= millis(270), "{took:?}");
            assert!(took < deadline() / 4, "{took:?}");
        }
    });
}

#[test]
fn the_time_between_messages_is_not_a_messages_time() {
    let server = server(|config| config.message_timeout = millis(200));
    let mut client = Raw::connect(&server, "/");
    let start = Instant::now();
    while start.elapsed() < millis(600) {
        client.send_bytes(
            &[
                fragment(Opcode::Text, b"a"),
                masked(Opcode::Continuation, b"b"),
            ]
            .concat(),
        );
        assert_eq!(client.data().payload, b"ab");
        thread::sleep(millis(30)); // its pace
    }
    thread::sleep(millis(300)); // the silence
    client.send(Opcode::Text, b"still here");
    assert_eq!(client.data().payload, b"still here");
}

#[test]
fn the_most_fragments_are_allowed_and_one_more_is_not() {
    let server = server(|config| config.max_fragments = 3);
    let mut client = Raw::connect(&server, "/");
    let fragments = |n: usize| {
        let mut bytes = fragment(Opcode::Text, b"x");
        for number in 2..=n {
            bytes.extend(masked(Opcode::Ping, b"does not count"));
            bytes.extend(match number == n {
                true => masked(Opcode::Continuation, b"x"),
                false => fragment(Opcode::Continuation, b"x"),
            });
        }
        bytes
    };
    // The count begins again with each message.
    for _ in 0..5 {
        client.send_bytes(&fragments(3));
        assert_eq!(client.data().payload, b"xxx");
    }
    client.send_bytes(&fragments(4));
    client.expect_close(1008);
    drop(client);
    wait_closed(&server, "too_many_fragments", 1);
}

/// Sends frames in haste; returns how long the answers took, while another
/// client is not held up.
fn haste(
    change: impl FnOnce(&mut hubcast::Config),
    frames: &[Vec<u8>],
    answers: usize,
) -> Duration {
    let server = server(|config| {
        config.echo = false;
        change(config);
    });
    let mut hasty = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    let start = Instant::now();
    hasty.send_bytes(&frames.concat());
    // The other one's own message has no need to wait.
    other.send(Opcode::Text, b"me too");
    while hasty.frame().payload != b"me too" {}
    let held_up = start.elapsed();
    let mut of_other = (0..answers).map(|_| other.data());
    for frame in frames
        .iter()
        .filter(|frame| frame[0] != Opcode::Ping.last())
    {
        let heard = of_other.next().unwrap();
        assert_eq!(masked(heard.opcode, &heard.payload), *frame);
    }
    assert!(of_other.next().is_none());
    if answers == 0 {
        while hasty.frame().payload[0] != 99 {}
    }
    let took = start.elapsed();
    assert!(held_up < took / 2, "held up for {held_up:?} of {took:?}");
    took
}

/// So many frames of 100 bytes, numbered.
fn numbered(opcode: Opcode, frames: u8) -> Vec<Vec<u8>> {
    (0..frames).map(|n| masked(opcode, &[n; 100])).collect()
}

#[test]
fn a_hasty_client_is_read_more_slowly_and_nothing_is_lost() {
    thread::scope(|scope| {
        let messages = scope.spawn(|| {
            let frames = numbered(Opcode::Binary, 250);
            haste(|config| config.max_message_rate = 100, &frames, 250)
        });
        let bytes = scope.spawn(|| {
            let frames = numbered(Opcode::Binary, 250);
            haste(|config| config.max_byte_rate = 10_000, &frames, 250)
        });
        let pings = scope.spawn(|| {
            let frames = numbered(Opcode::Ping, 100);
            haste(|config| config.max_message_rate = 30, &frames, 0)
        });
        for rated in [messages, bytes, pings] {
            let took = rated.join().unwrap();
            assert!(took > millis(800), "{took:?}");
            assert!(took < deadline() / 2, "{took:?}");
        }
    });
}

#[test]
fn short_fragments_count_as_messages() {
    let server = server(|config| {
        config.echo = false;
        config.max_message_rate = 500;
    });
    let mut hasty = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    let fragments = fragment(Opcode::Continuation, b"").repeat(1500);
    let (begin, end) = (
        fragment(Opcode::Text, b"a"),
        masked(Opcode::Continuation, b"b"),
    );
    let start = Instant::now();
    hasty.send_bytes(&[begin, fragments, end].concat());
    assert_eq!(other.data().payload, b"ab");
    let took = start.elapsed();
    assert!(took > millis(1000), "{took:?}");
    assert!(took < deadline() / 2, "{took:?}");
}

#[test]
fn a_client_within_its_rates_is_not_slowed_down() {
    let server = server(|config| {
        config.max_message_rate = 1000;
        config.max_byte_rate = 1_000_000;
    });
    let mut client = Raw::connect(&server, "/");
    let start = Instant::now();
    for _ in 0..500 {
        client.send(Opcode::Binary, &[1; 100]);
        client.data();
    }
    assert!(start.elapsed() < deadline() / 4, "{:?}", start.elapsed());
}

#[test]
fn a_wait_that_a_signal_cuts_short_is_no_sign_of_life() {
    let args = ["--ping-interval=300ms", "--pong-timeout=300ms"];
    let mut program = Program::start(&args);
    let client = Raw::open(program.address, "/");
    let pid = Pid::from_raw(program.pid() as i32).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let over = done.clone();
    // A stop and its end cut every wait on a socket short (signal(7)).
    let interruptions = thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            for signal in [Signal::STOP, Signal::CONT] {
                kill_process(pid, signal).unwrap();
            }
            thread::sleep(millis(50)); // their pace
        }
    });
    program.expect_log("lost: no pong in time");
    done.store(true, Ordering::Relaxed);
    interruptions.join().unwrap();
    drop(client);
}

#[test]
fn a_client_over_its_rate_that_is_gone_does_not_keep_its_place() {
    let server = server(|config| {
        config.max_message_rate = 1;
        config.close_timeout = millis(200);
    });
    let mut client = Raw::connect(&server, "/");
    // Minutes' worth of them.
    client.send_bytes(&masked(Opcode::Pong, b"").repeat(200));
    let start = Instant::now();
    drop(client);
    wait_closed(&server, "end_of_stream", 1);
    assert!(start.elapsed() < deadline() / 2, "{:?}", start.elapsed());
}

#[test]
fn tcp_makes_a_client_wait_that_is_over_its_rate() {
    let server = server(|config| config.max_byte_rate = 10_000);
    let mut client = Raw::connect(&server, "/");
    client.stream.set_nonblocking(true).unwrap();
    let frame = masked(Opcode::Binary, &[0; 1000]);
    let mut taken = 0;
    let error = loop {
        match client.stream.write(&frame) {
            Ok(n) => taken += n,
            Err(error) => break error,
        }
        assert!(taken < 64 << 20, "it takes everything");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let read = server.handle().stats().received_bytes;
    assert!(read < 100_000, "{read} bytes read");
}

#[test]
fn the_time_a_rate_takes_is_not_the_messages_or_the_pongs() {
    let timeout = deadline() / 25;
    let server = server(|config| {
        config.max_byte_rate = 20_000;
        config.message_timeout = timeout;
        config.ping_interval = millis(100);
        config.pong_timeout = timeout;
    });
    let mut client = Raw::connect(&server, "/");
    let message: Vec<u8> = (0..80_000u32).map(|at| at as u8).collect();
    // It waits longer than each of the timeouts.
    client.send(Opcode::Binary, &message);
    let frame = loop {
        let frame = client.frame();
        match frame.opcode {
            Opcode::Ping => client.send(Opcode::Pong, &frame.payload),
            _ => break frame,
        }
    };
    assert_eq!(
        frame.opcode,
        Opcode::Binary,
        "{:?}",
        String::from_utf8_lossy(&frame.payload)
    );
    assert!(frame.payload == message);
}

#[test]
fn a_client_over_its_rate_can_still_be_closed_at_once() {
    let server = server(|config| config.max_message_rate = 1);
    let mut client = Raw::connect(&server, "/");
    client.send_bytes(&numbered(Opcode::Binary, 200).concat());
    client.data();
    let start = Instant::now();
    let id = server.handle().clients().unwrap()[0].id;
    let code = hubcast::CloseCode::NORMAL;
    server.handle().disconnect(id, code, "enough").unwrap();
    while client.frame().opcode != Opcode::Close {}
    client.send(Opcode::Close, &1000u16.to_be_bytes());
    client.expect_end();
    drop(client);
    wait_closed(&server, "disconnected", 1);
    assert!(start.elapsed() < deadline() / 4, "{:?}", start.elapsed());
}
