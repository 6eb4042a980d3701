//! Publishing: messages are gathered for a pass, then given to each member.

use std::time::Instant;

use crate::hub::permit::Permit;
use crate::hub::rooms::Pending;
use crate::names::ClientId;
use crate::outbox::Pushed;
use crate::outbox::delivery::{Delivery, MAX_BURSTS};
use crate::wire::burst::{Burst, Encoding};
use crate::wire::sse;

use super::Hub;
use super::command::Audience;
use super::member::{Member, Totals};

impl Hub {
    /// Gathers a burst for a room, or gives it to its audience now.
    pub(super) fn publish(&mut self, to: &Audience, burst: Burst, permit: Option<Permit>) {
        self.counters.broadcasts.add(u64::from(burst.messages));
        if let Audience::Room { room, except } = to {
            if let Some(room) = self.rooms.find(room) {
                self.gather(room, burst, *except, permit);
            }
            return;
        }
        // What was published before goes out first, and may end a client.
        self.flush();
        if matches!(to, Audience::Everybody { .. }) {
            self.rooms.give_to_all_taps(&burst);
        }
        let places = self.places_of(to);
        self.give_to(&places, burst);
        drop(permit);
    }

    /// Where those of an audience are whose end is not under way.
    fn places_of(&self, to: &Audience) -> Vec<u32> {
        match to {
            Audience::Room { .. } => Vec::new(),
            Audience::Everybody { except } => {
                let members = self.members.iter();
                let open = members.filter(|(_, m)| Some(m.id) != *except && !m.ending);
                open.map(|(place, _)| place).collect()
            }
            Audience::Client(id) => self.open_place(*id).into_iter().collect(),
            Audience::Clients(ids) => ids.iter().filter_map(|id| self.open_place(*id)).collect(),
        }
    }

    /// Where a client is, unless its end is under way.
    fn open_place(&self, id: ClientId) -> Option<u32> {
        let place = *self.places.get(&id)?;
        let member = self.members.get(place)?;
        (!member.ending).then_some(place)
    }

    fn gather(
        &mut self,
        room: u32,
        burst: Burst,
        except: Option<ClientId>,
        permit: Option<Permit>,
    ) {
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
        pending.push(burst, except, permit);
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
    fn fan_out(&mut self, place: u32) {
        let Some(room) = self.rooms.get_mut(place) else {
            return;
        };
        let mut pending = std::mem::take(&mut room.pending);
        let (members, totals) = (&mut self.members, &mut self.totals);
        let (followers, troubled) = (&mut self.followers, &mut self.troubled);
        Delivery::prepare(&pending.bursts, &mut self.joined, |delivery| {
            for &place in &room.members {
                let Some(member) = members.get_mut(place) else {
                    continue;
                };
                let pushed = if member.encoding == Encoding::Events {
                    followers.push(place);
                    continue;
                } else if pending.is_excepted_from_any(member.id) {
                    give_apart(totals, member, &pending.bursts_for(member.id))
                } else {
                    totals.give(member, delivery)
                };
                if pushed != Pushed::Done {
                    troubled.push((place, pushed));
                }
            }
        });
        if !room.taps.is_empty() {
            room.give_to_taps(&pending.bursts);
            self.rooms.forget_if_empty(place);
        }
        if !self.followers.is_empty() {
            self.give_to_followers(&pending);
        }
        pending.clear();
        self.spare = pending;
        self.settle();
    }

    /// Gives what was gathered for a room to its clients of events, encoded
    /// once for all of them.
    fn give_to_followers(&mut self, pending: &Pending) {
        let all = [sse::encode(&pending.bursts)];
        let followers = std::mem::take(&mut self.followers);
        for &place in &followers {
            let Some(member) = self.members.get_mut(place) else {
                continue;
            };
            let pushed = if pending.is_excepted_from_any(member.id) {
                let own = sse::encode(&pending.bursts_for(member.id));
                give_apart(&mut self.totals, member, &[own])
            } else {
                give_apart(&mut self.totals, member, &all)
            };
            if pushed != Pushed::Done {
                self.troubled.push((place, pushed));
            }
        }
        self.followers = followers;
        self.followers.clear();
    }

    /// Gives a burst to single members.
    fn give_to(&mut self, places: &[u32], burst: Burst) {
        let frames = [burst];
        let mut events = None;
        for &place in places {
            let Some(member) = self.members.get_mut(place) else {
                continue;
            };
            let bursts = match member.encoding {
                Encoding::Frames => &frames,
                Encoding::Events => events.get_or_insert_with(|| [sse::encode(&frames)]),
            };
            let pushed = give_apart(&mut self.totals, member, bursts);
            if pushed != Pushed::Done {
                self.troubled.push((place, pushed));
            }
        }
        self.settle();
    }
}

/// Gives a member bursts apart from the others.
fn give_apart(totals: &mut Totals, member: &mut Member, bursts: &[Burst]) -> Pushed {
    if bursts.iter().all(|burst| burst.messages == 0) {
        return Pushed::Done;
    }
    Delivery::prepare(bursts, &mut Vec::new(), |delivery| {
        totals.give(member, delivery)
    })
}
