//! Counters, and a snapshot of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::close::Cause;

/// The server's counters. Each is a number of its own: they are read and
/// written without any order between them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Gauge,
    pub(crate) handshakes: Gauge,
    /// Handshakes that had to make way for others.
    pub(crate) displaced: Counter,
    pub(crate) clients: Gauge,
    pub(crate) rooms: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) refused: Refused,
    pub(crate) tls_failures: TlsFailures,
    pub(crate) accept_errors: Counter,
    pub(crate) joins: Counter,
    pub(crate) received_messages: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) broadcasts: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) dropped: Counter,
    pub(crate) queue_bytes: Gauge,
    #[cfg(feature = "deflate")]
    pub(crate) compressed: Ratio,
    #[cfg(feature = "deflate")]
    pub(crate) inflated: Ratio,
    /// Messages that went into the shared streams of rooms.
    #[cfg(feature = "deflate")]
    pub(crate) shared: Ratio,
    #[cfg(feature = "deflate")]
    pub(crate) key_frames: Counter,
    pub(crate) history_bytes: Gauge,
    pub(crate) members_behind: Gauge,
    pub(crate) resumes_complete: Counter,
    pub(crate) resumes_incomplete: Counter,
    pub(crate) replayed: Counter,
    pub(crate) gaps: Counter,
    pub(crate) forgotten_by_count: Counter,
    pub(crate) forgotten_by_bytes: Counter,
    pub(crate) forgotten_by_age: Counter,
    pub(crate) forgotten_by_total: Counter,
    departures: [Counter; Cause::NAMES.len()],
    fan_out: [Counter; FAN_OUT_BOUNDS.len() + 1],
    fan_out_nanos: Counter,
    longest_pass_nanos: AtomicU64,
}

/// The upper bounds of the fan-out histogram's buckets, in microseconds.
pub(crate) const FAN_OUT_BOUNDS: [u64; 8] = [10, 50, 100, 500, 1_000, 5_000, 20_000, 100_000];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one; returns the new value, which nobody else gets.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Messages that were compressed or inflated, and their payloads' bytes before
/// and after.
#[cfg(feature = "deflate")]
#[derive(Debug, Default)]
pub(crate) struct Ratio {
    pub(crate) messages: Counter,
    pub(crate) before: Counter,
    pub(crate) after: Counter,
}

