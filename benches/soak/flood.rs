//! A chat beside clients that flood a room of their own as fast as the server takes
//! it: by itself, beside clients of plain text, and beside clients of TLS, in turns on
//! one server. TLS costs the server more; those who do not flood must not notice.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SendError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::kit::Result;
use crate::kit::frame::{Dialect, Opcode};
use crate::kit::load::Load;
use crate::kit::room::Room;
use crate::kit::scenario::{Pace, Scenario};
use crate::kit::tls::Identity;
use crate::options::Options;
use crate::server::Server;

const WINDOW: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);

const FLOOD: Scenario = Scenario {
    name: "flood",
    group: "",
    title: "",
    clients: 20,
    stalled: 0,
    senders: 20,
    pace: Pace::Each(8),
    size: 128,
    options: &[],
    peers: false,
};

const CHAT: Scenario = Scenario {
    name: "chat",
    clients: 4,
    senders: 4,
    pace: Pace::PerSecond(200),
    ..FLOOD
};

const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// How many things go on beside a chat in turn: nothing, a flood, one over TLS.
const SIDES: usize = 3;

pub(crate) fn run(options: &Options) -> Result<()> {
    let identity = Identity::new()?;
    let settings = format!(
        "--listen 127.0.0.1:0 --plain-listen 127.0.0.1:0 --tls-cert {} --tls-key {}",
        identity.certificate().display(),
        identity.key().display()
    );
    let server = Server::start(&options.server(), &settings)?;
    take_turns(&server, &identity, options)?;
    server.stop()
}

fn take_turns(server: &Server, identity: &Identity, options: &Options) -> Result<()> {
    let tls = (server.address(), Some(identity));
    let plain = (plain_address(server)?, None);
    let turns = options.load_time().div_duration_f64(WINDOW).ceil() as u32;
    let mut flooded = [0.0; SIDES];
    let latency = thread::scope(|scope| {
        // Given to whoever is ready, so that all windows begin together.
        let (windows, begun): (Vec<_>, Vec<_>) = (0..2).map(|_| sync_channel(0)).unzip();
        let doors = [("/chat", plain), ("/chat-tls", tls)];
        let chats: Vec<_> = doors
            .into_iter()
            .zip(begun)
            .map(|((path, door), begun)| scope.spawn(move || chat(path, door, &begun)))
            .collect();
        let outcome = flood([plain, tls], turns, &mut flooded, |side| {
            windows.iter().try_for_each(|window| window.send(side))
        });
        drop(windows);
        let chats = chats.into_iter().map(|chat| {
            let chatted = chat.join().map_err(|_| "a chat panicked")?;
            chatted.map_err(|error| format!("a chat: {error}").into())
        });
        let latency = chats.collect::<Result<Vec<_>>>()?;
        outcome.map(|()| latency)
    })?;
    report(&latency, flooded);
    Ok(())
}

/// Of each window, what these shares of all messages took at most, in nanoseconds.
type Chatted = [Vec<[u64; SHARES.len()]>; SIDES];

/// Where clients go in, and how.
type Door<'a> = (SocketAddr, Option<&'a Identity>);

/// Chats for a window whenever one begins; what goes on beside it comes with it.
fn chat(path: &str, door: Door<'_>, windows: &Receiver<usize>) -> Result<Chatted> {
    let mut chatted = Chatted::default();
    let mut room = assemble(path, door, &CHAT)?;
    // Whoever chats sleeps between two messages.
    room.awake = Duration::ZERO;
    let mut load = Load::new(&mut room, &CHAT, Opcode::Binary);
    load.run(WARM_UP)?;
    for side in windows {
        load.latency().clear();
        load.run(WINDOW)?;
        chatted[side].push(SHARES.map(|(_, share)| load.latency().quantile(share)));
    }
    load.finish()?;
    Ok(chatted)
}

/// Floods in every window but the first of each turn, in which it rests.
fn flood(
    doors: [Door<'_>; 2],
    turns: u32,
    flooded: &mut [f64; SIDES],
    begin: impl Fn(usize) -> std::result::Result<(), SendError<usize>>,
) -> Result<()> {
    let [plain, tls] = doors;
    let (mut plain, mut tls) = (
        assemble("/flood", plain, &FLOOD)?,
        assemble("/flood-tls", tls, &FLOOD)?,
    );
    let mut loads = [&mut plain, &mut tls].map(|room| Load::new(room, &FLOOD, Opcode::Binary));
    for load in &mut loads {
        load.run(WARM_UP)?;
    }
    for _ in 0..turns {
        begin(0)?;
        thread::sleep(WINDOW);
        for (side, load) in (1..).zip(&mut loads) {
            begin(side)?;
            let stretch = load.run(WINDOW)?;
            let rate = stretch.broadcasts as f64 / stretch.elapsed.as_secs_f64();
            flooded[side] += rate / f64::from(turns);
        }
    }
    loads.iter_mut().try_for_each(Load::finish)
}

/// The address without TLS, which is not the first that the server names.
fn plain_address(server: &Server) -> Result<SocketAddr> {
    let log = server.log();
    let (_, rest) = log
        .split_once("without TLS on ws://")
        .ok_or("no port without TLS")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Ok(rest[..end].parse()?)
}

fn assemble(path: &str, door: Door<'_>, scenario: &Scenario) -> Result<Room> {
    let (address, identity) = door;
    let (dialect, clients) = (Dialect::Client, scenario.clients);
    let mut room = Room::connect(address, path, dialect, Opcode::Binary, clients, 0, identity)?;
    room.assemble()?;
    Ok(room)
}

/// The median of the windows, which a machine that is busy for a while does not move.
fn report(chats: &[Chatted], flooded: [f64; SIDES]) {
    println!(
        "chats beside {} clients that flood: {:.0} thousand messages a second, over TLS {:.0}",
        FLOOD.clients,
        flooded[1] / 1e3,
        flooded[2] / 1e3
    );
    for (chatted, kind) in chats.iter().zip(["plain chat", "chat over TLS"]) {
        for (index, (name, _)) in SHARES.iter().enumerate() {
            let times = chatted.each_ref().map(|windows| {
                let mut times: Vec<u64> = windows.iter().map(|shares| shares[index]).collect();
                times.sort_unstable();
                times[times.len() / 2] as f64 / 1e6
            });
            let [alone, plain, tls] = times;
            println!(
                "  {kind:<14} {name:<6} {alone:.3} ms alone, {plain:.3} beside plain clients, \
                 {tls:.3} beside TLS: {:.2}",
                tls / plain
            );
        }
    }
}
