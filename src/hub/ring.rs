//! What one room remembers: its newest messages, in pages.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::names::ClientId;
use crate::position::Offset;

/// A page is full at this many bytes of frames.
const PAGE_BYTES: usize = 16 * 1024;
/// A page is also full at this part of the messages that the ring may hold,
/// so that little is kept of a page whose oldest messages are gone.
const PAGE_PART: usize = 4;
/// A message larger than this shares the bytes it came in and has a page of
/// its own: it was published alone, so they hold nothing else.
const LARGE_MESSAGE: usize = 4096;
/// What a page costs beside its frames and marks, about.
const PAGE_OVERHEAD: usize = 160;
/// What a ring costs beside its pages, about: itself, its room and the
/// room's name.
const RING_OVERHEAD: usize = 512;

/// A time of the log's clock: milliseconds since the beginning of 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) u64);

/// How much a room remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The most messages; zero: the room remembers nothing.
    pub(crate) messages: usize,
    /// The most bytes of memory.
    pub(crate) bytes: usize,
    /// The oldest a message may be, in milliseconds.
    pub(super) age: u64,
    /// How many messages a client gets that asks for none.
    pub(super) replay: usize,
}

/// Which bound a message was dropped by, and how many messages were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trimmed {
    pub(super) count: u64,
    pub(crate) bytes: u64,
    pub(super) age: u64,
}

impl Trimmed {
    pub(super) fn plus(self, other: Trimmed) -> Trimmed {
        Trimmed {
            count: self.count + other.count,
            bytes: self.bytes + other.bytes,
            age: self.age + other.age,
        }
    }
}

/// The end of what is not remembered any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Floor {
    /// The highest offset that is gone.
    pub(super) offset: Offset,
    /// Everything that came later than this is still there.
    pub(crate) at: Millis,
}

impl Floor {
    /// The floor of two rings together.
    pub(super) fn max(self, other: Floor) -> Floor {
        Floor {
            offset: self.offset.max(other.offset),
            at: self.at.max(other.at),
        }
    }
}

/// What may have a ring.
pub(super) trait Remembers {
    fn ring(&self) -> Option<&Ring>;
    fn ring_mut(&mut self) -> Option<&mut Ring>;
}

/// The newest messages of one room.
#[derive(Debug)]
pub(super) struct Ring {
    pages: VecDeque<Page>,
    pub(super) bounds: Bounds,
    /// No other ring has it.
    pub(crate) id: u64,
    /// Somebody will look when its oldest message is too old.
    is_due: bool,
    floor: Floor,
    messages: usize,
    /// The memory of all pages, in bytes.
    held: usize,
}

/// Frames joined as they go out, and what is known of each.
#[derive(Debug)]
struct Page {
    frames: Frames,
    marks: Vec<Mark>,
    /// When its first message came; the others say how much later they did.
    begun: Millis,
    /// How many of its messages are gone, and their bytes.
    gone: usize,
    gone_bytes: usize,
}

#[derive(Debug)]
enum Frames {
    Growing(Vec<u8>),
    Sealed(Bytes),
}

/// What is known of a message beside its frame: 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: Offset,
    /// The client that does not receive it; zero: there is none.
    except: u64,
    /// Milliseconds since the page was begun.
    later: u32,
    len: u32,
}

/// A message to be remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) offset: Offset,
    pub(crate) frame: &'a [u8],
    pub(super) except: Option<ClientId>,
    pub(crate) at: Millis,
}

/// A message that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Kept<'a> {
    pub(super) offset: Offset,
    pub(crate) at: Millis,
    /// The ring that remembers it.
    pub(super) ring: u64,
    except: u64,
    page: &'a Page,
    range: Range<usize>,
}

impl Frames {
    fn as_slice(&self) -> &[u8] {
        match self {
            Frames::Growing(bytes) => bytes,
            Frames::Sealed(bytes) => bytes,
        }
    }
}

impl Page {
    fn new(begun: Millis) -> Page {
        Page {
            frames: Frames::Growing(Vec::new()),
            marks: Vec::new(),
            begun,
            gone: 0,
            gone_bytes: 0,
        }
    }

