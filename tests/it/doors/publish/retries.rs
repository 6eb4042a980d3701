//! A request that is repeated with its key is published once.

use std::thread;

use super::{broadcasts, publishing, reached};
use crate::http::ask;
use crate::kit::http::post;
use crate::support::{Raw, server};

const KEY: &str = "Idempotency-Key: 8e03978e-40d5-43dd-bc93-6894a57f9324";

#[test]
fn a_repeated_request_is_answered_again_and_published_once() {
    let server = server(publishing);
    let mut member = Raw::connect(&server, "/lobby");
    let publish = |body: &str| {
        ask(
            server.local_addr(),
            &post("/lobby", &[KEY], body.as_bytes()),
        )
    };
    let first = publish("once");
    assert_eq!(reached(&first, "/lobby"), 1);
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = publish("once");
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotent-replayed"), "true");
    // The key is this message's.
    assert_eq!(publish("twice").status, 422);
    let other = ask(server.local_addr(), &post("/other", &[KEY], b"elsewhere"));
    assert_eq!(reached(&other, "/other"), 0);
    server.handle().broadcast("/lobby", "behind").unwrap();
    assert_eq!(member.data().payload, b"once");
    assert_eq!(member.data().payload, b"behind");
}

#[test]
fn of_requests_at_the_same_time_one_is_published() {
    let server = server(publishing);
    let address = server.local_addr();
    let ask = || thread::spawn(move || ask(address, &post("/", &[KEY], b"once")).status);
    let asking: Vec<_> = (0..8).map(|_| ask()).collect();
    for status in asking.into_iter().map(|thread| thread.join().unwrap()) {
        assert!(matches!(status, 202 | 409), "{status}");
    }
    assert_eq!(broadcasts(&server), 1);
}

#[test]
fn a_key_that_is_none_is_refused() {
    let server = server(publishing);
    let long = format!("Idempotency-Key: {}", "x".repeat(256));
    for headers in [
        &["Idempotency-Key:"][..],
        &[&long],
        &["Idempotency-Key: \u{fc}"],
        &[KEY, KEY],
    ] {
        let answer = ask(server.local_addr(), &post("/", headers, b"x"));
        assert_eq!(answer.status, 400, "{headers:?}: {answer:?}");
    }
    assert_eq!(broadcasts(&server), 0);
}
