//! Several rooms on one connection.

use http::StatusCode;
use hubcast::{Refusal, Rights, Server, TokenVerifier};

use super::{Follower, look};
use crate::http::ask;
use crate::kit::frame::Opcode;
use crate::kit::http::{handshake, plain, post};
use crate::support::{Raw, connect, eventually, next_close, next_text, server, wait_closed};

const ROOMS: &str = "/?room=a&room=/b";

#[test]
fn messages_come_with_their_rooms_in_one_order() {
    let server = server(|_| {});
    let mut roamer = connect(&server, ROOMS);
    assert!(next_text(&mut roamer).starts_with("!at "));
    let mut events = Follower::join(&server, ROOMS);
    let handle = server.handle();
    for (room, text) in [("/a", "one"), ("/b", "two"), ("/c", "not"), ("/a", "three")] {
        handle.broadcast(room, text).unwrap();
    }
    handle.broadcast("/b", vec![0xff]).unwrap();
    for (room, text) in [("/a", "one"), ("/b", "two"), ("/a", "three")] {
        let message = next_text(&mut roamer);
        let (head, body) = message.split_once('\n').unwrap();
        let (_, named) = head.split_once(' ').unwrap();
        assert_eq!((named, body), (room, text));
        assert_eq!(events.event(), (room.to_owned(), text.to_owned()));
    }
    let bytes = roamer.read().unwrap().into_data();
    assert!(bytes.ends_with(b" /b\n\xff"), "{bytes:?}");
    assert_eq!(events.event(), ("binary /b".to_owned(), "/w==".to_owned()));
}

#[test]
fn a_client_of_several_rooms_is_one_client_and_leaves_all() {
    let server = server(|_| {});
    let handle = server.handle();
    let events = Follower::join(&server, ROOMS);
    let clients = handle.clients().unwrap();
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].rooms, ["/a", "/b"]);
    assert_eq!(handle.rooms().unwrap().len(), 2);
    assert_eq!(handle.stats().clients, 1);
    drop(events);
    eventually("both rooms are empty", || {
        handle.rooms().unwrap().is_empty()
    });
    assert_eq!(handle.stats().clients, 0);
}

#[test]
fn a_client_of_several_rooms_may_not_send() {
    let roaming = server(|_| {});
    let mut roamer = connect(&roaming, ROOMS);
    roamer.send("hello".into()).unwrap();
    let (code, reason) = next_close(&mut roamer);
    assert_eq!(code, 1008);
    assert!(reason.starts_with("a client of several rooms only receives here #"));
    wait_closed(&roaming, "read_only", 1);

    let patient = server(|config| config.ignore_writes = true);
    let mut roamer = Raw::connect(&patient, ROOMS);
    roamer.data();
    roamer.send(Opcode::Text, b"hello");
    patient.handle().broadcast("/a", "still here").unwrap();
    assert!(roamer.data().payload.ends_with(b" /a\nstill here"));
}

#[test]
fn lines_and_objects_name_the_room() {
    use std::io::{BufRead, BufReader, Write};
    let server = server(|_| {});
    for (query, expected) in [
        ("as=lines", "/b\thello\n"),
        ("as=ndjson", "{\"room\":\"/b\",\"at\":"),
    ] {
        let mut stream = crate::support::dial(server.local_addr());
        let target = format!("{ROOMS}&{query}");
        stream.write_all(&plain("GET", &target, &[])).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        server.handle().broadcast("/b", "hello").unwrap();
        line.clear();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn every_room_must_be_allowed() {
    let verifier = TokenVerifier::new(|token| match token {
        "t" => Ok(Rights::new().name("t").read("/a").read("/b")),
        _ => Err("is unknown"),
    });
    let guarded = server(|config| config.token_verifier = Some(verifier));
    let status = |target: &str| ask(guarded.local_addr(), &handshake(target)).status;
    assert_eq!(status("/?room=a&room=b"), 401);
    assert_eq!(status("/?room=a&room=c&token=t"), 403);
    assert_eq!(status("/?room=c&room=a&token=t"), 403);
    // Nor does the room that the path would name open any other.
    assert_eq!(status("/a?room=c&token=t"), 400);
    Raw::connect(&guarded, "/?room=a&room=b&token=t");
}

#[test]
fn the_hook_is_asked_about_every_room() {
    let server = Server::builder().on_upgrade(|upgrade| match upgrade.room() {
        "/private" => Err(Refusal::new(StatusCode::FORBIDDEN, "members only")),
        "/alias" => {
            upgrade.set_room("/a");
            Ok(())
        }
        _ => Ok(()),
    });
    let server = server.bind("127.0.0.1:0").unwrap().spawn().unwrap();
    for rooms in [
        "/?room=private",
        "/?room=a&room=private",
        "/?room=private&room=a",
    ] {
        let answer = ask(server.local_addr(), &handshake(rooms));
        assert_eq!(
            (answer.status, &*answer.body),
            (403, "members only\n"),
            "{rooms}"
        );
    }
    let _roamer = connect(&server, "/?room=alias&room=a&room=b");
    assert_eq!(server.handle().clients().unwrap()[0].rooms, ["/a", "/b"]);
}

#[test]
fn what_is_for_one_room_is_refused_for_several() {
    let server = server(|config| {
        config.allow_publish = true;
        config.presence = true;
    });
    let many: String = (0..17).map(|n| format!("&room={n}")).collect();
    for (answer, part) in [
        (
            ask(server.local_addr(), &post(ROOMS, &[], b"x")),
            "one room",
        ),
        (
            look(server.local_addr(), "/?room=a&presence", &[]),
            "presence",
        ),
        (
            look(server.local_addr(), &format!("/?{many}"), &[]),
            "16 rooms",
        ),
        (
            look(server.local_addr(), "/lobby?room=a", &[]),
            "the path must be /",
        ),
    ] {
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(part), "{}", answer.body);
    }
}

#[test]
fn it_is_told_how_many_each_room_has() {
    let server = server(|_| {});
    let _roamer = Follower::join(&server, ROOMS);
    let _other = Raw::connect(&server, "/b");
    let answer = look(server.local_addr(), ROOMS, &["Accept: application/json"]);
    let expected = r#"{"rooms":[{"room":"/a","clients":1},{"room":"/b","clients":2}]}"#;
    assert_eq!((answer.status, answer.body.trim_end()), (200, expected));
}

#[test]
fn a_client_comes_back_to_all_its_rooms() {
    let server = server(|config| config.history = 100);
    let handle = server.handle();
    let mut roamer = connect(&server, ROOMS);
    next_text(&mut roamer);
    handle.broadcast("/a", "one").unwrap();
    let message = next_text(&mut roamer);
    let (position, _) = message.split_once(' ').unwrap();
    drop(roamer);
    handle.broadcast("/b", "two").unwrap();
    handle.broadcast("/a", "three").unwrap();
    let mut roamer = connect(&server, &format!("{ROOMS}&since={position}"));
    assert_eq!(next_text(&mut roamer), format!("!at {position} complete\n"));
    assert!(next_text(&mut roamer).ends_with(" /b\ntwo"));
    assert!(next_text(&mut roamer).ends_with(" /a\nthree"));
}
