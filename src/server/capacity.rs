//! How many clients this machine lets a process serve.

use std::fmt;
use std::fs;

use rustix::process::{Resource, getrlimit};

/// Descriptors kept free: the standard streams, the listener, the stop event,
/// connections that are only refused, and what your program has open.
const SPARE_DESCRIPTORS: u64 = 64;
/// Threads and processes kept free for everything else, and for clients that
/// need a second thread.
const SPARE_THREADS: u64 = 1024;
/// Memory mappings kept free for the same.
const SPARE_MAPPINGS: u64 = 1024;
/// How many places beside the clients a machine of some size has at least.
const MIN_BESIDE: usize = 256;
/// Where control groups of version 2 are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// A client has one thread. It gets a second when its socket is full for the
/// first time; one that cannot get it then is given up, and nobody else is
/// concerned.
const THREADS_PER_CLIENT: u64 = 1;
/// A thread has a stack and a signal stack, each with its guard.
const MAPPINGS_PER_CLIENT: u64 = 4 * THREADS_PER_CLIENT;

/// The most clients, and what sets that limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientLimit {
    pub(super) clients: usize,
    /// The most connections that are in their handshake.
    pub(super) handshakes: usize,
    /// The most connections beside the clients: in their handshake, or making
    /// way for others, or on their way out.
    pub(super) beside: usize,
    pub(super) because: String,
}

impl ClientLimit {
    /// The limit that the configuration sets, or this process's for zero.
    pub(super) fn new(max_clients: usize, max_handshakes: usize) -> ClientLimit {
        let limit = ClientLimit::of_this_process(max_handshakes);
        if max_clients == 0 {
            return limit;
        }
        if max_clients > limit.clients {
            log::warn!("max-clients is {max_clients}, but this machine has room for {limit}");
        }
        ClientLimit::configured(max_clients, max_handshakes)
    }

    fn configured(clients: usize, handshakes: usize) -> ClientLimit {
        ClientLimit {
            clients,
            handshakes,
            beside: handshakes.saturating_mul(2),
            because: "as configured".to_owned(),
        }
    }

    /// What this process's limits allow. A sixteenth of it is for connections
    /// beside the clients, or [`MIN_BESIDE`], but never more than a quarter. A
    /// limit that cannot be read is taken for none.
    fn of_this_process(max_handshakes: usize) -> ClientLimit {
        let descriptors = getrlimit(Resource::Nofile).current;
        let limits = [
            ("the descriptor limit", descriptors, SPARE_DESCRIPTORS, 1),
            (
                "the process limit",
                getrlimit(Resource::Nproc).current,
                SPARE_THREADS,
                THREADS_PER_CLIENT,
            ),
            (
                "kernel.threads-max",
                number("/proc/sys/kernel/threads-max"),
                SPARE_THREADS,
                THREADS_PER_CLIENT,
            ),
            (
                "the control group's pids.max",
                pids_max(),
                SPARE_THREADS,
                THREADS_PER_CLIENT,
            ),
            (
                "vm.max_map_count",
                number("/proc/sys/vm/max_map_count"),
                SPARE_MAPPINGS,
                MAPPINGS_PER_CLIENT,
            ),
        ];
        let known = limits.into_iter().filter_map(|(name, limit, spare, each)| {
            let limit = limit?;
            // At most a quarter of a small limit is kept free.
            Some(((limit - spare.min(limit / 4)) / each, name, limit))
        });
        match known.min() {
            Some((connections, name, limit)) => {
                let connections = usize::try_from(connections).unwrap_or(usize::MAX);
                let beside = (connections / 16).max(MIN_BESIDE).min(connections / 4);
                let beside = beside.min(max_handshakes.saturating_mul(2));
                ClientLimit {
                    clients: (connections - beside).max(1),
                    handshakes: (beside / 2).max(1),
                    beside: beside.max(1),
                    because: format!("{name} is {limit}"),
                }
            }
            None => ClientLimit::configured(usize::MAX, max_handshakes),
        }
    }
}

/// The number in a file of the system; `None` if it is `max` or cannot be read.
fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The smallest `pids.max` of this process's control group and those above
/// it, all of which count (version 2; cgroups(7)).
fn pids_max() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    smallest_pids_max(CGROUPS, &groups)
}

fn smallest_pids_max(root: &str, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut path = format!("{root}{}", group.trim_end_matches('/'));
    let mut smallest = None;
    while path.len() >= root.len() {
        let limit = number(&format!("{path}/pids.max"));
        smallest = smallest.into_iter().chain(limit).min();
        path.truncate(path.rfind('/')?);
    }
    smallest
}

impl fmt::Display for ClientLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clients ({})", self.clients, self.because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_serve_somebody() {
        let limit = ClientLimit::of_this_process(1024);
        assert!(limit.clients >= 1, "{limit}");
        assert!(limit.to_string().contains(" is "), "{limit}");
    }

    #[test]
    fn the_smallest_limit_of_all_groups_above_counts() {
        let root = std::env::temp_dir().join(format!("hubcast-limits-{}", std::process::id()));
        let inner = root.join("system.slice/hubcast.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("pids.max"), "max\n").unwrap();
        fs::write(root.join("system.slice/pids.max"), "300\n").unwrap();
        fs::write(root.join("pids.max"), "9000\n").unwrap();
        let groups = "1:name=other:/x\n0::/system.slice/hubcast.service\n";
        let path = root.to_str().unwrap();
        assert_eq!(smallest_pids_max(path, groups), Some(300));
        assert_eq!(smallest_pids_max(path, "0::/\n"), Some(9000));
        assert_eq!(smallest_pids_max(path, "1:name=other:/x\n"), None);
        fs::remove_dir_all(root).unwrap();
    }
}
