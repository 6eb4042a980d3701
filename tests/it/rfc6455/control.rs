//! §5.5: what control frames have in common; Ping and Pong.

use super::{answers, close, echo, fails_with, pong, still_open};
use crate::kit::frame::{
    Opcode::{Close, Ping, Pong},
    masked,
};
use crate::support::Raw;

// §5.5: control frames.

#[test]
fn a_control_frame_of_more_than_125_bytes_gets_1002() {
    for opcode in [Ping, Pong] {
        fails_with(1002, &masked(opcode, &[0; 126]));
        fails_with(1002, &masked(opcode, &[0; 70_000]));
    }
    fails_with(1002, &masked(Close, &close(1000, &[b'x'; 124])));
}

// §5.5.2, §5.5.3: Ping and Pong.

#[test]
fn a_ping_is_answered_with_its_payload() {
    let all_bytes: Vec<u8> = (131..=255).collect();
    for payload in [&b""[..], b"x", b"\0\xff", &all_bytes] {
        assert!(payload.len() <= 125);
        answers(&masked(Ping, payload), &[pong(payload)]);
    }
    assert_eq!(all_bytes.len(), 125);
}

#[test]
fn pings_in_a_row_are_answered_in_order() {
    // An endpoint may answer only the newest; for a client that reads, it answers all.
    let (_server, mut raw) = echo();
    for n in 0..10 {
        raw.send(Ping, &[n]);
    }
    for n in 0..10 {
        assert_eq!(raw.frame(), pong(&[n]));
    }
}

#[test]
fn a_pong_nobody_asked_for_is_ignored() {
    answers(&masked(Pong, b""), &[]);
    answers(&masked(Pong, b"unsolicited"), &[]);
    answers(&masked(Pong, &[0xff; 125]), &[]);
}

#[test]
fn a_ping_and_a_pong_reach_nobody_else() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    raw.send(Ping, b"mine");
    raw.send(Pong, b"mine");
    assert_eq!(raw.frame(), pong(b"mine"));
    still_open(&mut other);
}
