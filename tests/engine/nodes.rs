//! Nodes fail, alone and together with the engine.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::faults::{RECOVERY, ROOMS, load, report, three};
use crate::net::Net;
use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Fate, Load, Node, at_most, eventually};

/// How long the nodes wait for one that is missing before they put the log
/// back without it …
const MISSING: Duration = Duration::from_secs(3);
/// … and what the rest may take.
const REST: Duration = Duration::from_secs(2);
/// A node must see that its engine is away within this time.
const FOUND: Duration = Duration::from_secs(8);

#[test]
#[ignore = "make test-engine runs it"]
fn a_node_is_killed_with_the_engine() {
    let mut redis = Redis::start(Keeps::Nothing);
    let nodes = three(&redis);
    let load = load(&nodes);
    thread::sleep(Duration::from_millis(700));
    redis.kill();
    nodes[2].signal(Signal::KILL);
    thread::sleep(Duration::from_millis(500));
    let pause = back_without_one(&mut redis, &nodes[0], &load);
    let tally = load.check_fates(&[Fate::Lives, Fate::Lives, Fate::Dies]);
    report("killed with a node", 1, tally, &[pause]);
    waited_for_one(pause);
}

/// Starts the engine again, which is empty; returns how long it takes until
/// the log is back, and messages with it.
fn back_without_one(redis: &mut Redis, node: &Node, load: &Load) -> Duration {
    let begun = Instant::now();
    redis.restart();
    eventually("the log is back", || {
        node.metric("hubcast_engine_epochs_total") == 2.0
    });
    load.pause();
    begun.elapsed()
}

#[track_caller]
fn waited_for_one(pause: Duration) {
    assert!(MISSING <= pause, "{pause:?}");
    assert!(pause < MISSING + at_most(REST), "{pause:?}");
}

/// A node's engine is pulled away from it for a time, while the others go on.
fn cut_off(time: Duration) {
    let net = Net::lay(3);
    net.among_nodes(|| {
        let redis = net.redis(Keeps::Nothing);
        let nodes = nodes_by_cable(&net, &redis);
        // So that what is said meanwhile finds room in the spool.
        let talk = if time > FOUND { 20 } else { 1 };
        let load = Load::start(&nodes.each_ref(), &ROOMS, Duration::from_millis(talk));
        thread::sleep(Duration::from_millis(500));
        net.pull(2);
        let begun = Instant::now();
        let mut found = None;
        while begun.elapsed() < time || time > FOUND && found.is_none() {
            assert!(load.pause() < at_most(RECOVERY), "the others go on");
            if found.is_none() && nodes[2].get("/-/readyz").status == 503 {
                found = Some(begun.elapsed());
            }
            thread::sleep(Duration::from_millis(100));
        }
        let count = nodes[0].metric("hubcast_nodes");
        let is_buried = time > seconds(13);
        assert_eq!(count, if is_buried { 2.0 } else { 3.0 });
        net.plug_in(2);
        nodes[2].await_ready();
        let pause = begun.elapsed().saturating_sub(time);
        report(
            &format!("a node cut off for {time:?}, found after {found:.1?}"),
            1,
            load.check(),
            &[pause],
        );
        assert!(found.is_none_or(|found| found < FOUND), "{found:?}");
        eventually("all nodes are counted", || {
            nodes.iter().all(|node| node.metric("hubcast_nodes") == 3.0)
        });
    });
}

fn nodes_by_cable(net: &Net, redis: &Redis) -> [Node; 3] {
    [0, 1, 2].map(|cable| {
        let node = Node::launch(&net.url(redis, cable), &[]);
        node.await_ready();
        node
    })
}

#[test]
#[ignore = "make test-engine runs it"]
fn a_node_is_cut_off() {
    cut_off(seconds(3));
}

