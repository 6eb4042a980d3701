//! What happens on the server, for operators who follow it: clients that come
//! and go, rooms that open and empty, messages that are dropped.

use std::time::{Duration, Instant};

use super::departed::{Who, millis_since_1970};
use super::member::Member;
use crate::wire::json::{self, Object};
use crate::wire::{BurstBuilder, Forms, sse};

/// Drops are told once in this time.
const DROPS: Duration = Duration::from_secs(1);

/// What happens, while somebody follows it.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The places of those who follow.
    readers: Vec<u32>,
    /// How many items there were. Each says its number, so that whoever has
    /// missed some sees it.
    told: u64,
    /// The items of this pass.
    items: Vec<String>,
    /// Dropped messages that were not told yet.
    dropped: u64,
    drops_told: Option<Instant>,
}

impl News {
    pub(super) fn is_followed(&self) -> bool {
        !self.readers.is_empty()
    }

    pub(super) fn forget_reader(&mut self, place: u32) {
        self.readers.retain(|reader| *reader != place);
    }

    /// When drops are told that were not yet.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let told = self
            .drops_told
            .filter(|_| self.dropped > 0 && self.is_followed());
        told.map(|at| at + DROPS)
    }

    /// Tells that something has happened, if anybody follows.
    pub(super) fn tell(&mut self, what: &str, members: impl FnOnce(&mut Object<'_>)) {
        if !self.is_followed() {
            return;
        }
        self.told += 1;
        let mut item = String::new();
        json::object(&mut item, |object| {
            object
                .plain("n", self.told)
                .plain("at", millis_since_1970())
                .string("event", what);
            members(object);
        });
        self.items.push(item);
    }

    pub(super) fn tell_of_room(&mut self, what: &str, room: &str) {
        self.tell(what, |object| {
            object.string("room", room);
        });
    }

    pub(super) fn joined(&mut self, member: &Member) {
        self.tell("joined", |object| Who::of(&member.client).write(object));
    }

    /// Messages were dropped in this pass.
    pub(super) fn dropped(&mut self, messages: u64) {
        if !self.is_followed() {
            return;
        }
        self.dropped += messages;
        let now = Instant::now();
        let is_due = self.drops_told.is_none_or(|at| at + DROPS <= now);
        if self.dropped > 0 && is_due {
            let messages = std::mem::take(&mut self.dropped);
            self.drops_told = Some(now);
            self.tell("dropped", |object| {
                object.plain("messages", messages);
            });
        }
    }

    /// Begins to tell a client.
    pub(super) fn begin(&mut self, place: u32, clients: u64, rooms: usize) {
        self.readers.push(place);
        self.tell("following", |object| {
            object.plain("clients", clients).plain("rooms", rooms);
        });
    }

    /// What has happened in this pass, and the places of those who follow.
    pub(super) fn take(&mut self) -> Option<(Forms, Vec<u32>)> {
        if self.items.is_empty() {
            return None;
        }
        let mut builder = BurstBuilder::default();
        for item in self.items.drain(..) {
            builder.text(item, false);
        }
        let frames = builder.take();
        let forms = Forms {
            events: Some(sse::encode(&frames)),
            ..Forms::from(frames)
        };
        Some((forms, self.readers.clone()))
    }
}
