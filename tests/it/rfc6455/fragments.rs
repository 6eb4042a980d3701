//! §5.4: fragmentation.

use super::{answers, binary, close, echo, fails_with, pong, text};
use crate::kit::frame::{
    Opcode::{Binary, Close, Continuation, Ping, Pong, Text},
    fragment, masked, masked_as,
};

#[test]
fn fragments_are_joined_into_one_message() {
    let fragments = [
        fragment(Text, b"one, "),
        fragment(Continuation, b"two, "),
        masked(Continuation, b"three"),
    ];
    answers(&fragments.concat(), &[text("one, two, three")]);
}

#[test]
fn the_first_fragment_says_what_kind_of_message_it_is() {
    let fragments = [fragment(Binary, &[0xff]), masked(Continuation, &[0xfe])];
    answers(&fragments.concat(), &[binary(&[0xff, 0xfe])]);
}

#[test]
fn empty_fragments_are_taken_wherever_they_are() {
    let fragments = [
        fragment(Text, b""),
        fragment(Continuation, b""),
        fragment(Continuation, b"x"),
        fragment(Continuation, b""),
        masked(Continuation, b""),
    ];
    answers(&fragments.concat(), &[text("x")]);
}

#[test]
fn a_message_of_nothing_but_empty_fragments_is_an_empty_message() {
    let fragments = [fragment(Binary, b""), masked(Continuation, b"")];
    answers(&fragments.concat(), &[binary(b"")]);
}

#[test]
fn a_server_does_not_fragment_what_it_need_not() {
    let (_server, mut raw) = echo();
    let large = vec![9; 1024 * 1024];
    raw.send(Binary, &large);
    assert!(raw.frame() == binary(&large));
}

#[test]
fn a_ping_between_fragments_is_answered_before_the_message_is_complete() {
    let (_server, mut raw) = echo();
    raw.send_fragment(Text, b"one, ");
    raw.send(Ping, b"now");
    assert_eq!(raw.frame(), pong(b"now"));
    raw.send(Continuation, b"two");
    assert_eq!(raw.frame(), text("one, two"));
}

#[test]
fn a_pong_between_fragments_is_ignored() {
    let bytes = [
        fragment(Text, b"one, "),
        masked(Pong, b"whatever"),
        masked(Continuation, b"two"),
    ];
    answers(&bytes.concat(), &[text("one, two")]);
}

#[test]
fn a_close_between_fragments_is_answered_and_the_message_forgotten() {
    let (_server, mut raw) = echo();
    raw.send_fragment(Text, b"never ");
    raw.send(Close, &close(1000, b""));
    raw.send(Continuation, b"completed");
    raw.expect_close(1000);
}

#[test]
fn a_continuation_of_nothing_gets_1002() {
    fails_with(1002, &masked(Continuation, b"x"));
    fails_with(1002, &fragment(Continuation, b"x"));
    fails_with(1002, &fragment(Continuation, b""));
}

#[test]
fn a_continuation_of_a_message_that_is_complete_gets_1002() {
    let (_server, mut raw) = echo();
    raw.send_fragment(Text, b"one, ");
    raw.send(Continuation, b"two");
    assert_eq!(raw.frame(), text("one, two"));
    raw.send(Continuation, b"three");
    raw.expect_close(1002);
}

#[test]
fn a_new_message_inside_a_fragmented_one_gets_1002() {
    for first in [Text.last(), Text.begun(), Binary.last(), Binary.begun()] {
        let bytes = [fragment(Text, b"begun"), masked_as(first, b"new")];
        fails_with(1002, &bytes.concat());
    }
}

#[test]
fn a_fragmented_control_frame_gets_1002() {
    for opcode in [Ping, Pong, Close] {
        fails_with(1002, &fragment(opcode, b""));
    }
}

#[test]
fn a_fragmented_control_frame_between_fragments_gets_1002() {
    let bytes = [fragment(Text, b"begun"), fragment(Ping, b"x")];
    fails_with(1002, &bytes.concat());
}
