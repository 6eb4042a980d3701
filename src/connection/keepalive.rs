//! Silence, and what it means: when to ping, and when a peer is dead.

use std::time::{Duration, Instant};

use crate::config::Config;

/// Measures the silence of one peer. No timer thread is needed, because the
/// socket's read timeout is the clock.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    pong_timeout: Duration,
    silent: Duration,
    /// When the unanswered ping was sent.
    pinged: Option<Instant>,
    number: u64,
}

/// What to do about a silence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing yet.
    Wait,
    /// A ping with this payload.
    Ping([u8; 8]),
    /// Close: the ping was not answered in time.
    Dead,
}

impl Keepalive {
    pub(super) fn new(config: &Config) -> Keepalive {
        Keepalive {
            interval: config.ping_interval,
            pong_timeout: config.pong_timeout,
            silent: Duration::ZERO,
            pinged: None,
            number: 0,
        }
    }

    /// How long the silence may last before something must be done.
    pub(super) fn patience(&self) -> Option<Duration> {
        let limit = match self.pinged {
            None if self.interval.is_zero() => return None,
            None => self.interval,
            Some(_) => self.pong_timeout,
        };
        Some(limit.saturating_sub(self.silent))
    }

    /// The peer has sent something.
    pub(super) fn heard(&mut self) {
        self.silent = Duration::ZERO;
        self.pinged = None;
    }

    /// The peer has been silent for `time` more.
    pub(super) fn silent_for(&mut self, time: Duration) -> Silence {
        self.silent += time;
        if self.patience().is_none_or(|left| !left.is_zero()) {
            return Silence::Wait;
        }
        if self.pinged.is_some() {
            return Silence::Dead;
        }
        self.silent = Duration::ZERO;
        self.pinged = Some(Instant::now());
        self.number += 1;
        Silence::Ping(self.number.to_be_bytes())
    }

    /// A pong has come; the round trip, if it answers the last ping.
    pub(super) fn answered(&mut self, payload: &[u8]) -> Option<Duration> {
        if payload != self.number.to_be_bytes() {
            return None;
        }
        self.pinged.take().map(|at| at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn keepalive(interval: Duration) -> Keepalive {
        let mut config = Config::default();
        config.ping_interval = interval;
        config.pong_timeout = 2 * SECOND;
        Keepalive::new(&config)
    }

    #[test]
    fn silence_is_pinged_and_then_it_is_death() {
        let mut keepalive = keepalive(3 * SECOND);
        assert_eq!(keepalive.silent_for(2 * SECOND), Silence::Wait);
        assert_eq!(keepalive.patience(), Some(SECOND));
        assert!(matches!(keepalive.silent_for(SECOND), Silence::Ping(_)));
        assert_eq!(keepalive.patience(), Some(2 * SECOND));
        assert_eq!(keepalive.silent_for(2 * SECOND), Silence::Dead);
    }

    #[test]
    fn anything_heard_is_life() {
        let mut keepalive = keepalive(3 * SECOND);
        let Silence::Ping(payload) = keepalive.silent_for(3 * SECOND) else {
            panic!("no ping");
        };
        assert!(keepalive.answered(b"other").is_none());
        assert!(keepalive.answered(&payload).is_some());
        keepalive.heard();
        assert!(keepalive.answered(&payload).is_none());
        assert_eq!(keepalive.silent_for(2 * SECOND), Silence::Wait);
    }

    #[test]
    fn without_an_interval_silence_means_nothing() {
        let mut keepalive = keepalive(Duration::ZERO);
        assert_eq!(keepalive.patience(), None);
        assert_eq!(keepalive.silent_for(100 * SECOND), Silence::Wait);
    }
}
