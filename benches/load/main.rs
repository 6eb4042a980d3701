//! The load benchmark: starts the real server as a child process, drives it over
//! loopback with a load generator of its own, and checks every delivery.
//!
//! In reading order: what is measured ([`kit::scenario`]) and of whom ([`subject`],
//! [`floor`]); one run of it ([`measure`]), with what the [`kit`] has: the server, its
//! clients, the load, the check; how far apart the [`cores`] are; and what comes out
//! ([`figures`], [`results`], [`report`]).
//!
//! What the figures mean:
//! - A delivery is one message received by one client. The sender is a client too.
//! - In flight is a message until every client has it.
//! - Latency is from just before a message was written until just after a client's
//!   read returned it; in the open loop, from when it was due.
//! - CPU time is all of the server process's, over a stretch that begins and ends
//!   with nothing in flight. Over loopback that includes the receiving half of TCP,
//!   which runs in the sender's system call, for the floor as for everybody else.
//! - KiB/client is resident memory above what the server had before its clients
//!   came. What the kernel keeps for a socket or a thread is not in it.
//! - The floor is what the system calls alone cost ([`floor`]).
//! - Near and far say whether the cores shared a cache ([`cores`]); only figures from
//!   the same state can be compared. A `mixed` run saw both.

mod cores;
mod figures;
mod floor;
#[path = "../kit/mod.rs"]
mod kit;
mod measure;
mod options;
mod report;
mod results;
mod subject;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crate::figures::Metric;
use crate::kit::process::raise_descriptor_limit;
use crate::kit::scenario::Scenario;
use crate::kit::{Result, self_check};
use crate::measure::{Run, measure};
use crate::options::Options;
use crate::report::Summary;
use crate::results::Results;
use crate::subject::Subject;

/// How often a run is tried until it was under the conditions asked for …
const TRIES: usize = 8;
/// … and after how long again: they change every few seconds.
const RETRY: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let options = Options::from_command_line();
    match options.and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False: a run of hubcast's or of the floor's failed.
fn run(options: &Options) -> Result<bool> {
    if let Some(floor) = options.floor {
        floor::run(floor, options.listen, options.floor_clients)?;
        return Ok(true);
    }
    let scenarios = options.scenarios();
    if scenarios.is_empty() {
        return Err("no scenario of that name; --list shows them".into());
    }
    if options.list {
        for scenario in scenarios {
            println!("{:<16}{}", scenario.name, scenario.title);
        }
        return Ok(true);
    }
    self_check::run()?;
    raise_descriptor_limit()?;
    let (subjects, remarks) = options.subjects()?;
    for remark in remarks {
        println!("{remark}");
    }
    let mut all_well = true;
    let mut summary = Summary::new();
    for group in scenarios.chunk_by(|a, b| a.group == b.group) {
        let results = measure_group(group, &subjects, options);
        let state = options.cores.or_else(|| results.common_state());
        match state {
            Some(state) => println!("\nCores {state}. Medians over the rounds counted."),
            None => println!("\nCores near and far, not comparable. Medians over all rounds."),
        }
        report::print(&results, state);
        summary.add(&results, state);
        all_well &= results.all_well();
    }
    summary.print();
    Ok(all_well)
}

/// A B C A B C, so that all have their share of whatever else goes on. Goes on for
/// as many rounds again if the cores were in no state that can be compared.
fn measure_group<'a>(
    scenarios: &'a [Scenario],
    subjects: &'a [Subject],
    options: &Options,
) -> Results<'a> {
    let mut results = Results::new(scenarios, subjects);
    for round in 1..=options.rounds * 2 {
        let comparable = options.is_picky() || results.common_state().is_some();
        if round > options.rounds && (comparable || !results.all_well()) {
            break;
        }
        for (at, scenario) in scenarios.iter().enumerate() {
            for (of, subject) in subjects.iter().enumerate() {
                if subject.takes_part_in(scenario, options.identity().is_some()) {
                    eprint!(
                        "{round}/{} {} {}: ",
                        options.rounds, scenario.name, subject.name
                    );
                    results.add(at, of, try_measure(subject, scenario, options));
                }
            }
        }
    }
    results
}

/// `None`: the conditions asked for never held.
fn try_measure(
    subject: &Subject,
    scenario: &Scenario,
    options: &Options,
) -> std::result::Result<Option<Run>, String> {
    for _ in 0..TRIES {
        let run = measure(subject, scenario, options).map_err(|error| {
            eprintln!("failed: {error}");
            error.to_string()
        })?;
        eprint!("{}", summary(&run));
        if run.counts(options) {
            eprintln!();
            return Ok(Some(run));
        }
        eprintln!("; does not count");
        thread::sleep(RETRY);
    }
    Ok(None)
}

fn summary(run: &Run) -> String {
    let metrics = [
        Metric::Deliveries,
        Metric::P99,
        Metric::Cpu,
        Metric::ConnectCpu,
    ];
    let figure = |metric: &Metric| {
        let figure = run.figures.get(metric)?;
        Some(format!("{} {}, ", metric.format(*figure), metric.heading()))
    };
    let figures: String = metrics.iter().filter_map(figure).collect();
    format!("{figures}cores {}", run.cores)
}
