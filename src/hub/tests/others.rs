//! Members of rooms on other nodes.

use std::sync::Mutex;

use super::*;
use crate::engine::Elsewhere;
use crate::hub::{Announce, Attendance, Watch};
use crate::names::NodeTag;
use crate::position::{Epoch, Lineage, Offset};

fn node(id: &str) -> NodeTag {
    NodeTag::of_node(id).unwrap()
}

/// What the hub tells the other nodes.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Attendance>>);

impl Announce for Told {
    fn changed(&self, changes: &[Attendance]) {
        self.0.lock().unwrap().extend_from_slice(changes);
    }

    fn everybody(&self, all: &[Attendance]) {
        *self.0.lock().unwrap() = all.to_vec();
    }
}

impl Told {
    fn take(&self) -> Vec<Attendance> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A world with other nodes, that shows who is in its rooms but for `/shy`.
fn world() -> (World, Arc<Told>) {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.presence = true;
        config.presence_grace = Duration::ZERO;
        let mut shy = crate::RoomRule::new("/shy");
        shy.presence = Some(false);
        config.room = vec![shy];
    });
    let told = Arc::new(Told::default());
    world.hub.log = Log::new(Box::new(Elsewhere::new()));
    world.hub = world
        .hub
        .with_others(None, Some(told.clone()), Duration::ZERO);
    (world, told)
}

fn joined(room: &str, members: &[(u64, &str)]) -> Attendance {
    let name = |name: &str| (!name.is_empty()).then(|| name.into());
    Attendance::Joined {
        room: room.into(),
        members: members.iter().map(|(id, n)| (*id, name(n))).collect(),
    }
}

fn left(room: &str, members: &[u64]) -> Attendance {
    Attendance::Left {
        room: room.into(),
        members: members.to_vec(),
        is_lost: false,
    }
}

impl World {
    fn attend(&mut self, what: &[Attendance]) {
        let attendance = what.iter().map(|what| (node("b3f1c9"), what.clone()));
        self.hub.apply(Command::Commit(Committed {
            attendance: attendance.collect(),
            ..Committed::default()
        }));
        self.hub.end_pass();
    }

    /// Who is shown in a room.
    fn shown(&mut self, room: &str) -> Vec<String> {
        let present = self.hub.here(room).present.into_iter();
        present.map(|present| present.id.to_string()).collect()
    }

    fn begin_log_anew(&mut self) {
        self.hub.apply(Command::Commit(Committed {
            lineage: Some(Lineage::new(Epoch::parse("aaaaaaaa").unwrap())),
            break_at: Some(Offset(0)),
            ..Committed::default()
        }));
        self.hub.end_pass();
    }
}

