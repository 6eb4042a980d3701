//! The members of rooms on other nodes, and what those are told about ours.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Hub;
use super::attendance::{Announce, Attendance};
use super::presence::Presence;
use crate::names::{ClientId, NodeTag};

/// So many seats in rooms are known of all other nodes together.
const MOST: usize = 1 << 20;
/// … and so many nodes.
const MOST_NODES: usize = 4096;
/// The most members that are named at once.
const PIECE: usize = 256;
/// Nodes have at least this long to tell who is there.
const MIN_PATIENCE: Duration = Duration::from_secs(5);

/// What is known about other nodes' members.
#[derive(Debug, Default)]
pub(super) struct Others {
    nodes: HashMap<NodeTag, Other>,
    /// The seats that all of them have.
    seats: usize,
    /// By then those that live have told who is there: after a start, or when
    /// the log has begun anew.
    confirm_by: Option<Instant>,
    patience: Duration,
    /// This node, whose clients the others are told about.
    own: Option<NodeTag>,
    announce: Option<Arc<dyn Announce>>,
    /// What they have not been told yet.
    untold: Vec<Attendance>,
    /// How often everybody was named.
    rounds: u64,
}

/// Another node.
#[derive(Debug, Default)]
struct Other {
    /// In which of its rounds each of its members was named last.
    seats: HashMap<(Arc<str>, u64), u32>,
    round: u32,
    /// The number of the round that is under way.
    under_way: Option<u64>,
    /// It has named everybody since the log began anew.
    is_confirmed: bool,
}

impl Others {
    fn new(
        own: Option<NodeTag>,
        announce: Option<Arc<dyn Announce>>,
        patience: Duration,
    ) -> Others {
        Others {
            own,
            announce,
            patience: patience.max(MIN_PATIENCE),
            ..Others::default()
        }
    }

    #[cfg(test)]
    pub(super) fn seats(&self) -> usize {
        self.seats
    }

    /// The time of nodes that are silent is over.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.confirm_by = Some(Instant::now());
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.confirm_by
    }

    /// Whether there are other nodes, and members are shown.
    pub(super) fn are_told(&self) -> bool {
        self.announce.is_some()
    }

    /// Notes what the others are to be told at the end of the pass.
    pub(super) fn note(&mut self, room: &Arc<str>, presence: &Presence) {
        if self.announce.is_some() {
            self.untold.extend(presence.changes_of(self.own, room));
        }
    }

    /// What was said before may be void, or something may be missing: nodes
    /// that live will name everybody.
    pub(super) fn doubt(&mut self) {
        if self.announce.is_none() {
            return;
        }
        self.nodes
            .values_mut()
            .for_each(|node| node.is_confirmed = false);
        self.confirm_by = Some(Instant::now() + self.patience);
    }

    /// A client of a node is in a room; false if that was known, makes no
    /// sense, or is too much.
    fn join(&mut self, node: NodeTag, room: &Arc<str>, id: u64) -> bool {
        let Some(node) = known_node(&mut self.nodes, node) else {
            return false;
        };
        if let Some(round) = node.seats.get_mut(&(room.clone(), id)) {
            *round = node.round;
            return false;
        }
        let is_number = ClientId(id).tag().is_none();
        if !is_number || self.seats >= MOST {
            return false;
        }
        self.seats += 1;
        node.seats.insert((room.clone(), id), node.round);
        true
    }

    fn leave(&mut self, node: NodeTag, room: &Arc<str>, id: u64) -> bool {
        let node = self.nodes.get_mut(&node);
        let known = node.is_some_and(|node| node.seats.remove(&(room.clone(), id)).is_some());
        self.seats -= usize::from(known);
        known
    }

    /// A node has named everybody: returns who is not there any more.
    fn complete(&mut self, node: NodeTag, number: u64) -> Vec<(Arc<str>, u64)> {
        let Some(node) = self.nodes.get_mut(&node) else {
            return Vec::new();
        };
        if node.under_way.take() != Some(number) {
            return Vec::new();
        }
        node.is_confirmed = true;
        let round = node.round;
        let gone = node.seats.extract_if(|_, named| *named != round);
        let gone: Vec<_> = gone.map(|(seat, _)| seat).collect();
        self.seats -= gone.len();
        gone
    }

    fn forget(&mut self, node: NodeTag) -> Vec<(Arc<str>, u64)> {
        let seats = self.nodes.remove(&node).unwrap_or_default().seats;
        self.seats -= seats.len();
        seats.into_keys().collect()
    }

    /// The nodes that have not named everybody in time.
    fn overdue(&mut self, now: Instant) -> Vec<NodeTag> {
        if self.confirm_by.is_none_or(|by| by > now) {
            return Vec::new();
        }
        self.confirm_by = None;
        let silent = self.nodes.iter().filter(|(_, node)| !node.is_confirmed);
        silent.map(|(node, _)| *node).collect()
    }
}

