//! Limits and floods: what is too much is refused or read, nothing is left
//! behind, and whoever is inside is served on.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hubcast::Server;
use rustix::process::Signal;

use crate::http::{ask_for_line, read_line};
use crate::kit::frame::{self, Opcode, fragment, masked};
use crate::kit::http::{Answer, handshake, read_head};
use crate::kit::process::raise_descriptor_limit;
use crate::kit::socket::dial_prepared;
use crate::support::{
    Program, Raw, dial, dial_tight, eventually, reset, server, threads_and_descriptors,
    tight_server,
};

/// Sends a message around.
#[track_caller]
fn chat(client: &mut Raw) {
    client.send(Opcode::Text, b"tick");
    assert_eq!(client.data().payload, b"tick");
}

/// Whether a handshake is accepted; it must be answered in any case.
fn is_let_in(mut stream: TcpStream) -> bool {
    stream.write_all(&handshake("/")).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    match &status {
        b"HTTP/1.1 101" => true,
        b"HTTP/1.1 503" => false,
        _ => panic!("{}", String::from_utf8_lossy(&status)),
    }
}

/// Waits until the program has as many threads and descriptors as it had.
#[track_caller]
fn expect_back_at(program: &Program, before: (usize, usize)) {
    let mut now = before;
    eventually("threads and descriptors to be given back", || {
        now = threads_and_descriptors(program.pid());
        now.0 <= before.0 && now.1 <= before.1
    });
}

/// The processor time a process has used, in ticks of 10 ms.
fn ticks_of(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let times = fields.skip(11).take(2);
    times.map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_full_server_answers_503_and_lets_in_again() {
    let mut program = Program::start(&["--max-clients=5"]);
    let mut clients = [(); 5].map(|()| Raw::open(program.address, "/"));
    program.expect_log("joined, clients=5");
    let full = threads_and_descriptors(program.pid());
    for _ in 0..100 {
        let answer = ask_for_line(program.address, &handshake("/"));
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "5");
    }
    let line = program.expect_log("WARN");
    assert!(line.contains("the server is full"), "{line}");
    expect_back_at(&program, full);
    let [first, others @ ..] = &mut clients;
    first.send(Opcode::Text, b"still here");
    for client in others {
        assert_eq!(client.data().payload, b"still here");
    }
    drop(clients);
    eventually("one to be let in again", || {
        is_let_in(dial(program.address))
    });
}

/// Connects from another loopback address.
fn dial_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let stream = dial_prepared(address, |socket| {
        Ok(rustix::net::bind(socket, &SocketAddrV4::new(source, 0))?)
    });
    stream.unwrap()
}

#[test]
fn an_address_may_have_its_share_of_clients_and_no_more() {
    let server = server(|config| config.max_clients_per_ip = 2);
    let address = server.local_addr();
    let clients = [(); 2].map(|()| Raw::connect(&server, "/"));
    for _ in 0..10 {
        let answer = ask_for_line(address, &handshake("/"));
        assert_eq!(answer.status, 503);
        assert_ne!(answer.header("retry-after"), "");
    }
    let neighbour = Ipv4Addr::new(127, 0, 0, 2);
    assert!(is_let_in(dial_from(neighbour, address)));
    drop(clients);
    eventually("the address to be let in again", || {
        is_let_in(dial(address))
    });
}

/// The program, started by a shell that sets a limit first.
fn limited(limit: &str, args: &[&str]) -> Program {
    let program = Program::command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(program.get_args());
    shell.env("RUST_LOG", "info");
    Program::launch(shell)
}

