//! The operator's paths, under `/-/`: health, metrics, clients, rooms.

use std::sync::{MutexGuard, TryLockError};

use http::header::{ALLOW, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, StatusCode, Uri};

use super::caller::{Caller, Entrance};
use super::hall::Doors;
use super::metrics;

use crate::embed::Handle;
use crate::error::Stopped;
use crate::http1::{Answer, stopping};
use crate::hub::{ClientInfo, RoomInfo};
use crate::wire::Decimal;
use crate::wire::json::{self, Object};

/// The methods that are answered.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, DELETE, OPTIONS");
/// What is said of a path that means nothing.
#[cfg(feature = "redis")]
const UNKNOWN: &str = "there is /-/healthz, /-/readyz, /-/metrics, /-/clients, /-/rooms, /-/departures, /-/events \
     and /-/nodes";
#[cfg(not(feature = "redis"))]
const UNKNOWN: &str =
    "there is /-/healthz, /-/readyz, /-/metrics, /-/clients, /-/rooms, /-/departures and /-/events";
/// The path of what happens. No room is named so.
pub(super) const EVENTS: &str = "/-/events";
pub(super) const JSON: &str = "application/json";

/// What the operator can ask, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Health,
    Ready,
    Metrics,
    Clients,
    Rooms,
    /// Who has left last.
    Departures,
    /// What happens from now on.
    Events,
    #[cfg(feature = "redis")]
    Nodes,
    /// The members of rooms on all nodes.
    #[cfg(feature = "redis")]
    Everyone,
    /// Disconnect whom the path names.
    Remove,
    /// Which methods there are.
    Methods,
    /// A path that means nothing.
    Unknown,
}

impl Question {
    fn of(uri: &Uri) -> Question {
        let path = uri.path();
        match path {
            #[cfg(feature = "redis")]
            "/-/clients" if is_of_all_nodes(uri) => Question::Everyone,
            "/-/healthz" => Question::Health,
            "/-/readyz" => Question::Ready,
            "/-/metrics" => Question::Metrics,
            "/-/clients" => Question::Clients,
            "/-/rooms" => Question::Rooms,
            EVENTS => Question::Events,
            _ if departure(path).is_some() => Question::Departures,
            #[cfg(feature = "redis")]
            "/-/nodes" => Question::Nodes,
            _ => Question::Unknown,
        }
    }
}

/// Whether a query asks for the clients of all nodes.
#[cfg(feature = "redis")]
fn is_of_all_nodes(uri: &Uri) -> bool {
    let mut words = uri.query().unwrap_or_default().split('&');
    words.any(|word| matches!(word, "cluster" | "cluster="))
}

/// Whether a path asks for departures: all of them (`Some(None)`), or that of the
/// client with this number.
fn departure(path: &str) -> Option<Option<&str>> {
    match path.strip_prefix("/-/departures")? {
        "" => Some(None),
        rest => rest.strip_prefix('/').map(Some),
    }
}

/// Whether a path names a client, or a room.
fn names_clients(path: &str) -> bool {
    path.starts_with("/-/clients/") || path.starts_with("/-/rooms/")
}

pub(super) fn far_away() -> Answer {
    Answer::text(
        StatusCode::FORBIDDEN,
        "this is answered to the server's own machine only; \
         its operator can allow it with --admin-token or --admin-listen",
    )
}

