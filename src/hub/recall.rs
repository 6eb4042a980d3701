//! What the hub answers about what a room remembers.

use std::sync::Arc;

use super::Hub;
use super::behind::Run;
use super::info::{Recalled, Recollection, TapStart};
use super::ring::Remembers;
use super::tap::Tap;
use crate::names::ClientId;
use crate::position::Offset;
use crate::since::Since;

impl Hub {
    /// What a room remembers, and of it the messages that are asked for.
    pub(super) fn recall(&mut self, name: &str, since: Option<Since>) -> Recollection {
        let room = self.rooms.find(name);
        let beginning = since.map(|since| self.beginning(name, Some(since)));
        let ring = room.and_then(|room| self.rooms.get(room)?.ring());
        let history = &self.rooms.history;
        let oldest = history.floor(name, ring, self.log.head());
        let after = beginning.as_ref().map_or(Offset::MAX, |from| from.after);
        let kept = history.after(ring.map(|ring| (ring, after)).into_iter(), after);
        let remembers = history.remembers(name);
        let kept = kept.filter(|kept| remembers && kept.is_for(ClientId(u64::MAX)));
        let messages = kept.map(|kept| Recalled {
            position: self.log.position(kept.offset),
            at: kept.at,
            frame: kept.bytes_to(&kept),
        });
        Recollection {
            clients: self.count(name),
            position: self.log.position(self.log.head()),
            oldest: self.log.position(oldest.offset),
            is_complete: beginning.is_none_or(|from| from.is_complete()),
            messages: messages.collect(),
        }
    }

    /// Adds a subscription that begins with what its room remembers.
    pub(super) fn tap_since(&mut self, name: &Arc<str>, tap: Tap, since: Since) -> TapStart {
        let beginning = self.beginning(name, Some(since));
        let room = self.rooms.find(name).and_then(|room| self.rooms.get(room));
        let ring = room.and_then(Remembers::ring);
        let mine = ring.map(|ring| (ring, Offset::NONE));
        let kept = self.rooms.history.after(mine.into_iter(), beginning.after);
        let mut bursts = Vec::new();
        let mut run = Run::default();
        for kept in kept.filter(|_| self.rooms.history.remembers(name)) {
            run.extend(kept, &mut bursts);
        }
        run.end(&mut bursts);
        let epoch = self.log.epoch();
        bursts.iter().for_each(|said| {
            let _ = tap.give(&said.burst, epoch);
        });
        self.rooms.tap(name, tap);
        TapStart {
            position: self.log.position(beginning.after),
            is_complete: beginning.is_complete(),
        }
    }
}
