//! The thread that appends: it attaches the node to the log, restores what
//! the engine has lost, and appends what waits in the spool, one batch at a
//! time, while the next one gathers.

use std::thread;
use std::time::{Duration, Instant};

use super::away::{Away, Backoff};
use super::connection::{Connection, Fault};
use super::keys::{Append, Appended, Attached, Entry, Id, Open, Remains};
use super::node::Node;
use crate::hub::Publisher;
use crate::position::{Descent, Epoch, Lineage, Offset};

/// The least time between two batches: without it, the engine would spend
/// half a core on small batches.
const BATCH_INTERVAL: Duration = Duration::from_micros(250);
/// How often a node gives a sign of life.
const BEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A node from which nothing came back for so long appends a probe.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the nodes that restore are left alone before they are asked again.
const WAIT: Duration = Duration::from_millis(20);
/// The most bytes and entries that are put back at once.
const RESTORE_BYTES: usize = 256 * 1024;
const RESTORE_ENTRIES: usize = 256;

/// Runs until the node stops, or is drained.
pub(super) fn run(node: &Node, publisher: &Publisher) {
    let mut away = Away::new();
    let mut backoff = Backoff::new();
    loop {
        let fault = match session(node, publisher, &mut away, &mut backoff) {
            Ok(()) | Err(Fault::Stopping) => return,
            Err(fault) => fault,
        };
        node.detach();
        away.begin(&fault, &node.status);
        let pause = backoff.next();
        if matches!(
            node.wait_until::<()>(Instant::now() + pause, |_| None),
            Err(Fault::Stopping)
        ) {
            return;
        }
    }
}

/// One connection. Ends well only when the node is drained.
fn session(
    node: &Node,
    publisher: &Publisher,
    away: &mut Away,
    backoff: &mut Backoff,
) -> Result<(), Fault> {
    let mut connection = Connection::open(&node.address, &node.stop)?;
    node.status.reconnects.add(1);
    loop {
        let open = attach(node, &mut connection)?;
        let mut course = Course {
            node,
            publisher,
            connection: &mut connection,
            epoch: open.lineage.epoch(),
            next_beat: Instant::now(),
        };
        node.attached(open);
        if course.run(away, backoff)? == Next::Leave {
            let epoch = Some(course.epoch);
            node.keys.leave(&mut connection, epoch, &node.id)?;
            return Ok(());
        }
    }
}

/// Comes to a log that is open.
fn attach(node: &Node, connection: &mut Connection) -> Result<Open, Fault> {
    let holding = node.detach();
    if let Some(announcements) = &node.announcements {
        announcements.hush();
    }
    let others = node.others();
    loop {
        match node.keys.attach(connection, &node.id, &holding, &others)? {
            Attached::Open(open) => return Ok(open),
            Attached::Wait => {
                node.wait_until::<()>(Instant::now() + WAIT, |_| None)?;
            }
            Attached::Restore(remains) => {
                if let Some(open) = restore(node, connection, &remains)? {
                    return Ok(open);
                }
            }
        }
    }
}

/// What must be done so that the engine has everything that anybody has seen.
struct Plan {
    replace: bool,
    /// The log that is the truth.
    lineage: Option<Lineage>,
    depth: u64,
    /// Where it ends.
    end: Offset,
}

fn plan(
    remains: &Remains,
    own: Option<&Lineage>,
    depth: u64,
    head: Offset,
    begin: Option<Offset>,
) -> Plan {
    let theirs = remains.lineage.clone();
    let Some(own) = own else {
        return Plan {
            replace: false,
            lineage: theirs,
            depth: remains.depth,
            end: remains.last,
        };
    };
    // How much of what this node has is true in the log that is there.
    let known = match &theirs {
        Some(theirs) if theirs.epoch() == own.epoch() => Some(head),
        Some(theirs) if remains.depth > depth => match theirs.fork(own) {
            Descent::Valid => Some(head),
            Descent::Cut(cut) => Some(head.min(cut)),
            Descent::Unknown => Some(Offset::NONE),
        },
        _ => None,
    };
    let Some(known) = known else {
        return Plan {
            replace: true,
            lineage: Some(own.clone()),
            depth,
            end: head,
        };
    };
    // Entries can be added if none is missing in between. Where none is left,
    // the batch numbers there are not those of the entries.
    let is_missing = known > remains.last && begin.is_none_or(|begin| begin > remains.last);
    Plan {
        replace: is_missing || remains.last == Offset::NONE,
        lineage: theirs,
        depth: remains.depth,
        end: known.max(remains.last),
    }
}

/// What is put into the engine so that it has everything that anybody has
/// seen, and how the log goes on then.
#[derive(Debug)]
pub(super) struct Restoration {
    /// What the engine has is to go first.
    replace: bool,
    /// Of which log the entries are, if that is said.
    of: Option<(u64, Lineage)>,
    entries: Vec<Entry>,
    /// How many were put back.
    done: usize,
    pub(super) depth: u64,
    pub(super) lineage: Lineage,
    /// The first offset if the log is empty.
    pub(super) next: Offset,
}

