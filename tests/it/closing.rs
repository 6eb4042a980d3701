//! How connections end: the close code for each cause, a Close that gets
//! through, deadlines, and what the log and the program learn of it.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use hubcast::{Cause, Client, CloseCode, Config, Departure, Message, Running, Server};

use crate::kit::frame::{FIN, Opcode, RSV1, fragment, masked, masked_as};
use crate::support::{
    Program, Raw, deadline, eventually, reset, server, tight_listener, wait_closed,
};

fn code(value: u16) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

#[test]
fn a_close_is_answered_with_its_code_and_then_the_server_ends_the_stream() {
    let server = server(|_| {});
    let mut cases: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (vec![], vec![]),
        (b"\x03\xe8done".to_vec(), code(1000)),
        ([&code(4001)[..], &[b'x'; 123]].concat(), code(4001)),
    ];
    for allowed in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        cases.push((code(allowed), code(allowed)));
    }
    for forbidden in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535,
    ] {
        cases.push((code(forbidden), code(1002)));
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

/// What a client may do wrong, and what it is told.
struct Wrong {
    what: &'static str,
    bytes: Vec<u8>,
    code: u16,
    cause: &'static str,
}

/// A server with small limits, and everything that is wrong for it.
fn wrongs() -> (impl FnOnce(&mut Config), Vec<Wrong>) {
    let change = |config: &mut Config| {
        config.max_message_size = 1000;
        config.max_fragments = 4;
    };
    let mut wrongs = Vec::new();
    let mut add = |what, bytes: Vec<u8>, code, cause| {
        wrongs.push(Wrong {
            what,
            bytes,
            code,
            cause,
        });
    };
    let fragments = |opcode, n: usize, payload: &[u8]| {
        let mut bytes = fragment(opcode, payload);
        (1..n).for_each(|_| bytes.extend(fragment(Opcode::Continuation, payload)));
        bytes
    };
    let mut broken = |what, bytes| add(what, bytes, 1002, "protocol_error");
    broken("a frame without a mask", b"\x81\x02hi".to_vec());
    broken(
        "a reserved bit",
        masked_as(RSV1 | Opcode::Text.last(), b"hi"),
    );
    broken("a reserved data opcode", masked_as(FIN | 0x3, b"hi"));
    broken("a reserved control opcode", masked_as(FIN | 0xb, b"hi"));
    broken("a ping of 126 bytes", masked(Opcode::Ping, &[0; 126]));
    broken("a fragmented ping", fragment(Opcode::Ping, b"hi"));
    broken("a Close of 126 bytes", masked(Opcode::Close, &[0; 126]));
    broken("a Close of one byte", masked(Opcode::Close, &[3]));
    broken(
        "a continuation of nothing",
        masked(Opcode::Continuation, b"hi"),
    );
    let interrupted = [fragment(Opcode::Text, b"h"), masked(Opcode::Text, b"hi")].concat();
    broken("a message inside a message", interrupted);
    let mut invalid = |what, bytes| add(what, bytes, 1007, "invalid_utf8");
    invalid("text that is not UTF-8", masked(Opcode::Text, b"\xff"));
    invalid(
        "text that ends in a character",
        masked(Opcode::Text, b"\xc3"),
    );
    let split = [
        fragment(Opcode::Text, b"\xc3"),
        masked(Opcode::Continuation, b"\x28"),
    ]
    .concat();
    invalid("a character that is broken across fragments", split);
    invalid(
        "a reason that is not UTF-8",
        masked(Opcode::Close, b"\x03\xe8\xff"),
    );
    let mut large = |what, bytes| add(what, bytes, 1009, "too_large");
    large(
        "a message that is too large",
        masked(Opcode::Binary, &[0; 1001]),
    );
    let claim = b"\x82\xff\0\0\x7f\0\0\0\0\0mask".to_vec();
    large("a message that is said to be huge", claim);
    let beyond = b"\x82\xff\x80\0\0\0\0\0\0\0mask".to_vec();
    large("a message of 2^63 bytes", beyond);
    let sum = fragments(Opcode::Binary, 3, &[0; 400]);
    large("fragments that are too large together", sum);
    let many = fragments(Opcode::Text, 5, b"x");
    add("too many fragments", many, 1008, "too_many_fragments");
    (change, wrongs)
}

#[test]
fn every_offence_has_its_close_code_and_hurts_nobody_else() {
    let (change, wrongs) = wrongs();
    let server = server(change);
    let mut bystander = Raw::connect(&server, "/");
    for Wrong {
        what,
        bytes,
        code,
        cause,
    } in wrongs
    {
        let before = server.handle().stats().departed(cause);
        let mut client = Raw::open(server.local_addr(), "/");
        client.send_bytes(&bytes);
        let close = client.data();
        assert_eq!(
            (close.opcode, close.close_code()),
            (Opcode::Close, Some(code)),
            "{what}"
        );
        let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
        assert!(!reason.is_empty(), "{what}: no reason");
        client.expect_end();
        drop(client);
        wait_closed(&server, cause, before + 1);
    }
    bystander.send(Opcode::Text, b"still here");
    assert_eq!(bystander.data().payload, b"still here");
}

#[test]
fn a_close_is_not_destroyed_by_what_the_client_still_sends() {
    let (change, wrongs) = wrongs();
    let server = server(change);
    // Nothing that would be wrong in a new way.
    let more = fragment(Opcode::Continuation, b"").repeat(10_000);
    for wrong in wrongs {
        let mut client = Raw::open(server.local_addr(), "/");
        client.send_bytes(&wrong.bytes);
        // More than the sockets hold, so the server has to take it.
        for _ in 0..64 {
            client.send_bytes(&more);
        }
        assert_eq!(
            client.data().close_code(),
            Some(wrong.code),
            "{}",
            wrong.what
        );
        client.expect_end();
    }
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
fn what_was_sent_before_an_offence_is_delivered_before_the_close() {
    let server = server(|_| {});
    let mut client = Raw::connect(&server, "/");
    let mut bytes: Vec<u8> = (0..100)
        .flat_map(|n: u8| masked(Opcode::Binary, &[n]))
        .collect();
    bytes.extend(masked(Opcode::Text, b"\xff"));
    client.send_bytes(&bytes);
    for n in 0..100 {
        assert_eq!(client.data().payload, [n]);
    }
    client.expect_close(1007);
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

/// A server whose departures come out of a channel.
fn with_departures(change: impl FnOnce(&mut Config)) -> (Running, Receiver<Departure>) {
    let (sender, departures) = channel();
    let server = Server::builder()
        .configure(change)
        .on_message(|client, message| match message.as_text() {
            Some("panic") => panic!("as the test wants"),
            Some("close me") => {
                let code = CloseCode::new(4000).unwrap();
                client.disconnect(code, "as you wish").unwrap();
                None
            }
            _ => Some(message),
        })
        .on_leave(move |_: &Client, departure: &Departure| {
            let _ = sender.send(departure.clone());
        })
        .from_listener(tight_listener());
    (server.unwrap().spawn().unwrap(), departures)
}

#[track_caller]
fn next(departures: &Receiver<Departure>) -> Departure {
    departures.recv_timeout(deadline()).expect("on_leave")
}

/// Ends one connection; returns its departure in short.
fn departure_of(
    change: impl FnOnce(&mut Config),
    end: impl FnOnce(&Running, Raw),
) -> (Cause, Option<u16>, Option<u16>) {
    let (server, departures) = with_departures(|config| {
        config.close_timeout = Duration::from_millis(300);
        change(config);
    });
    let client = Raw::connect_tight(&server, "/");
    end(&server, client);
    let departure = next(&departures);
    let code = |frame: Option<hubcast::CloseFrame>| frame?.code.map(CloseCode::value);
    (
        departure.cause,
        code(departure.sent),
        code(departure.received),
    )
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
fn on_leave_gets_the_offence() {
    let (change, wrongs) = wrongs();
    let (server, departures) = with_departures(change);
    for wrong in wrongs {
        let mut client = Raw::open(server.local_addr(), "/");
        client.send_bytes(&wrong.bytes);
        client.expect_close(wrong.code);
        drop(client);
        let departure = next(&departures);
        assert_eq!(departure.cause.name(), wrong.cause, "{}", wrong.what);
        let sent = departure.sent.and_then(|frame| frame.code);
        assert_eq!(sent.map(CloseCode::value), Some(wrong.code));
        assert_eq!(departure.received, None);
    }
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
