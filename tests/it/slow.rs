//! Slow consumers: nobody waits for them, they lose only what the policy
//! says, and what they get is whole and in order.

use std::io::{self, ErrorKind, Read};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use hubcast::{ClientInfo, CloseCode, Config, Handle, Message, Running, SlowConsumer};

use crate::kit::frame::{self, Frame, Opcode};
use crate::support::{Raw, deadline, eventually, server, tight_server, wait_closed};

/// Sends numbered messages of 1 KiB to a room.
fn send_numbered(handle: &Handle, room: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        handle.broadcast(room, numbered(number)).unwrap();
    }
}

fn numbered(number: usize) -> String {
    format!("{number:<1024}")
}

#[track_caller]
fn number_of(frame: &Frame) -> usize {
    assert_eq!((frame.opcode, frame.payload.len()), (Opcode::Text, 1024));
    let text = std::str::from_utf8(&frame.payload).unwrap();
    text.trim_end().parse().unwrap()
}

/// Waits until the hub has given so many messages to outboxes.
#[track_caller]
fn wait_given(server: &Running, messages: u64) {
    eventually("the hub to have given all messages", || {
        server.handle().stats().deliveries >= messages
    });
}

/// What the hub knows of the one client of a room.
#[track_caller]
fn the_client_in(server: &Running, room: &str) -> ClientInfo {
    let mut clients = server.handle().clients_in(room).unwrap();
    assert_eq!(clients.len(), 1, "{clients:?}");
    clients.remove(0)
}

fn is_empty(server: &Running, room: &str) -> bool {
    server.handle().clients_in(room).unwrap().is_empty()
}

#[test]
fn a_stalled_client_delays_nobody_and_is_evicted_with_1008() {
    let server = tight_server(|config| {
        config.queue_bytes = 32 * 1024;
        // Longer than the test: only the outbox's limit may end the client.
        config.write_timeout = Duration::from_secs(600);
    });
    let mut stalled = Raw::connect_tight(&server, "/");
    let mut healthy = [Raw::connect(&server, "/"), Raw::connect(&server, "/")];
    let start = Instant::now();
    for number in 0..300 {
        send_numbered(&server.handle(), "/", number..number + 1);
        for client in &mut healthy {
            assert_eq!(number_of(&client.data()), number);
        }
    }
    let took = start.elapsed();
    assert!(took < deadline() / 4, "300 messages took {took:?}");
    // It is in no room any more, though it has not taken its Close yet.
    assert_eq!(server.handle().clients_in("/").unwrap().len(), 2);

    let mut received = 0;
    let close = loop {
        let frame = stalled.frame();
        if frame.opcode == Opcode::Close {
            break frame;
        }
        assert_eq!(number_of(&frame), received, "no gap before the Close");
        received += 1;
    };
    assert!(received > 0 && received < 300, "{received} received");
    assert_eq!(close.close_code(), Some(1008));
    let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
    let behind = reason.strip_prefix("slow consumer: ").expect(&reason);
    let messages: usize = behind.split(' ').next().unwrap().parse().unwrap();
    assert!(messages > 0 && messages <= 32, "{reason}");
    assert!(reason.ends_with(" bytes) behind"), "{reason}");
    stalled.send(Opcode::Close, &1008u16.to_be_bytes());
    stalled.expect_end();
    drop(stalled);
    wait_closed(&server, "evicted", 1);
}

#[test]
fn an_evicted_client_that_reads_nothing_is_gone_after_the_closing_deadline() {
    let server = tight_server(|config| {
        config.queue_messages = 4;
        config.write_timeout = Duration::from_secs(600);
        config.close_timeout = Duration::from_millis(200);
    });
    let stalled = Raw::connect_tight(&server, "/");
    send_numbered(&server.handle(), "/", 0..200);
    wait_closed(&server, "evicted", 1);
    eventually("all backlogs to be gone", || {
        server.handle().stats().queue_bytes == 0
    });
    drop(stalled);
}

