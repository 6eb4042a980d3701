//! Slow consumers: nobody waits for them, they lose only what the policy
//! says, and what they get is whole and in order.

use std::sync::LazyLock;

use hubcast::{ClientInfo, Handle, Running};

use crate::kit::frame::{Frame, Opcode};
use crate::support::eventually;

mod draining;
mod eviction;
mod policies;

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

/// Waits until the hub has given this number of messages to outboxes.
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
