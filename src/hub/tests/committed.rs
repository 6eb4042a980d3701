//! What an engine has placed, as the hub takes it.

use super::*;
use crate::engine::Elsewhere;
use crate::position::{Epoch, Lineage, Offset, Position};
use crate::since::Since;

fn epoch(text: &str) -> Epoch {
    Epoch::parse(text).unwrap()
}

/// A world behind an engine, in which rooms remember 100 messages.
fn world() -> World {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.history = 100;
    });
    world.hub.log = Log::new(Box::new(Elsewhere::new()));
    world.commit(Committed {
        lineage: Some(Lineage::new(epoch("aaaaaaaa"))),
        break_at: Some(Offset(0)),
        ..Committed::default()
    });
    world
}

/// Messages of a room, the first of them at an offset.
fn placed(room: &str, first: u64, texts: &[&str]) -> Placed {
    let mut builder = burst::BurstBuilder::default();
    texts.iter().for_each(|text| builder.text(text, false));
    let frames = builder.take();
    Placed {
        to: Audience::Room {
            room: room.into(),
            except: None,
        },
        forms: Burst::placed(frames.bytes, frames.messages, Offset(first)).into(),
        time: u64::MAX,
        receipt: None,
    }
}

impl World {
    fn commit(&mut self, committed: Committed) {
        self.hub.apply(Command::Commit(committed));
        self.hub.end_pass();
    }

    fn commit_one(&mut self, placed: Placed) {
        self.commit(Committed {
            placed: vec![placed],
            ..Committed::default()
        });
    }

    fn come_back(&mut self, since: &str) -> Peer {
        let (peer, mut join) = self.peer("/", Encoding::PositionedFrames);
        if let Command::Join(joining) = &mut join {
            let position: Position = since.parse().unwrap();
            joining.start.since = Some(Since::Position(position));
        }
        self.hub.apply(join);
        self.hub.end_pass();
        peer
    }
}

/// What is done to a client comes in its place among the messages; a message for
/// one client has no place in the log.
#[test]
fn acts_come_between_messages() {
    let mut world = world();
    let peer = world.join_as("/", Encoding::PositionedFrames);
    let direct = Placed {
        to: Audience::Client(peer.id),
        ..placed("/", 0, &["direct"])
    };
    let act = |act| (2, peer.id, act);
    world.commit(Committed {
        placed: vec![
            placed("/", 1, &["first"]),
            direct,
            placed("/", 2, &["not here"]),
            placed("/cellar", 3, &["second"]),
        ],
        acts: vec![
            act(Act::Exit("/".into())),
            act(Act::Enter("/cellar".into())),
            (
                4,
                peer.id,
                Act::Close(CloseFrame::new(CloseCode::NORMAL, "bye")),
            ),
        ],
        ..Committed::default()
    });
    assert_eq!(
        world.received(&peer),
        [
            "!at aaaaaaaa-0 new\n",
            "aaaaaaaa-1\nfirst",
            "!direct\ndirect",
            "aaaaaaaa-3\nsecond",
            "CLOSE 1000 bye since=aaaaaaaa-3",
        ]
    );
    assert_eq!(world.hub.log.head(), Offset(3));
}

#[test]
fn offsets_are_those_of_the_engine() {
    let mut world = world();
    let peer = world.join_as("/", Encoding::PositionedFrames);
    let (reply, receipt) = Reply::pair();
    let mut first = placed("/", 5, &["a", "b"]);
    first.receipt = Some(reply);
    world.commit_one(first);
    world.commit_one(placed("/other", 7, &["not here"]));
    world.commit_one(placed("/", 8, &["c"]));
    assert_eq!(
        world.received(&peer),
        [
            "!at aaaaaaaa-0 new\n",
            "aaaaaaaa-5\na",
            "aaaaaaaa-6\nb",
            "aaaaaaaa-8\nc"
        ]
    );
    let receipt = receipt.take().unwrap();
    assert_eq!(receipt.position.to_string(), "aaaaaaaa-6");
    assert_eq!(receipt.clients, 1);
}

