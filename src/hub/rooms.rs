//! Rooms: which members are in which, and what is to be fanned out to them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hub::permit::Permit;
use crate::hub::slab::Slab;
use crate::hub::tap::Tap;
use crate::names::ClientId;
use crate::wire::burst::Burst;

/// All rooms with at least one member. Belongs to the hub.
#[derive(Debug)]
pub(crate) struct Rooms {
    names: HashMap<Arc<str>, u32>,
    rooms: Slab<Room>,
    /// How many of them have members; the others have subscriptions only.
    inhabited: usize,
}

/// One room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: Arc<str>,
    /// The places of its members in the hub's slab.
    pub(crate) members: Vec<u32>,
    /// What is to be fanned out at the end of this pass.
    pub(crate) pending: Pending,
    /// Subscriptions of the program itself.
    pub(crate) taps: Vec<Tap>,
}

impl Room {
    /// Copies what is pending into the room's subscriptions.
    pub(crate) fn give_to_taps(&mut self, bursts: &[Burst]) {
        self.taps
            .retain(|tap| bursts.iter().all(|burst| tap.give(burst)));
    }
}

/// Bursts that wait for the end of the hub's pass.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) bursts: Vec<Burst>,
    /// Who does not receive which of them (by its index).
    pub(crate) excepts: Vec<(usize, ClientId)>,
    /// Held until the large bursts among them are fanned out.
    permits: Vec<Permit>,
}

impl Pending {
    pub(crate) fn push(&mut self, burst: Burst, except: Option<ClientId>, permit: Option<Permit>) {
        if let Some(client) = except {
            self.excepts.push((self.bursts.len(), client));
        }
        self.bursts.push(burst);
        self.permits.extend(permit);
    }

    pub(crate) fn clear(&mut self) {
        self.bursts.clear();
        self.excepts.clear();
        self.permits.clear();
    }

    pub(crate) fn is_excepted_from_any(&self, client: ClientId) -> bool {
        self.excepts.iter().any(|(_, id)| *id == client)
    }

    /// What of this the client receives.
    pub(crate) fn bursts_for(&self, client: ClientId) -> Vec<Burst> {
        let excepted = |index| self.excepts.contains(&(index, client));
        let kept = self.bursts.iter().enumerate();
        kept.filter(|(index, _)| !excepted(*index))
            .map(|(_, burst)| burst.clone())
            .collect()
    }
}

/// That a member is in a room: where the room is, and the member in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    pub(crate) room: u32,
    /// The index in [`Room::members`], so that leaving needs no search.
    pub(crate) index: u32,
}

impl Rooms {
    pub(crate) fn new() -> Rooms {
        Rooms {
            names: HashMap::new(),
            rooms: Slab::new(),
            inhabited: 0,
        }
    }

    /// Puts a member into a room, which is made if it is not there.
    pub(crate) fn enter(&mut self, name: &Arc<str>, member: u32) -> Membership {
        let room = self.find_or_make(name);
        let mut index = 0;
        if let Some(room) = self.rooms.get_mut(room) {
            index = room.members.len() as u32;
            room.members.push(member);
            self.inhabited += usize::from(index == 0);
        }
        Membership { room, index }
    }

    fn find_or_make(&mut self, name: &Arc<str>) -> u32 {
        if let Some(room) = self.names.get(name) {
            return *room;
        }
        let room = self.rooms.insert(Room {
            name: name.clone(),
            members: Vec::new(),
            pending: Pending::default(),
            taps: Vec::new(),
        });
        self.names.insert(name.clone(), room);
        room
    }

    /// Adds a subscription to a room, which is made if it is not there.
    pub(crate) fn tap(&mut self, name: &Arc<str>, tap: Tap) {
        self.forget_taps();
        let room = self.find_or_make(name);
        if let Some(room) = self.rooms.get_mut(room) {
            room.taps.push(tap);
        }
    }

    /// Takes a member out of a room; an empty room is forgotten. Returns the
    /// member that took its index, which must be told.
    pub(crate) fn exit(&mut self, membership: Membership) -> Option<u32> {
        let room = self.rooms.get_mut(membership.room)?;
        let index = membership.index as usize;
        room.members.swap_remove(index);
        let moved = room.members.get(index).copied();
        self.inhabited -= usize::from(room.members.is_empty());
        self.forget_if_empty(membership.room);
        moved
    }

    /// Copies a burst for everybody into the subscriptions of all rooms.
    pub(crate) fn give_to_all_taps(&mut self, burst: &Burst) {
        let tapped = self.rooms.iter().filter(|(_, room)| !room.taps.is_empty());
        let tapped: Vec<u32> = tapped.map(|(place, _)| place).collect();
        for place in tapped {
            if let Some(room) = self.rooms.get_mut(place) {
                room.give_to_taps(std::slice::from_ref(burst));
            }
            self.forget_if_empty(place);
        }
    }

    /// Forgets a room that nobody is in or listens to.
    pub(crate) fn forget_if_empty(&mut self, room: u32) {
        let is_empty = |room: &Room| room.members.is_empty() && room.taps.is_empty();
        if self.rooms.get(room).is_some_and(is_empty)
            && let Some(room) = self.rooms.remove(room)
        {
            self.names.remove(&room.name);
        }
    }

    /// Forgets the subscriptions that were dropped, and rooms that had nothing
    /// else. Nobody says so when one is dropped, so it is seen to when the
    /// next one comes.
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

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(crate) fn get(&self, room: u32) -> Option<&Room> {
        self.rooms.get(room)
    }

    pub(crate) fn get_mut(&mut self, room: u32) -> Option<&mut Room> {
        self.rooms.get_mut(room)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, room)| room)
    }

    /// How many rooms have members.
    pub(crate) fn inhabited(&self) -> usize {
        self.inhabited
    }
}
