//! What RFC 6455 asks of a server once the connection is open: §5 (framing),
//! §7 (closing) and §8.1 (UTF-8), a case for each rule, from a client that is
//! written by hand. Its room has nobody else, so the server echoes.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use hubcast::{CloseCode, Running};

use crate::support::{Frame, Raw, deadline, eventually, handshake, masked, read_head, server};

/// First bytes of frames: FIN and the opcode (§5.2).
const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = FIN | 0x8;
const PING: u8 = FIN | 0x9;
const PONG: u8 = FIN | 0xa;

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
    raw.send(FIN | TEXT, b"still open");
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

fn frame(opcode: u8, payload: &[u8]) -> Frame {
    Frame {
        fin: true,
        opcode,
        payload: payload.to_vec(),
    }
}

fn text(text: &str) -> Frame {
    frame(TEXT, text.as_bytes())
}

fn binary(payload: &[u8]) -> Frame {
    frame(BINARY, payload)
}

fn pong(payload: &[u8]) -> Frame {
    frame(0xa, payload)
}

/// The payload of a Close.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// A frame that is not masked, of fewer than 126 bytes.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
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

// §5.1: frames of a client are masked, those of a server are not.

#[test]
fn a_text_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(FIN | TEXT, b"plain"));
}

#[test]
fn an_empty_frame_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(FIN | BINARY, b""));
}

#[test]
fn a_ping_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(PING, b"plain"));
}

#[test]
fn a_close_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(CLOSE, &close(1000, b"")));
}

#[test]
fn a_fragment_that_is_not_masked_gets_1002() {
    let fragments = [masked(TEXT, b"a"), unmasked(FIN | CONTINUATION, b"b")];
    fails_with(1002, &fragments.concat());
}

#[test]
fn no_frame_of_the_server_is_masked_or_has_a_reserved_bit() {
    // `Raw::frame` asserts both for every frame it reads.
    let (_server, mut raw) = echo();
    for (first, len) in [(FIN | TEXT, 5), (FIN | BINARY, 300), (FIN | BINARY, 70_000)] {
        raw.send(first, &vec![b'x'; len]);
        assert_eq!(raw.frame().payload.len(), len);
    }
    raw.send(PING, b"x");
    assert_eq!(raw.frame(), pong(b"x"));
    raw.send(CLOSE, b"");
    assert_eq!(raw.frame(), frame(8, b""));
}

// §5.2: reserved bits and opcodes; no extension was negotiated.

#[test]
fn rsv1_gets_1002() {
    fails_with(1002, &masked(FIN | 0x40 | TEXT, b"x"));
}

#[test]
fn rsv2_gets_1002() {
    fails_with(1002, &masked(FIN | 0x20 | TEXT, b"x"));
}

#[test]
fn rsv3_gets_1002() {
    fails_with(1002, &masked(FIN | 0x10 | TEXT, b"x"));
}

#[test]
fn a_reserved_bit_on_a_continuation_gets_1002() {
    let fragments = [masked(TEXT, b"a"), masked(FIN | 0x40 | CONTINUATION, b"b")];
    fails_with(1002, &fragments.concat());
}

#[test]
fn a_reserved_bit_on_a_control_frame_gets_1002() {
    for first in [PING, PONG, CLOSE] {
        fails_with(1002, &masked(first | 0x40, b""));
    }
}

#[test]
fn reserved_data_opcodes_get_1002() {
    for opcode in 0x3..=0x7 {
        fails_with(1002, &masked(FIN | opcode, b"x"));
        fails_with(1002, &masked(opcode, b"x"));
    }
}

#[test]
fn reserved_control_opcodes_get_1002() {
    for opcode in 0xb..=0xf {
        fails_with(1002, &masked(FIN | opcode, b"x"));
    }
}

#[test]
fn what_came_before_the_error_is_delivered() {
    let bytes = [masked(FIN | TEXT, b"good"), masked(FIN | 0x3, b"bad")];
    let (_server, mut raw) = echo();
    raw.send_bytes(&bytes.concat());
    assert_eq!(raw.frame(), text("good"));
    raw.expect_close(1002);
}

