//! The counters in the text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

use super::process;
#[cfg(feature = "redis")]
use crate::engine::{Engine, Status};
use crate::stats::{Counters, FAN_OUT_BOUNDS};
use crate::wire::Decimal;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is for Prometheus.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Reads one number.
type Get = fn(&Counters) -> u64;

/// The metrics of one number each, without the prefix `hubcast_`.
#[rustfmt::skip] // a row each
const NUMBERS: [(Kind, &str, &str, Get); 19] = [
    (Gauge, "clients", "Clients connected.", |c| c.clients.get()),
    (Gauge, "rooms", "Rooms with at least one client.", |c| c.rooms.get()),
    (Gauge, "handshakes", "Connections in their opening handshake.", |c| c.handshakes.get()),
    (Gauge, "queue_bytes", "Bytes that wait for all clients.", |c| c.queue_bytes.get()),
    (Gauge, "history_bytes", "Memory of what all rooms remember.", |c| c.history_bytes.get()),
    (Gauge, "members_behind", "Clients that get what rooms remember.", |c| c.members_behind.get()),
    (Counter, "replayed_total", "Remembered messages given to clients.", |c| c.replayed.get()),
    (Counter, "gaps_total", "Times that a client's next message was forgotten.", |c| c.gaps.get()),
    (Counter, "connections_total", "Connections accepted.", |c| c.accepted.get()),
    (Counter, "displaced_handshakes_total", "Handshakes cut for others.", |c| c.displaced.get()),
    (Counter, "accept_errors_total", "Failures to accept a connection.", |c| c.accept_errors.get()),
    (Counter, "joins_total", "Clients that joined.", |c| c.joins.get()),
    (Counter, "received_messages_total", "Messages from clients.", |c| c.received_messages.get()),
    (Counter, "received_bytes_total", "Bytes from clients.", |c| c.received_bytes.get()),
    (Counter, "broadcasts_total", "Messages given to a room or a client.", |c| c.broadcasts.get()),
    (Counter, "deliveries_total", "Messages given to an outbox.", |c| c.deliveries.get()),
    (Counter, "sent_bytes_total", "Bytes given to outboxes.", |c| c.sent_bytes.get()),
    (Counter, "dropped_messages_total", "Messages dropped for slow clients.", |c| c.dropped.get()),
    (Counter, "evictions_total", "Slow consumers evicted.", |c| c.evictions()),
];

/// The same of compression.
#[cfg(feature = "deflate")]
#[rustfmt::skip] // a row each
const COMPRESSION: [(Kind, &str, &str, Get); 10] = [
    (Counter, "compressed_messages_total", "Messages compressed.", |c| c.compressed.messages.get()),
    (Counter, "compressed_before_bytes_total", "Their bytes before.", |c| c.compressed.before.get()),
    (Counter, "compressed_after_bytes_total", "Their bytes after.", |c| c.compressed.after.get()),
    (Counter, "shared_messages_total", "Messages compressed in the shared streams of rooms.", |c| c.shared.messages.get()),
    (Counter, "shared_before_bytes_total", "Their bytes before.", |c| c.shared.before.get()),
    (Counter, "shared_after_bytes_total", "Their bytes after.", |c| c.shared.after.get()),
    (Counter, "shared_key_frames_total", "Of these messages, those that refer to none before.", |c| c.key_frames.get()),
    (Counter, "inflated_messages_total", "Messages inflated.", |c| c.inflated.messages.get()),
    (Counter, "inflated_before_bytes_total", "Their bytes before.", |c| c.inflated.before.get()),
    (Counter, "inflated_after_bytes_total", "Their bytes after.", |c| c.inflated.after.get()),
];
#[cfg(not(feature = "deflate"))]
const COMPRESSION: [(Kind, &str, &str, Get); 0] = [];

