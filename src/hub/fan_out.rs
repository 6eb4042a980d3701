//! Publishing: messages are gathered for a pass, then given to each member.

use std::time::Instant;

use super::Hub;
use super::command::{Audience, Receipt};
use super::giving::{Delivering, Given, Receivers};
use super::helpers::Helpers;
use super::member::Member;
use super::permit::Permit;
use super::reply::Reply;
use super::rooms::{Excepts, Pending};
use super::slab::Slab;
use crate::names::ClientId;
use crate::outbox::{MAX_BURSTS, Outcome};
use crate::position::Offset;
use crate::wire::{Encoding, Forms};

impl Hub {
    /// Gives messages their places in the log, and tells who waits for it.
    pub(super) fn publish(
        &mut self,
        to: &Audience,
        mut forms: Forms,
        permit: Option<Permit>,
        receipt: Option<Reply<Receipt>>,
    ) {
        self.counters
            .broadcasts
            .add(u64::from(forms.frames.messages));
        if to.is_in_the_log() {
            self.log.place(&mut forms.frames);
            self.look_for_ahead();
        }
        if let Some(receipt) = receipt {
            receipt.give(self.receipt(to));
        }
        self.deliver(to, forms, permit);
    }

    pub(super) fn receipt(&self, to: &Audience) -> Receipt {
        let clients = match to {
            Audience::Room { room, .. } => self.count(room),
            _ => 0,
        };
        Receipt {
            position: self.log.position(self.log.head()),
            clients,
        }
    }

    /// Gathers messages for a room, or gives them to their audience now.
    pub(super) fn deliver(&mut self, to: &Audience, forms: Forms, permit: Option<Permit>) {
        if let Audience::Room { room, except } = to {
            if let Some(room) = self.rooms.find_for_message(room) {
                self.gather(room, forms, *except, permit);
            }
            return;
        }
        // Earlier messages go out first. That may end a client.
        self.flush();
        if let Audience::Everybody { except } = to {
            self.rooms.give_to_all_taps(&forms, self.log.epoch());
            self.rooms.remember_for_all(&forms.frames, *except);
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
        let place = self.place_of(id)?;
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
        self.rooms.remember(room, &forms.frames, except);
        let Some(found) = self.rooms.get_mut(room) else {
            return;
        };
        if found.members.is_empty() && found.taps.is_empty() {
            // It was only remembered, or not even that.
            self.rooms.forget_if_empty(room);
            return;
        }
        if !found.roamers.is_empty() {
            keep_for_roamers(&mut self.roaming, room, &forms, except);
        }
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
        self.give_to_roamers();
        self.counters.fanned_out(start.elapsed());
    }

    /// Gives what was gathered for a room to each of its members.
    fn fan_out(&mut self, place: u32) {
        let Some(room) = self.rooms.get_mut(place) else {
            return;
        };
        let mut pending = std::mem::take(&mut room.pending);
        if !room.taps.is_empty() {
            room.give_to_taps(&pending.forms, self.log.epoch());
        }
        self.give(place, &mut pending, false);
        self.rooms.forget_if_empty(place);
        pending.clear();
        self.spare = pending;
        self.settle();
    }

    /// Gives the members that are in several rooms what came for these, in one
    /// order over all rooms, after everybody else has it.
    fn give_to_roamers(&mut self) {
        for (place, mut pending) in std::mem::take(&mut self.roaming) {
            self.give(place, &mut pending, true);
            self.settle();
        }
    }

    /// Gives messages of a room to its members: to those that are in several
    /// rooms, or to all others.
    fn give(&mut self, place: u32, pending: &mut Pending, to_roamers: bool) {
        #[cfg(feature = "deflate")]
        let stretch = match to_roamers {
            true => None,
            false => self.rooms.stretch(place, &pending.forms),
        };
        let Some(room) = self.rooms.get(place) else {
            return;
        };
        let (receivers, name) = match to_roamers {
            true => (&room.roamers, Some(&*room.name)),
            false => (&room.members, None),
        };
        let needed = |kind: &Encoding| kind.names_rooms() == to_roamers && room.needs(*kind);
        for encoding in Encoding::ALL.into_iter().filter(needed) {
            let list = &mut self.encoded;
            let epoch = self.log.epoch();
            let bursts = pending.forms.iter_mut();
            list.extend(bursts.map(|forms| forms.take(encoding, epoch, name)));
            let mut fan_out = FanOut {
                members: &mut self.members,
                helpers: &mut self.helpers,
                delivering: Delivering {
                    totals: &mut self.totals,
                    troubled: &mut self.troubled,
                    joined: &mut self.joined,
                },
            };
            let given = Given {
                encoding,
                list,
                excepts: &pending.excepts,
                #[cfg(feature = "deflate")]
                stretch: stretch.as_ref(),
            };
            fan_out.give(receivers, given);
            if room.ring.is_none() && self.counters.members_behind.get() > 0 {
                fan_out.hold(self.log.head(), receivers, given);
            }
            list.clear();
        }
        #[cfg(feature = "deflate")]
        if stretch.is_some() {
            let waiting = std::mem::take(&mut self.totals.waiting);
            let streams = self.rooms.streams.iter_mut();
            streams.for_each(|streams| streams.wait_for_key(place, waiting > 0));
        }
    }

    /// Gives messages to single members.
    pub(super) fn give_to(&mut self, places: &[u32], mut forms: Forms) {
        let is_in_the_log = forms.frames.offset(0) != Offset::NONE;
        let is_remembered = is_in_the_log && self.rooms.history.is_on();
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
            let list = [forms.take(encoding, self.log.epoch(), None)];
            let nobody = Excepts::default();
            let given = Given {
                encoding,
                list: &list,
                excepts: &nobody,
                #[cfg(feature = "deflate")]
                stretch: None,
            };
            fan_out.give(places, given);
            if !is_remembered && self.counters.members_behind.get() > 0 {
                fan_out.hold(self.log.head(), places, given);
            }
        }
        self.settle();
    }
}

/// Keeps messages of a room for its members that are in several rooms: together
/// with those before, if these are of the same room.
fn keep_for_roamers(
    roaming: &mut Vec<(u32, Pending)>,
    room: u32,
    forms: &Forms,
    except: Option<ClientId>,
) {
    match roaming.last_mut() {
        Some((last, pending)) if *last == room && pending.forms.len() < MAX_BURSTS => {
            pending.push(forms.clone(), except, None);
        }
        _ => {
            let mut pending = Pending::default();
            pending.push(forms.clone(), except, None);
            roaming.push((room, pending));
        }
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
    fn give(&mut self, places: &[u32], given: Given<'_>) {
        let places = self.helpers.lend(places, self.members, given);
        let mut seated = Seated {
            members: self.members,
            places,
        };
        self.delivering.give(&mut seated, given);
        let Delivering {
            totals, troubled, ..
        } = &mut self.delivering;
        self.helpers.take_back(self.members, totals, troubled);
    }
}

impl FanOut<'_> {
    /// Keeps what no room remembers for those of the members that are behind
    /// and receive this encoding; what is remembered they get in its turn.
    fn hold(&mut self, head: Offset, places: &[u32], given: Given<'_>) {
        for &place in places {
            let Some(member) = self.members.get_mut(place) else {
                continue;
            };
            if member.behind.is_some() && member.encoding == given.encoding {
                let bursts = given.excepts.bursts_for(member.id, given.list);
                let outcome = member.hold(head, bursts);
                if outcome != Outcome::Done {
                    self.delivering.troubled.push((place, outcome));
                }
            }
        }
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
