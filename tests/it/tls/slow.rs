//! Clients that read slowly, over TLS.

use std::time::Duration;

use hubcast::SlowConsumer;

use super::*;
use crate::support::{deadline, eventually, wait_closed};

/// A message that tells its number and whether all of it is there.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len, number as u8);
    payload
}

#[test]
fn what_is_dropped_breaks_no_record() {
    const MESSAGES: u32 = 3_000;
    for policy in [SlowConsumer::DropOldest, SlowConsumer::DropNewest] {
        let server = Secured::start(|config| {
            config.slow_consumer = policy;
            config.queue_messages = 50;
        });
        let mut slow = server.join_tight("/");
        let handle = server.server.handle();
        for number in 1..=MESSAGES {
            let len = 4 + (number as usize * 37) % 3_000;
            handle.broadcast("/", numbered(number, len)).unwrap();
            if number % 100 == 0 {
                // It reads a little, so that the hub and its writer take turns.
                assert!(slow.message().len() >= 4);
            }
        }
        eventually("something is dropped", || {
            handle.stats().dropped_messages > 0
        });
        // Behind it, so that the reader knows its end.
        handle.clients().unwrap();
        let end = handle.clone();
        let ending = std::thread::spawn(move || {
            loop {
                end.broadcast("/", "end").unwrap();
                std::thread::sleep(Duration::from_millis(10));
                if end.stats().clients == 0 {
                    return;
                }
            }
        });
        let (mut last, mut received) = (0, u64::from(MESSAGES / 100));
        loop {
            let payload = slow.message();
            if payload == b"end" {
                break;
            }
            let number = u32::from_be_bytes(*payload.first_chunk().unwrap());
            assert!(number > last, "{number} behind {last}");
            assert!(payload == numbered(number, payload.len()), "not as sent");
            assert_eq!(payload.len(), 4 + (number as usize * 37) % 3_000);
            (last, received) = (number, received + 1);
        }
        if policy == SlowConsumer::DropOldest {
            assert_eq!(last, MESSAGES, "the newest is there");
        }
        assert!(received < u64::from(MESSAGES));
        drop(slow);
        ending.join().unwrap();
    }
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_record_is_let_go() {
    // What the other one gets must not take as long.
    let server = Secured::start(|config| config.write_timeout = deadline() / 20);
    let slow = server.join_tight("/");
    let mut other = server.join("/");
    server
        .server
        .handle()
        .broadcast("/", vec![7; 1 << 20])
        .unwrap();
    assert_eq!(other.message().len(), 1 << 20);
    wait_closed(&server.server, "write_timeout", 1);
    assert_eq!(server.server.handle().stats().clients, 1);
    drop(slow);
}

#[test]
fn an_evicted_client_gets_its_close() {
    let server = Secured::start(|config| config.queue_messages = 10);
    let mut slow = server.join_tight("/");
    let handle = server.server.handle();
    eventually("the eviction", || {
        handle.broadcast("/", vec![7; 10_000]).unwrap();
        handle.stats().dropped_messages > 0
    });
    loop {
        let frame = slow.frame();
        if frame.opcode == Opcode::Close {
            assert_eq!(frame.close_code(), Some(1008));
            break;
        }
        assert_eq!(frame.payload, vec![7; 10_000]);
    }
}
