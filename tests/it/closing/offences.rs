//! Each offence has its close code, which reaches the client, and hurts nobody else.

use hubcast::{CloseCode, Config};

use super::{next, with_departures};
use crate::kit::frame::{FIN, Opcode, RSV1, fragment, masked, masked_as};
use crate::support::{Raw, server, wait_closed};

/// What a client may do wrong, and what it is told.
struct Wrong {
    what: &'static str,
    bytes: Vec<u8>,
    code: u16,
    cause: &'static str,
}

/// A server with small limits, and everything that is wrong for it.
fn wrongs() -> (impl FnOnce(&mut Config), Vec<Wrong>) {
    let change = |config: &mut Config| {
        config.max_message_size = 1000;
        config.max_fragments = 4;
    };
    let mut wrongs = Vec::new();
    let mut add = |what, bytes: Vec<u8>, code, cause| {
        wrongs.push(Wrong {
            what,
            bytes,
            code,
            cause,
        });
    };
    let fragments = |opcode, n: usize, payload: &[u8]| {
        let mut bytes = fragment(opcode, payload);
        (1..n).for_each(|_| bytes.extend(fragment(Opcode::Continuation, payload)));
        bytes
    };
    let mut broken = |what, bytes| add(what, bytes, 1002, "protocol_error");
    broken("a frame without a mask", b"\x81\x02hi".to_vec());
    broken(
        "a reserved bit",
        masked_as(RSV1 | Opcode::Text.last(), b"hi"),
    );
    broken("a reserved data opcode", masked_as(FIN | 0x3, b"hi"));
    broken("a reserved control opcode", masked_as(FIN | 0xb, b"hi"));
    broken("a ping of 126 bytes", masked(Opcode::Ping, &[0; 126]));
    broken("a fragmented ping", fragment(Opcode::Ping, b"hi"));
    broken("a Close of 126 bytes", masked(Opcode::Close, &[0; 126]));
    broken("a Close of one byte", masked(Opcode::Close, &[3]));
    broken(
        "a Close with a code that is never sent",
        masked(Opcode::Close, &1005_u16.to_be_bytes()),
    );
    let beyond = b"\x82\xff\x80\0\0\0\0\0\0\0mask".to_vec();
    broken("a length of 2^63", beyond);
    broken(
        "a continuation of nothing",
        masked(Opcode::Continuation, b"hi"),
    );
    let interrupted = [fragment(Opcode::Text, b"h"), masked(Opcode::Text, b"hi")].concat();
    broken("a message inside a message", interrupted);
    let mut invalid = |what, bytes| add(what, bytes, 1007, "invalid_utf8");
    invalid("text that is not UTF-8", masked(Opcode::Text, b"\xff"));
    invalid(
        "text that ends in a character",
        masked(Opcode::Text, b"\xc3"),
    );
    let split = [
        fragment(Opcode::Text, b"\xc3"),
        masked(Opcode::Continuation, b"\x28"),
    ]
    .concat();
    invalid("a character that is broken across fragments", split);
    invalid(
        "a reason that is not UTF-8",
        masked(Opcode::Close, b"\x03\xe8\xff"),
    );
    let mut large = |what, bytes| add(what, bytes, 1009, "too_large");
    large(
        "a message that is too large",
        masked(Opcode::Binary, &[0; 1001]),
    );
    let claim = b"\x82\xff\0\0\x7f\0\0\0\0\0mask".to_vec();
    large("a message that is said to be huge", claim);
    let most = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask".to_vec();
    large("a message of 2^63 - 1 bytes", most);
    let sum = fragments(Opcode::Binary, 3, &[0; 400]);
    large("fragments that are too large together", sum);
    let many = fragments(Opcode::Text, 5, b"x");
    add("too many fragments", many, 1008, "too_many_fragments");
    (change, wrongs)
}

#[test]
fn every_offence_has_its_close_code_and_hurts_nobody_else() {
    let (change, wrongs) = wrongs();
    let server = server(change);
    let mut bystander = Raw::connect(&server, "/");
    for Wrong {
        what,
        bytes,
        code,
        cause,
    } in wrongs
    {
        let before = server.handle().stats().departed(cause);
        let mut client = Raw::open(server.local_addr(), "/");
        client.send_bytes(&bytes);
        let close = client.data();
        assert_eq!(
            (close.opcode, close.close_code()),
            (Opcode::Close, Some(code)),
            "{what}"
        );
        let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
        assert!(!reason.is_empty(), "{what}: no reason");
        client.expect_end();
        drop(client);
        wait_closed(&server, cause, before + 1);
    }
    bystander.send(Opcode::Text, b"still here");
    assert_eq!(bystander.data().payload, b"still here");
}

#[test]
fn a_close_is_not_destroyed_by_what_the_client_still_sends() {
    let (change, wrongs) = wrongs();
    let server = server(change);
    // Nothing that would be wrong in a new way.
    let more = fragment(Opcode::Continuation, b"").repeat(10_000);
    for wrong in wrongs {
        let mut client = Raw::open(server.local_addr(), "/");
        client.send_bytes(&wrong.bytes);
        // More than the sockets hold, so the server has to take it.
        for _ in 0..64 {
            client.send_bytes(&more);
        }
        assert_eq!(
            client.data().close_code(),
            Some(wrong.code),
            "{}",
            wrong.what
        );
        client.expect_end();
    }
}

#[test]
fn what_was_sent_before_an_offence_is_delivered_before_the_close() {
    let server = server(|_| {});
    let mut client = Raw::connect(&server, "/");
    let mut bytes: Vec<u8> = (0..100)
        .flat_map(|n: u8| masked(Opcode::Binary, &[n]))
        .collect();
    bytes.extend(masked(Opcode::Text, b"\xff"));
    client.send_bytes(&bytes);
    for n in 0..100 {
        assert_eq!(client.data().payload, [n]);
    }
    client.expect_close(1007);
}

#[test]
fn on_leave_gets_the_offence() {
    let (change, wrongs) = wrongs();
    let (server, departures) = with_departures(change);
    for wrong in wrongs {
        let mut client = Raw::open(server.local_addr(), "/");
        client.send_bytes(&wrong.bytes);
        client.expect_close(wrong.code);
        drop(client);
        let departure = next(&departures);
        assert_eq!(departure.cause.name(), wrong.cause, "{}", wrong.what);
        let sent = departure.sent.and_then(|frame| frame.code);
        assert_eq!(sent.map(CloseCode::value), Some(wrong.code));
        assert_eq!(departure.received, None);
    }
}
