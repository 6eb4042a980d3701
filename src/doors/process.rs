//! What the operating system says of this process, in the names that all
//! programs give to it.

use std::fs;

/// The ticks in which Linux tells programs of CPU time, on every machine that
/// Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The name, the kind, the meaning and the value of each figure; none where the
/// system has no `/proc`.
pub(super) fn figures() -> Vec<(&'static str, &'static str, &'static str, f64)> {
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
        .map(|all| all.count() as f64);
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
            of_status("VmRSS:").map(|kib| kib * 1024.0),
        ),
        (
            "start_time_seconds",
            "gauge",
            "When the process started, since 1970.",
            start_time(&stat),
        ),
        ("open_fds", "gauge", "Open descriptors.", open),
        (
            "threads",
            "gauge",
            "Threads of the process.",
            of_status("Threads:"),
        ),
    ];
    let known = all.into_iter();
    known
        .filter_map(|(name, kind, help, value)| Some((name, kind, help, value?)))
        .collect()
}

/// When the process started: ticks since the machine did.
fn start_time(stat: &str) -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot = machine.lines().find_map(|line| line.strip_prefix("btime "));
    let ticks = number(fields(stat)?.nth(19)?)?;
    Some(number(boot?)? + ticks / TICKS_PER_SECOND)
}

/// The line of `/proc/self/stat` behind its second field, the program's name,
/// which may hold anything.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    Some(behind_name.split_whitespace())
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = fields(stat)?.skip(11);
    let mut ticks = || number(fields.next()?);
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// A whole number; what parses fractions would be 14 KB of code.
fn number(digits: &str) -> Option<f64> {
    digits.parse::<u64>().ok().map(|whole| whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_no_field() {
        let stat = "17 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("17 (a) S"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_descriptors_and_a_thread() {
        let figures = figures();
        assert_eq!(figures.len(), 5);
        for (name, _, _, value) in figures {
            assert!(value > 0.0 || name.starts_with("cpu"), "{name}");
        }
    }
}
