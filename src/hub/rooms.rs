//! Rooms: which members are in which, and what is pending for them.

use std::collections::HashMap;
use std::sync::Arc;

use super::history::History;
use super::interest::{Interest, Interested, Need};
use super::permit::Permit;
use super::presence::Presence;
use super::ring::{Remembers, Ring};
#[cfg(feature = "deflate")]
use super::shared_stream::{Streams, Stretch};
use super::slab::Slab;
use super::tap::Tap;
use crate::names::ClientId;
#[cfg(feature = "redis")]
use crate::names::NodeTag;
use crate::position::Epoch;
use crate::wire::Forms;
use crate::wire::{Burst, Encoding};

/// All rooms that have members or subscriptions, or remember something.
/// Belongs to the hub.
#[derive(Debug)]
pub(super) struct Rooms {
    names: HashMap<Arc<str>, u32>,
    rooms: Slab<Room>,
    /// How many rooms have members; the others have only subscriptions, or
    /// only remember something.
    inhabited: usize,
    pub(super) history: History,
    interest: Arc<Interest>,
    /// There if rooms have shared streams.
    #[cfg(feature = "deflate")]
    pub(super) streams: Option<Box<Streams>>,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Arc<str>,
    /// The places of its members in the hub's slab.
    pub(super) members: Vec<u32>,
    /// Those of them that are in several rooms and told which: they are given
    /// messages apart from the others, in one order over all their rooms.
    pub(super) roamers: Vec<u32>,
    /// What will be fanned out at the end of this pass.
    pub(super) pending: Pending,
    /// Subscriptions of your program.
    pub(super) taps: Vec<Tap>,
    /// How many members there are of each encoding.
    of_encoding: [usize; Encoding::ALL.len()],
    /// Held while members need more than plain frames, each for one need.
    interested: [Option<Interested>; Need::ALL.len()],
    /// What it remembers, if it does.
    pub(super) ring: Option<Box<Ring>>,
    /// Who is in it, where that is shown.
    presence: Option<Box<Presence>>,
}

impl Remembers for Room {
    fn ring(&self) -> Option<&Ring> {
        self.ring.as_deref()
    }

    fn ring_mut(&mut self) -> Option<&mut Ring> {
        self.ring.as_deref_mut()
    }
}

impl Room {
    /// Whether members receive messages in this encoding.
    pub(super) fn needs(&self, encoding: Encoding) -> bool {
        self.count_of(encoding) > 0
    }

    /// How many members receive messages in this encoding.
    pub(super) fn count_of(&self, encoding: Encoding) -> usize {
        self.of_encoding[encoding as usize]
    }

    /// How many clients are in it; where that is shown, of all nodes.
    pub(super) fn clients(&self) -> usize {
        #[cfg(feature = "redis")]
        if let Some(presence) = &self.presence {
            return self.members.len() + presence.elsewhere;
        }
        self.members.len()
    }

    #[cfg(feature = "redis")]
    pub(super) fn shows_presence(&self) -> bool {
        self.presence.is_some()
    }

    #[cfg(feature = "redis")]
    pub(super) fn presence(&self) -> Option<&Presence> {
        self.presence.as_deref()
    }

    /// The clients of this node that are shown in it.
    #[cfg(feature = "redis")]
    pub(super) fn shown_of(
        &self,
        node: Option<NodeTag>,
    ) -> impl Iterator<Item = (u64, Option<Box<str>>)> {
        let presence = self.presence.iter();
        presence.flat_map(move |presence| presence.shown_of(node))
    }

    /// Copies what is pending into the room's subscriptions.
    pub(super) fn give_to_taps(&mut self, messages: &[Forms], epoch: Epoch) {
        self.taps
            .retain(|tap| messages.iter().all(|forms| tap.give(&forms.frames, epoch)));
    }
}

/// Messages that wait for the end of the hub's pass.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) forms: Vec<Forms>,
    pub(super) excepts: Excepts,
    /// Held until the large bursts among them are fanned out.
    permits: Vec<Permit>,
}

impl Pending {
    pub(super) fn push(&mut self, forms: Forms, except: Option<ClientId>, permit: Option<Permit>) {
        if let Some(client) = except {
            self.excepts.0.push((self.forms.len(), client));
        }
        self.forms.push(forms);
        self.permits.extend(permit);
    }

