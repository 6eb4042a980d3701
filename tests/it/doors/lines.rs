//! A room as lines of text or JSON: what a program gets that sends a plain GET.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use hubcast::{CloseCode, Config, Message, Running, Secret};

use super::Follower;
use super::json::Json;
use crate::http::{ask, ask_for_line};
use crate::kit::frame::Opcode;
use crate::kit::http::{Answer, follow, plain, post, read_head, request};
use crate::support::{Raw, dial, dial_tight, eventually, server, tight_server, wait_closed};

/// A program that reads lines.
struct Program {
    head: Answer,
    stream: BufReader<TcpStream>,
}

impl Program {
    #[track_caller]
    fn ask(server: &Running, target: &str, headers: &[&str]) -> Program {
        Program::ask_by(dial(server.local_addr()), target, headers)
    }

    #[track_caller]
    fn ask_by(mut stream: TcpStream, target: &str, headers: &[&str]) -> Program {
        stream.write_all(&plain("GET", target, headers)).unwrap();
        let head = Answer::parse(&read_head(&mut stream).unwrap()).unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        let stream = BufReader::new(stream);
        Program { head, stream }
    }

    /// The next line without its end; nothing at the end of the stream.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        match line.strip_suffix('\n') {
            Some(line) => Some(line.to_owned()),
            None => {
                assert_eq!(line, "", "the stream ends within a line");
                None
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.line().as_deref(), Some(line));
    }

    #[track_caller]
    fn object(&mut self) -> Json {
        Json::parse(&self.line().expect("a line"))
    }
}

/// What curl sends by itself.
const CURL: [&str; 2] = ["User-Agent: curl/8.14.1", "Accept: */*"];

