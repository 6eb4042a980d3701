//! The hub thread: it owns the rooms and the members, and fans out.
//!
//! In each pass the hub takes the commands that wait in its inbox, up to a
//! bound, and at its end fans out what they published, so that a burst becomes
//! one send per client. It never waits for a client, runs none of your
//! program's code, and logs nothing. It waits only for its inbox and for its
//! next deadline.

#[cfg(feature = "deflate")]
mod attached;
#[cfg(feature = "redis")]
mod attendance;
mod behind;
#[cfg(test)]
mod bench;
mod client_state;
mod command;
#[cfg(feature = "redis")]
mod committed;
mod departed;
mod ending;
mod fan_out;
mod giving;
mod helpers;
mod history;
mod inbox;
pub(crate) mod info;
mod interest;
pub(crate) mod log;
mod member;
mod news;
#[cfg(feature = "redis")]
mod others;
mod permit;
mod places;
mod planned;
mod presence;
mod publisher;
mod queries;
mod recall;
mod reply;
mod resume;
mod ring;
mod rooms;
#[cfg(feature = "deflate")]
mod shared_stream;
mod slab;
mod tap;
#[cfg(test)]
mod tests;
mod watch;

#[cfg(feature = "redis")]
pub(crate) use attendance::{Announce, Attendance};
pub(crate) use behind::Start;
pub(crate) use client_state::{Attachment, ClientState};
pub(crate) use command::{Act, Audience, Command, Joining, Receipt};
#[cfg(feature = "redis")]
pub(crate) use committed::{Append, Committed, Placed};
pub(crate) use departed::Departed;
pub(crate) use helpers::{Helpers, fan_out_threads};
pub(crate) use inbox::{Commands, Gone, Inbox, InboxError};
#[cfg(feature = "redis")]
pub(crate) use info::Attendees;
pub(crate) use info::{ClientInfo, Here, RoomInfo};
pub(crate) use interest::Need;
pub(crate) use places::{Place, Places, network_of};
pub(crate) use presence::{Watch, write_member};
pub(crate) use publisher::Publisher;
pub(crate) use reply::Reply;
pub(crate) use tap::{Copied, Tap, TapCounts};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::close::Cause;
use crate::config::{Config, SlowConsumer};
use crate::hub::history::History;
use crate::hub::interest::Interest;
use crate::hub::log::{Log, Order};
use crate::hub::rooms::{Pending, Rooms, Seat};
#[cfg(feature = "deflate")]
use crate::hub::shared_stream::Streams;
use crate::hub::slab::Slab;
use crate::names::ClientId;
use crate::outbox::{Outbox, Outcome};
use crate::stats::Counters;
use crate::wire::{Burst, Encoding};

use departed::Departures;
use member::{Member, Totals};
use news::News;
use planned::Planned;

/// The most commands of one pass.
const PASS: usize = 256;
/// Gathering may take this share of what the last fan-out took …
const PATIENCE_SHARE: u32 = 8;
/// … and no longer than this.
const MAX_PATIENCE: Duration = Duration::from_micros(200);

/// Whether the hub goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Go,
    End,
}

/// The hub's state. Only the hub thread touches it.
#[derive(Debug)]
pub(crate) struct Hub {
    members: Slab<Box<Member>>,
    helpers: Helpers,
    places: HashMap<ClientId, u32>,
    rooms: Rooms,
    log: Log,
    /// The members that are behind and whose next piece is due.
    ready: VecDeque<u32>,
    /// The members that have seen more of the log than this hub.
    ahead: Vec<u32>,
    /// The rooms in which somebody has come or gone in this pass.
    changed: Vec<u32>,
    /// Until when members that have left may come back, the first one first.
    graces: VecDeque<(Instant, Arc<str>)>,
    presence_grace: Duration,
    /// The rooms with something to fan out, in the order in which it came.
    dirty: Vec<u32>,
    /// Messages for rooms with roamers, in the order in which they came.
    roaming: Vec<(u32, Pending)>,
    /// When to abort the connections whose Close is under way. All have the
    /// same timeout, so the front of the queue is due first.
    deadlines: VecDeque<(Instant, ClientId)>,
    planned: Planned,
    #[cfg(feature = "redis")]
    others: others::Others,
    /// How many members are in more than one room, but for roamers.
    in_many_rooms: usize,
    totals: Totals,
    departures: Departures,
    news: News,
    stopping: bool,
    close_timeout: Duration,
    queue_total: usize,
    slow_consumer: SlowConsumer,
    counters: Arc<Counters>,
    // Working space, kept so that a fan-out allocates nothing.
    joined: Vec<u8>,
    encoded: Vec<Burst>,
    troubled: Vec<(u32, Outcome)>,
    spare: Pending,
}

