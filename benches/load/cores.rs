//! How far apart the two cores are just now: a virtual machine's cores may be
//! moved between a place where they share a cache and one where they do not, and
//! everything that crosses a loopback socket then costs up to three times as much.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::kit::Result;

/// Round trips of the cache line timed together, and how often that is done.
const TRIPS: u64 = 500;
const LOTS: usize = 12;
/// Cores that share a cache take about 80 ns, others about 400 ns.
const NEAR: Duration = Duration::from_nanos(200);
/// A thread that shares its core with another may have to wait for its turn.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum State {
    /// The cores share a cache.
    Near,
    /// They do not.
    Far,
    /// They did for a part of the time, or this could not be measured.
    Mixed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Near => "near",
            State::Far => "far",
            State::Mixed => "mixed",
        })
    }
}

/// The time of one round trip of a cache line between two cores; `None` with one
/// core, or when something else kept them busy.
pub(crate) fn distance() -> Result<Option<Duration>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let mut cores = (0..CpuSet::count()).filter(is_allowed);
    let (Some(here), Some(there)) = (cores.next(), cores.next()) else {
        return Ok(None);
    };
    let line = AtomicU64::new(0);
    let deadline = Instant::now() + PATIENCE;
    let lots = thread::scope(|scope| {
        let echo = scope.spawn(|| bounce(there, &line, 1, deadline));
        let lots = scope.spawn(|| bounce(here, &line, 0, deadline)).join();
        let echoed = echo.join();
        lots.and_then(|lots| echoed.map(|_| lots))
    });
    let lots = lots.map_err(|_| "measuring the cores' distance panicked")??;
    // The quickest: whatever disturbs only adds to it.
    Ok(lots.into_iter().min())
}

/// The distances before and after a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distances {
    pub(crate) before: Option<Duration>,
    pub(crate) after: Option<Duration>,
}

impl Distances {
    pub(crate) fn state(&self) -> State {
        match (self.before, self.after) {
            (Some(before), Some(after)) if before < NEAR && after < NEAR => State::Near,
            (Some(before), Some(after)) if before >= NEAR && after >= NEAR => State::Far,
            _ => State::Mixed,
        }
    }
}

impl fmt::Display for Distances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = |distance: Option<Duration>| match distance {
            Some(distance) => format!("{} ns", distance.as_nanos()),
            None => "unknown".to_owned(),
        };
        let (before, after) = (nanos(self.before), nanos(self.after));
        write!(f, "{} ({before}, then {after})", self.state())
    }
}

/// Counts the line up whenever it is this side's turn, pinned to one core.
fn bounce(core: usize, line: &AtomicU64, side: u64, deadline: Instant) -> Result<Vec<Duration>> {
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &only)?;
    let mut lots = Vec::with_capacity(LOTS);
    let mut turn = side;
    for _ in 0..LOTS {
        let start = Instant::now();
        if start >= deadline {
            break;
        }
        for _ in 0..TRIPS {
            if !await_turn(line, turn, deadline) {
                return Ok(lots);
            }
            // Nothing else is published through the line.
            line.store(turn + 1, Ordering::Relaxed);
            turn += 2;
        }
        lots.push(start.elapsed() / TRIPS as u32);
    }
    Ok(lots)
}

/// Spins until it is this side's turn. False: the other side is gone.
fn await_turn(line: &AtomicU64, turn: u64, deadline: Instant) -> bool {
    let mut spins = 0_u32;
    while line.load(Ordering::Relaxed) != turn {
        spins += 1;
        if spins.is_multiple_of(100_000) && Instant::now() >= deadline {
            return false;
        }
    }
    true
}
