//! Clients of events, and subscriptions.

use super::*;

#[test]
fn clients_of_events_receive_what_the_others_do() {
    let mut world = World::new();
    let peers = [
        world.join("/"),
        world.join_as("/", Encoding::Events),
        world.join_as("/", Encoding::Events),
    ];
    world.broadcast("/", "1");
    for except in [0, 1] {
        let to = Audience::Room {
            room: "/".into(),
            except: Some(peers[except].id),
        };
        world.publish(to, &format!("not for {except}"));
    }
    world.publish(Audience::Everybody { except: None }, "2");
    world.send(&peers[1], "3");
    let all = strings(["1", "not for 0", "not for 1", "2"]);
    assert_eq!(world.received(&peers[0]), strings(["1", "not for 1", "2"]));
    assert_eq!(
        world.received(&peers[1]),
        strings(["1", "not for 0", "2", "3"])
    );
    assert_eq!(world.received(&peers[2]), all);
}

#[test]
fn a_client_of_events_is_told_the_end_and_then_its_stream_ends() {
    let mut world = World::new();
    let (a, b) = (
        world.join_as("/", Encoding::Events),
        world.join_as("/", Encoding::Events),
    );
    b.socket.set_room(3);
    world.broadcast("/", "last");
    world.disconnect(&a, "bye");
    world.hub.apply(Command::Shutdown);
    assert_eq!(world.received(&a), strings(["last", "CLOSE 1000 bye"]));
    assert_eq!(b.socket.wire().finished, 0, "the rest is still to come");
    assert_eq!(
        world.received(&b),
        strings(["last", "CLOSE 1001 server shutdown"])
    );
    for peer in [&a, &b] {
        assert!(peer.socket.wire().finished > 0);
    }
}

#[test]
fn a_subscription_hears_its_room_and_keeps_nobody_waiting() {
    let mut world = World::new();
    let peer = world.join("/b");
    let (inbox, _commands) = Inbox::new();
    let (mut subscription, tap) = Subscription::new(inbox.gone);
    let room = "/a".into();
    world.hub.apply(Command::Tap { room, tap });
    world.broadcast("/a", "1");
    world.broadcast("/b", "elsewhere");
    world.broadcast("/a", "2");
    world.hub.end_pass();
    let heard: Vec<_> = subscription.by_ref().take(2).collect();
    assert_eq!(heard, ["1", "2"].map(Message::from));
    assert_eq!(world.received(&peer), ["elsewhere"]);
    // It is no client: the room is not listed, and goes with it.
    assert_eq!(world.rooms(), [("/b".into(), 1)].into());
    drop(subscription);
    world.broadcast("/a", "unheard");
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().rooms, 1);
}

#[test]
fn a_room_with_a_subscription_outlives_its_members() {
    let mut world = World::new();
    let peer = world.join("/");
    let (inbox, _commands) = Inbox::new();
    let (mut subscription, tap) = Subscription::new(inbox.gone);
    let room = "/".into();
    world.hub.apply(Command::Tap { room, tap });
    world.leave(&peer);
    let later = world.join("/");
    world.broadcast("/", "both");
    assert_eq!(world.received(&later), ["both"]);
    assert_eq!(subscription.next(), Some(Message::from("both")));
}

#[test]
fn subscriptions_that_were_dropped_leave_no_rooms_behind() {
    let mut world = World::new();
    let (inbox, _) = Inbox::new();
    for n in 0..100 {
        let (subscription, tap) = Subscription::new(inbox.gone.clone());
        let room = format!("/{n}").into();
        world.hub.apply(Command::Tap { room, tap });
        drop(subscription);
    }
    assert_eq!(
        world.hub.rooms.iter().count(),
        1,
        "the last is not missed yet"
    );
    // A room of which only the program hears is no room with clients.
    let peer = world.join("/99");
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().rooms, 1);
    world.leave(&peer);
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().rooms, 0);
}