#[test]
fn without_descriptors_it_serves_on_waits_idly_and_recovers() {
    let args = ["--max-clients=1000", "--handshake-timeout=10m"];
    let mut program = limited("ulimit -n 64", &args);
    let mut clients: Vec<Raw> = (0..10).map(|_| Raw::open(program.address, "/")).collect();
    program.expect_log("joined, clients=10");
    let before = threads_and_descriptors(program.pid());
    let waiting: Vec<TcpStream> = (0..200).map(|_| dial(program.address)).collect();
    let trouble = program.expect_log("cannot accept connections");
    assert!(trouble.contains("clients=10"), "{trouble}");
    assert!(threads_and_descriptors(program.pid()).1 >= 64);

    let (start, ticks) = (Instant::now(), ticks_of(program.pid()));
    while start.elapsed() < Duration::from_secs(1) {
        for sender in 0..clients.len() {
            clients[sender].send(Opcode::Text, b"tick");
            for client in &mut clients {
                assert_eq!(client.data().payload, b"tick");
            }
        }
        thread::sleep(Duration::from_millis(100)); // its pace
    }
    let used = ticks_of(program.pid()) - ticks;
    assert!(used <= 30, "{used} ticks of 10 ms in a second");

    drop(waiting);
    eventually("one to be let in again", || {
        is_let_in(dial(program.address))
    });
    expect_back_at(&program, before);
    drop(clients);
    program.signal(Signal::TERM);
    let log = program.whole_log();
    let said = log.matches("cannot accept connections").count();
    assert_eq!(said, 1, "{log}");
}

#[test]
fn a_small_descriptor_limit_leaves_room_for_clients() {
    let program = limited("ulimit -n 64", &[]);
    let mut clients: Vec<Raw> = (0..20).map(|_| Raw::open(program.address, "/")).collect();
    chat(&mut clients[19]);
}

/// A program that has address space for a few threads only.
fn cramped() -> Program {
    // Each thread wants a tenth of what the address space has left.
    let args = ["--stack-size=64MiB", "--max-clients=100"];
    limited("ulimit -v 930000", &args)
}

/// Adds clients until one is refused; returns the answer to that one.
fn fill(program: &Program, clients: &mut Vec<Raw>) -> Answer {
    loop {
        let mut stream = dial(program.address);
        stream.write_all(&handshake("/")).unwrap();
        let mut status = [0; 12];
        assert_eq!(stream.peek(&mut status).unwrap(), 12);
        if &status != b"HTTP/1.1 101" {
            return read_line(&mut stream);
        }
        read_head(&mut stream).unwrap();
        clients.push(Raw { stream });
        assert!(clients.len() < 50, "the limit is reached");
    }
}

#[test]
fn a_writer_thread_that_cannot_be_started_costs_one_client_its_place() {
    let mut program = cramped();
    let mut stalled = dial_tight(program.address);
    stalled.write_all(&handshake("/")).unwrap();
    read_head(&mut stalled).unwrap();
    let mut clients = Vec::new();
    fill(&program, &mut clients);
    assert!(clients.len() > 1, "somebody to speak and somebody to hear");
    // More than the system keeps for somebody who does not read.
    let messages = (0..64_usize).map(|n| vec![n as u8; 16 * 1024]);
    for message in messages {
        clients[0].send(Opcode::Binary, &message);
        for client in &mut clients {
            assert_eq!(client.data().payload, message);
        }
    }
    let lost = program.expect_log("refused a writer thread");
    assert!(lost.contains("client=1 "), "{lost}");
    while let Ok(frame) = frame::read(&mut stalled) {
        assert_eq!(frame.payload.len(), 16 * 1024, "whole until it is cut off");
    }
    chat(&mut clients[0]);
}

#[test]
fn a_thread_that_cannot_be_started_costs_one_connection_a_503() {
    let program = cramped();
    let mut clients: Vec<Raw> = Vec::new();
    let refused = fill(&program, &mut clients);
    assert_eq!(refused.status, 503);
    assert_ne!(refused.header("retry-after"), "");
    assert!(!clients.is_empty());
    chat(&mut clients[0]);
    drop(clients);
    eventually("one to be let in again", || {
        is_let_in(dial(program.address))
    });
}

