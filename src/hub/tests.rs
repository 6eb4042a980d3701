//! The hub without sockets and threads: a test plays its clients and writers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::close::{CloseCode, CloseFrame};
use crate::config::SlowConsumer;
use crate::embed::subscription::Subscription;
use crate::engine::Memory;
use crate::fuzzing::choices::Choices;
use crate::hub::Place;
use crate::hub::inbox::Inbox;
use crate::hub::info::ClientInfo;
use crate::hub::publisher::Publisher;
use crate::hub::{Attachment, ClientState};
use crate::message::Message;
use crate::outbox::MAX_BURSTS;
use crate::outbox::OutboxRules;
use crate::outbox::fake::frames;
use crate::outbox::fake::{FakeSocket, FakeWriters};
use crate::wire::Encoding;
use crate::wire::burst;
use crate::wire::frame;

mod audiences;
mod budget;
#[cfg(feature = "redis")]
mod committed;
mod ending;
mod events;
mod history;
mod news;
#[cfg(feature = "redis")]
mod others;
mod presence;
mod random;
mod roaming;
mod rooms;
#[cfg(feature = "deflate")]
mod shared;

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
            hub: Hub::new(
                &config,
                counters.clone(),
                Arc::new(Interest::new()),
                Box::new(Memory::new()),
            ),
            counters,
            rules: Arc::new(rules),
            writers,
            next_id: 1,
        }
    }

    /// The same with helpers that are lent members of the smallest rooms, too.
    fn helped(self, helpers: usize) -> World {
        let mut lent = Helpers::none().with_parts_of(1);
        for _ in 0..helpers {
            lent.start(64 * 1024).unwrap();
        }
        let hub = self.hub.with_helpers(lent);
        World { hub, ..self }
    }

    fn peer(&mut self, room: &str, encoding: Encoding) -> (Peer, Command) {
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into();
        let peer = Peer {
            id,
            state: Arc::new(ClientState::new(
                id,
                address,
                room.into(),
                Place::anywhere(),
                None,
            )),
            socket: self.writers.socket(id),
            encoding,
        };
        let outbox = Outbox::new(id, peer.socket.clone(), self.rules.clone());
        let join = Command::Join(Box::new(Joining {
            client: peer.state.clone(),
            outbox,
            encoding,
            answer: Bytes::new(),
            following: None,
            start: Start::default(),
        }));
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
            receipt: None,
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
            encoding if encoding.is_events() => events(&out),
            encoding if encoding.is_lines() => lines(&out),
            _ => frames(&out),
        }
    }

    fn ask<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> T {
        let (reply, answer) = Reply::pair();
        self.hub.apply(command(reply));
        answer.take().unwrap()
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

/// What a client of lines reads from these bytes, without the rooms.
fn lines(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| match line.strip_prefix("[closed: ") {
            Some(close) => format!("CLOSE {} ", close.strip_suffix(']').unwrap()),
            None => line.rsplit('\t').next().unwrap().to_owned(),
        })
        .collect()
}

fn strings<const N: usize>(texts: [&str; N]) -> [String; N] {
    texts.map(str::to_owned)
}