#[cfg(feature = "deflate")]
impl Ratio {
    /// Counts a message.
    pub(crate) fn count(&self, before: usize, after: usize) {
        self.messages.add(1);
        self.before.add(before as u64);
        self.after.add(after as u64);
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one; returns the new value.
    pub(crate) fn up(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes one away; returns the new value.
    pub(crate) fn down(&self) -> u64 {
        self.0.fetch_sub(1, Ordering::Relaxed) - 1
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn departed(&self, cause: &Cause) {
        self.departures[cause.index()].add(1);
    }

    /// The hub has been busy with one pass for so long.
    pub(crate) fn passed(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Only the hub writes it.
        if nanos > self.longest_pass_nanos.load(Ordering::Relaxed) {
            self.longest_pass_nanos.store(nanos, Ordering::Relaxed);
        }
    }

    pub(crate) fn longest_pass(&self) -> Duration {
        Duration::from_nanos(self.longest_pass_nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn fanned_out(&self, took: Duration) {
        let bucket = FAN_OUT_BOUNDS
            .iter()
            .position(|&bound| took <= Duration::from_micros(bound))
            .unwrap_or(FAN_OUT_BOUNDS.len());
        self.fan_out[bucket].add(1);
        self.fan_out_nanos.add(took.as_nanos() as u64);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            clients: self.clients.get(),
            rooms: self.rooms.get(),
            handshakes: self.handshakes.get(),
            accepted: self.accepted.get(),
            refused: self.refused.iter().map(|(_, count)| count).sum(),
            accept_errors: self.accept_errors.get(),
            joins: self.joins.get(),
            received_messages: self.received_messages.get(),
            received_bytes: self.received_bytes.get(),
            broadcasts: self.broadcasts.get(),
            deliveries: self.deliveries.get(),
            sent_bytes: self.sent_bytes.get(),
            dropped_messages: self.dropped.get(),
            queue_bytes: self.queue_bytes.get(),
            departures: self.departures().collect(),
        }
    }

    /// How many clients left, by the name of the cause.
    pub(crate) fn departures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.departures.iter().map(Counter::get);
        Cause::NAMES.iter().copied().zip(counts)
    }

    pub(crate) fn evictions(&self) -> u64 {
        let (messages, bytes) = (0, 0);
        self.departures[Cause::Evicted { messages, bytes }.index()].get()
    }

    /// The buckets of the fan-out histogram, and the sum in nanoseconds.
    pub(crate) fn fan_out(&self) -> (impl Iterator<Item = u64>, u64) {
        (
            self.fan_out.iter().map(Counter::get),
            self.fan_out_nanos.get(),
        )
    }
}

/// Refusals by HTTP status.
#[derive(Debug, Default)]
pub(crate) struct Refused([Counter; STATUSES.len() + 1]);

/// The statuses that have a counter of their own.
const STATUSES: [u16; 17] = [
    400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 426, 429, 431, 500, 501, 503, 505,
];

impl Refused {
    pub(crate) fn count(&self, status: u16) {
        let place = STATUSES.iter().position(|&s| s == status);
        self.0[place.unwrap_or(STATUSES.len())].add(1);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, u64)> {
        let names = STATUSES.iter().map(u16::to_string);
        let counts = self.0.iter().map(Counter::get);
        names.chain(["other".to_owned()]).zip(counts)
    }
}

/// TLS handshakes that came to nothing, by reason.
#[derive(Debug, Default)]
pub(crate) struct TlsFailures([Counter; TLS_FAILURES.len()]);

/// Why a TLS handshake came to nothing.
pub(crate) const TLS_FAILURES: [&str; 9] = [
    "timed_out",
    "gone",
    "not_tls",
    "no_shared_version_or_cipher",
    "no_alpn",
    "no_certificate",
    "refused_by_peer",
    "stopping",
    "other",
];

impl TlsFailures {
    pub(crate) fn count(&self, reason: &str) {
        let place = TLS_FAILURES.iter().position(|r| *r == reason);
        self.0[place.unwrap_or(TLS_FAILURES.len() - 1)].add(1);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(Counter::get);
        TLS_FAILURES.iter().copied().zip(counts)
    }
}

/// A snapshot of the server's counters since it started; from
/// [`Handle::stats`](crate::Handle::stats) and in
/// [`Summary`](crate::Summary).
///
/// The numbers are read one after another while the server works on, so they
/// may differ by what happened in between. `clients`, `rooms`, `handshakes` and
/// `queue_bytes` go up and down; the others only grow.
///
/// ```
/// let running = hubcast::Server::bind("127.0.0.1:0")?.spawn()?;
/// running.handle().broadcast("/", "nobody hears this")?;
/// let stats = running.shutdown()?.stats;
/// assert_eq!((stats.broadcasts, stats.deliveries), (1, 0));
/// assert_eq!(stats.departed("evicted"), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients that are connected.
    pub clients: u64,
    /// Rooms with at least one client.
    pub rooms: u64,
    /// Connections in their opening handshake.
    pub handshakes: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Requests and connections that were answered with an HTTP error.
    pub refused: u64,
    /// Failures to accept a connection.
    pub accept_errors: u64,
    /// Clients that joined.
    pub joins: u64,
    /// Messages received from clients.
    pub received_messages: u64,
    /// Bytes received from clients, frame headers included.
    pub received_bytes: u64,
    /// Messages given to a room, or to a single client.
    pub broadcasts: u64,
    /// Messages given to a client's outbox, each receiver counted.
    pub deliveries: u64,
    /// Bytes given to outboxes, frame headers included.
    pub sent_bytes: u64,
    /// Messages dropped for slow consumers.
    pub dropped_messages: u64,
    /// Bytes that wait for all clients together.
    pub queue_bytes: u64,
    /// How many clients left, by the [name](Cause::name) of the cause; all
    /// causes are listed.
    pub departures: Vec<(&'static str, u64)>,
}

impl Stats {
    /// How many clients left for the cause of this name; see [`Cause::name`].
    /// Zero if no cause has this name.
    pub fn departed(&self, name: &str) -> u64 {
        self.departures
            .iter()
            .filter(|(cause, _)| *cause == name)
            .map(|(_, count)| count)
            .sum()
    }
}
