//! The end of the server: in order, within its deadline, and with the right
//! word to everybody and to the shell.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use hubcast::Server;
use rustix::process::Signal;

use crate::http::{ask_for_line, read_line};
use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{follow, handshake, plain};
use crate::support::{
    Program, Raw, connect, connect_to, deadline, dial, eventually, next_close, next_text, server,
    tight_server,
};

/// What a loaded machine may take on top of a deadline.
const SLACK: Duration = Duration::from_secs(3);

/// Answers the server's Close.
fn answer_close(client: &mut Raw) {
    let close = client.data();
    assert_eq!(close.close_code(), Some(1001), "{close:?}");
    assert_eq!(&close.payload[2..], b"server shutdown");
    client.send(Opcode::Close, &close.payload);
    client.expect_end();
}

#[test]
fn threads_that_wait_for_another_client_end_with_the_server() {
    let server = server(|config| config.shutdown_timeout = Duration::from_millis(500));
    let clients: Vec<_> = (0..20).map(|_| connect(&server, "/")).collect();
    drop(clients);
    eventually("all to have left", || server.handle().stats().clients == 0);
    let summary = server.shutdown().unwrap();
    assert_eq!((summary.aborted, summary.left), (0, 0), "{summary}");
}

#[test]
fn a_signal_ends_the_program_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut program = Program::start(&["--shutdown-timeout=10m"]);
        let mut clients = [(); 3].map(|()| Raw::open(program.address, "/"));
        let mut begun = dial(program.address);
        begun.write_all(&handshake("/")[..30]).unwrap();
        let mut silent = dial(program.address);
        // So that both have been accepted.
        program.expect_log("joined, clients=3");
        answered_by_the_program(&program);
        let start = Instant::now();
        program.signal(signal);
        for stream in [&mut begun, &mut silent] {
            let answer = read_line(stream);
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_ne!(answer.header("retry-after"), "");
        }
        drop((begun, silent));
        for client in &mut clients {
            answer_close(client);
        }
        drop(clients);
        assert_eq!(program.wait().code(), Some(0));
        assert!(start.elapsed() < deadline() / 2, "{:?}", start.elapsed());
        let log = program.whole_log();
        assert!(log.contains("shutting down, clients=3"), "{log}");
        let summary = log.lines().last().unwrap();
        assert!(summary.contains("stopped: clients=3 messages=0"), "{log}");
        assert!(summary.ends_with("aborted=0 left=0"), "{log}");
    }
}

/// Returns when the program has accepted everybody who came before.
fn answered_by_the_program(program: &Program) {
    let answer = ask_for_line(program.address, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 405);
}

#[test]
fn who_waits_to_be_accepted_at_the_stop_gets_503() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let mut streams = [(); 20].map(|()| dial(server.local_addr()));
    for stream in &mut streams {
        stream.write_all(&handshake("/")).unwrap();
    }
    server.handle().shutdown();
    server.run().unwrap();
    for stream in &mut streams {
        let answer = read_line(stream);
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "5");
    }
}

#[test]
fn clients_that_do_not_answer_are_aborted_at_the_deadline() {
    let mut program = Program::start(&["--shutdown-timeout=500ms", "--queue-bytes=100MiB"]);
    let stalled = Raw::open(program.address, "/");
    let mut busy = Raw::open(program.address, "/");
    program.expect_log("joined, clients=2");
    let mut sending = Raw {
        stream: busy.stream.try_clone().unwrap(),
    };
    // More than the stalled one's socket holds, so its Close has to wait.
    let sender = thread::spawn(move || {
        for _ in 0..200 {
            sending.send(Opcode::Binary, &[7; 64 * 1024]);
        }
    });
    for _ in 0..200 {
        assert_eq!(busy.data().payload.len(), 64 * 1024);
    }
    sender.join().unwrap();
    let start = Instant::now();
    program.signal(Signal::TERM);
    answer_close(&mut busy);
    drop(busy);
    assert_eq!(program.wait().code(), Some(0));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
    let log = program.whole_log();
    assert!(log.lines().last().unwrap().ends_with(" left=0"), "{log}");
    drop(stalled);
}

