//! What rooms remember, and clients that come back for it.

use super::*;
use crate::position::Position;
use crate::since::Since;

/// A world in which rooms remember 100 messages.
fn world() -> World {
    remembering(SlowConsumer::Disconnect, 100)
}

fn remembering(slow_consumer: SlowConsumer, history: usize) -> World {
    World::with(slow_consumer, |config| {
        config.history = history;
        config.history_bytes = 1 << 30;
        config.history_total = 1 << 30;
    })
}

impl World {
    fn come(&mut self, room: &str, encoding: Encoding, start: Start) -> Peer {
        let (peer, mut join) = self.peer(room, encoding);
        if let Command::Join(joining) = &mut join {
            joining.start = start;
        }
        self.hub.apply(join);
        peer
    }

    fn resume(&mut self, room: &str, encoding: Encoding, since: impl Into<Since>) -> Peer {
        let start = Start {
            since: Some(since.into()),
            close_on_gap: false,
            ..Start::default()
        };
        self.come(room, encoding, start)
    }

    fn head(&self) -> Position {
        self.hub.log.position(self.hub.log.head())
    }

    /// Ends passes until nobody gets anything more without a command.
    fn settle(&mut self) {
        self.hub.end_pass();
        while !self.hub.ready.is_empty() {
            self.hub.end_pass();
        }
    }

    /// Everything that the client gets until nothing is left for it.
    fn all_received(&mut self, peer: &Peer) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            self.settle();
            let received = self.received(peer);
            if received.is_empty() {
                return all;
            }
            all.extend(received);
        }
    }
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// The position in a text such as `bye since=…`.
fn since_in(text: &str) -> Position {
    let (_, position) = text.split_once("since=").unwrap();
    position.parse().unwrap()
}

#[test]
fn the_newest_come_first_and_then_what_is_said() {
    let mut world = world();
    (1..=5).for_each(|n| world.broadcast("/", &n.to_string()));
    let start = |count| Start {
        since: Some(Since::Last(count)),
        ..Start::default()
    };
    let some = world.come("/", Encoding::Frames, start(2));
    let all = world.come("/", Encoding::Frames, start(1000));
    let none = world.join("/");
    world.broadcast("/", "6");
    assert_eq!(world.received(&some), numbers(4..=6));
    assert_eq!(world.received(&all), numbers(1..=6));
    assert_eq!(world.received(&none), ["6"]);
}

#[test]
fn nothing_falls_between_what_is_remembered_and_what_is_said() {
    let mut world = world();
    let mut positions = Vec::new();
    for n in 1..=9 {
        positions.push(world.head());
        world.broadcast("/", &n.to_string());
        world.broadcast("/other", "not here");
    }
    // All in the pass in which the messages are still being gathered.
    let peers: Vec<Peer> = positions
        .iter()
        .map(|at| world.resume("/", Encoding::Frames, *at))
        .collect();
    world.broadcast("/", "10");
    for (first, peer) in (1..).zip(&peers) {
        assert_eq!(world.received(peer), numbers(first..=10));
    }
    assert_eq!(world.counters.resumes_complete.get(), 9);
}

#[test]
fn positions_are_said_before_everything_else_and_with_every_message() {
    let mut world = world();
    world.broadcast("/", "1");
    let from = world.head();
    world.broadcast("/", "2");
    let peer = world.resume("/", Encoding::PositionedFrames, from);
    let new = world.join_as("/", Encoding::PositionedFrames);
    world.broadcast("/", "3");
    world.send(&peer, "to you alone");
    let at = |n: u64| world.hub.log.position(crate::position::Offset(n));
    let [one, two, three] = [1, 2, 3].map(at);
    assert_eq!(
        world.received(&peer),
        [
            format!("!at {one} complete\n"),
            format!("{two}\n2"),
            format!("{three}\n3"),
            "!direct\nto you alone".to_owned(),
        ]
    );
    let new = world.received(&new);
    assert_eq!(new, [format!("!at {two} new\n"), format!("{three}\n3")]);
}

