//! Who is in which room, and one order and one count for all of them.

use super::*;

#[test]
fn members_of_a_room_receive_its_messages_in_one_order() {
    let mut world = World::new();
    let peers = [world.join("/"), world.join("/"), world.join("/")];
    for n in 0..10 {
        world.broadcast("/", &n.to_string());
    }
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    for peer in &peers {
        assert_eq!(world.received(peer), expected);
    }
    // All of the pass went out in one send, after the answer.
    assert!(peers.iter().all(|p| p.socket.wire().plain_sends == 2));
}

#[test]
fn more_messages_than_one_delivery_holds_arrive_in_order() {
    let mut world = World::new();
    let peer = world.join("/");
    let count = 3 * MAX_BURSTS + 1;
    for n in 0..count {
        world.broadcast("/", &n.to_string());
    }
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(world.received(&peer), expected);
}

#[test]
fn rooms_do_not_hear_each_other() {
    let mut world = World::new();
    let (a, b) = (world.join("/a"), world.join("/b"));
    world.broadcast("/a", "for a");
    world.broadcast("/b", "for b");
    world.broadcast("/nobody", "for nobody");
    assert_eq!(world.received(&a), ["for a"]);
    assert_eq!(world.received(&b), ["for b"]);
}

#[test]
fn a_join_or_a_leave_in_the_middle_of_a_pass_takes_effect_there() {
    let mut world = World::new();
    let first = world.join("/");
    world.broadcast("/", "before");
    let second = world.join("/");
    world.broadcast("/", "between");
    world.leave(&first);
    world.broadcast("/", "after");
    assert_eq!(world.received(&first), strings(["before", "between"]));
    assert_eq!(world.received(&second), strings(["between", "after"]));
}

#[test]
fn a_room_is_forgotten_with_its_last_member() {
    let mut world = World::new();
    let (a, b) = (world.join("/a"), world.join("/a"));
    let c = world.join("/c");
    assert_eq!(world.rooms(), [("/a".into(), 2), ("/c".into(), 1)].into());
    world.leave(&a);
    world.exit(&c, "/c");
    assert_eq!(world.rooms(), [("/a".into(), 1)].into());
    world.leave(&b);
    assert!(world.rooms().is_empty());
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().rooms, 0);
    // It can come back.
    let d = world.join("/a");
    world.broadcast("/a", "again");
    assert_eq!(world.received(&d), ["again"]);
}

#[test]
fn entering_a_room_twice_is_entering_it_once() {
    let mut world = World::new();
    let peer = world.join("/a");
    world.enter(&peer, "/a");
    world.enter(&peer, "/b");
    world.enter(&peer, "/b");
    assert_eq!(world.rooms(), [("/a".into(), 1), ("/b".into(), 1)].into());
    assert_eq!(world.clients(None)[0].rooms, strings(["/a", "/b"]));
    world.broadcast("/b", "once");
    assert_eq!(world.received(&peer), ["once"]);
}

#[test]
fn a_client_in_no_room_stays_connected_and_can_enter_again() {
    let mut world = World::new();
    let peer = world.join("/a");
    world.exit(&peer, "/elsewhere");
    world.exit(&peer, "/a");
    world.exit(&peer, "/a");
    world.broadcast("/a", "unheard");
    assert_eq!(world.clients(None).len(), 1);
    world.send(&peer, "direct");
    world.enter(&peer, "/b");
    world.broadcast("/b", "heard");
    assert_eq!(world.received(&peer), strings(["direct", "heard"]));
}

#[test]
fn members_are_counted_at_the_point_of_the_question() {
    let mut world = World::new();
    let count = |world: &mut World| {
        world.ask(|reply| Command::Count {
            room: "/".into(),
            reply,
        })
    };
    assert_eq!(count(&mut world), 0);
    let peer = world.join("/");
    world.join_as("/", Encoding::Events);
    assert_eq!(count(&mut world), 2);
    world.disconnect(&peer, "");
    assert_eq!(count(&mut world), 1);
}

#[test]
fn what_is_asked_is_answered_behind_everything_that_was_sent_before() {
    let mut world = World::new();
    let peer = world.join("/");
    world.publish(
        Audience::Room {
            room: "/".into(),
            except: None,
        },
        "gathered, and not fanned out yet",
    );
    let (reply, answer) = Reply::pair();
    world.hub.apply(Command::Clients { room: None, reply });
    let infos: Vec<ClientInfo> = answer.take().unwrap();
    assert_eq!(infos[0].sent_messages, 1);
    assert!(!peer.socket.take_out().is_empty());
}
