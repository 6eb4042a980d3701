//! What this node tells the others about the members of its rooms, until it
//! is appended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::spool::Spool;
use crate::engine::records;
use crate::hub::{Announce, Attendance, Publisher};
use crate::names::room_flaw;

/// So many bytes of changes wait; behind more, everybody is named anew.
const MAX_BYTES: usize = 1024 * 1024;
/// The most bytes of one batch.
const BATCH_BYTES: usize = 128 * 1024;
/// Everybody is named this often at most.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a hub that is busy is left alone.
const BUSY: Duration = Duration::from_millis(20);

/// The bounded queue between the hub and the thread that appends. While the
/// engine is away nothing is kept: when it is back, everybody is named.
#[derive(Debug)]
pub(super) struct Announcements {
    waiting: Mutex<Waiting>,
    spool: Arc<Spool>,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Bytes>,
    bytes: usize,
    /// Everybody was named, or will be by what waits: changes make sense.
    is_whole: bool,
    /// Everybody must be named, from this time on.
    due: Option<Instant>,
    /// When the hub was asked last.
    asked: Option<Instant>,
    /// The others know something that this node does not.
    needs_others: bool,
}

impl Announcements {
    pub(super) fn new(spool: Arc<Spool>) -> Announcements {
        Announcements {
            waiting: Mutex::new(Waiting {
                needs_others: true,
                ..Waiting::default()
            }),
            spool,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine is away.
    pub(super) fn hush(&self) {
        let mut waiting = self.lock();
        waiting.clear();
        waiting.due = None;
    }

    /// Everybody must be named: the others may know something else.
    pub(super) fn name_all(&self) {
        self.lock().want();
        self.spool.nudge();
    }

    /// This node has missed something that others have told.
    pub(super) fn ask_others(&self) {
        self.lock().needs_others = true;
        self.name_all();
    }

    /// When the hub must be asked next, if so.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lock().due
    }

    /// Asks the hub who is there, if that is due.
    pub(super) fn ask(&self, publisher: &Publisher) {
        let mut waiting = self.lock();
        let now = Instant::now();
        if waiting.due.is_none_or(|due| due > now) {
            return;
        }
        waiting.due = None;
        waiting.asked = Some(now);
        drop(waiting);
        // The hub may wait for this lock, so it is not held meanwhile.
        if publisher.ask_who_is_here().is_err() {
            self.lock().due = Some(now + BUSY);
        }
    }

    /// Takes the records of the next batch, if anything waits.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let mut batch = Vec::new();
        if !waiting.records.is_empty() && std::mem::take(&mut waiting.needs_others) {
            records::write_hello(&mut batch);
        }
        while batch.len() < BATCH_BYTES
            && let Some(records) = waiting.records.pop_front()
        {
            waiting.bytes -= records.len();
            batch.extend_from_slice(&records);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

impl Waiting {
    fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
        self.is_whole = false;
    }

    fn want(&mut self) {
        let next = self.asked.map(|asked| asked + INTERVAL);
        let now = Instant::now();
        self.due
            .get_or_insert(next.map_or(now, |next| next.max(now)));
    }

    fn push(&mut self, told: &[Attendance]) {
        for told in told.iter().filter(|told| !is_hidden(told)) {
            let mut record = Vec::new();
            records::write_attendance(&mut record, told);
            self.bytes += record.len();
            self.records.push_back(record.into());
        }
    }
}

/// Only a program can enter such a room, and the other nodes know none of its name.
fn is_hidden(told: &Attendance) -> bool {
    match told {
        Attendance::Joined { room, .. } | Attendance::Left { room, .. } => {
            room_flaw(room).is_some()
        }
        _ => false,
    }
}

impl Announce for Announcements {
    fn changed(&self, changes: &[Attendance]) {
        let mut waiting = self.lock();
        if !waiting.is_whole {
            return;
        }
        waiting.push(changes);
        if waiting.bytes > MAX_BYTES {
            waiting.clear();
            waiting.want();
        }
        drop(waiting);
        self.spool.nudge();
    }

    fn everybody(&self, all: &[Attendance]) {
        let mut waiting = self.lock();
        waiting.clear();
        waiting.push(all);
        waiting.is_whole = true;
        drop(waiting);
        self.spool.nudge();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::records::Record;

    fn announcements() -> Announcements {
        Announcements::new(Arc::new(Spool::new(1000, 1000, Duration::ZERO)))
    }

    fn joined(id: u64) -> Attendance {
        Attendance::Joined {
            room: "/lobby".into(),
            members: vec![(id, None)],
        }
    }

    fn taken(announcements: &Announcements) -> Vec<Record> {
        let batch = announcements.take().unwrap_or_default();
        records::read(batch.into()).unwrap().records
    }

    /// While the engine is away nothing is kept; then everybody is named, and
    /// from there on what changes.
    #[test]
    fn nothing_waits_while_the_engine_is_away() {
        let announcements = announcements();
        announcements.changed(&[joined(1)]);
        assert_eq!(announcements.take(), None);
        announcements.name_all();
        assert!(announcements.due().is_some());
        announcements.everybody(&[joined(1), joined(2)]);
        announcements.changed(&[joined(3)]);
        let [one, two, three] = [1, 2, 3].map(|id| Record::Attendance(joined(id)));
        let all = [Record::Hello, one.clone(), two, three];
        assert_eq!(
            taken(&announcements),
            all,
            "a node that is new asks the others"
        );
        announcements.hush();
        announcements.changed(&[joined(4)]);
        assert_eq!(announcements.take(), None);
        announcements.everybody(&[joined(1)]);
        assert_eq!(taken(&announcements), [one], "it asks once");
    }

    #[test]
    fn more_changes_than_may_wait_become_one_list() {
        let announcements = announcements();
        announcements.everybody(&[]);
        let many: Vec<Attendance> = (0..1000).map(joined).collect();
        for _ in 0..200 {
            announcements.changed(&many);
            let waiting = announcements.lock();
            assert!(waiting.bytes <= MAX_BYTES);
        }
        assert_eq!(announcements.take(), None);
        assert!(announcements.due().is_some(), "everybody is named again");
        announcements.everybody(&many);
        let mut records = taken(&announcements).len();
        assert_eq!(records, 1001);
        announcements.changed(&many);
        records = taken(&announcements).len();
        assert_eq!(records, 1000);
    }

    #[test]
    fn everybody_is_not_named_again_and_again() {
        let announcements = announcements();
        announcements.lock().asked = Some(Instant::now());
        announcements.ask_others();
        let due = announcements.due().unwrap();
        announcements.name_all();
        assert_eq!(announcements.due(), Some(due));
        assert!(due > Instant::now());
    }
}