    fn memory(&self) -> usize {
        let frames = match &self.frames {
            Frames::Growing(bytes) => bytes.capacity(),
            Frames::Sealed(bytes) => bytes.len(),
        };
        frames + self.marks.capacity() * size_of::<Mark>() + PAGE_OVERHEAD
    }

    /// Takes a message, unless the page is full or the clock has gone on too
    /// far since it was begun.
    fn take(&mut self, arrival: &Arrival<'_>, most: usize) -> bool {
        let Frames::Growing(bytes) = &mut self.frames else {
            return false;
        };
        let later = arrival.at.0.saturating_sub(self.begun.0);
        let (Ok(later), Ok(len)) = (u32::try_from(later), u32::try_from(arrival.frame.len()))
        else {
            return false;
        };
        let fits = bytes.is_empty() || bytes.len() + arrival.frame.len() <= PAGE_BYTES;
        if !fits || self.marks.len() >= most {
            return false;
        }
        bytes.extend_from_slice(arrival.frame);
        self.marks.push(Mark {
            offset: arrival.offset,
            except: arrival.except.map_or(0, |client| client.0),
            later,
            len,
        });
        true
    }

    /// Gives back what was allocated ahead; nothing more is added.
    fn seal(&mut self) {
        if let Frames::Growing(bytes) = &mut self.frames {
            let bytes = std::mem::take(bytes).into_boxed_slice();
            self.frames = Frames::Sealed(Bytes::from(bytes));
            self.marks.shrink_to_fit();
        }
    }

    fn live(&self) -> &[Mark] {
        &self.marks[self.gone..]
    }

    fn at(&self, mark: &Mark) -> Millis {
        Millis(self.begun.0 + u64::from(mark.later))
    }

    fn newest(&self) -> Option<Millis> {
        self.marks.last().map(|mark| self.at(mark))
    }
}

impl<'a> Kept<'a> {
    pub(crate) fn frame(&self) -> &'a [u8] {
        &self.page.frames.as_slice()[self.range.clone()]
    }

    pub(super) fn is_for(&self, client: ClientId) -> bool {
        self.except != client.0
    }

    /// Whether `next` stands right behind this in one page, so that both
    /// are one piece of memory.
    pub(super) fn is_followed_by(&self, next: &Kept<'_>) -> bool {
        std::ptr::eq(self.page, next.page) && self.range.end == next.range.start
    }

    /// The frames from this one to `last`, which is in the same page: shared
    /// where the page is full, else copied.
    pub(super) fn bytes_to(&self, last: &Kept<'_>) -> Bytes {
        let range = self.range.start..last.range.end;
        match &self.page.frames {
            Frames::Growing(bytes) => Bytes::copy_from_slice(&bytes[range]),
            Frames::Sealed(bytes) => bytes.slice(range),
        }
    }
}

impl Ring {
    /// An empty ring. Nothing of the room up to `floor` is known.
    pub(super) fn new(bounds: Bounds, id: u64, floor: Floor) -> Ring {
        Ring {
            pages: VecDeque::new(),
            bounds,
            id,
            is_due: false,
            floor,
            messages: 0,
            held: RING_OVERHEAD,
        }
    }

