//! §5.6 and §8.1: text is UTF-8.

use super::{answers, binary, fails_with, pong, text};
use crate::kit::frame::{
    Opcode::{Binary, Continuation, Ping, Text},
    fragment, masked,
};

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
        answers(&masked(Text, valid.as_bytes()), &[text(valid)]);
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
        fails_with(1007, &masked(Text, invalid));
        fails_with(1007, &masked(Text, &[b"text ", invalid].concat()));
    }
}

#[test]
fn text_that_ends_within_a_character_gets_1007() {
    for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
        fails_with(1007, &masked(Text, cut));
        let fragments = [fragment(Text, cut), masked(Continuation, b"")];
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
        fragment(Text, &[a]),
        fragment(Continuation, &[b]),
        masked(Ping, b"between"),
        fragment(Continuation, b""),
        fragment(Continuation, &[c]),
        masked(Continuation, &[d]),
    ];
    answers(&fragments.concat(), &[pong(b"between"), text(smile)]);
}

#[test]
fn a_character_cut_into_fragments_wrongly_gets_1007() {
    for invalid in NOT_UTF8.into_iter().filter(|bytes| bytes.len() > 1) {
        for at in 1..invalid.len() {
            let (first, rest) = invalid.split_at(at);
            let fragments = [fragment(Text, first), masked(Continuation, rest)];
            fails_with(1007, &fragments.concat());
        }
    }
}

#[test]
fn text_that_is_not_utf8_gets_1007_before_its_last_fragment() {
    // Not asked for by the RFC; the sooner the better.
    fails_with(1007, &fragment(Text, b"\xff"));
}

#[test]
fn binary_need_not_be_utf8() {
    let bytes = NOT_UTF8.concat();
    answers(&masked(Binary, &bytes), &[binary(&bytes)]);
}

#[test]
fn the_payload_of_a_ping_need_not_be_utf8() {
    answers(&masked(Ping, b"\xff\xfe"), &[pong(b"\xff\xfe")]);
}
