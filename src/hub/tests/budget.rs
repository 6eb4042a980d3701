//! The budget of all backlogs together.

use super::*;

/// Three clients that are stalled, with 1, 5 and 3 messages of 100 bytes
/// behind the one that the writer has.
fn three_backlogs(slow_consumer: SlowConsumer, queue_total: usize) -> (World, [Peer; 3]) {
    let mut world = World::with(slow_consumer, |config| {
        config.queue_total = queue_total;
    });
    let peers = [1, 5, 3].map(|count| {
        let peer = world.join_stalled("/");
        for n in 0..count {
            world.send(&peer, &format!("{n:098}"));
        }
        peer
    });
    (world, peers)
}

/// The bytes that are queued in [`three_backlogs`], all together.
const THREE_BACKLOGS: usize = 9 * 100;
/// The bytes that the three writers have.
const WITH_WRITERS: usize = 3 * 3;

/// The numbers of the messages a client of [`three_backlogs`] received.
fn numbers(received: &[String]) -> Vec<u32> {
    received
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

#[test]
fn backlogs_within_the_budget_are_left_alone() {
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, THREE_BACKLOGS);
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    assert_eq!(stats.queue_bytes, (THREE_BACKLOGS + WITH_WRITERS) as u64);
    for (peer, count) in peers.iter().zip([1, 5, 3]) {
        assert_eq!(numbers(&world.received(peer)).len(), count);
    }
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().queue_bytes, 0);
}

#[test]
fn over_the_budget_evict_evicts_the_largest_backlog_first() {
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, THREE_BACKLOGS - 1);
    assert_eq!(numbers(&world.received(&peers[0])), [0]);
    assert_eq!(numbers(&world.received(&peers[2])), [0, 1, 2]);
    let evicted = world.received(&peers[1]);
    assert_eq!(numbers(&evicted), [0; 0]);
    assert!(evicted[1].starts_with("CLOSE 1008 slow consumer: 6 messages"));
}

#[test]
fn over_the_budget_evict_goes_on_until_it_holds() {
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, 100);
    assert_eq!(numbers(&world.received(&peers[0])), [0]);
    for peer in &peers[1..] {
        let evicted = world.received(peer);
        assert!(evicted[1].starts_with("CLOSE 1008"), "{evicted:?}");
    }
}

#[test]
fn over_the_budget_drop_oldest_drops_from_the_largest_backlog() {
    let (mut world, peers) = three_backlogs(SlowConsumer::DropOldest, THREE_BACKLOGS - 1);
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().dropped_messages, 1);
    assert_eq!(numbers(&world.received(&peers[0])), [0]);
    assert_eq!(numbers(&world.received(&peers[1])), [1, 2, 3, 4]);
    assert_eq!(numbers(&world.received(&peers[2])), [0, 1, 2]);
}

#[test]
fn over_the_budget_drop_newest_drops_from_the_largest_backlog() {
    let (mut world, peers) = three_backlogs(SlowConsumer::DropNewest, THREE_BACKLOGS - 201);
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().dropped_messages, 3);
    assert_eq!(numbers(&world.received(&peers[0])), [0]);
    // Its backlog is halved before the next largest is looked for.
    assert_eq!(numbers(&world.received(&peers[1])), [0, 1]);
    assert_eq!(numbers(&world.received(&peers[2])), [0, 1, 2]);
}

#[test]
fn over_the_budget_nobody_without_a_backlog_is_evicted() {
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, THREE_BACKLOGS - 1);
    let quick = world.join("/");
    // Those who are closing still hold what they are to get.
    for peer in &peers {
        world.disconnect(peer, "");
    }
    world.hub.end_pass();
    assert!(!quick.state.is_ending(), "{:?}", quick.state.cause);
    world.broadcast("/", "still here");
    assert_eq!(world.received(&quick), ["still here"]);
}

/// Stalled clients of a room, each with the rest of a large message in its
/// writer's hands and this number of small ones queued.
fn stalled_in(world: &mut World, room: &str, clients: usize, queued: usize) -> Vec<Peer> {
    let large = "x".repeat(1_000);
    let join = |_| {
        let peer = world.join(room);
        peer.socket.set_room(0);
        world.send(&peer, &large);
        for n in 0..queued {
            world.send(&peer, &format!("{n:098}"));
        }
        peer
    };
    (0..clients).map(join).collect()
}

#[test]
fn what_strangers_have_in_their_writers_hands_costs_nobody_a_place_or_a_message() {
    for policy in [
        SlowConsumer::Disconnect,
        SlowConsumer::DropOldest,
        SlowConsumer::DropNewest,
    ] {
        let mut world = World::with(policy, |config| config.queue_total = 5_000);
        let _strangers = stalled_in(&mut world, "/strangers", 10, 0);
        let honest = world.join_stalled("/ok");
        for n in 0..5 {
            world.broadcast("/ok", &format!("{n:098}"));
            world.hub.end_pass();
        }
        assert!(!honest.state.is_ending(), "{policy:?}");
        assert_eq!(numbers(&world.received(&honest)), [0, 1, 2, 3, 4]);
        assert_eq!(world.counters.snapshot().dropped_messages, 0, "{policy:?}");
    }
}

#[test]
fn a_crowd_that_holds_most_pays_before_a_client_that_holds_more_than_each_of_it() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.queue_total = 3_500;
    });
    let crowd = stalled_in(&mut world, "/strangers", 10, 3);
    let honest = stalled_in(&mut world, "/ok", 1, 5).remove(0);
    world.hub.end_pass();
    assert!(!honest.state.is_ending(), "{:?}", honest.state.cause);
    let ended = crowd.iter().filter(|peer| peer.state.is_ending()).count();
    assert!(ended == 0, "{ended} were evicted within the budget");
    world.broadcast("/strangers", "one more for each");
    world.hub.end_pass();
    assert!(!honest.state.is_ending(), "{:?}", honest.state.cause);
    let ended = crowd.iter().filter(|peer| peer.state.is_ending()).count();
    assert!(
        (1..=2).contains(&ended),
        "{ended} of the crowd were evicted"
    );
}

#[test]
fn over_the_budget_what_the_writers_have_does_not_end_everybody() {
    for policy in [
        SlowConsumer::Disconnect,
        SlowConsumer::DropOldest,
        SlowConsumer::DropNewest,
    ] {
        // Ten writers with a large message each: none of it can be taken
        // back, whoever is evicted.
        let mut world = World::with(policy, |config| config.queue_total = 5_000);
        let large = "x".repeat(1_000);
        let slow: Vec<Peer> = (0..10)
            .map(|_| {
                let peer = world.join("/");
                peer.socket.set_room(0);
                world.send(&peer, &large);
                peer
            })
            .collect();
        let quick = world.join("/");
        world.hub.end_pass();
        assert!(!quick.state.is_ending(), "{policy:?}");
        let ended = slow.iter().filter(|peer| peer.state.is_ending()).count();
        assert!(ended <= 6, "{policy:?}: {ended} of 10 were evicted");
    }
}

#[test]
fn over_the_budget_what_a_closing_client_still_has_queued_goes_too() {
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, 4 * 100);
    world.disconnect(&peers[1], "");
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    assert!(
        stats.queue_bytes <= (WITH_WRITERS + 4 * 100) as u64,
        "{stats:?}"
    );
    let received = world.received(&peers[1]);
    assert_eq!(received.last().unwrap(), "CLOSE 1000 ");
}
