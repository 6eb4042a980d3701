//! Plain HTTP from outside: handshakes that are changed, and answers that
//! are checked.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::kit::http::{Answer, UPGRADE, request};
use crate::support::dial;

/// Sends a request and reads its whole answer.
#[track_caller]
pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = dial(address);
    stream.write_all(request).unwrap();
    Answer::read(&mut stream).unwrap()
}

/// Like [`ask`], for an answer of one line of text.
#[track_caller]
pub fn ask_for_line(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = dial(address);
    stream.write_all(request).unwrap();
    read_line(&mut stream)
}

/// Reads a whole answer, of one line of text.
#[track_caller]
pub fn read_line(stream: &mut TcpStream) -> Answer {
    let answer = Answer::read(stream).unwrap();
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let line = answer.body.strip_suffix('\n').expect("a line");
    assert!(
        !line.is_empty() && !line.contains('\n'),
        "one line: {line:?}"
    );
    answer
}

/// A good handshake with one more header line.
pub fn with(line: &str) -> Vec<u8> {
    request("GET / HTTP/1.1", &[&UPGRADE[..], &[line]].concat())
}

/// A good handshake without one of its headers, and with these lines.
pub fn instead(name: &str, lines: &[&str]) -> Vec<u8> {
    let kept = UPGRADE.into_iter().filter(|line| !line.starts_with(name));
    let mut headers: Vec<&str> = kept.collect();
    headers.extend(lines);
    request("GET / HTTP/1.1", &headers)
}
