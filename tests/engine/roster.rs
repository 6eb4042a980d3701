//! Nodes learn at once when another one comes or goes, and say so once.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Node, at_most, eventually, join};

/// Sooner than by the next sign of life, which comes after 2 s.
const AT_ONCE: Duration = Duration::from_millis(900);
/// The nodes are given up after this time.
const TIMEOUT: &str = "6s";

fn node(redis: &Redis, name: &str) -> Node {
    let options = ["--presence", "--node-timeout", TIMEOUT, "--node-name", name];
    Node::start(redis, &options)
}

/// Whether a node lists these ones and no others.
fn lists(node: &Node, names: &[&str]) -> bool {
    let body = node.get("/-/nodes").body;
    let is_there = |name: &&str| body.contains(&format!("\"name\":\"{name}\""));
    names.iter().all(is_there) && body.matches("\"id\":").count() == names.len()
}

#[track_caller]
fn list_at_once(nodes: &[&Node], names: &[&str]) {
    let begun = Instant::now();
    for node in nodes {
        eventually("it lists the others", || lists(node, names));
    }
    let took = begun.elapsed();
    assert!(took < at_most(AT_ONCE), "{took:?}");
}

/// The lines of a node's log that tell of others.
fn told(node: &Node) -> Vec<String> {
    let log = node.log();
    let lines = log.lines().filter(|line| line.contains("node "));
    let lines = lines.filter_map(|line| line.split_once("] "));
    // Without the ids, which are other ones each time.
    let lines = lines.map(|(_, line)| {
        let parts: Vec<&str> = line.split(" (@").collect();
        let rest = parts[1..].iter().map(|part| &part["b3f1c9)".len()..]);
        std::iter::once(parts[0]).chain(rest).collect()
    });
    lines
        .filter(|line: &String| !line.contains("clients"))
        .collect()
}

#[test]
#[ignore = "make test-engine runs it"]
fn nodes_tell_who_comes_and_goes() {
    let mut redis = Redis::start(Keeps::Nothing);
    let a = node(&redis, "a");
    list_at_once(&[&a], &["a"]);
    let b = node(&redis, "b");
    list_at_once(&[&a, &b], &["a", "b"]);
    let mut c = node(&redis, "c");
    list_at_once(&[&a, &b, &c], &["a", "b", "c"]);
    let _members = [&b, &c, &c].map(|node| join(node.address, "/lobby"));
    eventually("all members are shown", || {
        a.get("/-/rooms").body.contains("\"clients\":3")
    });

    c.stop();
    list_at_once(&[&a, &b], &["a", "b"]);
    assert_eq!(a.metric("hubcast_nodes"), 2.0);
    let mut expected = vec![
        "this node is a, and the only one so far".to_owned(),
        "node b has come".to_owned(),
        "node c has come".to_owned(),
        "node c has stopped".to_owned(),
    ];
    eventually("it is said", || told(&a).len() >= expected.len());
    assert_eq!(told(&a), expected);

    // The engine forgets who was there, and nobody has gone.
    let begun = Instant::now();
    redis.kill();
    eventually("it is not ready", || a.get("/-/readyz").status == 503);
    let found = begun.elapsed();
    assert!(found < at_most(AT_ONCE), "{found:?}");
    redis.restart();
    a.await_ready();
    b.await_ready();
    eventually("the engine knows both", || {
        [&a, &b].iter().all(|node| lists(node, &["a", "b"]))
    });
    assert_eq!(told(&a), expected);

    // It stands for longer than nodes may be silent.
    redis.signal(Signal::STOP);
    thread::sleep(seconds(8));
    redis.signal(Signal::CONT);
    a.await_ready();
    b.await_ready();
    thread::sleep(seconds(3));
    assert_eq!(told(&a), expected, "it was not b that was silent");

    b.signal(Signal::KILL);
    expected.push(
        "node b is given up: no sign of life for 6s; members of rooms that left with it: 1".into(),
    );
    eventually("it is given up", || told(&a).len() >= expected.len());
    assert_eq!(told(&a), expected);
    assert!(lists(&a, &["a"]));
    println!("nodes that come and go are told at once; an engine that is killed: {found:.1?}");
}
