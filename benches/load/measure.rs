//! One run: one subject, one scenario, from start to orderly end.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::cores::{self, Distances};
use crate::figures::{Figures, Metric, median};
use crate::kit::Result;
use crate::kit::child::Child;
use crate::kit::http::{Answer, plain};
use crate::kit::load::Load;
use crate::kit::room::Room;
use crate::kit::scenario::{Pace, Scenario};
use crate::kit::socket::dial;
use crate::kit::usage::{Process, machine_cpu, own_cpu};
use crate::kit::wait::wait_for;
use crate::options::Options;
use crate::subject::{Kind, Subject};

/// How long a server may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server is at rest when it has used no CPU time for this long …
const SETTLED: Duration = Duration::from_millis(50);
/// … which is waited for this long at most.
const SETTLE: Duration = Duration::from_secs(5);

/// A run is disturbed when everybody else used more than this share of a core.
const DISTURBED: f64 = 0.1;

/// The figures, and how far apart the cores were.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) figures: Figures,
    pub(crate) cores: Distances,
}

impl Run {
    /// Whether the run was under the conditions asked for.
    pub(crate) fn counts(&self, options: &Options) -> bool {
        let disturbed = options.undisturbed && self.is_disturbed();
        !disturbed
            && options
                .cores
                .is_none_or(|state| state == self.cores.state())
    }

    fn is_disturbed(&self) -> bool {
        let others = self.figures.get(&Metric::Others);
        others.is_some_and(|&others| others > DISTURBED)
    }
}

pub(crate) fn measure(subject: &Subject, scenario: &Scenario, options: &Options) -> Result<Run> {
    let mut child = Child::start(subject.command(scenario, options.identity())?, PATIENCE)?;
    let run = observe(&child, subject, scenario, options)
        .map_err(|error| format!("{error}; the server's last words: {}", child.last_words()))?;
    if let Kind::Server(_) | Kind::Peer(_) = subject.kind {
        let status = child.stop(PATIENCE)?;
        if matches!(subject.kind, Kind::Server(_)) && !status.success() {
            return Err(format!("ended with {status}: {}", child.last_words()).into());
        }
    }
    Ok(run)
}

fn observe(
    child: &Child,
    subject: &Subject,
    scenario: &Scenario,
    options: &Options,
) -> Result<Run> {
    let process = Process::new(child.pid())?;
    let bare = process.resident()?;
    let (start, cpu, others) = (Instant::now(), process.cpu()?, others_cpu(&process)?);
    let mut room = Room::connect(
        child.address(),
        "/",
        subject.dialect(),
        options.opcode(),
        scenario.clients,
        scenario.stalled,
        options.identity(),
    )?;
    let mut figures = Figures::new();
    if scenario.senders == 0 {
        connected(scenario, &process, start.elapsed(), cpu, &mut figures)?;
    }
    room.assemble()?;
    if options.sleep {
        room.awake = Duration::ZERO;
    }
    let before = cores::distance()?;
    match (scenario.senders, scenario.pace) {
        (0, _) => rest(&process, options, &mut figures)?,
        (_, Pace::Unread) => {
            let address = child.address();
            unread(
                &mut room,
                scenario,
                &process,
                address,
                options,
                &mut figures,
            )?;
        }
        _ => fan_out(&mut room, scenario, &process, options, &mut figures)?,
    }
    let after = cores::distance()?;
    let members = (scenario.clients + scenario.stalled) as f64;
    let resident = process.resident()?.saturating_sub(bare);
    figures.insert(Metric::Resident, resident as f64 / 1024.0 / members);
    let others = others_cpu(&process)?.saturating_sub(others);
    figures.insert(
        Metric::Others,
        others.as_secs_f64() / start.elapsed().as_secs_f64(),
    );
    Ok(Run {
        figures,
        cores: Distances { before, after },
    })
}

/// The CPU time that everybody but the server and its load has used so far.
fn others_cpu(process: &Process) -> Result<Duration> {
    Ok(machine_cpu()?.saturating_sub(process.cpu()? + own_cpu()?))
}

