//! How clients end, and the hub.

use super::*;

#[test]
fn a_slow_consumer_is_evicted_with_1008_and_its_room_is_free_at_once() {
    let mut world = World::new();
    let slow = world.join_stalled("/slow");
    let quick = world.join("/");
    world.enter(&slow, "/");
    for n in 0..MAX_MESSAGES {
        world.broadcast("/", &n.to_string());
    }
    world.hub.end_pass();
    assert_eq!(world.rooms(), [("/".into(), 1)].into());
    assert_eq!(world.clients(None).len(), 1, "the evicted is not listed");
    world.broadcast("/", "after");
    assert_eq!(world.received(&quick).len(), MAX_MESSAGES + 1);
    let (messages, bytes) = (MAX_MESSAGES, MAX_MESSAGES * 3);
    let cause = Cause::Evicted { messages, bytes };
    assert_eq!(slow.state.cause.get(), Some(&cause));
    let id = slow.id;
    let reason = format!("slow consumer: {messages} messages ({bytes} bytes) behind #{id}");
    assert_eq!(
        world.received(&slow),
        ["w".to_owned(), format!("CLOSE 1008 {reason}")]
    );
    let sent = slow.state.sent.get().unwrap();
    assert_eq!(
        (sent.code, &sent.reason),
        (Some(CloseCode::POLICY_VIOLATION), &reason)
    );
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    assert_eq!((stats.rooms, stats.queue_bytes), (1, 0));
}

#[test]
fn an_eviction_in_the_middle_of_a_fan_out_costs_nobody_else_a_message() {
    let mut world = World::new();
    // Slow ones before, between and behind the others.
    let peers: Vec<Peer> = (0..7)
        .map(|n| match n % 2 {
            0 => world.join_stalled("/"),
            _ => world.join("/"),
        })
        .collect();
    for n in 0..20 {
        world.broadcast("/", &n.to_string());
    }
    for (n, peer) in peers.iter().enumerate() {
        let received = world.received(peer);
        match n % 2 {
            0 => assert!(received.last().unwrap().starts_with("CLOSE 1008")),
            _ => assert_eq!(received.len(), 20),
        }
    }
    assert_eq!(world.rooms(), [("/".into(), 3)].into());
}

#[test]
fn a_client_whose_socket_fails_is_ended_and_costs_nobody_else_a_message() {
    let mut world = World::new();
    let (bad, good) = (world.join("/"), world.join("/"));
    let kind = std::io::ErrorKind::ConnectionReset;
    bad.socket.wire().error = Some(kind);
    world.broadcast("/", "1");
    world.broadcast("/", "2");
    assert_eq!(world.received(&good), strings(["1", "2"]));
    assert_eq!(bad.state.cause.get(), Some(&Cause::WriteFailed(kind)));
    assert!(bad.socket.wire().aborted > 0);
    assert_eq!(world.rooms(), [("/".into(), 1)].into());
    // Its reader has not noticed yet.
    world.peer_closed(&bad);
    world.disconnect(&bad, "late");
    world.enter(&bad, "/");
    assert_eq!(world.rooms(), [("/".into(), 1)].into());
    world.leave(&bad);
    assert_eq!(world.clients(None).len(), 1);
}

#[test]
fn a_writer_that_fails_ends_the_client() {
    let mut world = World::new();
    let peer = world.join_stalled("/");
    world.send(&peer, "more");
    let (id, result) = (peer.id, Err(Cause::WriteTimeout));
    world.hub.apply(Command::Written { id, result });
    assert_eq!(peer.state.cause.get(), Some(&Cause::WriteTimeout));
    assert!(peer.socket.wire().aborted > 0);
    assert!(world.rooms().is_empty());
    world.leave(&peer);
    world.hub.end_pass();
    assert_eq!(world.counters.snapshot().queue_bytes, 0);
}

#[test]
fn a_writer_thread_that_is_refused_ends_that_client() {
    let mut world = World::new();
    world.writers.refuse();
    let (slow, quick) = (world.join("/"), world.join("/"));
    slow.socket.set_room(0);
    world.broadcast("/", "1");
    assert_eq!(world.received(&quick), ["1"]);
    assert_eq!(slow.state.cause.get(), Some(&Cause::NoWriterThread));
    assert!(slow.socket.wire().aborted > 0);
}

