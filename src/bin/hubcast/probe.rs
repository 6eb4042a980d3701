//! `hubcast probe URL`: whether a relay works, in one line and an exit code.

mod client;

use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command, value_parser};
use http::Uri;

use crate::environment::Ended;
use crate::values::Time;
use client::{Client, random};

/// What the first argument must be.
const NAME: &str = "probe";
/// What every message of a probe begins with.
const TAG: &str = "hubcast-probe";
/// Each client may get as many messages in memory.
const MAX_MESSAGES: u32 = 1_000_000;
const MAX_CLIENTS: u32 = 10_000;
const MAX_RATE: u32 = 100_000;

/// What a probe does.
const ABOUT: &str = "Checks a WebSocket relay, hubcast or any other: clients join, send, and count \
    what comes back: its order, its loss and its latency, in one line";

/// What `--help` says beyond that.
const MORE: &str = "With http:// it asks for the URL once, which must be answered with 2xx: a \
    health check, where nothing else could ask. The exit code is 0 if all is well, 1 if not, and \
    2 for wrong usage.";

struct Probe {
    url: Uri,
    clients: u32,
    messages: u32,
    rate: u32,
    timeout: Time,
}

fn command() -> Command {
    let number = |name, default, most: u32| {
        let range = value_parser!(u32).range(1..=i64::from(most));
        let arg = Arg::new(name).long(name).value_name("N");
        arg.default_value(default).value_parser(range)
    };
    Command::new("hubcast")
        .bin_name("hubcast probe")
        .no_binary_name(true)
        .max_term_width(100)
        .about(ABOUT)
        .long_about(format!("{ABOUT}.\n\n{MORE}"))
        .args([
            Arg::new("url")
                .value_name("URL")
                .required(true)
                .value_parser(url)
                .help("ws://HOST:PORT/ROOM, or http://HOST:PORT/-/healthz"),
            number("clients", "1", MAX_CLIENTS)
                .short('c')
                .help("How many clients"),
            number("messages", "10", MAX_MESSAGES)
                .short('n')
                .help("How many messages, which the clients send in turn"),
            number("rate", "100", MAX_RATE).help("How many messages a second"),
            Arg::new("timeout")
                .long("timeout")
                .value_name("TIME")
                .default_value("5s")
                .value_parser(value_parser!(Time))
                .help("How long to wait for anything that does not come"),
        ])
}

/// Runs a probe, if the arguments ask for one. The line that says how it went,
/// or why it did not.
pub(crate) fn asked_for(arguments: &[OsString]) -> Option<Result<Result<String, String>, Ended>> {
    let rest = arguments.get(2..)?;
    arguments.get(1).filter(|name| *name == NAME)?;
    Some(match command().try_get_matches_from(rest) {
        Ok(said) => Ok(Probe::new(&said).run()),
        Err(error) => Err(error.into()),
    })
}

impl Probe {
    /// What clap has found; all of it is required, or has a default.
    fn new(said: &ArgMatches) -> Probe {
        let number = |name| said.get_one(name).copied().unwrap_or_default();
        Probe {
            url: said.get_one("url").cloned().unwrap_or_default(),
            clients: number("clients"),
            messages: number("messages"),
            rate: number("rate"),
            timeout: said.get_one("timeout").copied().unwrap_or_default(),
        }
    }

    fn run(&self) -> Result<String, String> {
        // Its query may hold a token.
        let place = self.url.to_string();
        let place = place.split('?').next().unwrap_or_default();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => format!("{place}: no answer in time"),
            _ => format!("{place}: {error}"),
        };
        if self.url.scheme_str() == Some("ws") {
            return self.relay().map_err(failed)?.verdict();
        }
        match self.status().map_err(failed)? {
            status @ 200..300 => Ok(format!("{place}: {status}")),
            status => Err(format!("{place}: {status}")),
        }
    }

    fn status(&self) -> io::Result<u16> {
        let mut client = Client::connect(&self.url, self.timeout.0)?;
        client.ask(&self.url, "Connection: close\r\nAccept: */*\r\n")
    }

    /// Lets the clients join, send in turn, and listen.
    fn relay(&self) -> io::Result<Report> {
        let run = Arc::new(Run {
            tag: format!("{TAG} {:x} ", random()),
            begun: Instant::now(),
            sent: (0..self.messages).map(|_| AtomicU64::new(0)).collect(),
        });
        let mut senders = Vec::new();
        let mut listening = Vec::new();
        for _ in 0..self.clients {
            let mut client = Client::connect(&self.url, self.timeout.0)?;
            match client.upgrade(&self.url)? {
                101 => {}
                status => return Err(io::Error::other(format!("{status}, no WebSocket"))),
            }
            senders.push(client.sender()?);
            let run = run.clone();
            let thread = thread::Builder::new().stack_size(128 * 1024);
            listening.push(thread.spawn(move || run.listen(client))?);
        }
        let pause = Duration::from_secs(1) / self.rate;
        for number in 0..self.messages {
            let due = run.begun + pause * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let text = format!("{}{number}", run.tag);
            let at = run.begun.elapsed().as_nanos() as u64;
            run.sent[number as usize].store(at, Ordering::SeqCst);
            senders[(number % self.clients) as usize].send(&text)?;
        }
        let heard = listening.into_iter().map(|thread| {
            let heard = thread.join();
            heard.map_err(|_| io::Error::other("a client panicked"))
        });
        let heard = heard.collect::<io::Result<_>>()?;
        // Nobody is there any more if this fails.
        senders.iter_mut().for_each(|client| drop(client.close()));
        Ok(Report {
            messages: self.messages,
            heard,
        })
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let url = text.parse().ok();
    let spoken = url.filter(|url: &Uri| matches!(url.scheme_str(), Some("ws" | "http")));
    spoken.ok_or_else(|| "it must be ws://… or http://…; a probe speaks no TLS".to_owned())
}

