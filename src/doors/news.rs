//! What happens on the server, as a stream of events for the operator.

use std::sync::Arc;

use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, StatusCode};

use super::admin::{EVENTS, JSON};
use super::caller::Caller;
use super::entry::Entry;
use super::hall::Doors;
use super::sse;
use crate::http1::{Answer, stopping};
use crate::hub::{Start, Watch};
use crate::rights::Rights;
use crate::wire::{Encoding, json};

impl Doors {
    /// Lets the operator follow what happens. Such a client is in no room.
    pub(super) fn news(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
    ) -> Result<Entry, Answer> {
        if request.method() == Method::HEAD {
            let line = "this is a stream; follow it with GET";
            let refused = Answer::text(StatusCode::METHOD_NOT_ALLOWED, line);
            return Err(refused.header(ALLOW, HeaderValue::from_static("GET, OPTIONS")));
        }
        let beat = sse::beat(request)?;
        let place = self.place(caller)?;
        let mut response = self.stream_head(request, caller, "text/event-stream");
        response.extend_from_slice(b"\r\n: welcome\n\n");
        Ok(Entry {
            room: EVENTS.into(),
            further_rooms: Box::default(),
            attachment: None,
            rights,
            response,
            encoding: Encoding::Events,
            place,
            start: Start {
                watch: Some(Watch::News),
                ..Start::default()
            },
            name: None,
            beat,
        })
    }

    /// The clients that have left last: all that are known, or the one with this
    /// id.
    pub(super) fn departures(&self, id: Option<&str>) -> Result<Answer, Answer> {
        let _turn = self.turn()?;
        let mut departed = self.handle.departures().map_err(|_| stopping())?;
        if let Some(id) = id {
            let id = self.client_named(id)?;
            departed.retain(|one| one.id() == id);
        }
        if id.is_some() && departed.is_empty() {
            let line =
                "no client of this number is among the last that have left: see /-/departures";
            return Err(Answer::text(StatusCode::NOT_FOUND, line));
        }
        let mut body = String::new();
        json::object(&mut body, |object| {
            object.array("departures", &departed, |out, one| {
                json::object(out, |object| one.write(object));
            });
        });
        body.push('\n');
        Ok(Answer::new(StatusCode::OK, JSON, body))
    }
}
