//! What the two threads of a node share: how far the log was read, its tail,
//! and the batches that were not read back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::Address;
use super::announce::Announcements;
use super::connection::Fault;
use super::keys::{Beat, Entry, Holding, Id, Keys, Open, Sign};
use super::place::Place;
use super::roster::{Roster, Turn};
use super::spool::{Batch, Load, Spool};
use super::status::Status;
use super::tail::{Retention, Tail};
use crate::engine::records;
use crate::hub::Committed;
use crate::names::NodeTag;
use crate::net::Stop;
use crate::position::{Descent, Epoch, Lineage, Offset, Position};

/// So many nodes' newest batches are remembered before those of nodes that
/// are gone are forgotten.
const KNOWN_NODES: usize = 4096;

/// One server of several.
#[derive(Debug)]
pub(super) struct Node {
    /// Another one after each start.
    pub(super) id: String,
    /// What it tells of itself: the program's version, and what people call it.
    pub(super) about: String,
    pub(super) address: Address,
    pub(super) timeout: Duration,
    pub(super) keys: Keys,
    pub(super) spool: Arc<Spool>,
    /// What others are told about members, where rooms show who is in them.
    pub(super) announcements: Option<Arc<Announcements>>,
    pub(super) status: Arc<Status>,
    /// Ends both threads.
    pub(super) stop: Arc<Stop>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct Progress {
    /// The log that this node is attached to; `None` while it is not.
    pub(super) open: Option<Open>,
    /// Whether it must attach again, because what it reads is of another log.
    pub(super) is_doubtful: bool,
    /// The engine may be gone: one of the two connections has broken.
    is_suspect: bool,
    /// The log that was read, and how far.
    lineage: Option<Lineage>,
    depth: u64,
    head: Offset,
    tail: Tail,
    retention: Retention,
    /// What was appended, perhaps, and not read back.
    unread: VecDeque<Batch>,
    next_batch: u64,
    /// The newest batch of each node that was given to the hub.
    delivered: HashMap<String, u64>,
    /// The newest notice of the engine that was taken.
    notice: Option<(Epoch, Id)>,
    roster: Roster,
}

/// What becomes of entries that were read.
#[derive(Debug)]
pub(super) struct Taken {
    /// What they are for the hub.
    pub(super) committed: Committed,
    /// Where to read on.
    pub(super) cursor: Id,
    /// What they tell of nodes.
    pub(super) turns: Vec<Turn>,
}

impl Node {
    pub(super) fn new(
        (id, name): (String, String),
        address: Address,
        timeout: Duration,
        keys: Keys,
        spool: Arc<Spool>,
        (tail, retention): (Tail, Retention),
        stop: Arc<Stop>,
    ) -> Node {
        let about = format!("{} {name}", env!("CARGO_PKG_VERSION"));
        let roster = Roster::new(&id, &about, timeout);
        Node {
            id,
            about,
            address,
            timeout,
            keys,
            spool,
            announcements: None,
            status: Arc::new(Status::new()),
            stop,
            progress: Mutex::new(Progress {
                open: None,
                is_doubtful: false,
                is_suspect: false,
                lineage: None,
                depth: 0,
                head: Offset::NONE,
                tail,
                retention,
                unread: VecDeque::new(),
                next_batch: 1,
                delivered: HashMap::new(),
                notice: None,
                roster,
            }),
            changed: Condvar::new(),
        }
    }

