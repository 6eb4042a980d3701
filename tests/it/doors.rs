//! The other doors to the same rooms: a page, events, publishing, standard
//! input and output, and what the operator asks.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use hubcast::Running;

use crate::http::ask;
use crate::kit::http::{Answer, follow, plain, read_head};
use crate::support::dial;

mod admin;
mod events;
#[cfg(feature = "pages")]
mod files;
mod guards;
mod json;
mod lines;
mod news;
mod page;
mod pipe;
mod publish;
mod several;
mod tokens;

/// Asks for a target by GET.
#[track_caller]
fn look(address: SocketAddr, target: &str, headers: &[&str]) -> Answer {
    ask(address, &plain("GET", target, headers))
}

/// A client of server-sent events.
struct Follower {
    head: Answer,
    stream: BufReader<TcpStream>,
}

/// What a stream of events consists of.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Comment(String),
    Event { name: String, data: String },
}

impl Follower {
    /// Follows a room.
    #[track_caller]
    fn join(server: &Running, room: &str) -> Follower {
        Follower::join_by(dial(server.local_addr()), room)
    }

    /// Like [`join`](Follower::join), over this connection.
    #[track_caller]
    fn join_by(stream: TcpStream, room: &str) -> Follower {
        Follower::ask(stream, &follow(room, &[]))
    }

    /// Sends a request that must be answered with a stream of events.
    #[track_caller]
    fn ask(mut stream: TcpStream, request: &[u8]) -> Follower {
        stream.write_all(request).unwrap();
        let head = Answer::parse(&read_head(&mut stream).unwrap()).unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        let stream = BufReader::new(stream);
        Follower { head, stream }
    }

    /// The next part, taken apart as a browser does (HTML, §9.2.6); `None`
    /// at the end of the stream.
    #[track_caller]
    fn part(&mut self) -> Option<Part> {
        let mut block = Vec::new();
        while !block.ends_with(b"\n\n") {
            if self.stream.read_until(b'\n', &mut block).unwrap() == 0 {
                assert_eq!(block, b"", "the stream ends within an event");
                return None;
            }
        }
        let block = String::from_utf8(block).unwrap();
        if let Some(comment) = block.strip_prefix(':') {
            assert_eq!(comment.trim_end().lines().count(), 1, "{block:?}");
            return Some(Part::Comment(comment.trim().to_owned()));
        }
        let (mut name, mut data) = ("message", Vec::new());
        let lines = block.strip_suffix("\n\n").unwrap();
        for line in lines.split(['\n', '\r']) {
            match line.split_once(": ").expect(&block) {
                ("event", value) => name = value,
                ("data", value) => data.push(value),
                _ => panic!("an unknown field: {block:?}"),
            }
        }
        Some(Part::Event {
            name: name.to_owned(),
            data: data.join("\n"),
        })
    }

    /// The name and the data of the next event.
    #[track_caller]
    fn event(&mut self) -> (String, String) {
        loop {
            match self.part().expect("an event, not the end") {
                Part::Event { name, data } => return (name, data),
                Part::Comment(_) => {}
            }
        }
    }

    /// The next message, which must be a text.
    #[track_caller]
    fn text(&mut self) -> String {
        let (name, data) = self.event();
        assert_eq!(name, "message", "{data}");
        data
    }

    /// Expects the last event, and the end of the stream behind it.
    #[track_caller]
    fn expect_close(&mut self, data: &str) {
        assert_eq!(self.event(), ("close".to_owned(), data.to_owned()));
        assert_eq!(self.part(), None);
    }
}
