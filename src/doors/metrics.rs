//! The counters in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use crate::stats::{Counters, FAN_OUT_BOUNDS};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics. `waiting` is the number of commands in the hub's inbox.
pub(crate) fn text(counters: &Counters, waiting: usize) -> String {
    let mut out = String::new();
    let mut one = |kind: &str, name: &str, help: &str, value: u64| {
        head(&mut out, kind, name, help);
        let _ = writeln!(out, "hubcast_{name} {value}");
    };
    one(
        "gauge",
        "clients",
        "Clients connected.",
        counters.clients.get(),
    );
    one(
        "gauge",
        "rooms",
        "Rooms with at least one client.",
        counters.rooms.get(),
    );
    one(
        "gauge",
        "handshakes",
        "Connections in their opening handshake.",
        counters.handshakes.get(),
    );
    one(
        "gauge",
        "inbox_commands",
        "Commands that wait for the hub.",
        waiting as u64,
    );
    one(
        "gauge",
        "queue_bytes",
        "Bytes that wait for all clients.",
        counters.queue_bytes.get(),
    );
    one(
        "counter",
        "connections_total",
        "Connections accepted.",
        counters.accepted.get(),
    );
    one(
        "counter",
        "accept_errors_total",
        "Failures to accept a connection.",
        counters.accept_errors.get(),
    );
    one(
        "counter",
        "joins_total",
        "Clients that joined.",
        counters.joins.get(),
    );
    one(
        "counter",
        "received_messages_total",
        "Messages received from clients.",
        counters.received_messages.get(),
    );
    one(
        "counter",
        "received_bytes_total",
        "Bytes received from clients.",
        counters.received_bytes.get(),
    );
    one(
        "counter",
        "broadcasts_total",
        "Messages given to a room or a client.",
        counters.broadcasts.get(),
    );
    one(
        "counter",
        "deliveries_total",
        "Messages given to an outbox.",
        counters.deliveries.get(),
    );
    one(
        "counter",
        "sent_bytes_total",
        "Bytes given to outboxes.",
        counters.sent_bytes.get(),
    );
    one(
        "counter",
        "dropped_messages_total",
        "Messages dropped for slow consumers.",
        counters.dropped.get(),
    );
    one(
        "counter",
        "evictions_total",
        "Slow consumers evicted.",
        counters.evictions(),
    );
    head(
        &mut out,
        "counter",
        "departures_total",
        "Clients that left, by cause.",
    );
    for (cause, count) in counters.departures() {
        let _ = writeln!(out, "hubcast_departures_total{{cause=\"{cause}\"}} {count}");
    }
    head(
        &mut out,
        "counter",
        "refused_total",
        "Requests and connections refused, by status.",
    );
    for (status, count) in counters.refused.iter() {
        let _ = writeln!(out, "hubcast_refused_total{{status=\"{status}\"}} {count}");
    }
    fan_out(&mut out, counters);
    out
}

fn head(out: &mut String, kind: &str, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP hubcast_{name} {help}");
    let _ = writeln!(out, "# TYPE hubcast_{name} {kind}");
}

fn fan_out(out: &mut String, counters: &Counters) {
    let name = "fan_out_seconds";
    head(out, "histogram", name, "How long a fan-out took.");
    let (buckets, nanos) = counters.fan_out();
    let bounds = FAN_OUT_BOUNDS
        .iter()
        .map(|micros| format!("{}", *micros as f64 / 1e6));
    let mut sum = 0;
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(buckets) {
        sum += count;
        let _ = writeln!(out, "hubcast_{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let _ = writeln!(out, "hubcast_{name}_sum {}", nanos as f64 / 1e9);
    let _ = writeln!(out, "hubcast_{name}_count {sum}");
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