#[test]
fn what_comes_behind_the_error_is_not_delivered() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    let bytes = [masked(FIN | 0x3, b"bad"), masked(FIN | TEXT, b"late")];
    raw.send_bytes(&bytes.concat());
    raw.expect_close(1002);
    still_open(&mut other);
}

// §5.2: the payload's length.

#[test]
fn every_form_of_length_is_read_and_the_shortest_is_written() {
    let (_server, mut raw) = echo();
    for len in [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        raw.send(FIN | BINARY, &payload);
        let length = match len {
            0..126 => vec![len as u8],
            126..65_536 => length_16(len as u16),
            _ => length_64(len as u64),
        };
        let mut echoed = vec![0; 1 + length.len() + len];
        raw.stream.read_exact(&mut echoed).unwrap();
        let expected = [&[FIN | BINARY][..], &length, &payload].concat();
        assert!(echoed == expected, "of {len} bytes");
    }
}

#[test]
fn a_length_longer_than_needed_is_taken() {
    // "The minimal number of bytes MUST be used" is asked of the sender; what
    // a receiver does is open. tungstenite takes it, as most servers do.
    for length in [length_16(3), length_64(3)] {
        let bytes = [header(FIN | TEXT, &length), b"abc".to_vec()];
        answers(&bytes.concat(), &[text("abc")]);
    }
    let long = vec![b'x'; 300];
    let bytes = [header(FIN | BINARY, &length_64(300)), long.clone()];
    answers(&bytes.concat(), &[binary(&long)]);
}

#[test]
fn a_ping_whose_length_is_longer_than_needed_is_taken() {
    let bytes = [header(PING, &length_16(1)), b"x".to_vec()];
    answers(&bytes.concat(), &[pong(b"x")]);
}

#[test]
fn a_length_with_its_highest_bit_set_gets_1009() {
    // The bit must be 0, so 1002 would do as well; tungstenite does not look
    // at it and finds the length too large.
    fails_with(1009, &header(FIN | BINARY, &length_64(1 << 63)));
    fails_with(1009, &header(FIN | BINARY, &length_64(u64::MAX)));
}

#[test]
fn the_largest_length_there_is_gets_1009_and_no_memory() {
    fails_with(1009, &header(FIN | BINARY, &length_64((1 << 63) - 1)));
    fails_with(1009, &header(BINARY, &length_64(1 << 40)));
}

#[test]
fn a_message_of_the_largest_size_passes_and_one_byte_more_gets_1009() {
    let server = server(|config| config.max_message_size = 1000);
    let mut raw = Raw::connect(&server, "/");
    raw.send(FIN | BINARY, &[1; 1000]);
    assert_eq!(raw.frame(), binary(&[1; 1000]));
    // The header alone is enough.
    raw.send_bytes(&header(FIN | BINARY, &length_16(1001)));
    raw.expect_close(1009);
}

#[test]
fn fragments_count_together_against_the_largest_size() {
    let server = server(|config| config.max_message_size = 1000);
    for first in [TEXT, BINARY] {
        let mut raw = Raw::connect(&server, "/");
        raw.send(first, &[b'x'; 600]);
        raw.send(CONTINUATION, &[b'x'; 400]);
        raw.send(FIN | CONTINUATION, b"x");
        raw.expect_close(1009);
    }
}

// §5.3: masking.

#[test]
fn every_mask_is_taken_off() {
    let (_server, mut raw) = echo();
    let payload: Vec<u8> = (0..=255).collect();
    for mask in [[0, 0, 0, 0], [255; 4], [1, 2, 3, 4], [0x80, 0, 0x7f, 0xff]] {
        // All lengths modulo four, and modulo a machine word.
        for len in [1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 64, 65] {
            let payload = &payload[..len];
            let mut bytes = vec![FIN | BINARY, 0x80 | len as u8];
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
            raw.send_bytes(&bytes);
            assert_eq!(raw.frame(), binary(payload));
        }
    }
}

