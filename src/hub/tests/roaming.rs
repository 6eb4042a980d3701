//! Clients of several rooms on one connection: one order over all of them, and
//! nothing that the others notice.

use super::*;
use crate::since::Since;

impl World {
    fn roam(&mut self, rooms: &[&str], encoding: Encoding, start: Start) -> Peer {
        let (mut peer, mut join) = self.peer(rooms[0], encoding);
        let further = rooms[1..].iter().map(|room| Arc::from(*room)).collect();
        if let Command::Join(joining) = &mut join {
            joining.start = start;
            let address = peer.state.peer;
            let room = peer.state.room.clone();
            let mut state = ClientState::new(peer.id, address, room, Place::anywhere(), None);
            state.further_rooms = further;
            peer.state = Arc::new(state);
            joining.client = peer.state.clone();
        }
        self.hub.apply(join);
        peer
    }

    /// What the client has received, without the epoch of its positions.
    fn heard(&mut self, peer: &Peer) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let texts = self.received(peer);
            if texts.is_empty() {
                return all;
            }
            let epoch = self.hub.log.position(Default::default()).to_string();
            let epoch = epoch.trim_end_matches('0').to_owned();
            all.extend(texts.iter().map(|text| text.replace(&epoch, "")));
        }
    }
}

fn remembering() -> World {
    World::with(SlowConsumer::Disconnect, |config| {
        config.history = 4;
        config.history_bytes = 1 << 20;
        config.history_total = 1 << 20;
    })
}

fn since(world: &World, offset: u64) -> Start {
    let mut position = world.hub.log.position(Default::default());
    position.offset.0 = offset;
    Start {
        since: Some(Since::Position(position)),
        ..Start::default()
    }
}

#[test]
fn a_client_of_several_rooms_hears_them_in_one_order() {
    let mut world = World::new();
    let roamer = world.roam(&["/a", "/b"], Encoding::RoomFrames, Start::default());
    assert_eq!(world.heard(&roamer), ["!at 0 new\n"]);
    for (room, text) in [
        ("/a", "1"),
        ("/b", "2"),
        ("/c", "3"),
        ("/a", "4"),
        ("/a", "5"),
    ] {
        world.broadcast(room, text);
    }
    world.send(&roamer, "alone");
    world.publish(Audience::Everybody { except: None }, "all");
    let but_one = Audience::Room {
        room: "/b".into(),
        except: Some(roamer.id),
    };
    world.publish(but_one, "not for it");
    assert_eq!(
        world.heard(&roamer),
        [
            "1 /a\n1",
            "2 /b\n2",
            "4 /a\n4",
            "5 /a\n5",
            "!direct\nalone",
            "6\nall"
        ]
    );
}

#[test]
fn members_of_one_room_get_as_few_sends_as_without_roamers() {
    let mut world = World::new();
    let (a, b) = (world.join("/a"), world.join("/b"));
    let roamer = world.roam(&["/a", "/b"], Encoding::RoomFrames, Start::default());
    for n in 0..10 {
        world.broadcast(["/a", "/b"][n % 2], &n.to_string());
    }
    assert_eq!(world.received(&a), ["0", "2", "4", "6", "8"]);
    assert_eq!(world.received(&b), ["1", "3", "5", "7", "9"]);
    assert_eq!(world.heard(&roamer).len(), 11);
    for peer in [&a, &b] {
        assert_eq!(
            peer.socket.wire().plain_sends,
            2,
            "the answer, and all at once"
        );
    }
}

#[test]
fn each_encoding_names_the_room() {
    let mut world = World::new();
    for (encoding, expected) in [
        (
            Encoding::RoomEvents,
            "event: /b\ndata: x\n\nevent: /a\ndata: y\n\n",
        ),
        (Encoding::RoomLines, "/b\tx\n/a\ty\n"),
        (
            Encoding::RoomJsonLines,
            "{\"room\":\"/b\",\"text\":\"x\"}\n{\"room\":\"/a\",\"text\":\"y\"}\n",
        ),
    ] {
        let roamer = world.roam(&["/a", "/b"], encoding, Start::default());
        world.broadcast("/b", "x");
        world.broadcast("/a", "y");
        world.hub.end_pass();
        let out = roamer.socket.take_out();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        world.leave(&roamer);
    }
}

