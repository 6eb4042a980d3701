//! What all rooms remember: how much each may, and how much all together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ring::{Arrival, Bounds, Floor, Kept, Millis, Remembers, Ring, Trimmed};
use super::slab::Slab;
use crate::config::Config;
use crate::names::ClientId;
use crate::position::Offset;
use crate::room_rule::{RoomRule, RoomSettings};
use crate::stats::Counters;
use crate::wire::burst::Burst;

/// How many places are looked at to find the room that holds the most.
const SAMPLE: usize = 16;
/// Old messages are dropped this often at most.
const LOOK_INTERVAL: u64 = 1000;
/// Messages that come to the hub later than this after they came to the log
/// are late.
#[cfg(feature = "redis")]
const LATE: u64 = 5000;
/// How many rooms are relieved of old messages at once.
const LOOK_ROOMS: usize = 256;

/// What all rooms remember. The ring of a room is with the room.
#[derive(Debug)]
pub(super) struct History {
    everywhere: RoomSettings,
    rules: Vec<RoomRule>,
    /// What was said to everybody, which belongs to every room.
    everybody: Ring,
    /// The floor of the rooms that are not known.
    unknown: Floor,
    total: usize,
    /// The memory of all rings, in bytes.
    held: usize,
    clock: Clock,
    /// When a message of a room will be too old; an entry for each ring
    /// that is not empty, or was not when it was last looked at.
    due: BinaryHeap<Reverse<(Millis, u32, u64)>>,
    /// When this was last looked at.
    looked: Millis,
    rings_made: u64,
    /// When the messages came to the log that come to the hub now.
    #[cfg(feature = "redis")]
    came: Millis,
    /// Where the next sample begins.
    sampled: u32,
    counters: Arc<Counters>,
}

/// The log's clock. It goes on evenly, whatever is done to the system's.
#[derive(Debug)]
struct Clock {
    begun: Instant,
    begun_at: Millis,
    /// The time of this pass of the hub.
    now: Option<Millis>,
}

