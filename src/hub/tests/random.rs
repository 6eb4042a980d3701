//! Random histories: what holds after each step.

use super::*;

/// A client of the random test and what it is to have received.
struct Expecting {
    peer: Peer,
    rooms: BTreeSet<&'static str>,
    expected: Vec<String>,
    is_closed: bool,
}

const ROOMS: [&str; 5] = ["/a", "/b", "/c", "/d", "/e"];

/// Random joins, leaves, entries, exits and messages, beside the plainest
/// model: who is in which room, and what everybody is to receive.
fn rooms_hold(seed: u64, helpers: usize) {
    let mut choices = Choices::Seed(seed);
    let mut world = World::new().helped(helpers);
    let mut here: Vec<Expecting> = Vec::new();
    for step in 0..400 {
        let room = ROOMS[choices.below(ROOMS.len())];
        let who = choices.below(here.len());
        match (choices.below(16), here.get_mut(who)) {
            (0..3, _) | (_, None) => {
                let encoding = match choices.below(4) {
                    0 => Encoding::Events,
                    1 => Encoding::RoomLines,
                    _ => Encoding::Frames,
                };
                let peer = world.join_as(room, encoding);
                here.push(Expecting {
                    peer,
                    rooms: [room].into(),
                    expected: Vec::new(),
                    is_closed: false,
                });
            }
            (3, _) => {
                let gone = here.swap_remove(who);
                world.leave(&gone.peer);
                assert_eq!(world.received(&gone.peer), gone.expected, "seed {seed}");
            }
            (4, Some(client)) => {
                world.disconnect(&client.peer, "");
                if !client.is_closed {
                    client.expected.push("CLOSE 1000 ".to_owned());
                }
                client.is_closed = true;
                client.rooms.clear();
            }
            (5..8, Some(client)) => {
                world.enter(&client.peer, room);
                if !client.is_closed {
                    client.rooms.insert(room);
                }
            }
            (8..10, Some(client)) => {
                world.exit(&client.peer, room);
                client.rooms.remove(room);
            }
            (choice, Some(_)) => {
                let id = here[who].peer.id;
                let to = match choice {
                    10 => Audience::Client(id),
                    11 => Audience::Everybody { except: Some(id) },
                    _ => Audience::Room {
                        room: room.into(),
                        except: (choice == 12).then_some(id),
                    },
                };
                let text = step.to_string();
                world.publish(to, &text);
                for (n, client) in here.iter_mut().enumerate() {
                    let hears = match choice {
                        10 => n == who,
                        11 => n != who,
                        12 => n != who && client.rooms.contains(room),
                        _ => client.rooms.contains(room),
                    };
                    if hears && !client.is_closed {
                        client.expected.push(text.clone());
                    }
                }
            }
        }
        if choices.one_in(8) {
            world.hub.end_pass();
        }
        if choices.one_in(16) {
            rooms_are_as_expected(&mut world, &here, seed);
        }
    }
    for client in &here {
        assert_eq!(world.received(&client.peer), client.expected, "seed {seed}");
        world.leave(&client.peer);
    }
    assert!(world.rooms().is_empty(), "seed {seed}");
    assert!(world.clients(None).is_empty(), "seed {seed}");
    assert_eq!(world.hub.in_many_rooms, 0, "seed {seed}");
}

fn rooms_are_as_expected(world: &mut World, here: &[Expecting], seed: u64) {
    let mut rooms = BTreeMap::new();
    for name in ROOMS {
        let in_it = here.iter().filter(|client| client.rooms.contains(name));
        let ids: BTreeSet<u64> = in_it.map(|client| client.peer.id.value()).collect();
        assert_eq!(world.ids_in(name), ids, "seed {seed}");
        let members = world.ask(|reply| Command::Members {
            room: name.into(),
            reply,
        });
        let states = members.iter().map(|state| state.id.value());
        assert_eq!(states.collect::<BTreeSet<u64>>(), ids, "seed {seed}");
        if !ids.is_empty() {
            rooms.insert(name.to_owned(), ids.len());
        }
    }
    assert_eq!(world.rooms(), rooms, "seed {seed}");
    let open = here.iter().filter(|client| !client.is_closed).count();
    assert_eq!(world.clients(None).len(), open, "seed {seed}");
}

#[test]
fn random_comings_and_goings_keep_rooms_and_orders_right() {
    for seed in 0..60 {
        rooms_hold(seed, 0);
        rooms_hold(seed, 2);
    }
}

/// Random traffic among clients that are slow in all ways: the sums are those
/// of the parts, and nobody but the slow is harmed.
fn sums_hold(seed: u64, slow_consumer: SlowConsumer, helpers: usize) {
    let mut choices = Choices::Seed(seed);
    let world = World::with(slow_consumer, |config| config.queue_total = 2_000);
    let mut world = world.helped(helpers);
    let quick = world.join("/");
    let mut expected = Vec::new();
    let mut slow: Vec<Peer> = Vec::new();
    for step in 0..300 {
        let who = choices.below(slow.len());
        match (choices.below(12), slow.get(who)) {
            (0..2, _) | (_, None) => slow.push(world.join("/")),
            (2, _) => {
                let peer = slow.swap_remove(who);
                world.leave(&peer);
            }
            (3..5, Some(peer)) => peer.socket.set_room(choices.below(2) * choices.below(300)),
            (5..8, Some(peer)) => {
                if peer.socket.write(choices.below(400)) {
                    let (id, result) = (peer.id, Ok(()));
                    world.hub.apply(Command::Written { id, result });
                }
            }
            (8, Some(peer)) => {
                let (id, newest) = (peer.id, frame::pong(b"pong"));
                let all = newest.clone();
                world.hub.apply(Command::Pong { id, all, newest });
            }
            _ => {
                let text = format!("{step:0len$}", len = 1 + choices.below(100));
                world.broadcast("/", &text);
                expected.push(text);
            }
        }
        if choices.one_in(4) {
            world.hub.end_pass();
            if slow.iter().all(|peer| !peer.state.is_ending()) {
                let infos = world.clients(None);
                let sum: usize = infos.iter().map(|info| info.queue_bytes).sum();
                let stats = world.counters.snapshot();
                assert_eq!(stats.queue_bytes, sum as u64, "seed {seed}");
            }
        }
    }
    assert_eq!(world.received(&quick), expected, "seed {seed}");
    for peer in &slow {
        world.leave(peer);
    }
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    assert_eq!((stats.queue_bytes, stats.rooms), (0, 1), "seed {seed}");
}

#[test]
fn random_slowness_keeps_the_sums_right_and_the_quick_unharmed() {
    for seed in 0..40 {
        for policy in [
            SlowConsumer::Disconnect,
            SlowConsumer::DropOldest,
            SlowConsumer::DropNewest,
        ] {
            sums_hold(seed, policy, 0);
            sums_hold(seed, policy, 2);
        }
    }
}
