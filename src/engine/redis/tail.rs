//! The end of the log that a node keeps, to put it back where it is lost.

use std::collections::VecDeque;
use std::time::Duration;

use super::keys::{Entry, Id};
use crate::position::Offset;

/// What an entry costs beside its records, about.
const PLACE: usize = 200;
/// Marks are this far apart in bytes or in milliseconds, whichever is less.
const MARK_BYTES: u64 = 64 * 1024;
const MARK_MILLIS: u64 = 1000;

/// The newest entries of the log.
#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    pub(super) fn new(max_bytes: usize) -> Tail {
        Tail {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.records.len() + PLACE;
        self.entries.push_back(entry);
        while self.bytes > self.max_bytes && self.entries.len() > 1 {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.records.len() + PLACE;
            }
        }
    }

    /// The offset before the first message that it has.
    pub(super) fn begin(&self) -> Option<Offset> {
        let first = self.entries.front()?;
        Some(Offset(first.id.last.0 - first.messages))
    }

    /// The entries behind an offset.
    pub(super) fn after(&self, offset: Offset) -> Vec<Entry> {
        let behind = self.entries.iter().filter(|entry| entry.id.last > offset);
        behind.cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    /// Takes away the entries behind an offset.
    pub(super) fn cut(&mut self, offset: Offset) -> Vec<Entry> {
        let kept = self
            .entries
            .partition_point(|entry| entry.id.last <= offset);
        let gone: Vec<Entry> = self.entries.split_off(kept).into();
        self.bytes -= gone
            .iter()
            .map(|entry| entry.records.len() + PLACE)
            .sum::<usize>();
        gone
    }

    pub(super) fn clear(&mut self) {
        self.cut(Offset::NONE);
        self.entries.clear();
        self.bytes = 0;
    }
}

/// How much of the log the engine keeps. Redis can bound a stream by its
/// length only, so the nodes say what may go: they know the size and the time
/// of everything they have read.
#[derive(Debug)]
pub(super) struct Retention {
    marks: VecDeque<Mark>,
    /// All bytes read so far.
    bytes: u64,
    /// The time of the newest entry.
    time: u64,
    max_bytes: u64,
    max_age: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    id: Id,
    time: u64,
    bytes: u64,
}

impl Retention {
    pub(super) fn new(max_bytes: usize, max_age: Duration) -> Retention {
        Retention {
            marks: VecDeque::new(),
            bytes: 0,
            time: 0,
            max_bytes: max_bytes as u64,
            max_age: u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn read(&mut self, entry: &Entry) {
        let is_due = self.marks.back().is_none_or(|mark| {
            self.bytes - mark.bytes >= MARK_BYTES
                || entry.time >= mark.time.saturating_add(MARK_MILLIS)
        });
        if is_due {
            self.marks.push_back(Mark {
                id: entry.id,
                time: entry.time,
                bytes: self.bytes,
            });
        }
        self.bytes += (entry.records.len() + PLACE) as u64;
        self.time = entry.time;
        // Of the marks that may go, the newest is the one that counts.
        while let Some(second) = self.marks.get(1) {
            let is_past = self.bytes - second.bytes > self.max_bytes
                || self.time > second.time.saturating_add(self.max_age);
            if !is_past {
                break;
            }
            self.marks.pop_front();
        }
    }

    /// Entries before this one may go. Those without messages share an offset,
    /// and may be all there is.
    pub(super) fn trim(&self) -> Id {
        let first = self.marks.front().filter(|mark| {
            self.bytes - mark.bytes > self.max_bytes
                || self.time > mark.time.saturating_add(self.max_age)
        });
        first.map_or(Id::default(), |mark| mark.id)
    }

    /// The log begins anew.
    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;

    fn entry(last: u64, messages: u64, bytes: usize) -> Entry {
        Entry {
            id: Id {
                last: Offset(last),
                extra: u64::from(messages == 0),
            },
            node: "a".to_owned(),
            batch: last,
            messages,
            epoch: Epoch::parse("aaaaaaaa").unwrap(),
            time: last * 10,
            records: vec![0; bytes].into(),
        }
    }

    #[test]
    fn a_tail_is_bounded_and_can_be_cut() {
        let mut tail = Tail::new(10 * (100 + PLACE));
        assert_eq!(tail.begin(), None);
        for n in 1..=30 {
            tail.push(entry(3 * n, 3, 100));
        }
        assert_eq!(tail.all().len(), 10);
        assert_eq!(tail.begin(), Some(Offset(60)));
        assert_eq!(tail.after(Offset(84)).len(), 2);
        let gone = tail.cut(Offset(84));
        assert_eq!(
            gone.iter().map(|e| e.id.last.0).collect::<Vec<_>>(),
            [87, 90]
        );
        tail.push(entry(85, 1, 50 * PLACE));
        assert_eq!(tail.all().len(), 1, "one entry may always be there");
        tail.clear();
        assert_eq!((tail.bytes, tail.all()), (0, Vec::new()));
    }

    #[test]
    fn what_is_over_may_go() {
        let mut retention = Retention::new(1024 * 1024, Duration::from_secs(3600));
        for n in 1..=15 {
            retention.read(&entry(n, 1, 64 * 1024));
            assert_eq!(retention.trim(), Id::default(), "{n}");
        }
        for n in 16..=40 {
            retention.read(&entry(n, 1, 64 * 1024));
        }
        let trim = retention.trim().last.0;
        assert!((23..=25).contains(&trim), "{trim}");

        let mut retention = Retention::new(1 << 30, Duration::from_secs(10));
        for n in 1..=3000 {
            retention.read(&entry(n, 1, 10));
        }
        let trim = retention.trim().last.0;
        assert!((1800..=2000).contains(&trim), "{trim}");
        assert!(retention.marks.len() < 20);

        // Nobody says anything, and members come and go.
        let mut retention = Retention::new(1024 * 1024, Duration::from_secs(3600));
        for n in 1..=40 {
            let mut bare = entry(7, 0, 64 * 1024);
            bare.id.extra = n;
            retention.read(&bare);
        }
        let trim = retention.trim();
        assert_eq!(trim.last, Offset(7));
        assert!((23..=25).contains(&trim.extra), "{trim}");
    }
}
