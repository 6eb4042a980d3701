//! Requests that the embedding program answers itself.

use std::io::{Read, Write};

use http::{Response, StatusCode, header};
use hubcast::{Running, Secret, Server, ServerBuilder};

use super::spawn;
use crate::http::ask;
use crate::kit::http::{Answer, follow, handshake, plain, post, read_head};
use crate::support::{Raw, deadline, dial, dial_tight};

fn answering() -> ServerBuilder {
    Server::builder().on_request(|request, peer| {
        let answer = Response::builder();
        let (answer, body) = match request.uri().path() {
            "/" => (
                answer.header("content-type", "text/html"),
                b"<p>mine".to_vec(),
            ),
            "/raw" => (answer.status(201), vec![0xff, 0, b'\r', b'\n']),
            "/large" => (answer, vec![b'x'; 4 << 20]),
            "/moved" => {
                let moved = answer.status(StatusCode::SEE_OTHER);
                (moved.header(header::LOCATION, "/lobby"), Vec::new())
            }
            "/unchanged" => (answer.status(304), b"never sent".to_vec()),
            "/early" => (answer.status(103), Vec::new()),
            "/framing" => {
                let framed = answer
                    .header("content-length", "9")
                    .header("transfer-encoding", "chunked")
                    .header("connection", "keep-alive")
                    .header("set-cookie", "a=1")
                    .header("set-cookie", "b=2");
                (framed, b"ok".to_vec())
            }
            "/peer" => (answer, peer.ip()?.to_string().into_bytes()),
            "/panic" => panic!("a hook that fails"),
            _ => return None,
        };
        answer.body(body).ok()
    })
}

fn get(server: &Running, path: &str) -> Answer {
    ask(server.local_addr(), &plain("GET", path, &[]))
}

#[test]
fn the_program_answers_what_it_wants_and_the_server_the_rest() {
    let server = spawn(answering().configure(|config| config.allow_publish = true));
    let page = get(&server, "/");
    assert_eq!((page.status, page.body.as_str()), (200, "<p>mine"));
    assert_eq!(page.header("content-type"), "text/html");
    assert_ne!(page.header("date"), "");
    let moved = get(&server, "/moved");
    assert_eq!(
        (moved.status, moved.header("location").as_str()),
        (303, "/lobby")
    );
    assert_eq!(moved.header("content-length"), "0");
    assert_eq!(get(&server, "/peer").body, "127.0.0.1");
    assert_eq!(get(&server, "/unchanged").body, "");
    // Whatever the method is.
    let posted = ask(server.local_addr(), &post("/", &[], b"ignored"));
    assert_eq!(posted.body, "<p>mine");
    // What it leaves, and what is never shown to it.
    let posted = ask(server.local_addr(), &post("/lobby", &[], b"hello"));
    assert_eq!(posted.status, 202);
    assert_eq!(get(&server, "/-/healthz").body, "ok\n");
    Raw::connect(&server, "/");
    let mut stream = dial(server.local_addr());
    stream.write_all(&follow("/lobby", &[])).unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_answer_is_framed_by_the_server() {
    let server = spawn(answering());
    let mut stream = dial(server.local_addr());
    stream.write_all(&plain("GET", "/raw", &[])).unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    assert!(raw.starts_with(b"HTTP/1.1 201 Created\r\n"));
    assert!(raw.ends_with(b"\r\n\r\n\xff\0\r\n"));
    let framed = get(&server, "/framing");
    assert_eq!(framed.body, "ok");
    assert_eq!(framed.header("content-length"), "2");
    assert_eq!(framed.header("transfer-encoding"), "");
    let cookies = framed
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    assert_eq!(cookies.count(), 2);
    let mut stream = dial(server.local_addr());
    stream.write_all(&plain("HEAD", "/large", &[])).unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).unwrap();
    assert!(head.contains("content-length: 4194304\r\n") && head.ends_with("\r\n\r\n"));
}

#[test]
fn a_hook_that_fails_costs_one_answer() {
    let server = spawn(answering());
    assert_eq!(get(&server, "/panic").status, 500);
    assert_eq!(get(&server, "/early").status, 500);
    assert_eq!(get(&server, "/").status, 200);
}

#[test]
fn the_rules_of_rooms_stay_with_the_rooms() {
    let server = spawn(answering().configure(|config| {
        config.token = Some(Secret::from("t"));
        config.allow_origin = vec!["https://app.example".into()];
    }));
    assert_eq!(get(&server, "/").status, 200);
    let refused = ask(server.local_addr(), &handshake("/"));
    assert_eq!(refused.status, 401);
    let allowed = plain("GET", "/", &["Origin: https://app.example"]);
    let allowed = ask(server.local_addr(), &allowed);
    let allows = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();
    assert_eq!(allows(&allowed), "https://app.example");
    let foreign = plain("GET", "/", &["Origin: https://evil.example"]);
    assert_eq!(allows(&ask(server.local_addr(), &foreign)), "");
}

#[test]
fn a_large_answer_reaches_a_slow_peer() {
    let server = spawn(answering());
    let mut stream = dial_tight(server.local_addr());
    stream.write_all(&plain("GET", "/large", &[])).unwrap();
    let mut all = Vec::new();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.len() > 4 << 20);
}
