//! Publishing: messages are gathered for a pass, then given to each member.

use std::time::Instant;

use crate::client::ClientId;
use crate::delivery::{Delivery, MAX_BURSTS};
use crate::frame::Burst;
use crate::outbox::Pushed;

use super::Hub;
use super::command::Audience;
use super::member::{Member, Totals};

impl Hub {
    /// Gathers a burst for a room, or gives it to its audience now.
    pub(super) fn publish(&mut self, to: Audience, burst: Burst) {
        self.counters.broadcasts.add(u64::from(burst.messages));
        let places: Vec<u32> = match to {
            Audience::Room { room, except } => {
                if let Some(room) = self.rooms.find(&room) {
                    self.gather(room, burst, except);
                }
                return;
            }
            Audience::Everybody { except } => self
                .members
                .iter()
                .filter(|(_, member)| Some(member.id) != except && !member.ending)
                .map(|(place, _)| place)
                .collect(),
            Audience::Client(id) => self.places.get(&id).copied().into_iter().collect(),
            Audience::Clients(ids) => ids
                .iter()
                .filter_map(|id| self.places.get(id).copied())
                .collect(),
        };
        self.flush();
        self.give_to(&places, &[burst]);
    }

    pub(super) fn gather(&mut self, room: u32, burst: Burst, except: Option<ClientId>) {
        // A client of several rooms gets everything in the order it was
        // published, so what waits for other rooms goes first.
        if self.in_many_rooms > 0 && self.dirty.iter().any(|dirty| *dirty != room) {
            self.flush();
        }
        let Some(found) = self.rooms.get_mut(room) else {
            return;
        };
        let pending = &mut found.pending;
        if pending.bursts.is_empty() {
            if pending.bursts.capacity() == 0 {
                *pending = std::mem::take(&mut self.spare);
            }
            self.dirty.push(room);
        }
        pending.push(burst, except);
        if pending.bursts.len() == MAX_BURSTS {
            self.flush();
        }
    }

    /// Fans out everything that was gathered.
    pub(super) fn flush(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let start = Instant::now();
        let mut dirty = std::mem::take(&mut self.dirty);
        for room in dirty.drain(..) {
            self.fan_out(room);
        }
        self.dirty = dirty;
        self.counters.fanned_out(start.elapsed());
    }

    /// Gives what was gathered for a room to each of its members.
    pub(super) fn fan_out(&mut self, room: u32) {
        let Some(room) = self.rooms.get_mut(room) else {
            return;
        };
        let mut pending = std::mem::take(&mut room.pending);
        let (members, totals, troubled) = (&mut self.members, &mut self.totals, &mut self.troubled);
        Delivery::prepare(&pending.bursts, &mut self.joined, |delivery| {
            for &place in &room.members {
                let Some(member) = members.get_mut(place) else {
                    continue;
                };
                let pushed = if pending.is_excepted_from_any(member.id) {
                    let bursts = pending.bursts_for(member.id);
                    give_apart(totals, member, &bursts)
                } else {
                    totals.give(member, delivery)
                };
                if pushed != Pushed::Done {
                    troubled.push((place, pushed));
                }
            }
        });
        pending.clear();
        self.spare = pending;
        self.settle();
    }

    /// Gives bursts to single members.
    pub(super) fn give_to(&mut self, places: &[u32], bursts: &[Burst]) {
        let (members, totals, troubled) = (&mut self.members, &mut self.totals, &mut self.troubled);
        Delivery::prepare(bursts, &mut self.joined, |delivery| {
            for &place in places {
                let Some(member) = members.get_mut(place) else {
                    continue;
                };
                let pushed = totals.give(member, delivery);
                if pushed != Pushed::Done {
                    troubled.push((place, pushed));
                }
            }
        });
        self.settle();
    }
}

/// Gives a member bursts that only it receives.
fn give_apart(totals: &mut Totals, member: &mut Member, bursts: &[Burst]) -> Pushed {
    if bursts.is_empty() {
        return Pushed::Done;
    }
    Delivery::prepare(bursts, &mut Vec::new(), |delivery| {
        totals.give(member, delivery)
    })
}
