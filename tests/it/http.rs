//! Plain HTTP from outside: requests, good and changed, and answers taken
//! apart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::dial;

/// An HTTP answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").expect(text);
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let status = status_line.strip_prefix("HTTP/1.1 ").expect(status_line);
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header line");
            (name.to_lowercase(), value.to_owned())
        };
        Answer {
            status: status[..3].parse().unwrap(),
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    /// Sends a request, reads to the end of the stream, which must come in
    /// order and not by a reset, and checks that the answer is complete.
    #[track_caller]
    pub fn to(address: SocketAddr, request: &[u8]) -> Answer {
        let mut stream = dial(address);
        stream.write_all(request).unwrap();
        Answer::read(&mut stream)
    }

    #[track_caller]
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut text = String::new();
        if let Err(error) = stream.read_to_string(&mut text) {
            panic!("no end of stream: {error}, after {text:?}");
        }
        let answer = Answer::parse(&text);
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert!(answer.header("connection").contains("close"), "{answer:?}");
        let line = answer.body.strip_suffix('\n').expect("a line");
        assert!(
            !line.is_empty() && !line.contains('\n'),
            "one line: {line:?}"
        );
        answer
    }

    /// All values of a header, joined; empty if it is not there.
    pub fn header(&self, name: &str) -> String {
        let lines = self.headers.iter().filter(|(n, _)| n == name);
        let values: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    }
}

/// A good handshake's header lines.
pub const GOOD: [&str; 5] = [
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

pub fn request(line: &str, headers: &[&str]) -> Vec<u8> {
    let mut text = format!("{line}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A good handshake for this target.
pub fn get(target: &str) -> Vec<u8> {
    request(&format!("GET {target} HTTP/1.1"), &GOOD)
}

/// A good handshake with one more header line.
pub fn with(line: &str) -> Vec<u8> {
    request("GET / HTTP/1.1", &[&GOOD[..], &[line]].concat())
}

/// A good handshake without one of its headers, and with these lines.
pub fn instead(name: &str, lines: &[&str]) -> Vec<u8> {
    let kept = GOOD.into_iter().filter(|line| !line.starts_with(name));
    let mut headers: Vec<&str> = kept.collect();
    headers.extend(lines);
    request("GET / HTTP/1.1", &headers)
}
