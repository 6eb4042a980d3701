//! What happens on the server, as the operator follows it, and who has left.

use std::io::Write;
use std::time::Instant;

use hubcast::{Running, Secret, Server};

use super::json::Json;
use super::{Follower, look};
use crate::http::ask;
use crate::kit::frame::Opcode;
use crate::kit::http::{follow, plain, post, read_head};
use crate::support::{
    Raw, connect, deadline, dial, dial_tight, eventually, next_close, next_text, server,
    tight_server,
};

const PATH: &str = "/-/events";

/// The next thing that is told, and what kind of thing it is.
fn next(news: &mut Follower) -> (String, Json) {
    let item = Json::parse(&news.text());
    let Json::String(name) = item.get("event").clone() else {
        panic!("{item:?}");
    };
    (name, item)
}

fn departures(server: &Running, path: &str) -> Vec<Json> {
    let answer = look(server.local_addr(), path, &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    Json::parse(&answer.body).get("departures").items().to_vec()
}

#[test]
fn the_operator_follows_what_happens() {
    let server = server(|_| {});
    let mut news = Follower::join(&server, PATH);
    assert_eq!(news.head.header("content-type"), "text/event-stream");
    let (name, item) = next(&mut news);
    assert_eq!((name.as_str(), item.get("n").number()), ("following", 1.0));
    assert_eq!(item.get("rooms").number(), 0.0);
    let client = Raw::connect(&server, "/lobby");
    let peer = client.stream.local_addr().unwrap().to_string();
    let (name, item) = next(&mut news);
    assert_eq!(name, "opened");
    assert_eq!(item.get("room"), &Json::from("/lobby"));
    let (name, item) = next(&mut news);
    assert_eq!(name, "joined");
    assert_eq!(item.get("peer"), &Json::from(peer.as_str()));
    assert_eq!(item.get("rooms").items(), [Json::from("/lobby")]);
    drop(client);
    assert_eq!(next(&mut news).0, "emptied");
    let (name, item) = next(&mut news);
    assert_eq!(name, "left");
    assert_eq!(item.get("cause"), &Json::from("end_of_stream"));
    assert_eq!(item.get("n").number(), 5.0);
    server.handle().shutdown();
    let mut rest = news.event();
    while rest.0 == "message" {
        rest = news.event();
    }
    assert_eq!(rest, ("close".into(), "1001 server shutdown".into()));
}

#[test]
fn what_happens_is_for_the_operator_alone() {
    let admin = Some(Secret::from("operator"));
    let server = server(|config| {
        config.admin_token = admin;
        config.token = Some(Secret::from("rooms"));
        config.allow_origin = vec!["https://app.example".into()];
    });
    let status = |headers: &[&str]| ask(server.local_addr(), &follow(PATH, headers)).status;
    let far = "X-Forwarded-For: 192.0.2.1";
    assert_eq!(status(&[far]), 401);
    assert_eq!(status(&[far, "Authorization: Bearer rooms"]), 401);
    for foreign in [
        "Origin: https://app.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Referer: https://evil.example/page",
    ] {
        assert_eq!(status(&[foreign]), 403, "{foreign}");
    }
    for method in ["POST", "DELETE"] {
        let request = plain(method, PATH, &["Content-Length: 0"]);
        assert_eq!(ask(server.local_addr(), &request).status, 405, "{method}");
    }
    let mut stream = dial(server.local_addr());
    stream.write_all(&plain("HEAD", PATH, &[])).unwrap();
    let head = read_head(&mut stream).unwrap();
    assert!(head.starts_with("HTTP/1.1 405 "));
    let news = Follower::join(&server, PATH);
    assert_eq!(news.head.header("access-control-allow-origin"), "");
}

#[test]
fn who_follows_what_happens_is_in_no_room_and_for_no_hook() {
    let server = Server::builder()
        .configure(|config| config.allow_publish = true)
        .on_upgrade(|upgrade| panic!("asked about {}", upgrade.room()))
        .on_join(|client| panic!("{} came", client.room()))
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let mut news = Follower::join(&server, PATH);
    next(&mut news);
    assert!(server.handle().rooms().unwrap().is_empty());
    let posted = ask(server.local_addr(), &post(PATH, &[], b"forged"));
    assert_eq!(posted.status, 405);
    // Your program can, but nobody is there.
    server.handle().broadcast(PATH, "forged").unwrap();
    let received = server.handle().clients().unwrap();
    assert_eq!(received[0].rooms, [""; 0]);
}

#[test]
fn an_operator_that_does_not_read_is_let_go() {
    let server = tight_server(|config| config.queue_messages = 4);
    let stalled = Follower::join_by(dial_tight(server.local_addr()), PATH);
    let end = Instant::now() + deadline();
    while server.handle().stats().departed("evicted") == 0 {
        assert!(Instant::now() < end, "what happens piles up");
        drop(Raw::connect(&server, &format!("/{}", "x".repeat(200))));
    }
    drop(stalled);
}

#[test]
fn who_has_left_is_found_by_the_number_in_the_reason() {
    let server = server(|config| config.history = 10);
    let mut client = connect(&server, "/lobby?positions");
    next_text(&mut client);
    let id = server.handle().clients().unwrap()[0].id.to_string();
    let mut raw = Raw::connect(&server, "/lobby");
    // A frame of a reserved opcode.
    raw.send_as(0x83, b"");
    let close = raw.data();
    let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
    let (words, case) = reason.split_once(" #").unwrap();
    let (case, position) = case.split_once(' ').unwrap();
    assert!(position.starts_with("since="), "{reason}");
    assert!(reason.len() <= 123 && !words.is_empty());
    drop(raw);
    eventually("its departure", || {
        !departures(&server, "/-/departures").is_empty()
    });
    let all = departures(&server, "/-/departures");
    let one = departures(&server, &format!("/-/departures/{case}"));
    assert_eq!((all.len(), one.len()), (1, 1));
    assert_eq!(all[0].get("cause"), &Json::from("protocol_error"));
    assert_eq!(all[0].get("id").number().to_string(), case);
    assert_eq!(all[0].get("sent_code").number(), 1002.0);
    assert_eq!(all[0].get("sent_reason"), &Json::from(reason.as_str()));
    // One that is still here has not left.
    let path = format!("/-/departures/{id}");
    assert_eq!(look(server.local_addr(), &path, &[]).status, 404);
    // An ordinary end has no number: the client need not ask.
    server.handle().shutdown();
    let (_, reason) = next_close(&mut client);
    assert!(reason.starts_with("server shutdown since="), "{reason}");
}

#[test]
fn a_close_by_the_client_is_told_with_both_codes() {
    let server = server(|_| {});
    let mut client = Raw::connect(&server, "/");
    client.send(Opcode::Close, &[&[0x0f, 0xa0][..], b"bye"].concat());
    client.expect_close(4000);
    drop(client);
    eventually("its departure", || {
        !departures(&server, "/-/departures").is_empty()
    });
    let left = &departures(&server, "/-/departures")[0];
    assert_eq!(left.get("cause"), &Json::from("closed_by_peer"));
    assert_eq!(left.get("received_code").number(), 4000.0);
    assert_eq!(left.get("received_reason"), &Json::from("bye"));
    assert_eq!(left.get("rooms").items(), [Json::from("/")]);
}
