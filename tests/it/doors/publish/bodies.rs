//! How a body comes: slowly, after a 100, in part, too large, or never.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{chunked, publishing, reached};
use crate::http::{ask, ask_for_line, read_line};
use crate::kit::http::{Answer, plain, post, read_head};
use crate::support::{Raw, deadline, dial, eventually, server};

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
    // A client that is refused is spared the body.
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
