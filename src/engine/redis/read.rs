//! The thread that reads the log and gives the hub what is in it.

use std::time::{Duration, Instant};

use super::away::Backoff;
use super::connection::{Connection, Fault};
use super::keys::{Id, Open};
use super::node::Node;
use super::roster::Turn;
use crate::hub::{Committed, Publisher};
use crate::names::NodeTag;

/// How long the engine keeps a read that finds nothing.
const BLOCK: Duration = Duration::from_millis(100);
/// The most entries of one read.
const ENTRIES: usize = 64;
/// How long a change is waited for before the engine is asked again.
const WAIT: Duration = Duration::from_millis(500);

/// Runs until the node stops.
pub(super) fn run(node: &Node, publisher: &Publisher) {
    let mut reader = Reader {
        node,
        publisher,
        cursor: Id::default(),
        entries: ENTRIES,
    };
    let mut backoff = Backoff::new();
    loop {
        match reader.session(&mut backoff) {
            Ok(()) => {}
            Err(Fault::Stopping) => return,
            Err(Fault::TooLarge) => reader.entries = 1,
            Err(fault) => {
                log::debug!("reading the log: {}", fault.text());
                node.suspect();
            }
        }
        let pause = Instant::now() + backoff.next();
        if node.wait_until::<()>(pause, |_| None).is_err() {
            return;
        }
    }
}

struct Reader<'a> {
    node: &'a Node,
    publisher: &'a Publisher,
    cursor: Id,
    entries: usize,
}

impl Reader<'_> {
    /// One connection; returns when it is to the wrong process.
    fn session(&mut self, backoff: &mut Backoff) -> Result<(), Fault> {
        let node = self.node;
        self.wait_for_open()?;
        let mut connection = Connection::open(&node.address, &node.stop)?;
        loop {
            let Some(open) = self.wait_for_open()? else {
                continue;
            };
            if open.run != connection.run {
                // One of the two connections is to a server that is no more.
                node.doubt();
                return Ok(());
            }
            self.adopt(&open, &mut connection)?;
            let entries = node
                .keys
                .read(&mut connection, self.cursor, self.entries, BLOCK)?;
            node.note_end();
            backoff.reset();
            self.entries = ENTRIES.min(self.entries * 2);
            if entries.is_empty() {
                continue;
            }
            match node.take(&connection.run, entries) {
                None => {
                    // Until the node has attached again, nothing is new.
                    node.wait_until(Instant::now() + WAIT, |progress| {
                        (!progress.is_doubtful).then_some(())
                    })?;
                }
                Some(taken) => {
                    self.cursor = taken.cursor;
                    self.commit(taken.committed, &taken.turns)?;
                }
            }
        }
    }

    /// Gives the hub what was read, and says what it tells of nodes.
    fn commit(&self, committed: Committed, turns: &[Turn]) -> Result<(), Fault> {
        let is_departure = turns.iter().any(|turn| turn.departed().is_some());
        let left = match is_departure && self.node.announcements.is_some() {
            true => self.publisher.commit_departures(committed).map(Some),
            false => self.publisher.commit(committed).map(|()| None),
        };
        let left = left.map_err(|_| Fault::Stopping)?;
        for turn in turns {
            let of_node = |left: &&(NodeTag, usize)| Some(left.0) == turn.departed();
            let members = left.iter().flatten().find(of_node);
            turn.log(members.map(|(_, members)| *members));
        }
        Ok(())
    }

    fn wait_for_open(&self) -> Result<Option<Open>, Fault> {
        let deadline = Instant::now() + WAIT;
        self.node
            .wait_until(deadline, |progress| progress.open.clone())
    }

    fn adopt(&mut self, open: &Open, connection: &mut Connection) -> Result<(), Fault> {
        let node = self.node;
        if node.has_adopted(open) {
            return Ok(());
        }
        let first = node.keys.first(connection)?;
        if let Some((committed, cursor)) = node.adopt(open, first.as_ref()) {
            self.cursor = cursor;
            self.publisher
                .commit(committed)
                .map_err(|_| Fault::Stopping)?;
        }
        node.notify();
        Ok(())
    }
}
