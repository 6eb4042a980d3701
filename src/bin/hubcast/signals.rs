//! Signals that stop the server, and those that must not.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use hubcast::Handle;
use nix::sys::signal::{SigSet, Signal};

use crate::systemd;

/// The process ends at once: the shell's code for an end by SIGINT.
const INTERRUPTED: i32 = 130;

/// Keeps a signal that was ignored when the process started from having an
/// effect: `nohup` asks for that, and so does a shell for what it starts in
/// the background. ctrlc handles all its signals or none, so those are blocked
/// here, for every thread that is started from now on.
///
/// SIGXFSZ is blocked, too: a log file that has reached the size limit of the
/// process (`ulimit -f`) ends the log, because the write fails, and not the
/// process.
pub(crate) fn leave_ignored() {
    let ignored = fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_in(&status));
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGXFSZ);
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        if ignored >> (signal as i32 - 1) & 1 == 1 {
            blocked.add(signal);
        }
    }
    if let Err(error) = blocked.thread_block() {
        log::debug!("ignored signals are not kept so: {error}");
    }
}

/// The first signal ends the server in order, the second ends the process.
pub(crate) fn stop_on_signals(handle: Handle) -> Result<(), ctrlc::Error> {
    let is_stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if is_stopping.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        log::info!("signal received; another one ends the process at once");
        systemd::stopping();
        handle.shutdown();
    })
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
        assert_eq!(
            ignored_in(status),
            1 << (Signal::SIGHUP as i32 - 1) | 1 << 12
        );
        assert_eq!(ignored_in("Name:\thubcast\n"), 0);
    }
}
