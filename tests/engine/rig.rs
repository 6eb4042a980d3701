//! Nodes, clients that talk all the time, and what must hold of what they
//! hear.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::child::Child;
use crate::kit::frame::{self, Opcode, masked};
use crate::kit::http::{Answer, check_upgrade, handshake, plain, post, read_head};
use crate::kit::socket::dial;
use crate::kit::wait::wait_for;
use crate::redis::Redis;

/// How long a test waits for what must happen.
pub fn deadline() -> Duration {
    at_most(Duration::from_secs(20))
}

/// How long something may take that takes so long at most on a machine that
/// does nothing else; `HUBCAST_TEST_TIME_FACTOR` makes it longer.
pub fn at_most(time: Duration) -> Duration {
    time * factor()
}

/// How much slower this machine may be.
pub fn factor() -> u32 {
    let factor = std::env::var("HUBCAST_TEST_TIME_FACTOR");
    factor.ok().and_then(|f| f.parse().ok()).unwrap_or(1)
}

#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = Duration::from_millis(5);
    let met = wait_for(deadline(), poll, || {
        Ok::<_, Infallible>(condition().then_some(()))
    });
    assert_eq!(met, Ok(Some(())), "waited in vain for: {what}");
}

/// One server of several.
pub struct Node {
    child: Child,
    pub address: SocketAddr,
}

impl Node {
    /// Starts a node, and waits until it is ready.
    pub fn start(redis: &Redis, options: &[&str]) -> Node {
        let node = Node::launch(&redis.url(), options);
        node.await_ready();
        node
    }

    pub fn launch(engine: &str, options: &[&str]) -> Node {
        let mut command = program();
        command.args(["--engine", engine, "--listen", "127.0.0.1:0"]);
        command.args(["--allow-publish", "--history", "100000"]);
        command.args(["--history-bytes", "64MiB"]).args(options);
        let child = Child::start(command, deadline()).unwrap();
        let address = child.address();
        Node { child, address }
    }

    pub fn await_ready(&self) {
        eventually("the node is ready", || self.get("/-/readyz").status == 200);
    }

    pub fn get(&self, path: &str) -> Answer {
        let mut stream = dial(self.address, deadline()).unwrap();
        stream.set_read_timeout(Some(deadline())).unwrap();
        stream.write_all(&plain("GET", path, &[])).unwrap();
        Answer::read(&mut stream).unwrap()
    }

    pub fn post(&self, room: &str, body: &str) -> Answer {
        let mut stream = dial(self.address, deadline()).unwrap();
        stream.set_read_timeout(Some(deadline())).unwrap();
        stream.write_all(&post(room, &[], body.as_bytes())).unwrap();
        Answer::read(&mut stream).unwrap()
    }

    /// One number of its metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/-/metrics").body;
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no metric {name}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).unwrap();
    }

    pub fn stop(&mut self) {
        self.child.stop(deadline()).unwrap();
    }

    /// Its memory, in bytes.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.pid()));
        let status = status.unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    pub fn log(&self) -> String {
        self.child.log().unwrap()
    }
}

/// The built program, with nothing from the environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubcast"));
    command.env_remove("RUST_LOG").env_remove("PORT");
    command
}

/// A WebSocket client in a room.
pub fn join(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = dial(address, deadline()).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.set_write_timeout(Some(deadline())).unwrap();
    stream.write_all(&handshake(target)).unwrap();
    check_upgrade(&read_head(&mut stream).unwrap()).unwrap();
    stream
}

/// The next text message; `None` when the connection ends.
pub fn next_text(stream: &mut TcpStream) -> Option<String> {
    loop {
        let frame = frame::read(stream).ok()?;
        match frame.opcode {
            Opcode::Text => return Some(String::from_utf8(frame.payload).unwrap()),
            Opcode::Ping => stream
                .write_all(&masked(Opcode::Pong, &frame.payload))
                .ok()?,
            Opcode::Close => return None,
            _ => {}
        }
    }
}

/// A client that talks and listens.
struct Talker {
    node: usize,
    room: String,
    name: String,
    stream: TcpStream,
    sent: Arc<AtomicU64>,
    heard: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What becomes of a node while everybody talks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    #[default]
    Lives,
    /// It is killed: what it had accepted and not appended is lost with it.
    Dies,
    /// It has seen a part of the log that was lost, so its clients know
    /// another order.
    Branches,
}

/// What was said, and what was wrong with what was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By nodes that live.
    pub accepted: u64,
    pub lost: u64,
    pub doubled: u64,
    /// The most orders that a room had.
    pub orders: usize,
    /// What a node that was killed took with it.
    pub died: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            accepted,
            lost,
            doubled,
            orders,
            died,
        } = self;
        write!(
            f,
            "accepted {accepted}, lost {lost}, doubled {doubled}, orders {orders}"
        )?;
        match died {
            0 => Ok(()),
            died => write!(f, ", {died} lost with their node"),
        }
    }
}

/// Clients on every node, in rooms they share, who number what they say.
pub struct Load {
    talkers: Vec<Talker>,
    is_over: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
}

impl Load {
    /// In each room, one client on each node says something every `pause`.
    pub fn start(nodes: &[&Node], rooms: &[&str], pause: Duration) -> Load {
        let mut load = Load {
            talkers: Vec::new(),
            is_over: Arc::default(),
            heard: Arc::default(),
        };
        for (index, node) in nodes.iter().enumerate() {
            for room in rooms {
                load.talkers.push(load.talker(index, node, room));
            }
        }
        for talker in &mut load.talkers {
            talker.talk(pause, load.is_over.clone());
        }
        load
    }

