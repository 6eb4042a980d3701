//! How many clients a room has, for a request that might enter it.

use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, StatusCode};

use super::caller::Caller;
use super::hall::Doors;
use super::json;
use crate::http1::{Answer, stopping};

impl Doors {
    /// Counts the clients of the room that the request would enter; the hook
    /// decides whether it may know.
    pub(crate) fn count(&self, request: &Request<()>, caller: &Caller) -> Result<Answer, Answer> {
        let room = self.admit(request, caller)?.room;
        let clients = self.handle.count(&room).map_err(|_| stopping())?;
        Ok(answer(StatusCode::OK, &room, clients)
            .header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
    }
}

/// An answer that names a room and tells how many clients it has.
pub(super) fn answer(status: StatusCode, room: &str, clients: usize) -> Answer {
    let mut body = String::new();
    json::object(&mut body, |object| {
        object.string("room", room).plain("clients", clients);
    });
    body.push('\n');
    Answer::new(status, "application/json", body)
}