#[test]
fn events_have_ids_from_the_first_byte_on_where_the_room_remembers() {
    let mut world = world();
    world.broadcast("/", "1");
    let from = world.head();
    world.broadcast("/", "2");
    let peer = world.resume("/", Encoding::Events, from);
    world.broadcast("/", "3");
    world.hub.end_pass();
    let out = String::from_utf8(peer.socket.take_out()).unwrap();
    let events: Vec<&str> = out.split_inclusive("\n\n").collect();
    let after = world.head().to_string().replace("-3", "");
    let (first, rest) = events.split_first().unwrap();
    assert!(
        first.starts_with(&format!("id: {after}-1\nretry: ")),
        "{first}"
    );
    let expected = [2, 3].map(|n| format!("id: {after}-{n}\ndata: {n}\n\n"));
    assert_eq!(rest, expected);
}

#[test]
fn who_cannot_resume_completely_is_told_where_the_hole_is() {
    let mut world = remembering(SlowConsumer::Disconnect, 3);
    let beginning = world.head();
    (1..=10).for_each(|n| world.broadcast("/", &n.to_string()));
    let seven = world.hub.log.position(crate::position::Offset(7));
    let peer = world.resume("/", Encoding::PositionedFrames, beginning);
    let mut expected = vec![
        format!("!at {seven} incomplete\n"),
        format!("!gap {beginning} {seven}\n"),
    ];
    let epoch = seven.to_string().replace("-7", "");
    expected.extend((8..=10).map(|n| format!("{epoch}-{n}\n{n}")));
    assert_eq!(world.received(&peer), expected);

    let events = world.resume("/", Encoding::Events, beginning);
    world.hub.end_pass();
    let out = String::from_utf8(events.socket.take_out()).unwrap();
    let gap = format!("event: gap\ndata: {{\"from\":\"{beginning}\",\"to\":\"{seven}\"}}\n\n");
    assert!(out.contains(&gap), "{out}");
    assert_eq!(world.counters.resumes_incomplete.get(), 2);
}

#[test]
fn who_asks_for_it_is_closed_instead_before_any_message() {
    let mut world = remembering(SlowConsumer::Disconnect, 3);
    let beginning = world.head();
    (1..=10).for_each(|n| world.broadcast("/", &n.to_string()));
    let start = |since| Start {
        since: Some(since),
        close_on_gap: true,
        ..Start::default()
    };
    let beginning = start(Since::Position(beginning));
    let peer = world.come("/", Encoding::PositionedFrames, beginning);
    let received = world.received(&peer);
    assert_eq!(received.len(), 1, "{received:?}");
    assert!(received[0].starts_with("CLOSE 4410 messages are missing since="));
    let rest = start(Since::Position(since_in(&received[0])));
    let peer = world.come("/", Encoding::Frames, rest);
    assert_eq!(world.received(&peer), numbers(8..=10));
}

#[test]
fn a_position_that_nobody_gave_is_not_resumed_from() {
    let mut world = world();
    world.broadcast("/", "1");
    let head = world.head().to_string();
    for position in [
        head.replace("-1", "-2"),
        head.replace("-1", "-18446744073709551615"),
        "k3f9x2qa-1".to_owned(),
    ] {
        let position: Position = position.parse().unwrap();
        let peer = world.resume("/", Encoding::Frames, position);
        assert_eq!(world.received(&peer), ["1"], "{position}");
    }
    assert_eq!(world.counters.resumes_incomplete.get(), 3);
    // A room that nobody has said anything in has nothing to miss.
    let peer = world.resume(
        "/empty",
        Encoding::Frames,
        head.parse::<Position>().unwrap(),
    );
    assert!(world.received(&peer).is_empty());
    assert_eq!(world.counters.resumes_complete.get(), 1);
}