#[test]
fn a_second_signal_ends_the_program_at_once_with_130() {
    let mut program = Program::start(&["--shutdown-timeout=10m", "--close-timeout=10m"]);
    let stalled = Raw::open(program.address, "/");
    program.expect_log("joined, clients=1");
    program.signal(Signal::INT);
    program.expect_log("shutting down");
    program.signal(Signal::INT);
    assert_eq!(program.wait().code(), Some(130));
    drop(stalled);
}

#[test]
fn the_port_is_free_again_at_once() {
    // An address of its own, so that no outgoing connection of another test
    // can have the port.
    let mut program = Program::start(&["--listen", "127.0.0.77:0"]);
    for _ in 0..3 {
        let address = program.address;
        let mut clients = [(); 5].map(|()| Raw::open(address, "/"));
        program.expect_log("joined, clients=5");
        program.signal(Signal::TERM);
        // The server ends the stream first, so the waiting state is its own.
        clients.iter_mut().for_each(answer_close);
        drop(clients);
        assert_eq!(program.wait().code(), Some(0));
        program = Program::start(&["--listen", &address.to_string()]);
        assert_eq!(program.address, address);
    }
    let address = program.address;
    program.signal(Signal::TERM);
    program.wait();
    TcpListener::bind(address).unwrap();
}

/// Runs the program to its end.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hubcast"))
        .args(args)
        .env("RUST_LOG", "info")
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn an_address_that_cannot_be_listened_on_is_one_line_and_exit_code_1() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap().to_string();
    for (address, cause) in [
        (held.as_str(), "in use"),
        // From the block for documentation: nobody has it.
        ("192.0.2.1:80", "assign"),
    ] {
        let (code, stdout, stderr) = run(&["--listen", address]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(address), "{stderr}");
        assert!(stderr.to_lowercase().contains(cause), "{stderr}");
    }
    drop(holder);
}

