//! The engine fails in all ways: nothing is lost, nothing comes twice, and
//! there is one order.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::redis::{Keeps, Redis, faults, seconds};
use crate::rig::{Load, Node, Tally, at_most};

pub const ROOMS: [&str; 2] = ["/a", "/b"];
const PAUSE: Duration = Duration::from_millis(1);
/// What goes on, or is back, is heard of again within this time.
pub const RECOVERY: Duration = Duration::from_secs(1);

pub fn three(redis: &Redis) -> [Node; 3] {
    [(); 3].map(|()| Node::start(redis, &[]))
}

pub fn load(nodes: &[Node; 3]) -> Load {
    Load::start(&nodes.each_ref(), &ROOMS, PAUSE)
}

pub fn report(what: &str, faults: usize, tally: Tally, pauses: &[Duration]) {
    let longest = pauses.iter().max().copied().unwrap_or_default();
    println!("{what}: {faults} faults, {tally}, longest pause {longest:.2?}");
}

/// Kills redis-server under load, again and again.
fn kills(keeps: Keeps) {
    let mut redis = Redis::start(keeps);
    let nodes = three(&redis);
    let load = load(&nodes);
    let count = faults(3);
    let mut pauses = Vec::new();
    for index in 0..count {
        if keeps == Keeps::Snapshot && index % 2 == 0 {
            redis.snapshot();
        }
        thread::sleep(Duration::from_millis(700));
        redis.kill();
        thread::sleep(Duration::from_millis(200 + 300 * (index as u64 % 4)));
        redis.restart();
        redis.await_answer();
        pauses.push(load.pause());
    }
    let messages = load.check();
    report(
        &format!("killed, keeps {keeps:?}"),
        count,
        messages,
        &pauses,
    );
    let limit = at_most(RECOVERY);
    assert!(pauses.iter().all(|pause| *pause < limit), "{pauses:?}");
}

#[test]
#[ignore = "make test-engine runs it"]
fn killed_and_empty() {
    kills(Keeps::Nothing);
}

#[test]
#[ignore = "make test-engine runs it"]
fn killed_with_an_aof() {
    kills(Keeps::Aof("everysec"));
}

#[test]
#[ignore = "make test-engine runs it"]
fn killed_with_an_aof_that_is_always_synced() {
    kills(Keeps::Aof("always"));
}

#[test]
#[ignore = "make test-engine runs it"]
fn killed_with_an_old_snapshot() {
    kills(Keeps::Snapshot);
}

/// Stopped for longer than the nodes wait, it carries out late what it was
/// sent before.
#[test]
#[ignore = "make test-engine runs it"]
fn stopped_and_continued() {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = three(&redis);
    let load = load(&nodes);
    let mut pauses = Vec::new();
    for time in [3, 8] {
        thread::sleep(Duration::from_millis(500));
        redis.signal(Signal::STOP);
        thread::sleep(seconds(time));
        redis.signal(Signal::CONT);
        pauses.push(load.pause());
    }
    report("stopped for 3 and 8 s", 2, load.check(), &pauses);
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_node_is_stopped_and_continued() {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = three(&redis);
    let load = load(&nodes);
    thread::sleep(Duration::from_millis(300));
    nodes[1].signal(Signal::STOP);
    let begun = Instant::now();
    while begun.elapsed() < seconds(3) {
        assert!(load.pause() < at_most(RECOVERY), "the others go on");
        thread::sleep(Duration::from_millis(100));
    }
    nodes[1].signal(Signal::CONT);
    thread::sleep(Duration::from_millis(300));
    report("a node stopped for 3 s", 1, load.check(), &[]);
}

/// What an operator, or a mistake, may do to it while it runs.
fn done_to_it(commands: &[&[&str]]) {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = three(&redis);
    let load = load(&nodes);
    let mut pauses = Vec::new();
    for command in commands {
        thread::sleep(Duration::from_millis(300));
        redis.cli(command);
        let pause = load.pause();
        println!("{command:?}: pause {pause:.2?}");
        pauses.push(pause);
        thread::sleep(Duration::from_millis(300));
    }
    report("done to it", commands.len(), load.check(), &pauses);
}

#[test]
#[ignore = "make test-engine runs it"]
fn keys_are_deleted() {
    done_to_it(&[
        &["FLUSHALL"],
        &["DEL", "{hubcast:0}log"],
        &["DEL", "{hubcast:0}meta"],
        &["DEL", "{hubcast:0}nodes"],
        &["DEL", "{hubcast:0}log", "{hubcast:0}nodes"],
        &["DEL", "{hubcast:0}meta", "{hubcast:0}nodes"],
        &["FLUSHALL"],
    ]);
}

#[test]
#[ignore = "make test-engine runs it"]
fn scripts_and_connections_go() {
    done_to_it(&[
        &["SCRIPT", "FLUSH"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["CLIENT", "PAUSE", "5000"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["DEBUG", "SLEEP", "2"],
    ]);
}

/// A full engine takes messages again when there is less in it. Nothing is
/// removed that a node which is slow has not read.
#[test]
#[ignore = "make test-engine runs it"]
fn it_is_full() {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = three(&redis);
    let load = load(&nodes);
    thread::sleep(Duration::from_millis(500));
    nodes[2].signal(Signal::STOP);
    thread::sleep(Duration::from_millis(200));
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(nodes[0].get("/-/healthz").status, 200);
    nodes[2].signal(Signal::CONT);
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let pause = load.pause();
    report("full", 1, load.check(), &[pause]);
}

/// While the engine is away, little is kept, and publishers are told.
#[test]
#[ignore = "make test-engine runs it"]
fn away_for_long() {
    let mut redis = Redis::start(Keeps::Nothing);
    let options = ["--engine-spool", "4KiB", "--engine-patience", "200ms"];
    let nodes = [Node::start(&redis, &options), Node::start(&redis, &[])];
    let mut listener = crate::rig::join(nodes[1].address, "/a");
    redis.kill();
    let mut statuses = Vec::new();
    let mut talker = crate::rig::join(nodes[0].address, "/a");
    // A page that was opened before the engine went away goes on working.
    let mut sent = 0;
    let code = crate::rig::flood(&mut talker, &mut sent);
    assert_eq!(code, Some(1013));
    statuses.push(nodes[0].post("/a", "posted").status);
    assert_eq!(statuses, [503]);
    assert_eq!(nodes[0].get("/-/healthz").status, 200);
    assert!(nodes[0].metric("hubcast_engine_refused_total") > 0.0);
    assert!(nodes[0].metric("hubcast_engine_spool_bytes") <= 4096.0);
    crate::rig::eventually("the node says that it is not ready", || {
        nodes[0].get("/-/readyz").status == 503
    });
    let accepted = nodes[0].metric("hubcast_engine_spool_messages") as usize;
    assert!(accepted > 0);
    redis.restart();
    for number in 0..accepted {
        let text = crate::rig::next_text(&mut listener).unwrap();
        assert_eq!(text, format!("0 {number}"));
    }
    nodes[0].await_ready();
    let log = nodes[0].log();
    assert_eq!(log.matches("the engine is away").count(), 1, "{log}");
    assert_eq!(log.matches("the engine is back").count(), 1, "{log}");
}
