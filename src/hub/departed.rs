//! Clients that have left: what is known of the last thousand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client_state::ClientState;
use super::member::Member;
use crate::close::{CloseFrame, Departure};
use crate::names::{ClientId, Peer};
use crate::wire::Decimal;
use crate::wire::json::{self, Object};

/// How many are remembered.
const MOST: usize = 1000;

/// A client that has left.
#[derive(Debug)]
pub(crate) struct Departed {
    // Not the client's state: it would keep the memory of what is attached.
    who: Who,
    departure: Departure,
    /// Milliseconds since 1970.
    at: u128,
    age: Duration,
    received_messages: u64,
    received_bytes: u64,
    sent_messages: u64,
    sent_bytes: u64,
    dropped_messages: u64,
}

impl Departed {
    fn new(member: &Member) -> Departed {
        let client = &member.client;
        Departed {
            who: Who::of(client),
            departure: client.departure(),
            at: millis_since_1970(),
            age: client.joined.elapsed(),
            received_messages: client.received_messages.load(Ordering::Relaxed),
            received_bytes: client.received_bytes.load(Ordering::Relaxed),
            sent_messages: member.sent_messages,
            sent_bytes: member.sent_bytes,
            dropped_messages: member.outbox.dropped(),
        }
    }

    pub(crate) fn id(&self) -> ClientId {
        self.who.id
    }

    pub(crate) fn write(&self, object: &mut Object<'_>) {
        object.plain("at", self.at);
        self.write_members(object);
    }

    /// The same without the time, which what happens now has already.
    pub(super) fn write_members(&self, object: &mut Object<'_>) {
        let Departure {
            cause,
            sent,
            received,
            ..
        } = &self.departure;
        self.who.write(object);
        object
            .string("cause", cause.name())
            .string("why", &cause.to_string());
        write_close(object, "sent", sent.as_ref());
        write_close(object, "received", received.as_ref());
        let age = Decimal(self.age.as_millis() as u64, 3);
        object
            .plain("age_seconds", age)
            .plain("received_messages", self.received_messages)
            .plain("received_bytes", self.received_bytes)
            .plain("sent_messages", self.sent_messages)
            .plain("sent_bytes", self.sent_bytes)
            .plain("dropped_messages", self.dropped_messages);
    }
}

/// A Close frame in two members: its code and its reason.
fn write_close(object: &mut Object<'_>, name: &str, frame: Option<&CloseFrame>) {
    let Some(code) = frame.and_then(|frame| frame.code) else {
        return;
    };
    let reason = frame.map_or("", |frame| &frame.reason);
    object
        .plain(&format!("{name}_code"), code)
        .string(&format!("{name}_reason"), reason);
}

/// Who a client is.
#[derive(Debug)]
pub(super) struct Who {
    id: ClientId,
    peer: Peer,
    name: Option<Box<str>>,
    rooms: Box<[Arc<str>]>,
}

impl Who {
    pub(super) fn of(client: &ClientState) -> Who {
        Who {
            id: client.id,
            peer: client.peer,
            name: client.name().map(Box::from),
            rooms: client.rooms().cloned().collect(),
        }
    }

    pub(super) fn write(&self, object: &mut Object<'_>) {
        object.id(self.id).string("peer", &self.peer.to_string());
        if let Some(name) = &self.name {
            object.string("name", name);
        }
        object.array("rooms", &self.rooms, |out, room| json::string(out, room));
    }
}

/// The clients that have left last.
#[derive(Debug, Default)]
pub(super) struct Departures(VecDeque<Arc<Departed>>);

impl Departures {
    pub(super) fn add(&mut self, member: &Member) -> &Departed {
        if self.0.len() == MOST {
            self.0.pop_back();
        }
        self.0.push_front(Arc::new(Departed::new(member)));
        &self.0[0]
    }

    /// The last one first.
    pub(super) fn list(&self) -> Vec<Arc<Departed>> {
        self.0.iter().cloned().collect()
    }
}

pub(super) fn millis_since_1970() -> u128 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.unwrap_or_default().as_millis()
}
