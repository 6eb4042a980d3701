//! What a broadcast allocates, counted. A test binary of its own: the
//! counter sees the whole process.

#![allow(missing_docs, clippy::unwrap_used)] // tests may panic

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hubcast::Server;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 100;
const BROADCASTS: usize = 500;

/// A masked text frame of 126 bytes of payload less one, and what it becomes.
const PAYLOAD: usize = 125;
const SENT: usize = 2 + 4 + PAYLOAD;
const RECEIVED: usize = 2 + PAYLOAD;

#[test]
fn a_broadcast_allocates_at_most_three_times_and_a_delivery_never() {
    let server = Server::bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| join(&server)).collect();
    let mut frame = [b'x'; SENT];
    frame[..6].copy_from_slice(&[0x81, 0x80 | PAYLOAD as u8, 0, 0, 0, 0]);
    let mut round = || {
        clients[0].write_all(&frame).unwrap();
        for client in &mut clients {
            let mut received = [0; RECEIVED];
            client.read_exact(&mut received).unwrap();
        }
    };
    // The first rounds grow what is kept.
    (0..20).for_each(|_| round());
    let region = Region::new(ALLOCATOR);
    (0..BROADCASTS).for_each(|_| round());
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    println!("{allocations} allocations for {BROADCASTS} broadcasts to {CLIENTS} clients each");
    assert!(allocations <= 3 * BROADCASTS, "{change:?}");
}

fn join(server: &hubcast::Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    // Its own hello tells when it has joined.
    stream.write_all(&[0x89, 0x80, 0, 0, 0, 0]).unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(pong, [0x8a, 0]);
    stream
}
