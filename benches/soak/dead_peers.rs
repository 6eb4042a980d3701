//! Peers that die without a word: the cable between two network namespaces of this
//! run's own is pulled, so that neither a FIN nor a reset ever comes.
//!
//! The server and everything that asks it live in the near namespace, the peers in
//! the far one. Nothing of it can reach, or be reached from, the machine's network.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::client::{Client, Got};
use crate::kit::Result;
use crate::kit::frame::Opcode;
use crate::options::Options;
use crate::order::{Order, message};
use crate::server::Server;

/// Addresses for documentation (RFC 5737), in namespaces where nothing else is.
const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";
const LINK: &str = "cable";

const PEERS: usize = 10;
/// What a deadline may be late on a busy machine.
const SLACK: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(5);
/// How often the server is asked while peers are dying.
const LOOK: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(3);

pub(crate) fn run(options: &Options) -> Result<()> {
    let cable = Cable::lay()?;
    let scenes: [fn(&Cable, &Options) -> Result<String>; 5] = [
        |cable, options| silent_peers(cable, options, &SPEAKERS),
        |cable, options| silent_peers(cable, options, &FOLLOWERS),
        |cable, options| mute_listeners(cable, options, "disconnect", 1024),
        |cable, options| mute_listeners(cable, options, "drop-oldest", 16 * 1024),
        short_outage,
    ];
    for scene in scenes {
        let told = thread::scope(|scope| {
            let scene = scope.spawn(|| {
                // Only this thread moves, and the server that it starts.
                enter(&cable.near)?;
                scene(&cable, options)
            });
            scene.join().map_err(|_| "the scene panicked")?
        })?;
        println!("  {told}");
        cable.plug_in()?;
    }
    Ok(())
}

/// How a peer comes into a room.
type Join = fn(SocketAddr, &str) -> Result<Client>;

/// Peers of a kind, and how the server finds them dead.
struct Kind {
    join: Join,
    live: fn(&mut [Client]) -> Result<()>,
    cause: &'static str,
    counter: &'static str,
}

/// They do not answer pings.
const SPEAKERS: Kind = Kind {
    join: Client::join,
    live,
    cause: "no pong in time",
    counter: "pong_timeout",
};

/// They have nothing to answer: their system does not acknowledge keepalives.
const FOLLOWERS: Kind = Kind {
    join: Client::follow,
    live: listen,
    cause: "read failed",
    counter: "read_failed",
};

/// Two network namespaces and the cable between them; gone when dropped.
struct Cable {
    near: String,
    far: String,
}

impl Cable {
    fn lay() -> Result<Cable> {
        let name = |end| format!("hubcast-{end}-{}", process::id());
        let cable = Cable {
            near: name("near"),
            far: name("far"),
        };
        let (near, far) = (&cable.near, &cable.far);
        ip(&format!("netns add {near}"))?;
        ip(&format!("netns add {far}"))?;
        ip(&format!(
            "link add name {LINK} netns {near} type veth peer name {LINK} netns {far}"
        ))?;
        for (end, address) in [(near, NEAR), (far, FAR)] {
            ip(&format!("-n {end} address add {address}/24 dev {LINK}"))?;
            ip(&format!("-n {end} link set lo up"))?;
            ip(&format!("-n {end} link set {LINK} up"))?;
        }
        Ok(cable)
    }

    fn pull(&self) -> Result<()> {
        ip(&format!("-n {} link set {LINK} down", self.far))
    }

    fn plug_in(&self) -> Result<()> {
        ip(&format!("-n {} link set {LINK} up", self.far))
    }

    /// Clients in the far namespace.
    fn peers(&self, server: &Server, join: Join) -> Result<Vec<Client>> {
        let address = server.address();
        thread::scope(|scope| {
            let join = scope.spawn(|| {
                enter(&self.far)?;
                let join = |_| join(address, "/");
                (0..PEERS).map(join).collect::<Result<Vec<_>>>()
            });
            join.join().map_err(|_| "joining panicked")?
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The cable goes with its ends. What is not there need not be deleted.
        drop(ip(&format!("netns delete {}", self.near)));
        drop(ip(&format!("netns delete {}", self.far)));
    }
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("ip, of iproute2, cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "ip {arguments}: {}; this needs root and network namespaces",
                why.trim()
            )
            .into())
        }
    }
}

