//! What RFC 6455 asks of a server once the connection is open: §5 (framing),
//! §7 (closing) and §8.1 (UTF-8), a case for each rule, from a client that is
//! written by hand. Its room has nobody else, so the server echoes.

use hubcast::Running;

use crate::kit::frame::{
    Frame,
    Opcode::{self, Binary, Pong, Text},
};
use crate::support::{Raw, eventually, server};

mod close;
mod control;
mod fragments;
mod framing;
mod utf8;

fn echo() -> (Running, Raw) {
    let server = server(|_| {});
    let raw = Raw::connect(&server, "/");
    (server, raw)
}

/// Sends these bytes; they are answered by a Close with this code, and the
/// end of the stream behind it.
#[track_caller]
fn fails_with(code: u16, bytes: &[u8]) {
    let (_server, mut raw) = echo();
    raw.send_bytes(bytes);
    raw.expect_close(code);
}

/// Sends these bytes; they are answered by these frames, and the connection
/// is good for more.
#[track_caller]
fn answers(bytes: &[u8], expected: &[Frame]) {
    let (_server, mut raw) = echo();
    raw.send_bytes(bytes);
    for frame in expected {
        assert_eq!(raw.frame(), *frame);
    }
    still_open(&mut raw);
}

#[track_caller]
fn still_open(raw: &mut Raw) {
    raw.send(Text, b"still open");
    assert_eq!(raw.frame(), text("still open"));
}

/// Waits until the one client has left, for this cause.
#[track_caller]
fn departs_as(server: &Running, name: &str) {
    let handle = server.handle();
    eventually(&format!("the client to depart as {name}"), || {
        handle.stats().departed(name) == 1
    });
    assert_eq!(handle.stats().clients, 0);
}

fn frame(opcode: Opcode, payload: &[u8]) -> Frame {
    Frame {
        fin: true,
        opcode,
        payload: payload.to_vec(),
    }
}

fn text(text: &str) -> Frame {
    frame(Text, text.as_bytes())
}

fn binary(payload: &[u8]) -> Frame {
    frame(Binary, payload)
}

fn pong(payload: &[u8]) -> Frame {
    frame(Pong, payload)
}

/// The payload of a Close.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// A frame that is not masked, of fewer than 126 bytes.
fn unmasked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    [&[opcode.last(), payload.len() as u8], payload].concat()
}

/// The header of a masked frame whose length is written in this form, with a
/// mask of zeros, which changes nothing.
fn header(first: u8, length: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(length);
    bytes[1] |= 0x80;
    bytes.extend([0; 4]);
    bytes
}

fn length_16(length: u16) -> Vec<u8> {
    [&[126][..], &length.to_be_bytes()].concat()
}

fn length_64(length: u64) -> Vec<u8> {
    [&[127][..], &length.to_be_bytes()].concat()
}