#[test]
fn much_more_than_an_outbox_holds_is_resumed_through_a_slow_socket() {
    let mut world = remembering(SlowConsumer::Disconnect, 10_000);
    let beginning = world.head();
    let text = |n: u64| format!("{n} {}", "x".repeat(1000 + n as usize % 7));
    (1..=2000).for_each(|n| world.broadcast("/", &text(n)));
    for encoding in [Encoding::Frames, Encoding::PositionedFrames] {
        let (peer, mut join) = world.peer("/", encoding);
        if let Command::Join(joining) = &mut join {
            joining.start.since = Some(Since::Position(beginning));
        }
        peer.socket.set_room(777);
        world.hub.apply(join);
        let mut received = Vec::new();
        for n in 2001..=2100 {
            world.broadcast("/", &text(n));
            world.hub.end_pass();
            received.extend(world.received(&peer));
            let infos = world.clients(Some("/"));
            let queued = infos.iter().map(|info| info.queue_bytes).max().unwrap();
            assert!(queued <= 2 * MAX_BYTES, "{queued}");
        }
        received.extend(world.all_received(&peer));
        let numbers = received.iter().filter(|text| !text.starts_with("!at"));
        let numbers = numbers.map(|text| {
            let text = text
                .split_once('\n')
                .map_or(text.as_str(), |(_, text)| text);
            text.split(' ')
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap_or(u64::MAX)
        });
        let numbers: Vec<u64> = numbers.filter(|n| *n <= 2000).collect();
        assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
        world.broadcast("/", "live");
        let live = world.received(&peer);
        assert!(live.len() == 1 && live[0].ends_with("live"), "{live:?}");
        assert_eq!(world.counters.members_behind.get(), 0);
        world.leave(&peer);
    }
    assert_eq!(world.counters.evictions(), 0);
}

/// A client that is behind, whose socket is full, in a room that forgets all
/// but three messages.
fn left_behind(slow_consumer: SlowConsumer, encoding: Encoding) -> (World, Peer) {
    let mut world = remembering(slow_consumer, 3);
    let large = "x".repeat(MAX_BYTES - 100);
    (0..3).for_each(|_| world.broadcast("/", &large));
    let (peer, mut join) = world.peer("/", encoding);
    if let Command::Join(joining) = &mut join {
        joining.start.since = Some(Since::Last(3));
    }
    peer.socket.set_room(0);
    world.hub.apply(join);
    for n in 4..=10 {
        world.broadcast("/", &n.to_string());
        world.hub.end_pass();
    }
    peer.socket.set_room(usize::MAX);
    (world, peer)
}

#[test]
fn who_follows_positions_learns_what_was_forgotten_before_it_came_to_that() {
    for policy in [SlowConsumer::Disconnect, SlowConsumer::DropOldest] {
        let (mut world, peer) = left_behind(policy, Encoding::PositionedFrames);
        let received = world.all_received(&peer);
        let lines: Vec<String> = received
            .iter()
            .map(|text| text.lines().next().unwrap().to_owned())
            .collect();
        let at = |n: u64| world.hub.log.position(crate::position::Offset(n));
        let gap = lines
            .iter()
            .position(|line| line.starts_with("!gap"))
            .unwrap();
        assert_eq!(lines[gap], format!("!gap {} {}", lines[gap - 1], at(7)));
        assert_eq!(lines[gap + 1..], [8, 9, 10].map(|n| at(n).to_string()));
        assert_eq!(world.counters.gaps.get(), 1);
    }
}

#[test]
fn who_cannot_be_told_is_treated_as_the_policy_says() {
    let (mut world, peer) = left_behind(SlowConsumer::Disconnect, Encoding::Frames);
    let received = world.all_received(&peer);
    let close = received.last().unwrap();
    assert!(close.starts_with("CLOSE 1008 slow consumer: what comes next is forgotten #"));
    // Nothing comes twice for who comes back with that.
    let given = received.len() as u64 - 1;
    let at = world.hub.log.position(crate::position::Offset(given));
    assert_eq!(since_in(close), at);

    let (mut world, peer) = left_behind(SlowConsumer::DropOldest, Encoding::Frames);
    let received = world.all_received(&peer);
    assert_eq!(received[received.len() - 3..], numbers(8..=10));
}

#[test]
fn an_evicted_client_resumes_with_exactly_what_it_missed() {
    let mut world = world();
    let peer = world.join("/");
    (1..=3).for_each(|n| world.broadcast("/", &n.to_string()));
    assert_eq!(world.received(&peer), numbers(1..=3));
    peer.socket.set_room(0);
    for n in 4..=20 {
        world.broadcast("/", &n.to_string());
        world.hub.end_pass();
    }
    world.write_all(&peer);
    let received = frames(&peer.socket.take_out());
    let (close, given) = received.split_last().unwrap();
    assert!(
        close.starts_with("CLOSE 1008 slow consumer: 8 messages"),
        "{close}"
    );
    let next = given.len() as u64 + 4;
    assert_eq!(given, numbers(4..=next - 1));
    let again = world.resume("/", Encoding::Frames, since_in(close));
    assert_eq!(world.all_received(&again), numbers(next..=20));
}

