//! Who a message or a command is for.

use super::*;

#[test]
fn the_excepted_client_gets_everything_but_its_own() {
    let mut world = World::new();
    let peers = [world.join("/"), world.join("/"), world.join("/")];
    let room: Arc<str> = "/".into();
    for (n, except) in [None, Some(0), Some(1), Some(0), None]
        .into_iter()
        .enumerate()
    {
        let to = Audience::Room {
            room: room.clone(),
            except: except.map(|p: usize| peers[p].id),
        };
        world.publish(to, &n.to_string());
    }
    assert_eq!(world.received(&peers[0]), strings(["0", "2", "4"]));
    assert_eq!(world.received(&peers[1]), strings(["0", "1", "3", "4"]));
    assert_eq!(
        world.received(&peers[2]),
        strings(["0", "1", "2", "3", "4"])
    );
}

#[test]
fn a_client_alone_with_no_echo_receives_nothing() {
    let mut world = World::new();
    let peer = world.join("/");
    let to = Audience::Room {
        room: "/".into(),
        except: Some(peer.id),
    };
    world.publish(to, "own");
    assert!(world.received(&peer).is_empty());
    assert_eq!(world.counters.snapshot().deliveries, 0);
}

#[test]
fn a_client_of_two_rooms_receives_both_in_the_order_they_were_published() {
    let mut world = World::new();
    let both = world.join("/a");
    let (a, b) = (world.join("/a"), world.join("/b"));
    world.enter(&both, "/b");
    for (room, text) in [("/a", "1"), ("/b", "2"), ("/a", "3"), ("/b", "4")] {
        world.broadcast(room, text);
    }
    assert_eq!(world.received(&both), strings(["1", "2", "3", "4"]));
    assert_eq!(world.received(&a), strings(["1", "3"]));
    assert_eq!(world.received(&b), strings(["2", "4"]));
}

#[test]
fn what_goes_to_one_client_keeps_its_place_among_the_broadcasts() {
    let mut world = World::new();
    let (a, b) = (world.join("/"), world.join("/"));
    world.broadcast("/", "1");
    world.send(&a, "2");
    world.broadcast("/", "3");
    world.publish(Audience::Everybody { except: None }, "4");
    world.broadcast("/", "5");
    assert_eq!(world.received(&a), strings(["1", "2", "3", "4", "5"]));
    assert_eq!(world.received(&b), strings(["1", "3", "4", "5"]));
}

#[test]
fn every_audience_is_who_it_says() {
    let mut world = World::new();
    let peers = [world.join("/a"), world.join("/b"), world.join("/b")];
    let [a, b, c] = [&peers[0], &peers[1], &peers[2]];
    // Somebody in no room is part of everybody.
    world.exit(a, "/a");
    world.publish(Audience::Everybody { except: None }, "all");
    let except = Some(b.id);
    world.publish(Audience::Everybody { except }, "all but b");
    world.publish(Audience::Client(c.id), "c");
    world.publish(Audience::Clients(vec![a.id, c.id]), "a and c");
    world.publish(Audience::Clients(Vec::new()), "nobody");
    world.publish(Audience::Clients(vec![ClientId(999)]), "gone");
    assert_eq!(world.received(a), strings(["all", "all but b", "a and c"]));
    assert_eq!(world.received(b), strings(["all"]));
    assert_eq!(
        world.received(c),
        strings(["all", "all but b", "c", "a and c"])
    );
}

#[test]
fn late_commands_for_a_client_that_is_gone_are_harmless() {
    let mut world = World::new();
    let (gone, here) = (world.join("/"), world.join("/"));
    world.leave(&gone);
    let id = gone.id;
    let commands = [
        Command::Ping {
            id,
            frame: frame::ping(b""),
        },
        Command::Pong {
            id,
            all: frame::pong(b""),
            newest: frame::pong(b""),
        },
        Command::Written { id, result: Ok(()) },
        Command::Written {
            id,
            result: Err(Cause::WriteTimeout),
        },
        Command::PeerClosed {
            id,
            reply: CloseFrame::empty(),
        },
        Command::Leave { id },
        Command::Enter {
            id,
            room: "/".into(),
        },
        Command::Exit {
            id,
            room: "/".into(),
        },
    ];
    for command in commands {
        world.hub.apply(command);
    }
    world.disconnect(&gone, "late");
    world.send(&gone, "late");
    assert!(world.received(&gone).is_empty());
    assert_eq!(gone.socket.wire().aborted, 0);
    world.broadcast("/", "here");
    assert_eq!(world.received(&here), ["here"]);
    assert_eq!(world.clients(None).len(), 1);
    assert_eq!(world.rooms(), [("/".into(), 1)].into());
}