/// A node that is known from now on, unless there are too many.
fn known_node(nodes: &mut HashMap<NodeTag, Other>, node: NodeTag) -> Option<&mut Other> {
    let may_be_new = nodes.len() < MOST_NODES;
    match nodes.entry(node) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(new) => may_be_new.then(|| new.insert(Other::default())),
    }
}

impl Hub {
    /// Has the other nodes told who is in the rooms here.
    pub(crate) fn with_others(
        self,
        own: Option<NodeTag>,
        announce: Option<Arc<dyn Announce>>,
        patience: Duration,
    ) -> Hub {
        Hub {
            others: Others::new(own, announce, patience),
            ..self
        }
    }

    /// Takes what another node tells about its members.
    pub(super) fn attend(&mut self, node: NodeTag, what: Attendance) {
        if self.others.own == Some(node) {
            return; // two nodes have one tag, by chance
        }
        match what {
            Attendance::Begins(number) => {
                if let Some(node) = known_node(&mut self.others.nodes, node) {
                    node.round = node.round.wrapping_add(1);
                    node.under_way = Some(number);
                }
            }
            Attendance::Complete(number) => {
                let gone = self.others.complete(node, number);
                self.let_go(node, gone, "lost");
            }
            Attendance::Joined { room, members } => self.let_in(node, &room, members),
            Attendance::Left {
                room,
                members,
                is_lost,
            } => {
                let why = if is_lost { "lost" } else { "closed" };
                let known = |id: &u64| self.others.leave(node, &room, *id);
                let members: Vec<u64> = members.into_iter().filter(known).collect();
                let seats = members.into_iter().map(|id| (room.clone(), id));
                self.let_go(node, seats.collect(), why);
            }
            Attendance::Gone => {
                self.bury(node);
            }
        }
    }

    /// Lets the members of a node leave; returns how many clients those were.
    pub(super) fn bury(&mut self, node: NodeTag) -> usize {
        let gone = self.others.forget(node);
        let clients: HashSet<u64> = gone.iter().map(|(_, id)| *id).collect();
        self.let_go(node, gone, "node");
        clients.len()
    }

    fn let_in(&mut self, node: NodeTag, name: &Arc<str>, members: Vec<(u64, Option<Box<str>>)>) {
        if !self.rooms.history.shows_presence(name) || members.is_empty() {
            return;
        }
        let room = self.rooms.known(name);
        let name = self.rooms.get(room).map(|room| room.name.clone());
        for (id, called) in members {
            if let Some(name) = &name
                && self.others.join(node, name, id)
                && let Some(presence) = self.rooms.presence_mut(room)
            {
                presence.enter_elsewhere(ClientId(id).of(Some(node)), called);
            }
        }
        self.changed.push(room);
    }

    /// Members of another node are not in these rooms any more.
    fn let_go(&mut self, node: NodeTag, seats: Vec<(Arc<str>, u64)>, why: &'static str) {
        for (room, id) in seats {
            let Some(room) = self.rooms.find(&room) else {
                continue;
            };
            if let Some(presence) = self.rooms.presence_mut(room) {
                presence.exit_elsewhere(ClientId(id).of(Some(node)), why);
            }
            if self.changed.last() != Some(&room) {
                self.changed.push(room);
            }
        }
    }

    /// Lets the members of nodes leave that have not named them in time.
    pub(super) fn bury_silent(&mut self) {
        for node in self.others.overdue(Instant::now()) {
            self.bury(node);
        }
    }

    /// Tells the other nodes what has changed in this pass.
    pub(super) fn announce_changes(&mut self) {
        let untold = std::mem::take(&mut self.others.untold);
        if let Some(announce) = self.others.announce.as_ref().filter(|_| !untold.is_empty()) {
            announce.changed(&untold);
        }
    }

    /// Names everybody to the other nodes.
    pub(super) fn announce_everybody(&mut self) {
        self.tell_presence();
        let Some(announce) = self.others.announce.clone() else {
            return;
        };
        self.others.rounds += 1;
        let number = self.others.rounds;
        let mut all = vec![Attendance::Begins(number)];
        for room in self.rooms.iter() {
            let members: Vec<_> = room.shown_of(self.others.own).collect();
            all.extend(members.chunks(PIECE).map(|members| Attendance::Joined {
                room: room.name.clone(),
                members: members.to_vec(),
            }));
        }
        all.push(Attendance::Complete(number));
        announce.everybody(&all);
    }
}
