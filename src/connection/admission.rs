//! Which connections are accepted: the limits on connections, handshakes and
//! addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::stats::Counters;

/// The most connections on the operator's own listener.
const OPERATORS: u64 = 16;

/// Counts connections against their limits.
#[derive(Debug)]
pub(crate) struct Admission {
    max_clients: u64,
    max_handshakes: u64,
    max_per_ip: usize,
    counters: Arc<Counters>,
    /// Connections by address; used only if `max_clients_per_ip` is set. The
    /// accept thread and ending connections hold the lock for one look-up.
    per_ip: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    ip: Option<IpAddr>,
    in_handshake: bool,
}

impl Admission {
    /// `max_clients` is the limit on connections, configured or computed.
    pub(crate) fn new(config: &Config, max_clients: usize, counters: Arc<Counters>) -> Admission {
        Admission {
            max_clients: max_clients as u64,
            max_handshakes: config.max_handshakes as u64,
            max_per_ip: config.max_clients_per_ip,
            counters,
            per_ip: Mutex::default(),
        }
    }

    /// The places of the operator's own listener, apart from those of the
    /// clients.
    pub(crate) fn of_operator() -> Admission {
        Admission {
            max_clients: OPERATORS,
            max_handshakes: OPERATORS,
            max_per_ip: 0,
            counters: Arc::default(),
            per_ip: Mutex::default(),
        }
    }

    /// Gives a connection from this address a place, or says why there is none.
    /// Only the accept thread calls this, so the counts do not grow between
    /// check and increment.
    pub(crate) fn admit(self: &Arc<Admission>, ip: Option<IpAddr>) -> Result<Place, &'static str> {
        if self.counters.connections.get() >= self.max_clients {
            return Err("the server is full; try again later");
        }
        if self.counters.handshakes.get() >= self.max_handshakes {
            return Err("too many connections are being opened; try again later");
        }
        if !ip.is_none_or(|ip| self.admit_ip(ip)) {
            return Err("too many connections from this address; close some first");
        }
        self.counters.connections.up();
        self.counters.handshakes.up();
        Ok(Place {
            admission: self.clone(),
            ip,
            in_handshake: true,
        })
    }

    fn admit_ip(&self, ip: IpAddr) -> bool {
        if self.max_per_ip == 0 {
            return true;
        }
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ip.entry(ip).or_default();
        let has_room = *count < self.max_per_ip;
        *count += usize::from(has_room);
        has_room
    }

    fn release_ip(&self, ip: IpAddr) {
        if self.max_per_ip == 0 {
            return;
        }
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&ip);
            }
        }
    }
}

impl Place {
    /// The opening handshake has succeeded: another may begin.
    pub(super) fn handshake_done(&mut self) {
        if std::mem::take(&mut self.in_handshake) {
            self.admission.counters.handshakes.down();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshake_done();
        self.admission.counters.connections.down();
        if let Some(ip) = self.ip {
            self.admission.release_ip(ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn admission(change: impl FnOnce(&mut Config), max_clients: usize) -> Arc<Admission> {
        let mut config = Config::default();
        change(&mut config);
        Arc::new(Admission::new(&config, max_clients, Arc::default()))
    }

    #[test]
    fn places_are_limited_and_given_back() {
        let ip = Some(Ipv4Addr::LOCALHOST.into());
        let admission = admission(|_| {}, 2);
        let first = admission.admit(ip).unwrap();
        let _second = admission.admit(ip).unwrap();
        assert!(admission.admit(ip).unwrap_err().contains("full"));
        drop(first);
        assert!(admission.admit(ip).is_ok());
    }

    #[test]
    fn handshakes_have_a_limit_of_their_own() {
        let ip = Some(Ipv4Addr::LOCALHOST.into());
        let admission = admission(|c| c.max_handshakes = 1, 10);
        let mut first = admission.admit(ip).unwrap();
        assert!(admission.admit(ip).unwrap_err().contains("being opened"));
        first.handshake_done();
        assert!(admission.admit(ip).is_ok());
    }

    #[test]
    fn an_address_has_its_share() {
        let admission = admission(|c| c.max_clients_per_ip = 1, 10);
        let [one, two] = [1, 2].map(|n| Some(Ipv4Addr::new(127, 0, 0, n).into()));
        let first = admission.admit(one).unwrap();
        assert!(admission.admit(one).unwrap_err().contains("this address"));
        assert!(admission.admit(two).is_ok());
        drop(first);
        assert!(admission.admit(one).is_ok());
    }
}