    pub(super) fn clear(&mut self) {
        self.forms.clear();
        self.excepts.0.clear();
        self.permits.clear();
    }
}

/// Who does not receive which of some bursts (by its index).
#[derive(Debug, Default)]
pub(super) struct Excepts(Vec<(usize, ClientId)>);

impl Excepts {
    /// Becomes the same as another.
    pub(super) fn copy(&mut self, other: &Excepts) {
        self.0.clear();
        self.0.extend_from_slice(&other.0);
    }

    pub(super) fn is_from_any(&self, client: ClientId) -> bool {
        self.0.iter().any(|(_, id)| *id == client)
    }

    /// What of these bursts the client receives.
    pub(super) fn bursts_for(&self, client: ClientId, all: &[Burst]) -> Vec<Burst> {
        let excepted = |index| self.0.contains(&(index, client));
        let kept = all.iter().enumerate();
        kept.filter(|(index, _)| !excepted(*index))
            .map(|(_, burst)| burst.clone())
            .collect()
    }
}

/// A member's place in a room: where the room is, and the member in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) room: u32,
    /// The index in [`Room::members`], so that leaving needs no search.
    pub(super) index: u32,
}

impl Rooms {
    pub(super) fn new(interest: Arc<Interest>, history: History) -> Rooms {
        Rooms {
            names: HashMap::new(),
            rooms: Slab::new(),
            inhabited: 0,
            history,
            interest,
            #[cfg(feature = "deflate")]
            streams: None,
        }
    }

    /// Gives rooms shared streams.
    #[cfg(feature = "deflate")]
    pub(super) fn with_streams(self, streams: Streams) -> Rooms {
        Rooms {
            streams: Some(Box::new(streams)),
            ..self
        }
    }

    /// Messages of a room as a part of its shared stream, if it has one.
    #[cfg(feature = "deflate")]
    pub(super) fn stretch(&mut self, room: u32, messages: &[Forms]) -> Option<Stretch> {
        let streams = self.streams.as_mut()?;
        let members = self.rooms.get(room)?.count_of(Encoding::DeflatedShared);
        match members {
            0 => None,
            _ => streams.stretch(room, members, messages),
        }
    }

    /// Puts a member into a room, which is made if it is not there.
    pub(super) fn enter(&mut self, name: &Arc<str>, member: u32, encoding: Encoding) -> Seat {
        let room = self.find_or_make(name);
        let mut index = 0;
        if let Some(room) = self.rooms.get_mut(room) {
            index = room.members.len() as u32;
            room.members.push(member);
            if encoding.names_rooms() {
                room.roamers.push(member);
            }
            room.of_encoding[encoding as usize] += 1;
            if let Some(need) = Need::of(encoding) {
                room.interested[need as usize].get_or_insert_with(|| self.interest.add(need, name));
            }
            self.inhabited += usize::from(index == 0);
        }
        Seat { room, index }
    }

    fn find_or_make(&mut self, name: &Arc<str>) -> u32 {
        if let Some(room) = self.names.get(name) {
            return *room;
        }
        let room = self.rooms.insert(Room {
            name: name.clone(),
            members: Vec::new(),
            roamers: Vec::new(),
            pending: Pending::default(),
            taps: Vec::new(),
            of_encoding: Default::default(),
            interested: Default::default(),
            ring: self.history.ring_for(name),
            presence: self.history.shows_presence(name).then(Box::default),
        });
        self.names.insert(name.clone(), room);
        room
    }

    /// Adds a subscription to a room, which is made if it is not there.
    pub(super) fn tap(&mut self, name: &Arc<str>, tap: Tap) {
        self.forget_taps();
        let room = self.find_or_make(name);
        if let Some(room) = self.rooms.get_mut(room) {
            room.taps.push(tap);
        }
    }

    /// Takes a member out of a room; an empty room is forgotten. Returns the
    /// member that was moved to its index, whose seat must be corrected.
    pub(super) fn exit(&mut self, seat: Seat, encoding: Encoding) -> Option<u32> {
        let room = self.rooms.get_mut(seat.room)?;
        let index = seat.index as usize;
        let member = room.members.swap_remove(index);
        if encoding.names_rooms() {
            room.roamers.retain(|roamer| *roamer != member);
        }
        let moved = room.members.get(index).copied();
        room.of_encoding[encoding as usize] -= 1;
        if let Some(need) = Need::of(encoding) {
            let needed = |other: &Encoding| Need::of(*other) == Some(need) && room.needs(*other);
            if !Encoding::ALL.iter().any(needed) {
                room.interested[need as usize] = None;
            }
        }
        self.inhabited -= usize::from(room.members.is_empty());
        #[cfg(feature = "deflate")]
        if encoding == Encoding::DeflatedShared && !room.needs(encoding) {
            self.streams.iter_mut().for_each(|s| s.end(seat.room));
        }
        self.forget_if_empty(seat.room);
        moved
    }

