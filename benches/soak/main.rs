//! Soak and abuse: hubcast as a child process, treated badly over loopback for a long
//! time and in bad ways, and looked at from outside: what its clients receive, its
//! threads, descriptors and memory, and what it says of itself under `/-/`.
//!
//! In reading order: healthy clients beside slow ones ([`beside`], [`crowd`]); clients
//! that come and go at random ([`churn`], [`order`]); attacks ([`abuse`], [`attacks`],
//! [`sharing`])
//! while a [`canary`] chats on; a crowd that comes back at once ([`returning`]); peers
//! that die without a word ([`dead_peers`]); others beside a [`flood`]; and what all of them use: the [`server`], a
//! [`client`], [`random`] numbers, and the [`kit`] that both benchmarks share.
//!
//! A run fails on what must never happen: a message lost, doubled or out of order for
//! a client that keeps up, a slow client that stays, a thread, a descriptor or a
//! member left over, more memory than the documented formula. Times and rates are
//! reported.

mod abuse;
mod attacks;
mod beside;
mod canary;
mod churn;
mod client;
mod crowd;
mod dead_peers;
mod flood;
#[path = "../kit/mod.rs"]
mod kit;
mod options;
mod order;
mod random;
mod returning;
mod server;
mod sharing;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::kit::process::raise_descriptor_limit;
use crate::kit::{Result, self_check};
use crate::options::{Options, What};

fn main() -> ExitCode {
    let mut options = Options::parse();
    let Some(what) = options.what else {
        // As `cargo test --benches` runs it.
        println!("nothing to do; --help says what there is");
        return ExitCode::SUCCESS;
    };
    println!("seed {}", options.settle_seed());
    let start = Instant::now();
    let outcome = run(what, &options);
    println!("{:.0} s", start.elapsed().as_secs_f64());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What, options: &Options) -> Result<()> {
    self_check::run()?;
    raise_descriptor_limit()?;
    match what {
        What::Soak => {
            // The churn is worth seeing whatever becomes of the load.
            let load = beside::run(options);
            if let Err(error) = &load {
                println!("  failed: {error}");
            }
            let churn = churn::run(options);
            load.and(churn)
        }
        What::Load => beside::run(options),
        What::Churn => churn::run(options),
        What::Abuse => abuse::run(options),
        What::Returning => returning::run(options),
        What::DeadPeers => dead_peers::run(options),
        What::Flood => flood::run(options),
    }
}
