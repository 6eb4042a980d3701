//! The front door: every request gets its answer, whole and in time, and no
//! handshake costs anybody else anything.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use hubcast::{Config, Running};
use rustix::process::Signal;

use crate::http::{ask_for_line, instead, read_line};
use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{Answer, UPGRADE, handshake, read_head, request};
use crate::kit::process::raise_descriptor_limit;
use crate::support::{Program, Raw, deadline, dial, eventually, server, threads_and_descriptors};

mod cases;

#[test]
fn every_request_gets_its_answer_and_the_end_of_the_stream() {
    let cases = cases::all();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let server = server(|_| {});
    for case in &cases {
        let mut stream = dial(server.local_addr());
        stream.write_all(&case.request).unwrap();
        let answer = match case.status {
            101 => {
                let head = read_head(&mut stream).unwrap();
                assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", case.what);
                Answer::parse(&head).unwrap()
            }
            _ => read_line(&mut stream),
        };
        assert_eq!(answer.status, case.status, "{}: {answer:?}", case.what);
        for (name, part) in &case.headers {
            let value = answer.header(name);
            assert!(value.contains(part), "{}: {name}: {value:?}", case.what);
        }
        if case.status == 101 {
            let not_asked = ["sec-websocket-protocol", "sec-websocket-extensions"];
            assert!(not_asked.iter().all(|name| answer.header(name).is_empty()));
        }
    }
    eventually("all connections to be gone", || {
        let stats = server.handle().stats();
        stats.handshakes == 0 && stats.clients == 0
    });
}

#[test]
fn a_host_that_is_none_is_refused() {
    let server = server(|_| {});
    // RFC 9112 §3.2: an invalid Host must be answered with 400.
    for host in ["a b", "a/b", "user@a", "a,b", "[::1", "a:b"] {
        let line = format!("Host: {host}");
        let request = instead("Host", &[&line]);
        let mut stream = dial(server.local_addr());
        stream.write_all(&request).unwrap();
        let head = read_head(&mut stream).unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{line}: {head}");
    }
}

#[test]
fn a_head_that_does_not_come_in_time_gets_408() {
    let server = server(|config| config.handshake_timeout = Duration::from_millis(200));
    for begun in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"] {
        let answer = ask_for_line(server.local_addr(), begun);
        assert_eq!(answer.status, 408, "{answer:?}");
    }
    eventually("no handshake to be left", || {
        server.handle().stats().handshakes == 0
    });
}