#[test]
fn plain_curl_gets_lines() {
    let server = server(|_| {});
    let mut curl = Program::ask(&server, "/lobby?name=ann", &CURL);
    let mut bare = Program::ask(&server, "/lobby", &[]);
    for program in [&curl, &bare] {
        let header = |name| program.head.header(name);
        assert_eq!(header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store, no-transform");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("connection"), "close");
        assert_eq!(header("content-length"), "");
        assert_ne!(header("hubcast-client"), "");
    }
    let mut client = Raw::connect(&server, "/lobby");
    client.send(Opcode::Text, "héllo".as_bytes());
    client.send(Opcode::Text, b"two\nlines\r\x1b[2J");
    client.send(Opcode::Binary, &[0, 255]);
    client.send(Opcode::Text, b"");
    for program in [&mut curl, &mut bare] {
        program.expect("héllo");
        program.expect(r"two\nlines\r\u{1b}[2J");
        program.expect("[binary, 2 bytes]");
        program.expect("");
    }
    server.handle().shutdown();
    curl.expect("[closed: 1001 \"server shutdown\"]");
    assert_eq!(curl.line(), None);
}

#[test]
fn lines_of_json_say_when_and_from_whom() {
    let server = server(|config| config.allow_publish = true);
    let mut named = Program::ask(&server, "/lobby?as=ndjson", &CURL);
    let mut accepted = Program::ask(&server, "/lobby", &["Accept: application/x-ndjson"]);
    let mut client = Raw::connect(&server, "/lobby");
    let clients = server.handle().clients().unwrap();
    let id = clients
        .iter()
        .map(|client| client.id.value())
        .max()
        .unwrap();
    client.send(Opcode::Text, b"two\n\"lines\"");
    client.send(Opcode::Binary, &[0, 255]);
    assert_eq!(client.data().payload, b"two\n\"lines\"");
    assert_eq!(client.data().payload, [0, 255]);
    let published = ask(server.local_addr(), &post("/lobby", &[], b"by POST"));
    assert_eq!(published.status, 202);
    for program in [&mut named, &mut accepted] {
        assert_eq!(program.head.header("content-type"), "application/x-ndjson");
        let text = program.object();
        assert_eq!(text.get("text"), &Json::from("two\n\"lines\""));
        assert_eq!(text.get("from").number() as u64, id);
        assert!(text.get("at").number() > 1.7e12);
        assert_eq!(program.object().get("base64"), &Json::from("AP8="));
        let line = program.line().unwrap();
        assert!(
            line.ends_with(",\"text\":\"by POST\"}") && !line.contains("from"),
            "{line}"
        );
    }
    server.handle().shutdown();
    let end = named.object();
    assert_eq!(end.get("close").number() as u16, 1001);
    assert_eq!(end.get("reason"), &Json::from("server shutdown"));
    assert_eq!(named.line(), None);
}

#[test]
fn who_wants_something_else_gets_no_lines() {
    let server = server(|config| config.page = false);
    for headers in [
        &["Accept: image/png"][..],
        &["Accept: text/html, */*;q=0.8"],
        &["Accept: */*", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ] {
        let asking = request("GET / HTTP/1.1", &[&["Host: localhost"], headers].concat());
        assert_eq!(
            ask_for_line(server.local_addr(), &asking).status,
            426,
            "{headers:?}"
        );
    }
    for target in ["/?as=", "/?as=xml", "/?as=%ff"] {
        let answer = ask_for_line(server.local_addr(), &plain("GET", target, &CURL));
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.body.contains("as=ndjson"), "{}", answer.body);
    }
    let json = ask(
        server.local_addr(),
        &plain("GET", "/", &["Accept: application/json, */*"]),
    );
    assert_eq!(json.header("content-type"), "application/json");
}

#[test]
fn lines_are_guarded_like_events() {
    let server = server(|config: &mut Config| {
        config.token = Some(Secret::from("s3cret"));
        config.allow_origin = vec!["https://app.example".to_owned()];
    });
    let refused = |target: &str, headers: &[&str]| {
        ask_for_line(server.local_addr(), &plain("GET", target, headers)).status
    };
    assert_eq!(refused("/", &CURL), 401);
    assert_eq!(refused("/?as=ndjson&token=wrong", &CURL), 401);
    for site in [
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Referer: https://evil.example/page",
    ] {
        assert_eq!(refused("/?token=s3cret", &[site]), 403, "{site}");
    }
    let page = Program::ask(&server, "/?token=s3cret", &["Origin: https://app.example"]);
    let header = |name| page.head.header(name);
    assert_eq!(header("access-control-allow-origin"), "https://app.example");
    assert!(header("access-control-expose-headers").contains("hubcast-client"));
}

#[test]
fn a_program_that_does_not_read_is_disconnected_and_holds_up_nobody() {
    let server = tight_server(|config| config.queue_messages = 4);
    let mut quick = Raw::connect(&server, "/");
    let slow = dial_tight(server.local_addr());
    let _slow = Program::ask_by(slow, "/?as=ndjson", &CURL);
    let text = "x".repeat(10_000);
    eventually("the slow one to be gone", || {
        server.handle().broadcast("/", text.as_str()).unwrap();
        assert_eq!(quick.data().payload, text.as_bytes());
        server.handle().clients().unwrap().len() == 1
    });
    wait_closed(&server, "evicted", 1);
}

#[test]
fn a_program_that_does_not_stop_talking_is_ended() {
    let server = server(|_| {});
    let mut program = Program::ask(&server, "/", &CURL);
    program.stream.get_mut().write_all(&[b'x'; 8192]).unwrap();
    wait_closed(&server, "protocol_error", 1);
}

#[test]
fn an_idle_stream_shows_that_it_lives() {
    let server = server(|config| config.ping_interval = Duration::from_millis(20));
    let mut text = Program::ask(&server, "/", &CURL);
    let mut json = Program::ask(&server, "/?as=ndjson", &CURL);
    text.expect("");
    text.expect("");
    let line = json.line().unwrap();
    assert!(
        line.starts_with("{\"at\":") && !line.contains(','),
        "{line}"
    );
}

#[test]
fn a_page_may_ask_for_pings_that_it_can_see() {
    let server = server(|config| config.ping_interval = Duration::from_millis(20));
    let request = follow("/?ping=1s", &[]);
    let mut follower = Follower::ask(dial(server.local_addr()), &request);
    let id = follower.head.header("hubcast-client");
    // The first comes at once, so that the page knows its id.
    for _ in 0..2 {
        assert_eq!(follower.event(), ("ping".to_owned(), id.clone()));
    }
    for target in [
        "/?ping=",
        "/?ping=0s",
        "/?ping=3601s",
        "/?ping=15",
        "/?ping=-1s",
    ] {
        for request in [follow(target, &[]), plain("GET", target, &CURL)] {
            let answer = ask_for_line(server.local_addr(), &request);
            assert_eq!(answer.status, 400, "{target}");
            assert!(answer.body.contains("ping=15s"), "{}", answer.body);
        }
    }
}

#[test]
fn lines_of_json_resume_where_the_room_remembers() {
    let server = server(|config| config.history = 10);
    let handle = server.handle();
    let position = handle.broadcast_confirmed("/lobby", "the first").unwrap();
    handle.broadcast_confirmed("/lobby", "the second").unwrap();
    let mut program = Program::ask(
        &server,
        &format!("/lobby?as=ndjson&since={position}"),
        &CURL,
    );
    assert_eq!(program.object().get("resume"), &Json::from("complete"));
    let second = program.object();
    assert_eq!(second.get("text"), &Json::from("the second"));
    let third = handle
        .broadcast_confirmed("/lobby", "the third")
        .unwrap()
        .to_string();
    let told = program.object();
    assert_eq!(told.get("text"), &Json::from("the third"));
    assert_eq!(told.get("position"), &Json::from(third.as_str()));
    let mut text = Program::ask(&server, "/lobby?last=2", &CURL);
    text.expect("the second");
    text.expect("the third");
}

#[test]
fn programs_are_clients_that_can_be_sent_to_and_disconnected() {
    let server = server(|_| {});
    let mut program = Program::ask(&server, "/lobby", &CURL);
    let handle = server.handle();
    let id = handle.clients_in("/lobby").unwrap()[0].id;
    handle.send(id, Message::from("for you")).unwrap();
    program.expect("for you");
    let code = CloseCode::new(4000).unwrap();
    handle.disconnect(id, code, "enough").unwrap();
    program.expect("[closed: 4000 \"enough\"]");
    assert_eq!(program.line(), None);
}
