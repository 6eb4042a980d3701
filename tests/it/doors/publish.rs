//! Publishing over HTTP: the body of a POST is a message.

use std::io::Write;

use hubcast::{Config, Running};

use super::Follower;
use super::json::Json;
use crate::http::ask;
use crate::kit::http::{Answer, handshake, plain, post, read_head};
use crate::support::{Raw, dial, server};

mod bodies;
mod cases;
mod retries;
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
fn a_put_is_a_post() {
    let server = server(publishing);
    let mut member = Raw::connect(&server, "/lobby");
    let request = plain("PUT", "/lobby", &["Content-Length: 2"]);
    let answer = ask(server.local_addr(), &[&request[..], b"hi"].concat());
    assert_eq!(reached(&answer, "/lobby"), 1);
    assert_eq!(member.data().payload, b"hi");
}

#[test]
fn whoever_sent_it_may_be_left_out() {
    let server = server(publishing);
    let target = "/lobby";
    let mut followers = [(); 2].map(|()| Follower::join(&server, target));
    let id = followers[0].head.header("hubcast-client");
    let except = |id: &str| format!("{target}?except={id}");
    let answer = ask(server.local_addr(), &post(&except(&id), &[], b"from 0"));
    assert_eq!(reached(&answer, target), 2);
    // An id that nobody has leaves nobody out.
    let answer = ask(server.local_addr(), &post(&except("999"), &[], b"to all"));
    assert_eq!(reached(&answer, target), 2);
    assert_eq!(followers[1].text(), "from 0");
    assert_eq!(followers[1].text(), "to all");
    assert_eq!(followers[0].text(), "to all");
    for id in ["", "x", "-1", "18446744073709551616", "1%00"] {
        let answer = ask(server.local_addr(), &post(&except(id), &[], b"hi"));
        assert_eq!(answer.status, 400, "{id}: {answer:?}");
        assert!(answer.body.contains("Hubcast-Client"), "{answer:?}");
    }
}

#[test]
fn a_client_is_told_its_id() {
    let server = server(|_| {});
    let mut stream = dial(server.local_addr());
    stream.write_all(&handshake("/")).unwrap();
    let head = Answer::parse(&read_head(&mut stream).unwrap()).unwrap();
    let follower = Follower::join(&server, "/");
    let clients = server.handle().clients().unwrap();
    let mut ids: Vec<String> = clients.iter().map(|c| c.id.to_string()).collect();
    let mut told = vec![
        head.header("hubcast-client"),
        follower.head.header("hubcast-client"),
    ];
    ids.sort();
    told.sort();
    assert_eq!(told, ids);
}

/// How many messages the hub has taken, those that wait for it included.
fn broadcasts(server: &Running) -> u64 {
    server.handle().rooms().unwrap();
    server.handle().stats().broadcasts
}

const LINES: &str = "Content-Type: application/x-ndjson";

#[test]
fn lines_of_json_are_messages_that_are_accepted_together() {
    let server = server(publishing);
    let mut member = Raw::connect(&server, "/lobby");
    let mut follower = Follower::join(&server, "/lobby");
    let body = b"{\"n\":1}\n\r\n  \n{\"n\":2}\r\n\"the last\"";
    let answer = ask(server.local_addr(), &post("/lobby", &[LINES], body));
    assert_eq!(reached(&answer, "/lobby"), 2);
    for line in ["{\"n\":1}", "{\"n\":2}", "\"the last\""] {
        assert_eq!(member.data().payload, line.as_bytes());
        assert_eq!(follower.text(), line);
    }
    assert_eq!(broadcasts(&server), 3);
    let many = "1\n".repeat(499);
    let answer = ask(
        server.local_addr(),
        &post("/other", &[LINES], many.as_bytes()),
    );
    assert_eq!(reached(&answer, "/other"), 0);
    assert_eq!(broadcasts(&server), 3 + 499);
}

#[test]
fn of_lines_that_are_too_many_or_none_nothing_is_accepted() {
    let server = server(|config| config.allow_publish = true);
    let thousand = "1\n".repeat(1000);
    for (status, body) in [
        (202, thousand.clone()),
        (413, thousand + "1"),
        (400, String::new()),
        (400, "\n \n".to_owned()),
    ] {
        let answer = ask(server.local_addr(), &post("/", &[LINES], body.as_bytes()));
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let answer = ask(server.local_addr(), &post("/", &[LINES], b"1\n\xff\n"));
    assert_eq!(answer.status, 400);
    assert_eq!(broadcasts(&server), 1000);
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