    pub(super) fn floor(&self) -> Floor {
        self.floor
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The offset of the newest message, or the floor where there is none.
    pub(super) fn newest(&self) -> Offset {
        let newest = self.pages.back().and_then(|page| page.live().last());
        newest.map_or(self.floor.offset, |mark| mark.offset)
    }

    /// When the oldest message came.
    pub(super) fn oldest_at(&self) -> Option<Millis> {
        let page = self.pages.front()?;
        page.live().first().map(|mark| page.at(mark))
    }

    /// When its oldest message will be too old, unless somebody will look
    /// then already.
    pub(super) fn becomes_due(&mut self) -> Option<Millis> {
        if self.is_due {
            return None;
        }
        self.due_again()
    }

    /// When its oldest message will be too old, if it has any.
    pub(super) fn due_again(&mut self) -> Option<Millis> {
        let oldest = self.oldest_at();
        self.is_due = oldest.is_some();
        oldest.map(|at| Millis(at.0.saturating_add(self.bounds.age)))
    }

    /// Remembers a message. `shared` is what holds the frame of a message
    /// that was published alone.
    pub(super) fn append(&mut self, arrival: &Arrival<'_>, shared: Option<&Bytes>) {
        self.messages += 1;
        let large = shared.filter(|bytes| bytes.len() > LARGE_MESSAGE);
        if let Some(bytes) = large
            && let Ok(len) = u32::try_from(bytes.len())
        {
            self.seal();
            let mut page = Page::new(arrival.at);
            page.frames = Frames::Sealed(bytes.clone());
            page.marks = vec![Mark {
                offset: arrival.offset,
                except: arrival.except.map_or(0, |client| client.0),
                later: 0,
                len,
            }];
            self.push(page);
            return;
        }
        let most = self.bounds.messages.div_ceil(PAGE_PART).max(1);
        if let Some(page) = self.pages.back_mut() {
            let before = page.memory();
            let taken = page.take(arrival, most);
            self.held = self.held + page.memory() - before;
            if taken {
                return;
            }
            self.seal();
        }
        let mut page = Page::new(arrival.at);
        if page.take(arrival, most) {
            self.push(page);
        } else {
            // 4 GiB in one message: it is remembered as missing.
            self.messages -= 1;
            while self.drop_page() > 0 {}
            self.floor = Floor {
                offset: arrival.offset,
                at: arrival.at,
            };
        }
    }

    fn seal(&mut self) {
        if let Some(page) = self.pages.back_mut() {
            let before = page.memory();
            page.seal();
            self.held = self.held + page.memory() - before;
        }
    }

    fn push(&mut self, page: Page) {
        self.held += page.memory();
        self.pages.push_back(page);
    }

    /// Drops what is beyond the bounds, the oldest first.
    pub(super) fn trim(&mut self, now: Millis) -> Trimmed {
        let bounds = self.bounds;
        let mut trimmed = Trimmed::default();
        let eldest = Millis(now.0.saturating_sub(bounds.age));
        while self.oldest_at().is_some_and(|at| at < eldest) {
            let page_is_old = |page: &Page| page.newest().is_some_and(|at| at < eldest);
            trimmed.age += match self.pages.front() {
                Some(page) if page_is_old(page) => self.drop_page(),
                _ => self.drop_oldest(),
            };
        }
        while self.messages > bounds.messages {
            trimmed.count += self.drop_oldest();
        }
        while self.held > bounds.bytes && !self.is_empty() {
            trimmed.bytes += self.drop_page();
        }
        trimmed
    }

    /// Drops the oldest message. Returns how many were dropped.
    fn drop_oldest(&mut self) -> u64 {
        let Some(page) = self.pages.front_mut() else {
            return 0;
        };
        let Some(mark) = page.live().first().copied() else {
            return self.drop_page();
        };
        self.floor = Floor {
            offset: mark.offset,
            at: page.at(&mark),
        };
        self.messages -= 1;
        page.gone += 1;
        page.gone_bytes += mark.len as usize;
        if page.gone == page.marks.len() {
            self.drop_page();
        }
        1
    }

    /// Drops the oldest page. Returns how many messages were in it.
    pub(super) fn drop_page(&mut self) -> u64 {
        let Some(page) = self.pages.pop_front() else {
            return 0;
        };
        self.held -= page.memory();
        let live = page.live();
        if let Some(last) = live.last() {
            self.floor = Floor {
                offset: last.offset,
                at: page.at(last),
            };
        }
        self.messages -= live.len();
        live.len() as u64
    }

    /// Forgets everything.
    #[cfg(feature = "redis")]
    pub(super) fn clear(&mut self, floor: Floor) {
        while self.drop_page() > 0 || !self.pages.is_empty() {}
        self.floor = floor;
    }

    /// The messages after an offset, the oldest first.
    pub(super) fn after(&self, offset: Offset) -> impl Iterator<Item = Kept<'_>> {
        // Pages are few; within one, the place is searched.
        let begins = |page: &Page| page.marks.last().is_none_or(|mark| mark.offset <= offset);
        let first = self.pages.partition_point(begins);
        self.pages.range(first..).flat_map(move |page| {
            let skipped = page.live().partition_point(|mark| mark.offset <= offset);
            let passed = page.live()[..skipped].iter().map(|mark| mark.len as usize);
            let mut end = page.gone_bytes + passed.sum::<usize>();
            page.live()[skipped..].iter().map(move |mark| {
                let start = end;
                end += mark.len as usize;
                Kept {
                    offset: mark.offset,
                    at: page.at(mark),
                    ring: self.id,
                    except: mark.except,
                    page,
                    range: start..end,
                }
            })
        })
    }