#[test]
fn a_thousand_connections_leave_no_thread_and_no_descriptor() {
    let program = Program::start(&[]);
    let before = threads_and_descriptors(program.pid());
    let address = program.address;
    let turns = [0, 1, 2, 3].map(|number| {
        thread::spawn(move || {
            for turn in 0..250 {
                let mut client = Raw::open(address, &format!("/{number}"));
                chat(&mut client);
                match turn % 5 {
                    0 => {
                        client.send(Opcode::Close, &[]);
                        client.data();
                        client.expect_end();
                    }
                    1 => client.send(Opcode::Close, &[]),
                    2 => client.send(Opcode::Text, b"\xff"),
                    3 => reset(client.stream),
                    _ => {}
                }
            }
        })
    });
    turns.into_iter().for_each(|turn| turn.join().unwrap());
    expect_back_at(&program, before);
}

/// The threads that serve connections, by their numbers and names.
fn readers_of(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tasks = tasks.filter_map(|task| {
        let task = task.unwrap();
        // It may have ended since it was listed.
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let number = task.file_name().into_string().unwrap();
        let name = name.trim_end().to_owned();
        name.starts_with("reader-").then_some((number, name))
    });
    tasks.collect()
}

#[test]
fn a_client_gets_a_thread_that_has_become_free_under_a_name_of_its_own() {
    let program = Program::start(&[]);
    let before = threads_and_descriptors(program.pid());
    let mut client = Raw::open(program.address, "/");
    chat(&mut client);
    let first = readers_of(program.pid());
    assert_eq!(first.len(), 1, "{first:?}");
    let mut number = 1;
    eventually("the first client's thread to serve another", || {
        client.stream = dial(program.address);
        client.stream.write_all(&handshake("/")).unwrap();
        read_head(&mut client.stream).unwrap();
        number += 1;
        let name = format!("reader-{number}");
        readers_of(program.pid()).contains(&(first[0].0.clone(), name))
    });
    drop(client);
    expect_back_at(&program, before);
}

#[test]
fn two_thousand_resets_leave_nothing() {
    let program = Program::start(&[]);
    let before = threads_and_descriptors(program.pid());
    let mut bystander = Raw::open(program.address, "/");
    for turn in 0..2000 {
        let mut stream = dial(program.address);
        match turn % 4 {
            0 => {}
            1 => stream.write_all(&handshake("/")[..20]).unwrap(),
            // The answer is under way or not.
            2 => stream.write_all(&handshake("/")).unwrap(),
            _ => {
                stream.write_all(&handshake("/")).unwrap();
                read_head(&mut stream).unwrap();
            }
        }
        reset(stream);
    }
    chat(&mut bystander);
    drop(bystander);
    expect_back_at(&program, before);
}

#[test]
fn hundreds_of_idle_clients_may_go_at_once() {
    raise_descriptor_limit().unwrap();
    let mut program = Program::start(&[]);
    let before = threads_and_descriptors(program.pid());
    let mut bystander = Raw::open(program.address, "/");
    let clients: Vec<Raw> = (0..700)
        .map(|room| Raw::open(program.address, &format!("/{}", room % 7)))
        .collect();
    program.expect_log("joined, clients=701");
    eventually("half a second in which nothing is done", || {
        let ticks = ticks_of(program.pid());
        thread::sleep(Duration::from_millis(500)); // for nothing to happen in
        ticks_of(program.pid()) - ticks <= 1
    });
    drop(clients);
    chat(&mut bystander);
    drop(bystander);
    expect_back_at(&program, before);
}

#[test]
fn a_thousand_clients_connect_at_once_without_a_retransmitted_syn() {
    raise_descriptor_limit().unwrap();
    // Nobody accepts yet: all of them have to wait in the backlog. One that
    // finds no place sends its SYN again after a second.
    let server = Server::bind("127.0.0.1:0").unwrap();
    let mut streams: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let start = Instant::now();
            let stream = dial(server.local_addr());
            let took = start.elapsed();
            assert!(took < Duration::from_millis(900), "{number}: {took:?}");
            stream
        })
        .collect();
    for stream in &mut streams {
        stream.write_all(&handshake("/")).unwrap();
    }
    let server = server.spawn().unwrap();
    for stream in &mut streams {
        let head = read_head(stream).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    assert_eq!(server.handle().stats().joins, 1000);
    server.handle().broadcast("/", "welcome").unwrap();
    for stream in streams {
        let mut client = Raw { stream };
        assert_eq!(client.data().payload, b"welcome");
    }
}

