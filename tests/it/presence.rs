//! Those who follow who is in a room.

use std::io::Write;
use std::time::Duration;

use hubcast::{Running, Server};

use crate::http::{ask, ask_for_line};
use crate::kit::http::{UPGRADE, follow, plain, read_head, request};
use crate::support::{connect, dial, eventually, next_close, next_text, reset, server};

fn showing(grace: Duration) -> Running {
    server(|config| {
        config.presence = true;
        config.presence_grace = grace;
    })
}

/// What is told, without the position.
fn told(client: &mut crate::support::Client) -> String {
    let text = next_text(client);
    let (_, rest) = text.split_once("\",").unwrap();
    format!("{{{rest}")
}

#[test]
fn whoever_follows_learns_who_is_here_who_comes_and_who_goes() {
    let server = showing(Duration::ZERO);
    let ann = connect(&server, "/lobby?name=ann%20b%C3%A9e");
    let mut watcher = connect(&server, "/lobby?presence");
    let here = told(&mut watcher);
    assert_eq!(here, r#"{"here":[{"id":"1","name":"ann bée"}]}"#);
    let bob = connect(&server, "/lobby?name=bob");
    assert_eq!(
        told(&mut watcher),
        r#"{"joined":[{"id":"3","name":"bob"}]}"#
    );
    let mut ann = ann;
    ann.close(None).unwrap();
    assert_eq!(
        told(&mut watcher),
        r#"{"left":[{"id":"1","name":"ann bée","why":"closed"}]}"#
    );
    reset(bob.into_inner());
    assert_eq!(
        told(&mut watcher),
        r#"{"left":[{"id":"3","name":"bob","why":"lost"}]}"#
    );
}

#[test]
fn a_follower_says_nothing_and_hears_nothing_in_the_room() {
    let server = showing(Duration::ZERO);
    let mut member = connect(&server, "/lobby");
    let mut watcher = connect(&server, "/lobby?presence");
    assert_eq!(told(&mut watcher), r#"{"here":[{"id":"1"}]}"#);
    watcher.send("let me in".into()).unwrap();
    eventually("the message", || {
        server.handle().stats().received_messages == 1
    });
    server.handle().broadcast("/lobby", "to members").unwrap();
    assert_eq!(next_text(&mut member), "to members");
    assert_eq!(server.handle().clients_in("/lobby").unwrap().len(), 1);
    let id = server.handle().clients_in("/lobby").unwrap()[0].id;
    let code = hubcast::CloseCode::NORMAL;
    server.handle().disconnect(id, code, "bye").unwrap();
    assert_eq!(
        told(&mut watcher),
        r#"{"left":[{"id":"1","why":"closed"}]}"#
    );
    server.handle().shutdown();
    assert_eq!(next_close(&mut watcher), (1001, "server shutdown".into()));
}

#[test]
fn who_comes_back_in_time_is_not_shown_to_have_gone() {
    let server = showing(Duration::from_secs(600));
    let ann = connect(&server, "/lobby?name=ann");
    let mut watcher = connect(&server, "/lobby?presence");
    told(&mut watcher);
    reset(ann.into_inner());
    eventually("the end", || server.handle().stats().clients == 1);
    let _again = connect(&server, "/lobby?name=ann");
    let _bob = connect(&server, "/lobby?name=bob");
    assert_eq!(
        told(&mut watcher),
        r#"{"joined":[{"id":"4","name":"bob"}]}"#
    );
    let json = ask(
        server.local_addr(),
        &plain("GET", "/lobby?presence", &["Accept: application/json"]),
    );
    let here = r#""here":[{"id":"1","name":"ann"},{"id":"4","name":"bob"}]}"#;
    assert!(json.body.trim_end().ends_with(here), "{}", json.body);
}

#[test]
fn where_it_is_off_nobody_is_shown_and_names_are_as_any_query() {
    let server = server(|_| {});
    let requests = [
        request("GET /?presence HTTP/1.1", &UPGRADE),
        follow("/?presence", &[]),
        plain("GET", "/?presence", &["Accept: application/json"]),
    ];
    for asked in requests {
        let answer = ask_for_line(server.local_addr(), &asked);
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("--presence"), "{}", answer.body);
    }
    connect(&server, "/?name=%00");
}

#[test]
fn names_that_could_deceive_are_refused() {
    let server = showing(Duration::ZERO);
    for name in [
        "%00",
        "a%0Ab",
        "%E2%80%AEabc",
        "a%E2%80%8Bb",
        &"x".repeat(65),
        &"x".repeat(3000),
        "%FF",
    ] {
        let asked = request(&format!("GET /?name={name} HTTP/1.1"), &UPGRADE);
        let answer = ask_for_line(server.local_addr(), &asked);
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.body.starts_with("name="), "{}", answer.body);
        assert!(answer.body.len() < 250, "{}", answer.body);
    }
    connect(&server, &format!("/?name={}", "x".repeat(64)));
    let asked = request("GET /?presence=maybe HTTP/1.1", &UPGRADE);
    assert_eq!(ask_for_line(server.local_addr(), &asked).status, 400);
}

#[test]
fn a_hook_names_clients_and_is_not_called_for_followers() {
    let running = Server::builder()
        .configure(|config| config.presence = true)
        .on_upgrade(|upgrade| {
            let name = format!("the {}\u{202e}", upgrade.name().unwrap_or("nobody"));
            upgrade.set_name(Some(&name));
            Ok(())
        })
        .on_join(|client| {
            let _ = client.send(format!("hello {}", client.name().unwrap()));
        })
        .bind("127.0.0.1:0");
    let running = running.unwrap().spawn().unwrap();
    let mut member = connect(&running, "/?name=cook");
    assert_eq!(next_text(&mut member), "hello the cook");
    let mut watcher = connect(&running, "/?presence");
    assert_eq!(
        told(&mut watcher),
        r#"{"here":[{"id":"1","name":"the cook"}]}"#
    );
}

#[test]
fn as_events_who_is_here_is_an_event() {
    let server = showing(Duration::ZERO);
    let _ann = connect(&server, "/?name=ann");
    let mut stream = dial(server.local_addr());
    stream.write_all(&follow("/?presence", &[])).unwrap();
    read_head(&mut stream).unwrap();
    let mut came = String::new();
    while !came.ends_with("]}\n\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        came.push(char::from(byte[0]));
    }
    assert!(came.starts_with(": welcome\n\nevent: here\ndata: {\"at\":"));
    assert!(came.ends_with("\"here\":[{\"id\":\"1\",\"name\":\"ann\"}]}\n\n"));
}
