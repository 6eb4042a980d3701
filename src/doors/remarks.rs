//! What an operator should know of the requests that come: one line of the log
//! for many requests of a kind.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use http::header::{HOST, HeaderMap, ORIGIN, SEC_WEBSOCKET_KEY};

use super::caller::Caller;
use crate::names::Peer;
use crate::seldom::Seldom;

/// How often the same is said.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often the same Origin is spoken of.
const ORIGIN_INTERVAL: Duration = Duration::from_secs(60);
/// The most Origins that are remembered; of more, one in a while is logged.
const MAX_ORIGINS: usize = 64;
/// A longer Origin is no origin of a page.
const MAX_ORIGIN: usize = 300;

/// What was said when.
#[derive(Debug)]
pub(super) struct Remarks {
    foreign_protocols: Seldom,
    wrong_tokens: Seldom,
    no_places: Seldom,
    lost_upgrades: Seldom,
    subprotocols: Seldom,
    other_origins: Seldom,
    origins: Mutex<HashMap<String, Instant>>,
}

impl Remarks {
    pub(super) fn new() -> Remarks {
        let seldom = || Seldom::new(INTERVAL);
        Remarks {
            foreign_protocols: seldom(),
            wrong_tokens: seldom(),
            no_places: seldom(),
            lost_upgrades: seldom(),
            subprotocols: seldom(),
            other_origins: seldom(),
            origins: Mutex::default(),
        }
    }

    pub(super) fn foreign_protocol(&self, peer: Peer, protocol: &str) {
        if let Some(count) = self.foreign_protocols.count() {
            log::info!("peer={peer} speaks {protocol}{}", Times(count));
        }
    }

    /// Speaks of a client for which there is no place.
    pub(super) fn no_place(&self, caller: &Caller, why: &str) {
        if let Some(count) = self.no_places.count() {
            log::warn!("peer={} refused: {why}{}", caller.peer, Times(count));
        }
    }

    pub(super) fn wrong_token(&self, caller: &Caller) {
        if let Some(count) = self.wrong_tokens.count() {
            log::warn!("peer={} brought a wrong token{}", caller.peer, Times(count));
        }
    }

    /// Speaks of a request that has the key of an opening handshake and asks
    /// for no upgrade.
    pub(super) fn lost_upgrade(&self, request: &Request<()>, caller: &Caller) {
        if !request.headers().contains_key(SEC_WEBSOCKET_KEY) {
            return;
        }
        if let Some(count) = self.lost_upgrades.count() {
            log::info!(
                "peer={} sent {:?} with Sec-WebSocket-Key and without `Connection: Upgrade` and \
                 `Upgrade: websocket`; a proxy may have taken them away{}",
                caller.peer,
                request.version(),
                Times(count)
            );
        }
    }

    pub(super) fn unknown_subprotocols(&self, offered: &[&str], caller: &Caller) {
        if let Some(count) = self.subprotocols.count() {
            let offered: String = offered.join(", ").chars().take(MAX_ORIGIN).collect();
            log::info!(
                "peer={} offers the subprotocols {offered:?}, and none is known here; browsers \
                 close such a connection unless one is, as with --subprotocol NAME{}",
                caller.peer,
                Times(count)
            );
        }
    }

    /// Speaks of a refused Origin, with the option that lets it in.
    pub(super) fn foreign_origin(&self, headers: &HeaderMap, caller: &Caller) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = text(ORIGIN).filter(|origin| origin.len() <= MAX_ORIGIN) else {
            return;
        };
        if !self.is_due(origin, Instant::now()) {
            return;
        }
        let (peer, host) = (caller.peer, text(HOST).unwrap_or_default());
        let host: String = host.chars().take(MAX_ORIGIN).collect();
        let line = format!("the Origin {origin:?} is not allowed at the host {host:?}");
        match is_plain(origin) {
            true => log::warn!("peer={peer} {line}; to allow it: --allow-origin {origin}"),
            false => log::warn!("peer={peer} {line}"),
        }
    }

    fn is_due(&self, origin: &str, now: Instant) -> bool {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= ORIGIN_INTERVAL;
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = origins.get_mut(origin) {
            let is_due = is_old(*at);
            if is_due {
                *at = now;
            }
            return is_due;
        }
        if origins.len() >= MAX_ORIGINS {
            origins.retain(|_, at| !is_old(*at));
        }
        if origins.len() >= MAX_ORIGINS {
            return self.other_origins.count().is_some();
        }
        origins.insert(origin.to_owned(), now);
        true
    }
}

/// Whether a shell takes this as it is, so that it may be offered to be copied:
/// it comes from a peer.
fn is_plain(origin: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b":/.-+".contains(&b);
    origin == "null" || (origin.contains("://") && origin.bytes().all(is_plain))
}

/// How often something has happened, where that is more than once.
struct Times(u64);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1 => Ok(()),
            n => write!(f, " ({n} times since this was said last)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_spoken_of_once_a_minute_and_few_are_remembered() {
        let remarks = Remarks::new();
        let start = Instant::now();
        let at =
            |origin: &str, seconds| remarks.is_due(origin, start + Duration::from_secs(seconds));
        assert!(at("http://a", 0) && at("http://b", 0));
        assert!(!at("http://a", 59) && at("http://a", 60));
        let said = (0..1000).filter(|n| at(&format!("http://{n}"), 61)).count();
        assert!(
            (MAX_ORIGINS - 3..=MAX_ORIGINS + 1).contains(&said),
            "{said}"
        );
        assert!(remarks.origins.lock().unwrap().len() <= MAX_ORIGINS);
        assert!(at("http://later", 200));
    }

    #[test]
    fn only_what_a_shell_takes_as_it_is_is_offered_to_be_copied() {
        for origin in ["http://localhost:5173", "chrome-extension://abc", "null"] {
            assert!(is_plain(origin), "{origin}");
        }
        for origin in [
            "http://a;touch$IFS.x",
            "http://$(touch)",
            "http://a'b",
            "a",
            "http://a b",
        ] {
            assert!(!is_plain(origin), "{origin}");
        }
    }
}