/// Printable bytes with a prime period, so that no two places of a message
/// look alike to an eye that is off by a power of two.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let period: Vec<u8> = (b'!'..=b'y').collect();
    assert_eq!(period.len(), 89);
    period
        .iter()
        .copied()
        .cycle()
        .take((1 << 20) + 89)
        .collect()
});

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

/// A client with room for 16 messages in its outbox, of which a large one,
/// under way and too large for the sockets, takes one.
fn stalled_client(policy: SlowConsumer) -> (Running, Raw) {
    let server = tight_server(|config| {
        config.slow_consumer = policy;
        config.queue_messages = 16;
        config.write_timeout = Duration::from_secs(600);
    });
    let client = Raw::connect_tight(&server, "/");
    server.handle().broadcast("/", vec![0; 1 << 19]).unwrap();
    wait_given(&server, 1);
    (server, client)
}

/// Sends 500 numbered messages to a client that has stalled; returns those
/// that it then reads.
fn read_after_a_stall(policy: SlowConsumer) -> Vec<usize> {
    let (server, mut client) = stalled_client(policy);
    send_numbered(&server.handle(), "/", 0..500);
    wait_given(&server, 501);
    assert_eq!(the_client_in(&server, "/").dropped_messages, 485);
    assert_eq!(client.data().payload.len(), 1 << 19);
    let received = (0..15).map(|_| number_of(&client.data())).collect();
    // Nothing else comes before the next message, and that one does come.
    send_numbered(&server.handle(), "/", 999..1000);
    assert_eq!(number_of(&client.data()), 999);
    assert_eq!(server.handle().stats().dropped_messages, 485);
    received
}

#[test]
fn with_drop_oldest_a_slow_client_ends_with_the_newest_in_order() {
    let received = read_after_a_stall(SlowConsumer::DropOldest);
    assert_eq!(received, (485..500).collect::<Vec<usize>>());
}

#[test]
fn with_drop_newest_a_slow_client_ends_with_the_oldest_in_order() {
    let received = read_after_a_stall(SlowConsumer::DropNewest);
    assert_eq!(received, (0..15).collect::<Vec<usize>>());
}

#[test]
fn with_drop_oldest_a_client_that_stalls_again_ends_with_the_newest_too() {
    let (server, mut client) = stalled_client(SlowConsumer::DropOldest);
    send_numbered(&server.handle(), "/", 0..15);
    wait_given(&server, 16);
    // When the large message is out, those that wait go to the writer, and
    // the client stalls again.
    assert_eq!(client.data().payload.len(), 1 << 19);
    eventually("the large message to be out", || {
        the_client_in(&server, "/").queue_bytes < 1 << 19
    });
    send_numbered(&server.handle(), "/", 15..500);
    wait_given(&server, 501);
    let kept = 500 - the_client_in(&server, "/").dropped_messages as usize;
    let received: Vec<usize> = (0..kept).map(|_| number_of(&client.data())).collect();
    assert!(received.is_sorted());
    let newest = received.rsplit(|n| *n < 484).next().unwrap();
    assert_eq!(newest.last(), Some(&499));
    assert!(newest.len() >= 8, "half of its outbox or more: {newest:?}");
}

#[test]
fn one_message_may_wait_however_large() {
    let server = tight_server(|config| {
        config.queue_messages = 1;
        config.queue_bytes = 1;
    });
    let mut client = Raw::connect_tight(&server, "/");
    let large = String::from_utf8(PATTERN[..1 << 20].to_vec()).unwrap();
    server.handle().broadcast("/", large.as_str()).unwrap();
    assert_eq!(client.data().payload, large.as_bytes());
}

/// Two clients with a backlog of some messages and one that gets 400 KiB,
/// where all together may have 256 KiB.
fn overfill(policy: SlowConsumer) -> (Running, [Raw; 3]) {
    let server = tight_server(|config| {
        config.slow_consumer = policy;
        config.queue_messages = 100_000;
        config.queue_bytes = 1 << 30;
        config.queue_total = 256 * 1024;
        config.write_timeout = Duration::from_secs(600);
    });
    let rooms = ["/small", "/smaller", "/large"];
    let clients = rooms.map(|room| Raw::connect_tight(&server, room));
    send_numbered(&server.handle(), "/small", 0..50);
    send_numbered(&server.handle(), "/smaller", 0..40);
    wait_given(&server, 90);
    assert!(the_client_in(&server, "/smaller").queue_messages > 0);
    send_numbered(&server.handle(), "/large", 0..400);
    (server, clients)
}