    /// Copies messages for everybody into the subscriptions of all rooms.
    pub(super) fn give_to_all_taps(&mut self, forms: &Forms, epoch: Epoch) {
        let tapped = self.rooms.iter().filter(|(_, room)| !room.taps.is_empty());
        let tapped: Vec<u32> = tapped.map(|(place, _)| place).collect();
        for place in tapped {
            if let Some(room) = self.rooms.get_mut(place) {
                room.give_to_taps(std::slice::from_ref(forms), epoch);
            }
            self.forget_if_empty(place);
        }
    }

    /// Forgets a room that nobody is in or listens to, and that remembers
    /// nothing.
    pub(super) fn forget_if_empty(&mut self, room: u32) {
        let is_empty = |room: &Room| {
            let remembers = room.ring.as_ref().is_some_and(|ring| !ring.is_empty());
            let is_shown = room.presence.as_ref().is_some_and(|p| !p.is_idle());
            room.members.is_empty() && room.taps.is_empty() && !remembers && !is_shown
        };
        if self.rooms.get(room).is_some_and(is_empty)
            && let Some(room) = self.rooms.remove(room)
        {
            self.names.remove(&room.name);
            if let Some(ring) = &room.ring {
                self.history.forget(ring);
            }
        }
    }

    /// Forgets the subscriptions that were dropped, and rooms that had nothing
    /// else. Dropping a subscription notifies nobody; dead ones are swept when
    /// the next is added.
    fn forget_taps(&mut self) {
        let tapped = self.rooms.iter().filter(|(_, room)| !room.taps.is_empty());
        let tapped: Vec<u32> = tapped.map(|(place, _)| place).collect();
        for place in tapped {
            if let Some(room) = self.rooms.get_mut(place) {
                room.taps.retain(Tap::is_heard);
            }
            self.forget_if_empty(place);
        }
    }

    /// The room that a message is for, unless nobody would get it and
    /// nothing would remember it.
    pub(super) fn find_for_message(&mut self, name: &Arc<str>) -> Option<u32> {
        match self.find(name) {
            None if self.history.remembers(name) => Some(self.find_or_make(name)),
            found => found,
        }
    }

    /// The room of that name, which is made if it is not there.
    pub(super) fn known(&mut self, name: &Arc<str>) -> u32 {
        self.find_or_make(name)
    }

    /// Who is in a room, where that is shown.
    pub(super) fn presence_mut(&mut self, room: u32) -> Option<&mut Presence> {
        self.rooms.get_mut(room)?.presence.as_deref_mut()
    }

    /// Remembers messages of a room.
    pub(super) fn remember(&mut self, room: u32, burst: &Burst, except: Option<ClientId>) {
        self.history.remember(&mut self.rooms, room, burst, except);
    }

    /// Remembers messages to everybody.
    pub(super) fn remember_for_all(&mut self, burst: &Burst, except: Option<ClientId>) {
        self.history
            .remember_for_all(&mut self.rooms, burst, except);
    }

    /// Forgets what has become too old of a room that is asked.
    pub(super) fn refresh(&mut self, room: u32) {
        self.history.refresh(&mut self.rooms, room);
    }

    /// Forgets what has become too old, and rooms that had nothing else.
    pub(super) fn forget_old(&mut self) {
        for room in self.history.look(&mut self.rooms) {
            self.forget_if_empty(room);
        }
    }

    /// How many places for rooms there are, the free ones included.
    #[cfg(feature = "redis")]
    pub(super) fn places(&self) -> u32 {
        self.rooms.places()
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(super) fn get(&self, room: u32) -> Option<&Room> {
        self.rooms.get(room)
    }

    pub(super) fn get_mut(&mut self, room: u32) -> Option<&mut Room> {
        self.rooms.get_mut(room)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, room)| room)
    }

    /// How many rooms have members.
    pub(super) fn inhabited(&self) -> usize {
        self.inhabited
    }
}
