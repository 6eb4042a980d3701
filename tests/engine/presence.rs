//! Who is in a room is the same on all nodes, whatever happens to them.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{Answer, plain};
use crate::kit::socket::dial;
use crate::net::Net;
use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Node, at_most, deadline, eventually, join, next_text};

/// When a node counts as gone that is silent.
const SILENT: Duration = Duration::from_secs(10);
/// All nodes agree within this time about everything else.
const QUIET: Duration = Duration::from_secs(1);
const OPTIONS: [&str; 3] = ["--presence", "--presence-grace", "0"];
const ROOM: &str = "/a";

type Names = BTreeSet<String>;

fn three(redis: &Redis) -> [Node; 3] {
    ["n0", "n1", "n2"].map(|name| {
        let options = [&OPTIONS[..], &["--node-name", name]].concat();
        Node::start(redis, &options)
    })
}

/// A member whose name says on which node it is.
fn enter(nodes: &[Node], node: usize, number: usize) -> (String, TcpStream) {
    let name = format!("n{node}-{number}");
    let target = format!("{ROOM}?name={name}");
    (name, join(nodes[node].address, &target))
}

fn leave(mut stream: TcpStream) {
    let _ = stream.write_all(&masked(Opcode::Close, &1000_u16.to_be_bytes()));
}

/// Who is in the room, as a node says, and its list with all ids; nobody is
/// there twice.
fn list(node: &Node) -> (Names, String) {
    let mut stream = dial(node.address, deadline()).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    let target = format!("{ROOM}?presence=all");
    let json = ["Accept: application/json"];
    stream.write_all(&plain("GET", &target, &json)).unwrap();
    let body = Answer::read(&mut stream).unwrap().body;
    let names: Vec<String> = names(&body).collect();
    let set: Names = names.iter().cloned().collect();
    assert_eq!(set.len(), names.len(), "{body}");
    let clients = format!("\"clients\":{},", set.len());
    assert!(body.contains(&clients), "{body}");
    let (_, list) = body.split_once("\"here\":").unwrap();
    (set, list.to_owned())
}

fn here(node: &Node) -> Names {
    list(node).0
}

fn names(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split("\"name\":\"").skip(1);
    parts.map(|part| part.split('"').next().unwrap().to_owned())
}

/// Waits until these nodes show these members, in one and the same list;
/// returns how long that took.
#[track_caller]
fn agree(what: &str, nodes: &[&Node], truth: &Names) -> Duration {
    let begun = Instant::now();
    let mut last = Vec::new();
    while begun.elapsed() < deadline() {
        let lists: (Vec<_>, Vec<_>) = nodes.iter().map(|node| list(node)).unzip();
        last = lists.0;
        if last.iter().all(|names| names == truth) {
            assert!(
                lists.1.iter().all(|list| *list == lists.1[0]),
                "{:?}",
                lists.1
            );
            return begun.elapsed();
        }
        thread::sleep(Duration::from_millis(10));
    }
    let wrong = last.iter().map(|names| {
        let (more, less) = (names.difference(truth), truth.difference(names));
        (more.collect::<Vec<_>>(), less.collect::<Vec<_>>())
    });
    panic!("{what}: too many, missing: {:?}", wrong.collect::<Vec<_>>());
}

fn all_but(names: &Names, node: &str) -> Names {
    let others = names.iter().filter(|name| !name.starts_with(node));
    others.cloned().collect()
}

/// One who follows what a node tells, and what that adds up to.
struct Follower {
    stream: TcpStream,
    names: Names,
    /// Who left because of its node.
    with_node: usize,
}

impl Follower {
    fn of(node: &Node) -> Follower {
        Follower {
            stream: join(node.address, &format!("{ROOM}?presence=all")),
            names: Names::new(),
            with_node: 0,
        }
    }

