//! Members whose end is planned: at their age, or in a drain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::client_state::ClientState;
use crate::names::ClientId;

/// By how much of the age, at most, a client ends earlier: one in this many.
const AGE_JITTER: u32 = 8;
/// The shortest time after which a client is asked to come back.
const MIN_RETRY: Duration = Duration::from_secs(1);
/// The part of a drain over which the returns are spread: one in this many.
const RETRY_SHARE: u32 = 4;

/// When which members end.
#[derive(Debug)]
pub(super) struct Planned {
    /// Zero: nobody's age ends.
    max_age: Duration,
    /// How long the drain takes that has begun.
    drain: Option<Duration>,
    ends: BTreeSet<(Instant, ClientId)>,
}

impl Planned {
    pub(super) fn new(max_age: Duration) -> Planned {
        Planned {
            max_age,
            drain: None,
            ends: BTreeSet::new(),
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    pub(super) fn join(&mut self, client: &ClientState) {
        let end = match self.drain {
            Some(_) => Some(client.joined),
            None => self.end_of(client),
        };
        self.ends.extend(end.map(|end| (end, client.id)));
    }

    pub(super) fn leave(&mut self, client: &ClientState) {
        if let Some(end) = self.end_of(client) {
            self.ends.remove(&(end, client.id));
        }
    }

    /// When a client's age ends: always the same, so that it is found again.
    fn end_of(&self, client: &ClientState) -> Option<Instant> {
        if self.max_age.is_zero() {
            return None;
        }
        let earlier = (self.max_age / AGE_JITTER).mul_f64(share(client.id));
        Some(client.joined + self.max_age - earlier)
    }

    /// Plans the ends of a drain, at even distances over this time.
    pub(super) fn drain(&mut self, over: Duration, ids: impl ExactSizeIterator<Item = ClientId>) {
        let now = Instant::now();
        let each = over / u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1);
        let at = (0..).map(|number| now + each * number);
        self.drain = Some(over);
        self.ends.clear();
        self.ends.extend(at.zip(ids));
    }

    /// In a drain, after which time a client is asked to come back.
    pub(super) fn retry(&self, id: ClientId) -> Option<Duration> {
        let spread = self.drain? / RETRY_SHARE;
        Some(MIN_RETRY + spread.mul_f64(share(id)))
    }

    /// The next member whose time has come.
    pub(super) fn take_due(&mut self) -> Option<ClientId> {
        self.next().filter(|at| *at <= Instant::now())?;
        self.ends.pop_first().map(|(_, id)| id)
    }
}

/// A number from 0 to 1 for a client: those of clients that came one after the
/// other lie far apart, and those of many are spread evenly.
fn share(id: ClientId) -> f64 {
    let golden = id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (golden >> 32) as f64 / f64::from(u32::MAX)
}
