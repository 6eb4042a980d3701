//! Clients that follow who is in a room, and are told of each change; and
//! operators, who follow what happens on the server.

use std::sync::Arc;
use std::time::Instant;

use super::Hub;
#[cfg(feature = "redis")]
use super::info::Attendees;
use super::info::Here;
use super::presence::{Notice, Watch};
use crate::close::Cause;
use crate::names::ClientId;
use crate::wire::{Burst, BurstBuilder, Forms, sse};

impl Hub {
    /// Begins to tell a client who is in a room: everybody, and then each
    /// change.
    pub(super) fn watch(&mut self, place: u32, name: &Arc<str>, watch: Watch) {
        if watch == Watch::News {
            return self.follow_news(place);
        }
        let at = self.log.position(self.log.head());
        let room = self.rooms.known(name);
        // What has changed before it came, it has from the list of everybody.
        self.tell_changes(room);
        let Some(presence) = self.rooms.presence_mut(room) else {
            return;
        };
        presence.watchers.push((place, watch));
        let everybody = presence.everybody(at, watch);
        self.give_to(&[place], forms(&everybody));
    }

    /// Begins to tell a client what happens.
    fn follow_news(&mut self, place: u32) {
        // What has happened before it came is not for it.
        self.spread_news();
        let (clients, rooms) = (self.counters.clients.get(), self.rooms.inhabited());
        self.news.begin(place, clients, rooms);
    }

    /// Gives what has happened in this pass to those who follow it.
    pub(super) fn spread_news(&mut self) {
        if let Some((forms, readers)) = self.news.take() {
            self.give_to(&readers, forms);
        }
    }

    /// A client follows a room, or what happens, no more.
    pub(super) fn unwatch(&mut self, place: u32, name: &Arc<str>) {
        self.news.forget_reader(place);
        let Some(room) = self.rooms.find(name) else {
            return;
        };
        if let Some(presence) = self.rooms.presence_mut(room) {
            presence.watchers.retain(|(watcher, _)| *watcher != place);
        }
        self.rooms.forget_if_empty(room);
    }

    /// A client has entered a room.
    pub(super) fn appear(&mut self, room: u32, id: ClientId, name: Option<&str>) {
        if let Some(presence) = self.rooms.presence_mut(room) {
            presence.enter(id, name);
            self.changed.push(room);
        }
    }

    /// A client leaves a room, which still is there.
    pub(super) fn disappear(&mut self, room: u32, id: ClientId, cause: Option<&Cause>) {
        let why = match cause {
            None => "closed",
            Some(cause) if cause.is_normal() => "closed",
            Some(_) => "lost",
        };
        let until = (!self.presence_grace.is_zero()).then(|| Instant::now() + self.presence_grace);
        let Some(presence) = self.rooms.presence_mut(room) else {
            return;
        };
        if presence.exit(id, why, until) {
            let name = self.rooms.get(room).map(|room| room.name.clone());
            self.graces.extend(until.zip(name));
        } else {
            self.changed.push(room);
        }
    }

    /// Tells those who follow what has changed in this pass, and lets those
    /// leave who have not come back.
    pub(super) fn tell_presence(&mut self) {
        let now = Instant::now();
        while self.graces.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, name)) = self.graces.pop_front() else {
                break;
            };
            if let Some(room) = self.rooms.find(&name)
                && let Some(presence) = self.rooms.presence_mut(room)
            {
                presence.expire(now);
                self.changed.push(room);
            }
        }
        for room in std::mem::take(&mut self.changed) {
            self.tell_changes(room);
            self.rooms.forget_if_empty(room);
        }
        #[cfg(feature = "redis")]
        self.announce_changes();
    }

    fn tell_changes(&mut self, room: u32) {
        let at = self.log.position(self.log.head());
        #[cfg(feature = "redis")]
        let name = self.rooms.get(room).map(|room| room.name.clone());
        let Some(presence) = self.rooms.presence_mut(room).filter(|p| p.has_changed()) else {
            return;
        };
        #[cfg(feature = "redis")]
        if let Some(name) = &name {
            self.others.note(name, presence);
        }
        let mut told = Vec::new();
        for watch in [Watch::Some, Watch::All] {
            let watchers = presence.watchers.iter().filter(|(_, how)| *how == watch);
            let places: Vec<u32> = watchers.map(|(place, _)| *place).collect();
            if !places.is_empty() {
                told.push((places, forms(&presence.changes(at, watch))));
            }
        }
        presence.told();
        for (places, forms) in told {
            self.give_to(&places, forms);
        }
    }

    /// Who is in a room, as it is shown.
    pub(super) fn here(&mut self, name: &str) -> Here {
        let room = self.rooms.find(name);
        let presence = room.and_then(|room| self.rooms.presence_mut(room));
        let present = presence.map(|presence| presence.present());
        Here {
            clients: self.count(name),
            position: self.log.position(self.log.head()),
            present: present.unwrap_or_default(),
        }
    }

    /// The rooms that show who is in them, each with its members.
    #[cfg(feature = "redis")]
    pub(super) fn everyone(&self) -> Vec<Attendees> {
        let rooms = self.rooms.iter().filter_map(|room| {
            Some(Attendees {
                room: room.name.clone(),
                present: room.presence()?.present(),
            })
        });
        rooms.filter(|room| !room.present.is_empty()).collect()
    }
}

/// A notice for both kinds of clients.
fn forms(notice: &Notice) -> Forms {
    let mut builder = BurstBuilder::default();
    builder.text(notice.text(), false);
    let frames: Burst = builder.take();
    Forms {
        events: Some(sse::named(notice.events())),
        ..Forms::from(frames)
    }
}