#[test]
fn every_close_that_the_server_begins_ends_with_where_to_resume() {
    let mut world = world();
    let peers = [world.join("/"), world.join("/")];
    world.broadcast("/", "1");
    world.disconnect(&peers[0], &"x".repeat(200));
    let received = world.received(&peers[0]);
    let at = world.head();
    let close = format!(
        "CLOSE 1000 {} since={at}",
        "x".repeat(123 - 7 - at.to_string().len())
    );
    assert_eq!(received, ["1".to_owned(), close]);
    world.hub.apply(Command::Shutdown);
    let received = world.received(&peers[1]);
    assert_eq!(
        received[1],
        format!("CLOSE 1001 server shutdown since={at}")
    );

    let mut off = World::new();
    let peer = off.join("/");
    off.disconnect(&peer, "bye");
    assert_eq!(off.received(&peer), ["CLOSE 1000 bye"]);
}

#[test]
fn a_close_whose_queue_is_discarded_after_all_says_where_that_was() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.history = 100;
        config.queue_total = 10;
    });
    let peer = world.join("/");
    let bystander = world.join("/other");
    bystander.socket.set_room(0);
    peer.socket.set_room(0);
    // The writer has the first one.
    (1..=4).for_each(|n| {
        world.broadcast("/", &n.to_string());
        world.hub.end_pass();
    });
    world.disconnect(&peer, "bye");
    // Too much waits for all together now.
    world.broadcast("/other", "w");
    world.hub.end_pass();
    world.broadcast("/other", "v");
    world.hub.end_pass();
    world.write_all(&peer);
    let received = frames(&peer.socket.take_out());
    let (close, given) = received.split_last().unwrap();
    assert_eq!(given, ["1"], "what waited was discarded");
    assert!(close.starts_with("CLOSE 1000 bye since="), "{close}");
    let again = world.resume("/", Encoding::Frames, since_in(close));
    assert_eq!(world.all_received(&again), numbers(2..=4));
}

#[test]
fn the_answer_to_a_close_of_the_peer_repeats_it() {
    let mut world = world();
    let peer = world.join("/");
    world.peer_closed(&peer);
    assert_eq!(world.received(&peer), ["CLOSE 1001 "]);
}

#[test]
fn what_was_said_to_everybody_belongs_to_every_room() {
    let mut world = world();
    world.broadcast("/a", "1");
    let from = world.head();
    world.publish(Audience::Everybody { except: None }, "2");
    world.broadcast("/a", "3");
    world.broadcast("/b", "4");
    let a = world.resume("/a", Encoding::Frames, from);
    let unknown = world.resume("/c", Encoding::Frames, from);
    let last = world.resume("/a", Encoding::Frames, Since::Last(2));
    assert_eq!(world.received(&a), ["2", "3"]);
    assert_eq!(world.received(&unknown), ["2"]);
    assert_eq!(world.received(&last), ["2", "3"]);
}

#[test]
fn who_is_behind_gets_everything_in_the_order_of_the_log() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.history = 100;
        let mut forgetful = crate::RoomRule::new("/forgetful");
        forgetful.history = Some(0);
        config.room.push(forgetful);
    });
    let large = "x".repeat(MAX_BYTES - 100);
    (0..3).for_each(|_| world.broadcast("/", &large));
    let (peer, mut join) = world.peer("/", Encoding::PositionedFrames);
    if let Command::Join(joining) = &mut join {
        joining.start.since = Some(Since::Last(3));
    }
    peer.socket.set_room(0);
    world.hub.apply(join);
    world.broadcast("/other", "before it was there");
    world.enter(&peer, "/other");
    world.enter(&peer, "/forgetful");
    for room in ["/", "/forgetful", "/other", "/"] {
        world.broadcast(room, room);
    }
    world.send(&peer, "to you");
    world.publish(Audience::Everybody { except: None }, "to all");
    world.broadcast("/forgetful", "end");
    world.hub.end_pass();
    assert_eq!(world.counters.members_behind.get(), 1);
    peer.socket.set_room(usize::MAX);
    let received = world.all_received(&peer);
    let texts: Vec<&str> = received[4..]
        .iter()
        .map(|text| text.split_once('\n').unwrap().1)
        .collect();
    let expected = ["/", "/forgetful", "/other", "/", "to you", "to all", "end"];
    assert_eq!(texts, expected);
    let positions = received[1..].iter().filter_map(|text| {
        let line = text.split_once('\n').unwrap().0;
        line.parse::<Position>()
            .ok()
            .map(|position| position.offset)
    });
    assert!(positions.is_sorted());
    assert_eq!(world.counters.members_behind.get(), 0);
}

