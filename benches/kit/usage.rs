//! What a process has used so far, from the most precise source there is for it.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::Result;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
    /// The process's CPU clock: nanoseconds, all threads, those that have ended
    /// among them. `/proc/PID/stat` counts in hundredths of a second.
    clock: ClockId,
}

/// Context switches by thread.
#[derive(Debug)]
pub(crate) struct Switches(HashMap<String, u64>);

impl Process {
    pub(crate) fn new(pid: u32) -> Result<Process> {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.try_into()?))?;
        Ok(Process { pid, clock })
    }

    /// CPU time, user and system together.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kib = field(&status, "VmRSS:").ok_or("no VmRSS")?;
        Ok(kib * 1024)
    }

    /// Voluntary and involuntary context switches of the threads there are. Takes
    /// some microseconds for each thread.
    pub(crate) fn switches(&self) -> Result<Switches> {
        let mut switches = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let entry = entry?;
            // A thread may have ended since it was listed.
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
                continue;
            };
            let count = |name| field(&status, name).unwrap_or(0);
            let both = count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:");
            let thread = entry.file_name().to_string_lossy().into_owned();
            switches.insert(thread, both);
        }
        Ok(Switches(switches))
    }
}

impl Switches {
    /// Switches since `before`, of the threads that are still there.
    pub(crate) fn since(&self, before: &Switches) -> u64 {
        let of_thread = |(thread, now): (&String, &u64)| {
            now.saturating_sub(before.0.get(thread).copied().unwrap_or(0))
        };
        self.0.iter().map(of_thread).sum()
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.len()
    }
}

/// CPU time of this process, that is of the load generator.
pub(crate) fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// What all processors have done, and what the host took from them, since the
/// machine started. In hundredths of a second.
pub(crate) fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let total = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = total
        .split_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return Err("/proc/stat is not understood".into());
    };
    Ok(Duration::from_millis(10) * (user + nice + system + irq + softirq + steal) as u32)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}
