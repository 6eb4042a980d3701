//! The steps by which every client enters a room: the room's name, the
//! subprotocol, and your program's hook.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING,
};

use super::caller::Caller;
use super::hall::Doors;
use super::rooms::{Asked, room_of};
use super::start::{self, Wish};
use super::token;
use crate::embed::{Refusal, Upgrade};
use crate::error::Error;
use crate::http1::Answer;
use crate::http1::RETRY_AFTER;
use crate::http1::{is_token, tokens};
use crate::hub::{Attachment, Place, Start};
use crate::names::name_flaw;
use crate::rights::Rights;
use crate::wire::Encoding;
use http::StatusCode;

/// The subprotocol that is answered to a client that brings its token in a
/// subprotocol entry: it must be answered one of its offers (RFC 6455 §4.1),
/// but not the token.
const OWN_SUBPROTOCOL: &str = "hubcast";
/// The subprotocol in which each message says where it stands in the log.
pub(super) const POSITIONS: &str = "hubcast.positions";

/// The header that tells a client its id, which it names where it wants not to
/// receive what it publishes over HTTP.
pub(super) const CLIENT: &str = "hubcast-client";

/// # Errors
///
/// A name that no client can offer.
pub(super) fn check_subprotocols(names: &[String]) -> Result<(), Error> {
    for name in names {
        if !is_token(name) {
            return Err(Error::config(format!(
                "subprotocol {name:?} is not a token (RFC 9110 §5.6.2)"
            )));
        }
        if token::is_entry(name) {
            return Err(Error::config(format!(
                "subprotocol {name:?} is never answered: such an entry brings a token"
            )));
        }
    }
    Ok(())
}

/// How a client enters a room: what was agreed with it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) room: Arc<str>,
    /// The others that it has asked for.
    pub(crate) further_rooms: Box<[Arc<str>]>,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) rights: Option<Arc<Rights>>,
    /// The whole head of the answer.
    pub(crate) response: Vec<u8>,
    pub(crate) encoding: Encoding,
    pub(crate) place: Place,
    /// From where on it wants the room's messages.
    pub(crate) start: Start,
    /// How it is shown to those who follow who is in its room.
    pub(crate) name: Option<String>,
    /// How often the client of a stream wants to see a sign of life, if not as
    /// often as all.
    pub(crate) beat: Option<Duration>,
}

impl Doors {
    /// A place for one more client: the last thing that is asked for before
    /// the hook, so that a server that is full of clients still answers
    /// everything else.
    pub(super) fn place(&self, caller: &Caller) -> Result<Place, Answer> {
        let place = self.places.take(caller.peer.ip());
        place.map_err(|why| {
            self.remarks.no_place(caller, why);
            Answer::unavailable(why, RETRY_AFTER)
        })
    }

    /// Whether a room shows who is in it.
    pub(super) fn check_presence(&self, room: &str) -> Result<(), Answer> {
        match self.config().room_settings(room).presence {
            true => Ok(()),
            false => Err(Answer::text(
                StatusCode::FORBIDDEN,
                "this room does not show who is in it; the server's operator can allow it with --presence",
            )),
        }
    }

