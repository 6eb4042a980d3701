//! Attacks, one after another, each of them several times: what the first times leave
//! behind may be pages that the allocator keeps; the last time must not add to them.
//! A chat goes on all the while.

use std::time::{Duration, Instant};

use crate::attacks::{self, Attack};
use crate::beside::mib;
use crate::canary::{Canary, Song};
use crate::kit::Result;
use crate::options::Options;
use crate::random::Random;
use crate::server::{Holdings, Server};

/// Attacks wait for deadlines; these are short, and far above what the canary needs.
const SETTINGS: &str = "--listen 127.0.0.1:0 --handshake-timeout 3s --message-timeout 5s \
     --write-timeout 5s --close-timeout 3s";
/// Within this time after an attack everything must be back.
const PATIENCE: Duration = Duration::from_secs(20);
const TIMES: usize = 3;
/// What the last time may add to memory, beside a tenth of what it was at most.
const GROWTH: u64 = 3 * 1024 * 1024;

pub(crate) fn run(options: &Options) -> Result<()> {
    let is_meant = |name: &str| {
        let only = options.only.as_deref();
        only.is_none_or(|part| name.contains(part))
    };
    let chosen: Vec<_> = attacks::ALL.iter().filter(|a| is_meant(a.name)).collect();
    let mut random = Random::new(options.seed());
    let mut failures = Vec::new();
    for attack in chosen {
        if let Err(error) = suffer(attack, options, &mut random) {
            println!("{:<18} FAILED: {error}", attack.name);
            failures.push(attack.name);
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!("the server did not stand {}", failures.join(", ")).into()),
    }
}

/// Each attack has a server of its own, so that its figures are its own as well.
fn suffer(attack: &Attack, options: &Options, random: &mut Random) -> Result<()> {
    let mut command = options.server();
    if let Some(limit) = attack.descriptors {
        let limited = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        command.splice(0..0, ["sh".to_owned(), "-c".to_owned(), limited]);
    }
    let server = Server::start(&command, &format!("{SETTINGS} {}", attack.options))?;
    let outcome = withstand(attack, &server, random).map_err(|error| {
        let log = server.log();
        let tail: Vec<&str> = log.lines().rev().take(3).collect();
        format!("{error}; the server's last lines, newest first: {tail:?}")
    });
    outcome?;
    server.stop()
}

fn withstand(attack: &Attack, server: &Server, random: &mut Random) -> Result<()> {
    let bare = server.settled()?;
    let canary = Canary::start(server)?;
    let before = server.settled()?;
    canary.listen()?;
    let mut most = 0;
    for time in 1..=TIMES {
        let start = Instant::now();
        let done = (attack.act)(server, random).map_err(|error| match canary.listen() {
            Ok(_) => error,
            Err(silent) => format!("{error}; {silent}").into(),
        })?;
        let took = start.elapsed();
        let after = server.await_return(before, PATIENCE)?;
        let back = start.elapsed() - took;
        report(attack.name, time, &done, took, canary.listen()?);
        println!(
            "{:<18}   back after {:.1} s: {}",
            "",
            back.as_secs_f64(),
            compare(before, after)
        );
        if time == TIMES && after.resident > most + server.peak()? / 10 + GROWTH {
            return Err("the last time has left more memory in use than those before".into());
        }
        most = most.max(after.resident);
    }
    canary.finish()?;
    server.await_return(bare, PATIENCE)?;
    println!(
        "{:<18}   at most {:.1} MiB; the hub's longest pass {:.2} ms",
        "",
        mib(server.peak()?),
        server.figure("longest_pass_seconds")? * 1e3
    );
    Ok(())
}

fn report(name: &str, time: usize, done: &str, took: Duration, song: Song) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:<18} {time}. {done}, {:.1} s; canary {:.2} ms, p99 {:.1}, at most {:.0}",
        took.as_secs_f64(),
        millis(song.median),
        millis(song.p99),
        millis(song.longest)
    );
}

fn compare(before: Holdings, after: Holdings) -> String {
    format!(
        "threads {} as {}, descriptors {} as {}, memory {:.1} MiB after {:.1}",
        after.threads,
        before.threads,
        after.descriptors,
        before.descriptors,
        mib(after.resident),
        mib(before.resident)
    )
}
