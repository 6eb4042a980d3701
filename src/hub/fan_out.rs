//! Publishing: messages are gathered for a pass, then given to each member.

use std::time::Instant;

use super::Hub;
use super::command::Audience;
use super::giving::{Delivering, Receivers};
use super::helpers::Helpers;
use super::member::Member;
use super::permit::Permit;
use super::rooms::Excepts;
use super::slab::Slab;
use crate::names::ClientId;
use crate::outbox::MAX_BURSTS;
use crate::wire::{Burst, Encoding, Forms};

impl Hub {
    /// Gathers messages for a room, or gives it to its audience now.
    pub(crate) fn publish(&mut self, to: &Audience, forms: Forms, permit: Option<Permit>) {
        self.counters
            .broadcasts
            .add(u64::from(forms.frames.messages));
        if let Audience::Room { room, except } = to {
            if let Some(room) = self.rooms.find(room) {
                self.gather(room, forms, *except, permit);
            }
            return;
        }
        // Earlier messages go out first. That may end a client.
        self.flush();
        if matches!(to, Audience::Everybody { .. }) {
            self.rooms.give_to_all_taps(&forms);
        }
        let places = self.places_of(to);
        self.give_to(&places, forms);
        drop(permit);
    }

    /// The places of the members of an audience that are not ending.
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

    /// The place of a client, unless it is ending.
    fn open_place(&self, id: ClientId) -> Option<u32> {
        let place = *self.places.get(&id)?;
        let member = self.members.get(place)?;
        (!member.ending).then_some(place)
    }

    fn gather(
        &mut self,
        room: u32,
        forms: Forms,
        except: Option<ClientId>,
        permit: Option<Permit>,
    ) {
        // A client of several rooms gets everything in the order of publishing,
        // so messages that are pending for other rooms go first.
        if self.in_many_rooms > 0 && self.dirty.iter().any(|dirty| *dirty != room) {
            self.flush();
        }
        let Some(found) = self.rooms.get_mut(room) else {
            return;
        };
        let pending = &mut found.pending;
        if pending.forms.is_empty() {
            if pending.forms.capacity() == 0 {
                *pending = std::mem::take(&mut self.spare);
            }
            self.dirty.push(room);
        }
        pending.push(forms, except, permit);
        if pending.forms.len() == MAX_BURSTS {
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
        if !room.taps.is_empty() {
            room.give_to_taps(&pending.forms);
        }
        for encoding in Encoding::ALL.into_iter().filter(|kind| room.needs(*kind)) {
            let list = &mut self.encoded;
            list.extend(pending.forms.iter_mut().map(|forms| forms.take(encoding)));
            let mut fan_out = FanOut {
                members: &mut self.members,
                helpers: &mut self.helpers,
                delivering: Delivering {
                    totals: &mut self.totals,
                    troubled: &mut self.troubled,
                    joined: &mut self.joined,
                },
            };
            fan_out.give(&room.members, encoding, list, &pending.excepts);
            list.clear();
        }
        self.rooms.forget_if_empty(place);
        pending.clear();
        self.spare = pending;
        self.settle();
    }

    /// Gives messages to single members.
    fn give_to(&mut self, places: &[u32], mut forms: Forms) {
        for encoding in Encoding::ALL {
            let mut members = places.iter().filter_map(|place| self.members.get(*place));
            if !members.any(|member| member.encoding == encoding) {
                continue;
            }
            let mut fan_out = FanOut {
                members: &mut self.members,
                helpers: &mut self.helpers,
                delivering: Delivering {
                    totals: &mut self.totals,
                    troubled: &mut self.troubled,
                    joined: &mut self.joined,
                },
            };
            let list = [forms.take(encoding)];
            fan_out.give(places, encoding, &list, &Excepts::default());
        }
        self.settle();
    }
}

/// What of the hub a fan-out uses.
struct FanOut<'a> {
    members: &'a mut Slab<Box<Member>>,
    helpers: &'a mut Helpers,
    delivering: Delivering<'a>,
}

impl FanOut<'_> {
    /// Gives bursts to those of the members that receive this encoding, with
    /// the help of other threads where that is worth it.
    fn give(&mut self, places: &[u32], encoding: Encoding, list: &[Burst], excepts: &Excepts) {
        let places = self
            .helpers
            .lend(places, self.members, encoding, list, excepts);
        let mut seated = Seated {
            members: self.members,
            places,
        };
        self.delivering.give(&mut seated, encoding, list, excepts);
        let Delivering {
            totals, troubled, ..
        } = &mut self.delivering;
        self.helpers.take_back(self.members, totals, troubled);
    }
}

/// The members at some places of the hub's slab.
struct Seated<'a> {
    members: &'a mut Slab<Box<Member>>,
    places: &'a [u32],
}

impl Receivers for Seated<'_> {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn get(&mut self, index: usize) -> Option<(u32, &mut Member)> {
        let place = *self.places.get(index)?;
        Some((place, self.members.get_mut(place)?))
    }
}
