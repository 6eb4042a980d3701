//! Token buckets: how fast something may be done.

use std::time::{Duration, Instant};

/// A bucket that fills at a rate and holds one second's worth.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket; `None` if the rate is zero, which means no limit.
    pub(crate) fn new(per_second: u32, now: Instant) -> Option<Bucket> {
        (per_second > 0).then(|| Bucket {
            per_second: f64::from(per_second),
            tokens: f64::from(per_second),
            filled: now,
        })
    }

    /// Whether the bucket is overdrawn at this time.
    pub(crate) fn owes(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens + elapsed * self.per_second < 0.0
    }

    /// Takes `n` tokens, even if that overdraws the bucket. Returns how long to
    /// wait before taking more.
    pub(crate) fn take(&mut self, n: u64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.per_second);
        self.tokens -= n as f64;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_rest_is_paced() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start).unwrap();
        assert_eq!(bucket.take(10, start), Duration::ZERO);
        assert_eq!(bucket.take(5, start), Duration::from_millis(500));
        let later = start + Duration::from_millis(500);
        assert_eq!(bucket.take(0, later), Duration::ZERO);
        let rested = start + Duration::from_secs(60);
        assert_eq!(bucket.take(10, rested), Duration::ZERO);
        assert_eq!(bucket.take(1, rested), Duration::from_millis(100));
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Bucket::new(0, Instant::now()).is_none());
    }
}