#[test]
fn wrong_usage_is_exit_code_2_and_names_the_option() {
    for (args, named) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--ping-interval=soon"], "--ping-interval"),
        (&["--queue-bytes=-1"], "--queue-bytes"),
        (&["--slow-consumer=wait"], "--slow-consumer"),
        (&["--read-buffer=3"], "read-buffer"),
        (&["--write-timeout=0s"], "write-timeout"),
        (&["--allow-origin=example.org"], "allow-origin"),
        (&["--subprotocol=a b"], "subprotocol"),
        (&["--listen=127.0.0.1:99999"], "127.0.0.1:99999"),
        (
            &["--listen=127.0.0.1:0", "--admin-listen=nowhere"],
            "nowhere",
        ),
        (&["lobby"], "lobby"),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (code, help, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(help.contains("--listen") && help.contains("HUBCAST_MAX_CLIENTS"));
    let (code, version, stderr) = run(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let built = concat!("hubcast ", env!("CARGO_PKG_VERSION"), " (features: cli");
    assert!(version.starts_with(built), "{version}");
}

#[test]
fn queued_messages_come_before_the_close() {
    let server = tight_server(|config| config.queue_bytes = 1 << 30);
    let mut slow = Raw::connect_tight(&server, "/");
    for number in 0..200u8 {
        server.handle().broadcast("/", vec![number; 3000]).unwrap();
    }
    let ending = thread::spawn(|| server.shutdown().unwrap());
    for number in 0..200u8 {
        assert_eq!(slow.data().payload, vec![number; 3000]);
    }
    answer_close(&mut slow);
    drop(slow);
    let summary = ending.join().unwrap();
    assert_eq!((summary.aborted, summary.left), (0, 0));
    assert_eq!(summary.stats.departed("shutdown"), 1);
}

#[test]
fn a_client_of_a_library_sees_an_orderly_close() {
    let server = server(|_| {});
    let mut client = connect(&server, "/");
    let ending = thread::spawn(|| server.shutdown().unwrap());
    let (code, reason) = next_close(&mut client);
    assert_eq!((code, reason.as_str()), (1001, "server shutdown"));
    // The library answers by itself, and then sees the end.
    while client.read().is_ok() {}
    drop(client);
    assert_eq!(ending.join().unwrap().aborted, 0);
}

#[test]
fn stalled_clients_are_aborted_and_counted() {
    let server = tight_server(|config| {
        config.shutdown_timeout = Duration::from_millis(300);
        config.queue_bytes = 1 << 30;
    });
    let stalled = [(); 3].map(|()| Raw::connect_tight(&server, "/"));
    for _ in 0..3 {
        server.handle().broadcast("/", vec![0; 1 << 20]).unwrap();
    }
    eventually("all to have a backlog", || {
        let clients = server.handle().clients().unwrap();
        clients.iter().all(|client| client.queue_bytes > 0)
    });
    let start = Instant::now();
    let summary = server.shutdown().unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(300) + SLACK, "{took:?}");
    // Each has a reader and a writer.
    assert_eq!((summary.aborted, summary.left), (6, 0));
    assert_eq!(summary.stats.queue_bytes, 0);
    // Of three messages one was begun.
    assert_eq!(summary.stats.dropped_messages, 3 * 2);
    drop(stalled);
}

#[test]
fn senders_that_do_not_stop_do_not_hold_it_up() {
    let server = server(|config| config.shutdown_timeout = Duration::from_millis(500));
    let senders = [(); 4].map(|()| {
        let mut client = Raw::connect(&server, "/");
        thread::spawn(move || {
            let mut stream = client.stream.try_clone().unwrap();
            let reading = thread::spawn(move || {
                // It never answers a Close, but the end of the stream is one.
                let _ = io::copy(&mut stream, &mut io::sink());
                let _ = stream.shutdown(Shutdown::Both);
            });
            let frame = masked(Opcode::Text, &[b'x'; 500]);
            while client.stream.write_all(&frame).is_ok() {}
            reading.join().unwrap();
        })
    });
    eventually("messages", || {
        server.handle().stats().received_messages > 1000
    });
    let start = Instant::now();
    let summary = server.shutdown().unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
    assert_eq!(summary.left, 0);
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn a_hook_that_does_not_return_holds_it_up_for_a_second_at_most() {
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = Server::builder()
        .configure(|config| config.shutdown_timeout = Duration::from_millis(300))
        .on_message(move |_, message| {
            let _ = held.lock().unwrap().recv();
            Some(message)
        })
        .bind("127.0.0.1:0");
    let server = server.unwrap().spawn().unwrap();
    let mut stuck = Raw::connect(&server, "/");
    stuck.send(Opcode::Text, b"into the hook");
    eventually("the hook", || {
        server.handle().stats().received_messages == 1
    });
    let start = Instant::now();
    let summary = server.shutdown().unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1300) + SLACK, "{took:?}");
    assert_eq!((summary.aborted, summary.left), (1, 1));
    drop(release);
}

/// Comes again and again, until the server is gone; returns all connections.
fn come_until_the_end(address: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    while let Ok(mut stream) = TcpStream::connect(address) {
        stream.set_read_timeout(Some(deadline())).unwrap();
        // It fails for a client that has come too late and is reset already.
        if stream.write_all(&handshake("/")).is_ok() {
            streams.push(stream);
        }
    }
    streams
}

/// Reads to the end of the stream; something for a client that was let in,
/// and then told that the server goes away.
fn was_let_in(mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        // A connection that the server has never accepted ends by a reset.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(bytes, b"");
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    if text.starts_with("HTTP/1.1 503 ") {
        return None;
    }
    assert!(text.starts_with("HTTP/1.1 101 "), "{text:?}");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let frames = &bytes[end.unwrap() + 4..];
    assert_eq!(frames[..4], [0x88, 17, 3, 0xe9], "one frame, Close 1001");
    assert_eq!(&frames[4..], b"server shutdown");
    Some(())
}

#[test]
fn who_comes_during_the_shutdown_gets_an_answer() {
    for _ in 0..5 {
        let server = server(|config| config.shutdown_timeout = Duration::from_millis(300));
        let address = server.local_addr();
        let comers = [(); 4].map(|()| thread::spawn(move || come_until_the_end(address)));
        eventually("some clients", || server.handle().stats().joins > 20);
        let ending = thread::spawn(|| server.shutdown().unwrap());
        let streams = comers.map(|comer| comer.join().unwrap());
        let streams = streams.into_iter().flatten();
        let let_in = streams.filter_map(was_let_in).count() as u64;
        let summary = ending.join().unwrap();
        assert_eq!((let_in, summary.left), (summary.stats.joins, 0));
        assert_eq!(summary.stats.clients, 0);
    }
}