#[test]
fn a_full_total_backlog_evicts_the_client_with_the_largest() {
    let (server, mut clients) = overfill(SlowConsumer::Disconnect);
    eventually("the largest to be evicted", || is_empty(&server, "/large"));
    for (room, sent) in [("/small", 50), ("/smaller", 40)] {
        assert_eq!(the_client_in(&server, room).dropped_messages, 0);
        let client = &mut clients[usize::from(sent == 40)];
        let received: Vec<usize> = (0..sent).map(|_| number_of(&client.data())).collect();
        assert_eq!(received, (0..sent).collect::<Vec<usize>>());
    }
    let close = loop {
        let frame = clients[2].data();
        if frame.opcode == Opcode::Close {
            break frame;
        }
    };
    assert_eq!(close.close_code(), Some(1008));
}

#[test]
fn a_full_total_backlog_drops_messages_of_the_client_with_the_largest() {
    for policy in [SlowConsumer::DropOldest, SlowConsumer::DropNewest] {
        let (server, clients) = overfill(policy);
        eventually("the total to be within its limit", || {
            let backlog = server.handle().stats().queue_bytes;
            the_client_in(&server, "/large").dropped_messages > 0 && backlog <= 256 * 1024
        });
        assert_eq!(the_client_in(&server, "/small").dropped_messages, 0);
        assert_eq!(the_client_in(&server, "/smaller").dropped_messages, 0);
        drop(clients);
    }
}

#[test]
fn a_client_that_takes_a_frame_too_slowly_is_dropped_with_a_write_timeout() {
    let server = tight_server(|config| {
        config.write_timeout = Duration::from_millis(300);
        config.queue_bytes = 1 << 30;
    });
    let mut slow = Raw::connect_tight(&server, "/");
    let stalled = Raw::connect_tight(&server, "/");
    let large = vec![0; 1 << 20];
    server.handle().broadcast("/", large).unwrap();
    // It takes bytes all the time, some 100 KiB a second.
    let until = Instant::now() + deadline();
    let mut taken = 0;
    while server.handle().stats().departed("write_timeout") < 2 {
        assert!(Instant::now() < until, "not dropped");
        if let Ok(n) = slow.stream.read(&mut [0; 512]) {
            taken += n;
        }
        thread::sleep(Duration::from_millis(5)); // its pace
    }
    assert!(taken > 0);
    assert_eq!(server.handle().stats().departed("write_timeout"), 2);
    drop(stalled);
}

#[test]
fn a_slow_client_that_takes_each_frame_in_time_stays() {
    let server = tight_server(|config| {
        config.write_timeout = Duration::from_secs(1);
        config.queue_bytes = 1 << 30;
    });
    let mut slow = Raw::connect_tight(&server, "/");
    send_numbered(&server.handle(), "/", 0..400);
    // All of it takes longer than the write timeout.
    let start = Instant::now();
    for number in 0..400 {
        assert_eq!(number_of(&slow.data()), number);
        thread::sleep(Duration::from_millis(4)); // its pace
    }
    assert!(start.elapsed() > Duration::from_millis(1500));
    assert_eq!(server.handle().stats().clients, 1);
}

