//! What a peer has been told holds: with its answer it is in the room, with
//! its end of stream its place is free.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use hubcast::Running;

use crate::http::ask;
use crate::kit::frame::{self, Opcode};
use crate::kit::http::{follow, handshake, plain, post, read_head};
use crate::support::{Raw, connect_to, deadline, dial, next_text, server};

/// How often each is tried: of the old order some in a hundred failed.
const TIMES: usize = 500;

#[test]
fn a_client_that_has_its_101_hears_what_another_sends_at_once() {
    let server = server(|_| {});
    let mut talker = Raw::connect(&server, "/");
    for turn in 0..TIMES {
        let mut late = Raw::connect(&server, "/");
        let text = turn.to_string();
        talker.send(Opcode::Text, text.as_bytes());
        assert_eq!(late.data().payload, text.as_bytes(), "of {TIMES}");
        late.send(Opcode::Close, &[]);
        late.expect_close_of_its_own();
    }
}

impl Raw {
    /// Reads the answer to the Close it has sent, and the end of the stream.
    #[track_caller]
    fn expect_close_of_its_own(&mut self) {
        assert_eq!(self.data().opcode, Opcode::Close);
        self.expect_end();
    }
}

#[test]
fn a_client_whose_stream_of_events_has_begun_hears_what_is_sent_at_once() {
    let server = server(|_| {});
    let mut talker = Raw::connect(&server, "/");
    for turn in 0..TIMES {
        let mut late = dial(server.local_addr());
        late.write_all(&follow("/", &[])).unwrap();
        // No more than the first byte of the answer has come.
        assert_eq!(late.peek(&mut [0]).unwrap(), 1);
        talker.send(Opcode::Text, turn.to_string().as_bytes());
        read_head(&mut late).unwrap();
        let mut events = std::io::BufReader::new(late);
        let data = std::io::BufRead::lines(&mut events)
            .map(Result::unwrap)
            .find(|line| line.starts_with("data: "));
        assert_eq!(data, Some(format!("data: {turn}")), "of {TIMES}");
    }
}

#[test]
fn a_handle_reaches_a_client_that_a_library_has_connected() {
    let server = server(|_| {});
    let handle = server.handle();
    for turn in 1..=TIMES {
        let mut client = connect_to(server.local_addr(), "/");
        handle.broadcast("/", turn.to_string()).unwrap();
        assert_eq!(handle.stats().joins, turn as u64);
        assert_eq!(handle.clients_in("/").unwrap().len(), 1);
        assert_eq!(next_text(&mut client), turn.to_string(), "of {TIMES}");
        client.close(None).unwrap();
        while client.read().is_ok() {}
        assert!(handle.clients().unwrap().is_empty(), "turn {turn}");
        assert_eq!(handle.stats().clients, 0, "turn {turn}");
    }
}

/// Lets a client end in one way after another, and after each end of stream
/// expects that the only place is free.
fn expect_free_place(limit: impl FnOnce(&mut hubcast::Config)) {
    let server = server(limit);
    let address = server.local_addr();
    let turns = TIMES / ENDS.len();
    for turn in 0..turns {
        for (what, end) in ENDS {
            let mut client = dial(address);
            client.write_all(&handshake("/")).unwrap();
            let head = read_head(&mut client).unwrap();
            assert!(
                head.starts_with("HTTP/1.1 101 "),
                "before {what}, {turn}: {head}"
            );
            end(&server, Raw { stream: client });
        }
    }
}

type End = fn(&Running, Raw);

/// The ways in which a client may end, each up to its end of stream.
const ENDS: [(&str, End); 5] = [
    ("its own Close", |_, mut client| {
        client.send(Opcode::Close, &[]);
        client.expect_close_of_its_own();
    }),
    ("its end of stream", |_, mut client| {
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.expect_end();
    }),
    ("an error", |_, mut client| {
        client.send(Opcode::Text, b"\xff");
        client.expect_close(1007);
    }),
    ("a Close of the server", |server, mut client| {
        let handle = server.handle();
        let id = handle.clients().unwrap()[0].id;
        handle
            .disconnect(id, hubcast::CloseCode::NORMAL, "")
            .unwrap();
        let close = client.data();
        client.send(Opcode::Close, &close.payload);
        client.expect_end();
    }),
    ("a stream of events", |server, mut client| {
        // The client's place is free as soon as its Close is answered.
        client.send(Opcode::Close, &[]);
        assert_eq!(client.data().opcode, Opcode::Close);
        follow_and_end(server.local_addr());
    }),
];

fn follow_and_end(address: SocketAddr) {
    let mut follower = dial(address);
    follower.write_all(&follow("/", &[])).unwrap();
    let head = read_head(&mut follower).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    follower.shutdown(Shutdown::Write).unwrap();
    std::io::copy(&mut follower, &mut std::io::sink()).unwrap();
}

#[test]
fn a_place_is_free_before_its_client_can_know_of_its_end() {
    expect_free_place(|config| config.max_clients = 1);
}

#[test]
fn the_place_of_an_address_is_free_before_its_client_can_know_of_its_end() {
    expect_free_place(|config| config.max_clients_per_ip = 1);
}

#[test]
fn a_server_that_is_full_of_clients_answers_everything_else() {
    let server = server(|config| {
        config.max_clients = 2;
        config.allow_publish = true;
    });
    let address = server.local_addr();
    let mut clients = [Raw::connect(&server, "/"), Raw::connect(&server, "/")];
    for (request, status) in [
        (plain("GET", "/-/healthz", &[]), 200),
        (plain("GET", "/-/metrics", &[]), 200),
        (plain("GET", "/", &["Accept: text/html"]), 200),
        (plain("GET", "/", &["Accept: application/json"]), 200),
        (post("/", &[], b"still here"), 202),
        (handshake("/"), 503),
        (follow("/", &[]), 503),
    ] {
        let answer = ask(address, &request);
        let line = String::from_utf8_lossy(&request);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
    }
    for client in &mut clients {
        assert_eq!(client.data().payload, b"still here");
    }
}

/// Connections that never finish their requests.
fn half_open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let begin = |_| {
        let mut stream = dial(address);
        // One that had to make way may have been ended already.
        let _ = stream.write_all(b"GET / HT");
        stream
    };
    (0..count).map(begin).collect()
}

#[test]
fn unfinished_handshakes_keep_nobody_out() {
    let server = server(|config| config.max_handshakes = 20);
    let address = server.local_addr();
    let mut early = dial(address);
    early.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    for _ in 0..10 {
        let _flood = half_open(address, 60);
        let mut newcomer = Raw::open(address, "/");
        newcomer.send(Opcode::Text, b"in");
        assert_eq!(newcomer.data().payload, b"in");
        assert!(server.handle().stats().handshakes <= 20);
    }
    // The oldest had to make way: its stream has ended.
    early.set_read_timeout(Some(deadline())).unwrap();
    let ended = frame::read(&mut early).unwrap_err();
    assert_ne!(ended.kind(), std::io::ErrorKind::WouldBlock);
}