#[test]
fn members_of_other_nodes_come_and_go_as_they_are_told() {
    let (mut world, _) = world();
    let own = world.join("/");
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    world.told(&watcher);
    world.attend(&[
        joined("/", &[(17, "ann"), (18, "")]),
        joined("/", &[(17, "ann")]),
    ]);
    assert_eq!(
        world.told(&watcher),
        [r#"{"joined":[{"id":"17@b3f1c9","name":"ann"},{"id":"18@b3f1c9"}]}"#]
    );
    assert_eq!(
        world.shown("/"),
        [own.id.to_string().as_str(), "17@b3f1c9", "18@b3f1c9"]
    );
    assert_eq!(world.hub.count("/"), 3);
    assert_eq!(world.rooms(), [("/".to_owned(), 3)].into());
    world.attend(&[joined("/", &[(1 << 40, "no number")])]);
    world.attend(&[left("/", &[18, 99]), left("/none", &[17])]);
    let gone = r#"{"left":[{"id":"18@b3f1c9","why":"closed"}]}"#;
    assert_eq!(world.told(&watcher), [gone]);
    let (departures, left) = Reply::pair();
    world.hub.apply(Command::Commit(Committed {
        attendance: vec![(node("b3f1c9"), Attendance::Gone); 2],
        departures: Some(departures),
        ..Committed::default()
    }));
    world.hub.end_pass();
    let with = [1, 0].map(|members| (node("b3f1c9"), members));
    assert_eq!(left.take().unwrap(), with);
    let gone = r#"{"left":[{"id":"17@b3f1c9","name":"ann","why":"node"}]}"#;
    assert_eq!(world.told(&watcher), [gone]);
    assert_eq!(world.hub.count("/"), 1);
}

#[test]
fn a_room_of_others_is_there_as_long_as_they_are() {
    let (mut world, _) = world();
    world.attend(&[joined("/far", &[(1, "")]), joined("/shy", &[(1, "")])]);
    assert_eq!(world.rooms(), [("/far".to_owned(), 1)].into());
    world.attend(&[left("/far", &[1])]);
    assert_eq!(world.hub.rooms.iter().count(), 0);
    assert_eq!(world.hub.others.seats(), 0);
}

/// A node names everybody again: who is not named has left, and nobody comes
/// twice.
#[test]
fn whoever_is_not_named_again_has_left() {
    let (mut world, _) = world();
    world.attend(&[
        joined("/", &[(1, "ann"), (2, "bob")]),
        joined("/b", &[(2, "bob")]),
    ]);
    let watcher = world.watcher("/", Encoding::Frames, Watch::Some);
    world.told(&watcher);
    let again = [joined("/", &[(2, "bob"), (3, "eve")])];
    world.attend(&[&[Attendance::Begins(7)], &again[..]].concat());
    assert_eq!(
        world.shown("/"),
        ["1@b3f1c9", "2@b3f1c9", "3@b3f1c9"],
        "so far"
    );
    world.attend(&[Attendance::Complete(6)]);
    assert_eq!(world.shown("/").len(), 3, "it is the end of another list");
    world.attend(
        &[
            &[Attendance::Begins(8)],
            &again[..],
            &[Attendance::Complete(8)],
        ]
        .concat(),
    );
    assert_eq!(
        world.told(&watcher),
        [
            r#"{"joined":[{"id":"3@b3f1c9","name":"eve"}]}"#,
            r#"{"left":[{"id":"1@b3f1c9","name":"ann","why":"lost"}]}"#
        ]
    );
    assert!(world.shown("/b").is_empty());
}

/// When the log begins anew, nodes that live name everybody.
#[test]
fn a_node_that_is_silent_after_a_restart_is_gone() {
    let (mut world, _) = world();
    world.attend(&[
        Attendance::Begins(1),
        joined("/", &[(1, "")]),
        Attendance::Complete(1),
    ]);
    world.begin_log_anew();
    assert!(world.hub.next_deadline().is_some());
    world.hub.others.hurry();
    world.hub.end_pass();
    assert!(world.shown("/").is_empty());
    world.attend(&[
        Attendance::Begins(1),
        joined("/", &[(1, "")]),
        Attendance::Complete(1),
    ]);
    world.begin_log_anew();
    world.attend(&[
        Attendance::Begins(2),
        joined("/", &[(1, "")]),
        Attendance::Complete(2),
    ]);
    world.hub.others.hurry();
    world.hub.end_pass();
    assert_eq!(world.shown("/"), ["1@b3f1c9"]);
    assert_eq!(world.hub.next_deadline(), None);
}

#[test]
fn others_are_told_what_is_shown_here() {
    let (mut world, told) = world();
    let ann = world.named("/", "ann");
    let (bob, _shy) = (world.join("/b"), world.join("/shy"));
    world.attend(&[joined("/", &[(9, "far")])]);
    let mut changes = told.take();
    changes.sort_by_key(|change| format!("{change:?}"));
    let (ann_id, bob_id) = (ann.id.value(), bob.id.value());
    let (here, there) = (
        joined("/", &[(ann_id, "ann")]),
        joined("/b", &[(bob_id, "")]),
    );
    assert_eq!(changes, [here.clone(), there.clone()]);
    // Nobody else is in the room, and yet others must know.
    world.peer_closed(&bob);
    world.leave(&bob);
    world.hub.end_pass();
    assert_eq!(told.take(), [left("/b", &[bob_id])]);
    assert!(world.hub.rooms.find("/b").is_none());
    let brief = world.join("/brief");
    world.leave(&brief);
    world.hub.end_pass();
    assert!(told.take().is_empty());
    world.hub.apply(Command::Announce);
    let all = [Attendance::Begins(1), here, Attendance::Complete(1)];
    assert_eq!(told.take(), all);
}

/// Two hubs that tell each other, with parts lost now and then, and then
/// everybody: both have the same list.
#[test]
fn after_a_round_both_have_one_list() {
    let mut nodes = [world(), world()];
    let keys = ["aaaaaa", "bbbbbb"].map(node);
    let rooms = ["/", "/a", "/b"];
    let mut present: [Vec<Peer>; 2] = Default::default();
    for seed in 0..40 {
        let mut choices = crate::fuzzing::choices::Choices::Seed(seed);
        for step in 0..60 {
            let which = choices.below(2);
            let (world, _) = &mut nodes[which];
            match choices.below(3) {
                0 if !present[which].is_empty() => {
                    let at = choices.below(present[which].len());
                    let peer = present[which].swap_remove(at);
                    world.leave(&peer);
                }
                _ => present[which].push(world.join(rooms[choices.below(3)])),
            }
            world.hub.end_pass();
            if step == 59 {
                for (world, _) in &mut nodes {
                    world.hub.apply(Command::Announce);
                }
            }
            for (from, to) in [(0, 1), (1, 0)] {
                let mut told = nodes[from].1.take();
                if step < 59 && choices.below(4) == 0 {
                    told.truncate(choices.below(told.len() + 1));
                }
                let attendance = told.into_iter().map(|told| (keys[from], told)).collect();
                nodes[to].0.hub.apply(Command::Commit(Committed {
                    attendance,
                    ..Committed::default()
                }));
                nodes[to].0.hub.end_pass();
            }
        }
        for room in rooms {
            let mut lists = [0, 1].map(|node| {
                let list = nodes[node].0.shown(room).into_iter();
                let own = ["@aaaaaa", "@bbbbbb"][node];
                list.map(|id| if id.contains('@') { id } else { id + own })
                    .collect::<Vec<_>>()
            });
            lists.iter_mut().for_each(|list| list.sort_unstable());
            assert_eq!(lists[0], lists[1], "seed {seed}, {room}");
        }
    }
}
