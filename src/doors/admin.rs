//! What the operator asks, under `/-/`: health, metrics, clients, rooms.

use std::fmt::Write;
use std::sync::TryLockError;

use http::StatusCode;

use crate::doors::json;
use crate::doors::metrics;
use crate::embed::handle::Handle;
use crate::error::Stopped;
use crate::http1::answer::Answer;
use crate::hub::info::{ClientInfo, RoomInfo};

const JSON: &str = "application/json";

/// The path that needs no token: it says nothing but whether the server runs.
pub(crate) const HEALTH: &str = "/-/healthz";

/// Answers a request for a path below `/-/`.
pub(crate) fn answer(handle: &Handle, path: &str) -> Answer {
    match path {
        HEALTH => health(handle),
        "/-/metrics" => Answer::new(
            StatusCode::OK,
            metrics::CONTENT_TYPE,
            metrics::text(&handle.shared.counters, handle.shared.inbox.len()),
        ),
        "/-/clients" => list(handle, |handle| Ok(clients_json(&handle.clients()?))),
        "/-/rooms" => list(handle, |handle| Ok(rooms_json(&handle.rooms()?))),
        _ => Answer::text(
            StatusCode::NOT_FOUND,
            "there is /-/healthz, /-/metrics, /-/clients and /-/rooms",
        ),
    }
}

/// One list at a time: each costs the hub, for whom everybody waits, the time
/// to write down everything that is there.
fn list(handle: &Handle, json: fn(&Handle) -> Result<String, Stopped>) -> Answer {
    let _turn = match handle.shared.listing.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Answer::unavailable("another list is being made; ask again", 1);
        }
    };
    match json(handle) {
        Ok(json) => Answer::new(StatusCode::OK, JSON, json),
        Err(Stopped) => crate::http1::answer::stopping(),
    }
}

fn health(handle: &Handle) -> Answer {
    if handle.shared.stop.is_triggered() {
        return crate::http1::answer::stopping();
    }
    Answer::text(StatusCode::OK, "ok")
}

fn rooms_json(rooms: &[RoomInfo]) -> String {
    let mut out = String::from("{\"rooms\":");
    json::array(&mut out, rooms, |out, room| {
        out.push_str("{\"name\":");
        json::string(out, &room.name);
        let _ = write!(out, ",\"clients\":{}}}", room.clients);
    });
    out.push_str("}\n");
    out
}

fn clients_json(clients: &[ClientInfo]) -> String {
    let mut out = String::from("{\"clients\":");
    json::array(&mut out, clients, |out, client| {
        let _ = write!(
            out,
            "{{\"id\":{},\"peer\":\"{}\",\"rooms\":",
            client.id, client.peer
        );
        json::array(out, &client.rooms, |out, room| json::string(out, room));
        let _ = write!(
            out,
            ",\"age_seconds\":{:.3},\"queue_messages\":{},\"queue_bytes\":{},\
             \"received_messages\":{},\"received_bytes\":{},\"sent_messages\":{},\"sent_bytes\":{},\
             \"dropped_messages\":{},\"rtt_seconds\":",
            client.age.as_secs_f64(),
            client.queue_messages,
            client.queue_bytes,
            client.received_messages,
            client.received_bytes,
            client.sent_messages,
            client.sent_bytes,
            client.dropped_messages
        );
        match client.rtt {
            Some(rtt) => drop(write!(out, "{:.6}}}", rtt.as_secs_f64())),
            None => out.push_str("null}"),
        }
    });
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Server;

    #[test]
    fn lists_are_made_one_at_a_time() {
        let running = Server::bind("127.0.0.1:0").unwrap().spawn().unwrap();
        let handle = running.handle();
        assert_eq!(answer(&handle, "/-/clients").status, StatusCode::OK);
        let turn = handle.shared.listing.lock().unwrap();
        for path in ["/-/clients", "/-/rooms"] {
            let status = answer(&handle, path).status;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        assert_eq!(answer(&handle, "/-/metrics").status, StatusCode::OK);
        drop(turn);
        assert_eq!(answer(&handle, "/-/rooms").status, StatusCode::OK);
    }
}
