//! What `on_leave` and the log learn of an end.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use hubcast::{Cause, CloseCode, Server};

use super::{code, departure_of, next, with_departures};
use crate::kit::frame::{Opcode, masked};
use crate::support::{Program, Raw, eventually, reset, wait_closed};

#[test]
fn closes_may_cross() {
    let (server, departures) = with_departures(|_| {});
    let mut client = Raw::connect(&server, "/");
    let handle = server.handle();
    let id = handle.clients().unwrap()[0].id;
    handle.disconnect(id, CloseCode::NORMAL, "").unwrap();
    client.send(Opcode::Close, &code(3000));
    client.expect_close(1000);
    drop(client);
    let departure = next(&departures);
    let codes = [&departure.sent, &departure.received];
    let codes = codes.map(|frame| frame.as_ref().unwrap().code.unwrap().value());
    // Which one ended it is a matter of who was first.
    assert!([[1000, 3000], [3000, 3000]].contains(&codes), "{departure}");
    assert!(departure.is_normal());
}

#[test]
fn on_leave_gets_the_peers_own_end() {
    let closed = departure_of(
        |_| {},
        |_, mut client| {
            client.send(Opcode::Close, &code(3001));
            client.expect_close(3001);
        },
    );
    assert_eq!(closed, (Cause::ClosedByPeer, Some(3001), Some(3001)));

    let ended = departure_of(|_| {}, |_, client| drop(client));
    assert_eq!(ended, (Cause::EndOfStream, None, None));

    let half = departure_of(
        |_| {},
        |_, client| client.stream.shutdown(Shutdown::Write).unwrap(),
    );
    assert_eq!(half, (Cause::EndOfStream, None, None));

    let cut = departure_of(
        |_| {},
        |_, mut client| {
            client.send_bytes(&masked(Opcode::Text, b"half a frame")[..9]);
        },
    );
    assert_eq!(cut, (Cause::EndOfStream, None, None));

    let kind = ErrorKind::ConnectionReset;
    let broken = departure_of(
        |_| {},
        |_, mut client| {
            client.send_bytes(&masked(Opcode::Text, b"half a frame")[..9]);
            reset(client.stream);
        },
    );
    assert_eq!(broken, (Cause::ReadFailed(kind), None, None));
}

#[test]
fn on_leave_gets_what_the_server_ended() {
    let close_me = departure_of(
        |_| {},
        |_, mut client| {
            client.send(Opcode::Text, b"close me");
            assert_eq!(client.data().close_code(), Some(4000));
            client.send(Opcode::Close, &code(4000));
            client.expect_end();
        },
    );
    assert_eq!(close_me, (Cause::Disconnected, Some(4000), Some(4000)));

    let unanswered = departure_of(
        |_| {},
        |_, mut client| {
            client.send(Opcode::Text, b"close me");
            client.expect_close(4000);
        },
    );
    assert_eq!(unanswered, (Cause::Disconnected, Some(4000), None));

    let panicked = departure_of(
        |_| {},
        |_, mut client| {
            client.send(Opcode::Text, b"panic");
            client.expect_close(1011);
        },
    );
    assert_eq!(panicked, (Cause::HandlerPanicked, Some(1011), None));

    let stopped = departure_of(
        |_| {},
        |server, mut client| {
            server.handle().shutdown();
            assert_eq!(client.data().close_code(), Some(1001));
            client.send(Opcode::Close, &code(1001));
            client.expect_end();
        },
    );
    assert_eq!(stopped, (Cause::Shutdown, Some(1001), Some(1001)));

    let dripping = departure_of(
        |config| config.message_timeout = Duration::from_millis(100),
        |_, mut client| {
            client.send_fragment(Opcode::Text, b"begun");
            client.expect_close(1008);
        },
    );
    assert_eq!(dripping, (Cause::MessageTimeout, Some(1008), None));

    let silent = departure_of(
        |config| {
            config.ping_interval = Duration::from_millis(50);
            config.pong_timeout = Duration::from_millis(50);
        },
        |_, mut client| {
            assert_eq!(client.frame().opcode, Opcode::Ping);
            client.expect_end();
        },
    );
    assert_eq!(silent, (Cause::PongTimeout, None, None));

    let stalled = departure_of(
        |config| config.write_timeout = Duration::from_millis(100),
        |server, client| {
            server.handle().broadcast("/", vec![0; 1 << 20]).unwrap();
            wait_closed(server, "write_timeout", 1);
            drop(client);
        },
    );
    assert_eq!(stalled, (Cause::WriteTimeout, None, None));

    let (cause, sent, received) = departure_of(
        |config| config.queue_messages = 2,
        |server, client| {
            for _ in 0..100 {
                server.handle().broadcast("/", vec![0; 5000]).unwrap();
            }
            wait_closed(server, "evicted", 1);
            drop(client);
        },
    );
    let Cause::Evicted { messages, bytes } = cause else {
        panic!("{cause}");
    };
    assert!((2..=4).contains(&messages), "{messages} messages");
    assert!(bytes > 5000, "{bytes} bytes");
    assert_eq!((sent, received), (Some(1008), None));
}

