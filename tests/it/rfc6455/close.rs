//! §5.5.1: Close frames; §7: closing the connection.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use hubcast::CloseCode;

use super::{
    close, departs_as, echo, fails_with, frame, header, length_64, pong, still_open, text,
};
use crate::kit::frame::{
    FIN,
    Opcode::{Binary, Close, Ping, Text},
    masked, masked_as,
};
use crate::support::{Raw, deadline, server};

// §5.5.1: Close.

#[test]
fn a_close_is_answered_with_its_code() {
    // §7.1.1: the server ends the TCP connection first.
    for code in [1000, 1001, 3000, 4999] {
        fails_with(code, &masked(Close, &close(code, b"")));
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let (_server, mut raw) = echo();
    raw.send(Close, b"");
    assert_eq!(raw.frame(), frame(Close, b""));
    raw.expect_end();
}

#[test]
fn a_close_with_the_longest_reason_is_answered() {
    fails_with(1000, &masked(Close, &close(1000, &[b'x'; 123])));
}

#[test]
fn a_close_with_a_body_of_one_byte_gets_1002() {
    fails_with(1002, &masked(Close, &[3]));
}

#[test]
fn a_close_with_a_reason_that_is_not_utf8_gets_1007() {
    fails_with(1007, &masked(Close, &close(1000, b"\xce\xba\xff")));
    fails_with(1007, &masked(Close, &close(1000, b"cut off \xe2\x82")));
}

#[test]
fn a_close_with_a_reason_in_utf8_is_answered() {
    fails_with(1000, &masked(Close, &close(1000, "κόσμε".as_bytes())));
}

#[test]
fn close_codes_that_may_be_sent_are_answered_with_themselves() {
    // §7.4.1 and the registry behind it, §7.4.2.
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        fails_with(code, &masked(Close, &close(code, b"why")));
    }
}

#[test]
fn close_codes_that_must_not_be_sent_get_1002() {
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        fails_with(1002, &masked(Close, &close(code, b"")));
    }
}

#[test]
fn data_behind_a_close_is_ignored() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    let bytes = [
        masked(Close, &close(1000, b"")),
        masked(Text, b"in the same segment"),
        masked_as(FIN | 0x3, b"not even a frame"),
    ];
    raw.send_bytes(&bytes.concat());
    assert_eq!(raw.frame(), frame(Close, &close(1000, b"")));
    // The server has ended its direction; what still comes is no harm.
    let _ = raw.stream.write_all(&masked(Text, b"later"));
    raw.expect_end();
    still_open(&mut other);
}

#[test]
fn a_ping_behind_a_close_is_not_answered() {
    let bytes = [masked(Close, &close(1000, b"")), masked(Ping, b"late")];
    fails_with(1000, &bytes.concat());
}

#[test]
fn a_second_close_is_not_answered() {
    let close_frame = masked(Close, &close(1000, b""));
    fails_with(1000, &[close_frame.clone(), close_frame].concat());
}

#[test]
fn messages_before_a_close_are_delivered_before_its_answer() {
    let (_server, mut raw) = echo();
    let bytes = [
        masked(Text, b"first"),
        masked(Ping, b"second"),
        masked(Close, &close(1000, b"")),
    ];
    raw.send_bytes(&bytes.concat());
    // A Pong may overtake data, but not the Close.
    let mut frames = [raw.frame(), raw.frame()];
    frames.sort_by_key(|frame| frame.opcode);
    assert_eq!(frames, [text("first"), pong(b"second")]);
    raw.expect_close(1000);
}

#[test]
fn nothing_follows_the_servers_close() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    let id = server.handle().clients().unwrap()[0].id;
    let handle = server.handle();
    handle.broadcast("/", "before").unwrap();
    handle.disconnect(id, CloseCode::NORMAL, "bye").unwrap();
    handle.broadcast("/", "after").unwrap();
    handle.send(id, "after").unwrap();
    raw.send(Ping, b"after");
    assert_eq!(raw.frame(), text("before"));
    assert_eq!(raw.frame(), frame(Close, &close(1000, b"bye")));
    raw.send(Close, &close(1000, b""));
    raw.expect_end();
    assert_eq!(other.frame(), text("before"));
    assert_eq!(other.frame(), text("after"));
}

