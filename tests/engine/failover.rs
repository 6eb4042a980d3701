//! A replica that lags is promoted: the nodes have what it lacks.

use std::thread;
use std::time::Duration;

use crate::faults::{load, report};
use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Node, at_most, eventually};

#[test]
#[ignore = "make test-engine runs it"]
fn a_replica_that_lags_is_promoted() {
    let mut master = Redis::start(Keeps::Nothing);
    let replica = Redis::start(Keeps::Nothing);
    let port = master.port.to_string();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]);
    let is_linked = |redis: &Redis| {
        let info = redis.cli(&["INFO", "replication"]);
        info.contains("master_link_status:up")
    };
    eventually("the replica follows", || is_linked(&replica));
    let both = format!(
        "redis://127.0.0.1:{},127.0.0.1:{}",
        master.port, replica.port
    );
    let nodes = [(); 3].map(|()| {
        let node = Node::launch(&both, &[]);
        node.await_ready();
        node
    });
    let load = load(&nodes);
    thread::sleep(Duration::from_millis(500));
    // It stays a replica, of nobody.
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    thread::sleep(Duration::from_millis(500));
    let length = |redis: &Redis| -> u64 {
        let length = redis.cli(&["XLEN", "{hubcast:0}log"]);
        length.trim().parse().unwrap()
    };
    let (written, copied) = (length(&master), length(&replica));
    assert!(copied > 0 && copied < written, "{copied} of {written}");
    master.kill();
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let pause = load.pause();
    report("failed over to a replica", 1, load.check(), &[pause]);
    println!("the replica had {copied} of {written} entries");
    assert!(pause < at_most(seconds(3)), "{pause:?}");
    for node in &nodes {
        assert_eq!(node.metric("hubcast_engine_gaps_total"), 0.0);
    }
}
