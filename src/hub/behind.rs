//! One member that is behind: what it was given, and what it gets next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::presence::Watch;
use super::ring::{Kept, Remembers, Ring};
use super::rooms::Rooms;
use crate::names::ClientId;
use crate::outbox::MAX_BURSTS;
use crate::position::Offset;
use crate::since::Since;
use crate::stats::Counters;
use crate::wire::Burst;

/// A piece leaves room in its delivery for the notices before it.
const PIECE_BURSTS: usize = MAX_BURSTS - 4;

/// How a client begins in its room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    /// From where on it wants the room's messages.
    pub(crate) since: Option<Since>,
    /// Close the connection if something of that is missing.
    pub(crate) close_on_gap: bool,
    /// It follows who is in the room, instead of what is said there.
    pub(crate) watch: Option<Watch>,
}

/// From where on a member is behind.
#[derive(Debug)]
pub(super) struct Behind {
    /// It has everything up to here.
    cursor: Offset,
    /// The rooms it is in, and from where on it was in each.
    rooms: Vec<(u32, Offset)>,
    /// What is remembered nowhere and its turn has not come yet, each with
    /// what the log had come to.
    held: VecDeque<(Offset, Burst)>,
    held_messages: usize,
    held_bytes: usize,
    _counted: Counted,
}

/// Counts one member that is behind until it is dropped.
#[derive(Debug)]
struct Counted(Arc<Counters>);

impl Counted {
    fn new(counters: &Arc<Counters>) -> Counted {
        counters.members_behind.up();
        Counted(counters.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.members_behind.down();
    }
}

/// What a member that is behind gets next.
pub(super) struct Piece {
    pub(super) bursts: Vec<Remembered>,
    /// Messages between these two are not remembered any more.
    pub(super) gap: Option<(Offset, Offset)>,
    /// There is nothing behind it.
    pub(super) is_last: bool,
}

/// Messages that were remembered, or held.
pub(super) struct Remembered {
    pub(super) burst: Burst,
    /// The ring that remembers them; zero: none, so they are encoded already.
    pub(super) ring: u64,
}

impl Behind {
    /// A member of these rooms that has everything up to here. Of each room it
    /// wants what came after its offset.
    pub(super) fn new(
        cursor: Offset,
        rooms: Vec<(u32, Offset)>,
        counters: &Arc<Counters>,
    ) -> Behind {
        Behind {
            cursor,
            rooms,
            held: VecDeque::new(),
            held_messages: 0,
            held_bytes: 0,
            _counted: Counted::new(counters),
        }
    }

    /// Puts the member back to where it was before a piece.
    pub(super) fn go_back_to(&mut self, cursor: Offset) {
        self.cursor = cursor;
    }

    /// Where the client is: it resumes from here if its connection ends now.
    pub(super) fn cursor(&self) -> Offset {
        self.cursor
    }

    pub(super) fn enter(&mut self, room: u32, head: Offset) {
        self.rooms.push((room, head));
    }

    pub(super) fn exit(&mut self, room: u32) {
        self.rooms.retain(|(place, _)| *place != room);
    }

    /// Keeps what no room remembers until its turn comes; `head` is what the
    /// log has come to. False: it is as much as an outbox may hold already.
    pub(super) fn hold(&mut self, head: Offset, burst: Burst, limits: (usize, usize)) -> bool {
        self.held_messages += burst.messages as usize;
        self.held_bytes += burst.bytes.len();
        let last = burst.offset((burst.messages as usize).saturating_sub(1));
        let at = match last {
            Offset::NONE => head,
            last => last,
        };
        self.held.push_back((at, burst));
        self.held_messages <= limits.0 && (self.held_bytes <= limits.1 || self.held.len() == 1)
    }

    /// Moves the first burst that is held into a piece; returns its size.
    fn give_held(&mut self, piece: &mut Piece) -> usize {
        let Some((_, burst)) = self.held.pop_front() else {
            return 0;
        };
        let bytes = burst.bytes.len();
        self.held_messages -= burst.messages as usize;
        self.held_bytes -= bytes;
        piece.bursts.push(Remembered { burst, ring: 0 });
        bytes
    }

    /// The next piece. The cursor moves behind it.
    pub(super) fn next(&mut self, rooms: &Rooms, id: ClientId, max_bytes: usize) -> Piece {
        let ring = |place| rooms.get(place).and_then(Remembers::ring);
        let mine = self.rooms.iter();
        let mine: Vec<(&Ring, Offset)> = mine
            .filter_map(|(place, from)| Some((ring(*place)?, *from)))
            .collect();
        let cursor = self.cursor;
        let missing = |(ring, from): &(&Ring, Offset)| {
            let floor = ring.floor().offset;
            (floor > *from).then_some(floor)
        };
        let floors = mine.iter().filter_map(missing);
        let floor = floors.max().max(Some(rooms.history.floor_of_all()));
        let gap = floor.filter(|floor| *floor > cursor);
        self.cursor = gap.unwrap_or(cursor);
        let mut piece = Piece {
            bursts: Vec::new(),
            gap: gap.map(|to| (cursor, to)),
            is_last: false,
        };
        let mut run = Run::default();
        let mut bytes = 0;
        for kept in rooms.history.after(mine.into_iter(), self.cursor) {
            while self.held.front().is_some_and(|(at, _)| *at < kept.offset) {
                run.end(&mut piece.bursts);
                bytes += self.give_held(&mut piece);
            }
            if bytes >= max_bytes || piece.bursts.len() >= PIECE_BURSTS {
                run.end(&mut piece.bursts);
                return piece;
            }
            self.cursor = kept.offset;
            if kept.is_for(id) {
                bytes += kept.frame().len();
                run.extend(kept, &mut piece.bursts);
            }
        }
        run.end(&mut piece.bursts);
        while piece.bursts.len() < PIECE_BURSTS && !self.held.is_empty() {
            self.give_held(&mut piece);
        }
        piece.is_last = self.held.is_empty();
        piece
    }
}

/// Messages that lie one behind the other in memory.
#[derive(Default)]
pub(super) struct Run<'a> {
    ends: Option<(Kept<'a>, Kept<'a>)>,
    offsets: Vec<Offset>,
}

impl<'a> Run<'a> {
    pub(super) fn extend(&mut self, kept: Kept<'a>, bursts: &mut Vec<Remembered>) {
        match &mut self.ends {
            Some((_, last)) if last.is_followed_by(&kept) => {
                self.offsets.push(kept.offset);
                *last = kept;
            }
            _ => {
                self.end(bursts);
                self.offsets.push(kept.offset);
                self.ends = Some((kept.clone(), kept));
            }
        }
    }

    pub(super) fn end(&mut self, bursts: &mut Vec<Remembered>) {
        let Some((first, last)) = self.ends.take() else {
            return;
        };
        let offsets = std::mem::take(&mut self.offsets);
        bursts.push(Remembered {
            burst: Burst::remembered(first.bytes_to(&last), offsets),
            ring: first.ring,
        });
    }
}
