//! Latencies, counted in buckets less than one per cent wide, so that millions
//! of deliveries cost a few kilobytes and one increment each.

use super::clock::Nanos;

/// Each power of two is cut into this many buckets.
const STEPS: usize = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();

#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Nanos,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            counts: vec![0; bucket(Nanos::MAX) + 1],
            total: 0,
            max: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max = 0;
    }

    pub(crate) fn record(&mut self, latency: Nanos) {
        self.counts[bucket(latency)] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// The latency which the given share of all deliveries did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Nanos {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(latency: Nanos) -> usize {
    let bits = Nanos::BITS - latency.leading_zeros();
    let shift = bits.saturating_sub(STEP_BITS + 1);
    shift as usize * STEPS + (latency >> shift) as usize
}

/// The largest latency that falls into the bucket.
fn upper_bound(bucket: usize) -> Nanos {
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = bucket - shift * STEPS;
    ((step as Nanos) << shift) | ((1 << shift) - 1)
}