/// The hub is not to drop it: that may run the program's code.
#[test]
fn what_is_attached_to_a_client_is_not_the_hubs_to_drop() {
    let mut world = World::new();
    let (mut peer, _) = world.peer("/", Encoding::Frames);
    let attachment: Attachment = Arc::new("attached");
    let address = peer.state.peer;
    let place = Place::anywhere();
    let state = ClientState::new(peer.id, address, "/".into(), place, Some(&attachment));
    peer.state = Arc::new(state);
    let outbox = Outbox::new(peer.id, peer.socket.clone(), world.rules.clone());
    world.hub.apply(Command::Join(Box::new(Joining {
        client: peer.state.clone(),
        outbox,
        encoding: Encoding::Frames,
        answer: Bytes::new(),
        following: None,
        start: Start::default(),
    })));
    let room: Arc<str> = "/".into();
    let members = world.ask(|reply| Command::Members { room, reply });
    assert_eq!(members.len(), 1);
    assert_eq!(Arc::strong_count(&attachment), 1);
}

#[test]
fn pings_and_pongs_go_to_the_client_they_are_for() {
    let mut world = World::new();
    let (a, b) = (world.join("/"), world.join("/"));
    world.hub.apply(Command::Ping {
        id: a.id,
        frame: frame::ping(b"1"),
    });
    world.hub.apply(Command::Pong {
        id: b.id,
        all: frame::pong(b"2"),
        newest: frame::pong(b"2"),
    });
    assert_eq!(world.received(&a), ["P1"]);
    assert_eq!(world.received(&b), ["p2"]);
}

#[test]
fn a_large_burst_gives_its_permit_back_when_the_hub_has_taken_it() {
    let mut world = World::new();
    let (inbox, commands) = Inbox::new();
    let publisher = Publisher::new(inbox);
    let burst = burst::single(&Message::from(vec![0; 70_000]), false);
    let publish = || publisher.try_publish(Audience::Everybody { except: None }, burst.clone());
    while publish().is_ok() {}
    let waiting = commands.receiver.len();
    assert!(waiting > 0 && waiting < 1024, "the permits end first");
    world.hub.apply(commands.receiver.recv().unwrap());
    assert!(publish().is_ok());
}

#[test]
fn the_counters_tell_what_was_done() {
    let mut world = World::with(SlowConsumer::DropNewest, |_| {});
    let peers = [world.join("/"), world.join_stalled("/")];
    let messages = MAX_MESSAGES as u64 + 4;
    for _ in 0..messages {
        world.broadcast("/", "x");
    }
    world.broadcast("/nobody", "x");
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    // The stalled one's first message went to it alone.
    assert_eq!(stats.broadcasts, messages + 2);
    assert_eq!(stats.deliveries, 2 * messages + 1);
    assert_eq!(stats.sent_bytes, 3 * stats.deliveries);
    assert_eq!(stats.dropped_messages, 5);
    assert_eq!(stats.queue_bytes, 3 * MAX_MESSAGES as u64);
    let infos = world.clients(Some("/"));
    let info = infos.iter().find(|info| info.id == peers[1].id).unwrap();
    assert_eq!(info.dropped_messages, 5);
    assert_eq!(info.queue_messages, MAX_MESSAGES);
    assert_eq!(info.queue_bytes, 3 * MAX_MESSAGES);
    assert_eq!(info.sent_messages, messages + 1);
    assert_eq!(info.sent_bytes, 3 * (messages + 1));
}

#[test]
fn what_is_sent_to_a_client_that_is_closing_is_not_counted_as_delivered() {
    let mut world = World::new();
    let peer = world.join("/");
    world.disconnect(&peer, "");
    world.send(&peer, "late");
    world.publish(Audience::Clients(vec![peer.id]), "late");
    world.publish(Audience::Everybody { except: None }, "late");
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    assert_eq!((stats.broadcasts, stats.deliveries), (3, 0));
    assert_eq!(stats.sent_bytes, 0);
}

#[test]
fn an_asker_that_has_gone_away_is_no_harm() {
    let mut world = World::new();
    let (reply, _) = Reply::pair();
    world.hub.apply(Command::Rooms { reply });
    let (reply, _) = Reply::pair();
    world.hub.apply(Command::Clients { room: None, reply });
    let (reply, _) = Reply::pair();
    let room = "/".into();
    world.hub.apply(Command::Members { room, reply });
}