    /// The offset after which the newest `count` messages come.
    pub(super) fn before_newest(&self, count: usize) -> Offset {
        let mut left = count;
        for page in self.pages.iter().rev() {
            let live = page.live();
            if left <= live.len() {
                let first = live.get(live.len() - left);
                return first.map_or(self.newest(), |mark| mark.offset.before());
            }
            left -= live.len();
        }
        self.floor.offset
    }

    /// The offset after which everything comes that came at `at` or later.
    pub(super) fn before_time(&self, at: Millis) -> Offset {
        let is_before = |page: &Page| page.newest().is_none_or(|newest| newest < at);
        let page = self.pages.partition_point(is_before);
        let Some(page) = self.pages.get(page) else {
            return self.newest();
        };
        let first = page.live().partition_point(|mark| page.at(mark) < at);
        let first = page.live().get(first);
        first.map_or(self.newest(), |mark| mark.offset.before())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        messages: 100,
        bytes: 256 * 1024,
        age: 1000,
        replay: 0,
    };

    fn ring() -> Ring {
        Ring::new(BOUNDS, 1, Floor::default())
    }

    fn put(ring: &mut Ring, offset: u64, frame: &[u8], at: u64) {
        let arrival = Arrival {
            offset: Offset(offset),
            frame,
            except: None,
            at: Millis(at),
        };
        let shared = Bytes::copy_from_slice(frame);
        ring.append(&arrival, Some(&shared));
    }

    fn offsets(ring: &Ring, after: u64) -> Vec<u64> {
        ring.after(Offset(after))
            .map(|kept| kept.offset.0)
            .collect()
    }

    #[test]
    fn a_mark_is_24_bytes() {
        assert_eq!(size_of::<Mark>(), 24);
    }

    #[test]
    fn it_gives_back_what_it_was_given() {
        let mut ring = ring();
        let frames: Vec<Vec<u8>> = (1..=90u64)
            .map(|n| vec![n as u8; if n % 10 == 0 { 5000 } else { n as usize * 7 }])
            .collect();
        for (n, frame) in (1..).zip(&frames) {
            put(&mut ring, n * 3, frame, n);
        }
        assert_eq!(ring.len(), 90);
        for after in [0, 1, 3, 29, 30, 31, 150, 269, 270, 271] {
            let kept: Vec<Kept<'_>> = ring.after(Offset(after)).collect();
            let expected = frames.iter().skip(after as usize / 3);
            assert!(kept.iter().map(Kept::frame).eq(expected.clone()), "{after}");
            for pair in kept.windows(2) {
                if pair[0].is_followed_by(&pair[1]) {
                    let both = [pair[0].frame(), pair[1].frame()].concat();
                    assert_eq!(pair[0].bytes_to(&pair[1]), both);
                }
            }
        }
        assert_eq!(ring.newest(), Offset(270));
        assert_eq!(ring.floor().offset, Offset(0));
    }