    /// Reads until it knows the same as others.
    fn agrees(&mut self, truth: &Names) {
        let begun = Instant::now();
        while self.names != *truth {
            assert!(begun.elapsed() < deadline(), "{:?}", self.names);
            let text = next_text(&mut self.stream).unwrap();
            let (came, went) = text.split_once("\"left\":").unwrap_or((&text, ""));
            for name in names(came) {
                assert!(self.names.insert(name), "came twice: {text}");
            }
            for name in names(went) {
                assert!(self.names.remove(&name), "left twice: {text}");
            }
            self.with_node += went.matches("\"why\":\"node\"").count();
        }
    }
}

/// Members come and go on all nodes, then a node stops, and the engine comes
/// back empty.
#[test]
#[ignore = "make test-engine runs it"]
fn all_nodes_show_all_members() {
    let mut redis = Redis::start(Keeps::Nothing);
    let mut nodes = three(&redis);
    let mut members: Vec<_> = (0..12).map(|n| enter(&nodes, n % 3, n)).collect();
    let truth = |members: &[(String, TcpStream)]| -> Names {
        members.iter().map(|(name, _)| name.clone()).collect()
    };
    let mut followers = nodes.each_ref().map(Follower::of);
    let mut times = vec![agree("all came", &nodes.each_ref(), &truth(&members))];
    for node in &nodes {
        let answer = node.post(ROOM, "hello");
        assert!(answer.body.contains("\"clients\":12"), "{}", answer.body);
        let rooms = node.get("/-/rooms").body;
        let expected = r#"{"name":"/a","clients":12,"nodes":"all"}"#;
        assert!(rooms.contains(expected), "{rooms}");
        let clients = node.get("/-/clients?cluster").body;
        assert_eq!(clients, nodes[0].get("/-/clients?cluster").body);
        for (name, _) in &members {
            let on = format!("\"node\":\"{}\"", &name[..2]);
            let member = format!("{on},\"name\":\"{name}\",\"rooms\":[\"/a\"]}}");
            assert!(clients.contains(&member), "{clients}");
        }
        assert_eq!(clients.matches("\"id\":").count(), 12, "{clients}");
    }
    members.drain(..5).for_each(|(_, stream)| leave(stream));
    times.push(agree("some left", &nodes.each_ref(), &truth(&members)));
    // What happens meanwhile is told when the engine is back.
    redis.kill();
    members.drain(..2).for_each(|(_, stream)| leave(stream));
    members.push(enter(&nodes, 0, 100));
    redis.restart();
    redis.await_answer();
    times.push(agree("a restart", &nodes.each_ref(), &truth(&members)));
    // A node that comes now learns it all.
    let late = Node::start(&redis, &OPTIONS);
    times.push(agree("a new node", &[&late], &truth(&members)));
    for follower in &mut followers {
        follower.agrees(&truth(&members));
    }
    nodes[2].stop();
    let rest = all_but(&truth(&members), "n2-");
    let living = [&nodes[0], &nodes[1], &late];
    times.push(agree("a node stopped", &living, &rest));
    followers[0].agrees(&rest);
    println!("presence, times until all nodes agree: {times:.2?}");
    let limit = at_most(2 * QUIET);
    assert!(times.iter().all(|time| *time < limit), "{times:?}");
}

