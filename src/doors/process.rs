//! What the operating system says of this process, in the names that all
//! programs give to it.

use std::fs;

use crate::wire::Decimal;

/// The ticks in which Linux tells programs of CPU time are hundredths of a
/// second, on every machine that Rust runs on.
const TICK_PLACES: u32 = 2;
const TICKS_PER_SECOND: u64 = 100;

/// The name, the kind, the meaning and the value of each figure; none where the
/// system has no `/proc`.
pub(super) fn figures() -> Vec<(&'static str, &'static str, &'static str, Decimal)> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
    let (Some(stat), Some(status)) = (read("stat"), read("status")) else {
        return Vec::new();
    };
    let of_status = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        number(line.split_whitespace().next()?)
    };
    let open = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|all| all.count() as u64);
    let all = [
        (
            "cpu_seconds_total",
            "counter",
            "CPU time of the process.",
            cpu_seconds(&stat),
        ),
        (
            "resident_memory_bytes",
            "gauge",
            "Memory of the process.",
            of_status("VmRSS:").map(|kib| Decimal(kib * 1024, 0)),
        ),
        (
            "start_time_seconds",
            "gauge",
            "When the process started, since 1970.",
            start_time(&stat),
        ),
        (
            "open_fds",
            "gauge",
            "Open descriptors.",
            open.map(|count| Decimal(count, 0)),
        ),
        (
            "threads",
            "gauge",
            "Threads of the process.",
            of_status("Threads:").map(|count| Decimal(count, 0)),
        ),
    ];
    let known = all.into_iter();
    known
        .filter_map(|(name, kind, help, value)| Some((name, kind, help, value?)))
        .collect()
}

/// When the process started: ticks since the machine did.
fn start_time(stat: &str) -> Option<Decimal> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot = machine.lines().find_map(|line| line.strip_prefix("btime "));
    let ticks = number(fields(stat)?.nth(19)?)?;
    Some(Decimal(
        number(boot?)? * TICKS_PER_SECOND + ticks,
        TICK_PLACES,
    ))
}

/// The line of `/proc/self/stat` behind its second field, the program's name,
/// which may hold anything.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    Some(behind_name.split_whitespace())
}

fn cpu_seconds(stat: &str) -> Option<Decimal> {
    let mut fields = fields(stat)?.skip(11);
    let mut ticks = || number(fields.next()?);
    Some(Decimal(ticks()? + ticks()?, TICK_PLACES))
}

fn number(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_no_field() {
        let stat = "17 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(Decimal(200, 2)));
        assert_eq!(cpu_seconds("17 (a) S"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_descriptors_and_a_thread() {
        let figures = figures();
        assert_eq!(figures.len(), 5);
        for (name, _, _, value) in figures {
            assert!(value.0 > 0 || name.starts_with("cpu"), "{name}");
        }
    }
}