    /// Tells its clients from those of other nodes.
    pub(super) fn tag(&self) -> Option<NodeTag> {
        NodeTag::of_node(&self.id)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_so` gives something; fails at the deadline with
    /// `None`, or when the node stops.
    pub(super) fn wait_until<T>(
        &self,
        deadline: Instant,
        mut is_so: impl FnMut(&mut Progress) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let mut progress = self.lock();
        loop {
            if self.stop.is_triggered() {
                return Err(Fault::Stopping);
            }
            if let Some(value) = is_so(&mut progress) {
                return Ok(Some(value));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let woken = self.changed.wait_timeout(progress, left);
            progress = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes who waits for a change.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// From here on nothing that is read is given to the hub, so that what
    /// this node says it has is what anybody has seen of it.
    pub(super) fn detach(&self) -> Holding {
        let mut progress = self.lock();
        progress.open = None;
        progress.is_doubtful = false;
        Holding {
            depth: progress.depth,
            epoch: progress.lineage.as_ref().map(Lineage::epoch),
            head: progress.head,
        }
    }

    /// The log is open.
    pub(super) fn attached(&self, open: Open) {
        self.lock().open = Some(open);
        self.changed.notify_all();
    }

    /// What was read is of another log than this node is attached to.
    pub(super) fn doubt(&self) {
        self.lock().is_doubtful = true;
        self.spool.nudge();
    }

    /// The connection by which the log is read has broken. If the engine is
    /// gone, a sign of life shows it at once.
    pub(super) fn suspect(&self) {
        self.lock().is_suspect = true;
        self.spool.nudge();
    }

    pub(super) fn take_suspicion(&self) -> bool {
        std::mem::take(&mut self.lock().is_suspect)
    }

    /// The signs of life, and how long ago the engine told them.
    pub(super) fn signs(&self) -> (Vec<Sign>, Duration) {
        let progress = self.lock();
        let (signs, since) = progress.roster.signs();
        (signs.to_vec(), since)
    }

    /// Takes the signs of life that the engine has.
    pub(super) fn see(&self, beat: Beat) -> Vec<Turn> {
        self.status.beat(beat.next, beat.nodes.len() as u64);
        self.lock().roster.see(beat)
    }

    /// The nodes that are waited for when the log must be put back.
    pub(super) fn others(&self) -> Vec<String> {
        self.lock().roster.alive().cloned().collect()
    }

    /// Puts a batch among those that were not read back, before it is
    /// appended. Returns its number.
    pub(super) fn begin_batch(&self) -> Option<(u64, u64, bytes::Bytes, Id)> {
        let mut progress = self.lock();
        let number = progress.next_batch;
        let batch = self.spool.take(number)?;
        Some(progress.begin(batch))
    }

    /// The same with what others are told about members, if anything waits.
    pub(super) fn begin_attendance(&self) -> Option<(u64, u64, bytes::Bytes, Id)> {
        let records = self.announcements.as_ref()?.take()?;
        Some(self.begin_bare(records))
    }

    /// The same with a batch that shows that entries come back.
    pub(super) fn begin_probe(&self) -> (u64, u64, bytes::Bytes, Id) {
        let mut records = Vec::new();
        records::write_up(&mut records);
        self.begin_bare(records)
    }

    /// Begins a batch without messages.
    fn begin_bare(&self, records: Vec<u8>) -> (u64, u64, bytes::Bytes, Id) {
        let mut progress = self.lock();
        let number = progress.next_batch;
        progress.begin(Batch {
            number,
            messages: 0,
            records: records.into(),
            receipts: Vec::new(),
            load: Load::default(),
            taken: Instant::now(),
        })
    }

    /// The next batch behind `number` that was not read back.
    pub(super) fn unread_after(&self, number: u64) -> Option<(u64, u64, bytes::Bytes, Id)> {
        let progress = self.lock();
        let mut batches = progress.unread.iter();
        let batch = batches.find(|batch| batch.number > number)?;
        let trim = progress.retention.trim();
        Some((batch.number, batch.messages, batch.records.clone(), trim))
    }

    /// How long the oldest batch has not been read back.
    pub(super) fn oldest_unread(&self) -> Option<Duration> {
        let progress = self.lock();
        progress.unread.front().map(|batch| batch.taken.elapsed())
    }

    /// The reader is at the log that the node is attached to. Returns what
    /// the hub must know, and where to read on if that changes. `first` is
    /// the log's first entry.
    pub(super) fn adopt(&self, open: &Open, first: Option<&Entry>) -> Option<(Committed, Id)> {
        let mut progress = self.lock();
        let progress = &mut *progress;
        let lineage = open.lineage.clone();
        let descent = progress.lineage.as_ref().map(|own| lineage.fork(own));
        let head = progress.head;
        let (head, is_broken) = match descent {
            Some(Descent::Valid) => return None,
            Some(Descent::Cut(cut)) if head <= cut => (head, false),
            Some(Descent::Cut(cut)) => {
                progress.take_back(cut, &self.id, &self.spool);
                (cut, true)
            }
            Some(Descent::Unknown) | None => {
                let begin = first.map(|first| Offset(first.id.last.0 - first.messages));
                progress.tail.clear();
                progress.retention.clear();
                (begin.unwrap_or(open.next.before()), true)
            }
        };
        if is_broken && descent.is_some() {
            self.status.gaps.add(1);
            self.ask_others();
        }
        let is_new = !matches!(descent, Some(Descent::Cut(_)));
        progress.head = head;
        progress.depth = open.depth;
        progress.lineage = Some(lineage.clone());
        self.status.epochs.add(1);
        let committed = Committed {
            lineage: Some(lineage),
            break_at: is_broken.then_some(head),
            ..Committed::default()
        };
        let cursor = match is_new {
            true => Id::default(),
            false => Id {
                last: head,
                extra: 0,
            },
        };
        Some((committed, cursor))
    }

    /// Whether the reader has come to the end of the log as it was when the
    /// node attached.
    pub(super) fn is_read(progress: &Progress) -> bool {
        let lineage = progress.lineage.as_ref();
        progress.open.as_ref().is_some_and(|open| {
            lineage.is_some_and(|lineage| lineage.epoch() == open.lineage.epoch())
                && progress.head.plus(1) >= open.next
        })
    }

    /// Takes entries that were read from the log of `run`; `None`: the node is
    /// attaching, or must.
    pub(super) fn take(&self, run: &str, entries: Vec<Entry>) -> Option<Taken> {
        let mut progress = self.lock();
        let progress = &mut *progress;
        // What was asked for before the node attached may be void since.
        let is_current = |own: &Lineage| {
            let open = progress.open.as_ref();
            open.is_some_and(|open| open.run == run && open.lineage.epoch() == own.epoch())
        };
        let lineage = progress.lineage.clone().filter(is_current)?;
        if Node::is_read(progress) {
            // What comes now was written by nodes that live.
            progress.roster.hear(&entries);
        }
        let mut committed = Committed::default();
        let mut turns = Vec::new();
        let mut cursor = None;
        for entry in entries {
            let position = Position {
                epoch: entry.epoch,
                offset: entry.id.last,
            };
            if lineage.descent(position) != Descent::Valid {
                // Of an epoch that this node has not attached to.
                progress.is_doubtful = true;
                self.spool.nudge();
                break;
            }
            let first = entry.id.last.plus(1).0 - entry.messages;
            if first > progress.head.0 + 1 {
                if !committed.is_empty() {
                    break;
                }
                // The log does not reach back to where this node was.
                self.status.gaps.add(1);
                self.status.gap_messages.add(first - progress.head.0 - 1);
                progress.tail.clear();
                self.ask_others();
                committed.break_at = Some(Offset(first - 1));
            }
            if progress.came_before(&entry) {
                if !committed.is_empty() {
                    break;
                }
                committed.forget = Some(entry.id.last);
            }
            cursor = Some(entry.id);
            turns.extend(self.take_one(progress, entry, Offset(first), &mut committed));
        }
        self.changed.notify_all();
        Some(Taken {
            committed,
            cursor: cursor?,
            turns,
        })
    }

    /// Takes one entry; returns what it tells of nodes.
    fn take_one(
        &self,
        progress: &mut Progress,
        entry: Entry,
        first: Offset,
        committed: &mut Committed,
    ) -> Vec<Turn> {
        let is_own = entry.node == self.id;
        let mut receipts = Vec::new();
        while is_own
            && progress
                .unread
                .front()
                .is_some_and(|batch| batch.number <= entry.batch)
            && let Some(batch) = progress.unread.pop_front()
        {
            self.spool.release(batch.load);
            self.status.read_back(batch.taken.elapsed());
            receipts = batch.receipts;
        }
        let mut turns = Vec::new();
        if entry.messages > 0 && entry.id.last <= progress.head {
            return turns;
        }
        progress.head = progress.head.max(entry.id.last);
        self.status.head.set(progress.head.0);
        self.status.came(entry.time);
        let newest = progress.delivered.get(&entry.node).copied().unwrap_or(0);
        if entry.batch > newest {
            progress.forget_nodes();
            progress.delivered.insert(entry.node.clone(), entry.batch);
            let place = Place {
                first,
                time: entry.time,
                is_own,
                tag: self.tag(),
                receipts,
            };
            match records::read(entry.records.clone()) {
                Ok(read) => {
                    self.status.unknown_records.add(read.unknown);
                    self.attend(&entry.node, &read.records, committed);
                    place.records(read.records, entry.messages, committed);
                }
                Err(records::Malformed) => self.status.malformed_entries.add(1),
            }
        } else if entry.messages > 0 {
            self.status.duplicates.add(1);
        } else if entry.batch == 0 && progress.is_new_notice(&entry) {
            // The engine wrote it, when a node came or went.
            match records::read(entry.records.clone()) {
                Ok(read) => {
                    self.attend(&entry.node, &read.records, committed);
                    turns = progress.roster.read(&entry, &read.records);
                    self.status
                        .nodes
                        .set(progress.roster.signs().0.len() as u64);
                }
                Err(records::Malformed) => self.status.malformed_entries.add(1),
            }
        }
        progress.retention.read(&entry);
        // One without messages need not be put back, and is read again after
        // each restart.
        if entry.messages > 0 {
            progress.tail.push(entry);
        }
        turns
    }

    /// Whether the reader is at this log already.
    pub(super) fn has_adopted(&self, open: &Open) -> bool {
        let progress = self.lock();
        let lineage = progress.lineage.as_ref();
        lineage.is_some_and(|lineage| lineage.epoch() == open.lineage.epoch())
    }

    /// Notes once the log was read to its end.
    pub(super) fn note_end(&self) {
        if Node::is_read(&self.lock()) {
            self.status.caught_up();
        }
    }

    pub(super) fn depth(&self) -> u64 {
        self.lock().depth
    }

    /// What this node has of the end of the log, to put it back.
    pub(super) fn tail(&self) -> (Option<Lineage>, Offset, Option<Offset>, Vec<Entry>) {
        let progress = self.lock();
        let tail = &progress.tail;
        (
            progress.lineage.clone(),
            progress.head,
            tail.begin(),
            tail.all(),
        )
    }

    pub(super) fn tail_after(&self, offset: Offset) -> Vec<Entry> {
        self.lock().tail.after(offset)
    }
}

impl Progress {
    fn begin(&mut self, batch: Batch) -> (u64, u64, bytes::Bytes, Id) {
        self.next_batch = batch.number + 1;
        let begun = (batch.number, batch.messages, batch.records.clone());
        self.unread.push_back(batch);
        (begun.0, begun.1, begun.2, self.retention.trim())
    }

    /// The log is void behind `cut`: what was this node's own there is
    /// appended again.
    fn take_back(&mut self, cut: Offset, node: &str, spool: &Spool) {
        let gone = self.tail.cut(cut);
        let own = gone.into_iter().filter(|entry| entry.node == node);
        for entry in own.rev() {
            let load = Load {
                bytes: entry.records.len(),
                messages: entry.messages as usize,
            };
            spool.charge(load);
            self.unread.push_front(Batch {
                number: entry.batch,
                messages: entry.messages,
                records: entry.records,
                receipts: Vec::new(),
                load,
                taken: Instant::now(),
            });
        }
    }

    /// Whether this node has given this entry's messages to its clients, in
    /// another place of the log.
    fn came_before(&self, entry: &Entry) -> bool {
        let newest = self.delivered.get(&entry.node);
        entry.messages > 0
            && entry.id.last > self.head
            && newest.is_some_and(|newest| entry.batch <= *newest)
    }

    /// Entries without messages are read again after a restart of the engine,
    /// and a node may have returned since it was buried.
    fn is_new_notice(&mut self, entry: &Entry) -> bool {
        let is_known = self
            .notice
            .is_some_and(|(epoch, id)| epoch == entry.epoch && entry.id <= id);
        if !is_known {
            self.notice = Some((entry.epoch, entry.id));
        }
        !is_known
    }

    fn forget_nodes(&mut self) {
        if self.delivered.len() >= KNOWN_NODES {
            let roster = &self.roster;
            self.delivered.retain(|node, _| roster.is_listed(node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node::new(
            ("me".to_owned(), "me".to_owned()),
            Address::parse("redis://nowhere").unwrap(),
            Duration::from_secs(3600),
            Keys::new("test"),
            Arc::new(Spool::new(1000, 1000, Duration::ZERO)),
            (
                Tail::new(1000),
                Retention::new(1000, Duration::from_secs(1)),
            ),
            Arc::new(Stop::new().unwrap()),
        )
    }

    fn epoch(text: &str) -> Epoch {
        Epoch::parse(text).unwrap()
    }

    /// A node that has just come is waited for, too, although the signs of
    /// life were read before it came. What was written long ago says nothing.
    #[test]
    fn a_node_that_appends_is_waited_for() {
        let node = node();
        let open = Open {
            run: "run".to_owned(),
            depth: 1,
            lineage: Lineage::new(epoch("aaaaaaaa")),
            next: Offset(2),
        };
        node.attached(open.clone());
        let entry = |of: &str, last: u64| Entry {
            id: Id {
                last: Offset(last),
                extra: 0,
            },
            node: of.to_owned(),
            batch: 1,
            messages: 1,
            epoch: epoch("aaaaaaaa"),
            time: 1,
            records: bytes::Bytes::new(),
        };
        node.adopt(&open, Some(&entry("old", 1)));
        for (of, last) in [("old", 1), ("new", 2)] {
            let taken = node.take("run", vec![entry(of, last)]);
            assert!(taken.is_some());
        }
        assert_eq!(node.others(), ["new"]);
    }

    /// What is missing may lie before an entry without messages.
    #[test]
    fn a_gap_is_seen_before_any_entry() {
        let node = node();
        let open = Open {
            run: "run".to_owned(),
            depth: 1,
            lineage: Lineage::new(epoch("aaaaaaaa")),
            next: Offset(1),
        };
        node.attached(open.clone());
        node.adopt(&open, None);
        let entry = |last: u64, extra: u64, messages: u64| Entry {
            id: Id {
                last: Offset(last),
                extra,
            },
            node: "b".to_owned(),
            batch: last,
            messages,
            epoch: epoch("aaaaaaaa"),
            time: 1,
            records: bytes::Bytes::new(),
        };
        let entries = vec![entry(7, 1, 0), entry(8, 0, 1)];
        let taken = node.take("run", entries).unwrap();
        assert_eq!(taken.committed.break_at, Some(Offset(7)));
    }

    /// Entries without messages are read again after each restart, and two of
    /// one place in the log could not be put back.
    #[test]
    fn entries_without_messages_are_not_put_back() {
        let node = node();
        let lineage = Lineage::new(epoch("aaaaaaaa"));
        let open = Open {
            run: "run".to_owned(),
            depth: 1,
            lineage,
            next: Offset(1),
        };
        node.attached(open.clone());
        node.adopt(&open, None);
        let mut records = Vec::new();
        records::write_up(&mut records);
        let probe = Entry {
            id: Id {
                last: Offset::NONE,
                extra: 1,
            },
            node: "b".to_owned(),
            batch: 1,
            messages: 0,
            epoch: epoch("aaaaaaaa"),
            time: 1,
            records: records.into(),
        };
        for _ in 0..2 {
            let taken = node.take("run", vec![probe.clone()]);
            assert!(taken.is_some());
        }
        assert_eq!(node.tail().3, []);
    }

    /// A reply that was under way while the log was put back may have what is
    /// void.
    #[test]
    fn what_was_read_before_the_node_attached_is_not_taken() {
        let node = node();
        let mut lineage = Lineage::new(epoch("aaaaaaaa"));
        let mut open = Open {
            run: "run".to_owned(),
            depth: 1,
            lineage: lineage.clone(),
            next: Offset(1),
        };
        node.attached(open.clone());
        node.adopt(&open, None);
        let entry = Entry {
            id: Id {
                last: Offset(3),
                extra: 0,
            },
            node: "b".to_owned(),
            batch: 1,
            messages: 3,
            epoch: epoch("aaaaaaaa"),
            time: 1,
            records: bytes::Bytes::new(),
        };
        node.detach();
        lineage.begin(epoch("bbbbbbbb"), Offset(0));
        open.lineage = lineage;
        node.attached(open.clone());
        let taken = node.take("run", vec![entry]);
        assert!(taken.is_none(), "{taken:?}");
        let adopted = node.adopt(&open, None).unwrap().0;
        assert_eq!(adopted.break_at, None, "nothing of it was given to anybody");
    }
}