/// The time and CPU time that connecting took, once the server has come to rest.
fn connected(
    scenario: &Scenario,
    process: &Process,
    elapsed: Duration,
    before: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let clients = scenario.clients as f64;
    let cpu = settled(process)? - before;
    figures.insert(Metric::Connects, clients / elapsed.as_secs_f64());
    figures.insert(Metric::ConnectCpu, micros(cpu) / clients);
    Ok(())
}

/// The CPU time used when the server has come to rest.
fn settled(process: &Process) -> Result<Duration> {
    let mut cpu = None;
    wait_for(SETTLE, SETTLED, || -> Result<_> {
        let before = cpu.replace(process.cpu()?);
        Ok((cpu == before).then_some(()))
    })?;
    Ok(cpu.unwrap_or_default())
}

/// Measures the server while nobody says anything.
fn rest(process: &Process, options: &Options, figures: &mut Figures) -> Result<()> {
    settled(process)?;
    let switches = process.switches()?;
    let (start, cpu) = (Instant::now(), process.cpu()?);
    thread::sleep(options.duration());
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), process.cpu()? - cpu);
    let after = process.switches()?;
    figures.insert(Metric::RestCpu, micros(cpu) / elapsed);
    figures.insert(
        Metric::RestSwitches,
        after.since(&switches) as f64 / elapsed,
    );
    figures.insert(Metric::Threads, after.threads() as f64);
    Ok(())
}

/// From nothing in flight to nothing in flight, so that what the server used
/// belongs to the deliveries counted, all of them and no others.
fn fan_out(
    room: &mut Room,
    scenario: &Scenario,
    process: &Process,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let mut load = Load::new(room, scenario, options.opcode());
    load.run(options.warm_up())?;
    load.latency().clear();
    let switches = process.switches()?;
    let (cpu, own) = (process.cpu()?, own_cpu()?);
    let stretch = load.run(options.duration())?;
    let (cpu, own) = (process.cpu()? - cpu, own_cpu()? - own);
    let after = process.switches()?;
    load.finish()?;

    let (seconds, deliveries) = (stretch.elapsed.as_secs_f64(), stretch.deliveries as f64);
    let latency = load.latency();
    let mut quantile = |metric, share| {
        figures.insert(metric, latency.quantile(share) as f64 / 1e3);
    };
    quantile(Metric::P50, 0.5);
    quantile(Metric::P99, 0.99);
    quantile(Metric::P999, 0.999);
    quantile(Metric::Max, 1.0);
    figures.insert(Metric::Broadcasts, stretch.broadcasts as f64 / seconds);
    figures.insert(Metric::Deliveries, deliveries / seconds);
    figures.insert(Metric::Cpu, micros(cpu) / deliveries);
    figures.insert(Metric::Switches, after.since(&switches) as f64 / deliveries);
    figures.insert(Metric::Threads, after.threads() as f64);
    figures.insert(Metric::Generator, own.as_secs_f64() / seconds);
    Ok(())
}

/// What single fan-outs take while everybody who receives rests.
fn unread(
    room: &mut Room,
    scenario: &Scenario,
    process: &Process,
    address: SocketAddr,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let mut load = Load::new(room, scenario, options.opcode());
    let end = Instant::now() + options.duration();
    let mut times = Vec::new();
    let mut before = fan_out_time(address)?;
    while Instant::now() < end {
        load.send_unread(|| settled(process).map(drop))?;
        let after = fan_out_time(address)?;
        times.push((after - before) * 1e6);
        before = after;
    }
    load.finish()?;
    figures.extend(median(times).map(|time| (Metric::FanOut, time)));
    Ok(())
}

/// The seconds that all fan-outs together took so far, as the server counts them.
fn fan_out_time(address: SocketAddr) -> Result<f64> {
    let mut socket = dial(address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let request = plain("GET", "/-/metrics", &["Connection: close"]);
    socket.write_all(&request)?;
    let metrics = Answer::read(&mut socket)?.body;
    let mut lines = metrics.lines();
    let sum = lines.find_map(|line| line.strip_prefix("hubcast_fan_out_seconds_sum "));
    Ok(sum.ok_or("no metric of that name")?.parse()?)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
