//! The hub thread: it owns the rooms and the members, and fans out.
//!
//! The hub takes commands from its inbox, as many as wait up to a bound, and
//! fans out what they published at the end of each such pass, so that a
//! burst becomes one send per client. It never waits for a client, runs no
//! code of the program it is embedded in, and logs nothing: it waits only
//! for its inbox and for its next deadline.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::client::{ClientId, ClientInfo, ClientState, RoomInfo};
use crate::close::{Cause, CloseCode, CloseFrame};
use crate::config::Config;
use crate::frame::{self, Burst};
use crate::inbox::Permit;
use crate::outbox::{Delivery, MAX_BURSTS, Outbox, Pushed};
use crate::rooms::{Membership, Pending, Rooms};
use crate::slab::Slab;
use crate::stats::Counters;

/// The most commands of one pass.
const PASS: usize = 256;

/// Everything that can be asked of the hub.
#[derive(Debug)]
pub(crate) enum Command {
    /// A client has finished its opening handshake.
    Join {
        client: Arc<ClientState>,
        outbox: Box<Outbox>,
    },
    /// Messages for an audience. The permit is held while a large burst
    /// waits in the inbox.
    Publish {
        to: Audience,
        burst: Burst,
        permit: Option<Permit>,
    },
    /// A Ping frame for a client.
    Ping { id: ClientId, frame: Bytes },
    /// A Pong frame for a client.
    Pong { id: ClientId, frame: Bytes },
    /// The peer's Close frame has come; this is the answer to it.
    PeerClosed { id: ClientId, reply: CloseFrame },
    /// Close the connection. `finish`: what the peer sends is not
    /// understood any more, so its Close is not waited for.
    Close {
        id: ClientId,
        frame: CloseFrame,
        cause: Cause,
        finish: bool,
    },
    /// The client's writer thread has written its chunk, or failed to.
    Written {
        id: ClientId,
        result: Result<(), Cause>,
    },
    /// The client's reader has ended.
    Leave { id: ClientId },
    /// Put a client into one more room.
    Enter { id: ClientId, room: Arc<str> },
    /// Take a client out of a room.
    Exit { id: ClientId, room: Arc<str> },
    /// List the clients, of a room or all.
    Clients {
        room: Option<Arc<str>>,
        reply: Sender<Vec<ClientInfo>>,
    },
    /// The states of a room's members.
    Members {
        room: Arc<str>,
        reply: Sender<Vec<Arc<ClientState>>>,
    },
    /// List the rooms.
    Rooms { reply: Sender<Vec<RoomInfo>> },
    /// Close every client, now and from now on.
    Shutdown,
    /// End every connection at once.
    Abort,
    /// End the hub.
    End,
}

/// Who receives a burst.
#[derive(Debug)]
pub(crate) enum Audience {
    /// The members of a room.
    Room {
        room: Arc<str>,
        except: Option<ClientId>,
    },
    /// The members of all rooms.
    Everybody { except: Option<ClientId> },
    /// One client.
    Client(ClientId),
    /// These clients.
    Clients(Vec<ClientId>),
}

/// One client as the hub knows it.
#[derive(Debug)]
struct Member {
    outbox: Outbox,
    id: ClientId,
    /// Its Close is under way, or its connection has failed: it is in no
    /// room any more.
    ending: bool,
    client: Arc<ClientState>,
    rooms: Vec<Membership>,
    messages_out: u64,
    bytes_out: u64,
}

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
    max_backlog_total: usize,
    counters: Arc<Counters>,
    // Working space, kept so that a fan-out allocates nothing.
    joined: Vec<u8>,
    troubled: Vec<(u32, Pushed)>,
    spare: Pending,
}

/// Sums over all outboxes.
#[derive(Debug, Default)]
struct Totals {
    backlog: usize,
    dropped: u64,
    deliveries: u64,
    bytes: u64,
}

impl Totals {
    /// Lets `act` act on an outbox and keeps the sums true.
    fn track(&mut self, outbox: &mut Outbox, act: impl FnOnce(&mut Outbox) -> Pushed) -> Pushed {
        let (backlog, dropped) = (outbox.backlog_bytes(), outbox.dropped());
        let pushed = act(outbox);
        self.backlog = self.backlog + outbox.backlog_bytes() - backlog;
        self.dropped += outbox.dropped() - dropped;
        pushed
    }