/// Moves this thread into a network namespace.
fn enter(namespace: &str) -> Result<()> {
    let file = File::open(format!("/run/netns/{namespace}"))?;
    Ok(setns(file, CloneFlags::CLONE_NEWNET)?)
}

/// When peers were lost, by the log.
struct Watch<'a> {
    server: &'a Server,
    cause: &'static str,
    peers: Vec<SocketAddr>,
    lost: HashMap<SocketAddr, Instant>,
}

impl<'a> Watch<'a> {
    fn new(server: &'a Server, cause: &'static str, peers: &[Client]) -> Result<Watch<'a>> {
        Ok(Watch {
            server,
            cause,
            peers: peers.iter().map(Client::local).collect::<Result<_>>()?,
            lost: HashMap::new(),
        })
    }

    /// Fails if one was lost for another cause.
    fn look(&mut self) -> Result<()> {
        let log = self.server.log();
        for peer in &self.peers {
            let mark = format!("peer={peer} ");
            let mut lines = log.lines().filter(|line| line.contains(&mark));
            let Some(line) =
                lines.find(|line| line.contains(" lost: ") || line.contains(" left: "))
            else {
                continue;
            };
            if !line.contains(&format!(" lost: {}", self.cause)) {
                return Err(format!("lost for another cause: {line}").into());
            }
            self.lost.entry(*peer).or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.lost.len() == self.peers.len()
    }
}

fn start(options: &Options, settings: &str) -> Result<Server> {
    let settings = format!("--listen {NEAR}:0 {settings}");
    Server::start(&options.server(), &settings)
}

/// Answers pings and forgets what else has come, then pauses.
fn live(clients: &mut [Client]) -> Result<()> {
    for client in clients.iter_mut() {
        while client.fill(64 * 1024) == Got::Bytes {}
        while let Some(frame) = client.frame()? {
            if frame.opcode == Opcode::Ping {
                client.say(Opcode::Pong, &frame.payload)?;
            }
        }
    }
    thread::sleep(TICK);
    Ok(())
}

/// Reads and forgets, then pauses.
fn listen(clients: &mut [Client]) -> Result<()> {
    for client in clients.iter_mut() {
        while client.fill(64 * 1024) == Got::Bytes {
            client.forget();
        }
    }
    thread::sleep(TICK);
    Ok(())
}

/// The reading side: nobody says anything, and what the server asks for is not
/// answered any more.
fn silent_peers(cable: &Cable, options: &Options, kind: &Kind) -> Result<String> {
    const INTERVAL: Duration = Duration::from_secs(2);
    const PONG: Duration = Duration::from_secs(2);
    let server = start(options, "--ping-interval 2s --pong-timeout 2s")?;
    let bare = server.settled()?;
    let mut near = [Client::join(server.address(), "/")?];
    let mut far = cable.peers(&server, kind.join)?;
    let both = INTERVAL + PONG + SLACK;
    // Longer than they could without answering.
    let joined = Instant::now();
    while joined.elapsed() < both {
        (kind.live)(&mut far)?;
        live(&mut near)?;
    }
    let mut watch = Watch::new(&server, kind.cause, &far)?;
    cable.pull()?;
    let pulled = Instant::now();
    while !watch.is_over() {
        live(&mut near)?;
        watch.look()?;
        if pulled.elapsed() > both {
            return Err(format!(
                "{} of {PEERS} dead peers were noticed in {} s",
                watch.lost.len(),
                both.as_secs()
            )
            .into());
        }
    }
    let took = took(watch.lost.values().map(|at| *at - pulled));
    if server.departed(kind.counter)? != PEERS as u64 || server.metric("clients")? != 1 {
        return Err("the counters tell another story than the log".into());
    }
    wind_up(server, bare, near)?;
    Ok(format!(
        "reading: {PEERS} dead peers noticed {took} after the cable was pulled (ping interval \
         {} s, pong timeout {} s): {}",
        INTERVAL.as_secs(),
        PONG.as_secs(),
        kind.cause
    ))
}