#[test]
fn frames_that_come_a_byte_at_a_time_are_taken() {
    let (_server, mut raw) = echo();
    let long = vec![7; 130];
    let bytes = [
        masked(FIN | TEXT, "é".as_bytes()),
        masked(PING, b"p"),
        masked(FIN | BINARY, &long),
    ];
    for byte in bytes.concat() {
        raw.send_bytes(&[byte]);
    }
    // A Pong may overtake data.
    let mut frames = [raw.frame(), raw.frame(), raw.frame()];
    frames.sort_by_key(|frame| frame.opcode);
    assert_eq!(frames, [text("é"), binary(&long), pong(b"p")]);
}

#[test]
fn the_size_of_the_read_buffer_changes_nothing() {
    for size in [256, 4096, 100_000] {
        let server = server(|config| config.read_buffer = size);
        let mut raw = Raw::connect(&server, "/");
        let large: Vec<u8> = (0..300_000).map(|i| i as u8).collect();
        let bytes = [
            masked(FIN | BINARY, &large),
            masked(TEXT, b"be"),
            masked(FIN | CONTINUATION, b"hind"),
        ];
        raw.send_bytes(&bytes.concat());
        assert!(raw.frame() == binary(&large), "{size}");
        assert_eq!(raw.frame(), text("behind"));
    }
}

// §5.4: fragmentation.

#[test]
fn fragments_are_joined_into_one_message() {
    let fragments = [
        masked(TEXT, b"one, "),
        masked(CONTINUATION, b"two, "),
        masked(FIN | CONTINUATION, b"three"),
    ];
    answers(&fragments.concat(), &[text("one, two, three")]);
}

#[test]
fn the_first_fragment_says_what_kind_of_message_it_is() {
    let fragments = [masked(BINARY, &[0xff]), masked(FIN | CONTINUATION, &[0xfe])];
    answers(&fragments.concat(), &[binary(&[0xff, 0xfe])]);
}

#[test]
fn empty_fragments_are_taken_wherever_they_are() {
    let fragments = [
        masked(TEXT, b""),
        masked(CONTINUATION, b""),
        masked(CONTINUATION, b"x"),
        masked(CONTINUATION, b""),
        masked(FIN | CONTINUATION, b""),
    ];
    answers(&fragments.concat(), &[text("x")]);
}

#[test]
fn a_message_of_nothing_but_empty_fragments_is_an_empty_message() {
    let fragments = [masked(BINARY, b""), masked(FIN | CONTINUATION, b"")];
    answers(&fragments.concat(), &[binary(b"")]);
}

#[test]
fn a_server_does_not_fragment_what_it_need_not() {
    let (_server, mut raw) = echo();
    let large = vec![9; 1024 * 1024];
    raw.send(FIN | BINARY, &large);
    assert!(raw.frame() == binary(&large));
}

#[test]
fn a_ping_between_fragments_is_answered_before_the_message_is_complete() {
    let (_server, mut raw) = echo();
    raw.send(TEXT, b"one, ");
    raw.send(PING, b"now");
    assert_eq!(raw.frame(), pong(b"now"));
    raw.send(FIN | CONTINUATION, b"two");
    assert_eq!(raw.frame(), text("one, two"));
}

#[test]
fn a_pong_between_fragments_is_ignored() {
    let bytes = [
        masked(TEXT, b"one, "),
        masked(PONG, b"whatever"),
        masked(FIN | CONTINUATION, b"two"),
    ];
    answers(&bytes.concat(), &[text("one, two")]);
}

#[test]
fn a_close_between_fragments_is_answered_and_the_message_forgotten() {
    let (_server, mut raw) = echo();
    raw.send(TEXT, b"never ");
    raw.send(CLOSE, &close(1000, b""));
    raw.send(FIN | CONTINUATION, b"completed");
    raw.expect_close(1000);
}

#[test]
fn a_continuation_of_nothing_gets_1002() {
    fails_with(1002, &masked(FIN | CONTINUATION, b"x"));
    fails_with(1002, &masked(CONTINUATION, b"x"));
    fails_with(1002, &masked(CONTINUATION, b""));
}