#[test]
fn a_panicking_hook_ends_its_client_with_1011_and_nobody_else() {
    let server = Server::builder()
        .on_join(|client| assert_ne!(client.room(), "/join", "as the test wants"))
        .on_message(|client, message| {
            assert_ne!(client.room(), "/message", "as the test wants");
            Some(message)
        })
        .on_leave(|client, _| assert_ne!(client.room(), "/leave", "as the test wants"))
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let mut bystander = Raw::connect(&server, "/");
    Raw::open(server.local_addr(), "/join").expect_close(1011);
    let mut client = Raw::open(server.local_addr(), "/message");
    client.send(Opcode::Text, b"now");
    client.expect_close(1011);
    drop(client);
    wait_closed(&server, "handler_panicked", 2);
    let mut client = Raw::open(server.local_addr(), "/leave");
    client.send(Opcode::Close, &code(1000));
    client.expect_close(1000);
    drop(client);
    wait_closed(&server, "closed_by_peer", 1);

    bystander.send(Opcode::Text, b"still here");
    assert_eq!(bystander.data().payload, b"still here");
    eventually("no other member to be left", || {
        let handle = server.handle();
        handle.clients().unwrap().len() == 1 && handle.stats().clients == 1
    });
}

#[test]
fn the_log_tells_a_normal_end_from_an_abnormal_one() {
    let mut program = Program::start(&[]);
    let _bystander = Raw::open(program.address, "/");
    program.expect_log("joined, clients=1");
    let join = |program: &mut Program| {
        let client = Raw::open(program.address, "/");
        program.expect_log("joined, clients=2");
        let peer = client.stream.local_addr().unwrap();
        (client, format!(" peer={peer} room=\"/\" "))
    };

    let (mut client, peer) = join(&mut program);
    client.send(Opcode::Close, b"\x03\xe8bye\x1b[2J");
    client.expect_close(1000);
    drop(client);
    let line = program.expect_log(&peer);
    let left = r#"left: closed by peer (sent 1000, received 1000 "bye\u{1b}[2J"), clients=1"#;
    assert!(line.ends_with(left), "{line:?}");

    let (client, peer) = join(&mut program);
    drop(client);
    let line = program.expect_log(&peer);
    let lost = "lost: end of stream without Close, clients=1";
    assert!(line.ends_with(lost), "{line:?}");

    let (mut client, peer) = join(&mut program);
    client.send_bytes(&masked(Opcode::Text, b"half a frame")[..9]);
    reset(client.stream);
    let line = program.expect_log(&peer);
    let lost = "lost: read failed: connection reset, clients=1";
    assert!(line.ends_with(lost), "{line:?}");

    let (mut client, peer) = join(&mut program);
    client.send(Opcode::Text, b"\xff");
    client.expect_close(1007);
    drop(client);
    let line = program.expect_log(&peer);
    assert!(line.contains("lost: text that is not UTF-8"), "{line:?}");
    assert!(line.ends_with(", clients=1"), "{line:?}");
}
