//! Who may publish: tokens, hooks, and pages of other sites.

use hubcast::{Config, ErrorKind as ServerErrorKind, Message, Refusal, Running, Secret, Server};

use super::{MAX, publishing, reached};
use crate::doors::look;
use crate::http::{ask, ask_for_line};
use crate::kit::http::{Answer, plain, post};
use crate::support::{Program, server};

#[test]
fn publishing_is_off_unless_it_is_asked_for() {
    let server = server(|_| {});
    let answer = ask_for_line(server.local_addr(), &post("/", &[], b"hi"));
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("--allow-publish"), "{}", answer.body);
    assert_eq!(server.handle().stats().broadcasts, 0);
}

#[test]
fn a_publish_token_is_needed_where_there_is_one() {
    let server = server(|config| {
        publishing(config);
        config.token = Some(Secret::from("for rooms"));
        config.publish_token = Some(Secret::from("to publish"));
    });
    let mut room = server.handle().subscribe("/").unwrap();
    for (target, header) in [
        ("/", None),
        ("/", Some("Authorization: Bearer for rooms")),
        ("/", Some("Authorization: Basic to publish")),
        ("/?token=for%20rooms", None),
        ("/?token=publish", None),
    ] {
        let headers: Vec<&str> = header.into_iter().collect();
        let answer = ask_for_line(server.local_addr(), &post(target, &headers, b"x"));
        assert_eq!(answer.status, 401, "{target} {headers:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    for (target, header) in [
        ("/", Some("Authorization: Bearer to publish")),
        ("/?token=to%20publish", None),
    ] {
        let headers: Vec<&str> = header.into_iter().collect();
        let answer = ask(server.local_addr(), &post(target, &headers, b"let in"));
        assert_eq!(reached(&answer, "/"), 0);
        assert_eq!(room.next(), Some(Message::from("let in")));
    }
    // It opens nothing else.
    let target = "/?token=to%20publish";
    let count = ["Accept: application/json"];
    assert_eq!(look(server.local_addr(), target, &count).status, 401);
}

#[test]
fn without_a_publish_token_that_of_the_rooms_is_needed() {
    let server = server(|config| {
        publishing(config);
        config.token = Some(Secret::from("for rooms"));
    });
    let address = server.local_addr();
    assert_eq!(ask_for_line(address, &post("/", &[], b"x")).status, 401);
    let bearer = "Authorization: Bearer for rooms";
    assert_eq!(reached(&ask(address, &post("/", &[bearer], b"x")), "/"), 0);
}

#[test]
fn beyond_the_loopback_addresses_publishing_needs_a_token() {
    let bind = |address: &str, token: Option<&str>| {
        let change = |config: &mut Config| {
            config.allow_publish = true;
            config.publish_token = token.map(Secret::from);
        };
        Server::builder().configure(change).bind(address)
    };
    let error = bind("0.0.0.0:0", None).unwrap_err();
    assert_eq!(error.kind(), ServerErrorKind::Config);
    assert!(error.to_string().contains("publish-token"), "{error}");
    drop(bind("0.0.0.0:0", Some("s3cret")).unwrap());
    drop(bind("127.0.0.1:0", None).unwrap());
    assert!(bind("127.0.0.1:0", Some("")).is_err());

    let mut command = Program::command(&["--listen", "0.0.0.0:0", "--allow-publish"]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("publish-token"), "{said}");
}

#[test]
fn who_decides_who_enters_decides_who_publishes() {
    let server = Server::builder()
        .configure(publishing)
        .on_upgrade(|upgrade| {
            if upgrade.room() == "/closed" {
                let status = http::StatusCode::CONFLICT;
                return Err(Refusal::new(status, "not now"));
            }
            assert_ne!(upgrade.room(), "/panic", "as the test has it");
            upgrade.set_room("chosen");
            Ok(())
        })
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let mut chosen = server.handle().subscribe("chosen").unwrap();
    let publish = |room: &str| ask(server.local_addr(), &post(room, &[], b"hi"));
    assert_eq!(publish("/closed").status, 409);
    assert_eq!(publish("/panic").status, 500);
    assert_eq!(reached(&publish("/asked"), "/chosen"), 0);
    assert_eq!(chosen.next(), Some(Message::from("hi")));
}

fn of_the_app(server: &Running, request: Vec<u8>) -> Answer {
    let answer = ask(server.local_addr(), &request);
    let cors = answer.header("access-control-allow-origin");
    assert_eq!(cors, "https://app.example", "{answer:?}");
    assert_eq!(answer.header("vary").to_lowercase(), "origin");
    answer
}

#[test]
fn a_page_of_an_allowed_site_may_read_what_became_of_its_message() {
    let server = server(|config| {
        publishing(config);
        config.allow_origin = vec!["https://app.example".to_owned()];
    });
    let origin = "Origin: https://app.example";
    let answer = of_the_app(&server, post("/", &[origin], b"hi"));
    assert_eq!(reached(&answer, "/"), 0);
    let answer = of_the_app(&server, post("/", &[origin], &[b'x'; MAX + 1]));
    assert_eq!(answer.status, 413);
    let count = plain("GET", "/", &[origin, "Accept: application/json"]);
    assert_eq!(of_the_app(&server, count).status, 200);
}

#[test]
fn an_address_publishes_as_fast_as_a_client_may_send() {
    let server = server(|config| {
        publishing(config);
        config.max_message_rate = 10;
    });
    let publish = || ask(server.local_addr(), &post("/", &[], b"x"));
    let mut answers = (0..200).map(|_| publish());
    let refused = answers.find(|answer| answer.status != 202).unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "1");
    assert!(server.handle().stats().broadcasts < 100);
    // It is the address that has sent too much, not the room that is full.
    crate::support::eventually("the address to have rested", || publish().status == 202);
}

#[test]
fn the_rate_of_bytes_holds_for_bodies_in_chunks_too() {
    let server = server(|config| {
        publishing(config);
        config.max_byte_rate = 100;
    });
    let chunked = plain("POST", "/", &["Transfer-Encoding: chunked"]);
    let body = format!("{:x}\r\n{}\r\n0\r\n\r\n", MAX, "x".repeat(MAX));
    let request = [&chunked[..], body.as_bytes()].concat();
    assert_eq!(ask(server.local_addr(), &request).status, 202);
    let refused = ask(server.local_addr(), &request);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "9", "900 bytes are owed");
}
