//! The head of an event stream: a receive-only member of a room, over plain
//! HTTP.

use std::sync::Arc;

use http::Request;
use http::header::ACCESS_CONTROL_EXPOSE_HEADERS;

use super::caller::Caller;
use super::entry::{CLIENT, Entry, finish_head};
use super::hall::Doors;
use super::start::wish;
use crate::http1::Answer;
use crate::rights::Rights;
use crate::wire::Encoding;

/// The answer to a request for events, and a comment so that a client sees
/// at once that the stream is open.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream\r\n\
    cache-control: no-store, no-transform\r\n\
    x-accel-buffering: no\r\n\
    connection: close\r\n";

impl Doors {
    /// Accepts a request for events; the hook decides last, as it does for a
    /// WebSocket.
    pub(super) fn events(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
    ) -> Result<Entry, Answer> {
        let wish = wish(request)?;
        let place = self.place(caller)?;
        let upgrade = self.admit(request, caller, rights)?;
        if wish.start.watch.is_some() {
            self.check_presence(&upgrade.room)?;
        }
        let mut head = format!("{RESPONSE}{CLIENT}: {}\r\n", caller.id).into_bytes();
        let cors = self.cors(request);
        if !cors.is_empty() {
            head.extend_from_slice(
                format!("{ACCESS_CONTROL_EXPOSE_HEADERS}: {CLIENT}\r\n").as_bytes(),
            );
        }
        for (name, value) in cors {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let mut head = finish_head(head, &upgrade);
        head.extend_from_slice(b": welcome\n\n");
        Ok(Entry::new(upgrade, place, head, Encoding::Events, &wish))
    }
}
