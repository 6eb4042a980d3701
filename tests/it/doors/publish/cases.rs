//! Requests to publish of every kind: the message that each becomes, or the status
//! it is refused with.

use hubcast::Message;

use super::{MAX, chunked, publishing, reached};
use crate::http::ask;
use crate::kit::http::{plain, post};
use crate::support::server;

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
    for method in ["PATCH", "DELETE", "CONNECT", "BREW"] {
        let request = plain(method, "/lobby", &["Content-Length: 0"]);
        cases.push(refused(405, method, request));
    }
    cases
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
fn a_chunk_without_a_size_is_refused() {
    let server = server(publishing);
    // RFC 9112 §7.1: a size has one digit or more.
    for body in ["\r\nhello\r\n0\r\n\r\n", ";x\r\n\r\n", " \r\n\r\n"] {
        let request = chunked(&["Transfer-Encoding: chunked"], body.as_bytes());
        let answer = ask(server.local_addr(), &request);
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
    }
}
