//! A restart under socket activation, under load: nobody is refused, and
//! clients that resume miss nothing.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::kit::child::Child;
use crate::kit::http::{check_upgrade, handshake, read_head};
use crate::kit::socket::dial;
use crate::redis::{Keeps, Redis};
use crate::rig::{Node, deadline, eventually, next_text};

const FOLLOWERS: usize = 8;
const RESTARTS: usize = 3;
/// The last message.
const END: &str = "the end";

/// A node with this listener as its descriptor 3, as systemd starts it.
fn activated(listener: &TcpListener, redis: &Redis, options: &[&str]) -> Child {
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_hubcast")]);
    command.args(["--engine", &redis.url(), "--history", "100000"]);
    command.args(["--history-bytes", "64MiB"]).args(options);
    command.stdin(OwnedFd::from(listener.try_clone().unwrap()));
    Child::start_with_input(command, deadline()).unwrap()
}

/// Follows the room through all restarts; returns what it has heard, and how
/// often it came back.
fn follow(address: SocketAddr, joined: &AtomicUsize) -> (Vec<String>, usize) {
    let (mut at, mut heard, mut visits) = (String::new(), Vec::new(), 0);
    loop {
        // A connection is never refused, and never cut before its answer.
        let mut stream = dial(address, deadline()).unwrap();
        stream.set_read_timeout(Some(deadline())).unwrap();
        let target = format!("/a?positions{at}");
        stream.write_all(&handshake(&target)).unwrap();
        let head = read_head(&mut stream).unwrap();
        if head.starts_with("HTTP/1.1 503 ") {
            continue; // it was begun while the server stopped
        }
        check_upgrade(&head).unwrap();
        visits += 1;
        while let Some(text) = next_text(&mut stream) {
            let (line, message) = text.split_once('\n').unwrap_or((&text, ""));
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["!at", position, how] => {
                    assert!(visits == 1 || how == "complete", "{text}");
                    at = format!("&since={position}");
                    joined.fetch_add(1, Ordering::SeqCst);
                }
                [position] => {
                    at = format!("&since={position}");
                    if message == END {
                        return (heard, visits);
                    }
                    heard.push(message.to_owned());
                }
                _ => panic!("{text}"),
            }
        }
    }
}

fn misses_nothing(options: &[&str]) {
    let redis = Redis::start(Keeps::Nothing);
    let other = Node::start(&redis, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = activated(&listener, &redis, options);
    let (joined, said) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let say = |text: &str| assert!(other.post("/a", text).status < 300);
    thread::scope(|scope| {
        let followers = [(); FOLLOWERS].map(|()| scope.spawn(|| follow(address, &joined)));
        let all_have_joined = |times: usize| {
            eventually("all followers", || {
                joined.load(Ordering::SeqCst) >= times * FOLLOWERS
            });
        };
        all_have_joined(1);
        let talker = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                say(&said.load(Ordering::SeqCst).to_string());
                said.fetch_add(1, Ordering::SeqCst);
            }
        });
        for restart in 1..=RESTARTS {
            let before = said.load(Ordering::SeqCst);
            eventually("messages", || said.load(Ordering::SeqCst) > before + 200);
            assert!(server.stop(deadline()).unwrap().success());
            server = activated(&listener, &redis, options);
            all_have_joined(1 + restart);
        }
        is_over.store(true, Ordering::SeqCst);
        talker.join().unwrap();
        say(END);
        let said = said.load(Ordering::SeqCst);
        let all: Vec<String> = (0..said).map(|number| number.to_string()).collect();
        for follower in followers {
            let (heard, visits) = follower.join().unwrap();
            assert!(heard == all, "{} of {said}", heard.len());
            assert!(visits > RESTARTS, "{visits}");
        }
        println!("{RESTARTS} restarts, {FOLLOWERS} clients: each heard all of {said}, once");
    });
}

#[test]
#[ignore = "make test-engine runs it"]
fn who_resumes_after_a_restart_misses_nothing() {
    misses_nothing(&[]);
}

#[test]
#[ignore = "make test-engine runs it"]
fn who_resumes_in_a_drain_misses_nothing() {
    misses_nothing(&["--drain=1s"]);
}