#[test]
fn a_continuation_of_a_message_that_is_complete_gets_1002() {
    let (_server, mut raw) = echo();
    raw.send(TEXT, b"one, ");
    raw.send(FIN | CONTINUATION, b"two");
    assert_eq!(raw.frame(), text("one, two"));
    raw.send(FIN | CONTINUATION, b"three");
    raw.expect_close(1002);
}

#[test]
fn a_new_message_inside_a_fragmented_one_gets_1002() {
    for first in [FIN | TEXT, TEXT, FIN | BINARY, BINARY] {
        let bytes = [masked(TEXT, b"begun"), masked(first, b"new")];
        fails_with(1002, &bytes.concat());
    }
}

#[test]
fn a_fragmented_control_frame_gets_1002() {
    for first in [PING, PONG, CLOSE] {
        fails_with(1002, &masked(first & !FIN, b""));
    }
}

#[test]
fn a_fragmented_control_frame_between_fragments_gets_1002() {
    let bytes = [masked(TEXT, b"begun"), masked(PING & !FIN, b"x")];
    fails_with(1002, &bytes.concat());
}

// §5.5: control frames.

#[test]
fn a_control_frame_of_more_than_125_bytes_gets_1002() {
    for first in [PING, PONG] {
        fails_with(1002, &masked(first, &[0; 126]));
        fails_with(1002, &masked(first, &[0; 70_000]));
    }
    fails_with(1002, &masked(CLOSE, &close(1000, &[b'x'; 124])));
}

// §5.5.1: Close.

#[test]
fn a_close_is_answered_with_its_code() {
    // §7.1.1: the server ends the TCP connection first.
    for code in [1000, 1001, 3000, 4999] {
        fails_with(code, &masked(CLOSE, &close(code, b"")));
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let (_server, mut raw) = echo();
    raw.send(CLOSE, b"");
    assert_eq!(raw.frame(), frame(8, b""));
    raw.expect_end();
}

#[test]
fn a_close_with_the_longest_reason_is_answered() {
    fails_with(1000, &masked(CLOSE, &close(1000, &[b'x'; 123])));
}

#[test]
fn a_close_with_a_body_of_one_byte_gets_1002() {
    fails_with(1002, &masked(CLOSE, &[3]));
}

#[test]
fn a_close_with_a_reason_that_is_not_utf8_gets_1007() {
    fails_with(1007, &masked(CLOSE, &close(1000, b"\xce\xba\xff")));
    fails_with(1007, &masked(CLOSE, &close(1000, b"cut off \xe2\x82")));
}

#[test]
fn a_close_with_a_reason_in_utf8_is_answered() {
    fails_with(1000, &masked(CLOSE, &close(1000, "κόσμε".as_bytes())));
}

#[test]
fn close_codes_that_may_be_sent_are_answered_with_themselves() {
    // §7.4.1 and the registry behind it, §7.4.2.
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999,
    ] {
        fails_with(code, &masked(CLOSE, &close(code, b"why")));
    }
}

#[test]
fn close_codes_that_must_not_be_sent_get_1002() {
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        fails_with(1002, &masked(CLOSE, &close(code, b"")));
    }
    // 1014 was registered after the RFC; tungstenite does not know it.
    fails_with(1002, &masked(CLOSE, &close(1014, b"")));
}

#[test]
fn data_behind_a_close_is_ignored() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    let bytes = [
        masked(CLOSE, &close(1000, b"")),
        masked(FIN | TEXT, b"in the same segment"),
        masked(FIN | 0x3, b"not even a frame"),
    ];
    raw.send_bytes(&bytes.concat());
    assert_eq!(raw.frame(), frame(8, &close(1000, b"")));
    // The server has ended its direction; what still comes is no harm.
    let _ = raw.stream.write_all(&masked(FIN | TEXT, b"later"));
    raw.expect_end();
    still_open(&mut other);
}