#[test]
fn a_listener_that_does_not_listen_any_more_is_not_asked_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.try_clone().unwrap();
    let server = Server::from_listener(listener).unwrap().spawn().unwrap();
    rustix::net::shutdown(&other, rustix::net::Shutdown::Both).unwrap();
    let errors = || server.handle().stats().accept_errors;
    eventually("several tries", || errors() >= 4);
    // They are 10 ms apart at first, and further each time.
    assert!(errors() < 100, "{}", errors());
    server.shutdown().unwrap();
}

#[test]
fn a_hundred_thousand_pings_may_come_before_a_pong_is_read() {
    let server = tight_server(|_| {});
    let mut bystander = Raw::connect(&server, "/elsewhere");
    let mut client = Raw::connect_tight(&server, "/");
    let before = server.handle().stats().received_bytes;
    let pings = (1..=100_000u32).flat_map(|number| masked(Opcode::Ping, &number.to_be_bytes()));
    let pings: Vec<u8> = pings.collect();
    client.send_bytes(&pings);
    eventually("the server to have read all pings", || {
        server.handle().stats().received_bytes >= before + pings.len() as u64
    });
    chat(&mut bystander);
    let backlog = server.handle().stats().queue_bytes;
    assert!(backlog < 10_000, "{backlog} bytes wait");
    let mut stream = BufReader::new(client.stream);
    let mut last = 0;
    while last < 100_000 {
        let frame = frame::read(&mut stream).unwrap();
        assert_eq!(frame.opcode, Opcode::Pong);
        let number = u32::from_be_bytes(frame.payload.try_into().unwrap());
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}

/// A message of `fragments` fragments, a byte each.
fn crumbs(fragments: usize) -> Vec<u8> {
    let mut bytes = fragment(Opcode::Binary, b".");
    bytes.extend(fragment(Opcode::Continuation, b".").repeat(fragments - 2));
    bytes.extend(masked(Opcode::Continuation, b"."));
    bytes
}

#[test]
fn a_hundred_thousand_fragments_of_a_byte_are_a_message_or_too_many() {
    let patient = server(|config| config.max_fragments = 100_000);
    let mut client = Raw::connect(&patient, "/");
    let mut bystander = Raw::connect(&patient, "/");
    client.send_bytes(&crumbs(100_000));
    for client in [&mut client, &mut bystander] {
        assert!(client.data().payload == vec![b'.'; 100_000]);
    }

    let server = server(|_| {});
    let mut bystander = Raw::connect(&server, "/");
    let mut client = Raw::connect(&server, "/");
    client.send_bytes(&crumbs(100_000));
    client.expect_close(1008);
    chat(&mut bystander);
}

#[test]
fn a_flood_of_tiny_messages_is_not_lost() {
    let server = server(|config| {
        config.queue_messages = 1_000_000;
        config.queue_bytes = 1 << 30;
    });
    let client = Raw::connect(&server, "/");
    let mut sending = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let frame = masked(Opcode::Text, b"");
        sending.write_all(&frame.repeat(100_000)).unwrap();
    });
    let mut stream = BufReader::new(client.stream);
    for _ in 0..100_000 {
        let frame = frame::read(&mut stream).unwrap();
        assert_eq!((frame.opcode, frame.payload.len()), (Opcode::Text, 0));
    }
    sender.join().unwrap();
}

#[test]
fn refused_connections_that_stay_are_dropped() {
    let mut program = Program::start(&["--max-clients=1"]);
    let mut client = Raw::open(program.address, "/");
    program.expect_log("joined, clients=1");
    let before = threads_and_descriptors(program.pid());
    // They neither read nor end.
    let staying: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = dial(program.address);
            let _ = stream.write_all(&handshake("/"));
            stream
        })
        .collect();
    chat(&mut client);
    expect_back_at(&program, before);
    drop(staying);
}
