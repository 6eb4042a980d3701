//! A room as lines, for programs that speak nothing but HTTP: `curl -N` is
//! enough.

use std::sync::Arc;

use http::header::{ACCEPT, SEC_WEBSOCKET_KEY};
use http::{Request, Version};

use super::caller::Caller;
use super::entry::{Entry, finish_head};
use super::hall::Doors;
use super::sse;
use super::start::wish;
use crate::http1::{Answer, accepts, query_parameters};
use crate::rights::Rights;
use crate::wire::Encoding;

/// What the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

impl Format {
    fn kind(self) -> &'static str {
        match self {
            Format::Text => "text/plain; charset=utf-8",
            Format::Json => "application/x-ndjson",
        }
    }

    fn encoding(self) -> Encoding {
        match self {
            Format::Text => Encoding::Lines,
            Format::Json => Encoding::JsonLines,
        }
    }
}

/// The lines that the URL asks for.
pub(super) fn named(request: &Request<()>) -> Result<Option<Format>, Answer> {
    let Some(text) = query_parameters(request, "as").next() else {
        return Ok(None);
    };
    match text.as_deref() {
        Some("lines") => Ok(Some(Format::Text)),
        Some("ndjson") => Ok(Some(Format::Json)),
        other => {
            let shown: String = other.unwrap_or_default().chars().take(40).collect();
            let line = format!("as={shown:?} means nothing; there is as=lines and as=ndjson");
            Err(Answer::bad_request(line))
        }
    }
}

/// The lines for a program that names no type, or one of theirs. A browser that
/// shows a page, a client whose upgrade a proxy has taken away, and a probe that
/// speaks HTTP/1.0 want something else.
pub(super) fn accepted(request: &Request<()>) -> Option<Format> {
    let headers = request.headers();
    let is_probe = request.version() == Version::HTTP_10;
    if is_probe || headers.contains_key(SEC_WEBSOCKET_KEY) || accepts(headers, "text/html") {
        None
    } else if accepts(headers, "application/x-ndjson") {
        Some(Format::Json)
    } else {
        let is_any = accepts(headers, "*/*") || !headers.contains_key(ACCEPT);
        (is_any || accepts(headers, "text/plain")).then_some(Format::Text)
    }
}

impl Doors {
    /// Accepts a request for lines; the hook decides last, as it does for a
    /// WebSocket.
    pub(super) fn lines(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
        format: Format,
    ) -> Result<Entry, Answer> {
        let (beat, wish) = (sse::beat(request)?, wish(request)?);
        let place = self.place(caller)?;
        let upgrade = self.admit_to_all(request, caller, rights)?;
        if wish.start.watch.is_some() {
            self.check_presence(&upgrade.room)?;
        }
        let head = self.stream_head(request, caller, format.kind());
        let head = finish_head(head, &upgrade);
        let entry = Entry::new(upgrade, place, head, format.encoding(), &wish);
        Ok(Entry { beat, ..entry })
    }
}
