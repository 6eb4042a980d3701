//! The closing handshake: what is answered, what still gets through, and the
//! deadlines.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use hubcast::{CloseCode, Message, Server};

use super::code;
use crate::kit::frame::{Opcode, masked};
use crate::support::{Raw, deadline, server, tight_listener, wait_closed};

#[test]
fn a_close_is_answered_with_its_code_and_then_the_server_ends_the_stream() {
    let server = server(|_| {});
    let mut cases: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (vec![], vec![]),
        (b"\x03\xe8done".to_vec(), code(1000)),
        ([&code(4001)[..], &[b'x'; 123]].concat(), code(4001)),
    ];
    for allowed in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1014, 3000, 3999, 4000, 4999,
    ] {
        cases.push((code(allowed), code(allowed)));
    }
    for (sent, expected) in &cases {
        let mut client = Raw::open(server.local_addr(), "/");
        client.send(Opcode::Close, sent);
        let answer = client.data();
        assert_eq!((answer.opcode, answer.fin), (Opcode::Close, true));
        assert_eq!(&answer.payload, expected, "the answer to {sent:?}");
        client.expect_end();
    }
    wait_closed(&server, "closed_by_peer", cases.len() as u64);
}

#[test]
fn a_client_that_is_closed_and_does_not_answer_is_gone_after_the_closing_deadline() {
    let server = server(|config| config.close_timeout = Duration::from_millis(200));
    let mut client = Raw::connect(&server, "/");
    let id = server.handle().clients().unwrap()[0].id;
    let closed = server.handle().disconnect(id, CloseCode::NORMAL, "bye");
    closed.unwrap();
    client.expect_close(1000);
    wait_closed(&server, "disconnected", 1);
    assert_eq!(server.handle().stats().clients, 0);
}

#[test]
fn a_client_that_sends_close_and_keeps_sending_ends_within_the_closing_deadline() {
    let server = server(|config| config.close_timeout = Duration::from_millis(300));
    let mut client = Raw::connect(&server, "/");
    client.send(Opcode::Close, &code(1000));
    let start = Instant::now();
    assert_eq!(client.data().close_code(), Some(1000));
    let error = loop {
        if let Err(error) = client
            .stream
            .write_all(&masked(Opcode::Text, &[b'x'; 1000]))
        {
            break error;
        }
        assert!(start.elapsed() < deadline(), "it may send for ever");
    };
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error}");
    wait_closed(&server, "closed_by_peer", 1);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < deadline() / 4, "{took:?}");
}

#[test]
fn nothing_that_follows_a_close_is_relayed() {
    let server = server(|_| {});
    let mut other = Raw::connect(&server, "/");
    let mut client = Raw::connect(&server, "/");
    let close = [
        masked(Opcode::Text, b"before"),
        masked(Opcode::Close, &code(1000)),
        masked(Opcode::Text, b"behind"),
    ];
    client.send_bytes(&close.concat());
    assert_eq!(client.data().payload, b"before");
    client.expect_close(1000);
    drop(client);
    assert_eq!(other.data().payload, b"before");
    wait_closed(&server, "closed_by_peer", 1);
    server.handle().broadcast("/", "last").unwrap();
    assert_eq!(other.data().payload, b"last");
}

#[test]
fn queued_broadcasts_are_delivered_before_the_close() {
    let server = Server::builder().configure(|config| config.queue_bytes = 1 << 30);
    let server = server.from_listener(tight_listener()).unwrap();
    let server = server.spawn().unwrap();
    let mut client = Raw::connect_tight(&server, "/");
    let handle = server.handle();
    let id = handle.clients().unwrap()[0].id;
    for n in 0..200u8 {
        handle.broadcast("/", vec![n; 2000]).unwrap();
    }
    let code = CloseCode::new(4321).unwrap();
    handle.disconnect(id, code, "that is all").unwrap();
    for _ in 0..20 {
        handle.broadcast("/", "too late").unwrap();
    }
    for n in 0..200u8 {
        assert_eq!(client.data().payload, vec![n; 2000]);
    }
    let close = client.data();
    assert_eq!(close.payload, b"\x10\xe1that is all");
    client.send(Opcode::Close, &close.payload[..2]);
    client.expect_end();
    drop(client);
    wait_closed(&server, "disconnected", 1);
}

#[test]
fn messages_of_a_client_that_is_closed_are_read_and_forgotten() {
    let server = server(|_| {});
    let mut client = Raw::connect(&server, "/");
    let mut other = Raw::connect(&server, "/");
    let handle = server.handle();
    let port = client.stream.local_addr().unwrap();
    let clients = handle.clients().unwrap();
    let id = clients.iter().find(|c| c.peer == port.into()).unwrap().id;
    handle.disconnect(id, CloseCode::NORMAL, "").unwrap();
    let mut sending = Raw {
        stream: client.stream.try_clone().unwrap(),
    };
    // It has not read the Close yet and sends on, more than sockets hold.
    let sender = thread::spawn(move || {
        for _ in 0..200 {
            sending.send(Opcode::Binary, &[0; 64 * 1024]);
        }
        sending.send(Opcode::Close, &code(1000));
    });
    sender.join().unwrap();
    client.expect_close(1000);
    drop(client);
    wait_closed(&server, "disconnected", 1);
    handle.broadcast("/", Message::from("only this")).unwrap();
    loop {
        let frame = other.data();
        if frame.opcode == Opcode::Text {
            break assert_eq!(frame.payload, b"only this");
        }
    }
}
