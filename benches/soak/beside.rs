//! Healthy clients under full load, by themselves and beside others that do not keep
//! up, in turns on one server: the healthy ones must not notice.
//!
//! The healthy ones are the load benchmark's: it checks every one of their
//! deliveries, byte by byte, and that none is missing at the end.

use std::sync::Arc;
use std::time::Duration;

use crate::crowd::{Crowd, Policy, SLOW, STALLED, Tally};
use crate::kit::Result;
use crate::kit::frame::{Dialect, Opcode};
use crate::kit::histogram::Histogram;
use crate::kit::load::Load;
use crate::kit::room::Room;
use crate::kit::scenario::{Pace, Scenario};
use crate::options::Options;
use crate::server::Server;

const HEALTHY: usize = 100;
/// Long enough for a stalled client to be gone under every policy.
const WINDOW: Duration = Duration::from_secs(15);
const WARM_UP: Duration = Duration::from_secs(1);
/// How much of the figures by themselves the others may cost.
const TOLERANCE: f64 = 0.1;

const FULL: Scenario = Scenario {
    name: "full",
    group: "",
    title: "",
    clients: HEALTHY,
    stalled: 0,
    senders: 10,
    pace: Pace::Each(32),
    size: 128,
    options: &[],
    peers: false,
};

/// The server's limits on what it holds, in bytes: the inbox's commands and large
/// bursts, and all backlogs together.
pub(crate) const fn held(max_message_size: u64, queue_total: u64) -> u64 {
    1024 * 64 * 1024 + 16 * max_message_size + queue_total
}

/// What a connection may cost: what its two threads touch of their stacks and of the
/// allocator's pages, and a read of small messages.
pub(crate) const PER_CLIENT: u64 = 96 * 1024;

/// One of the two sides of the comparison.
struct Side {
    histogram: Histogram,
    deliveries: u64,
    elapsed: Duration,
}

impl Side {
    fn new() -> Side {
        Side {
            histogram: Histogram::new(),
            deliveries: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn throughput(&self) -> f64 {
        self.deliveries as f64 / self.elapsed.as_secs_f64()
    }

    fn run(&mut self, load: &mut Load<'_>, window: Duration) -> Result<()> {
        std::mem::swap(load.latency(), &mut self.histogram);
        let stretch = load.run(window);
        std::mem::swap(load.latency(), &mut self.histogram);
        let stretch = stretch?;
        self.deliveries += stretch.deliveries;
        self.elapsed += stretch.elapsed;
        Ok(())
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    println!(
        "{HEALTHY} clients under full load, beside {STALLED} stalled and {SLOW} slow ones for {} s",
        options.load_time().as_secs()
    );
    for policy in options.policies() {
        compare(policy, options).map_err(|error| format!("{}: {error}", policy.name()))?;
    }
    Ok(())
}

fn compare(policy: Policy, options: &Options) -> Result<()> {
    let server = Server::start(
        &options.server(),
        &format!("--listen 127.0.0.1:0 --slow-consumer {}", policy.name()),
    )?;
    let bare = server.settled()?;
    let server = Arc::new(server);
    let watched = server.clone();
    let outcome = take_turns(watched, policy, options).map_err(|error| {
        let log = server.log();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        format!("{error}; the server's last lines, newest first: {tail:?}")
    })?;
    let (alone, beside, tally) = outcome;
    // The last of them may have to wait for its close timeout.
    let after = server.await_return(bare, Duration::from_secs(20))?;
    let peak = server.peak()?;
    let evicted = server.departed("evicted")?;
    let too_slow = server.departed("write_timeout")?;
    report(policy, &alone, &beside);
    println!("    {tally}; evicted {evicted}, write timed out {too_slow}");
    let connections = (HEALTHY + 2 * (STALLED + SLOW)) as u64;
    let bound = bare.resident + held(1 << 20, 256 << 20) + connections * PER_CLIENT;
    println!(
        "    memory: {:.1} MiB at start, {:.1} at most (formula: {:.0}), {:.1} at the end",
        mib(bare.resident),
        mib(peak),
        mib(bound),
        mib(after.resident)
    );
    if peak > bound {
        return Err("more memory than the formula says".into());
    }
    let server = Arc::into_inner(server).ok_or("somebody still watches the server")?;
    server.stop()
}

/// Turns of equal length: whatever else the machine does hits both alike.
fn take_turns(
    server: Arc<Server>,
    policy: Policy,
    options: &Options,
) -> Result<(Side, Side, Tally)> {
    let (mut alone, mut beside, mut tally) = (Side::new(), Side::new(), Tally::default());
    let address = server.address();
    let mut room = Room::connect(
        address,
        "/",
        Dialect::Client,
        Opcode::Binary,
        HEALTHY,
        0,
        None,
    )?;
    room.assemble()?;
    let mut load = Load::new(&mut room, &FULL, Opcode::Binary);
    load.run(WARM_UP)?;
    load.latency().clear();
    let window = WINDOW.min(options.load_time());
    let turns = options.load_time().div_duration_f64(window).ceil() as u32;
    for _ in 0..turns {
        alone.run(&mut load, window)?;
        let crowd = Crowd::start(server.clone(), policy)?;
        let run = beside.run(&mut load, window);
        let left = crowd.disperse();
        run?;
        tally += left?;
    }
    load.finish()?;
    Ok((alone, beside, tally))
}

fn report(policy: Policy, alone: &Side, beside: &Side) {
    let throughput = beside.throughput() / alone.throughput();
    println!(
        "  {:<12} throughput {:.2} M/s alone, {:.2} beside: {}",
        policy.name(),
        alone.throughput() / 1e6,
        beside.throughput() / 1e6,
        verdict(throughput, throughput >= 1.0 - TOLERANCE)
    );
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let quantile = |side: &Side| side.histogram.quantile(share) as f64 / 1e6;
        let (alone, beside) = (quantile(alone), quantile(beside));
        println!(
            "    {name:<10} {alone:.2} ms alone, {beside:.2} beside: {}",
            verdict(beside / alone, beside / alone <= 1.0 + TOLERANCE)
        );
    }
}

fn verdict(ratio: f64, is_within: bool) -> String {
    let within = if is_within { "" } else { ", NOT within 10 %" };
    format!("{:.1} %{within}", ratio * 100.0)
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
