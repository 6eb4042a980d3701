//! What two nodes and their engine do on this machine, everything on it: a
//! table, for `make bench-cluster`. Each row takes as long as is said by
//! `HUBCAST_BENCH_SECONDS`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::ROOMS;
use crate::kit::frame::{Opcode, masked};
use crate::many::all_come_back;
use crate::redis::{Keeps, Redis};
use crate::rig::{Load, Node, join, next_text};

/// The length of a message, and of its frame from a server.
const MESSAGE: usize = 128;
const FRAME: usize = MESSAGE + 4;

fn time() -> Duration {
    let seconds = std::env::var("HUBCAST_BENCH_SECONDS");
    let seconds = seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(10);
    Duration::from_secs(seconds)
}

fn row(what: &str, measured: &str, goal: &str) {
    println!("| {what} | {measured} | {goal} |");
}

struct Cluster {
    redis: Redis,
    nodes: [Node; 2],
}

impl Cluster {
    fn start(options: &[&str]) -> Cluster {
        let redis = Redis::start(Keeps::Nothing);
        let nodes = [(); 2].map(|()| Node::start(&redis, options));
        Cluster { redis, nodes }
    }

    /// The processor time of Redis, in µs.
    fn redis_micros(&self) -> f64 {
        micros(self.redis.pid())
    }
}

/// The processor time of a process, in µs.
fn micros(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = tasks.map(|task| -> f64 {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat"));
        let stat = stat.unwrap_or_default();
        let nanos = stat.split(' ').next().and_then(|n| n.parse().ok());
        nanos.unwrap_or_default()
    });
    nanos.sum::<f64>() / 1000.0
}

#[test]
#[ignore = "make bench-cluster runs it"]
fn table() {
    println!("\n| what | measured | goal |\n| --- | --- | --- |");
    for rate in [100, 1000] {
        latency(rate);
    }
    saturation();
    paced();
    split();
    idle();
    pause();
    println!();
    all_come_back(10_000);
}

/// From a client at one node to a client at the other.
fn latency(rate: u32) {
    let cluster = Cluster::start(&[]);
    let mut talker = join(cluster.nodes[0].address, "/a");
    let mut listener = join(cluster.nodes[1].address, "/a");
    let begun = Instant::now();
    let count = rate * time().as_secs() as u32;
    let listens = thread::spawn(move || {
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..count {
            let text = next_text(&mut listener).unwrap();
            let sent: f64 = text.trim().parse().unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e3 - sent);
        }
        times
    });
    let mut echo = talker.try_clone().unwrap();
    thread::spawn(move || while next_text(&mut echo).is_some() {});
    for number in 0..count {
        let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let now = begun.elapsed().as_secs_f64() * 1e3;
        let text = format!("{now:>MESSAGE$}");
        talker
            .write_all(&masked(Opcode::Text, text.as_bytes()))
            .unwrap();
    }
    let mut times = listens.join().unwrap();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    row(
        &format!("latency to the other node, {rate}/s"),
        &format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99)),
        "p50 ≤ 0.4 ms, p99 ≤ 1.5 ms",
    );
}

/// Counts the messages that come, all of one length.
fn count(stream: TcpStream, heard: Arc<AtomicU64>) {
    let mut stream = stream;
    stream.set_read_timeout(None).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        let mut bytes = 0;
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            bytes += read;
            heard.store((bytes / FRAME) as u64, Ordering::Release);
        }
    });
}

fn frames(count: usize) -> Vec<u8> {
    masked(Opcode::Text, &[b'x'; MESSAGE]).repeat(count)
}

/// Waits until all was heard.
fn all_heard(heard: &[Arc<AtomicU64>], expected: u64) -> u64 {
    let deadline = Instant::now() + crate::rig::deadline();
    while least(heard) < expected && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    expected.saturating_sub(least(heard))
}

fn least(heard: &[Arc<AtomicU64>]) -> u64 {
    let heard = heard.iter().map(|heard| heard.load(Ordering::Acquire));
    heard.min().unwrap_or_default()
}

/// A client at each node says as much as one at each node hears, with so many
/// messages on their way.
fn saturation() {
    const IN_FLIGHT: u64 = 32_768;
    let options = [
        "--no-echo",
        "--queue-messages",
        "100000",
        "--queue-bytes",
        "64MiB",
    ];
    let cluster = Cluster::start(&options);
    let listen = |node: &Node| {
        let heard = Arc::default();
        count(join(node.address, "/a"), Arc::clone(&heard));
        heard
    };
    let heard: Vec<Arc<AtomicU64>> = cluster.nodes.iter().map(listen).collect();
    let said = Arc::new(AtomicU64::new(0));
    let before = cluster.redis_micros();
    let begun = Instant::now();
    let talkers = cluster.nodes.each_ref().map(|node| {
        let mut talker = join(node.address, "/a");
        count(talker.try_clone().unwrap(), Arc::default());
        let (said, heard, time) = (said.clone(), heard.clone(), time());
        thread::spawn(move || {
            let frames = frames(256);
            while begun.elapsed() < time {
                if said.load(Ordering::Relaxed) > least(&heard) + IN_FLIGHT {
                    thread::sleep(Duration::from_micros(50));
                    continue;
                }
                talker.write_all(&frames).unwrap();
                said.fetch_add(256, Ordering::Relaxed);
            }
            talker
        })
    });
    let talkers = talkers.map(|talker| talker.join().unwrap());
    let said = said.load(Ordering::Relaxed);
    let lost = all_heard(&heard, said);
    let seconds = begun.elapsed().as_secs_f64();
    drop(talkers);
    let micros = (cluster.redis_micros() - before) / said as f64;
    row(
        "distinct messages, two nodes",
        &format!("{:.0}/s, lost {lost}", said as f64 / seconds),
        "≥ 300,000/s, lost 0",
    );
    row(
        "Redis's time a message, then",
        &format!("{micros:.2} µs"),
        "≤ 0.8 µs",
    );
}

