//! Clients that come back on another node miss nothing, and get nothing
//! twice.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::redis::{Keeps, Redis, seconds};
use crate::rig::{Load, Node, eventually, in_order, join, next_text};

const PAUSE: Duration = Duration::from_millis(2);
/// Nothing more is expected after this.
const SILENCE: Duration = Duration::from_millis(200);

/// A client that follows a room, and says where it is.
#[derive(Default)]
struct Follower {
    position: String,
    heard: Vec<String>,
    /// How each of its resumes went.
    hows: Vec<String>,
    gaps: usize,
}

impl Follower {
    /// Follows the room on a node until a time, or until nothing comes any more;
    /// in any case until it knows where it is.
    fn follow(&mut self, node: &Node, until: Instant) {
        let since = match self.position.as_str() {
            "" => String::new(),
            position => format!("&since={position}"),
        };
        let mut stream = join(node.address, &format!("/a?positions{since}"));
        let mut is_there = false;
        while !is_there || Instant::now() < until {
            let Some(text) = next_text(&mut stream) else {
                assert!(is_there, "it is told where it is");
                break;
            };
            let (line, message) = text.split_once('\n').unwrap();
            match line.strip_prefix('!') {
                None => {
                    line.clone_into(&mut self.position);
                    self.heard.push(message.to_owned());
                }
                Some(notice) => {
                    let words: Vec<&str> = notice.split(' ').collect();
                    match words[..] {
                        ["at", position, how] => {
                            position.clone_into(&mut self.position);
                            self.hows.push(how.to_owned());
                            is_there = true;
                            stream.set_read_timeout(Some(SILENCE)).unwrap();
                        }
                        ["gap", _, to] => {
                            to.clone_into(&mut self.position);
                            self.gaps += 1;
                        }
                        _ => panic!("{text}"),
                    }
                }
            }
        }
    }

    /// Follows the room until it has heard so many messages.
    fn hear(&mut self, node: &Node, messages: usize) {
        eventually("all messages", || {
            self.follow(node, Instant::now() + SILENCE);
            self.heard.len() >= messages
        });
    }
}

/// Hops to another node every 100 ms while everybody talks.
#[test]
#[ignore = "make test-engine runs it"]
fn a_client_hops_between_nodes() {
    let redis = Redis::start(Keeps::Nothing);
    let nodes = [(); 3].map(|()| Node::start(&redis, &[]));
    let mut follower = Follower::default();
    follower.follow(&nodes[0], Instant::now());
    let load = Load::start(&nodes.each_ref(), &["/a"], PAUSE);
    let begun = Instant::now();
    let mut hops = 0;
    while begun.elapsed() < seconds(5) {
        let until = Instant::now() + Duration::from_millis(100);
        follower.follow(&nodes[hops % 3], until);
        if hops > 0 {
            assert_eq!(follower.hows[hops + 1], "complete", "hop {hops}");
        }
        hops += 1;
    }
    let sent = load.check().accepted;
    follower.hear(&nodes[0], sent as usize);
    in_order("the follower", &follower.heard);
    assert_eq!(
        (follower.heard.len() as u64, follower.gaps),
        (sent, 0),
        "{hops} hops"
    );
    println!("{hops} hops, {sent} messages");
}

/// All nodes are restarted, one after the other; a node is killed.
#[test]
#[ignore = "make test-engine runs it"]
fn nodes_are_restarted_one_after_the_other() {
    let redis = Redis::start(Keeps::Nothing);
    let stays = Node::start(&redis, &[]);
    let mut nodes = [(); 2].map(|()| Node::start(&redis, &[]));
    let mut follower = Follower::default();
    follower.follow(&nodes[0], Instant::now());
    let load = Load::start(&[&stays], &["/a"], PAUSE);
    for round in 0..4 {
        let at = round % 2;
        let until = Instant::now() + Duration::from_millis(500);
        follower.follow(&nodes[at], until);
        assert_eq!(follower.gaps, 0, "round {round}");
        match round {
            0 | 1 => nodes[at].stop(),
            _ => nodes[at].signal(Signal::KILL),
        }
        nodes[at] = Node::start(&redis, &[]);
        thread::sleep(Duration::from_millis(100));
    }
    let sent = load.check().accepted;
    follower.hear(&nodes[1], sent as usize);
    in_order("the follower", &follower.heard);
    assert_eq!((follower.heard.len() as u64, follower.gaps), (sent, 0));
    assert!(follower.hows[1..].iter().all(|how| how == "complete"));
}

/// All nodes and the engine are lost, but for an old snapshot: who was ahead
/// of it is told.
#[test]
#[ignore = "make test-engine runs it"]
fn everything_is_lost_but_an_old_snapshot() {
    let mut redis = Redis::start(Keeps::Snapshot);
    let nodes = [(); 2].map(|()| Node::start(&redis, &[]));
    let post = |node: &Node, text: &str| {
        let answer = node.post("/a", text);
        assert_eq!(answer.status, 202, "{}", answer.body);
        let (_, rest) = answer.body.split_once("\"position\":\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let before = post(&nodes[0], "x 0");
    let at = post(&nodes[1], "x 1");
    redis.snapshot();
    let above = post(&nodes[0], "x 2");
    drop(nodes);
    redis.kill();
    redis.restart();
    redis.await_answer();
    let node = Node::start(&redis, &[]);
    post(&node, "y 0");
    for (position, how, heard) in [
        (before, "complete", &["x 1", "y 0"][..]),
        (at.clone(), "complete", &["y 0"]),
        (above, "incomplete", &["y 0"]),
        (
            "00000000-1".to_owned(),
            "incomplete",
            &["x 0", "x 1", "y 0"],
        ),
    ] {
        let mut follower = Follower {
            position: position.clone(),
            ..Follower::default()
        };
        follower.hear(&node, heard.len());
        assert_eq!(
            (&*follower.hows[0], &*follower.heard),
            (how, &to_owned(heard)[..])
        );
    }
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