#[test]
fn the_first_cause_of_an_end_stays() {
    let mut world = World::new();
    let peer = world.join("/");
    world.disconnect(&peer, "first");
    world.peer_closed(&peer);
    let (id, result) = (peer.id, Err(Cause::WriteTimeout));
    world.hub.apply(Command::Written { id, result });
    assert_eq!(peer.state.cause.get(), Some(&Cause::Disconnected));
}

#[test]
fn a_close_goes_behind_what_was_published_before_and_nothing_follows() {
    let mut world = World::new();
    let (closed, other) = (world.join_stalled("/"), world.join("/"));
    world.broadcast("/", "before");
    world.disconnect(&closed, "bye");
    world.broadcast("/", "after");
    world.send(&closed, "after");
    world.publish(Audience::Everybody { except: None }, "after");
    world.hub.apply(Command::Ping {
        id: closed.id,
        frame: frame::ping(b""),
    });
    world.disconnect(&closed, "twice");
    assert_eq!(
        world.received(&closed),
        strings(["w", "before", "CLOSE 1000 bye"])
    );
    assert_eq!(
        world.received(&other),
        strings(["before", "after", "after"])
    );
    // The peer's Close is waited for.
    assert_eq!(closed.socket.wire().finished, 0);
    world.peer_closed(&closed);
    assert_eq!(closed.socket.wire().finished, 1);
    assert!(world.received(&closed).is_empty(), "no second Close");
}

#[test]
fn the_answer_to_a_close_is_the_last_of_our_direction() {
    let mut world = World::new();
    let peer = world.join_stalled("/");
    world.broadcast("/", "before");
    world.peer_closed(&peer);
    assert_eq!(peer.socket.wire().finished, 0, "its messages come first");
    assert!(world.rooms().is_empty());
    assert_eq!(
        world.received(&peer),
        strings(["w", "before", "CLOSE 1001 "])
    );
    assert_eq!(peer.socket.wire().finished, 1);
    assert_eq!(peer.state.cause.get(), Some(&Cause::ClosedByPeer));
}

#[test]
fn a_client_that_is_closing_enters_no_room() {
    let mut world = World::new();
    let peer = world.join("/a");
    world.disconnect(&peer, "");
    world.enter(&peer, "/b");
    assert!(world.rooms().is_empty());
    assert!(world.clients(None).is_empty());
    let members = world.ask(|reply| Command::Members {
        room: "/b".into(),
        reply,
    });
    assert!(members.is_empty());
}

#[test]
fn shutdown_closes_everybody_behind_what_is_queued() {
    let mut world = World::new();
    let peers = [world.join("/a"), world.join_stalled("/a"), world.join("/b")];
    world.broadcast("/a", "last");
    world.hub.apply(Command::Shutdown);
    world.broadcast("/a", "too late");
    let close = "CLOSE 1001 server shutdown";
    assert_eq!(world.received(&peers[0]), strings(["last", close]));
    assert_eq!(world.received(&peers[1]), strings(["w", "last", close]));
    assert_eq!(world.received(&peers[2]), [close]);
    for peer in &peers {
        assert_eq!(peer.state.cause.get(), Some(&Cause::Shutdown));
    }
    assert!(world.rooms().is_empty());
}

#[test]
fn a_join_while_stopping_gets_1001() {
    let mut world = World::new();
    world.hub.apply(Command::Shutdown);
    let late = world.join("/");
    world.broadcast("/", "too late");
    assert_eq!(world.received(&late), ["CLOSE 1001 server shutdown"]);
    assert!(world.rooms().is_empty());
    world.leave(&late);
    // Told twice, it stays as it is.
    world.hub.apply(Command::Shutdown);
}

#[test]
fn abort_ends_every_connection_those_that_are_closing_included() {
    let mut world = World::new();
    let peers = [world.join("/"), world.join_stalled("/")];
    world.disconnect(&peers[1], "");
    world.hub.apply(Command::Abort);
    for peer in &peers {
        assert_eq!(peer.socket.wire().aborted, 1);
    }
}

#[test]
fn a_closing_that_takes_too_long_is_aborted() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.close_timeout = Duration::ZERO;
    });
    let (stuck, left, open) = (world.join("/"), world.join("/"), world.join("/"));
    world.disconnect(&left, "");
    world.leave(&left);
    world.disconnect(&stuck, "");
    world.hub.end_pass();
    assert_eq!(stuck.socket.wire().aborted, 1);
    assert_eq!(left.socket.wire().aborted, 0);
    assert_eq!(open.socket.wire().aborted, 0);
    world.hub.end_pass();
    assert_eq!(stuck.socket.wire().aborted, 1, "once is enough");
}