/// What the threads of a probe share.
struct Run {
    tag: String,
    begun: Instant,
    /// When each message was sent, in nanoseconds since the beginning.
    sent: Vec<AtomicU64>,
}

/// What one client has heard: which messages in which order, and after how
/// many nanoseconds each.
type Heard = Vec<(u32, u64)>;

impl Run {
    /// Listens until all messages have come, or none comes any more.
    fn listen(&self, mut client: Client) -> Heard {
        let mut heard = Heard::new();
        while heard.len() < self.sent.len() {
            let Ok(message) = client.receive() else {
                break;
            };
            let text = String::from_utf8_lossy(&message);
            // Others may talk in the room, too.
            let number = text.trim_end().strip_prefix(&self.tag);
            let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) else {
                continue;
            };
            if let Some(sent) = self.sent.get(number as usize) {
                let now = self.begun.elapsed().as_nanos() as u64;
                let took = now.saturating_sub(sent.load(Ordering::SeqCst));
                heard.push((number, took));
            }
        }
        heard
    }
}

/// What all clients have heard.
struct Report {
    messages: u32,
    heard: Vec<Heard>,
}

impl Report {
    /// The line; an error if something was lost or out of order.
    fn verdict(&self) -> Result<String, String> {
        let clients = self.heard.len() as u32;
        let of_others = |client: u32| (0..self.messages).filter(move |n| n % clients != client);
        let echoes = self.has_echo();
        let expected: usize = match echoes {
            true => self.messages as usize * self.heard.len(),
            false => (0..clients).map(|client| of_others(client).count()).sum(),
        };
        let latencies: BinaryHeap<u64> =
            self.heard.iter().flatten().map(|(_, took)| *took).collect();
        let latencies = latencies.into_sorted_vec();
        let received = latencies.len();
        let percentile = |share: usize| {
            let index = (received * share / 100).min(received.saturating_sub(1));
            let hundredths = latencies.get(index).map_or(0, |nanos| nanos / 10_000);
            format!("{}.{:02}ms", hundredths / 100, hundredths % 100)
        };
        let in_order = self.is_in_order();
        let order = if in_order { "in order" } else { "OUT OF ORDER" };
        let line = format!(
            "clients={clients} messages={} received={received}/{expected} lost={} {order} \
             p50={} p99={} max={}",
            self.messages,
            expected.saturating_sub(received),
            percentile(50),
            percentile(99),
            percentile(100),
        );
        match in_order && received == expected && received > 0 {
            true => Ok(line),
            false => Err(line),
        }
    }

    /// Whether a sender hears itself; some relays leave it out.
    fn has_echo(&self) -> bool {
        let clients = self.heard.len() as u32;
        let mut all = self.heard.iter().zip(0..);
        clients == 1 || all.any(|(heard, client)| heard.iter().any(|(n, _)| n % clients == client))
    }

    /// Whether no two clients have heard two messages in different orders, and
    /// none has heard one twice. Where something was lost, the rest counts.
    fn is_in_order(&self) -> bool {
        let mut places: Vec<Option<usize>> = vec![None; self.messages as usize];
        let longest = self.heard.iter().max_by_key(|heard| heard.len());
        for (place, (number, _)) in longest.into_iter().flatten().enumerate() {
            places[*number as usize] = Some(place);
        }
        self.heard.iter().all(|heard| {
            let known = heard
                .iter()
                .filter_map(|(number, _)| places[*number as usize]);
            known.is_sorted_by(|one, next| one < next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(heard: &[&[u32]], messages: u32) -> Result<String, String> {
        let heard = heard
            .iter()
            .map(|all| all.iter().map(|n| (*n, 1_000_000)).collect());
        let heard = heard.collect();
        Report { messages, heard }.verdict()
    }

    #[test]
    fn what_is_lost_or_out_of_order_is_an_error() {
        let line = verdict(&[&[0, 1, 2], &[0, 1, 2]], 3).unwrap();
        let expected = "clients=2 messages=3 received=6/6 lost=0 in order \
                        p50=1.00ms p99=1.00ms max=1.00ms";
        assert_eq!(line, expected);
        // Of two senders no order is given, but it is the same for all.
        assert!(verdict(&[&[1, 0, 2], &[1, 0, 2]], 3).is_ok());
        let line = verdict(&[&[0, 1, 2], &[1, 0, 2]], 3).unwrap_err();
        assert!(line.contains("OUT OF ORDER"), "{line}");
        let line = verdict(&[&[0, 1, 2], &[0, 2]], 3).unwrap_err();
        assert!(line.contains("received=5/6 lost=1 in order"), "{line}");
        let line = verdict(&[&[0, 0, 1]], 3).unwrap_err();
        assert!(line.contains("OUT OF ORDER"), "{line}");
        let line = verdict(&[&[], &[]], 3).unwrap_err();
        assert!(line.contains("received=0/3 lost=3"), "{line}");
    }

    #[test]
    fn a_relay_that_leaves_the_sender_out_loses_nothing() {
        let line = verdict(&[&[1], &[0, 2]], 3).unwrap();
        assert!(line.contains("received=3/3 lost=0 in order"), "{line}");
    }
}
