//! The head of an event stream: a receive-only member of a room, over plain
//! HTTP.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::Request;

use super::caller::Caller;
use super::entry::{CLIENT, Entry, finish_head};
use super::hall::Doors;
use super::start::wish;
use crate::http1::{Answer, http_date, query_parameters};
use crate::rights::Rights;
use crate::wire::{Encoding, sse};

/// The beginning of every stream. What is on its way must be neither kept nor
/// changed nor waited for.
const HEAD: &str = "HTTP/1.1 200 OK\r\n\
    cache-control: no-store, no-transform\r\n\
    x-accel-buffering: no\r\n\
    x-content-type-options: nosniff\r\n\
    connection: close\r\n";
/// The shortest and the longest time between two signs of life that a client may
/// ask for.
const BEATS: RangeInclusive<u64> = 1..=3600;

impl Doors {
    /// Accepts a request for events; the hook decides last, as it does for a
    /// WebSocket.
    pub(super) fn events(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
    ) -> Result<Entry, Answer> {
        let (beat, wish) = (beat(request)?, wish(request)?);
        let place = self.place(caller)?;
        let upgrade = self.admit_to_all(request, caller, rights)?;
        if wish.start.watch.is_some() {
            self.check_presence(&upgrade.room)?;
        }
        let head = self.stream_head(request, caller, "text/event-stream");
        let mut head = finish_head(head, &upgrade);
        // A comment, so that a client sees at once that the stream is open.
        head.extend_from_slice(b": welcome\n\n");
        if beat.is_some() {
            head.extend_from_slice(&sse::ping_event(caller.id));
        }
        let entry = Entry::new(upgrade, place, head, Encoding::Events, &wish);
        Ok(Entry { beat, ..entry })
    }

    /// The head that answers a request for a stream, but for its end.
    pub(super) fn stream_head(
        &self,
        request: &Request<()>,
        caller: &Caller,
        kind: &str,
    ) -> Vec<u8> {
        let date = http_date();
        let lines = format!(
            "date: {date}\r\ncontent-type: {kind}\r\n{CLIENT}: {}\r\n",
            caller.id
        );
        let mut head = [HEAD, lines.as_str()].concat().into_bytes();
        let cors = match self.is_operators(request, caller) {
            true => Vec::new(),
            false => self.cors(request),
        };
        for (name, value) in cors {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head
    }
}

/// How often a client wants to see a sign of life, `?ping=15s`.
pub(super) fn beat(request: &Request<()>) -> Result<Option<Duration>, Answer> {
    let Some(text) = query_parameters(request, "ping").next() else {
        return Ok(None);
    };
    let text = text.unwrap_or_default();
    let digits = text
        .strip_suffix('s')
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse().ok());
    match seconds.filter(|seconds| BEATS.contains(seconds)) {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => {
            let shown: String = text.chars().take(40).collect();
            let line = format!("ping={shown:?} is not a time from 1s to 3600s, such as ping=15s");
            Err(Answer::bad_request(line))
        }
    }
}
