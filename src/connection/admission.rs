//! Which connections are let in: the limits on connections and on handshakes.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::network_of;
use crate::names::ClientId;
use crate::net::Outlet;
use crate::net::Stream;
use crate::stats::Counters;

/// The most requests at a time on the operator's own listener.
const OPERATORS: usize = 16;

/// Counts connections against their limits.
///
/// A connection is in its handshake until it has become a client or has been
/// answered. When all places for handshakes are taken, the oldest handshake
/// of the address that has most of them makes way, so that no flood of
/// unfinished requests keeps others out.
#[derive(Debug)]
pub(crate) struct Admission {
    max_connections: u64,
    max_handshakes: usize,
    counters: Arc<Counters>,
    handshakes: Mutex<Handshakes>,
}

/// The connections in their handshake, by address. The accept thread and
/// connections whose handshake ends hold it for one look-up.
#[derive(Debug, Default)]
struct Handshakes {
    count: usize,
    /// In the order of their ids: the oldest is the first.
    of_network: HashMap<Option<IpAddr>, VecDeque<(ClientId, Arc<Stream>)>>,
}

/// A connection's slot; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    network: Option<IpAddr>,
    id: ClientId,
}

impl Admission {
    /// `beside` is how many connections there may be beside the clients: in
    /// their handshake, making way for others, or on their way out.
    pub(crate) fn new(
        max_clients: usize,
        max_handshakes: usize,
        beside: usize,
        counters: Arc<Counters>,
    ) -> Admission {
        Admission {
            max_connections: max_clients.saturating_add(beside) as u64,
            max_handshakes,
            counters,
            handshakes: Mutex::default(),
        }
    }

    /// The places of the operator's own listener, apart from those of the
    /// clients.
    pub(crate) fn of_operator() -> Admission {
        Admission::new(0, OPERATORS, 2 * OPERATORS, Arc::default())
    }

    /// Gives a connection a slot, or says why there is none. Under the lock,
    /// so that no other accept thread comes in between.
    pub(crate) fn admit(
        self: &Arc<Admission>,
        id: ClientId,
        ip: Option<IpAddr>,
        socket: &Arc<Stream>,
    ) -> Result<Slot, &'static str> {
        let network = ip.map(network_of);
        let mut handshakes = self.handshakes();
        if self.counters.connections.get() >= self.max_connections {
            return Err("too many connections are open; try again later");
        }
        if handshakes.count >= self.max_handshakes
            && let Some(oldest) = handshakes.take_oldest_of_most()
        {
            self.counters.handshakes.down();
            self.counters.displaced.add(1);
            // Its thread wakes up, and ends.
            oldest.end();
        }
        handshakes.insert(network, id, socket.clone());
        self.counters.connections.up();
        self.counters.handshakes.up();
        Ok(Slot {
            admission: self.clone(),
            network,
            id,
        })
    }

    /// How many handshakes had to make way for others.
    pub(crate) fn displaced(&self) -> u64 {
        self.counters.displaced.get()
    }

    fn handshakes(&self) -> MutexGuard<'_, Handshakes> {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshakes {
    fn insert(&mut self, network: Option<IpAddr>, id: ClientId, socket: Arc<Stream>) {
        let of_network = self.of_network.entry(network).or_default();
        // Another accept thread may have been faster with a later one.
        let place = of_network.partition_point(|(other, _)| *other < id);
        of_network.insert(place, (id, socket));
        self.count += 1;
    }

    fn remove(&mut self, network: Option<IpAddr>, id: ClientId) -> Option<Arc<Stream>> {
        let of_network = self.of_network.get_mut(&network)?;
        let place = of_network.binary_search_by_key(&id, |(other, _)| *other);
        let (_, socket) = of_network.remove(place.ok()?)?;
        if of_network.is_empty() {
            self.of_network.remove(&network);
        }
        self.count -= 1;
        Some(socket)
    }

    fn take_oldest_of_most(&mut self) -> Option<Arc<Stream>> {
        let networks = self.of_network.iter();
        let oldest = networks.filter_map(|(at, of)| Some((of.len(), Reverse(of.front()?.0), at)));
        let (_, Reverse(id), network) = oldest.max()?;
        self.remove(*network, id)
    }
}

impl Slot {
    /// The opening handshake is done: another may begin. False: this one had
    /// to make way, and the stream has been ended.
    pub(super) fn handshake_done(&self) -> bool {
        let is_here = self.admission.handshakes().remove(self.network, self.id);
        if is_here.is_some() {
            self.admission.counters.handshakes.down();
        }
        is_here.is_some()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.handshake_done();
        self.admission.counters.connections.down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// A connection, and its peer.
    fn connection() -> (Arc<Stream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Arc::new(ours.into()), theirs)
    }

    fn is_ended(mut peer: &UnixStream) -> bool {
        peer.read(&mut [0]).is_ok_and(|n| n == 0)
    }

    fn ip(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, n]))
    }

    #[test]
    fn connections_are_limited_and_given_back() {
        let admission = Arc::new(Admission::new(1, 10, 1, Arc::default()));
        let (socket, _peer) = connection();
        let admit = |id| admission.admit(ClientId(id), ip(1), &socket);
        let first = admit(1).unwrap();
        let second = admit(2).unwrap();
        assert!(second.handshake_done());
        assert!(admit(3).unwrap_err().contains("too many connections"));
        drop(first);
        assert!(admit(4).is_ok());
    }

    #[test]
    fn the_oldest_handshake_of_the_address_with_most_makes_way() {
        let admission = Arc::new(Admission::new(10, 4, 10, Arc::default()));
        let connections: Vec<_> = (1..=8).map(|_| connection()).collect();
        let admit = |id: u64, from| {
            let socket = &connections[id as usize].0;
            admission.admit(ClientId(id), ip(from), socket).unwrap()
        };
        let is_ended = |id: usize| is_ended(&connections[id].1);
        let one = admit(1, 1);
        let two = admit(2, 2);
        let three = admit(3, 2);
        let four = admit(4, 3);
        let _five = admit(5, 1);
        assert!(!two.handshake_done() && is_ended(2));
        let _six = admit(6, 3);
        assert!(!one.handshake_done() && is_ended(1));
        let _seven = admit(7, 4);
        assert!(!four.handshake_done() && is_ended(4));
        assert!(![3, 5, 6, 7].into_iter().any(is_ended));
        assert_eq!(admission.counters.displaced.get(), 3);
        assert_eq!(admission.counters.handshakes.get(), 4);
        assert!(three.handshake_done());
        assert_eq!(admission.counters.handshakes.get(), 3);
    }
}
