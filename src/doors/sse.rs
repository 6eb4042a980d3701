//! The head of an event stream: a receive-only member of a room, over plain
//! HTTP.

use http::Request;
use http::header::ORIGIN;

use super::caller::Caller;
use super::entry::{Entry, finish_head};
use super::hall::Doors;
use super::start::wish;
use crate::http1::Answer;
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
    pub(super) fn events(&self, request: &Request<()>, caller: &Caller) -> Result<Entry, Answer> {
        let wish = wish(request)?;
        let place = self.place(caller)?;
        let upgrade = self.admit(request, caller)?;
        let mut head = RESPONSE.as_bytes().to_vec();
        if let Some(origin) = request.headers().get(ORIGIN) {
            head.extend_from_slice(b"vary: origin\r\naccess-control-allow-origin: ");
            head.extend_from_slice(origin.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let mut head = finish_head(head, &upgrade);
        head.extend_from_slice(b": welcome\n\n");
        Ok(Entry::new(upgrade, place, head, Encoding::Events, &wish))
    }
}