/// All metrics. `waiting` is the number of commands in the hub's inbox.
pub(super) fn text(counters: &Counters, waiting: usize) -> String {
    let mut out = String::new();
    for (kind, name, help, get) in NUMBERS.into_iter().chain(COMPRESSION) {
        head(&mut out, kind, name, help);
        sample(&mut out, name, "", get(counters));
    }
    head(
        &mut out,
        Gauge,
        "inbox_commands",
        "Commands that wait for the hub.",
    );
    sample(&mut out, "inbox_commands", "", waiting);
    let name = "resumes_total";
    head(&mut out, Counter, name, "Clients that resumed, by result.");
    for (result, count) in [
        ("complete", &counters.resumes_complete),
        ("incomplete", &counters.resumes_incomplete),
    ] {
        sample(&mut out, name, &label("result", result), count.get());
    }
    let name = "history_dropped_total";
    let help = "Messages that rooms have forgotten, by bound.";
    head(&mut out, Counter, name, help);
    for (by, count) in [
        ("count", &counters.forgotten_by_count),
        ("bytes", &counters.forgotten_by_bytes),
        ("age", &counters.forgotten_by_age),
        ("total", &counters.forgotten_by_total),
    ] {
        sample(&mut out, name, &label("by", by), count.get());
    }
    let name = "departures_total";
    head(&mut out, Counter, name, "Clients that left, by cause.");
    for (cause, count) in counters.departures() {
        sample(&mut out, name, &label("cause", cause), count);
    }
    let name = "refused_total";
    let help = "Requests and connections refused, by status.";
    head(&mut out, Counter, name, help);
    for (status, count) in counters.refused.iter() {
        sample(&mut out, name, &label("status", &status), count);
    }
    longest_pass(&mut out, counters);
    let name = "tls_failures_total";
    let help = "TLS handshakes that came to nothing, by reason.";
    head(&mut out, Counter, name, help);
    for (reason, count) in counters.tls_failures.iter() {
        sample(&mut out, name, &label("reason", reason), count);
    }
    fan_out(&mut out, counters);
    about_the_build(&mut out);
    for (name, kind, help, value) in process::figures() {
        let _ = writeln!(out, "# HELP process_{name} {help}");
        let _ = writeln!(out, "# TYPE process_{name} {kind}");
        let _ = writeln!(out, "process_{name} {value}");
    }
    out
}

/// Reads one number of an engine.
#[cfg(feature = "redis")]
type EngineGet = fn(&Status) -> Decimal;

/// The metrics of an engine, without the prefix `hubcast_`.
#[cfg(feature = "redis")]
#[rustfmt::skip] // a row each
const ENGINE: [(Kind, &str, &str, EngineGet); 19] = [
    (Gauge, "engine_up", "Whether the engine takes messages.", |s| Decimal(s.is_up().into(), 0)),
    (Gauge, "engine_head", "The offset of the newest message that was read.", |s| Decimal(s.head.get(), 0)),
    (Gauge, "engine_next", "The next offset, as the engine said last.", |s| Decimal(s.next.get(), 0)),
    (Gauge, "engine_lag_seconds", "From the engine to here, of the newest entry.", |s| Decimal(s.lag_millis.get(), 3)),
    (Gauge, "nodes", "Nodes that have given a sign of life.", |s| Decimal(s.nodes.get(), 0)),
    (Counter, "engine_away_seconds_total", "Time without the engine.", |s| Decimal(s.away_millis.get(), 3)),
    (Counter, "engine_reconnects_total", "Connections to append with.", |s| Decimal(s.reconnects.get(), 0)),
    (Counter, "engine_restores_total", "Times that this node has put the log back.", |s| Decimal(s.restores.get(), 0)),
    (Counter, "engine_restored_entries_total", "Entries that this node has put back.", |s| Decimal(s.restored_entries.get(), 0)),
    (Counter, "engine_epochs_total", "Epochs of the log that this node has seen.", |s| Decimal(s.epochs.get(), 0)),
    (Counter, "engine_duplicates_total", "Batches that came twice and were given once.", |s| Decimal(s.duplicates.get(), 0)),
    (Counter, "engine_gaps_total", "Times that the log did not go on where this node was.", |s| Decimal(s.gaps.get(), 0)),
    (Counter, "engine_gap_messages_total", "Messages that were missing there.", |s| Decimal(s.gap_messages.get(), 0)),
    (Counter, "engine_records_unknown_total", "Records of a newer version.", |s| Decimal(s.unknown_records.get(), 0)),
    (Counter, "engine_entries_malformed_total", "Entries that make no sense.", |s| Decimal(s.malformed_entries.get(), 0)),
    (Counter, "engine_batches_total", "Batches appended.", |s| Decimal(s.batches.get(), 0)),
    (Counter, "engine_batch_messages_total", "Messages in them.", |s| Decimal(s.batch_messages.get(), 0)),
    (Counter, "engine_batch_bytes_total", "Bytes in them.", |s| Decimal(s.batch_bytes.get(), 0)),
    (Counter, "engine_append_seconds_total", "Time to append them.", |s| Decimal(s.append_micros.get(), 6)),
];