#[test]
fn a_peer_that_ends_in_the_handshake_is_forgotten() {
    let server = server(|_| {});
    for begun in [&b""[..], b"GET / HT"] {
        let mut stream = dial(server.local_addr());
        stream.write_all(begun).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
    eventually("no handshake to be left", || {
        let stats = server.handle().stats();
        stats.accepted == 2 && stats.handshakes == 0
    });
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let server = server(|_| {});
    let mut stream = dial(server.local_addr());
    for byte in handshake("/lobby") {
        stream.write_all(&[byte]).unwrap();
    }
    let head = read_head(&mut stream).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut client = Raw { stream };
    for byte in masked(Opcode::Text, b"and so may a frame") {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.data().payload, b"and so may a frame");
}

#[test]
fn a_frame_in_the_segment_of_the_handshake_arrives_in_the_room() {
    // Smaller than what comes early.
    let server = server(|config| config.read_buffer = 256);
    let mut other = Raw::connect(&server, "/lobby");
    let early: Vec<Vec<u8>> = (0..20).map(|n: u8| vec![n; 100]).collect();
    let frames: Vec<u8> = early
        .iter()
        .flat_map(|bytes| masked(Opcode::Binary, bytes))
        .collect();
    let (first, second) = frames.split_at(frames.len() - 7);
    let mut stream = dial(server.local_addr());
    let opening = [&handshake("/lobby")[..], first].concat();
    stream.write_all(&opening).unwrap();
    let head = read_head(&mut stream).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut client = Raw { stream };
    client.send_bytes(second);
    for bytes in &early {
        assert_eq!(&client.data().payload, bytes);
        assert_eq!(&other.data().payload, bytes);
    }
}

#[test]
fn a_close_in_the_segment_of_the_handshake_is_answered() {
    let server = server(|_| {});
    let mut stream = dial(server.local_addr());
    let close = masked(Opcode::Close, &1000u16.to_be_bytes());
    stream.write_all(&[handshake("/"), close].concat()).unwrap();
    read_head(&mut stream).unwrap();
    Raw { stream }.expect_close(1000);
}

/// How long a message takes from a client to itself, again and again.
fn latencies(client: &mut Raw, times: usize) -> Vec<Duration> {
    let mut latencies: Vec<Duration> = (0..times)
        .map(|_| {
            let start = Instant::now();
            client.send(Opcode::Text, b"tick");
            assert_eq!(client.data().payload, b"tick");
            start.elapsed()
        })
        .collect();
    latencies.sort();
    latencies
}

#[test]
fn five_hundred_slow_handshakes_do_not_disturb_a_chat() {
    raise_descriptor_limit().unwrap();
    // All of them have to be there before the first has run out of time.
    let timeout = deadline() / 5;
    let server = server(|config| config.handshake_timeout = timeout);
    let mut client = Raw::connect(&server, "/");
    let handle = server.handle();
    let mut slow: Vec<TcpStream> = (0..500).map(|_| dial(server.local_addr())).collect();
    eventually("all to be in their handshakes", || {
        handle.stats().handshakes == 500
    });
    let start = Instant::now();
    let mut all = Vec::new();
    // A byte of each now and then, but never the last.
    for byte in handshake("/").split_last().unwrap().1 {
        if start.elapsed() > timeout / 2 {
            break;
        }
        for stream in &mut slow {
            stream.write_all(&[*byte]).unwrap();
        }
        all.extend(latencies(&mut client, 10));
    }
    all.sort();
    let median = all[all.len() / 2];
    assert!(median < deadline() / 400, "median {median:?}");
    assert_eq!(handle.stats().handshakes, 500);
    for stream in &mut slow {
        assert_eq!(read_line(stream).status, 408);
    }
    drop(slow);
    eventually("all of them to be gone", || handle.stats().handshakes == 0);
    assert_eq!(handle.stats().clients, 1);
    latencies(&mut client, 10);
}

#[test]
fn handshakes_that_make_way_leave_nothing_behind() {
    let program = Program::start(&["--max-handshakes=3"]);
    let mut client = Raw::open(program.address, "/");
    let before = threads_and_descriptors(program.pid());
    let waiting: Vec<TcpStream> = (0..50).map(|_| dial(program.address)).collect();
    latencies(&mut client, 1);
    // Three that wait, and no more; a thread that has become free may serve one.
    eventually("the others to be gone", || {
        let (threads, descriptors) = threads_and_descriptors(program.pid());
        threads <= before.0 + 3 && descriptors == before.1 + 3
    });
    let mut newcomer = Raw::open(program.address, "/");
    latencies(&mut newcomer, 1);
    drop(waiting);
}

/// A TLS ClientHello of this length: the headers of record and handshake,
/// and nothing true behind them.
fn client_hello(length: usize) -> Vec<u8> {
    let record = (length - 5) as u16;
    let mut bytes = vec![0x16, 3, 1];
    bytes.extend(record.to_be_bytes());
    bytes.extend([1, 0]);
    bytes.extend((record - 4).to_be_bytes());
    bytes.resize(length, 0x5a);
    bytes
}

#[test]
fn other_protocols_are_recognised_and_closed_at_once() {
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let proxied = [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n"[..],
        &handshake("/"),
    ]
    .concat();
    let proxied2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    for (what, inputs) in [
        ("TLS", [200, 517, 1800, 4000].map(client_hello).to_vec()),
        ("HTTP/2", vec![http2]),
        ("the PROXY protocol", vec![proxied, proxied2]),
    ] {
        let mut program = Program::start(&[]);
        for (n, bytes) in inputs.iter().enumerate() {
            let mut stream = dial(program.address);
            stream.write_all(bytes).unwrap();
            let end = stream.read_to_end(&mut Vec::new());
            assert!(end.is_ok(), "{what}, {} bytes: {end:?}", bytes.len());
            if n == 0 {
                // The others are not logged at once.
                let line = program.expect_log(&format!("speaks {what}"));
                let peer = stream.local_addr().unwrap().to_string();
                assert!(line.contains(&peer), "{line}");
            }
        }
        program.signal(Signal::TERM);
        let log = program.whole_log();
        assert_eq!(log.matches("speaks").count(), 1, "{log}");
    }
}

/// Whether a handshake with this Host and this Origin is let in.
fn is_let_in(server: &Running, host: &str, origin: &str) -> bool {
    let mut stream = dial(server.local_addr());
    let host = format!("Host: {host}");
    let origin = format!("Origin: {origin}");
    let request = instead("Host", &[&host, &origin]);
    stream.write_all(&request).unwrap();
    let head = read_head(&mut stream).unwrap();
    match &head[..13] {
        "HTTP/1.1 101 " => true,
        "HTTP/1.1 403 " => false,
        _ => panic!("{head}"),
    }
}

#[test]
fn a_page_of_another_site_is_let_in_only_where_that_is_allowed() {
    let own = server(|_| {});
    assert!(is_let_in(&own, "chat.example", "http://chat.example"));
    assert!(is_let_in(&own, "chat.example", "https://chat.example"));
    assert!(is_let_in(&own, "Chat.Example", "https://chat.example:443"));
    assert!(is_let_in(&own, "[::1]:8080", "http://[::1]:8080"));
    assert!(!is_let_in(&own, "chat.example", "http://evil.example"));
    assert!(!is_let_in(&own, "chat.example", "http://chat.example:81"));
    assert!(!is_let_in(&own, "chat.example:8080", "http://chat.example"));
    assert!(!is_let_in(&own, "chat.example", "http://chat.example.evil"));
    assert!(!is_let_in(&own, "chat.example", "null"));

    let listed = server(|config| {
        let origins = ["https://app.example", "http://dev.example:3000"];
        config.allow_origin = origins.map(str::to_owned).to_vec();
    });
    assert!(is_let_in(&listed, "chat.example", "https://app.example"));
    assert!(is_let_in(
        &listed,
        "chat.example",
        "http://dev.example:3000"
    ));
    assert!(is_let_in(&listed, "chat.example", "http://chat.example"));
    assert!(!is_let_in(&listed, "chat.example", "http://app.example"));
    assert!(!is_let_in(&listed, "chat.example", "http://dev.example"));

    let any = server(|config| config.allow_origin = vec!["*".to_owned()]);
    assert!(is_let_in(&any, "chat.example", "http://evil.example"));
    assert!(is_let_in(&any, "chat.example", "null"));
}

#[test]
fn the_first_subprotocol_that_both_know_is_chosen() {
    let knowing = |config: &mut Config| {
        config.subprotocol = ["chat.v2", "chat.v1"].map(str::to_owned).to_vec();
    };
    let server = server(knowing);
    for (offers, chosen) in [
        (&["chat.v1"][..], "chat.v1"),
        (&["chat.v1, chat.v2"], "chat.v1"),
        (&["other ,chat.v2,chat.v1"], "chat.v2"),
        (&["other", "chat.v2"], "chat.v2"),
        (&["CHAT.V1"], ""),
        (&["other"], ""),
        (&[], ""),
    ] {
        let lines: Vec<String> = offers
            .iter()
            .map(|offer| format!("Sec-WebSocket-Protocol: {offer}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut stream = dial(server.local_addr());
        let headers = [&UPGRADE[..], &lines].concat();
        stream
            .write_all(&request("GET / HTTP/1.1", &headers))
            .unwrap();
        let answer = Answer::parse(&read_head(&mut stream).unwrap()).unwrap();
        assert_eq!(answer.status, 101, "{offers:?}");
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            chosen,
            "{offers:?}"
        );
    }
}

#[test]
fn two_spellings_of_a_path_are_one_room_and_nothing_is_normalised() {
    let server = server(|_| {});
    let same = [
        "/caf%C3%A9",
        "/caf%c3%a9?name=ann",
        "/%63%61%66%C3%A9",
        "http://localhost/caf%C3%A9",
        "ws://localhost/caf%C3%A9",
    ];
    let mut clients = same.map(|path| Raw::connect(&server, path));
    let others = [
        "/caf%C3%A9/",
        "//caf%C3%A9",
        "/./caf%C3%A9",
        "/CAF%C3%A9",
        "/",
    ];
    let mut strangers = others.map(|path| Raw::connect(&server, path));
    for sender in 0..clients.len() {
        clients[sender].send(Opcode::Text, &[b'0' + sender as u8]);
        for client in &mut clients {
            assert_eq!(client.data().payload, [b'0' + sender as u8]);
        }
    }
    server.handle().broadcast_all("last").unwrap();
    for stranger in &mut strangers {
        assert_eq!(stranger.data().payload, b"last");
    }
    let rooms = server.handle().rooms().unwrap();
    let cafe = rooms.iter().find(|room| room.name == "/café").unwrap();
    assert_eq!((cafe.clients, rooms.len()), (5, 6));
}

#[test]
fn the_debug_log_says_why_and_keeps_secrets() {
    let mut command = Program::command(&["--subprotocol=known"]);
    command.env("RUST_LOG", "debug");
    let mut program = Program::launch(command);
    let secrets = [
        "Cookie: session=SECRET",
        "Authorization: Bearer SECRET",
        "Sec-WebSocket-Protocol: known, SECRET",
        "X-Api-Key: SECRET",
        "User-Agent: SECRET",
    ];
    let key = "Sec-WebSocket-Key: SECRET";
    let headers = |more: &[&'static str]| [&UPGRADE[..], &secrets, more].concat();
    let target = "/lobby?token=SECRET";
    let refused = [
        request(&format!("GET {target} HTTP/1.0"), &headers(&[])),
        request(&format!("PUT {target} HTTP/1.1"), &headers(&[])),
        request(&format!("GET {target}#SECRET HTTP/1.1"), &headers(&[])),
        request(&format!("GET {target} HTTP/1.1"), &headers(&[key])),
        request(
            &format!("GET {target} HTTP/1.1"),
            &headers(&["Origin: https://other.example"]),
        ),
        request(
            &format!("GET {target} HTTP/1.1"),
            &headers(&["bad line SECRET"]),
        ),
        request(&format!("GET /%zz{target} HTTP/1.1"), &headers(&[])),
    ];
    for request in &refused {
        let answer = ask_for_line(program.address, request);
        assert!(answer.status >= 400, "{answer:?}");
        let line = program.expect_log("refused: ");
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
        assert!(line.contains(&answer.status.to_string()), "{line}");
        assert!(line.contains(answer.body.trim_end()), "{line}");
    }
    let mut stream = dial(program.address);
    let line = format!("GET {target} HTTP/1.1");
    stream.write_all(&request(&line, &headers(&[]))).unwrap();
    let head = read_head(&mut stream).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut client = Raw { stream };
    client.send(Opcode::Text, b"SECRET");
    assert_eq!(client.data().payload, b"SECRET");
    client.send(Opcode::Close, &1000u16.to_be_bytes());
    client.expect_close(1000);
    drop(client);
    program.expect_log("room=\"/lobby\" left");
    program.signal(Signal::TERM);
    let log = program.whole_log();
    assert!(!log.contains("SECRET"), "{log}");
    assert!(log.contains("--allow-origin"), "{log}");
}

#[test]
fn what_comes_from_a_peer_is_escaped_in_the_log() {
    let mut command = Program::command(&[]);
    command.env("RUST_LOG", "debug");
    let mut program = Program::launch(command);
    for target in ["/\u{202e}evil", "/a\"b", "/%E2%80%AEevil"] {
        let mut stream = dial(program.address);
        stream.write_all(&handshake(target)).unwrap();
        drop(read_head(&mut stream).unwrap());
    }
    let mut rubbish = dial(program.address);
    rubbish
        .write_all(b"\x1b[2J\x07 / HTTP/1.1\r\n\r\n")
        .unwrap();
    let mut rest = Vec::new();
    rubbish.read_to_end(&mut rest).unwrap();
    program.signal(Signal::TERM);
    let log = program.whole_log();
    let clean = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(log.chars().all(clean), "{log:?}");
}

#[test]
fn a_client_is_a_member_only_after_its_101() {
    let server = server(|_| {});
    let handle = server.handle();
    let mut stream = dial(server.local_addr());
    let request = handshake("/");
    let (most, last) = request.split_at(request.len() - 1);
    stream.write_all(most).unwrap();
    eventually("the handshake", || handle.stats().handshakes == 1);
    handle.broadcast("/", "too early").unwrap();
    assert!(handle.clients().unwrap().is_empty());
    stream.write_all(last).unwrap();
    let head = read_head(&mut stream).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(handle.stats().joins, 1);
    handle.broadcast("/", "in time").unwrap();
    assert_eq!(Raw { stream }.data().payload, b"in time");
}

#[test]
fn an_answer_is_delivered_to_a_peer_that_sends_on() {
    let server = server(|_| {});
    for _ in 0..20 {
        let mut stream = dial(server.local_addr());
        let mut sending = stream.try_clone().unwrap();
        stream
            .write_all(b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let sender = thread::spawn(move || {
            for _ in 0..100 {
                match sending.write_all(&[b'x'; 1000]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert_eq!(read_line(&mut stream).status, 405);
        sender.join().unwrap();
    }
}