#[test]
fn pong_and_close_reach_a_slow_client_that_still_reads() {
    let server = tight_server(|config| {
        config.slow_consumer = SlowConsumer::DropNewest;
        config.queue_messages = 200;
        config.write_timeout = Duration::from_secs(600);
    });
    let mut slow = Raw::connect_tight(&server, "/");
    send_numbered(&server.handle(), "/", 0..400);
    wait_given(&server, 400);
    let before = the_client_in(&server, "/");
    assert!(before.dropped_messages > 0, "its outbox is full");
    for number in 0..50 {
        slow.send(Opcode::Ping, &[number]);
    }
    // Dropped or not, that the hub has it says that it has the pongs too.
    slow.send(Opcode::Text, b"last");
    eventually("the hub to have the pongs", || {
        server.handle().stats().broadcasts == 401
    });
    let handle = server.handle();
    let code = CloseCode::new(4000).unwrap();
    handle.disconnect(before.id, code, "enough").unwrap();
    let (mut messages, mut next) = (0, 0);
    let mut ponged = None;
    loop {
        let frame = slow.frame();
        match frame.opcode {
            Opcode::Text if frame.payload == b"last" => {}
            Opcode::Text => {
                let number = number_of(&frame);
                assert!(number >= next, "{number} is not behind {next}");
                next = number + 1;
                messages += 1;
            }
            // Those that piled up have been replaced by the newest.
            Opcode::Pong => assert!(ponged.replace((frame.payload, messages)).is_none()),
            Opcode::Close => {
                assert_eq!(frame.payload, b"\x0f\xa0enough");
                break;
            }
            other => panic!("unexpected opcode {other:?}"),
        }
    }
    let (payload, at) = ponged.expect("a pong");
    assert_eq!(payload, [49]);
    assert!(at < messages, "the pong overtakes messages that wait");
    assert_eq!(messages, 400 - before.dropped_messages);
    slow.send(Opcode::Close, &4000u16.to_be_bytes());
    slow.expect_end();
}

#[test]
fn a_pong_waits_for_no_reader_of_the_room() {
    let server = tight_server(|config| config.queue_bytes = 1 << 30);
    let stalled = Raw::connect_tight(&server, "/");
    let mut healthy = Raw::connect(&server, "/");
    let large = Message::from(vec![7; 1 << 20]);
    server.handle().broadcast("/", large).unwrap();
    assert_eq!(healthy.data().payload.len(), 1 << 20);
    healthy.send(Opcode::Ping, b"there?");
    assert_eq!(healthy.frame().payload, b"there?");
    drop(stalled);
}

#[test]
fn a_slow_client_that_leaves_takes_its_backlog_along() {
    let server = tight_server(|config| config.queue_bytes = 1 << 30);
    for round in 1..=20 {
        let slow = Raw::connect_tight(&server, "/");
        send_numbered(&server.handle(), "/", 0..100);
        wait_given(&server, 100 * round);
        assert!(the_client_in(&server, "/").queue_bytes > 0);
        drop(slow);
        eventually("the slow client to be gone", || is_empty(&server, "/"));
    }
    eventually("no backlog", || server.handle().stats().queue_bytes == 0);
}

/// Reads what has come, and behind it the reset by which the server has said
/// that nothing more comes.
#[track_caller]
fn expect_reset(mut client: Raw) {
    let end = client.stream.read_to_end(&mut Vec::new());
    let kind = end.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_client_that_is_given_up_leaves_no_unsent_bytes_to_the_system() {
    // A socket that is closed in order keeps what is unsent, and the system
    // offers it for minutes: up to four megabytes for each such client.
    let stalled = |cause: &str, change: fn(&mut Config)| {
        let server = tight_server(|config| {
            config.write_timeout = Duration::from_secs(600);
            config.close_timeout = Duration::from_millis(200);
            config.shutdown_timeout = Duration::from_millis(200);
            config.queue_bytes = 1 << 30;
            change(config);
        });
        let client = Raw::connect_tight(&server, "/");
        send_numbered(&server.handle(), "/", 0..200);
        wait_given(&server, 1);
        if cause == "shutdown" {
            server.handle().shutdown();
        }
        wait_closed(&server, cause, 1);
        // Now all its threads have let go of the socket.
        drop(server);
        expect_reset(client);
    };
    stalled("shutdown", |_| {});
    stalled("evicted", |config| config.queue_messages = 4);
    stalled("write_timeout", |config| {
        config.write_timeout = Duration::from_millis(200);
    });
    stalled("pong_timeout", |config| {
        config.ping_interval = Duration::from_millis(100);
        config.pong_timeout = Duration::from_millis(100);
    });
}
