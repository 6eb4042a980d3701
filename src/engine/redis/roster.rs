//! The nodes as the engine and the log tell of them: who is there, who is
//! waited for, and what the operator is told when one comes or goes.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::keys::{Beat, Entry, Sign};
use crate::engine::records::Record;
use crate::names::{NodeTag, clean_name};

/// The log tells all nodes when one is given up. One that is not listed for this
/// much longer has gone while the log was lost.
const GRACE: Duration = Duration::from_secs(5);

/// The nodes of one log.
#[derive(Debug)]
pub(super) struct Roster {
    /// This node's id.
    own: String,
    timeout: Duration,
    signs: Vec<Sign>,
    /// The time at which the engine told them, by its clock …
    time: u64,
    /// … and by this node's.
    at: Instant,
    /// The nodes that are waited for when the log must be put back, and when
    /// each gave its last sign.
    alive: HashMap<String, Instant>,
    /// The other nodes that the operator was told of.
    told: HashMap<String, Told>,
    /// The engine has told nothing yet.
    is_new: bool,
}

#[derive(Debug)]
struct Told {
    title: Title,
    /// When the engine told of it last.
    seen: Instant,
}

/// What is said of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// This node has come, and these others are there.
    Found(Title, Vec<Title>),
    Came(Title),
    /// It has said goodbye.
    Left(Title),
    /// It was silent for too long.
    GivenUp(Title, Duration),
    /// The others had given this node up.
    Returned,
}

/// What people call a node, and what tells its clients from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Title {
    name: String,
    pub(super) tag: Option<NodeTag>,
}