impl Doors {
    /// What the operator asks, if this is where it can be asked.
    pub(super) fn question(
        &self,
        request: &Request<()>,
        caller: &Caller,
    ) -> Result<Question, Answer> {
        let config = self.config();
        let here = match config.admin_listen {
            Some(_) => Entrance::Admin,
            None => Entrance::Main,
        };
        if !config.admin || caller.entrance != here {
            return Err(Answer::text(
                StatusCode::NOT_FOUND,
                "nothing is answered under /-/ here",
            ));
        }
        match *request.method() {
            Method::GET | Method::HEAD => Ok(Question::of(request.uri())),
            Method::DELETE if names_clients(request.uri().path()) => Ok(Question::Remove),
            Method::OPTIONS => Ok(Question::Methods),
            _ => {
                Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET")
                    .header(ALLOW, METHODS))
            }
        }
    }

    /// Answers what the operator asks.
    pub(super) fn answer(&self, question: Question, path: &str) -> Answer {
        // It may be secret, and its URL may hold a token.
        self.answer_to(question, path)
            .header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
    }

    fn answer_to(&self, question: Question, path: &str) -> Answer {
        let shared = &self.handle.shared;
        match question {
            Question::Health | Question::Ready if shared.stop.is_triggered() => stopping(),
            Question::Health => Answer::text(StatusCode::OK, "ok"),
            Question::Ready => match self.flaw() {
                None => Answer::text(StatusCode::OK, "ok"),
                Some(flaw) => Answer::unavailable(flaw, 1),
            },
            Question::Metrics => Answer::new(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics()),
            Question::Clients => self.list(|handle| Ok(clients_json(&handle.clients()?))),
            Question::Rooms => self.list(|handle| Ok(rooms_json(&handle.rooms()?))),
            Question::Departures => {
                let id = departure(path).flatten();
                self.departures(id).unwrap_or_else(|refused| refused)
            }
            #[cfg(feature = "redis")]
            Question::Nodes => self.nodes(),
            #[cfg(feature = "redis")]
            Question::Everyone => self.everyone(),
            Question::Remove => self.remove(path).unwrap_or_else(|refused| refused),
            Question::Methods => Answer::new(StatusCode::NO_CONTENT, "text/plain", String::new())
                .header(ALLOW, METHODS),
            // A stream is no answer, so it does not come here.
            Question::Events | Question::Unknown => Answer::text(StatusCode::NOT_FOUND, UNKNOWN),
        }
    }

    /// Why this server should get no new clients, if so.
    fn flaw(&self) -> Option<&'static str> {
        if self.handle.shared.is_leaving() {
            return Some("this server is about to stop");
        }
        #[cfg(feature = "redis")]
        if let Some(engine) = &self.handle.shared.engine {
            return engine.flaw();
        }
        None
    }

    fn metrics(&self) -> String {
        let shared = &self.handle.shared;
        #[cfg_attr(not(feature = "redis"), expect(unused_mut))]
        let mut text = metrics::text(&shared.counters, shared.inbox.len());
        #[cfg(feature = "redis")]
        if let Some(engine) = &shared.engine {
            metrics::engine(&mut text, engine);
        }
        text
    }

    /// Held while a list is made.
    pub(super) fn turn(&self) -> Result<MutexGuard<'_, ()>, Answer> {
        match self.listing.try_lock() {
            Ok(turn) => Ok(turn),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Answer::unavailable(
                "another list is being made; ask again",
                1,
            )),
        }
    }

    /// One list at a time, because each costs the hub time, and everybody waits
    /// for the hub.
    pub(super) fn list(&self, json: fn(&Handle) -> Result<String, Stopped>) -> Answer {
        let _turn = match self.turn() {
            Ok(turn) => turn,
            Err(refused) => return refused,
        };
        match json(&self.handle) {
            Ok(json) => Answer::new(StatusCode::OK, JSON, json),
            Err(Stopped) => stopping(),
        }
    }
}

fn rooms_json(rooms: &[RoomInfo]) -> String {
    list_json("rooms", rooms, |object, room| {
        object.string("name", &room.name);
        object.plain("clients", room.clients);
        #[cfg(feature = "redis")]
        if room.is_of_all_nodes {
            object.string("nodes", "all");
        }
    })
}

fn clients_json(clients: &[ClientInfo]) -> String {
    list_json("clients", clients, |object, client| {
        let age = Decimal(client.age.as_millis() as u64, 3);
        let rtt = client
            .rtt
            .map(|rtt| Decimal(rtt.as_micros() as u64, 6).to_string());
        object
            .id(client.id)
            .string("peer", &client.peer.to_string());
        if let Some(name) = &client.name {
            object.string("name", name);
        }
        object
            .array("rooms", &client.rooms, |out, room| json::string(out, room))
            .plain("age_seconds", age)
            .plain("queue_messages", client.queue_messages)
            .plain("queue_bytes", client.queue_bytes)
            .plain("received_messages", client.received_messages)
            .plain("received_bytes", client.received_bytes)
            .plain("sent_messages", client.sent_messages)
            .plain("sent_bytes", client.sent_bytes)
            .plain("dropped_messages", client.dropped_messages)
            .plain("rtt_seconds", rtt.as_deref().unwrap_or("null"));
        #[cfg(feature = "deflate")]
        object.plain("deflate", client.deflate);
    })
}

/// An object with one member, a list of objects.
pub(super) fn list_json<T>(name: &str, items: &[T], members: impl Fn(&mut Object, &T)) -> String {
    let mut out = String::new();
    json::object(&mut out, |object| {
        object.array(name, items, |out, item| {
            json::object(out, |object| members(object, item));
        });
    });
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Places;
    use crate::server::Server;

    #[test]
    fn lists_are_made_one_at_a_time() {
        let running = Server::bind("127.0.0.1:0").unwrap().spawn().unwrap();
        let doors = Doors::new(running.handle(), None, Places::unlimited()).unwrap();
        assert_eq!(doors.answer(Question::Clients, "").status, StatusCode::OK);
        let turn = doors.listing.lock().unwrap();
        for question in [Question::Clients, Question::Rooms] {
            let status = doors.answer(question, "").status;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{question:?}");
        }
        assert_eq!(doors.answer(Question::Metrics, "").status, StatusCode::OK);
        drop(turn);
        assert_eq!(doors.answer(Question::Rooms, "").status, StatusCode::OK);
    }
}