impl Restoration {
    /// What this node puts back to `remains`, before `epoch` begins.
    pub(super) fn new(node: &Node, remains: &Remains, epoch: Epoch) -> Restoration {
        let (own, head, begin, all) = node.tail();
        let plan = plan(remains, own.as_ref(), node.depth(), head, begin);
        let mut entries = match plan.replace {
            true => all,
            false => node.tail_after(remains.last),
        };
        entries.retain(|entry| entry.id.last <= plan.end);
        let of = plan.lineage.clone();
        let of = of.map(|lineage| (plan.depth, lineage));
        let lineage = match plan.lineage {
            Some(mut lineage) => {
                lineage.begin(epoch, plan.end);
                lineage
            }
            None => Lineage::new(epoch),
        };
        Restoration {
            replace: plan.replace,
            of,
            entries,
            done: 0,
            depth: plan.depth + 1,
            lineage,
            next: plan.end.plus(1),
        }
    }

    /// The next entries to put back, of which log they are, and whether what
    /// the engine has goes first.
    pub(super) fn next_piece(&mut self) -> Option<(bool, (u64, Lineage), Vec<Entry>)> {
        let replace = std::mem::take(&mut self.replace);
        let rest = &self.entries[self.done..];
        if !replace && rest.is_empty() {
            return None;
        }
        let piece = rest[..piece(rest)].to_vec();
        self.done += piece.len();
        Some((replace, self.of.clone()?, piece))
    }
}

/// Puts the end of the log back and opens it; `None` if another node does.
fn restore(
    node: &Node,
    connection: &mut Connection,
    remains: &Remains,
) -> Result<Option<Open>, Fault> {
    let mut restoration = Restoration::new(node, remains, Epoch::random());
    while let Some((replace, of, piece)) = restoration.next_piece() {
        if !node
            .keys
            .restore(connection, &node.id, replace, (of.0, &of.1), &piece)?
        {
            return Ok(None);
        }
    }
    let status = &node.status;
    status.restored_entries.add(restoration.done as u64);
    status.restores.add(1);
    let Restoration {
        depth,
        lineage,
        next,
        ..
    } = restoration;
    node.keys.open(connection, &node.id, depth, &lineage, next)
}

/// How many of these entries are put back at once.
fn piece(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take(RESTORE_ENTRIES).take_while(|entry| {
        let fits = bytes < RESTORE_BYTES;
        bytes += entry.records.len();
        fits
    });
    fits.count()
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Attach again.
    Attach,
    /// The node is drained.
    Leave,
}

/// The time from one attach to the next.
struct Course<'a> {
    node: &'a Node,
    publisher: &'a Publisher,
    connection: &'a mut Connection,
    epoch: Epoch,
    next_beat: Instant,
}