/// One node is killed, another one stopped: the members of both leave. The one
/// that was stopped returns, and so do its members.
#[test]
#[ignore = "make test-engine runs it"]
fn members_leave_with_their_node() {
    let net = Net::lay(4);
    net.among_nodes(|| {
        let redis = net.redis(Keeps::Nothing);
        let nodes = [0, 1, 2, 3].map(|cable| {
            let node = Node::launch(&net.url(&redis, cable), &OPTIONS);
            node.await_ready();
            node
        });
        let members: Vec<_> = (0..40).map(|n| enter(&nodes, n % 4, n)).collect();
        let truth: Names = members.iter().map(|(name, _)| name.clone()).collect();
        agree("all came", &nodes.each_ref(), &truth);
        let mut follower = Follower::of(&nodes[0]);
        follower.agrees(&truth);
        net.pull(1);
        nodes[2].signal(Signal::KILL);
        nodes[3].signal(Signal::STOP);
        let rest = all_but(&all_but(&all_but(&truth, "n1-"), "n2-"), "n3-");
        let left = agree("three nodes are gone", &[&nodes[0]], &rest);
        follower.agrees(&rest);
        assert_eq!(follower.with_node, 30);
        // The one that is cut off knows nothing of that.
        assert_eq!(here(&nodes[1]), truth);
        net.plug_in(1);
        nodes[3].signal(Signal::CONT);
        let truth = all_but(&truth, "n2-");
        let living = [&nodes[0], &nodes[1], &nodes[3]];
        let back = agree("two nodes are back", &living, &truth);
        follower.agrees(&truth);
        println!("presence: three of 4 nodes left in {left:.1?}, two returned in {back:.1?}");
        let limit = SILENT + at_most(2 * QUIET);
        assert!(left < limit && back < limit, "{left:?} {back:?}");
    });
}

/// A thousand come and go each second, on all nodes.
#[test]
#[ignore = "make test-engine runs it"]
fn a_thousand_members_come_each_second() {
    let redis = Redis::start(Keeps::Nothing);
    crowd(&redis.url(), || {});
}

/// The same while the engine is killed again and again.
#[test]
#[ignore = "make test-engine runs it"]
fn members_come_while_the_engine_is_killed() {
    for keeps in [Keeps::Nothing, Keeps::Aof("everysec")] {
        let mut redis = Redis::start(keeps);
        let url = redis.url();
        crowd(&url, || {
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(800));
                redis.kill();
                thread::sleep(Duration::from_millis(300));
                redis.restart();
                redis.await_answer();
            }
        });
    }
}

fn crowd(engine: &str, meanwhile: impl FnOnce() + Send) {
    let nodes = [(); 3].map(|()| {
        let node = Node::launch(engine, &OPTIONS);
        node.await_ready();
        node
    });
    let mut followers = nodes.each_ref().map(Follower::of);
    let begun = Instant::now();
    let crowds = thread::scope(|scope| {
        scope.spawn(meanwhile);
        let crowds = [0, 1, 2].map(|node| {
            let nodes = &nodes;
            scope.spawn(move || come_and_go(nodes, node, begun))
        });
        crowds.map(|crowd| crowd.join().unwrap())
    });
    let joins: usize = crowds.iter().map(|(count, _)| count).sum();
    let rate = joins as f64 / begun.elapsed().as_secs_f64();
    let members = crowds.iter().flat_map(|(_, crowd)| crowd);
    let truth: Names = members.map(|(name, _)| name.clone()).collect();
    let quiet = agree("all have come", &nodes.each_ref(), &truth);
    for follower in &mut followers {
        follower.agrees(&truth);
    }
    let bytes = nodes[0].metric("hubcast_engine_batch_bytes_total");
    println!(
        "presence: {joins} joins, {rate:.0} a second, {} stayed, all agree after {quiet:.2?}, \
         one node appended {bytes} bytes",
        truth.len()
    );
    assert!(quiet < at_most(QUIET), "{quiet:?}");
    eventually("the spool is empty", || {
        nodes[0].metric("hubcast_engine_spool_bytes") == 0.0
    });
}

/// For 5 s somebody comes every 3 ms, and after the first hundred somebody
/// leaves each time. Returns how many came, and who is still there.
fn come_and_go(nodes: &[Node], node: usize, begun: Instant) -> (usize, Vec<(String, TcpStream)>) {
    let mut crowd = Vec::new();
    let mut count = 0;
    while begun.elapsed() < seconds(5) {
        crowd.push(enter(nodes, node, count));
        count += 1;
        if crowd.len() > 100 {
            leave(crowd.swap_remove(count % 100).1);
        }
        let due = Duration::from_millis(3) * count as u32;
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    (count, crowd)
}