#[test]
fn dropping_a_running_server_shuts_it_down() {
    let server = server(|_| {});
    let handle = server.handle();
    let address = server.local_addr();
    let mut client = Raw::connect(&server, "/");
    let dropping = thread::spawn(move || drop(server));
    answer_close(&mut client);
    drop(client);
    dropping.join().unwrap();
    assert_eq!(handle.stats().clients, 0);
    assert!(handle.broadcast("/", "too late").unwrap_err().is_stopped());
    assert!(handle.clients().is_err());
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_client_that_vanishes_during_the_shutdown_is_not_waited_for() {
    let server = server(|_| {});
    let clients = [(); 10].map(|()| Raw::connect(&server, "/"));
    server.handle().shutdown();
    drop(clients);
    let start = Instant::now();
    let summary = server.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK);
    assert_eq!((summary.aborted, summary.left), (0, 0));
}

#[test]
fn a_drain_is_announced_and_closes_one_after_the_other() {
    // A quarter of it passes before the port is closed.
    let drain = deadline() / 5;
    let over = drain / 4 * 3;
    let mut program = Program::start(&[&format!("--drain={}ms", drain.as_millis())]);
    let address = program.address;
    let status = |path: &str| ask_for_line(address, &plain("GET", path, &[])).status;
    assert_eq!(status("/-/readyz"), 200);
    let mut clients = [(); 3].map(|()| connect_to(address, "/"));
    let mut events = dial(address);
    events.write_all(&follow("/", &[])).unwrap();
    program.expect_log("joined, clients=4");
    program.signal(Signal::TERM);
    program.expect_log("signal received");
    eventually("the server not to be ready", || status("/-/readyz") == 503);
    assert_eq!(status("/-/healthz"), 200);
    // It goes on, and lets in who has not heard of it.
    let mut late = connect_to(address, "/");
    late.send("as ever".into()).unwrap();
    for client in &mut clients {
        assert_eq!(next_text(client), "as ever");
    }
    program.expect_log(&format!("draining over {over:?}, clients=5"));
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    let begun = Instant::now();
    let ends: Vec<_> = clients
        .into_iter()
        .chain([late])
        .map(|mut client| {
            thread::spawn(move || {
                let (code, reason) = next_close(&mut client);
                let _ = client.flush();
                (code, reason, Instant::now())
            })
        })
        .collect();
    let mut stream = String::new();
    events.read_to_string(&mut stream).unwrap();
    assert!(stream.contains("\nretry: "), "{stream}");
    assert!(stream.contains("event: close\ndata: 1012 restarting; come back in "));
    let mut times = Vec::new();
    for end in ends {
        let (code, reason, at) = end.join().unwrap();
        assert_eq!(code, 1012);
        assert!(reason.starts_with("restarting; come back in "), "{reason}");
        times.push(at);
    }
    let last = times.iter().max().unwrap();
    assert!(*last - begun > over / 3, "{times:?}");
    assert_eq!(program.wait().code(), Some(0));
    assert!(program.whole_log().ends_with("aborted=0 left=0\n"));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let mut program = Program::start(&["--drain=10m"]);
    let _client = Raw::open(program.address, "/");
    program.signal(Signal::TERM);
    program.expect_log("signal received");
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(130));
}

#[test]
fn a_client_is_closed_at_its_age() {
    let server = server(|config| config.max_age = Duration::from_millis(200));
    let start = Instant::now();
    let mut client = connect(&server, "/");
    let close = next_close(&mut client);
    assert_eq!(close, (1001, "reached max-age; come back".to_owned()));
    assert!(start.elapsed() >= Duration::from_millis(150), "{start:?}");
    let _ = client.flush();
    eventually("the client to be counted", || {
        server.handle().stats().departed("max_age") == 1
    });
}
