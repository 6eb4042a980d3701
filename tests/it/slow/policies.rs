//! What each policy keeps and drops, for one client and for all of them together.

use std::time::Duration;

use hubcast::{Running, SlowConsumer};

use super::{PATTERN, is_empty, number_of, send_numbered, the_client_in, wait_given};
use crate::kit::frame::Opcode;
use crate::support::{Raw, eventually, tight_server};

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
            // What the writers have comes on top: 64 KiB for each.
            let backlog = server.handle().stats().queue_bytes;
            the_client_in(&server, "/large").dropped_messages > 0
                && backlog <= (256 + 3 * 65) * 1024
        });
        assert_eq!(the_client_in(&server, "/small").dropped_messages, 0);
        assert_eq!(the_client_in(&server, "/smaller").dropped_messages, 0);
        drop(clients);
    }
}