impl Hub {
    pub(crate) fn new(
        config: &Config,
        counters: Arc<Counters>,
        interest: Arc<Interest>,
        order: Box<dyn Order>,
    ) -> Hub {
        let rooms = Rooms::new(interest, History::new(config, counters.clone()));
        #[cfg(feature = "deflate")]
        let rooms = match config.deflate_rooms {
            true => rooms.with_streams(Streams::new(&counters)),
            false => rooms,
        };
        Hub {
            members: Slab::new(),
            helpers: Helpers::none(),
            places: HashMap::new(),
            rooms,
            log: Log::new(order),
            ready: VecDeque::new(),
            ahead: Vec::new(),
            changed: Vec::new(),
            graces: VecDeque::new(),
            presence_grace: config.presence_grace,
            dirty: Vec::new(),
            roaming: Vec::new(),
            deadlines: VecDeque::new(),
            planned: Planned::new(config.max_age),
            #[cfg(feature = "redis")]
            others: others::Others::default(),
            in_many_rooms: 0,
            totals: Totals::default(),
            departures: Departures::default(),
            news: News::default(),
            stopping: false,
            close_timeout: config.close_timeout,
            queue_total: config.queue_total,
            slow_consumer: config.slow_consumer,
            counters,
            joined: Vec::new(),
            encoded: Vec::new(),
            troubled: Vec::new(),
            spare: Pending::default(),
        }
    }

    /// Has helpers send parts of its large fan-outs.
    pub(crate) fn with_helpers(self, helpers: Helpers) -> Hub {
        Hub { helpers, ..self }
    }