    /// Gives a delivery to a member.
    fn give(&mut self, member: &mut Member, delivery: &Delivery<'_>) -> Pushed {
        member.messages_out += delivery.messages as u64;
        member.bytes_out += delivery.bytes as u64;
        self.deliveries += delivery.messages as u64;
        self.bytes += delivery.bytes as u64;
        self.track(&mut member.outbox, |outbox| outbox.push(delivery))
    }
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
            max_backlog_total: config.max_backlog_total,
            counters,
            joined: Vec::new(),
            troubled: Vec::new(),
            spare: Pending::default(),
        }
    }

    /// Runs on the hub thread until it is told to end.
    pub(crate) fn run(mut self, inbox: &Receiver<Command>) {
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
        counters.backlog_bytes.set(totals.backlog as u64);
        counters.rooms.set(self.rooms.len() as u64);
        counters.dropped.add(totals.dropped);
        counters.deliveries.add(totals.deliveries);
        counters.bytes_out.add(totals.bytes);
    }

    /// Carries out one command. Messages to rooms are only gathered; every
    /// command that could change who receives them, or that must not
    /// overtake them, has them fanned out first.
    pub(crate) fn apply(&mut self, command: Command) {
        match command {
            Command::Publish { to, burst, permit } => {
                self.publish(to, burst);
                drop(permit);
            }
            Command::Ping { id, frame } => self.on_outbox(id, |outbox| outbox.ping(frame)),
            Command::Pong { id, frame } => self.on_outbox(id, |outbox| outbox.pong(frame)),
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
                let infos = self.rooms.iter().map(|room| RoomInfo {
                    name: room.name.to_string(),
                    clients: room.members.len(),
                });
                let _ = reply.try_send(infos.collect());
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
            Command::Join { client, outbox } => self.join(client, *outbox),
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
            Command::Abort => self.members.iter().for_each(|(_, m)| m.outbox.abort()),
            // The rest does not come here: see `apply` and `run`.
            _ => {}
        }
    }

    fn join(&mut self, client: Arc<ClientState>, outbox: Outbox) {
        let (id, room) = (client.id, client.room.clone());
        let place = self.members.insert(Member {
            outbox,
            id,
            ending: false,
            client,
            rooms: Vec::with_capacity(1),
            messages_out: 0,
            bytes_out: 0,
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

    /// Gathers a burst for a room, or gives it to its audience now.
    fn publish(&mut self, to: Audience, burst: Burst) {
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

    fn gather(&mut self, room: u32, burst: Burst, except: Option<ClientId>) {
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
    fn flush(&mut self) {
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
    fn fan_out(&mut self, room: u32) {
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
    fn give_to(&mut self, places: &[u32], bursts: &[Burst]) {
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

    /// Deals with the members that a fan-out has found to be slow or gone.
    fn settle(&mut self) {
        let mut troubled = std::mem::take(&mut self.troubled);
        for (place, pushed) in troubled.drain(..) {
            self.settle_one(place, pushed);
        }
        self.troubled = troubled;
    }

    fn settle_one(&mut self, place: u32, pushed: Pushed) {
        match pushed {
            Pushed::Done => {}
            Pushed::Overflow => self.evict(place),
            Pushed::Failed(cause) => self.fail(place, cause),
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

    /// Treats the client with the largest backlog as a slow consumer for as
    /// long as all backlogs together are too large.
    fn relieve(&mut self) {
        while self.totals.backlog > self.max_backlog_total {
            let open = self.members.iter().filter(|(_, member)| !member.ending);
            let largest = open.max_by_key(|(_, member)| member.outbox.backlog_bytes());
            let Some(place) = largest.map(|(place, _)| place) else {
                return;
            };
            if !self.shed(place) {
                self.evict(place);
            }
        }
    }

    /// Halves a member's backlog if its policy is to drop messages.
    fn shed(&mut self, place: u32) -> bool {
        let Some(member) = self.members.get_mut(place) else {
            return false;
        };
        let enough = member.outbox.backlog_bytes() / 2;
        let before = member.outbox.dropped();
        while self.totals.backlog > self.max_backlog_total && member.outbox.backlog_bytes() > enough
        {
            let mut dropped = false;
            self.totals.track(&mut member.outbox, |outbox| {
                dropped = outbox.shed();
                Pushed::Done
            });
            if !dropped {
                break;
            }
        }
        member.outbox.dropped() > before
    }

    fn evict(&mut self, place: u32) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        if member.ending {
            return;
        }
        let (mut messages, mut bytes) = (0, 0);
        self.totals.track(&mut member.outbox, |outbox| {
            (messages, bytes) = outbox.discard();
            Pushed::Done
        });
        let reason = format!("slow consumer: {messages} messages ({bytes} bytes) behind");
        let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, reason);
        let id = member.id;
        self.close(id, frame, Cause::Evicted { messages, bytes }, false);
    }

    /// Ends a connection that cannot be written to any more.
    fn fail(&mut self, place: u32, cause: Cause) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        // The reader may have seen another end first.
        let _ = member.client.cause.set(cause);
        member.ending = true;
        member.outbox.abort();
        self.leave_rooms(place);
    }

    /// Sends a Close frame behind what waits for a client, and takes it out
    /// of its rooms. `finish`: end our direction of the stream then.
    fn close(&mut self, id: ClientId, frame: CloseFrame, cause: Cause, finish: bool) {
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let mut pushed = Pushed::Done;
        if !member.ending {
            member.ending = true;
            let _ = member.client.cause.set(cause);
            let wire = frame::close(&frame);
            let _ = member.client.sent.set(frame);
            self.deadlines
                .push_back((Instant::now() + self.close_timeout, id));
            pushed = self
                .totals
                .track(&mut member.outbox, |outbox| outbox.close(wire));
        }
        if finish {
            member.outbox.finish();
        }
        self.leave_rooms(place);
        self.settle_one(place, pushed);
    }

    fn close_for_shutdown(&mut self, id: ClientId) {
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "server shutdown");
        self.close(id, frame, Cause::Shutdown, false);
    }

    /// Aborts the connections whose closing has taken too long.
    fn abort_overdue(&mut self) {
        while let Some(&(at, id)) = self.deadlines.front() {
            let member = self
                .places
                .get(&id)
                .and_then(|place| self.members.get(*place));
            if member.is_some() && at > Instant::now() {
                return;
            }
            if let Some(member) = member {
                member.outbox.abort();
            }
            self.deadlines.pop_front();
        }
    }

    fn client_infos(&self, room: Option<&str>) -> Vec<ClientInfo> {
        let room = room.map(|name| self.rooms.find(name));
        let members = self.members.iter().map(|(_, member)| member);
        members
            .filter(|member| match room {
                None => !member.ending,
                Some(room) => member.rooms.iter().any(|m| Some(m.room) == room),
            })
            .map(|member| self.client_info(member))
            .collect()
    }

    fn client_info(&self, member: &Member) -> ClientInfo {
        let client = &member.client;
        let rooms = member.rooms.iter().filter_map(|m| self.rooms.get(m.room));
        ClientInfo {
            id: client.id,
            peer: client.peer,
            rooms: rooms.map(|room| room.name.to_string()).collect(),
            age: client.joined.elapsed(),
            backlog_messages: member.outbox.backlog_messages(),
            backlog_bytes: member.outbox.backlog_bytes(),
            messages_in: client.messages_in.load(Ordering::Relaxed),
            bytes_in: client.bytes_in.load(Ordering::Relaxed),
            messages_out: member.messages_out,
            bytes_out: member.bytes_out,
            dropped: member.outbox.dropped(),
            rtt: client.rtt(),
        }
    }

    fn member_states(&self, room: &str) -> Vec<Arc<ClientState>> {
        let room = self.rooms.find(room).and_then(|room| self.rooms.get(room));
        room.iter()
            .flat_map(|room| &room.members)
            .filter_map(|place| Some(self.members.get(*place)?.client.clone()))
            .collect()
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