#[test]
fn a_closing_has_its_time() {
    let mut world = World::new();
    let peer = world.join("/");
    world.disconnect(&peer, "");
    world.hub.end_pass();
    assert_eq!(peer.socket.wire().aborted, 0);
}

#[test]
fn the_hub_aborts_an_overdue_closing_without_being_asked_and_ends_when_told() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.close_timeout = Duration::from_millis(10);
    });
    let peer = world.join("/");
    world.disconnect(&peer, "");
    let (inbox, commands) = Inbox::new();
    std::thread::scope(|scope| {
        scope.spawn(|| world.hub.run(&commands));
        let until = Instant::now() + Duration::from_secs(60);
        while peer.socket.wire().aborted == 0 {
            assert!(Instant::now() < until, "not aborted");
            std::thread::yield_now();
        }
        inbox.send(Command::End).unwrap();
    });
}

#[test]
fn what_came_just_before_the_end_is_counted() {
    let mut world = World::new();
    let peer = world.join_stalled("/");
    world.broadcast("/", "1");
    world.hub.end_pass();
    assert!(world.counters.snapshot().queue_bytes > 0);
    let (inbox, commands) = Inbox::new();
    inbox.send(Command::Leave { id: peer.id }).unwrap();
    inbox.send(Command::End).unwrap();
    let counters = world.counters.clone();
    world.hub.run(&commands);
    assert_eq!(counters.snapshot().queue_bytes, 0);
}

#[test]
fn the_hub_ends_when_nobody_can_send_to_it_any_more() {
    let (inbox, commands) = Inbox::new();
    drop(inbox);
    World::new().hub.run(&commands);
}

#[test]
fn a_drain_closes_one_after_the_other_each_with_its_own_delay() {
    let mut world = World::new();
    let peers = [(); 4].map(|()| world.join("/"));
    let over = Duration::from_secs(4000);
    world.hub.apply(Command::Drain { over });
    let out = peers.each_ref().map(|peer| world.received(peer));
    let mut first = out.into_iter().flatten();
    let close = first.next().unwrap();
    assert!(close.starts_with("CLOSE 1012 restarting; come back in "));
    assert_eq!(first.next(), None, "the others have their time");
    world.broadcast("/", "as ever");
    let heard = peers
        .iter()
        .filter(|peer| world.received(peer) == ["as ever"]);
    assert_eq!(heard.count(), 3);
    let next = world.hub.next_deadline().unwrap() - Instant::now();
    assert!(next <= over / 4, "{next:?}");
    // Who comes late has no time, but a delay of its own.
    let late = [(); 2].map(|()| world.join("/"));
    let late = late.each_ref().map(|peer| world.received(peer).concat());
    assert!(
        late[0].contains("come back in ") && late[0] != late[1],
        "{late:?}"
    );
    world.hub.apply(Command::Shutdown);
    let close = "CLOSE 1001 server shutdown";
    let rest = peers.iter().filter(|peer| world.received(peer) == [close]);
    assert_eq!(rest.count(), 3);
}

#[test]
fn a_client_ends_at_its_age() {
    let mut world = World::with(SlowConsumer::Disconnect, |config| {
        config.max_age = Duration::from_nanos(1);
    });
    let peer = world.join("/");
    let close = "CLOSE 1001 reached max-age; come back";
    assert_eq!(world.received(&peer), [close]);
    assert_eq!(peer.state.cause.get(), Some(&Cause::MaxAge));
}

#[test]
fn those_that_came_together_do_not_go_together_and_those_that_left_are_forgotten() {
    let age = Duration::from_secs(80);
    let mut world = World::with(SlowConsumer::Disconnect, |config| config.max_age = age);
    let start = Instant::now();
    let peers: Vec<Peer> = (0..20).map(|_| world.join("/")).collect();
    let mut ends = BTreeSet::new();
    for peer in &peers {
        let end = world.hub.next_deadline().unwrap();
        assert!(end >= start + age / 8 * 7 && end <= Instant::now() + age);
        ends.insert(end);
        world.leave(peer);
    }
    assert!(ends.len() > 3);
    assert_eq!(world.hub.next_deadline(), None);
}