#[cfg(feature = "deflate")]
#[test]
fn who_takes_compressed_messages_and_is_behind_misses_none_that_no_room_remembers() {
    for encoding in [Encoding::Deflated, Encoding::DeflatedShared] {
        let mut world = World::with(SlowConsumer::Disconnect, |config| {
            config.history = 100;
            let mut forgetful = crate::RoomRule::new("/forgetful");
            forgetful.history = Some(0);
            config.room.push(forgetful);
        });
        let large = "x".repeat(MAX_BYTES - 100);
        (0..3).for_each(|_| world.broadcast("/", &large));
        let (peer, mut join) = world.peer("/", encoding);
        if let Command::Join(joining) = &mut join {
            joining.start.since = Some(Since::Last(3));
        }
        peer.socket.set_room(0);
        world.hub.apply(join);
        world.enter(&peer, "/forgetful");
        world.broadcast("/forgetful", "forgotten");
        world.send(&peer, "to you");
        world.hub.end_pass();
        assert_eq!(world.counters.members_behind.get(), 1);
        peer.socket.set_room(usize::MAX);
        let received = world.all_received(&peer);
        assert_eq!(received[3..], ["forgotten", "to you"], "{encoding:?}");
    }
}

#[test]
fn a_client_does_not_get_what_it_was_excepted_from_when_it_catches_up() {
    let mut world = world();
    let large = "x".repeat(MAX_BYTES - 100);
    (0..3).for_each(|_| world.broadcast("/", &large));
    let (peer, mut join) = world.peer("/", Encoding::Frames);
    if let Command::Join(joining) = &mut join {
        joining.start.since = Some(Since::Last(3));
    }
    peer.socket.set_room(0);
    world.hub.apply(join);
    for (n, except) in [(1, None), (2, Some(peer.id)), (3, None)] {
        let room = "/".into();
        world.publish(Audience::Room { room, except }, &n.to_string());
    }
    peer.socket.set_room(usize::MAX);
    assert_eq!(world.all_received(&peer)[3..], ["1", "3"]);
}

#[test]
fn old_messages_go_and_then_the_room() {
    let mut world = world();
    let from = world.head();
    world.broadcast("/", "1");
    world.hub.end_pass();
    assert!(world.hub.next_deadline().is_some());
    world.hub.rooms.history.advance(Duration::from_secs(3599));
    let peer = world.resume("/", Encoding::Frames, from);
    assert_eq!(world.received(&peer), ["1"]);
    world.leave(&peer);
    world.hub.rooms.history.advance(Duration::from_secs(2));
    world.hub.end_pass();
    assert_eq!(world.hub.rooms.iter().count(), 0);
    assert_eq!(world.hub.rooms.history.held(), 0);
    assert_eq!(world.hub.next_deadline(), None);
    assert_eq!(world.counters.forgotten_by_age.get(), 1);
    // What it had forgotten is not forgotten itself.
    let peer = world.resume("/", Encoding::PositionedFrames, from);
    assert!(world.received(&peer)[0].ends_with(" incomplete\n"));
}

