//! §5.1 to §5.3: masks, reserved bits and opcodes, lengths; §5.8 and §9.1: no
//! extension is negotiated.

use std::io::Read;

use super::{
    answers, binary, close, echo, fails_with, frame, header, length_16, length_64, pong,
    still_open, text, unmasked,
};
use crate::kit::frame::{
    FIN, MASKED,
    Opcode::{Binary, Close, Continuation, Ping, Pong, Text},
    RSV1, RSV2, RSV3, fragment, masked, masked_as,
};
use crate::kit::http::{handshake, read_head};
use crate::support::{Raw, dial, server};

// §5.1: frames of a client are masked, those of a server are not.

#[test]
fn a_text_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(Text, b"plain"));
}

#[test]
fn an_empty_frame_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(Binary, b""));
}

#[test]
fn a_ping_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(Ping, b"plain"));
}

#[test]
fn a_close_that_is_not_masked_gets_1002() {
    fails_with(1002, &unmasked(Close, &close(1000, b"")));
}

#[test]
fn a_fragment_that_is_not_masked_gets_1002() {
    let fragments = [fragment(Text, b"a"), unmasked(Continuation, b"b")];
    fails_with(1002, &fragments.concat());
}

#[test]
fn no_frame_of_the_server_is_masked_or_has_a_reserved_bit() {
    // `Raw::frame` asserts both for every frame it reads.
    let (_server, mut raw) = echo();
    for (opcode, len) in [(Text, 5), (Binary, 300), (Binary, 70_000)] {
        raw.send(opcode, &vec![b'x'; len]);
        assert_eq!(raw.frame().payload.len(), len);
    }
    raw.send(Ping, b"x");
    assert_eq!(raw.frame(), pong(b"x"));
    raw.send(Close, b"");
    assert_eq!(raw.frame(), frame(Close, b""));
}

// §5.2: reserved bits and opcodes; no extension was negotiated.

#[test]
fn rsv1_gets_1002() {
    fails_with(1002, &masked_as(RSV1 | Text.last(), b"x"));
}

#[test]
fn rsv2_gets_1002() {
    fails_with(1002, &masked_as(RSV2 | Text.last(), b"x"));
}

#[test]
fn rsv3_gets_1002() {
    fails_with(1002, &masked_as(RSV3 | Text.last(), b"x"));
}

#[test]
fn a_reserved_bit_on_a_continuation_gets_1002() {
    let fragments = [
        fragment(Text, b"a"),
        masked_as(RSV1 | Continuation.last(), b"b"),
    ];
    fails_with(1002, &fragments.concat());
}

#[test]
fn a_reserved_bit_on_a_control_frame_gets_1002() {
    for opcode in [Ping, Pong, Close] {
        fails_with(1002, &masked_as(RSV1 | opcode.last(), b""));
    }
}

#[test]
fn reserved_data_opcodes_get_1002() {
    for opcode in 0x3..=0x7 {
        fails_with(1002, &masked_as(FIN | opcode, b"x"));
        fails_with(1002, &masked_as(opcode, b"x"));
    }
}

#[test]
fn reserved_control_opcodes_get_1002() {
    for opcode in 0xb..=0xf {
        fails_with(1002, &masked_as(FIN | opcode, b"x"));
    }
}

#[test]
fn what_came_before_the_error_is_delivered() {
    let bytes = [masked(Text, b"good"), masked_as(FIN | 0x3, b"bad")];
    let (_server, mut raw) = echo();
    raw.send_bytes(&bytes.concat());
    assert_eq!(raw.frame(), text("good"));
    raw.expect_close(1002);
}

#[test]
fn what_comes_behind_the_error_is_not_delivered() {
    let (server, mut raw) = echo();
    let mut other = Raw::connect(&server, "/");
    let bytes = [masked_as(FIN | 0x3, b"bad"), masked(Text, b"late")];
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
        raw.send(Binary, &payload);
        let length = match len {
            0..126 => vec![len as u8],
            126..65_536 => length_16(len as u16),
            _ => length_64(len as u64),
        };
        let mut echoed = vec![0; 1 + length.len() + len];
        raw.stream.read_exact(&mut echoed).unwrap();
        let expected = [&[Binary.last()][..], &length, &payload].concat();
        assert!(echoed == expected, "of {len} bytes");
    }
}

#[test]
fn a_length_longer_than_needed_is_taken() {
    // "The minimal number of bytes MUST be used" is asked of the sender; what
    // a receiver does is open. tungstenite takes it, as most servers do.
    for length in [length_16(3), length_64(3)] {
        let bytes = [header(Text.last(), &length), b"abc".to_vec()];
        answers(&bytes.concat(), &[text("abc")]);
    }
    let long = vec![b'x'; 300];
    let bytes = [header(Binary.last(), &length_64(300)), long.clone()];
    answers(&bytes.concat(), &[binary(&long)]);
}

#[test]
fn a_ping_whose_length_is_longer_than_needed_is_taken() {
    let bytes = [header(Ping.last(), &length_16(1)), b"x".to_vec()];
    answers(&bytes.concat(), &[pong(b"x")]);
}

#[test]
fn a_length_with_its_highest_bit_set_gets_1002() {
    fails_with(1002, &header(Binary.last(), &length_64(1 << 63)));
    fails_with(1002, &header(Binary.last(), &length_64(u64::MAX)));
}

#[test]
fn the_largest_length_there_is_gets_1009_and_no_memory() {
    fails_with(1009, &header(Binary.last(), &length_64((1 << 63) - 1)));
    fails_with(1009, &header(Binary.begun(), &length_64(1 << 40)));
}

#[test]
fn a_message_of_the_largest_size_passes_and_one_byte_more_gets_1009() {
    let server = server(|config| config.max_message_size = 1000);
    let mut raw = Raw::connect(&server, "/");
    raw.send(Binary, &[1; 1000]);
    assert_eq!(raw.frame(), binary(&[1; 1000]));
    // The header alone is enough.
    raw.send_bytes(&header(Binary.last(), &length_16(1001)));
    raw.expect_close(1009);
}

#[test]
fn fragments_count_together_against_the_largest_size() {
    let server = server(|config| config.max_message_size = 1000);
    for opcode in [Text, Binary] {
        let mut raw = Raw::connect(&server, "/");
        raw.send_fragment(opcode, &[b'x'; 600]);
        raw.send_fragment(Continuation, &[b'x'; 400]);
        raw.send(Continuation, b"x");
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
            let mut bytes = vec![Binary.last(), MASKED | len as u8];
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
        masked(Text, "é".as_bytes()),
        masked(Ping, b"p"),
        masked(Binary, &long),
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
            masked(Binary, &large),
            fragment(Text, b"be"),
            masked(Continuation, b"hind"),
        ];
        raw.send_bytes(&bytes.concat());
        assert!(raw.frame() == binary(&large), "{size}");
        assert_eq!(raw.frame(), text("behind"));
    }
}

// §5.8 and §9.1: extensions.

#[test]
fn an_extension_that_is_offered_is_not_accepted() {
    let server = server(|_| {});
    let request = String::from_utf8(handshake("/")).unwrap();
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let request = request.replace("\r\n\r\n", offer);
    let mut raw = Raw {
        stream: dial(server.local_addr()),
    };
    raw.send_bytes(request.as_bytes());
    let head = read_head(&mut raw.stream).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    // So a compressed message is a protocol error.
    raw.send_as(RSV1 | Text.last(), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    raw.expect_close(1002);
}
