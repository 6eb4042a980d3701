use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::{Sender, bounded};

use super::*;
use crate::close::{CloseCode, CloseFrame};
use crate::config::SlowConsumer;
use crate::embed::subscription::Subscription;
use crate::fuzzing::choices::Choices;
use crate::hub::client_state::Attachment;
use crate::hub::inbox::Inbox;
use crate::hub::info::ClientInfo;
use crate::hub::publisher::Publisher;
use crate::message::Message;
use crate::outbox::MAX_BURSTS;
use crate::outbox::OutboxRules;
use crate::outbox::fake::frames;
use crate::outbox::fake::{FakeSocket, FakeWriters};
use crate::wire::Encoding;
use crate::wire::burst;
use crate::wire::frame;

/// A hub and everybody around it.
struct World {
    hub: Hub,
    counters: Arc<Counters>,
    rules: Arc<OutboxRules>,
    writers: FakeWriters,
    next_id: u64,
}

/// A client as the test plays it.
struct Peer {
    id: ClientId,
    state: Arc<ClientState>,
    socket: Arc<FakeSocket>,
    encoding: Encoding,
}

/// How many messages and bytes an outbox holds here.
const MAX_MESSAGES: usize = 8;
const MAX_BYTES: usize = 10_000;

impl World {
    fn new() -> World {
        World::with(SlowConsumer::Disconnect, |_| {})
    }

    fn with(slow_consumer: SlowConsumer, change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config {
            slow_consumer,
            queue_messages: MAX_MESSAGES,
            queue_bytes: MAX_BYTES,
            ..Config::default()
        };
        change(&mut config);
        let counters = Arc::new(Counters::default());
        let writers = FakeWriters::default();
        let rules = OutboxRules {
            max_messages: config.queue_messages,
            max_bytes: config.queue_bytes,
            slow_consumer: config.slow_consumer,
            writers: Box::new(writers.clone()),
        };
        World {
            hub: Hub::new(&config, counters.clone(), Arc::new(Interest::new())),
            counters,
            rules: Arc::new(rules),
            writers,
            next_id: 1,
        }
    }

    fn peer(&mut self, room: &str, encoding: Encoding) -> (Peer, Command) {
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into();
        let peer = Peer {
            id,
            state: Arc::new(ClientState::new(id, address, room.into(), None)),
            socket: self.writers.socket(id),
            encoding,
        };
        let outbox = Outbox::new(id, peer.socket.clone(), self.rules.clone());
        let join = Command::Join {
            client: peer.state.clone(),
            outbox: Box::new(outbox),
            encoding,
            following: None,
        };
        (peer, join)
    }

    fn join(&mut self, room: &str) -> Peer {
        self.join_as(room, Encoding::Frames)
    }

    fn join_as(&mut self, room: &str, encoding: Encoding) -> Peer {
        let (peer, join) = self.peer(room, encoding);
        self.hub.apply(join);
        peer
    }

    /// A client whose socket is full: its writer has the message `w`, which
    /// never goes out until the test says so.
    fn join_stalled(&mut self, room: &str) -> Peer {
        let peer = self.join(room);
        peer.socket.set_room(0);
        self.send(&peer, "w");
        peer
    }

    fn publish(&mut self, to: Audience, text: &str) {
        self.hub.apply(Command::Publish {
            to,
            forms: burst::single(&Message::from(text), false).into(),
            permit: None,
        });
    }

    fn broadcast(&mut self, room: &str, text: &str) {
        let room = room.into();
        self.publish(Audience::Room { room, except: None }, text);
    }

    fn send(&mut self, to: &Peer, text: &str) {
        self.publish(Audience::Client(to.id), text);
    }

    fn enter(&mut self, peer: &Peer, room: &str) {
        let room = room.into();
        self.hub.apply(Command::Enter { id: peer.id, room });
    }

    fn exit(&mut self, peer: &Peer, room: &str) {
        let room = room.into();
        self.hub.apply(Command::Exit { id: peer.id, room });
    }

    fn leave(&mut self, peer: &Peer) {
        self.hub.apply(Command::Leave { id: peer.id });
    }

    fn disconnect(&mut self, peer: &Peer, reason: &str) {
        self.hub.apply(Command::Close {
            id: peer.id,
            frame: CloseFrame::new(CloseCode::NORMAL, reason),
            cause: Cause::Disconnected,
            finish: false,
        });
    }

    fn peer_closed(&mut self, peer: &Peer) {
        self.hub.apply(Command::PeerClosed {
            id: peer.id,
            reply: CloseFrame::new(CloseCode::GOING_AWAY, ""),
        });
    }

    /// The writer thread of a client writes one chunk and reports it.
    fn write(&mut self, peer: &Peer) {
        assert!(peer.socket.write(usize::MAX), "the writer has nothing");
        let id = peer.id;
        let result = Ok(());
        self.hub.apply(Command::Written { id, result });
    }

    /// The writer thread writes all that waits.
    fn write_all(&mut self, peer: &Peer) {
        while peer.socket.is_writing() {
            self.write(peer);
        }
    }

