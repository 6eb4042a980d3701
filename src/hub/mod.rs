//! The hub thread: it owns the rooms and the members, and fans out.
//!
//! The hub takes commands from its inbox, as many as wait up to a bound, and
//! fans out what they published at the end of each such pass, so that a
//! burst becomes one send per client. It never waits for a client, runs no
//! code of the program it is embedded in, and logs nothing: it waits only
//! for its inbox and for its next deadline.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::close::Cause;
use crate::config::{Config, SlowConsumer};
use crate::hub::client_state::ClientState;
use crate::hub::inbox::Commands;
use crate::hub::rooms::{Membership, Pending, Rooms};
use crate::hub::slab::Slab;
use crate::names::ClientId;
use crate::outbox::{Outbox, Pushed};
use crate::stats::Counters;
use crate::wire::burst::Encoding;

pub(crate) mod client_state;
mod command;
mod ending;
mod fan_out;
pub(crate) mod inbox;
pub(crate) mod info;
mod member;
pub(crate) mod permit;
pub(crate) mod publisher;
mod queries;
pub(crate) mod rooms;
pub(crate) mod slab;
pub(crate) mod tap;

pub(crate) use command::{Audience, Command};

use member::{Member, Totals};

/// The most commands of one pass.
const PASS: usize = 256;

/// The hub's state. Only the hub thread touches it.
#[derive(Debug)]
pub(crate) struct Hub {
    members: Slab<Member>,
    places: HashMap<ClientId, u32>,
    rooms: Rooms,
    /// The rooms with something to fan out, in the order it came.
    dirty: Vec<u32>,
    /// When to abort the connections whose Close is under way. They all get
    /// the same time, so the first is always the next.
    deadlines: VecDeque<(Instant, ClientId)>,
    /// How many members are in more than one room.
    in_many_rooms: usize,
    totals: Totals,
    stopping: bool,
    close_timeout: Duration,
    queue_total: usize,
    slow_consumer: SlowConsumer,
    counters: Arc<Counters>,
    // Working space, kept so that a fan-out allocates nothing.
    joined: Vec<u8>,
    followers: Vec<u32>,
    troubled: Vec<(u32, Pushed)>,
    spare: Pending,
}

impl Hub {
    pub(crate) fn new(config: &Config, counters: Arc<Counters>) -> Hub {
        Hub {
            members: Slab::new(),
            places: HashMap::new(),
            rooms: Rooms::new(),
            dirty: Vec::new(),
            deadlines: VecDeque::new(),
            in_many_rooms: 0,
            totals: Totals::default(),
            stopping: false,
            close_timeout: config.close_timeout,
            queue_total: config.queue_total,
            slow_consumer: config.slow_consumer,
            counters,
            joined: Vec::new(),
            followers: Vec::new(),
            troubled: Vec::new(),
            spare: Pending::default(),
        }
    }