#[test]
fn what_all_rooms_remember_is_bounded_together() {
    let total = 1024 * 1024;
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.history = 100_000;
        config.history_bytes = 1 << 30;
        config.history_total = total;
    });
    for n in 0..200_u64 {
        world.broadcast(&format!("/quiet/{n}"), "quiet");
    }
    for n in 0..20_000_u64 {
        world.broadcast("/busy", &format!("{n} {}", "x".repeat(300)));
        assert!(world.hub.rooms.history.held() <= total);
    }
    assert!(world.counters.forgotten_by_total.get() > 10_000);
    // The busy room has not pushed out the others.
    for n in 0..200_u64 {
        let peer = world.resume(&format!("/quiet/{n}"), Encoding::Frames, Since::Last(1));
        assert_eq!(world.received(&peer), ["quiet"], "{n}");
    }
}

#[test]
fn off_it_keeps_nothing() {
    let mut world = World::new();
    world.broadcast("/", "1");
    let from = world.head();
    world.broadcast("/", "2");
    assert_eq!(world.hub.rooms.iter().count(), 0);
    let peer = world.resume("/", Encoding::PositionedFrames, from);
    let head = world.head();
    let expected = [
        format!("!at {head} incomplete\n"),
        format!("!gap {from} {head}\n"),
    ];
    assert_eq!(world.received(&peer), expected);
    let peer = world.resume("/", Encoding::PositionedFrames, head);
    assert_eq!(world.received(&peer), [format!("!at {head} complete\n")]);
    assert_eq!(world.hub.next_deadline(), None);
    assert_eq!(world.hub.rooms.history.held(), 0);
}

#[test]
fn a_room_of_one_value_gives_it_to_every_newcomer() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        let mut prices = crate::RoomRule::new("/price/*");
        (prices.history, prices.replay) = (Some(1), Some(1));
        config.room.push(prices);
    });
    for n in 1..=3 {
        world.broadcast("/price/gold", &n.to_string());
        world.broadcast("/", &n.to_string());
    }
    let [gold, silver, lobby] = ["/price/gold", "/price/silver", "/"].map(|room| world.join(room));
    assert_eq!(world.received(&gold), ["3"]);
    assert!(world.received(&silver).is_empty());
    assert!(world.received(&lobby).is_empty());
}

/// Clients that come and go at random, beside publishers, with sockets that
/// take what they like: each client that resumes has every message once and in
/// order, or knows of the gap.
#[test]
fn whoever_is_told_complete_has_missed_nothing() {
    let resumes = random_resumes(7, 20_000, 40);
    assert!(resumes > 1000, "{resumes}");
}

/// The same for longer, and with other bounds.
#[test]
#[ignore = "takes a minute: make test-resume"]
fn a_hundred_thousand_resumes() {
    let mut resumes = 0;
    for (seed, history) in [(1, 10), (2, 40), (3, 200), (4, 1000)] {
        resumes += random_resumes(seed, 500_000, history);
    }
    println!("{resumes} resumes");
    assert!(resumes > 100_000, "{resumes}");
}

/// A client of the test, and what it has seen of its room.
struct Follower {
    peer: Peer,
    room: usize,
    at: Position,
    /// How many of the room's messages it has seen, or was told of.
    seen: usize,
}

