//! Publishing over HTTP: the body of a POST is a message.

use hubcast::Config;

use super::Follower;
use super::json::Json;
use crate::http::ask;
use crate::kit::http::{Answer, plain, post};
use crate::support::{Raw, server};

mod bodies;
mod cases;
mod rights;

/// The largest message of the table's server.
const MAX: usize = 1000;

fn chunked(headers: &[&str], body: &[u8]) -> Vec<u8> {
    [&plain("POST", "/lobby", headers), body].concat()
}

fn publishing(config: &mut Config) {
    config.allow_publish = true;
    config.max_message_size = MAX;
}

/// How many clients an answer says to have reached.
#[track_caller]
fn reached(answer: &Answer, room: &str) -> usize {
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let body = Json::parse(&answer.body);
    assert_eq!(body.get("room"), &Json::from(room));
    body.get("clients").number() as usize
}

#[test]
fn the_answer_says_to_how_many_the_message_was_given() {
    let server = server(publishing);
    let mut members = [(); 2].map(|()| Raw::connect(&server, "/a%22%3Cb%3E"));
    let mut follower = Follower::join(&server, "/a%22%3Cb%3E");
    let _other = Raw::connect(&server, "/other");
    let address = server.local_addr();
    let answer = ask(address, &post("/a%22%3Cb%3E?x=y", &[], b"hi"));
    assert_eq!(reached(&answer, "/a\"<b>"), 3);
    for member in &mut members {
        assert_eq!(member.data().payload, b"hi");
    }
    assert_eq!(follower.text(), "hi");
    assert_eq!(reached(&ask(address, &post("/", &[], b"hi")), "/"), 0);
    let absolute = post("http://localhost/other", &[], b"hi");
    assert_eq!(reached(&ask(address, &absolute), "/other"), 1);
}