    fn talker(&self, index: usize, node: &Node, room: &str) -> Talker {
        let stream = join(node.address, room);
        let mut talker = Talker {
            node: index,
            room: room.to_owned(),
            name: format!("{index}{room}"),
            sent: Arc::default(),
            heard: Arc::default(),
            threads: Vec::new(),
            stream,
        };
        let mut stream = talker.stream.try_clone().unwrap();
        stream.set_read_timeout(None).unwrap();
        let (heard, all) = (talker.heard.clone(), self.heard.clone());
        talker.threads.push(thread::spawn(move || {
            while let Some(text) = next_text(&mut stream) {
                heard.lock().unwrap().push(text);
                all.fetch_add(1, Ordering::SeqCst);
            }
        }));
        talker
    }

    /// How many messages all clients have heard together.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::SeqCst)
    }

    /// How long it takes until something is heard again.
    pub fn pause(&self) -> Duration {
        let (begun, before) = (Instant::now(), self.heard());
        eventually("something is heard again", || self.heard() > before);
        begun.elapsed()
    }

    /// Ends the talking. Everybody must have heard everything, once, in the
    /// order in which each said it, and in each room in one order.
    pub fn check(self) -> Tally {
        self.check_fates(&[])
    }

    /// The same where nodes had different fates; those not named live.
    pub fn check_fates(mut self, fates: &[Fate]) -> Tally {
        self.is_over.store(true, Ordering::SeqCst);
        for talker in &mut self.talkers {
            talker.threads.pop().unwrap().join().unwrap();
        }
        let fate = |talker: &Talker| fates.get(talker.node).copied().unwrap_or_default();
        let dies = |talker: &&Talker| fate(talker) == Fate::Dies;
        let mut tally = Tally::default();
        let mut orders: HashMap<&str, Vec<Vec<String>>> = HashMap::new();
        for listener in self.talkers.iter().filter(|talker| !dies(talker)) {
            let others = self.talkers.iter().filter(|t| t.room == listener.room);
            let (dead, living): (Vec<_>, Vec<_>) = others.partition(dies);
            let heard = listener.hear(&living);
            in_order(&listener.name, &heard);
            let count = |who: &Talker| heard.iter().filter(|text| who.said(text)).count() as u64;
            for who in living {
                let sent = who.sent.load(Ordering::SeqCst);
                tally.lost += sent.saturating_sub(count(who));
                tally.doubled += count(who).saturating_sub(sent);
            }
            let died: u64 = dead
                .iter()
                .map(|who| who.sent.load(Ordering::SeqCst) - count(who))
                .sum();
            tally.died = tally.died.max(died);
            let orders = orders.entry(&listener.room).or_default();
            if fate(listener) == Fate::Lives && !orders.contains(&heard) {
                orders.push(heard);
            }
        }
        let living = self.talkers.iter().filter(|talker| !dies(talker));
        tally.accepted = living.map(|who| who.sent.load(Ordering::SeqCst)).sum();
        tally.orders = orders.values().map(Vec::len).max().unwrap_or(0);
        let faultless = Tally {
            lost: 0,
            doubled: 0,
            orders: 1,
            ..tally
        };
        assert_eq!(tally, faultless);
        tally
    }
}

/// Each talker's numbers are without holes and in order.
pub fn in_order(who: &str, heard: &[String]) {
    let mut next: HashMap<&str, u64> = HashMap::new();
    for text in heard {
        let (name, number) = text.split_once(' ').unwrap();
        let next = next.entry(name).or_default();
        assert_eq!(number, next.to_string(), "{who} heard {name}");
        *next += 1;
    }
}

impl Talker {
    fn said(&self, text: &str) -> bool {
        text.split_once(' ')
            .is_some_and(|(name, _)| name == self.name)
    }

    /// What it has heard, when that is as much as these have said.
    fn hear(&self, all: &[&Talker]) -> Vec<String> {
        let expected: u64 = all.iter().map(|who| who.sent.load(Ordering::SeqCst)).sum();
        let heard = || self.heard.lock().unwrap();
        let count = || {
            let heard = heard();
            let theirs = heard
                .iter()
                .filter(|text| all.iter().any(|who| who.said(text)));
            theirs.count() as u64
        };
        let _ = wait_for(deadline(), Duration::from_millis(20), || {
            Ok::<_, Infallible>((count() >= expected).then_some(()))
        });
        heard().clone()
    }

    fn talk(&mut self, pause: Duration, is_over: Arc<AtomicBool>) {
        let mut stream = self.stream.try_clone().unwrap();
        let (name, sent) = (self.name.clone(), self.sent.clone());
        self.threads.push(thread::spawn(move || {
            for number in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let text = format!("{name} {number}");
                let frame = masked(Opcode::Text, text.as_bytes());
                if stream.write_all(&frame).is_err() {
                    // Its node was killed. If not, others will miss what it
                    // does not say, for it has said so.
                    return;
                }
                sent.fetch_add(1, Ordering::SeqCst);
                thread::sleep(pause);
            }
        }));
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Sends messages until the connection is closed; returns the code.
pub fn flood(stream: &mut TcpStream, sent: &mut u64) -> Option<u16> {
    let mut reading = stream.try_clone().unwrap();
    let code = thread::spawn(move || {
        loop {
            let frame = frame::read(&mut reading).ok()?;
            if frame.opcode == Opcode::Close {
                return frame.close_code();
            }
        }
    });
    let begun = Instant::now();
    while !code.is_finished() && begun.elapsed() < deadline() {
        let text = format!("0 {sent}");
        if stream
            .write_all(&masked(Opcode::Text, text.as_bytes()))
            .is_err()
        {
            break;
        }
        *sent += 1;
        thread::sleep(Duration::from_millis(2));
    }
    code.join().unwrap()
}