impl Title {
    fn new(node: &str, about: &str) -> Title {
        let name = about.split_once(' ').map_or("", |(_, name)| name);
        Title {
            name: clean_name(name),
            tag: NodeTag::of_node(node),
        }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            Some(tag) => write!(f, "{} (@{tag})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Roster {
    pub(super) fn new(own: &str, about: &str, timeout: Duration) -> Roster {
        let own_sign = Sign {
            node: own.to_owned(),
            age: 0,
            about: about.to_owned(),
        };
        Roster {
            own: own.to_owned(),
            timeout,
            signs: vec![own_sign],
            time: 0,
            at: Instant::now(),
            alive: HashMap::new(),
            told: HashMap::new(),
            is_new: true,
        }
    }

    /// The signs of life, and how long ago they were told.
    pub(super) fn signs(&self) -> (&[Sign], Duration) {
        (&self.signs, self.at.elapsed())
    }

    /// The nodes that are waited for when the log must be put back.
    pub(super) fn alive(&self) -> impl Iterator<Item = &String> {
        self.alive.keys()
    }

    pub(super) fn is_listed(&self, node: &str) -> bool {
        self.signs.iter().any(|sign| sign.node == node)
    }

    /// Takes the signs of life that the engine has. It may have forgotten nodes
    /// that are alive, so all are waited for until they were silent for too
    /// long, but for those that have said goodbye.
    pub(super) fn see(&mut self, beat: Beat) -> Vec<Turn> {
        let now = Instant::now();
        let is_recent = |seen: &Instant| now.duration_since(*seen) < self.timeout;
        let alive = &mut self.alive;
        alive.retain(|node, seen| is_recent(seen) && !beat.left.contains(node));
        alive.extend(beat.nodes.iter().map(|sign| (sign.node.clone(), now)));
        if now.duration_since(self.at) > GRACE {
            // It is the engine that was away.
            self.told.values_mut().for_each(|told| told.seen = now);
        }
        self.signs = beat.nodes;
        self.time = beat.now;
        self.at = now;
        let mut turns = self.tell_of_new(now);
        if std::mem::take(&mut self.is_new) {
            let others = turns.into_iter().filter_map(Turn::newcomer).collect();
            turns = self
                .own_title()
                .map_or(Vec::new(), |own| vec![Turn::Found(own, others)]);
        }
        turns.extend(self.tell_of_lost(now));
        turns
    }

    fn own_title(&self) -> Option<Title> {
        let own = self.signs.iter().find(|sign| sign.node == self.own)?;
        Some(Title::new(&own.node, &own.about))
    }

    fn tell_of_new(&mut self, now: Instant) -> Vec<Turn> {
        let mut turns = Vec::new();
        for sign in self.signs.iter().filter(|sign| sign.node != self.own) {
            if let Some(told) = self.told.get_mut(&sign.node) {
                told.seen = now;
                continue;
            }
            let title = Title::new(&sign.node, &sign.about);
            turns.push(Turn::Came(title.clone()));
            self.told
                .insert(sign.node.clone(), Told { title, seen: now });
        }
        turns
    }

    /// The log tells of nodes that go. Of some it cannot: they went while it was
    /// closed, or the engine has forgotten that they were silent.
    fn tell_of_lost(&mut self, now: Instant) -> Vec<Turn> {
        let timeout = self.timeout;
        let is_lost = |seen: Instant| now.duration_since(seen) > timeout + GRACE;
        let lost = self.told.extract_if(|_, told| is_lost(told.seen));
        lost.map(|(_, told)| Turn::GivenUp(told.title, timeout))
            .collect()
    }

    /// A node of which the signs of life do not tell yet is alive all the
    /// same, if it appends.
    pub(super) fn hear(&mut self, entries: &[Entry]) {
        let now = Instant::now();
        for entry in entries {
            match self.alive.get_mut(&entry.node) {
                Some(seen) => *seen = now,
                None => drop(self.alive.insert(entry.node.clone(), now)),
            }
        }
    }

    /// Takes what an entry that the engine wrote tells of nodes, unless its
    /// signs of life are newer.
    pub(super) fn read(&mut self, entry: &Entry, records: &[Record]) -> Vec<Turn> {
        if self.is_new || entry.time < self.time {
            return Vec::new();
        }
        let turns = records.iter().filter_map(|record| match record {
            Record::Came { about } => self.came(&entry.node, about),
            Record::Gone { node } => self.gone(node, *node == entry.node),
            _ => None,
        });
        turns.collect()
    }

    fn came(&mut self, node: &str, about: &str) -> Option<Turn> {
        if self.is_listed(node) {
            return None;
        }
        // The others have got older since they gave theirs.
        let now = Instant::now();
        let more = now.duration_since(std::mem::replace(&mut self.at, now));
        for sign in &mut self.signs {
            sign.age += more.as_millis() as u64;
        }
        self.signs.push(Sign {
            node: node.to_owned(),
            age: 0,
            about: about.to_owned(),
        });
        self.tell_of_new(now).pop()
    }

    fn gone(&mut self, node: &str, is_goodbye: bool) -> Option<Turn> {
        if node == self.own {
            return (!is_goodbye).then_some(Turn::Returned);
        }
        self.signs.retain(|sign| sign.node != node);
        if is_goodbye {
            self.alive.remove(node);
        }
        let title = self.told.remove(node)?.title;
        Some(match is_goodbye {
            true => Turn::Left(title),
            false => Turn::GivenUp(title, self.timeout),
        })
    }
}

impl Turn {
    fn newcomer(self) -> Option<Title> {
        match self {
            Turn::Came(title) => Some(title),
            _ => None,
        }
    }

    /// The node that is gone, if one is.
    pub(super) fn departed(&self) -> Option<NodeTag> {
        match self {
            Turn::Left(title) | Turn::GivenUp(title, _) => title.tag,
            _ => None,
        }
    }

    /// Says it to the operator; `members` is how many have left with the node. Of
    /// one that has stopped in order some leave before it: they are not told of.
    pub(super) fn log(&self, members: Option<usize>) {
        match self {
            Turn::Found(own, others) if others.is_empty() => {
                log::info!("this node is {own}, and the only one so far");
            }
            Turn::Found(own, others) => {
                let others: Vec<String> = others.iter().map(Title::to_string).collect();
                log::info!("this node is {own}; others: {}", others.join(", "));
            }
            Turn::Came(title) => log::info!("node {title} has come"),
            Turn::Left(title) => log::info!("node {title} has stopped"),
            Turn::GivenUp(title, silence) => {
                let members = members.map_or(String::new(), |members| {
                    format!("; members of rooms that left with it: {members}")
                });
                log::info!("node {title} is given up: no sign of life for {silence:?}{members}");
            }
            Turn::Returned => {
                log::info!("the others had given this node up, because it was silent; it is back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::redis::keys::Id;
    use crate::position::{Epoch, Offset};

    const TIMEOUT: Duration = Duration::from_secs(10);
    const IDS: [&str; 4] = ["aaaaaa00", "bbbbbb00", "cccccc00", "dddddd00"];

    /// The roster of the first of four nodes.
    fn roster() -> Roster {
        Roster::new(IDS[0], "1.0 a", TIMEOUT)
    }

    fn beat(time: u64, nodes: &[usize], left: &[usize]) -> Beat {
        let sign = |node: &usize| Sign {
            node: IDS[*node].to_owned(),
            age: 0,
            about: about(*node),
        };
        Beat {
            is_open: true,
            now: time,
            nodes: nodes.iter().map(sign).collect(),
            left: left.iter().map(|node| IDS[*node].to_owned()).collect(),
            ..Beat::default()
        }
    }

    fn about(node: usize) -> String {
        format!("1.0 {}", &IDS[node][..1])
    }

    fn title(node: usize) -> Title {
        Title::new(IDS[node], &about(node))
    }

    /// What an entry tells that a node wrote at a time.
    fn read(roster: &mut Roster, of: usize, time: u64, record: Record) -> Vec<Turn> {
        let entry = Entry {
            id: Id {
                last: Offset(0),
                extra: time,
            },
            node: IDS[of].to_owned(),
            batch: 0,
            messages: 0,
            epoch: Epoch::parse("aaaaaaaa").unwrap(),
            time,
            records: bytes::Bytes::new(),
        };
        roster.read(&entry, &[record])
    }

    fn came(node: usize) -> Record {
        Record::Came { about: about(node) }
    }

    fn gone(node: usize) -> Record {
        Record::Gone {
            node: IDS[node].to_owned(),
        }
    }

    fn listed(roster: &Roster) -> String {
        let mut names: Vec<&str> = roster
            .signs()
            .0
            .iter()
            .map(|sign| &sign.node[..1])
            .collect();
        names.sort_unstable();
        names.concat()
    }

    fn waited_for(roster: &Roster) -> String {
        let mut names: Vec<&str> = roster.alive().map(|node| &node[..1]).collect();
        names.sort_unstable();
        names.concat()
    }

    /// Each turn is told once, by the log before the next sign of life, and what
    /// the signs say already is not told again.
    #[test]
    fn who_comes_and_goes_is_told_once() {
        let roster = &mut roster();
        assert_eq!(listed(roster), "a", "before the engine has told anything");
        assert_eq!(read(roster, 2, 5, came(2)), [], "that was long ago");
        let found = roster.see(beat(10, &[0, 1], &[]));
        assert_eq!(found, [Turn::Found(title(0), vec![title(1)])]);
        assert_eq!(read(roster, 2, 9, came(2)), [], "it has gone since");
        assert_eq!(read(roster, 0, 10, came(0)), []);
        assert_eq!(read(roster, 1, 10, came(1)), []);

        assert_eq!(read(roster, 2, 11, came(2)), [Turn::Came(title(2))]);
        assert_eq!(listed(roster), "abc");
        assert_eq!(roster.see(beat(20, &[0, 1, 2], &[])), []);
        assert_eq!(
            roster.see(beat(30, &[0, 1, 2, 3], &[])),
            [Turn::Came(title(3))]
        );

        assert_eq!(read(roster, 1, 31, gone(1)), [Turn::Left(title(1))]);
        assert_eq!((&*listed(roster), &*waited_for(roster)), ("acd", "acd"));
        let given_up = Turn::GivenUp(title(2), TIMEOUT);
        assert_eq!(read(roster, 3, 32, gone(2)), [given_up]);
        assert_eq!((&*listed(roster), &*waited_for(roster)), ("ad", "acd"));
        assert_eq!(roster.see(beat(40, &[0, 3], &[1])), []);

        // Its own burial, and its own goodbye.
        assert_eq!(read(roster, 3, 41, gone(0)), [Turn::Returned]);
        assert_eq!(read(roster, 0, 42, gone(0)), []);
        assert_eq!(listed(roster), "ad");
    }

    /// An engine that comes back empty knows only the nodes that have given a
    /// sign since. The others are waited for all the same, or the log would be
    /// put back without what only they have of it; and nobody is told that they
    /// went and came.
    #[test]
    fn a_node_that_the_engine_has_forgotten_is_waited_for() {
        let roster = &mut roster();
        roster.see(beat(10, &[0, 1, 2, 3], &[]));
        roster.see(beat(20, &[0, 1, 2], &[3]));
        assert_eq!(waited_for(roster), "abc", "d has said goodbye");
        assert_eq!(roster.see(beat(30, &[0], &[])), []);
        assert_eq!(read(roster, 1, 31, came(1)), []);
        assert_eq!(roster.see(beat(40, &[0, 1], &[])), []);
        assert_eq!(waited_for(roster), "abc", "c has given no sign again yet");
        let is_silent = |roster: &mut Roster| {
            roster.told.get_mut(IDS[2]).unwrap().seen -= TIMEOUT + GRACE;
        };
        is_silent(roster);
        roster.at -= TIMEOUT;
        assert_eq!(
            roster.see(beat(45, &[0, 1], &[])),
            [],
            "the engine was away"
        );
        is_silent(roster);
        let given_up = Turn::GivenUp(title(2), TIMEOUT);
        assert_eq!(roster.see(beat(50, &[0, 1], &[])), [given_up]);
    }

    /// A node that falls silent, or whose engine is away, is silent ever longer.
    #[test]
    fn the_signs_of_life_age() {
        let roster = &mut roster();
        roster.see(beat(10, &[0, 1], &[]));
        roster.at -= Duration::from_secs(7);
        assert!(roster.signs().1 >= Duration::from_secs(7));
        read(roster, 2, 11, came(2));
        let (signs, since) = roster.signs();
        let ages: Vec<u64> = signs.iter().map(|sign| sign.age / 1000).collect();
        assert_eq!(ages, [7, 7, 0]);
        assert!(since < Duration::from_secs(7));
    }

    #[test]
    fn a_name_breaks_no_line_of_the_log() {
        assert_eq!(
            Title::new("bbbbbb00", "1.0 a\nb").to_string(),
            "ab (@bbbbbb)"
        );
        assert_eq!(Title::new("b", "1.0").to_string(), "");
    }
}