    /// Runs on the hub thread until it must end.
    pub(crate) fn run(mut self, commands: &Commands) {
        let inbox = &commands.receiver;
        let mut patience = Duration::ZERO;
        loop {
            let first = match self.next_deadline() {
                // There is something to give without any command.
                _ if !self.ready.is_empty() => inbox.recv_timeout(Duration::ZERO),
                None => inbox.recv().map_err(RecvTimeoutError::from),
                Some(at) => inbox.recv_deadline(at),
            };
            let first = match first {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let begun = Instant::now();
            let Some(taken) = self.take_pass(first, inbox, patience) else {
                // What came just before the end counts.
                self.end_pass();
                return;
            };
            let start = Instant::now();
            self.end_pass();
            self.counters.passed(begun.elapsed());
            patience = match taken {
                0 | 1 => Duration::ZERO,
                _ => (start.elapsed() / PATIENCE_SHARE).min(MAX_PATIENCE),
            };
        }
    }

    /// Carries out the commands of one pass: those that wait and, while the
    /// server is busy, those that the readers bring meanwhile. Returns their
    /// number, or `None` if the hub must end.
    ///
    /// Where messages come one at a time from many clients, the hub would
    /// begin a fan-out with the first while the readers of the next are about
    /// to bring theirs. So after a pass of several commands it yields and
    /// looks again for as long as every look finds something. A lone message
    /// never waits, and nobody waits for a reader that has nothing.
    ///
    /// CPU time per delivery, medians of five rounds beside a hub that does
    /// not gather, on two cores: 0.60 with 64 messages in flight together from
    /// ten of 100 clients, 0.67 with 10 clients, 0.90 with 100 that all have
    /// one in flight (p99 1.01), 0.98 with one message in flight. Looking on
    /// after a look that found nothing gained no more.
    fn take_pass(
        &mut self,
        first: Option<Command>,
        inbox: &Receiver<Command>,
        patience: Duration,
    ) -> Option<usize> {
        let start = Instant::now();
        let (mut taken, mut next) = (0, first);
        loop {
            let before = taken;
            while let Some(command) = next {
                if self.apply(command) == Flow::End {
                    return None;
                }
                taken += 1;
                next = (taken < PASS).then(|| inbox.try_recv().ok()).flatten();
            }
            if taken == before || taken == PASS || start.elapsed() >= patience {
                return Some(taken);
            }
            thread::yield_now();
            next = inbox.try_recv().ok();
        }
    }

    /// When there is something to do if no command comes.
    fn next_deadline(&self) -> Option<Instant> {
        let abort = self.deadlines.front().map(|(at, _)| *at);
        let forget = self.rooms.history.next_look();
        let leave = self.graces.front().map(|(until, _)| *until);
        let end = self.planned.next();
        let news = self.news.next_deadline();
        let all = abort
            .into_iter()
            .chain(forget)
            .chain(leave)
            .chain(end)
            .chain(news);
        #[cfg(feature = "redis")]
        let all = all.chain(self.others.next_deadline());
        all.min()
    }

    /// Fans out what the pass has gathered, and aborts the connections whose
    /// time is up.
    pub(crate) fn end_pass(&mut self) {
        self.flush();
        self.end_planned();
        self.catch_up();
        #[cfg(feature = "redis")]
        self.bury_silent();
        self.tell_presence();
        self.rooms.forget_old();
        self.rooms.history.end_pass();
        self.relieve();
        self.abort_overdue();
        self.news.dropped(self.totals.dropped);
        self.spread_news();
        let totals = std::mem::take(&mut self.totals);
        self.totals.backlog = totals.backlog;
        self.totals.queued = totals.queued;
        let counters = &self.counters;
        counters.queue_bytes.set(totals.backlog as u64);
        counters.rooms.set(self.rooms.inhabited() as u64);
        counters.dropped.add(totals.dropped);
        counters.deliveries.add(totals.deliveries);
        counters.sent_bytes.add(totals.bytes);
    }

    /// Carries out one command. Messages to rooms are only gathered; what
    /// could change who receives them, must not overtake them, or tells what
    /// was sent before it, has them fanned out first.
    pub(crate) fn apply(&mut self, command: Command) -> Flow {
        match command {
            Command::Publish {
                to,
                forms,
                permit,
                receipt,
            } => self.publish(&to, forms, permit, receipt),
            #[cfg(feature = "redis")]
            Command::Commit(committed) => self.commit(committed),
            #[cfg(feature = "redis")]
            Command::Announce => self.flushed().announce_everybody(),
            Command::Ping { id, frame } => self.on_outbox(id, |outbox| outbox.ping(frame)),
            Command::Pong { id, all, newest } => {
                self.on_outbox(id, |outbox| outbox.pong(all, newest));
            }
            Command::Written { id, result } => match result {
                Ok(()) => {
                    self.on_outbox(id, Outbox::written);
                    self.may_be_ready(id);
                }
                Err(cause) => self.on_outbox(id, |_| Outcome::Failed(cause)),
            },
            Command::Join(joining) => self.flushed().join(*joining),
            Command::Leave { id } => self.flushed().leave(id),
            Command::Enter { id, room } => self.flushed().enter(id, &room),
            Command::Exit { id, room } => self.flushed().exit(id, &room),
            Command::PeerClosed { id, reply } => {
                self.flushed().close(id, reply, Cause::ClosedByPeer, true);
            }
            Command::Close {
                id,
                frame,
                cause,
                finish,
            } => self.flushed().close(id, frame, cause, finish),
            Command::Tap { room, tap } => self.flushed().rooms.tap(&room, tap),
            Command::TapSince {
                room,
                tap,
                since,
                reply,
            } => reply.give(self.flushed().tap_since(&room, tap, since)),
            Command::Recall { room, since, reply } => {
                reply.give(self.flushed().recall(&room, since));
            }
            Command::Clients { room, reply } => {
                reply.give(self.flushed().client_infos(room.as_deref()));
            }
            Command::Members { room, reply } => {
                reply.give(self.flushed().member_states(&room));
            }
            Command::Departures { reply } => {
                reply.give(self.flushed().departures.list());
            }
            Command::Rooms { reply } => reply.give(self.flushed().room_infos()),
            #[cfg(feature = "redis")]
            Command::Everyone { reply } => reply.give(self.flushed().everyone()),
            Command::Here { room, reply } => reply.give(self.flushed().here(&room)),
            Command::Count { room, reply } => reply.give(self.flushed().count(&room)),
            Command::Drain { over } => {
                let hub = self.flushed();
                hub.planned.drain(over, hub.places.keys().copied());
            }
            Command::Shutdown => self.flushed().shut_down(),
            Command::EndClosed => self.end_closed(),
            Command::Abort => self.members.iter().for_each(|(_, m)| m.outbox.abort()),
            Command::End => return Flow::End,
        }
        Flow::Go
    }

    /// The hub, with everything fanned out that was gathered.
    fn flushed(&mut self) -> &mut Hub {
        self.flush();
        self
    }

    /// Makes a client a member, and then tells it so: its answer goes out
    /// when everything holds that it announces.
    fn join(&mut self, joining: Joining) {
        let Joining {
            client,
            outbox,
            encoding,
            answer,
            following,
            start,
        } = joining;
        let id = client.id;
        self.planned.join(&client);
        let rooms: Vec<Arc<str>> = client.rooms().cloned().collect();
        // Streams have positions wherever they are of use.
        let remembers = rooms.iter().any(|room| self.rooms.history.remembers(room));
        let has_positions = start.watch.is_none() && remembers;
        let encoding = match encoding.is_stream() && has_positions {
            true => encoding.with_positions(),
            false => encoding,
        };
        let place = self.members.insert(Box::new(Member {
            outbox,
            id,
            encoding,
            ending: false,
            #[cfg(feature = "deflate")]
            attached: 0,
            client,
            rooms: Vec::with_capacity(rooms.len()),
            behind: None,
            sent_messages: 0,
            sent_bytes: 0,
        }));
        self.places.insert(id, place);
        if start.watch.is_none() {
            rooms.iter().for_each(|room| self.enter(id, room));
        }
        if start.watch != Some(Watch::News)
            && let Some(member) = self.members.get(place)
        {
            self.news.joined(member);
        }
        drop(following);
        self.counters.joins.add(1);
        let beginning = self.beginning_in(&rooms, start.since);
        let answer = match remembers || encoding.has_positions() {
            true => self.with_headers(&answer, &beginning),
            false => answer,
        };
        self.on_outbox(id, |outbox| outbox.answer(answer));
        match start.watch {
            Some(watch) => rooms.iter().for_each(|room| self.watch(place, room, watch)),
            None => self.begin(place, &beginning, start.close_on_gap),
        }
        if self.stopping {
            self.close_for_shutdown(id);
        }
    }

    fn leave(&mut self, id: ClientId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        if let Some(member) = self.members.get(place) {
            self.planned.leave(&member.client);
        }
        self.leave_rooms(place);
        // Its backlog is lost with it, and counted.
        self.discard(place);
        if let Some(member) = self.members.remove(place) {
            self.totals.backlog -= member.outbox.backlog_bytes();
            self.totals.queued -= member.outbox.queued_bytes();
            let departed = self.departures.add(&member);
            self.news
                .tell("left", |object| departed.write_members(object));
        }
    }

    fn enter(&mut self, id: ClientId, name: &Arc<str>) {
        let Some(place) = self.place_of(id) else {
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
        let seat = self.rooms.enter(name, place, member.encoding);
        if seat.index == 0 {
            self.news.tell_of_room("opened", name);
        }
        member.rooms.push(seat);
        if let Some(behind) = &mut member.behind {
            behind.enter(seat.room, self.log.head());
        }
        if member.rooms.len() == 2 && !member.encoding.names_rooms() {
            self.in_many_rooms += 1;
        }
        let client = member.client.clone();
        self.appear(seat.room, id, client.name.as_deref());
    }

    fn exit(&mut self, id: ClientId, name: &str) {
        let (Some(place), Some(room)) = (self.place_of(id), self.rooms.find(name)) else {
            return;
        };
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let Some(at) = member.rooms.iter().position(|m| m.room == room) else {
            return;
        };
        let (seat, encoding) = (member.rooms.remove(at), member.encoding);
        if let Some(behind) = &mut member.behind {
            behind.exit(seat.room);
        }
        if member.rooms.len() == 1 && !encoding.names_rooms() {
            self.in_many_rooms -= 1;
        }
        self.disappear(seat.room, id, None);
        self.vacate(seat, encoding);
    }

    fn leave_rooms(&mut self, place: u32) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let (seats, encoding) = (std::mem::take(&mut member.rooms), member.encoding);
        let client = member.client.clone();
        if client.is_watching {
            self.unwatch(place, &client.room);
        }
        let cause = client.cause.get().unwrap_or(&Cause::EndOfStream);
        for seat in &seats {
            self.disappear(seat.room, client.id, Some(cause));
        }
        if seats.len() > 1 && !encoding.names_rooms() {
            self.in_many_rooms -= 1;
        }
        seats
            .into_iter()
            .for_each(|seat| self.vacate(seat, encoding));
    }

    /// Takes a member out of a room, and corrects the index of the member that
    /// was moved into its place.
    fn vacate(&mut self, seat: Seat, encoding: Encoding) {
        let room = self.rooms.get(seat.room);
        if let Some(room) = room.filter(|room| room.members.len() == 1) {
            self.news.tell_of_room("emptied", &room.name);
        }
        let Some(moved) = self.rooms.exit(seat, encoding) else {
            return;
        };
        let moved = self.members.get_mut(moved);
        for theirs in moved.into_iter().flat_map(|member| &mut member.rooms) {
            if theirs.room == seat.room {
                theirs.index = seat.index;
            }
        }
    }

    /// Where a client is. Not in place: ten copies of a look-up are 3 KB.
    #[inline(never)]
    fn place_of(&self, id: ClientId) -> Option<u32> {
        self.places.get(&id).copied()
    }

    fn on_outbox(&mut self, id: ClientId, act: impl FnOnce(&mut Outbox) -> Outcome) {
        let Some(place) = self.place_of(id) else {
            return;
        };
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let outcome = self.totals.track(&mut member.outbox, act);
        self.settle_one(place, outcome);
    }
}
