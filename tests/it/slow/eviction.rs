//! A client that does not keep up is given up, in time, and costs nobody else anything.

use std::io::{ErrorKind, Read};
use std::thread;
use std::time::{Duration, Instant};

use hubcast::{CloseCode, Config, Message, SlowConsumer};

use super::{is_empty, number_of, send_numbered, the_client_in, wait_given};
use crate::kit::frame::Opcode;
use crate::support::{Raw, deadline, eventually, tight_server, wait_closed};

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
    assert!(reason.contains(" bytes) behind #"), "{reason}");
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
    let timeout = deadline() / 20;
    let server = tight_server(|config| {
        config.write_timeout = timeout;
        config.queue_bytes = 1 << 30;
    });
    let mut slow = Raw::connect_tight(&server, "/");
    send_numbered(&server.handle(), "/", 0..400);
    // All of it takes longer than the write timeout.
    let start = Instant::now();
    for number in 0..400 {
        assert_eq!(number_of(&slow.data()), number);
        thread::sleep(timeout / 250); // its pace
    }
    assert!(start.elapsed() > timeout * 3 / 2);
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
