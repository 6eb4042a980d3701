//! How fast each address may publish over HTTP.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::config::Config;
use crate::http1::Answer;
use crate::hub::network_of;
use crate::rate::Bucket;

/// The most addresses that are told apart; all others share one allowance.
const MAX_NETWORKS: usize = 1024;
/// An allowance that was not used for so long is whole again, unless it is
/// overdrawn.
const REST: Duration = Duration::from_secs(1);

/// How fast each address may publish over HTTP: each message is a connection of
/// its own, so the rates of a client are those of an address here.
#[derive(Debug)]
pub(super) struct Pace {
    message_rate: u32,
    byte_rate: u32,
    /// Empty where there are no rates.
    of_network: Mutex<HashMap<Option<IpAddr>, Allowance>>,
}

#[derive(Debug)]
struct Allowance {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    used: Instant,
}

impl Allowance {
    /// Takes this much. Returns how long to wait before taking more.
    fn take(&mut self, messages: u64, bytes: u64, now: Instant) -> Duration {
        self.used = now;
        let take = |bucket: &mut Option<Bucket>, n| {
            bucket.as_mut().map_or(Duration::ZERO, |b| b.take(n, now))
        };
        let wait = take(&mut self.messages, messages);
        wait.max(take(&mut self.bytes, bytes))
    }

    fn is_whole(&self, now: Instant) -> bool {
        let owes = |bucket: &Option<Bucket>| bucket.as_ref().is_some_and(|b| b.owes(now));
        let rested = now.saturating_duration_since(self.used) >= REST;
        rested && !owes(&self.messages) && !owes(&self.bytes)
    }
}

impl Pace {
    pub(super) fn new(config: &Config) -> Pace {
        Pace {
            message_rate: config.max_message_rate,
            byte_rate: config.max_byte_rate,
            of_network: Mutex::default(),
        }
    }

    /// Takes the allowance for a message of this length, or says when to come
    /// back.
    pub(super) fn take(&self, ip: Option<IpAddr>, bytes: u64) -> Result<(), Answer> {
        let wait = self.take_at(ip, bytes, Instant::now());
        match wait {
            Duration::ZERO => Ok(()),
            wait => {
                let line = "too many messages or bytes from this address; send fewer";
                let seconds = wait.as_secs().saturating_add(1);
                Err(Answer::text(StatusCode::TOO_MANY_REQUESTS, line)
                    .header(RETRY_AFTER, seconds.into()))
            }
        }
    }

    /// Takes for messages and bytes that were not announced.
    pub(super) fn owe(&self, ip: Option<IpAddr>, messages: u64, bytes: u64) {
        let now = Instant::now();
        self.with_allowance(ip, now, |allowance| allowance.take(messages, bytes, now));
    }

    fn take_at(&self, ip: Option<IpAddr>, bytes: u64, now: Instant) -> Duration {
        let wait = self.with_allowance(ip, now, |allowance| {
            // Whoever owes nothing may send one, however large.
            let wait = allowance.take(0, 0, now);
            if wait.is_zero() {
                allowance.take(1, bytes, now);
            }
            wait
        });
        wait.unwrap_or_default()
    }

    /// Calls `act` with the allowance of an address; `None` where there are no
    /// rates.
    fn with_allowance<T>(
        &self,
        ip: Option<IpAddr>,
        now: Instant,
        act: impl FnOnce(&mut Allowance) -> T,
    ) -> Option<T> {
        if self.message_rate == 0 && self.byte_rate == 0 {
            return None;
        }
        let mut network = ip.map(network_of);
        let networks = self.of_network.lock();
        let mut networks = networks.unwrap_or_else(PoisonError::into_inner);
        if networks.len() >= MAX_NETWORKS && !networks.contains_key(&network) {
            networks.retain(|_, allowance| !allowance.is_whole(now));
            if networks.len() >= MAX_NETWORKS {
                network = None;
            }
        }
        let allowance = networks.entry(network).or_insert_with(|| Allowance {
            messages: Bucket::new(self.message_rate, now),
            bytes: Bucket::new(self.byte_rate, now),
            used: now,
        });
        Some(act(allowance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(message_rate: u32, byte_rate: u32) -> Pace {
        let mut config = Config::default();
        (config.max_message_rate, config.max_byte_rate) = (message_rate, byte_rate);
        Pace::new(&config)
    }

    fn ip(n: u32) -> Option<IpAddr> {
        Some(std::net::Ipv4Addr::from(n).into())
    }

    #[test]
    fn an_address_has_its_rates_and_others_have_theirs() {
        let pace = pace(2, 1000);
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let may = |from, bytes, now| pace.take_at(ip(from), bytes, now).is_zero();
        assert!(may(1, 10, at(0.0)) && may(1, 10, at(0.0)) && may(1, 10, at(0.0)));
        assert!(!may(1, 10, at(0.1)));
        assert!(may(2, 10, at(0.1)));
        assert!(may(1, 10, at(1.0)));
        // One large message is taken, and paid for.
        assert!(may(3, 5000, at(0.0)) && !may(3, 1, at(3.9)) && may(3, 1, at(4.1)));
        pace.owe(ip(4), 0, 10);
        assert_eq!(pace.of_network.lock().unwrap().len(), 4);
        // Ten lines of one request are ten messages.
        assert!(may(5, 10, at(0.0)));
        pace.with_allowance(ip(5), at(0.0), |a| a.take(9, 0, at(0.0)));
        assert!(!may(5, 10, at(3.9)) && may(5, 10, at(4.1)));
    }

    #[test]
    fn without_rates_nothing_is_remembered() {
        let pace = pace(0, 0);
        assert!(pace.take(ip(1), u64::MAX).is_ok());
        pace.owe(ip(1), u64::MAX, u64::MAX);
        assert!(pace.of_network.lock().unwrap().is_empty());
    }

    #[test]
    fn few_addresses_are_remembered() {
        let pace = pace(1, 0);
        let now = Instant::now();
        for n in 0..10_000 {
            pace.take_at(ip(n), 0, now);
        }
        assert!(pace.of_network.lock().unwrap().len() <= MAX_NETWORKS + 1);
        // Those that come too late for a place share one.
        assert!(!pace.take_at(ip(20_000), 0, now).is_zero());
        let later = now + Duration::from_secs(3600);
        assert!(pace.take_at(ip(20_000), 0, later).is_zero());
        assert!(pace.of_network.lock().unwrap().len() < 10);
    }
}
