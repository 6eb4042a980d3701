//! The program: options, logger and signals around the library's server.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use hubcast::{ErrorKind, Handle, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::Options;

mod cli;
mod pipe;

/// The server could not run.
const CANNOT_RUN: u8 = 1;
/// The options are wrong; clap ends with this code too.
const WRONG_USAGE: u8 = 2;
/// A second signal: the shell's code for an end by SIGINT.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, line)) => {
            eprintln!("hubcast: {line}");
            ExitCode::from(code)
        }
    }
}

fn run(options: &Options) -> Result<(), (u8, String)> {
    let logger = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(logger)
        .format_target(false)
        .init();
    raise_descriptor_limit();
    let config = options.config().map_err(|line| (WRONG_USAGE, line))?;
    let shutdown_timeout = config.shutdown_timeout;
    let server = Server::builder()
        .config(config)
        .bind(&options.listen)
        .map_err(|error| match error.kind() {
            ErrorKind::Config => (WRONG_USAGE, error.to_string()),
            _ => cannot_run(error),
        })?;
    let handle = server.handle();
    stop_on_signals(handle.clone()).map_err(cannot_run)?;
    let mut printed = None;
    if let Some(room) = &options.stdout {
        let subscription = handle.subscribe(room).map_err(cannot_run)?;
        printed = Some(pipe::print_to_stdout(subscription).map_err(cannot_run)?);
    }
    if let Some(room) = &options.stdin {
        pipe::broadcast_stdin(handle, room.clone(), options.exit_on_eof).map_err(cannot_run)?;
    }
    server.run().map_err(cannot_run)?;
    if let Some(printed) = printed {
        // Whoever does not read it holds up the end no longer than a client.
        let _ = printed.recv_timeout(shutdown_timeout);
    }
    Ok(())
}

fn cannot_run(error: impl Display) -> (u8, String) {
    (CANNOT_RUN, error.to_string())
}

/// The first signal ends the server in order, the second ends the process.
fn stop_on_signals(handle: Handle) -> Result<(), ctrlc::Error> {
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        handle.shutdown();
    })
}

/// Raises the soft limit on descriptors to the hard one: each client needs
/// one, and nothing here minds high numbers.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("the descriptor limit stays at {:?}: {error}", limit.current);
    }
}