/// The metrics of an engine, behind the others.
#[cfg(feature = "redis")]
pub(super) fn engine(out: &mut String, engine: &Engine) {
    for (kind, name, help, get) in ENGINE {
        head(out, kind, name, help);
        sample(out, name, "", get(engine.status()));
    }
    let spooled = engine.spooled();
    for (kind, name, help, value) in [
        (
            Gauge,
            "engine_spool_messages",
            "Messages that have not come back.",
            spooled.messages as u64,
        ),
        (
            Gauge,
            "engine_spool_bytes",
            "Bytes that have not come back.",
            spooled.bytes as u64,
        ),
        (
            Counter,
            "engine_spool_waits_total",
            "Times that a publisher has waited.",
            spooled.waits,
        ),
        (
            Counter,
            "engine_refused_total",
            "Messages refused because too much waits.",
            spooled.refused,
        ),
    ] {
        head(out, kind, name, help);
        sample(out, name, "", value);
    }
}

fn about_the_build(out: &mut String) {
    head(out, Gauge, "build_info", "1, with the version of hubcast.");
    let version = label("version", env!("CARGO_PKG_VERSION"));
    sample(out, "build_info", &version, 1);
}

fn head(out: &mut String, kind: Kind, name: &str, help: &str) {
    let kind = match kind {
        Counter => "counter",
        Gauge => "gauge",
        Histogram => "histogram",
    };
    let _ = writeln!(out, "# HELP hubcast_{name} {help}");
    let _ = writeln!(out, "# TYPE hubcast_{name} {kind}");
}

/// One line with a value; `labels` is empty, or what [`label`] made.
fn sample(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = writeln!(out, "hubcast_{name}{labels} {value}");
}

fn label(name: &str, value: &str) -> String {
    ["{", name, "=\"", value, "\"}"].concat()
}

fn longest_pass(out: &mut String, counters: &Counters) {
    let name = "longest_pass_seconds";
    head(
        out,
        Gauge,
        name,
        "The longest that the hub was busy with one pass.",
    );
    let nanos = counters.longest_pass().as_nanos() as u64;
    sample(out, name, "", Decimal(nanos, 9));
}

fn fan_out(out: &mut String, counters: &Counters) {
    let name = "fan_out_seconds";
    head(out, Histogram, name, "How long a fan-out took.");
    let (buckets, nanos) = counters.fan_out();
    let bounds = FAN_OUT_BOUNDS
        .iter()
        .map(|micros| Decimal(*micros, 6).to_string());
    let mut sum = 0;
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(buckets) {
        sum += count;
        sample(out, "fan_out_seconds_bucket", &label("le", &bound), sum);
    }
    sample(out, "fan_out_seconds_sum", "", Decimal(nanos, 9));
    sample(out, "fan_out_seconds_count", "", sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    /// Parses the format strictly: every sample belongs to the metric that was
    /// announced last, and no sample comes twice.
    #[test]
    fn the_text_is_in_the_format() {
        let counters = Counters::default();
        counters.fanned_out(Duration::from_micros(70));
        counters.fanned_out(Duration::from_secs(1));
        let text = text(&counters, 3);
        assert!(text.ends_with('\n'));
        let (mut announced, mut seen) = (String::new(), HashSet::new());
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => {
                    assert!(!help.is_empty());
                    announced = name.to_owned();
                }
                ["#", "TYPE", name, kind] => {
                    assert_eq!(name, announced);
                    assert!(["counter", "gauge", "histogram"].contains(&kind));
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                }
                [sample, value] => {
                    assert!(sample.starts_with(&announced), "{sample} below {announced}");
                    assert!(seen.insert(sample.to_owned()), "{sample} twice");
                    value.parse::<f64>().unwrap();
                }
                _ => panic!("not in the format: {line:?}"),
            }
        }
        assert!(text.contains("hubcast_fan_out_seconds_bucket{le=\"0.0001\"} 1\n"));
        assert!(text.contains("hubcast_fan_out_seconds_bucket{le=\"+Inf\"} 2\n"));
        assert!(text.contains("hubcast_inbox_commands 3\n"));
    }
}