    /// Runs on the hub thread until it is told to end.
    pub(crate) fn run(mut self, commands: &Commands) {
        let inbox = &commands.receiver;
        loop {
            let first = match self.deadlines.front() {
                None => inbox.recv().map_err(RecvTimeoutError::from),
                Some((at, _)) => inbox.recv_deadline(*at),
            };
            let mut next = match first {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut taken = 0;
            while let Some(command) = next {
                if matches!(command, Command::End) {
                    return;
                }
                self.apply(command);
                taken += 1;
                next = (taken < PASS).then(|| inbox.try_recv().ok()).flatten();
            }
            self.end_pass();
        }
    }

    /// Fans out what the pass has gathered and does what is due.
    pub(crate) fn end_pass(&mut self) {
        self.flush();
        self.relieve();
        self.abort_overdue();
        let totals = std::mem::take(&mut self.totals);
        self.totals.backlog = totals.backlog;
        let counters = &self.counters;
        counters.queue_bytes.set(totals.backlog as u64);
        counters.rooms.set(self.rooms.inhabited() as u64);
        counters.dropped.add(totals.dropped);
        counters.deliveries.add(totals.deliveries);
        counters.sent_bytes.add(totals.bytes);
    }

    /// Carries out one command. Messages to rooms are only gathered; every
    /// command that could change who receives them, or that must not
    /// overtake them, has them fanned out first.
    pub(crate) fn apply(&mut self, command: Command) {
        match command {
            Command::Publish { to, burst, permit } => self.publish(&to, burst, permit),
            Command::Ping { id, frame } => self.on_outbox(id, |outbox| outbox.ping(frame)),
            Command::Pong { id, all, newest } => {
                self.on_outbox(id, |outbox| outbox.pong(all, newest));
            }
            Command::Written { id, result } => match result {
                Ok(()) => self.on_outbox(id, Outbox::written),
                Err(cause) => self.on_outbox(id, |_| Pushed::Failed(cause)),
            },
            Command::Clients { room, reply } => {
                // The asker has gone away if there is no place for the reply.
                let _ = reply.try_send(self.client_infos(room.as_deref()));
            }
            Command::Members { room, reply } => {
                let _ = reply.try_send(self.member_states(&room));
            }
            Command::Rooms { reply } => {
                let _ = reply.try_send(self.room_infos());
            }
            Command::Count { room, reply } => {
                let room = self.rooms.find(&room).and_then(|room| self.rooms.get(room));
                let _ = reply.try_send(room.map_or(0, |room| room.members.len()));
            }
            command => {
                self.flush();
                self.change(command);
            }
        }
    }

    /// Carries out a command that changes who is a member of what.
    fn change(&mut self, command: Command) {
        match command {
            Command::Join {
                client,
                outbox,
                encoding,
            } => self.join(client, *outbox, encoding),
            Command::Tap { room, tap } => self.rooms.tap(&room, tap),
            Command::Leave { id } => self.leave(id),
            Command::Enter { id, room } => self.enter(id, &room),
            Command::Exit { id, room } => self.exit(id, &room),
            Command::PeerClosed { id, reply } => {
                self.close(id, reply, Cause::ClosedByPeer, true);
            }
            Command::Close {
                id,
                frame,
                cause,
                finish,
            } => self.close(id, frame, cause, finish),
            Command::Shutdown => {
                self.stopping = true;
                let ids: Vec<ClientId> = self.places.keys().copied().collect();
                ids.into_iter().for_each(|id| self.close_for_shutdown(id));
            }
            Command::EndClosed => {
                let members = self.members.iter().map(|(_, member)| &member.outbox);
                let closed = members.filter(|outbox| outbox.is_closed());
                closed.for_each(Outbox::end);
            }
            Command::Abort => self.members.iter().for_each(|(_, m)| m.outbox.abort()),
            // The rest does not come here: see `apply` and `run`.
            _ => {}
        }
    }

    fn join(&mut self, client: Arc<ClientState>, outbox: Outbox, encoding: Encoding) {
        let (id, room) = (client.id, client.room.clone());
        let place = self.members.insert(Member {
            outbox,
            id,
            encoding,
            ending: false,
            client,
            rooms: Vec::with_capacity(1),
            sent_messages: 0,
            sent_bytes: 0,
        });
        self.places.insert(id, place);
        self.enter(id, &room);
        if self.stopping {
            self.close_for_shutdown(id);
        }
    }

    fn leave(&mut self, id: ClientId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        self.leave_rooms(place);
        // What still waits for it is lost with it, and counted.
        self.discard(place);
        if let Some(member) = self.members.remove(place) {
            self.totals.backlog -= member.outbox.backlog_bytes();
        }
    }

    fn enter(&mut self, id: ClientId, name: &Arc<str>) {
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        let found = self.rooms.find(name);
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let is_in = member.rooms.iter().any(|m| Some(m.room) == found);
        if member.ending || is_in {
            return;
        }
        member.rooms.push(self.rooms.enter(name, place));
        if member.rooms.len() == 2 {
            self.in_many_rooms += 1;
        }
    }

    fn exit(&mut self, id: ClientId, name: &str) {
        let (Some(&place), Some(room)) = (self.places.get(&id), self.rooms.find(name)) else {
            return;
        };
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let Some(at) = member.rooms.iter().position(|m| m.room == room) else {
            return;
        };
        let membership = member.rooms.remove(at);
        if member.rooms.len() == 1 {
            self.in_many_rooms -= 1;
        }
        self.vacate(membership);
    }

    fn leave_rooms(&mut self, place: u32) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let memberships = std::mem::take(&mut member.rooms);
        if memberships.len() > 1 {
            self.in_many_rooms -= 1;
        }
        memberships.into_iter().for_each(|m| self.vacate(m));
    }

    /// Takes a member out of a room and tells the one that took its index.
    fn vacate(&mut self, membership: Membership) {
        let Some(moved) = self.rooms.exit(membership) else {
            return;
        };
        let moved = self.members.get_mut(moved);
        for theirs in moved.into_iter().flat_map(|member| &mut member.rooms) {
            if theirs.room == membership.room {
                theirs.index = membership.index;
            }
        }
    }

    fn on_outbox(&mut self, id: ClientId, act: impl FnOnce(&mut Outbox) -> Pushed) {
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let pushed = self.totals.track(&mut member.outbox, act);
        self.settle_one(place, pushed);
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
