//! Publishing over HTTP: the body of a POST is a message.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use hubcast::{Config, ErrorKind as ServerErrorKind, Message, Refusal, Running, Secret, Server};

use super::json::Json;
use super::{Follower, look};
use crate::http::{ask, ask_for_line, read_line};
use crate::kit::http::{Answer, plain, post, read_head};
use crate::support::{Program, Raw, deadline, dial, eventually, server};

/// The largest message of the table's server.
const MAX: usize = 1000;

/// A request to publish, its answer, and what the room hears of it.
struct Case {
    what: String,
    request: Vec<u8>,
    status: u16,
    message: Option<Message>,
}

fn taken(what: &str, headers: &[&str], body: &str) -> Case {
    Case {
        what: what.to_owned(),
        request: post("/lobby", headers, body.as_bytes()),
        status: 202,
        message: Some(Message::from(body)),
    }
}

fn taken_in_chunks(what: &str, body: &[u8], message: &str) -> Case {
    Case {
        message: Some(Message::from(message)),
        ..refused_in_chunks(202, what, body)
    }
}

fn refused(status: u16, what: &str, request: Vec<u8>) -> Case {
    Case {
        what: what.to_owned(),
        request,
        status,
        message: None,
    }
}

fn refused_in_chunks(status: u16, what: &str, body: &[u8]) -> Case {
    refused(status, what, chunked(&["Transfer-Encoding: chunked"], body))
}

fn chunked(headers: &[&str], body: &[u8]) -> Vec<u8> {
    [&plain("POST", "/lobby", headers), body].concat()
}

fn bytes(what: &str, body: &[u8]) -> Case {
    let kind = "Content-Type: application/octet-stream";
    Case {
        what: what.to_owned(),
        request: post("/lobby", &[kind], body),
        status: 202,
        message: Some(Message::from(body.to_vec())),
    }
}

fn messages() -> Vec<Case> {
    let mut cases = vec![
        taken("nothing said", &[], "deploy done 🎉"),
        taken("an empty text", &[], ""),
        taken("control characters", &[], "a\r\nb\0\u{1b}[2J"),
        taken("as much as may be", &[], &"x".repeat(MAX)),
        taken("uncoded", &["Content-Encoding: identity"], "x"),
        bytes("bytes", &[0, 0xff, 0xfe, b'x']),
        bytes("bytes that are text", b"text"),
        bytes("no bytes", b""),
        taken_in_chunks("a chunk", b"5\r\nhello\r\n0\r\n\r\n", "hello"),
        taken_in_chunks("no chunk", b"0\r\n\r\n", ""),
        taken_in_chunks(
            "chunks, a border within a character",
            b"2\r\nh\xc3\r\n00a\r\n\xa9llo world\r\n0\r\n\r\n",
            "héllo world",
        ),
        taken_in_chunks(
            "upper case, extensions, trailers",
            b"A;name=value\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
            "0123456789",
        ),
        taken_in_chunks(
            "as much as may be, in two chunks",
            format!("3e0\r\n{0:992}\r\n8\r\n{0:8}\r\n0\r\n\r\n", "").as_bytes(),
            &" ".repeat(MAX),
        ),
    ];
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "Text/Plain; Charset=UTF-8",
        "text/plain;charset=\"utf-8\"",
        "text/plain; charset=us-ascii",
        "text/markdown; variant=GFM",
        "application/json",
        "application/problem+json; charset=utf-8",
        "application/x-ndjson",
    ] {
        let header = format!("Content-Type: {kind}");
        cases.push(taken(kind, &[&header], "name=ann+b%20c&x={\"y\":1}"));
    }
    cases
}