    #[test]
    fn the_oldest_go_by_count_exactly() {
        let mut ring = ring();
        for n in 1..=250 {
            put(&mut ring, n, b"frame", n);
            ring.trim(Millis(n));
            assert_eq!(ring.len(), 100.min(n as usize));
            assert_eq!(ring.floor().offset, Offset(n.saturating_sub(100)));
        }
        assert_eq!(offsets(&ring, 0), (151..=250).collect::<Vec<_>>());
        assert_eq!(offsets(&ring, 200), (201..=250).collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_go_by_age() {
        let mut ring = ring();
        for n in 1..=100 {
            put(&mut ring, n, b"frame", 10 * n);
        }
        let trimmed = ring.trim(Millis(1505));
        assert_eq!(trimmed.age, 50);
        assert_eq!(offsets(&ring, 0), (51..=100).collect::<Vec<_>>());
        assert_eq!(ring.floor().offset, Offset(50));
        assert_eq!(ring.trim(Millis(2001)).age, 50);
        assert!(ring.is_empty());
        assert_eq!((ring.newest(), ring.held()), (Offset(100), RING_OVERHEAD));
    }

    #[test]
    fn the_memory_it_says_it_holds_stays_within_its_bytes() {
        let mut ring = ring();
        ring.bounds.messages = 10_000;
        let bounds = ring.bounds;
        for n in 1..=5000 {
            let frame = vec![7; (n as usize * 37) % 6000];
            put(&mut ring, n, &frame, n / 100);
            ring.trim(Millis(n / 100));
            let pages: usize = ring.pages.iter().map(Page::memory).sum();
            assert_eq!(ring.held(), pages + RING_OVERHEAD);
            assert!(ring.held() <= bounds.bytes);
        }
        let frames: usize = ring.after(Offset(0)).map(|kept| kept.frame().len()).sum();
        assert!(frames > bounds.bytes * 3 / 4, "{frames}");
    }

    #[test]
    fn a_message_beyond_all_bounds_is_remembered_as_missing() {
        let mut ring = ring();
        put(&mut ring, 5, &vec![0; BOUNDS.bytes], 1);
        assert_eq!(ring.trim(Millis(1)).bytes, 1);
        assert_eq!((ring.is_empty(), ring.floor().offset), (true, Offset(5)));
    }

    #[test]
    fn a_few_bytes_beside_a_full_page_of_small_messages() {
        let mut ring = ring();
        ring.bounds.messages = 10_000;
        for n in 1..=4000 {
            let arrival = Arrival {
                offset: Offset(n),
                frame: &[0; 130],
                except: None,
                at: Millis(1),
            };
            ring.append(&arrival, None);
        }
        ring.seal();
        let beside = ring.held() - 4000 * 130 - RING_OVERHEAD;
        assert!(beside <= 4000 * 26, "{beside}");
    }

    #[test]
    fn the_newest_and_the_latest_are_found() {
        let floor = Floor {
            offset: Offset(7),
            at: Millis(0),
        };
        let mut ring = Ring::new(BOUNDS, 1, floor);
        assert_eq!(ring.before_newest(3), Offset(7));
        assert_eq!(ring.before_time(Millis(0)), Offset(7));
        for n in 1..=60 {
            put(&mut ring, 10 * n, &[1; 300], 5 * n);
        }
        for count in 0..=60 {
            let after = ring.before_newest(count);
            assert_eq!(ring.after(after).count(), count);
        }
        assert_eq!(ring.after(ring.before_newest(usize::MAX)).count(), 60);
        for at in [0, 1, 5, 6, 149, 150, 300, 301] {
            let after = ring.before_time(Millis(at));
            let expected = (1..=60).filter(|n| 5 * n >= at).count();
            assert_eq!(ring.after(after).count(), expected, "{at}");
        }
    }

    #[test]
    fn a_page_of_another_month_says_its_time() {
        let mut ring = ring();
        let month = 60 * 24 * 60 * 60 * 1000;
        put(&mut ring, 1, b"a", 1);
        put(&mut ring, 2, b"b", month);
        let times: Vec<u64> = ring.after(Offset(0)).map(|kept| kept.at.0).collect();
        assert_eq!(times, [1, month]);
    }
}