#[test]
fn a_ping_behind_a_close_is_not_answered() {
    let bytes = [masked(CLOSE, &close(1000, b"")), masked(PING, b"late")];
    fails_with(1000, &bytes.concat());
}

#[test]
fn a_second_close_is_not_answered() {
    let close_frame = masked(CLOSE, &close(1000, b""));
    fails_with(1000, &[close_frame.clone(), close_frame].concat());
}

#[test]
fn messages_before_a_close_are_delivered_before_its_answer() {
    let (_server, mut raw) = echo();
    let bytes = [
        masked(FIN | TEXT, b"first"),
        masked(PING, b"second"),
        masked(CLOSE, &close(1000, b"")),
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
    raw.send(PING, b"after");
    assert_eq!(raw.frame(), text("before"));
    assert_eq!(raw.frame(), frame(8, &close(1000, b"bye")));
    raw.send(CLOSE, &close(1000, b""));
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
    assert_eq!(raw.frame(), frame(8, &close(1000, b"")));
    raw.send(FIN | TEXT, b"crossed the Close");
    raw.send(CLOSE, &close(1000, b""));
    raw.expect_end();
    still_open(&mut other);
}

// §5.5.2, §5.5.3: Ping and Pong.

#[test]
fn a_ping_is_answered_with_its_payload() {
    let all_bytes: Vec<u8> = (131..=255).collect();
    for payload in [&b""[..], b"x", b"\0\xff", &all_bytes] {
        assert!(payload.len() <= 125);
        answers(&masked(PING, payload), &[pong(payload)]);
    }
    assert_eq!(all_bytes.len(), 125);
}

#[test]
fn pings_in_a_row_are_answered_in_order() {
    // An endpoint may answer only the newest; to who reads, all are answered.
    let (_server, mut raw) = echo();
    for n in 0..10 {
        raw.send(PING, &[n]);
    }
    for n in 0..10 {
        assert_eq!(raw.frame(), pong(&[n]));
    }
}

#[test]
fn a_pong_nobody_asked_for_is_ignored() {
    answers(&masked(PONG, b""), &[]);
    answers(&masked(PONG, b"unsolicited"), &[]);
    answers(&masked(PONG, &[0xff; 125]), &[]);
}

#[test]
fn a_ping_and_a_pong_reach_nobody_else() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    raw.send(PING, b"mine");
    raw.send(PONG, b"mine");
    assert_eq!(raw.frame(), pong(b"mine"));
    still_open(&mut other);
}

// §5.6 and §8.1: text is UTF-8.

#[test]
fn text_in_utf8_is_delivered_as_it_is() {
    for valid in [
        "",
        "\0",
        "κόσμε",
        "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
        "\u{feff}with a mark",
        "\u{fffe}\u{fdd0}\u{d7ff}\u{e000}",
        "e\u{301} is not é",
        "👩‍👩‍👧‍👦",
    ] {
        answers(&masked(FIN | TEXT, valid.as_bytes()), &[text(valid)]);
    }
}

/// Bytes that are no UTF-8, by themselves and in text.
const NOT_UTF8: [&[u8]; 12] = [
    b"\x80",
    b"\xbf",
    b"\xff",
    b"\xfe",
    // Longer than needed.
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\x80",
    // Surrogates.
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    // Beyond U+10FFFF, and of five bytes.
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    // Cut short by another character.
    b"\xe2\x82a",
];

#[test]
fn text_that_is_not_utf8_gets_1007() {
    for invalid in NOT_UTF8 {
        fails_with(1007, &masked(FIN | TEXT, invalid));
        fails_with(1007, &masked(FIN | TEXT, &[b"text ", invalid].concat()));
    }
}

#[test]
fn text_that_ends_within_a_character_gets_1007() {
    for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
        fails_with(1007, &masked(FIN | TEXT, cut));
        let fragments = [masked(TEXT, cut), masked(FIN | CONTINUATION, b"")];
        fails_with(1007, &fragments.concat());
    }
}