/// The others have more than the node that is missing when they put the log
/// back, so it misses nothing when it returns.
#[test]
#[ignore = "make test-engine runs it"]
fn a_node_is_cut_off_while_the_engine_comes_back_empty() {
    let net = Net::lay(3);
    net.among_nodes(|| {
        let mut redis = net.redis(Keeps::Nothing);
        let nodes = nodes_by_cable(&net, &redis);
        let load = load(&nodes);
        thread::sleep(Duration::from_millis(500));
        net.pull(2);
        thread::sleep(Duration::from_millis(300));
        redis.kill();
        let pause = back_without_one(&mut redis, &nodes[0], &load);
        thread::sleep(Duration::from_millis(500));
        net.plug_in(2);
        nodes[2].await_ready();
        report("emptied while one was cut off", 1, load.check(), &[pause]);
        waited_for_one(pause);
        assert_eq!(nodes[2].metric("hubcast_engine_gaps_total"), 0.0);
    });
}

/// The node that is missing has seen more than the others: its clients know
/// another order, are told of a gap, and all get what it had accepted.
#[test]
#[ignore = "make test-engine runs it"]
fn a_node_that_was_ahead_returns() {
    let net = Net::lay(3);
    net.among_nodes(|| {
        let mut redis = net.redis(Keeps::Nothing);
        let nodes = nodes_by_cable(&net, &redis);
        let mut told = crate::rig::join(nodes[2].address, "/quiet?positions");
        let load = load(&nodes);
        thread::sleep(Duration::from_millis(500));
        for node in &nodes[..2] {
            node.signal(Signal::STOP);
        }
        thread::sleep(Duration::from_millis(300));
        net.pull(2);
        redis.kill();
        redis.restart();
        redis.await_answer();
        let begun = Instant::now();
        for node in &nodes[..2] {
            node.signal(Signal::CONT);
        }
        eventually("the others have put the log back", || {
            nodes[0].metric("hubcast_engine_epochs_total") == 2.0
        });
        let pause = begun.elapsed();
        net.plug_in(2);
        nodes[2].await_ready();
        let tally = load.check_fates(&[Fate::Lives, Fate::Lives, Fate::Branches]);
        report("a node that was ahead returned", 1, tally, &[pause]);
        waited_for_one(pause);
        assert_eq!(nodes[2].metric("hubcast_engine_gaps_total"), 1.0);
        let at = crate::rig::next_text(&mut told).unwrap();
        assert!(at.starts_with("!at "), "{at}");
        let gap = crate::rig::next_text(&mut told).unwrap();
        assert!(gap.starts_with("!gap "), "{gap}");
    });
}

/// What takes half a minute and more.
mod slow {
    use super::*;

    #[test]
    #[ignore = "make test-engine ENGINE=all runs it"]
    fn a_node_is_stopped_for_long() {
        let redis = Redis::start(Keeps::Nothing);
        let nodes = three(&redis);
        let load = Load::start(&nodes.each_ref(), &["/a"], Duration::from_millis(20));
        thread::sleep(Duration::from_millis(300));
        nodes[1].signal(Signal::STOP);
        let begun = Instant::now();
        while begun.elapsed() < seconds(30) {
            assert!(load.pause() < at_most(RECOVERY), "the others go on");
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(nodes[0].metric("hubcast_nodes"), 2.0);
        nodes[1].signal(Signal::CONT);
        nodes[1].await_ready();
        report("a node stopped for 30 s", 1, load.check(), &[]);
        eventually("the node is counted again", || {
            nodes[0].metric("hubcast_nodes") == 3.0
        });
    }

    #[test]
    #[ignore = "make test-engine ENGINE=all runs it"]
    fn a_node_is_cut_off_for_half_a_minute() {
        cut_off(seconds(30));
    }

    #[test]
    #[ignore = "make test-engine ENGINE=all runs it"]
    fn a_node_is_cut_off_for_two_minutes() {
        cut_off(seconds(120));
    }

    #[test]
    #[ignore = "make test-engine ENGINE=all runs it"]
    fn the_engine_is_stopped_for_a_minute() {
        let redis = Redis::start(Keeps::Nothing);
        let nodes = three(&redis);
        let load = Load::start(&nodes.each_ref(), &["/a"], Duration::from_millis(20));
        thread::sleep(Duration::from_millis(500));
        redis.signal(Signal::STOP);
        thread::sleep(seconds(60));
        redis.signal(Signal::CONT);
        let pause = load.pause();
        report("stopped for 60 s", 1, load.check(), &[pause]);
    }
}