fn refusals() -> Vec<Case> {
    let length = |value: &str| {
        let header = format!("Content-Length: {value}");
        [&plain("POST", "/lobby", &[&header]), &b"12345"[..]].concat()
    };
    let mut cases = vec![
        refused(411, "no length", plain("POST", "/lobby", &[])),
        refused(413, "too long", length("1001")),
        refused(413, "far too long", length("18446744073709551615")),
        refused(
            400,
            "a length beyond all",
            length("99999999999999999999999"),
        ),
        refused(400, "a signed length", length("+5")),
        refused(400, "a negative length", length("-5")),
        refused(400, "a length in hex", length("0x5")),
        refused(400, "a length that is none", length("")),
        refused(400, "a list of lengths", length("5, 5")),
        refused(
            400,
            "two lengths",
            post("/lobby", &["Content-Length: 5"], b"12345"),
        ),
        refused(
            400,
            "a length and chunks",
            post("/lobby", &["Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        ),
        refused(
            501,
            "another transfer coding",
            chunked(&["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        ),
        refused(400, "not UTF-8", post("/lobby", &[], b"a\xffb")),
        refused(400, "half a character", post("/lobby", &[], b"a\xc3")),
        refused_in_chunks(400, "chunks, not UTF-8", b"2\r\na\xff\r\n0\r\n\r\n"),
        refused_in_chunks(400, "a size that is none", b"five\r\nhello\r\n0\r\n\r\n"),
        refused_in_chunks(400, "a signed size", b"-5\r\nhello\r\n0\r\n\r\n"),
        refused_in_chunks(400, "a size beyond all", b"10000000000000000\r\nhello\r\n"),
        refused_in_chunks(400, "longer than it says", b"4\r\nhello\r\n0\r\n\r\n"),
        refused_in_chunks(400, "shorter than it says", b"6\r\nhello\r\n0\r\n\r\n"),
        refused_in_chunks(
            400,
            "an endless line of a chunk",
            format!("5;{}", "x".repeat(5000)).as_bytes(),
        ),
        refused_in_chunks(
            400,
            "endless trailers",
            format!("0\r\n{}", "X: y\r\n".repeat(5000)).as_bytes(),
        ),
        refused_in_chunks(413, "a chunk too long", b"3e9\r\n"),
        refused_in_chunks(413, "a chunk far too long", b"ffffffffffffffff\r\n"),
        refused_in_chunks(
            413,
            "chunks too long together",
            format!("3e8\r\n{:1000}\r\n1\r\n", "").as_bytes(),
        ),
        refused(
            400,
            "two types",
            post("/lobby", &["Content-Type: text/plain"; 2], b"x"),
        ),
        refused(404, "the operator's", post("/%2d/lobby", &[], b"x")),
        refused(405, "the operator's own", post("/-/healthz", &[], b"x")),
        refused(400, "no room", post("/%ff", &[], b"x")),
        refused(
            414,
            "a long room",
            post(&format!("/{}", "x".repeat(256)), &[], b"x"),
        ),
        refused(
            403,
            "of another site",
            post("/lobby", &["Origin: http://evil.example"], b"x"),
        ),
        refused(403, "of no site", post("/lobby", &["Origin: null"], b"x")),
        refused(
            403,
            "of another site's form",
            post("/lobby", &["Sec-Fetch-Site: cross-site"], b"x"),
        ),
    ];
    for kind in [
        "image/png",
        "multipart/form-data; boundary=x",
        "application/xml",
        "text/plain; charset=latin1",
        "text/plain; charset=utf-16",
        "application/json; charset=utf-7",
        "text",
        "",
    ] {
        let header = format!("Content-Type: {kind}");
        cases.push(refused(415, kind, post("/lobby", &[&header], b"x")));
    }
    for coding in ["gzip", "br", "identity, gzip"] {
        let header = format!("Content-Encoding: {coding}");
        cases.push(refused(415, coding, post("/lobby", &[&header], b"x")));
    }
    for method in ["PUT", "PATCH", "DELETE", "CONNECT", "BREW"] {
        let request = plain(method, "/lobby", &["Content-Length: 0"]);
        cases.push(refused(405, method, request));
    }
    cases
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
fn every_request_to_publish_is_broadcast_once_or_refused() {
    let server = server(publishing);
    let mut lobby = server.handle().subscribe("/lobby").unwrap();
    for case in messages().into_iter().chain(refusals()) {
        let what = &case.what;
        let answer = ask(server.local_addr(), &case.request);
        assert_eq!(answer.status, case.status, "{what}: {answer:?}");
        if case.status == 405 {
            assert!(answer.header("allow").contains("GET"), "{what}");
        }
        // A refused request must leave no message before this one.
        server.handle().broadcast("/lobby", "between").unwrap();
        if case.message.is_some() {
            assert_eq!(lobby.next(), case.message, "{what}");
            assert_eq!(reached(&answer, "/lobby"), 0, "{what}");
        }
        assert_eq!(lobby.next(), Some(Message::from("between")), "{what}");
    }
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

#[test]
fn publishing_is_off_unless_it_is_asked_for() {
    let server = server(|_| {});
    let answer = ask_for_line(server.local_addr(), &post("/", &[], b"hi"));
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("--allow-publish"), "{}", answer.body);
    assert_eq!(server.handle().stats().broadcasts, 0);
}

#[test]
fn a_body_may_come_byte_by_byte() {
    let server = server(publishing);
    let mut member = Raw::connect(&server, "/lobby");
    let body = b"2;x=y\r\nby\r\n7\r\nte by b\r\n3\r\nyte\r\n0\r\nX: y\r\n\r\n";
    let request = chunked(&["Transfer-Encoding: chunked"], body);
    for request in [request, post("/lobby", &[], b"byte by byte")] {
        let mut stream = dial(server.local_addr());
        for byte in request {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(reached(&Answer::read(&mut stream).unwrap(), "/lobby"), 1);
        assert_eq!(member.data().payload, b"byte by byte");
    }
}

#[test]
fn who_expects_100_gets_it_before_the_body() {
    let server = server(publishing);
    let expect = "expect: 100-Continue";
    let with_length = plain("POST", "/", &[expect, "Content-Length: 5"]);
    let with_chunks = plain("POST", "/", &[expect, "Transfer-Encoding: chunked"]);
    for (head, body) in [
        (with_length, &b"hello"[..]),
        (with_chunks, b"5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut stream = dial(server.local_addr());
        stream.write_all(&head).unwrap();
        assert_eq!(
            read_head(&mut stream).unwrap(),
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        stream.write_all(body).unwrap();
        assert_eq!(reached(&Answer::read(&mut stream).unwrap(), "/"), 0);
    }
    // Who is refused is spared the body.
    for (status, line) in [
        (413, "Content-Length: 1001"),
        (415, "Content-Type: image/png"),
        (403, "Origin: http://evil.example"),
    ] {
        let mut lines = vec![expect, line];
        if status != 413 {
            lines.push("Content-Length: 5");
        }
        let answer = ask_for_line(server.local_addr(), &plain("POST", "/", &lines));
        assert_eq!(answer.status, status, "{line}");
    }
}

#[test]
fn a_body_that_does_not_come_in_time_gets_408() {
    let server = server(|config| {
        publishing(config);
        config.message_timeout = Duration::from_millis(200);
    });
    let with_length = plain("POST", "/", &["Content-Length: 5"]);
    let with_chunks = plain("POST", "/", &["Transfer-Encoding: chunked"]);
    for (head, body) in [
        (&with_length, &b""[..]),
        (&with_length, b"hell"),
        (&with_chunks, b""),
        (&with_chunks, b"5\r\nhel"),
        (&with_chunks, b"5\r\nhello\r\n0\r\n"),
    ] {
        let answer = ask_for_line(server.local_addr(), &[head, body].concat());
        assert_eq!(answer.status, 408, "{:?}", String::from_utf8_lossy(body));
    }
    assert_eq!(server.handle().stats().broadcasts, 0);
    eventually("no request to be left", || {
        server.handle().stats().handshakes == 0
    });
}

#[test]
fn half_a_body_is_no_message() {
    let server = server(publishing);
    let with_length = plain("POST", "/", &["Content-Length: 5"]);
    let with_chunks = plain("POST", "/", &["Transfer-Encoding: chunked"]);
    for (head, body) in [
        (&with_length, &b"hell"[..]),
        (&with_chunks, b"5\r\nhello\r\n"),
        (&with_chunks, b"5\r\nhello\r\n0\r\n"),
    ] {
        let mut stream = dial(server.local_addr());
        stream.write_all(&[head, body].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_line(&mut stream).status, 400);
    }
    assert_eq!(server.handle().stats().broadcasts, 0);
}

#[test]
fn a_body_that_is_under_way_gets_503_at_the_shutdown() {
    let server = server(publishing);
    let mut stream = dial(server.local_addr());
    let head = plain("POST", "/", &["Content-Length: 5", "Expect: 100-continue"]);
    stream.write_all(&head).unwrap();
    read_head(&mut stream).unwrap();
    stream.write_all(b"hell").unwrap();
    server.handle().shutdown();
    let answer = read_line(&mut stream);
    assert_eq!(answer.status, 503);
    assert_ne!(answer.header("retry-after"), "");
}

#[test]
fn who_sends_far_too_much_at_once_can_read_the_413_all_the_same() {
    let server = server(publishing);
    for framing in ["Content-Length: 8388608", "Transfer-Encoding: chunked"] {
        let mut stream = dial(server.local_addr());
        let mut sending = stream.try_clone().unwrap();
        let head = plain("POST", "/", &[framing]);
        let sender = thread::spawn(move || {
            sending.write_all(&head).unwrap();
            sending.write_all(b"800000\r\n").unwrap();
            for _ in 0..128 {
                match sending.write_all(&[b'x'; 1 << 16]) {
                    Ok(()) => {}
                    Err(error) => {
                        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                        assert!(kinds.contains(&error.kind()), "{error}");
                        break;
                    }
                }
            }
        });
        let head = read_head(&mut stream).unwrap();
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        sender.join().unwrap();
    }
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
    let target = "/-/rooms?token=to%20publish";
    assert_eq!(look(server.local_addr(), target, &[]).status, 401);
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
    let answer = of_the_app(&server, plain("GET", "/-/rooms", &[origin]));
    assert_eq!(answer.status, 200);
}

#[test]
fn a_stalled_body_holds_up_nobody() {
    let server = server(publishing);
    let mut member = Raw::connect(&server, "/");
    let (mut stalled, (tell, told)) = (Vec::new(), channel());
    for _ in 0..20 {
        let mut stream = dial(server.local_addr());
        let head = plain("POST", "/", &["Content-Length: 5"]);
        stream.write_all(&head).unwrap();
        stalled.push(stream);
    }
    let address = server.local_addr();
    thread::spawn(move || {
        let _ = tell.send(ask(address, &post("/", &[], b"hello")));
    });
    let answer = told.recv_timeout(deadline()).unwrap();
    assert_eq!(reached(&answer, "/"), 1);
    assert_eq!(member.data().payload, b"hello");
}

#[test]
fn a_chunk_without_a_size_is_refused() {
    let server = server(publishing);
    // RFC 9112 §7.1: a size has one digit or more.
    for body in ["\r\nhello\r\n0\r\n\r\n", ";x\r\n\r\n", " \r\n\r\n"] {
        let request = chunked(&["Transfer-Encoding: chunked"], body.as_bytes());
        let answer = ask(server.local_addr(), &request);
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
    }
}