impl Clock {
    fn new() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            begun: Instant::now(),
            begun_at: Millis(millis(since_1970.unwrap_or_default())),
            now: None,
        }
    }

    fn now(&mut self) -> Millis {
        let passed = || Millis(self.begun_at.0 + millis(self.begun.elapsed()));
        *self.now.get_or_insert_with(passed)
    }

    fn instant(&self, at: Millis) -> Instant {
        self.begun + Duration::from_millis(at.0.saturating_sub(self.begun_at.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn bounds(settings: RoomSettings) -> Bounds {
    Bounds {
        messages: settings.history,
        bytes: settings.history_bytes,
        age: millis(settings.history_age),
        replay: settings.replay,
    }
}

impl History {
    pub(super) fn new(config: &Config, counters: Arc<Counters>) -> History {
        let mut clock = Clock::new();
        let unknown = Floor {
            offset: Offset::NONE,
            at: clock.now(),
        };
        let everywhere = config.room_settings("");
        let of_rule =
            |rule: &RoomRule| everywhere.in_room(std::slice::from_ref(rule), &rule.pattern);
        let all = config.room.iter().map(of_rule);
        let widest = all.fold(everywhere, RoomSettings::widest);
        History {
            everywhere,
            rules: config.room.clone(),
            everybody: Ring::new(bounds(widest), 0, unknown),
            unknown,
            total: config.history_total,
            held: 0,
            clock,
            due: BinaryHeap::new(),
            looked: Millis(0),
            rings_made: 0,
            #[cfg(feature = "redis")]
            came: Millis(0),
            sampled: 0,
            counters,
        }
    }

    /// Whether any room may remember anything.
    pub(super) fn is_on(&self) -> bool {
        self.everybody.bounds.messages > 0
    }

    /// A ring for a room that becomes known, if such a room remembers.
    pub(super) fn ring_for(&mut self, room: &str) -> Option<Box<Ring>> {
        if !self.is_on() {
            return None;
        }
        let settings = self.everywhere.in_room(&self.rules, room);
        if settings.history == 0 {
            return None;
        }
        self.rings_made += 1;
        let ring = Ring::new(bounds(settings), self.rings_made, self.unknown);
        self.held += ring.held();
        Some(Box::new(ring))
    }

    /// Whether a room shows who is in it.
    pub(super) fn shows_presence(&self, room: &str) -> bool {
        let may = self.everywhere.presence || !self.rules.is_empty();
        may && self.everywhere.in_room(&self.rules, room).presence
    }

    /// Whether a room that is not known would remember what is said there.
    pub(super) fn remembers(&self, room: &str) -> bool {
        self.is_on() && self.everywhere.in_room(&self.rules, room).history > 0
    }

    /// Forgets a room; what it had and lost is not known any more.
    pub(super) fn forget(&mut self, ring: &Ring) {
        self.held -= ring.held();
        self.unknown = self.unknown.max(ring.floor());
    }

    /// Up to where a room's messages are not all there. Of a room that
    /// remembers nothing, all are gone.
    pub(super) fn floor(&self, room: &str, ring: Option<&Ring>, head: Offset) -> Floor {
        let own = match ring {
            Some(ring) => ring.floor(),
            None if self.remembers(room) => self.unknown,
            None => Floor {
                offset: head,
                at: Millis(u64::MAX),
            },
        };
        own.max(self.everybody.floor())
    }

    /// Up to where what was said to everybody is not all there.
    pub(super) fn floor_of_all(&self) -> Offset {
        self.everybody.floor().offset
    }

    pub(super) fn now(&mut self) -> Millis {
        self.clock.now()
    }

    /// When the next messages came to the log. Those that are read late are
    /// as old as the log says; the others are of this moment, whatever the
    /// engine's clock is.
    #[cfg(feature = "redis")]
    pub(super) fn came(&mut self, at: Millis) {
        let now = self.clock.now();
        let is_late = at.0.saturating_add(LATE) < now.0;
        self.came = self.came.max(if is_late { at } else { now });
    }

    /// The time of the messages that come to the hub now.
    fn arrival(&mut self, now: Millis) -> Millis {
        #[cfg(feature = "redis")]
        if self.came > Millis(0) {
            return self.came.min(now);
        }
        now
    }

    /// A ring holds less than it did.
    #[cfg(feature = "redis")]
    pub(super) fn shrunk(&mut self, bytes: usize) {
        self.held -= bytes;
    }

    /// Of no room is anything known up to here.
    #[cfg(feature = "redis")]
    pub(super) fn forget_everything(&mut self, floor: Floor) {
        let held = self.everybody.held();
        self.everybody.clear(floor);
        self.shrunk(held - self.everybody.held());
        self.unknown = floor;
    }

    /// The time goes on.
    pub(super) fn end_pass(&mut self) {
        self.clock.now = None;
        self.counters.history_bytes.set(self.held as u64);
    }

    /// Remembers messages of a room, which may make another room forget.
    pub(super) fn remember(
        &mut self,
        rooms: &mut Slab<impl Remembers>,
        place: u32,
        burst: &Burst,
        except: Option<ClientId>,
    ) {
        let now = self.clock.now();
        let at = self.arrival(now);
        let Some(ring) = rooms.get_mut(place).and_then(Remembers::ring_mut) else {
            return;
        };
        let held = ring.held();
        append(ring, burst, except, at);
        let trimmed = ring.trim(now);
        self.held = self.held + ring.held() - held;
        if let Some(due) = ring.becomes_due() {
            self.due.push(Reverse((due, place, ring.id)));
        }
        self.count(trimmed);
        self.relieve(rooms, place);
    }

    /// Remembers messages to everybody.
    pub(super) fn remember_for_all(
        &mut self,
        rooms: &mut Slab<impl Remembers>,
        burst: &Burst,
        except: Option<ClientId>,
    ) {
        if !self.is_on() {
            return;
        }
        let now = self.clock.now();
        let at = self.arrival(now);
        let held = self.everybody.held();
        append(&mut self.everybody, burst, except, at);
        let trimmed = self.everybody.trim(now);
        self.held = self.held + self.everybody.held() - held;
        self.count(trimmed);
        self.relieve(rooms, u32::MAX);
    }

    fn count(&self, trimmed: Trimmed) {
        let counters = &self.counters;
        counters.forgotten_by_count.add(trimmed.count);
        counters.forgotten_by_bytes.add(trimmed.bytes);
        counters.forgotten_by_age.add(trimmed.age);
    }

    /// Drops the oldest page of the room that holds the most, of some, for
    /// as long as all rooms together hold too much.
    fn relieve(&mut self, rooms: &mut Slab<impl Remembers>, current: u32) {
        while self.held > self.total {
            let held = |place| {
                let ring = rooms.get(place).and_then(Remembers::ring);
                ring.filter(|ring| !ring.is_empty()).map(|ring| ring.held())
            };
            let places = rooms.places().max(1);
            let sample = (0..SAMPLE as u32).map(|n| self.sampled.wrapping_add(n) % places);
            let sample = sample.chain([current]);
            let largest = sample.filter_map(|place| Some((held(place)?, place))).max();
            self.sampled = self.sampled.wrapping_add(SAMPLE as u32) % places;
            let everybody = self.everybody.held();
            let dropped = match largest {
                Some((held, place)) if held >= everybody || self.everybody.is_empty() => {
                    let Some(ring) = rooms.get_mut(place).and_then(Remembers::ring_mut) else {
                        return;
                    };
                    let before = ring.held();
                    let dropped = ring.drop_page();
                    self.held = self.held + ring.held() - before;
                    dropped
                }
                _ => {
                    let dropped = self.everybody.drop_page();
                    self.held = self.held + self.everybody.held() - everybody;
                    dropped
                }
            };
            self.counters.forgotten_by_total.add(dropped);
            if dropped == 0 {
                // Only rooms that remember nothing at present, and what they
                // cost, are left in the sample.
                return;
            }
        }
    }

    /// When the hub is to look for messages that have become too old: once
    /// in a second at most.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let Reverse((due, ..)) = self.due.peek()?;
        let at = due.0.max(self.looked.0 + LOOK_INTERVAL);
        Some(self.clock.instant(Millis(at)))
    }

    /// Drops messages that have become too old. Returns the rooms that have
    /// none left.
    pub(super) fn look(&mut self, rooms: &mut Slab<impl Remembers>) -> Vec<u32> {
        let mut emptied = Vec::new();
        if self.due.is_empty() {
            return emptied;
        }
        let now = self.clock.now();
        if now.0 < self.looked.0 + LOOK_INTERVAL {
            return emptied;
        }
        self.looked = now;
        for _ in 0..LOOK_ROOMS {
            let due = self.due.peek();
            if due.is_none_or(|Reverse((due, ..))| *due >= now) {
                break;
            }
            let Some(Reverse((_, place, id))) = self.due.pop() else {
                break;
            };
            let ring = rooms.get_mut(place).and_then(Remembers::ring_mut);
            // Another room may have the place by now.
            let Some(ring) = ring.filter(|ring| ring.id == id) else {
                continue;
            };
            let held = ring.held();
            let trimmed = ring.trim(now);
            self.held = self.held + ring.held() - held;
            match ring.due_again() {
                Some(due) => self.due.push(Reverse((due, place, id))),
                None => emptied.push(place),
            }
            self.count(trimmed);
        }
        emptied
    }

    /// Drops what is too old of a room that is asked.
    pub(super) fn refresh(&mut self, rooms: &mut Slab<impl Remembers>, place: u32) {
        if !self.is_on() {
            return;
        }
        let now = self.clock.now();
        let room = rooms.get_mut(place).and_then(Remembers::ring_mut);
        let mut trimmed = Trimmed::default();
        for ring in room.into_iter().chain([&mut self.everybody]) {
            let held = ring.held();
            trimmed = trimmed.plus(ring.trim(now));
            self.held = self.held + ring.held() - held;
        }
        self.count(trimmed);
    }

    /// What rooms remember after an offset, each with where to begin, and
    /// what was said to everybody, in the order of the log.
    pub(super) fn after<'a>(
        &'a self,
        rings: impl Iterator<Item = (&'a Ring, Offset)>,
        after: Offset,
    ) -> Merged<'a> {
        let own = rings.map(|(ring, from)| Source::new(ring, from.max(after)));
        let sources = own.chain([Source::new(&self.everybody, after)]);
        Merged {
            sources: sources.collect(),
        }
    }

    /// The offset after which the newest `count` messages of a room come,
    /// those to everybody included.
    pub(super) fn before_newest(&self, ring: &Ring, count: usize) -> Offset {
        if self.everybody.is_empty() {
            return ring.before_newest(count);
        }
        let after = ring
            .before_newest(count)
            .min(self.everybody.before_newest(count))
            .max(ring.floor().max(self.everybody.floor()).offset);
        let all = self.after([(ring, Offset::NONE)].into_iter(), after);
        let too_many = all.count().saturating_sub(count);
        let mut all = self.after([(ring, Offset::NONE)].into_iter(), after);
        match too_many {
            0 => after,
            _ => all.nth(too_many - 1).map_or(after, |kept| kept.offset),
        }
    }

    /// The offset after which everything comes that came at `at` or later.
    pub(super) fn before_time(&self, ring: &Ring, at: Millis) -> Offset {
        let room = ring.before_time(at);
        match self.everybody.is_empty() {
            true => room,
            false => room.min(self.everybody.before_time(at)),
        }
    }

    /// Lets the log's clock go on.
    #[cfg(test)]
    pub(super) fn advance(&mut self, by: Duration) {
        self.clock.begun_at.0 += millis(by);
        self.clock.now = None;
    }

    /// The memory of all rings, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

fn append(ring: &mut Ring, burst: &Burst, except: Option<ClientId>, at: Millis) {
    let alone = (burst.messages == 1).then_some(&burst.bytes);
    for (index, frame) in burst.slices().enumerate() {
        let arrival = Arrival {
            offset: burst.offset(index),
            frame,
            except,
            at,
        };
        ring.append(&arrival, alone);
    }
}

/// Messages of several rings in the order of the log.
pub(super) struct Merged<'a> {
    sources: Vec<Source<'a>>,
}

struct Source<'a> {
    next: Option<Kept<'a>>,
    rest: Box<dyn Iterator<Item = Kept<'a>> + 'a>,
}

impl<'a> Source<'a> {
    fn new(ring: &'a Ring, after: Offset) -> Source<'a> {
        let mut rest = Box::new(ring.after(after));
        Source {
            next: rest.next(),
            rest,
        }
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = Kept<'a>;

    fn next(&mut self) -> Option<Kept<'a>> {
        let waiting = self
            .sources
            .iter_mut()
            .filter(|source| source.next.is_some());
        let source = waiting.min_by_key(|source| source.next.as_ref().map(|kept| kept.offset))?;
        std::mem::replace(&mut source.next, source.rest.next())
    }
}
