//! Publishing once, however often the request is repeated: a publisher that
//! got no answer sends the same request, with the same key, again.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{HeaderName, HeaderValue};
use http::{Request, StatusCode};

use crate::http1::{Answer, single};
use crate::message::Message;

/// The header with the key.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key, in bytes.
const MAX_KEY: usize = 255;
/// The number of requests that are remembered.
const MAX_REMEMBERED: usize = 1024;

/// The key of a request, if it has one.
pub(super) fn key(request: &Request<()>) -> Result<Option<String>, Answer> {
    let Some(value) = single(request.headers(), KEY)? else {
        return Ok(None);
    };
    let key = value.to_str().ok();
    let key = key.filter(|key| !key.is_empty() && key.len() <= MAX_KEY);
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Answer::bad_request(format!(
            "the header Idempotency-Key must be 1 to {MAX_KEY} characters of ASCII"
        ))
    })
}

/// Says that an answer is that of the first request.
pub(super) fn mark(answer: Answer) -> Answer {
    answer.header(REPLAYED, HeaderValue::from_static("true"))
}

/// The newest requests that had a key.
#[derive(Debug, Default)]
pub(super) struct Retries {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Id, Entry>,
    /// The oldest first.
    order: VecDeque<Id>,
}

/// A room, and a key in it.
type Id = Arc<(String, String)>;

#[derive(Debug)]
struct Entry {
    /// The hash of the body.
    body: u64,
    /// The body of the answer; none while it is under way.
    answer: Option<Arc<str>>,
}

/// What a request with a key is.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// The first: it is published.
    First(Claim<'a>),
    /// A repetition: this is the body of the first one's answer.
    Done(String),
}

/// Held while a request is published. Dropping it, unless that is done, makes
/// room for another try.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    retries: &'a Retries,
    id: Id,
}

impl Retries {
    /// Begins to publish a message with a key in a room.
    pub(super) fn begin(
        &self,
        room: &str,
        key: &str,
        message: &Message,
    ) -> Result<Turn<'_>, Answer> {
        let body = self
            .hasher
            .hash_one((message.as_bytes(), message.as_text().is_some()));
        let id = Id::new((room.to_owned(), key.to_owned()));
        let mut table = self.table();
        match table.entries.get(&id) {
            Some(entry) if entry.body != body => Err(Answer::text(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for another message; each needs its own",
            )),
            Some(Entry { answer: None, .. }) => Err(Answer::text(
                StatusCode::CONFLICT,
                "a request with this Idempotency-Key is being answered; try again",
            )),
            Some(Entry {
                answer: Some(answer),
                ..
            }) => Ok(Turn::Done(answer.to_string())),
            None => {
                table.insert(id.clone(), body);
                drop(table);
                Ok(Turn::First(Claim { retries: self, id }))
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, id: Id, body: u64) {
        if self.order.len() == MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(id.clone());
        let answer = None;
        self.entries.insert(id, Entry { body, answer });
    }
}

impl Claim<'_> {
    /// The message was published; this is the body of the answer.
    pub(super) fn done(self, answer: &str) {
        if let Some(entry) = self.retries.table().entries.get_mut(&self.id) {
            entry.answer = Some(answer.into());
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut table = self.retries.table();
        let is_done = |entry: &Entry| entry.answer.is_some();
        if table.entries.get(&self.id).is_none_or(is_done) {
            return;
        }
        table.entries.remove(&self.id);
        table.order.retain(|id| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first<'a>(retries: &'a Retries, key: &str) -> Claim<'a> {
        match retries.begin("/", key, &Message::from("x")) {
            Ok(Turn::First(claim)) => claim,
            other => panic!("{other:?}"),
        }
    }

    fn refused(retries: &Retries, message: impl Into<Message>) -> StatusCode {
        let turn = retries.begin("/", "k", &message.into());
        turn.unwrap_err().status
    }

    #[test]
    fn a_repetition_is_told_what_became_of_the_first() {
        let retries = Retries::default();
        let claim = first(&retries, "k");
        assert_eq!(refused(&retries, "x"), StatusCode::CONFLICT);
        claim.done("7");
        let again = retries.begin("/", "k", &Message::from("x"));
        assert!(
            matches!(&again, Ok(Turn::Done(body)) if body == "7"),
            "{again:?}"
        );
        for other in [Message::from("y"), Message::from(b"x".to_vec())] {
            assert_eq!(refused(&retries, other), StatusCode::UNPROCESSABLE_ENTITY);
        }
        // Another room has keys of its own.
        let elsewhere = retries.begin("/a", "k", &Message::from("x"));
        assert!(matches!(elsewhere, Ok(Turn::First(_))), "{elsewhere:?}");
    }

    #[test]
    fn what_failed_may_be_tried_again() {
        let retries = Retries::default();
        drop(first(&retries, "k"));
        drop(first(&retries, "k"));
        assert!(retries.table().entries.is_empty() && retries.table().order.is_empty());
    }

    #[test]
    fn the_newest_are_remembered() {
        let retries = Retries::default();
        for i in 0..=MAX_REMEMBERED {
            first(&retries, &i.to_string()).done("");
        }
        let table = retries.table();
        assert_eq!(table.entries.len(), MAX_REMEMBERED);
        assert_eq!(table.order.len(), MAX_REMEMBERED);
        drop(table);
        first(&retries, "0").done("");
        let newest = MAX_REMEMBERED.to_string();
        let again = retries.begin("/", &newest, &Message::from("x"));
        assert!(matches!(again, Ok(Turn::Done(_))), "{again:?}");
    }
}