#[test]
fn what_a_client_sends_behind_the_servers_close_is_not_delivered() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    let id = server.handle().clients().unwrap()[0].id;
    let handle = server.handle();
    handle.disconnect(id, CloseCode::NORMAL, "").unwrap();
    assert_eq!(raw.frame(), frame(Close, &close(1000, b"")));
    raw.send(Text, b"crossed the Close");
    raw.send(Close, &close(1000, b""));
    raw.expect_end();
    still_open(&mut other);
}

// §7: closing the connection.

#[test]
fn who_broke_the_protocol_reads_the_close_whatever_it_still_sends() {
    // §7.1.7 with §7.1.1: no reset destroys the Close under way.
    let (_server, mut raw) = echo();
    raw.send_as(FIN | 0x3, b"bad");
    for _ in 0..64 {
        // The server may be done with us by now.
        if raw.stream.write_all(&masked(Binary, &[0; 1000])).is_err() {
            break;
        }
    }
    raw.expect_close(1002);
}

#[test]
fn the_server_waits_for_the_answer_to_its_close_and_then_ends_first() {
    let (server, mut raw) = echo();
    let handle = server.handle();
    let id = handle.clients().unwrap()[0].id;
    handle.disconnect(id, CloseCode::NORMAL, "").unwrap();
    assert_eq!(raw.frame(), frame(Close, &close(1000, b"")));
    // Not yet: the peer's Close may be under way.
    let wait = Duration::from_millis(100);
    raw.stream.set_read_timeout(Some(wait)).unwrap();
    let waited = raw.stream.read(&mut [0]).unwrap_err();
    assert!(matches!(
        waited.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    raw.stream.set_read_timeout(Some(deadline())).unwrap();
    raw.send(Close, &close(1000, b""));
    raw.expect_end();
}

#[test]
fn who_does_not_answer_the_servers_close_is_ended_in_time() {
    let server = server(|config| config.close_timeout = Duration::from_millis(50));
    let mut raw = Raw::connect(&server, "/");
    let handle = server.handle();
    let id = handle.clients().unwrap()[0].id;
    handle.disconnect(id, CloseCode::NORMAL, "").unwrap();
    raw.expect_close(1000);
    departs_as(&server, "disconnected");
}

#[test]
fn who_keeps_its_side_open_after_the_closing_handshake_is_ended_in_time() {
    let server = server(|config| config.close_timeout = Duration::from_millis(50));
    let mut raw = Raw::connect(&server, "/");
    raw.send(Close, &close(1000, b""));
    raw.expect_close(1000);
    departs_as(&server, "closed_by_peer");
}

#[test]
fn an_end_of_stream_without_a_close_is_an_abnormal_end_and_gets_none() {
    // §7.1.5: 1006 to the application, and never on the wire.
    for cut_off in [&b""[..], b"\x81", b"\x81\x85\x01\x02\x03\x04abc"] {
        let (server, mut raw) = echo();
        raw.send_bytes(cut_off);
        raw.stream.shutdown(Shutdown::Write).unwrap();
        raw.expect_end();
        departs_as(&server, "end_of_stream");
    }
}

#[test]
fn a_server_that_goes_away_says_1001() {
    let (server, mut raw) = echo();
    server.handle().shutdown();
    let frame = raw.frame();
    assert_eq!(frame.close_code(), Some(1001));
    raw.send(Close, &frame.payload);
    raw.expect_end();
    drop(raw);
    assert_eq!(server.wait().unwrap().aborted, 0);
}

#[test]
fn each_way_to_end_is_counted_as_what_it_was() {
    for (bytes, name) in [
        (masked(Close, &close(1000, b"")), "closed_by_peer"),
        (masked_as(FIN | 0x3, b""), "protocol_error"),
        (masked(Text, b"\xff"), "invalid_utf8"),
        (masked(Close, &close(1000, b"\xff")), "invalid_utf8"),
        (header(Binary.begun(), &length_64(1 << 62)), "too_large"),
    ] {
        let (server, mut raw) = echo();
        raw.send_bytes(&bytes);
        assert_eq!(raw.frame().opcode, Close);
        raw.expect_end();
        drop(raw);
        departs_as(&server, name);
    }
}
