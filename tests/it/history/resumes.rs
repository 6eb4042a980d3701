//! Clients that are cut off at random beside full load, and come back: every
//! resume is checked message by message.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use hubcast::Running;
use tungstenite::Message;

use crate::support::{Client, connect_to, reset, server};

const ROOMS: usize = 4;
const CLIENTS: usize = 8;

/// What all clients together have found.
#[derive(Debug, Default)]
struct Tally {
    resumes: AtomicU64,
    incomplete: AtomicU64,
    messages: AtomicU64,
}

/// A client that comes back, and what it knows.
struct Returning {
    room: usize,
    /// Its last position; empty before the first.
    at: String,
    /// The number of the next message, once it has seen one.
    next: Option<u64>,
    random: u64,
}

impl Returning {
    fn below(&mut self, n: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    /// Connects, reads some messages, and is cut off in one way or another.
    fn come_and_go(&mut self, address: SocketAddr, tally: &Tally) {
        let since = match self.at.as_str() {
            "" => String::new(),
            at => format!("&since={at}"),
        };
        let mut client = connect_to(address, &format!("/{}?positions{since}", self.room));
        let wanted = self.below(300);
        let mut read = 0;
        while read < wanted || self.next.is_none() {
            self.read(&mut client, tally);
            read += 1;
        }
        tally
            .resumes
            .fetch_add(u64::from(!since.is_empty()), Ordering::Relaxed);
        match self.below(3) {
            0 => reset(client.into_inner()),
            1 => drop(client),
            _ => {
                // What comes until the server's end is not lost either.
                client.close(None).unwrap();
                while self.read(&mut client, tally) {}
            }
        }
    }

    /// Reads one message and holds it against what must come. False: the
    /// connection has ended.
    fn read(&mut self, client: &mut Client, tally: &Tally) -> bool {
        let text = match client.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => return true,
            Err(_) => return false,
        };
        let (line, number) = text.split_once('\n').unwrap();
        if let Some(at) = line.strip_prefix("!at ") {
            let (at, how) = at.split_once(' ').unwrap();
            let resumes = !self.at.is_empty();
            match how {
                "new" => assert!(!resumes),
                "complete" => assert_eq!(at, self.at),
                _ => assert_eq!(how, "incomplete"),
            }
            return true;
        }
        if let Some(gap) = line.strip_prefix("!gap ") {
            let (from, to) = gap.split_once(' ').unwrap();
            assert_eq!(from, self.at, "the gap begins where the client was");
            to.clone_into(&mut self.at);
            self.next = None;
            tally.incomplete.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let number: u64 = number.parse().unwrap();
        if let Some(next) = self.next {
            assert_eq!(number, next, "room {} behind {}", self.room, self.at);
        }
        line.clone_into(&mut self.at);
        self.next = Some(number + 1);
        tally.messages.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Publishes numbers in each room until it is told to end, as fast as they
/// are taken.
fn publish(server: &Running, ended: &AtomicBool) {
    let handle = server.handle();
    for number in 0_u64.. {
        for room in 0..ROOMS {
            handle
                .broadcast(&format!("/{room}"), number.to_string())
                .unwrap();
        }
        if ended.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn resume(count: u64, history: usize) {
    let server = server(|config| {
        config.history = history;
        config.history_bytes = 8 << 20;
    });
    let (tally, ended) = (Tally::default(), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| publish(&server, &ended));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (server, tally) = (&server, &tally);
                scope.spawn(move || {
                    let mut client = Returning {
                        room: n % ROOMS,
                        at: String::new(),
                        next: None,
                        random: n as u64,
                    };
                    while tally.resumes.load(Ordering::Relaxed) < count {
                        client.come_and_go(server.local_addr(), tally);
                    }
                })
            })
            .collect();
        let results: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        ended.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("history {history}: {tally:?} in {seconds:.1} s");
    let stats = server.shutdown().unwrap().stats;
    assert_eq!(stats.departed("internal_error"), 0);
}

#[test]
fn whoever_comes_back_beside_load_has_every_message_once_and_in_order() {
    resume(300, 10_000);
    resume(100, 50);
}

/// As many as the design asks for; a release build takes a minute or two.
#[test]
#[ignore = "long: make test-resume"]
fn a_hundred_thousand_resumes_beside_load() {
    resume(80_000, 50_000);
    resume(20_000, 100);
}