impl Course<'_> {
    fn run(&mut self, away: &mut Away, backoff: &mut Backoff) -> Result<Next, Fault> {
        let node = self.node;
        // What is in doubt is decided by what the log says.
        while !self.is_read()? {
            if self.beat_if_due()? == Some(Next::Attach) {
                return Ok(Next::Attach);
            }
        }
        let mut last = 0;
        while let Some((number, messages, records, trim)) = node.unread_after(last) {
            if self.append(number, messages, &records, trim)? == Appended::Closed {
                return Ok(Next::Attach);
            }
            last = number;
        }
        away.end(&node.status, node.spool.load().messages);
        backoff.reset();
        self.flow()
    }

    /// Appends what comes.
    fn flow(&mut self) -> Result<Next, Fault> {
        let node = self.node;
        if let Some(announcements) = &node.announcements {
            announcements.name_all();
        }
        let mut probed = None;
        let mut sent = Instant::now();
        loop {
            if node.stop.is_triggered() {
                return Err(Fault::Stopping);
            }
            if node.spool.is_drained() {
                return Ok(Next::Leave);
            }
            if self.beat_if_due()? == Some(Next::Attach) {
                return Ok(Next::Attach);
            }
            let mut batch = None;
            // The first one tells the others that this node is there.
            if probed.is_none_or(|probed: Instant| probed.elapsed() >= PROBE_INTERVAL) {
                batch = Some(node.begin_probe());
            } else if node.spool.wait(self.next_step()) && node.lock().is_doubtful {
                return Ok(Next::Attach);
            }
            if self.tell_attendance()? == Some(Next::Attach) {
                return Ok(Next::Attach);
            }
            if batch.is_none() {
                thread::sleep(BATCH_INTERVAL.saturating_sub(sent.elapsed()));
                batch = node.begin_batch();
            }
            let Some((number, messages, records, trim)) = batch else {
                continue;
            };
            sent = Instant::now();
            probed = Some(sent);
            if self.append(number, messages, &records, trim)? == Appended::Closed {
                return Ok(Next::Attach);
            }
        }
    }

    /// When something is to be done if nothing comes.
    fn next_step(&self) -> Instant {
        let announcements = self.node.announcements.as_ref();
        let due = announcements.and_then(|announcements| announcements.due());
        due.map_or(self.next_beat, |due| self.next_beat.min(due))
    }

    /// Appends what the others are to know about this node's members.
    fn tell_attendance(&mut self) -> Result<Option<Next>, Fault> {
        let node = self.node;
        let Some(announcements) = &node.announcements else {
            return Ok(None);
        };
        announcements.ask(self.publisher);
        let Some((number, messages, records, trim)) = node.begin_attendance() else {
            return Ok(None);
        };
        let appended = self.append(number, messages, &records, trim)?;
        Ok((appended == Appended::Closed).then_some(Next::Attach))
    }

    /// Waits a little until the reader has come to the end of the log.
    fn is_read(&self) -> Result<bool, Fault> {
        let deadline = self.next_beat.max(Instant::now() + WAIT);
        let read = self.node.wait_until(deadline, |progress| {
            let is_over = progress.is_doubtful || Node::is_read(progress);
            is_over.then(|| Node::is_read(progress))
        })?;
        match read {
            Some(false) => Err(Fault::Away("the engine changes".to_owned())),
            read => Ok(read.unwrap_or(false)),
        }
    }

    fn append(
        &mut self,
        batch: u64,
        messages: u64,
        records: &[u8],
        trim: Id,
    ) -> Result<Appended, Fault> {
        let node = self.node;
        let append = Append {
            epoch: self.epoch,
            node: &node.id,
            batch,
            messages,
            records,
            trim,
        };
        let start = Instant::now();
        let mut appended = node.keys.append(self.connection, &append);
        if let Err(Fault::Full(_)) = appended {
            node.keys.halve(self.connection, node.timeout)?;
            appended = node.keys.append(self.connection, &append);
        }
        let appended = appended?;
        node.status
            .appended(start.elapsed(), messages, records.len());
        Ok(appended)
    }

    fn beat_if_due(&mut self) -> Result<Option<Next>, Fault> {
        let node = self.node;
        if !node.take_suspicion() && Instant::now() < self.next_beat {
            return Ok(None);
        }
        self.next_beat = Instant::now() + BEAT_INTERVAL;
        let timeout = node.timeout.as_millis() as u64;
        let beat = node
            .keys
            .beat(self.connection, self.epoch, &node.id, timeout, &node.about)?;
        // A node that is silent is buried as soon as that may be done.
        let ages = beat.nodes.iter().map(|sign| sign.age);
        let oldest = ages.filter(|age| *age < timeout).max().unwrap_or(0);
        let burial = Duration::from_millis(timeout - oldest) + WAIT;
        self.next_beat = self.next_beat.min(Instant::now() + burial);
        let is_open = beat.is_open;
        node.see(beat).iter().for_each(|turn| turn.log(None));
        Ok((!is_open).then_some(Next::Attach))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node with messages 5 to 9 of the epoch `bbbbbbbb` does about what
    /// is left in the engine.
    #[test]
    fn the_end_is_added_only_to_its_own_beginning() {
        let lineage = |text: &str| match text {
            "dddddddd" => Lineage::from_texts(text, "bbbbbbbb-8").unwrap(),
            text => Lineage::from_texts(text, "").unwrap(),
        };
        let own = lineage("bbbbbbbb");
        // Depth, epoch, and last offset of what is left; whether it is
        // replaced; where the log ends then.
        for (depth, epoch, last, replace, end) in [
            (0, None, 0, true, 9),
            (2, Some("bbbbbbbb"), 0, true, 9),
            (2, Some("bbbbbbbb"), 3, true, 9),
            (2, Some("bbbbbbbb"), 4, false, 9),
            (2, Some("bbbbbbbb"), 9, false, 9),
            (2, Some("bbbbbbbb"), 11, false, 11),
            (1, Some("aaaaaaaa"), 20, true, 9),
            (3, Some("cccccccc"), 7, false, 7),
            // One that went on from what this node has, and was lost.
            (3, Some("dddddddd"), 0, true, 8),
            (3, Some("dddddddd"), 3, true, 8),
            (3, Some("dddddddd"), 6, false, 8),
            (3, Some("dddddddd"), 12, false, 12),
            (3, Some("cccccccc"), 0, true, 0),
        ] {
            let remains = Remains {
                depth,
                lineage: epoch.map(lineage),
                last: Offset(last),
            };
            let plan = plan(&remains, Some(&own), 2, Offset(9), Some(Offset(4)));
            let planned = (plan.replace, plan.end);
            assert_eq!(planned, (replace, Offset(end)), "{remains:?}");
        }
    }
}