fn random_resumes(seed: u64, steps: u64, history: usize) -> u64 {
    const ROOMS: [&str; 3] = ["/a", "/b", "/c"];
    let mut world = remembering(SlowConsumer::Disconnect, history);
    let mut state = seed;
    let mut below = move |n: usize| {
        state = u64::wrapping_mul(state, 6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    // The offsets of what was said in each room, in order.
    let mut said: [Vec<u64>; 3] = Default::default();
    let mut followers: Vec<Follower> = Vec::new();
    let mut gone: Vec<Follower> = Vec::new();
    for _ in 0..steps {
        match below(12) {
            0..=4 => {
                let room = below(3);
                let size = [1, 10, 100, 5000][below(4)];
                world.broadcast(ROOMS[room], &"x".repeat(size));
                said[room].push(world.hub.log.head().0);
            }
            5 if followers.len() < 12 => {
                let back = match gone.is_empty() {
                    true => None,
                    false => Some(gone.swap_remove(below(gone.len()))),
                };
                let room = back.as_ref().map_or_else(|| below(3), |old| old.room);
                let (peer, mut join) = world.peer(ROOMS[room], Encoding::PositionedFrames);
                peer.socket.set_room([0, 50, 1000, usize::MAX][below(4)]);
                if let (Command::Join(joining), Some(old)) = (&mut join, &back) {
                    joining.start.since = Some(Since::Position(old.at));
                }
                world.hub.apply(join);
                let (at, seen) = match back {
                    Some(old) => (old.at, old.seen),
                    None => (world.head(), said[room].len()),
                };
                followers.push(Follower {
                    peer,
                    room,
                    at,
                    seen,
                });
            }
            6 if !followers.is_empty() => {
                let mut follower = followers.swap_remove(below(followers.len()));
                // What had not gone out is lost with the connection.
                read(&mut follower, &said);
                world.leave(&follower.peer);
                gone.push(follower);
            }
            7 | 8 if !followers.is_empty() => {
                let follower = &followers[below(followers.len())];
                if follower.peer.socket.is_writing() {
                    world.write(&follower.peer);
                }
            }
            9 if !followers.is_empty() => {
                let room = [0, 50, 1000, usize::MAX][below(4)];
                followers[below(followers.len())].peer.socket.set_room(room);
            }
            _ => world.hub.end_pass(),
        }
        let mut index = 0;
        while index < followers.len() {
            match read(&mut followers[index], &said) {
                true => index += 1,
                false => {
                    let follower = followers.swap_remove(index);
                    world.leave(&follower.peer);
                    gone.push(follower);
                }
            }
        }
    }
    for mut follower in followers {
        follower.peer.socket.set_room(usize::MAX);
        loop {
            world.settle();
            world.write_all(&follower.peer);
            let seen = follower.seen;
            if !read(&mut follower, &said) || follower.seen == seen && world.hub.ready.is_empty() {
                break;
            }
        }
        let is_open = world.hub.places.contains_key(&follower.peer.id);
        if is_open && follower.peer.state.cause.get().is_none() {
            assert_eq!(
                follower.seen,
                said[follower.room].len(),
                "nothing is left out"
            );
        }
    }
    let (complete, incomplete) = (
        world.counters.resumes_complete.get(),
        world.counters.resumes_incomplete.get(),
    );
    assert!(complete > 0 && incomplete > 0);
    complete + incomplete
}

/// Reads what has come. False: the connection was closed.
fn read(follower: &mut Follower, said: &[Vec<u64>; 3]) -> bool {
    let said = &said[follower.room];
    for text in whole_frames(&follower.peer) {
        if let Some(close) = text.strip_prefix("CLOSE ") {
            // Where the server says that it was is where it was.
            let at = since_in(close).offset.0;
            let seen = said.iter().filter(|offset| **offset <= at).count();
            assert_eq!(seen, follower.seen, "{close}");
            return false;
        }
        let line = text.split('\n').next().unwrap();
        if let Some(at) = line.strip_prefix("!at ") {
            let (at, how) = at.split_once(' ').unwrap();
            if how == "complete" {
                assert_eq!(at, follower.at.to_string());
            }
            continue;
        }
        if let Some(gap) = line.strip_prefix("!gap ") {
            let (from, to) = gap.split_once(' ').unwrap();
            let (from, to): (Position, Position) = (from.parse().unwrap(), to.parse().unwrap());
            let known = said
                .iter()
                .filter(|offset| **offset <= from.offset.0)
                .count();
            assert!(known <= follower.seen, "what is missing lies in the gap");
            follower.at = to;
            follower.seen = said.iter().filter(|offset| **offset <= to.offset.0).count();
            continue;
        }
        follower.at = line.parse().unwrap();
        let next = said[follower.seen];
        assert_eq!(follower.at.offset.0, next, "the next message of the room");
        follower.seen += 1;
    }
    true
}

/// The whole frames that have come; the rest stays for the next time.
fn whole_frames(peer: &Peer) -> Vec<String> {
    let out = peer.socket.take_out();
    let mut whole = 0;
    while let [_, len, rest @ ..] = &out[whole..] {
        let len = match (len, rest) {
            (126, [high, low, ..]) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            (126, _) => break,
            (len, _) => 2 + usize::from(*len),
        };
        if whole + len > out.len() {
            break;
        }
        whole += len;
    }
    peer.socket.wire().out = out[whole..].to_vec();
    frames(&out[..whole])
}
