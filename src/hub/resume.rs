//! Members that are behind: they are given what their rooms remember, piece
//! by piece, before they get what is said now.
//!
//! A member that is behind has a cursor and nothing in its outbox. Whenever
//! its outbox is empty, the hub gives it the next piece; with the last one it
//! becomes a member like the others. Meanwhile the member costs no memory,
//! because what is remembered is shared, and is not evicted, because nothing
//! waits in its outbox.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Hub;
use super::behind::{Behind, Remembered};
use super::log::Resumption;
use super::ring::{Millis, Remembers};
use super::rooms::Room;
use crate::close::Cause;
use crate::config::SlowConsumer;
use crate::names::ClientId;
use crate::outbox::Delivery;
use crate::outbox::Outcome;
use crate::position::{Offset, Position};
use crate::since::Since;
use crate::wire::Forms;
use crate::wire::{Burst, Encoding};
use crate::wire::{forms, lines, positions, sse};

/// The most bytes of frames in one piece, and one message more.
const PIECE_BYTES: usize = 64 * 1024;
/// The most pieces in one pass, for all members together.
const PASS_PIECES: usize = 32;

/// Where a client begins.
pub(super) struct Beginning {
    pub(super) after: Offset,
    /// Up to where something is missing, if it is.
    gap_to: Offset,
    kind: Kind,
    /// The same for each of several rooms; empty where there is one.
    each: Vec<Offset>,
}

impl Beginning {
    /// From where on messages are wanted of each room: of one that is alone,
    /// from the beginning.
    fn floors(&self) -> Vec<Offset> {
        match self.each.is_empty() {
            true => vec![Offset::NONE],
            false => self.each.clone(),
        }
    }

    /// Whether nothing is missing of what was asked for.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self.kind, Kind::Incomplete(_))
    }
}

enum Kind {
    /// It did not ask to resume.
    New,
    Complete,
    /// What came between this position and the beginning is missing.
    Incomplete(Position),
}

impl Hub {
    /// Begins a client's time in the room it has joined: says where it is,
    /// and gives it what it asks for of what the room remembers.
    pub(super) fn begin(&mut self, place: u32, beginning: &Beginning, close_on_gap: bool) {
        let Some(member) = self.members.get(place).filter(|member| !member.ending) else {
            return;
        };
        let rooms = member.rooms.iter().map(|seat| seat.room);
        let rooms: Vec<(u32, Offset)> = rooms.zip(beginning.floors()).collect();
        if rooms.is_empty() {
            return;
        }
        let id = member.id;
        let epoch = self.log.epoch();
        let at = self.log.position(beginning.after);
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let encoding = member.encoding;
        if encoding.has_positions() {
            member.outbox.tell_gaps(encoding, epoch);
        }
        let behind = Behind::new(beginning.after, rooms, &self.counters);
        member.behind = Some(Box::new(behind));
        let (how, gap) = match beginning.kind {
            Kind::New => ("new", None),
            Kind::Complete => {
                self.counters.resumes_complete.add(1);
                ("complete", None)
            }
            Kind::Incomplete(from) => {
                self.counters.resumes_incomplete.add(1);
                let to = self.log.position(beginning.gap_to);
                ("incomplete", Some((from, to)))
            }
        };
        if gap.is_some() && close_on_gap {
            let cause = Cause::IncompleteResume;
            self.close(id, cause.close_frame("messages are missing"), cause, false);
            return;
        }
        let mut notices = Vec::new();
        if encoding.has_positions() {
            notices.push(match encoding {
                _ if encoding.is_events() => sse::preamble(at, retry()),
                _ if encoding.is_json() => lines::at(at, how),
                _ => positions::at(at, how),
            });
            notices.extend(gap.map(|(from, to)| forms::gap_notice(encoding, from, to)));
            if encoding.is_events() && gap.is_some_and(|(_, to)| to != at) {
                // The last event that has an id says where the client is.
                notices.swap(0, 1);
            }
        }
        let notices = notices.into_iter();
        let notices = notices.map(|bytes| Burst::notice(bytes, encoding));
        self.give_piece(place, notices.collect());
    }

