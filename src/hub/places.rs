//! How many clients there may be, and the place of each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::stats::Counters;

/// Addresses without clients are forgotten when as many are known.
const SWEEP: usize = 64;

/// Counts clients against their limits.
#[derive(Debug)]
pub(crate) struct Places {
    max: u64,
    /// 0: there is no such limit.
    max_per_ip: u64,
    counters: Arc<Counters>,
    taken: AtomicU64,
    /// Clients by network; used only where there is a limit. Held for one
    /// look-up, and never by the hub.
    per_ip: Mutex<HashMap<IpAddr, Arc<AtomicU64>>>,
}

/// A client's place. It is given back once: by whoever sees first that the
/// client's end is under way, and before the peer can know of that end.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    of_network: Option<Arc<AtomicU64>>,
    state: AtomicU8,
}

/// Taken, and the client has not joined yet.
const TAKEN: u8 = 0;
/// The client is counted among those that are connected.
const JOINED: u8 = 1;
const FREE: u8 = 2;

impl Places {
    pub(crate) fn new(max: usize, max_per_ip: usize, counters: Arc<Counters>) -> Places {
        Places {
            max: max as u64,
            max_per_ip: max_per_ip as u64,
            counters,
            taken: AtomicU64::new(0),
            per_ip: Mutex::default(),
        }
    }

    /// Places of no server, without limits.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn unlimited() -> Arc<Places> {
        Arc::new(Places::new(usize::MAX, 0, Arc::default()))
    }

    /// Gives a client from this address a place, or says why there is none.
    pub(crate) fn take(self: &Arc<Places>, ip: Option<IpAddr>) -> Result<Place, &'static str> {
        if !take_one(&self.taken, self.max) {
            return Err("the server is full; try again later");
        }
        let mut place = Place {
            places: self.clone(),
            of_network: None,
            state: AtomicU8::new(TAKEN),
        };
        if let Some(ip) = ip.filter(|_| self.max_per_ip > 0) {
            let of_network = self.of_network(network_of(ip));
            if !take_one(&of_network, self.max_per_ip) {
                return Err("too many clients from this address; close some first");
            }
            place.of_network = Some(of_network);
        }
        Ok(place)
    }

    fn of_network(&self, network: IpAddr) -> Arc<AtomicU64> {
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if per_ip.len() >= SWEEP && per_ip.len() == per_ip.capacity() {
            // One that somebody is about to count in is held elsewhere, too.
            per_ip.retain(|_, count| {
                Arc::strong_count(count) > 1 || count.load(Ordering::SeqCst) > 0
            });
        }
        per_ip.entry(network).or_default().clone()
    }
}

fn take_one(count: &AtomicU64, max: u64) -> bool {
    let one_more = |count| (count < max).then_some(count + 1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
        .is_ok()
}

/// What counts as one address: an IPv4 address, however it is written, or the
/// first 64 bits of an IPv6 address, which are one host's or one site's.
pub(crate) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip => ip,
    }
}

impl Place {
    /// Counts the client among those that are connected. Returns how many
    /// they are now.
    pub(crate) fn join(&self) -> u64 {
        self.state.store(JOINED, Ordering::SeqCst);
        self.places.counters.clients.up()
    }

    /// Gives the place back, unless that was done before.
    pub(crate) fn release(&self) {
        let was = self.state.swap(FREE, Ordering::SeqCst);
        if was == FREE {
            return;
        }
        if was == JOINED {
            self.places.counters.clients.down();
        }
        if let Some(count) = &self.of_network {
            count.fetch_sub(1, Ordering::SeqCst);
        }
        self.places.taken.fetch_sub(1, Ordering::SeqCst);
    }

    /// A place of no server.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn anywhere() -> Place {
        Places::unlimited().take(None).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn places(max: usize, max_per_ip: usize) -> Arc<Places> {
        Arc::new(Places::new(max, max_per_ip, Arc::default()))
    }

    #[test]
    fn places_are_limited_and_given_back_once() {
        let places = places(2, 0);
        let first = places.take(None).unwrap();
        let _second = places.take(None).unwrap();
        assert!(places.take(None).unwrap_err().contains("full"));
        assert_eq!(first.join(), 1);
        first.release();
        assert_eq!(places.counters.clients.get(), 0);
        let _third = places.take(None).unwrap();
        drop(first);
        assert!(places.take(None).is_err());
    }

    #[test]
    fn an_address_has_its_share() {
        let places = places(10, 1);
        let [one, two] = [1, 2].map(|n| Some(Ipv4Addr::new(127, 0, 0, n).into()));
        let first = places.take(one).unwrap();
        assert!(places.take(one).unwrap_err().contains("this address"));
        assert_eq!(places.taken.load(Ordering::SeqCst), 1);
        assert!(places.take(two).is_ok());
        drop(first);
        assert!(places.take(one).is_ok());
    }

    #[test]
    fn an_address_is_a_network_of_ipv6_or_an_address_of_ipv4() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::2:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let [one, other] = [one, other].map(|ip| network_of(ip.parse().unwrap()));
            assert_eq!(one == other, same, "{one} and {other}");
        }
    }

    #[test]
    fn addresses_without_clients_are_forgotten() {
        let places = places(10, 1);
        for n in 0..100_000u32 {
            places.take(Some(Ipv4Addr::from(n).into())).unwrap();
        }
        let known = places.per_ip.lock().unwrap().len();
        assert!(known < 1000, "{known} are known");
    }
}
