//! What a broadcast allocates, counted. A test binary of its own: the
//! counter sees the whole process.

#![allow(missing_docs, clippy::unwrap_used)] // tests may panic

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hubcast::Server;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::kit::frame::{self, Opcode, masked};
use crate::kit::http::{check_upgrade, handshake, read_head};
use crate::kit::socket::dial;

#[path = "kit/mod.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod kit;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 100;
const BROADCASTS: usize = 500;

/// A text message of this length, and what a client receives of it: a
/// header of two bytes and the payload.
const PAYLOAD: usize = 125;
const RECEIVED: usize = 2 + PAYLOAD;
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_broadcast_allocates_once_and_a_delivery_never() {
    let server = Server::bind("127.0.0.1:0").unwrap().spawn().unwrap();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| join(&server)).collect();
    let frame = masked(Opcode::Text, &[b'x'; PAYLOAD]);
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
    // And a little for what happens now and then.
    assert!(allocations <= BROADCASTS * 11 / 10, "{change:?}");
}

fn join(server: &hubcast::Running) -> TcpStream {
    let mut stream = dial(server.local_addr(), DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&handshake("/")).unwrap();
    check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
    // It has joined when its ping is answered.
    stream.write_all(&masked(Opcode::Ping, b"")).unwrap();
    let pong = frame::read(&mut stream).unwrap();
    assert_eq!(pong.opcode, Opcode::Pong);
    stream
}