#[test]
fn a_position_of_a_former_epoch_is_good_up_to_the_cut() {
    let mut world = world();
    world.commit_one(placed("/", 1, &["a", "b"]));
    let mut lineage = Lineage::new(epoch("aaaaaaaa"));
    lineage.begin(epoch("bbbbbbbb"), Offset(2));
    world.commit(Committed {
        lineage: Some(lineage),
        ..Committed::default()
    });
    world.commit_one(placed("/", 3, &["c"]));
    for (since, expected) in [
        (
            "aaaaaaaa-1",
            ["!at aaaaaaaa-1 complete\n", "b", "c"].as_slice(),
        ),
        ("aaaaaaaa-2", &["complete", "c"]),
        (
            "aaaaaaaa-3",
            &["incomplete", "!gap aaaaaaaa-3 bbbbbbbb-2", "c"],
        ),
        ("bbbbbbbb-3", &["complete"]),
    ] {
        let peer = world.come_back(since);
        let received = world.received(&peer);
        assert_eq!(received.len(), expected.len(), "{since}: {received:?}");
        for (received, expected) in received.iter().zip(expected).skip(1) {
            assert!(received.contains(expected), "{since}: {received:?}");
        }
        assert!(received[0].contains("complete"), "{received:?}");
        assert_eq!(
            received[0].contains("incomplete"),
            expected[0] == "incomplete"
        );
    }
}

/// A client may have seen more than this node: it gets what comes after that,
/// and nothing twice.
#[test]
fn a_client_that_is_ahead_gets_nothing_twice() {
    let mut world = world();
    world.commit_one(placed("/", 1, &["a"]));
    let peer = world.come_back("aaaaaaaa-3");
    world.commit_one(placed("/", 2, &["b", "c"]));
    world.commit_one(placed("/", 4, &["d"]));
    let received = world.received(&peer);
    assert_eq!(received, ["!at aaaaaaaa-3 complete\n", "aaaaaaaa-4\nd"]);
}

#[test]
fn where_the_log_breaks_off_rooms_forget_and_clients_are_told() {
    let mut world = world();
    let told = world.join_as("/", Encoding::PositionedFrames);
    let plain = world.join("/");
    world.commit_one(placed("/", 1, &["a", "b", "c"]));
    let mut lineage = Lineage::new(epoch("aaaaaaaa"));
    lineage.begin(epoch("bbbbbbbb"), Offset(2));
    // What stood at 3 is void.
    world.commit(Committed {
        lineage: Some(lineage),
        break_at: Some(Offset(2)),
        placed: vec![placed("/", 3, &["C"])],
        ..Committed::default()
    });
    let received = world.received(&told);
    assert_eq!(
        received[4..],
        ["!gap aaaaaaaa-3 bbbbbbbb-2\n", "bbbbbbbb-3\nC"]
    );
    assert_eq!(world.received(&plain), ["a", "b", "c", "C"]);
    // A part of the log is missing.
    world.commit(Committed {
        break_at: Some(Offset(9)),
        placed: vec![placed("/", 10, &["j"])],
        ..Committed::default()
    });
    assert_eq!(
        world.received(&told),
        ["!gap bbbbbbbb-3 bbbbbbbb-9\n", "bbbbbbbb-10\nj"]
    );
    for (since, how) in [("bbbbbbbb-9", " complete"), ("bbbbbbbb-8", "incomplete")] {
        let peer = world.come_back(since);
        let received = world.received(&peer);
        assert!(received[0].contains(how), "{received:?}");
        assert_eq!(received.last().unwrap(), "bbbbbbbb-10\nj");
    }
}

/// What came in a part of the log that is void stands elsewhere now. Nobody
/// gets it twice, and so rooms do not have it where it stands: a resume across
/// it is not complete.
#[test]
fn a_resume_across_what_came_before_is_not_complete() {
    let mut world = world();
    let told = world.join_as("/", Encoding::PositionedFrames);
    world.commit_one(placed("/", 1, &["a", "b"]));
    world.commit(Committed {
        forget: Some(Offset(4)),
        placed: vec![placed("/", 5, &["e"])],
        ..Committed::default()
    });
    assert_eq!(world.received(&told)[3..], ["aaaaaaaa-5\ne"], "no gap");
    for (since, expected) in [("aaaaaaaa-4", " complete"), ("aaaaaaaa-3", "incomplete")] {
        let peer = world.come_back(since);
        let received = world.received(&peer);
        assert!(received[0].contains(expected), "{since}: {received:?}");
    }
}