    /// The answer to a client that joins, with headers that say where it is
    /// and how its resume went.
    pub(super) fn with_headers(&self, answer: &Bytes, beginning: &Beginning) -> Bytes {
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
        let Some(end) = end else {
            return answer.clone();
        };
        let position = self.log.position(beginning.after);
        let mut head = answer[..end + 2].to_vec();
        head.extend_from_slice(format!("hubcast-position: {position}\r\n").as_bytes());
        match beginning.kind {
            Kind::New => {}
            Kind::Complete => head.extend_from_slice(b"hubcast-resume: complete\r\n"),
            Kind::Incomplete(_) => head.extend_from_slice(b"hubcast-resume: incomplete\r\n"),
        }
        head.extend_from_slice(&answer[end + 2..]);
        Bytes::from(head)
    }

    /// Where a client begins in its rooms: with the room of which it wants the
    /// oldest message.
    pub(super) fn beginning_in(&mut self, rooms: &[Arc<str>], since: Option<Since>) -> Beginning {
        let all = rooms.iter().map(|room| self.beginning(room, since));
        let mut all: Vec<Beginning> = all.collect();
        if all.len() == 1
            && let Some(only) = all.pop()
        {
            return only;
        }
        let each: Vec<Offset> = all.iter().map(|beginning| beginning.after).collect();
        let incomplete = all.iter().filter(|beginning| !beginning.is_complete());
        let gap_to = incomplete.map(|beginning| beginning.gap_to).max();
        let is_told = |beginning: &Beginning| gap_to.is_none() || !beginning.is_complete();
        let kind = all.into_iter().find(is_told);
        Beginning {
            after: each.iter().copied().min().unwrap_or(self.log.head()),
            gap_to: gap_to.unwrap_or_default(),
            kind: kind.map_or(Kind::New, |beginning| beginning.kind),
            each,
        }
    }

    /// Where somebody begins in a room.
    pub(super) fn beginning(&mut self, name: &str, since: Option<Since>) -> Beginning {
        let room = self.rooms.find(name);
        if let Some(room) = room {
            self.rooms.refresh(room);
        }
        let now = self.rooms.history.now();
        let history = &self.rooms.history;
        let ring = room.and_then(|room| self.rooms.get(room)?.ring());
        let head = self.log.head();
        let floor = history.floor(name, ring, head);
        let replay = ring.map_or(0, |ring| ring.bounds.replay);
        let since = since.or((replay > 0).then_some(Since::Last(replay)));
        let (after, kind) = match since {
            None => (head, Kind::New),
            Some(Since::Last(count)) => {
                let after = ring.map_or(head, |ring| history.before_newest(ring, count));
                (after, Kind::New)
            }
            Some(Since::Ago(time)) => {
                let passed = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let at = Millis(now.0.saturating_sub(passed));
                let after = ring.map_or(head, |ring| history.before_time(ring, at));
                let kind = match floor.at < at {
                    true => Kind::Complete,
                    false => Kind::Incomplete(self.log.position(Offset::NONE)),
                };
                (after.max(floor.offset), kind)
            }
            Some(Since::Position(position)) => match self.log.resume(position, floor.offset) {
                Resumption::Complete(after) => (after, Kind::Complete),
                Resumption::Incomplete(after) => (after, Kind::Incomplete(position)),
            },
        };
        Beginning {
            after,
            gap_to: after,
            kind,
            each: Vec::new(),
        }
    }

    /// Gives the members that are behind, and whose outbox is empty, their
    /// next pieces.
    pub(super) fn catch_up(&mut self) {
        for _ in 0..PASS_PIECES.min(self.ready.len()) {
            let Some(place) = self.ready.pop_front() else {
                return;
            };
            let member = self.members.get(place);
            if member.is_some_and(|member| member.behind.is_some() && member.outbox.is_idle()) {
                self.give_piece(place, Vec::new());
            }
        }
    }