/// The writing side: without pings, only what cannot be written tells.
fn mute_listeners(cable: &Cable, options: &Options, policy: &str, size: usize) -> Result<String> {
    let settings = format!("--ping-interval 0 --write-timeout 3s --slow-consumer {policy}");
    let server = start(options, &settings)?;
    let bare = server.settled()?;
    let mut near = [Client::join(server.address(), "/")?];
    let mut far = cable.peers(&server, Client::join)?;
    let payload = vec![b'x'; size];
    for _ in 0..100 {
        near[0].say(Opcode::Binary, &payload)?;
        live(&mut near)?;
        live(&mut far)?;
    }
    let mut watch = Watch::new(&server, "write timed out", &far)?;
    cable.pull()?;
    let pulled = Instant::now();
    let mut full: HashMap<SocketAddr, Instant> = HashMap::new();
    let mut looked = pulled;
    while !watch.is_over() {
        near[0].say(Opcode::Binary, &payload)?;
        live(&mut near)?;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            let waiting = server.members()?.into_iter();
            for member in waiting.filter(|member| member.queue_bytes > 0) {
                full.entry(member.peer).or_insert_with(Instant::now);
            }
            watch.look()?;
        }
        if pulled.elapsed() > 10 * DEADLINE {
            return Err(format!(
                "{} of {PEERS} dead peers were noticed, {} sockets were full",
                watch.lost.len(),
                full.len()
            )
            .into());
        }
    }
    let mut since_full = Vec::new();
    for (peer, at) in &watch.lost {
        let full = full.get(peer).ok_or("a peer whose socket was never full")?;
        since_full.push(*at - *full);
    }
    if since_full.iter().any(|took| *took > DEADLINE + SLACK) {
        return Err(format!("noticed too late: {}", took(since_full.into_iter())).into());
    }
    let since_pulled = took(watch.lost.values().map(|at| *at - pulled));
    wind_up(server, bare, near)?;
    Ok(format!(
        "writing, {policy}: {PEERS} dead peers noticed {} after their sockets were full, \
         {since_pulled} after the cable was pulled (write timeout {} s, {} KiB every {} ms): \
         write timed out",
        took(since_full.into_iter()),
        DEADLINE.as_secs(),
        size / 1024,
        TICK.as_millis()
    ))
}

/// A cable that is plugged in again in time costs nobody anything.
fn short_outage(cable: &Cable, options: &Options) -> Result<String> {
    const OUTAGE: Duration = Duration::from_secs(1);
    const MESSAGES: u64 = 300;
    let server = start(options, "--ping-interval 5s --pong-timeout 5s")?;
    let bare = server.settled()?;
    let mut near = [Client::join(server.address(), "/")?];
    let far = cable.peers(&server, Client::join)?;
    server.await_that("all to join", |server| {
        Ok(server.metric("clients")? == PEERS as u64 + 1)
    })?;
    cable.pull()?;
    let pulled = Instant::now();
    for number in 0..MESSAGES {
        if pulled.elapsed() > OUTAGE {
            cable.plug_in()?;
        }
        near[0].say(Opcode::Text, &message(0, number, 500))?;
        live(&mut near)?;
    }
    cable.plug_in()?;
    let mut order = Order::default();
    for mut peer in far {
        let mut next = 0;
        while next < MESSAGES {
            let deadline = Instant::now() + 5 * DEADLINE;
            let frame = peer.next(deadline)?.ok_or("a peer was thrown out")?;
            match frame.opcode {
                Opcode::Text => order.take(&mut next, &frame.payload)?,
                Opcode::Ping => peer.say(Opcode::Pong, &frame.payload)?,
                _ => return Err(format!("a peer hears {frame:?}").into()),
            }
        }
    }
    let took = pulled.elapsed() - OUTAGE;
    wind_up(server, bare, near)?;
    Ok(format!(
        "an outage of {} s: all of {MESSAGES} messages had reached all of {PEERS} peers {:.1} s \
         after its end",
        OUTAGE.as_secs(),
        took.as_secs_f64()
    ))
}

/// Nothing of the dead may be left.
fn wind_up(server: Server, bare: crate::server::Holdings, near: [Client; 1]) -> Result<()> {
    drop(near);
    server.await_return(bare, Duration::from_secs(10))?;
    server.stop()
}

/// The shortest and the longest of some times.
fn took(times: impl Iterator<Item = Duration> + Clone) -> String {
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    format!(
        "{:.1} to {:.1} s",
        seconds(times.clone().min()),
        seconds(times.max())
    )
}