    /// Ends the pass, and says what the client has received since this was
    /// asked last.
    fn received(&mut self, peer: &Peer) -> Vec<String> {
        self.hub.end_pass();
        self.write_all(peer);
        let out = peer.socket.take_out();
        match peer.encoding {
            Encoding::Frames => frames(&out),
            Encoding::Events => events(&out),
        }
    }

    fn ask<T>(&mut self, command: impl FnOnce(Sender<T>) -> Command) -> T {
        let (reply, answer) = bounded(1);
        self.hub.apply(command(reply));
        answer.recv().unwrap()
    }

    fn clients(&mut self, room: Option<&str>) -> Vec<ClientInfo> {
        let room = room.map(Arc::from);
        self.ask(|reply| Command::Clients { room, reply })
    }

    fn ids_in(&mut self, room: &str) -> BTreeSet<u64> {
        let infos = self.clients(Some(room));
        let ids: BTreeSet<u64> = infos.iter().map(|info| info.id.value()).collect();
        assert_eq!(ids.len(), infos.len(), "a client twice in {room}");
        ids
    }

    /// The rooms and how many are in each.
    fn rooms(&mut self) -> BTreeMap<String, usize> {
        let infos = self.ask(|reply| Command::Rooms { reply });
        let count = infos.len();
        let rooms: BTreeMap<_, _> = infos.into_iter().map(|r| (r.name, r.clients)).collect();
        assert_eq!(rooms.len(), count, "a room twice");
        rooms
    }
}

/// What a client of events reads from these bytes, as [`frames`] puts it.
fn events(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let whole = text.split_inclusive("\n\n");
    whole
        .map(|event| {
            let event = event.strip_suffix("\n\n").expect("a whole event");
            match event.strip_prefix("event: close\ndata: ") {
                Some(close) => format!("CLOSE {close}"),
                None => event.strip_prefix("data: ").unwrap().to_owned(),
            }
        })
        .collect()
}

fn strings<const N: usize>(texts: [&str; N]) -> [String; N] {
    texts.map(str::to_owned)
}

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
    // All of the pass went out in one send.
    assert!(peers.iter().all(|p| p.socket.wire().plain_sends == 1));
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
    let state = ClientState::new(peer.id, address, "/".into(), Some(&attachment));
    peer.state = Arc::new(state);
    let outbox = Outbox::new(peer.id, peer.socket.clone(), world.rules.clone());
    world.hub.apply(Command::Join {
        client: peer.state.clone(),
        outbox: Box::new(outbox),
        encoding: Encoding::Frames,
        following: None,
    });
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
    let reason = format!("slow consumer: {messages} messages ({bytes} bytes) behind");
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
fn the_hub_ends_when_nobody_can_send_to_it_any_more() {
    let (inbox, commands) = Inbox::new();
    drop(inbox);
    World::new().hub.run(&commands);
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

/// The bytes of the backlogs of [`three_backlogs`], all together.
const THREE_BACKLOGS: usize = 3 * 3 + 9 * 100;

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
    assert_eq!(stats.queue_bytes, THREE_BACKLOGS as u64);
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
    // The writers' three messages of 3 bytes and one of 100.
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, 3 * 3 + 100);
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
    let (mut world, peers) = three_backlogs(SlowConsumer::Disconnect, 3 * 3 + 4 * 100);
    world.disconnect(&peers[1], "");
    world.hub.end_pass();
    let stats = world.counters.snapshot();
    assert!(stats.queue_bytes <= 3 * 3 + 4 * 100, "{stats:?}");
    let received = world.received(&peers[1]);
    assert_eq!(received.last().unwrap(), "CLOSE 1000 ");
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
fn an_asker_that_has_gone_away_is_no_harm() {
    let mut world = World::new();
    let (reply, _) = bounded(1);
    world.hub.apply(Command::Rooms { reply });
    let (reply, _) = bounded(1);
    world.hub.apply(Command::Clients { room: None, reply });
    let (reply, _) = bounded(1);
    let room = "/".into();
    world.hub.apply(Command::Members { room, reply });
}

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
fn rooms_hold(seed: u64) {
    let mut choices = Choices::Seed(seed);
    let mut world = World::new();
    let mut here: Vec<Expecting> = Vec::new();
    for step in 0..400 {
        let room = ROOMS[choices.below(ROOMS.len())];
        let who = choices.below(here.len());
        match (choices.below(16), here.get_mut(who)) {
            (0..3, _) | (_, None) => {
                let encoding = match choices.below(3) {
                    0 => Encoding::Events,
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
        rooms_hold(seed);
    }
}

/// Random traffic among clients that are slow in all ways: the sums are those
/// of the parts, and nobody but the slow is harmed.
fn sums_hold(seed: u64, slow_consumer: SlowConsumer) {
    let mut choices = Choices::Seed(seed);
    let mut world = World::with(slow_consumer, |config| config.queue_total = 2_000);
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
            sums_hold(seed, policy);
        }
    }
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
    let (reply, answer) = bounded(1);
    world.hub.apply(Command::Clients { room: None, reply });
    let infos: Vec<ClientInfo> = answer.try_recv().unwrap();
    assert_eq!(infos[0].sent_messages, 1);
    assert!(!peer.socket.take_out().is_empty());
}