#[test]
fn a_character_may_be_cut_into_fragments() {
    let smile = "😀";
    let [a, b, c, d] = *smile.as_bytes() else {
        panic!("a character of four bytes")
    };
    let fragments = [
        masked(TEXT, &[a]),
        masked(CONTINUATION, &[b]),
        masked(PING, b"between"),
        masked(CONTINUATION, b""),
        masked(CONTINUATION, &[c]),
        masked(FIN | CONTINUATION, &[d]),
    ];
    answers(&fragments.concat(), &[pong(b"between"), text(smile)]);
}

#[test]
fn a_character_cut_into_fragments_wrongly_gets_1007() {
    for invalid in NOT_UTF8.into_iter().filter(|bytes| bytes.len() > 1) {
        for at in 1..invalid.len() {
            let (first, rest) = invalid.split_at(at);
            let fragments = [masked(TEXT, first), masked(FIN | CONTINUATION, rest)];
            fails_with(1007, &fragments.concat());
        }
    }
}

#[test]
fn text_that_is_not_utf8_gets_1007_before_its_last_fragment() {
    // Not asked for by the RFC; the sooner the better.
    fails_with(1007, &masked(TEXT, b"\xff"));
}

#[test]
fn binary_need_not_be_utf8() {
    let bytes = NOT_UTF8.concat();
    answers(&masked(FIN | BINARY, &bytes), &[binary(&bytes)]);
}

#[test]
fn the_payload_of_a_ping_need_not_be_utf8() {
    answers(&masked(PING, b"\xff\xfe"), &[pong(b"\xff\xfe")]);
}

// §5.8 and §9.1: extensions.

#[test]
fn an_extension_that_is_offered_is_not_accepted() {
    let server = server(|_| {});
    let request = String::from_utf8(handshake("/")).unwrap();
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let request = request.replace("\r\n\r\n", offer);
    let mut raw = Raw {
        stream: crate::support::dial(server.local_addr()),
    };
    raw.send_bytes(request.as_bytes());
    let head = read_head(&mut raw.stream).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    // So a compressed message is a protocol error.
    raw.send(FIN | 0x40 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    raw.expect_close(1002);
}

// §7: closing the connection.

#[test]
fn who_broke_the_protocol_reads_the_close_whatever_it_still_sends() {
    // §7.1.7 with §7.1.1: no reset destroys the Close under way.
    let (_server, mut raw) = echo();
    raw.send(FIN | 0x3, b"bad");
    for _ in 0..64 {
        // The server may be done with us by now.
        if raw
            .stream
            .write_all(&masked(FIN | BINARY, &[0; 1000]))
            .is_err()
        {
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
    assert_eq!(raw.frame(), frame(8, &close(1000, b"")));
    // Not yet: the peer's Close may be under way.
    let wait = Duration::from_millis(100);
    raw.stream.set_read_timeout(Some(wait)).unwrap();
    let waited = raw.stream.read(&mut [0]).unwrap_err();
    assert!(matches!(
        waited.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    raw.stream.set_read_timeout(Some(deadline())).unwrap();
    raw.send(CLOSE, &close(1000, b""));
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
    raw.send(CLOSE, &close(1000, b""));
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
    assert_eq!(frame.close_code(), 1001);
    raw.send(CLOSE, &frame.payload);
    raw.expect_end();
    drop(raw);
    assert_eq!(server.wait().unwrap().aborted, 0);
}

#[test]
fn each_way_to_end_is_counted_as_what_it_was() {
    for (bytes, name) in [
        (masked(CLOSE, &close(1000, b"")), "closed_by_peer"),
        (masked(FIN | 0x3, b""), "protocol_error"),
        (masked(FIN | TEXT, b"\xff"), "invalid_utf8"),
        (masked(CLOSE, &close(1000, b"\xff")), "invalid_utf8"),
        (header(BINARY, &length_64(1 << 62)), "too_large"),
    ] {
        let (server, mut raw) = echo();
        raw.send_bytes(&bytes);
        raw.frame().close_code();
        raw.expect_end();
        drop(raw);
        departs_as(&server, name);
    }
}