/// 100,000 messages a second.
fn paced() {
    let cluster = Cluster::start(&["--no-echo"]);
    let heard = Arc::default();
    count(join(cluster.nodes[1].address, "/a"), Arc::clone(&heard));
    let mut talker = join(cluster.nodes[0].address, "/a");
    let before = cluster.redis_micros();
    let (begun, frames, mut said) = (Instant::now(), frames(100), 0);
    while begun.elapsed() < time() {
        talker.write_all(&frames).unwrap();
        said += 100;
        let due = Duration::from_micros(said * 10);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let lost = all_heard(&[heard], said);
    let micros = (cluster.redis_micros() - before) / said as f64;
    let rate = said as f64 / begun.elapsed().as_secs_f64();
    row(
        "Redis's time a message at 100,000/s",
        &format!("{micros:.2} µs at {rate:.0}/s, lost {lost}"),
        "≤ 5 µs",
    );
}

/// 50 clients at each node, in one room; ten of them send, each with 64
/// messages that it has not heard yet.
fn split() {
    const IN_FLIGHT: u64 = 640;
    let cluster = Cluster::start(&[]);
    let mut clients = Vec::new();
    for node in &cluster.nodes {
        for _ in 0..50 {
            let stream = join(node.address, "/a");
            let heard: Arc<AtomicU64> = Arc::default();
            count(stream.try_clone().unwrap(), Arc::clone(&heard));
            clients.push((stream, heard));
        }
    }
    let heard: Vec<_> = clients.iter().map(|(_, heard)| heard.clone()).collect();
    let (said, is_over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let before = cluster.redis_micros();
    let begun = Instant::now();
    let senders: Vec<_> = clients
        .into_iter()
        .step_by(10)
        .map(|(mut stream, heard)| {
            let (said, is_over) = (said.clone(), is_over.clone());
            thread::spawn(move || {
                let frames = frames(16);
                while !is_over.load(Ordering::Relaxed) {
                    if said.load(Ordering::Relaxed) < heard.load(Ordering::Acquire) + IN_FLIGHT {
                        said.fetch_add(16, Ordering::Relaxed);
                        stream.write_all(&frames).unwrap();
                    } else {
                        thread::sleep(Duration::from_micros(50));
                    }
                }
                stream
            })
        })
        .collect();
    thread::sleep(time());
    is_over.store(true, Ordering::Relaxed);
    let senders: Vec<_> = senders.into_iter().map(|s| s.join().unwrap()).collect();
    let said = said.load(Ordering::Relaxed);
    let lost = all_heard(&heard, said);
    let seconds = begun.elapsed().as_secs_f64();
    let share = (cluster.redis_micros() - before) / 1e4 / seconds;
    drop(senders);
    row(
        "100 clients, half at each node, 10 senders",
        &format!(
            "{:.2} million deliveries/s, lost {lost}, Redis {share:.0} % of a core",
            (said * 100) as f64 / seconds / 1e6
        ),
        "≥ 5 million/s, Redis ≤ 10 %",
    );
}

fn idle() {
    let cluster = Cluster::start(&[]);
    thread::sleep(Duration::from_secs(1));
    let pids = [cluster.nodes[0].pid(), cluster.redis.pid()];
    let before = pids.map(micros);
    thread::sleep(time());
    let percent = |index: usize| (micros(pids[index]) - before[index]) / 1e4 / time().as_secs_f64();
    row(
        "idle",
        &format!(
            "node {:.2} %, Redis {:.2} % of a core",
            percent(0),
            percent(1)
        ),
        "≤ 1 % each",
    );
}

fn pause() {
    let mut cluster = Cluster::start(&[]);
    thread::sleep(Duration::from_secs(3));
    let load = Load::start(&cluster.nodes.each_ref(), &ROOMS, Duration::from_millis(1));
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(500));
        cluster.redis.kill();
        cluster.redis.restart();
        cluster.redis.await_answer();
        longest = longest.max(load.pause());
    }
    row(
        "pause after Redis is killed, and back",
        &format!("{longest:.2?}, {}", load.check()),
        "≤ 0.3 s, lost 0",
    );
}