#[test]
fn a_client_of_several_rooms_counts_once_and_in_each() {
    let mut world = World::new();
    let a = world.join("/a");
    let roamer = world.roam(&["/a", "/b", "/c"], Encoding::RoomFrames, Start::default());
    assert_eq!(world.clients(None).len(), 2);
    let rooms = [("/a", 2), ("/b", 1), ("/c", 1)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(world.rooms(), rooms.into());
    world.exit(&roamer, "/b");
    world.broadcast("/b", "gone");
    world.enter(&roamer, "/d");
    world.broadcast("/d", "come");
    assert_eq!(world.heard(&roamer)[1..], ["2 /d\ncome"]);
    world.leave(&a);
    assert_eq!(world.rooms().values().sum::<usize>(), 3);
    world.leave(&roamer);
    assert_eq!(world.rooms(), BTreeMap::new());
    assert_eq!(world.hub.in_many_rooms, 0);
}

#[test]
fn a_slow_client_of_several_rooms_is_evicted_once_and_from_all() {
    let mut world = World::new();
    let roamer = world.roam(&["/a", "/b"], Encoding::RoomFrames, Start::default());
    assert_eq!(world.heard(&roamer).len(), 1);
    roamer.socket.set_room(0);
    for n in 0..2 * MAX_MESSAGES {
        world.broadcast(["/a", "/b"][n % 2], "x");
        world.hub.end_pass();
    }
    assert!(matches!(
        roamer.state.cause.get(),
        Some(Cause::Evicted { .. })
    ));
    assert_eq!(world.rooms(), BTreeMap::new());
    let closes = world.received(&roamer);
    let closes = closes.iter().filter(|text| text.starts_with("CLOSE 1008"));
    assert_eq!(closes.count(), 1);
}

#[test]
fn a_resume_in_several_rooms_is_in_the_order_of_the_log() {
    let mut world = remembering();
    for n in 1..=6 {
        world.broadcast(["/a", "/b"][n % 2], &n.to_string());
    }
    let start = since(&world, 2);
    let roamer = world.roam(&["/a", "/b"], Encoding::RoomFrames, start);
    world.broadcast("/a", "7");
    assert_eq!(
        world.heard(&roamer),
        [
            "!at 2 complete\n",
            "3 /b\n3",
            "4 /a\n4",
            "5 /b\n5",
            "6 /a\n6",
            "7 /a\n7"
        ]
    );
    let last = Start {
        since: Some(Since::Last(1)),
        ..Start::default()
    };
    let roamer = world.roam(&["/a", "/b"], Encoding::RoomFrames, last);
    assert_eq!(world.heard(&roamer), ["!at 4 new\n", "5 /b\n5", "7 /a\n7"]);
}

#[test]
fn what_one_room_has_forgotten_does_not_cost_what_another_remembers() {
    let mut world = remembering();
    world.broadcast("/quiet", "1");
    for n in 2..=9 {
        world.broadcast("/busy", &n.to_string());
    }
    let start = since(&world, 0);
    let rooms = ["/busy", "/quiet"];
    let roamer = world.roam(&rooms, Encoding::RoomFrames, start);
    assert_eq!(
        world.heard(&roamer),
        [
            "!at 0 incomplete\n",
            "!gap 0 5\n",
            "1 /quiet\n1",
            "6 /busy\n6",
            "7 /busy\n7",
            "8 /busy\n8",
            "9 /busy\n9"
        ]
    );
    // The browser takes the last id for where it is.
    let roamer = world.roam(&rooms, Encoding::RoomEvents, start);
    world.hub.end_pass();
    let out = String::from_utf8(roamer.socket.take_out()).unwrap();
    let ids: Vec<&str> = out
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    let offsets: Vec<&str> = ids.iter().map(|id| id.split_once('-').unwrap().1).collect();
    assert_eq!(offsets, ["5", "0", "1", "6", "7", "8", "9"]);
    let close = Start {
        close_on_gap: true,
        ..start
    };
    let roamer = world.roam(&rooms, Encoding::RoomFrames, close);
    assert!(world.received(&roamer)[0].starts_with("CLOSE 4410"));
}
