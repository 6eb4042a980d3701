//! Signals that stop the server.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use hubcast::Handle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// The process ends at once: the shell's code for an end by SIGINT.
const INTERRUPTED: i32 = 130;

/// The first signal ends the server in order, the second ends the process. A
/// signal that was ignored when the process started stays ignored: `nohup`
/// asks for that, and so does a shell for what it starts in the background.
pub(crate) fn stop_on_signals(handle: Handle) -> io::Result<()> {
    let ignored = fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_in(&status));
    let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter();
    let mut signals = Signals::new(wanted.filter(|signal| !is_ignored(*signal)))?;
    let wait = move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            if is_stopping {
                std::process::exit(INTERRUPTED);
            }
            is_stopping = true;
            let name = signal_name(signal).unwrap_or("a signal");
            log::info!("{name} received; another one ends the process at once");
            handle.shutdown();
        }
    };
    thread::Builder::new()
        .name("hubcast-signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

/// A log file that has reached the size limit of the process (`ulimit -f`) ends
/// the log, not the process: the signal is taken, and the write fails.
pub(crate) fn survive_a_full_log() {
    if let Err(error) = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))) {
        log::debug!("SIGXFSZ ends the process: {error}");
    }
}

/// The signals that a process ignores, a bit each (proc_pid_status(5)).
fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status = "Name:\thubcast\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored_in(status), 1 << (SIGHUP - 1) | 1 << 12);
        assert_eq!(ignored_in("Name:\thubcast\n"), 0);
    }
}