    /// Asks the hook about a request for a room; what it has decided is in
    /// the upgrade.
    pub(super) fn admit<'a>(
        &self,
        request: &'a Request<()>,
        caller: &Caller<'a>,
        rights: Option<Arc<Rights>>,
    ) -> Result<Upgrade<'a>, Answer> {
        let room = room_of(request.uri().path())?;
        self.admit_to(vec![room], request, caller, rights)
    }

    /// The same about a request that may be for several rooms.
    pub(super) fn admit_to_all<'a>(
        &self,
        request: &'a Request<()>,
        caller: &Caller<'a>,
        rights: Option<Arc<Rights>>,
    ) -> Result<Upgrade<'a>, Answer> {
        let rooms = Asked::of(request)?.rooms;
        self.admit_to(rooms, request, caller, rights)
    }

    fn admit_to<'a>(
        &self,
        rooms: Vec<String>,
        request: &'a Request<()>,
        caller: &Caller<'a>,
        rights: Option<Arc<Rights>>,
    ) -> Result<Upgrade<'a>, Answer> {
        let offers = tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL);
        let offered: Vec<&str> = offers.filter(|offer| !token::is_entry(offer)).collect();
        let shows_presence = |room: &String| self.config().room_settings(room).presence;
        let shows_presence = rooms.iter().any(shows_presence);
        let room = String::new();
        let mut upgrade = Upgrade::new(request, caller.peer, caller.certificates, room, offered);
        upgrade.rights = rights;
        if shows_presence {
            let given = upgrade
                .rights
                .as_ref()
                .and_then(|rights| rights.shown_name());
            let given = given.filter(|name| name_flaw(name).is_none());
            // A name that a token gives is not its client's to choose.
            upgrade.name = match given.map(str::to_owned) {
                None => start::name(request)?,
                given => given,
            };
        }
        let known = &self.config().subprotocol;
        let is_known = |name: &&str| {
            matches!(*name, OWN_SUBPROTOCOL | POSITIONS) || known.iter().any(|k| k == name)
        };
        let chosen = upgrade.offered_subprotocols().find(is_known);
        upgrade.subprotocol = chosen.map(str::to_owned);
        self.ask_about(rooms, &mut upgrade)?;
        if upgrade.subprotocol.is_none() && upgrade.offered_subprotocols().next().is_some() {
            let offered: Vec<&str> = upgrade.offered_subprotocols().collect();
            self.remarks.unknown_subprotocols(&offered, caller);
        }
        Ok(upgrade)
    }

    /// Asks the hook about each room, as if it were the only one: a hook that
    /// guards rooms need not know that a client may ask for several.
    // Not inlined: `Readers` says why the stack counts.
    #[inline(never)]
    fn ask_about(&self, rooms: Vec<String>, upgrade: &mut Upgrade<'_>) -> Result<(), Answer> {
        let mut admitted: Vec<String> = Vec::with_capacity(rooms.len());
        for room in rooms {
            upgrade.room = room;
            upgrade.headers.clear();
            if let Some(hooks) = &self.hooks {
                hooks.on_upgrade(upgrade).map_err(refused)?;
            }
            // The hook may have led two rooms to one.
            let room = std::mem::take(&mut upgrade.room);
            if !admitted.contains(&room) {
                admitted.push(room);
            }
        }
        let further = admitted.split_off(1);
        upgrade.room = admitted.pop().unwrap_or_default();
        upgrade.further_rooms = further;
        Ok(())
    }
}

impl Entry {
    /// `encoding` is what the client gets unless it asks for positions.
    pub(super) fn new(
        upgrade: Upgrade<'_>,
        place: Place,
        response: Vec<u8>,
        encoding: Encoding,
        wish: &Wish,
    ) -> Entry {
        let asked = wish.positions || upgrade.subprotocol() == Some(POSITIONS);
        // Who follows the members gets no messages.
        let positions = asked && wish.start.watch.is_none();
        let encoding = match wish.names_rooms {
            true => encoding.with_rooms(),
            false => encoding,
        };
        Entry {
            place,
            start: wish.start,
            name: upgrade.name,
            room: upgrade.room.into(),
            further_rooms: upgrade.further_rooms.into_iter().map(Arc::from).collect(),
            rights: upgrade.rights,
            attachment: upgrade.attachment.map(Attachment::from),
            response,
            beat: None,
            encoding: match positions {
                true => encoding.with_positions(),
                false => encoding,
            },
        }
    }
}

/// Ends the head of an answer that accepts, with what the hook has added.
pub(super) fn finish_head(mut head: Vec<u8>, upgrade: &Upgrade<'_>) -> Vec<u8> {
    for (name, value) in &upgrade.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A hook's refusal as an answer. What frames the answer is the server's to
/// say, so a hook's headers about it are left out.
fn refused(refusal: Refusal) -> Answer {
    let mut status = refusal.status;
    if status.is_informational() {
        log::warn!("a hook refused with {status}, which is no final answer; 500 is sent");
        status = StatusCode::INTERNAL_SERVER_ERROR;
    }
    let mut answer = Answer::text(status, refusal.line);
    for (name, value) in refusal.headers {
        match name {
            CONNECTION | CONTENT_LENGTH | TRANSFER_ENCODING => {}
            CONTENT_TYPE => answer.content_type = value,
            name => answer.headers.push((name, value)),
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subprotocol_that_no_client_can_offer_is_named() {
        let error = check_subprotocols(&["chat".into(), "a b".into()]).unwrap_err();
        let text = "subprotocol \"a b\" is not a token (RFC 9110 §5.6.2)";
        assert_eq!(error.to_string(), text);
    }
}