    /// Gives a member that is behind `notices` and its next piece.
    fn give_piece(&mut self, place: u32, notices: Vec<Burst>) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let Some(mut behind) = member.behind.take() else {
            return;
        };
        let max_bytes = PIECE_BYTES.min(member.outbox.limits().1);
        let piece = behind.next(&self.rooms, member.id, max_bytes);
        let encoding = member.encoding;
        let mut bursts = notices;
        if let Some((from, to)) = piece.gap {
            self.counters.gaps.add(1);
            if encoding.has_positions() {
                let [from, to] = [from, to].map(|offset| self.log.position(offset));
                let notice = forms::gap_notice(encoding, from, to);
                bursts.push(Burst::notice(notice, encoding));
            } else if self.slow_consumer == SlowConsumer::Disconnect {
                behind.go_back_to(from);
                member.behind = Some(behind);
                self.close_for_gap(place);
                return;
            }
        }
        let said = piece.bursts.iter();
        let messages = said.map(|said| u64::from(said.burst.messages));
        self.counters.replayed.add(messages.sum());
        let epoch = self.log.epoch();
        let seats = member.rooms.iter();
        let rooms: Vec<&Room> = seats
            .filter(|_| encoding.names_rooms())
            .filter_map(|seat| self.rooms.get(seat.room))
            .collect();
        bursts.extend(piece.bursts.into_iter().map(|Remembered { burst, ring }| {
            let is_its_own = |room: &&&Room| room.ring().is_some_and(|own| own.id == ring);
            let room = rooms.iter().find(is_its_own).map(|room| &*room.name);
            // What was held is encoded already.
            match burst.encoding == Encoding::Frames {
                true => Forms::from(burst).take(encoding, epoch, room),
                false => burst,
            }
        }));
        let totals = &mut self.totals;
        let outcome = match bursts.is_empty() {
            true => Outcome::Done,
            false => Delivery::prepare(&bursts, &mut self.joined, |delivery| {
                totals.give_piece(member, delivery)
            }),
        };
        let is_idle = member.outbox.is_idle();
        // It is ahead of this hub, which happens behind an engine.
        let is_ahead = behind.cursor() > self.log.head();
        if !piece.is_last || is_ahead || !is_idle {
            member.behind = Some(behind);
            if is_idle && !is_ahead {
                self.ready.push_back(place);
            } else if is_idle {
                self.ahead.push(place);
            }
        }
        self.settle_one(place, outcome);
    }

    /// Ends the connection of a client that cannot be told that its room has
    /// forgotten what it would get next.
    fn close_for_gap(&mut self, place: u32) {
        let Some(member) = self.members.get(place) else {
            return;
        };
        let reason = "slow consumer: what comes next is forgotten";
        let (id, messages, bytes) = (member.id, 0, 0);
        let cause = Cause::Evicted { messages, bytes };
        self.close(id, cause.close_frame(reason), cause, false);
    }

    /// The log has come further, perhaps to those who were ahead of it.
    pub(super) fn look_for_ahead(&mut self) {
        self.ready.extend(self.ahead.drain(..));
    }

    /// A client's outbox may be empty now: if it is behind, its next piece is
    /// due.
    pub(super) fn may_be_ready(&mut self, id: ClientId) {
        let Some(place) = self.place_of(id) else {
            return;
        };
        let member = self.members.get(place);
        if member.is_some_and(|member| member.behind.is_some() && member.outbox.is_idle()) {
            self.ready.push_back(place);
        }
    }
}

/// How long a client of events waits before it connects again: not all of
/// them the same time, so that a restart is not followed by a rush.
fn retry() -> Duration {
    let random = RandomState::new().hash_one(0);
    Duration::from_millis(500 + random % 1001)
}
