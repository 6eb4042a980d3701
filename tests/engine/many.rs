//! Many that come back at once, and much that one comes back for: the nodes
//! have it all, and the engine is not asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::kit::frame::{self, Opcode, masked};
use crate::kit::http::{check_upgrade, handshake, read_head};
use crate::kit::socket::dial;
use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Node, deadline, eventually, join, next_text};

const MISSED: usize = 100;
const THREADS: usize = 4;

/// So many clients resume at the same time, each from before 100 messages.
pub fn all_come_back(clients: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let redis = Redis::start(Keeps::Nothing);
    let nodes = [(); 2].map(|()| Node::start(&redis, &[]));
    let position = position(&nodes[0], "/a");
    let mut talker = join(nodes[0].address, "/a");
    for number in 0..MISSED {
        let text = format!("x {number}");
        talker
            .write_all(&masked(Opcode::Text, text.as_bytes()))
            .unwrap();
    }
    let head = |node: &Node| node.metric("hubcast_engine_head");
    eventually("both nodes have them", || {
        nodes.iter().all(|node| head(node) >= MISSED as f64)
    });
    // As many commands as in as long a time in which nothing happens.
    let quiet = commands_during(&redis, || thread::sleep(seconds(3)));
    let begun = Instant::now();
    let mut time = Duration::ZERO;
    let storm = commands_during(&redis, || {
        thread::scope(|scope| {
            for index in 0..THREADS {
                let (nodes, position) = (&nodes, &position);
                scope.spawn(move || come_back(&nodes[index % 2], position, clients / THREADS));
            }
        });
        time = begun.elapsed();
        thread::sleep(seconds(3).saturating_sub(time));
    });
    let each = |name: &str| nodes.iter().map(|node| node.metric(name)).sum::<f64>();
    let complete = each("hubcast_resumes_total{result=\"complete\"}");
    let cut = each("hubcast_displaced_handshakes_total");
    println!(
        "{clients} clients resumed, {complete} completely, {cut} cut in their handshake before: \
         accepted {MISSED}, lost 0, doubled 0, orders 1, in {time:.2?}; the engine had {storm} \
         commands, and {quiet} in 3 s of quiet"
    );
    assert_eq!(complete, clients as f64);
    let length = time.as_secs_f64().max(3.0);
    let allowed = quiet as f64 * length / 3.0 * 1.5 + 50.0;
    assert!((storm as f64) < allowed, "{storm} of {allowed:.0}");
}

/// Clients of one node, which all ask before any is read. More than may be in their
/// handshake from one address are cut, and come back, as clients do.
fn come_back(node: &Node, position: &str, clients: usize) {
    let target = format!("/a?positions&since={position}");
    let open = |_| {
        let mut stream = dial(node.address, deadline()).unwrap();
        stream.set_read_timeout(Some(deadline())).unwrap();
        stream.write_all(&handshake(&target)).unwrap();
        stream
    };
    let streams: Vec<TcpStream> = (0..clients).map(open).collect();
    for mut stream in streams {
        let by = Instant::now() + deadline();
        let head = loop {
            match read_head(&mut stream) {
                Ok(head) => break head,
                Err(error) => assert!(Instant::now() < by, "{error}"),
            }
            stream = open(0);
        };
        check_upgrade(&head).unwrap();
        let at = next_text(&mut stream).unwrap();
        assert!(at.trim_end().ends_with(" complete"), "{at}");
        for number in 0..MISSED {
            let text = next_text(&mut stream).unwrap();
            let (_, message) = text.split_once('\n').unwrap();
            assert_eq!(message, format!("x {number}"));
        }
    }
}

fn commands_during(redis: &Redis, what: impl FnOnce()) -> u64 {
    let count = || -> u64 {
        let info = redis.cli(&["INFO", "commandstats"]);
        let calls = info.lines().filter_map(|line| {
            let calls = line.split_once(":calls=")?.1;
            calls.split(',').next()?.parse::<u64>().ok()
        });
        calls.sum()
    };
    let before = count();
    what();
    count() - before
}

/// Where a room is.
fn position(node: &Node, room: &str) -> String {
    let mut stream = join(node.address, &format!("{room}?positions"));
    let at = next_text(&mut stream).unwrap();
    at.split(' ').nth(1).unwrap().trim_end().to_owned()
}

const MESSAGE: usize = 8 * 1024;
const MESSAGES: usize = 1280;

/// A client resumes from before 10 MiB, and reads so many bytes a second.
/// What may wait for it is 1 MiB.
fn a_long_resume(rate: usize) {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = [(); 2].map(|()| Node::start(&redis, &["--queue-bytes", "1MiB"]));
    let position = position(&nodes[0], "/a");
    let mut talker = join(nodes[0].address, "/a");
    for number in 0..MESSAGES {
        let text = format!("{number:>MESSAGE$}");
        talker
            .write_all(&masked(Opcode::Text, text.as_bytes()))
            .unwrap();
        // It gets them, too, and no more than half of its queue at a time.
        if number % 64 == 63 {
            (0..64).for_each(|_| drop(next_text(&mut talker).unwrap()));
        }
    }
    let node = &nodes[1];
    eventually("the other node has them", || {
        node.metric("hubcast_engine_head") >= MESSAGES as f64
    });
    let before = node.resident();
    let mut most = before;
    let stream = join(node.address, &format!("/a?positions&since={position}"));
    let mut slow = Slow::new(stream, rate);
    let mut heard = 0;
    while heard < MESSAGES {
        let frame = frame::read(&mut slow).unwrap();
        if frame.opcode != Opcode::Text {
            continue;
        }
        let text = String::from_utf8(frame.payload).unwrap();
        match text.strip_prefix("!at ") {
            Some(at) => assert!(at.trim_end().ends_with(" complete"), "{at}"),
            None => {
                let (_, message) = text.split_once('\n').unwrap();
                assert_eq!(message.trim_start(), heard.to_string());
                heard += 1;
            }
        }
        if heard % 64 == 0 {
            most = most.max(node.resident());
        }
    }
    let more = most - before;
    println!(
        "resumed by 10 MiB at {rate} bytes/s: accepted {MESSAGES}, lost 0, doubled 0, orders 1; \
         the node grew by {} KiB",
        more / 1024
    );
    assert!(more < 3 << 20, "{more} bytes more");
    assert_eq!(node.metric("hubcast_evictions_total"), 0.0);
}

/// Reads no faster than so many bytes a second.
struct Slow {
    stream: TcpStream,
    rate: usize,
    begun: Instant,
    read: usize,
}

impl Slow {
    fn new(stream: TcpStream, rate: usize) -> Slow {
        Slow {
            stream,
            rate,
            begun: Instant::now(),
            read: 0,
        }
    }
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let due = Duration::from_secs_f64(self.read as f64 / self.rate as f64);
        thread::sleep(due.saturating_sub(self.begun.elapsed()));
        let read = self.stream.read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_thousand_come_back_at_once() {
    all_come_back(1000);
}

#[test]
#[ignore = "make test-engine runs it"]
fn ten_mebibytes_are_resumed() {
    a_long_resume(5_000_000);
}

mod slow {
    use super::*;

    #[test]
    #[ignore = "make test-engine ENGINE=all runs it"]
    fn ten_thousand_come_back_at_once() {
        all_come_back(10_000);
    }

    #[test]
    #[ignore = "make test-engine ENGINE=all runs it"]
    fn ten_mebibytes_are_resumed_slowly() {
        a_long_resume(1_000_000);
    }
}
