//! What a room is at the moment: how many clients it has, and what it
//! remembers, for a request that might enter it.

use std::fmt::Write;
use std::iter;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, StatusCode};

use super::admin::{JSON, list_json};
use super::caller::Caller;
use super::hall::Doors;
use super::rooms::Asked;
use super::start;
use crate::embed::history::PastMessage;
use crate::http1::{Answer, stopping};
use crate::hub::info::Recollection;
use crate::hub::{Here, write_member};
use crate::message::Message;
use crate::rights::Rights;
use crate::wire::json;

impl Doors {
    /// Tells of the room that the request would enter; the hook decides
    /// whether it may know.
    pub(super) fn room(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
    ) -> Result<Answer, Answer> {
        if Asked::of(request)?.are_named {
            return self.rooms(request, caller, rights);
        }
        let since = start::since(request)?;
        let watches = start::watch(request)?.is_some();
        let room = self.admit(request, caller, rights)?.room;
        let mut body;
        if watches {
            self.check_presence(&room)?;
            let here = self.handle.here(&room).map_err(|_| stopping())?;
            body = beginning(&room, here.clients);
            write_here(&mut body, &here);
        } else if since.is_none() && self.config().room_settings(&room).history == 0 {
            let clients = self.handle.count(&room).map_err(|_| stopping())?;
            body = beginning(&room, clients);
        } else {
            let told = self.handle.recall(&room, since).map_err(|_| stopping())?;
            body = beginning(&room, told.clients);
            write_memory(&mut body, &told, since.is_some());
        }
        body.push_str("}\n");
        Ok(Answer::new(StatusCode::OK, JSON, body)
            .header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
    }
}

impl Doors {
    /// Tells how many clients each of several rooms has.
    fn rooms(
        &self,
        request: &Request<()>,
        caller: &Caller,
        rights: Option<Arc<Rights>>,
    ) -> Result<Answer, Answer> {
        let upgrade = self.admit_to_all(request, caller, rights)?;
        let mut rooms = Vec::new();
        for name in iter::once(upgrade.room).chain(upgrade.further_rooms) {
            let clients = self.handle.count(&name).map_err(|_| stopping())?;
            rooms.push((name, clients));
        }
        let body = list_json("rooms", &rooms, |object, (name, clients)| {
            object.string("room", name).plain("clients", clients);
        });
        Ok(Answer::new(StatusCode::OK, JSON, body)
            .header(CACHE_CONTROL, HeaderValue::from_static("no-store")))
    }
}

fn write_here(out: &mut String, here: &Here) {
    let _ = write!(out, ",\"at\":\"{}\",\"here\":", here.position);
    json::array(out, &here.present, |out, present| {
        json::object(out, |object| {
            write_member(object, present.id, present.name.as_deref(), None);
        });
    });
}

/// The beginning of an object that tells of a room.
pub(super) fn beginning(room: &str, clients: usize) -> String {
    let mut body = String::from("{\"room\":");
    json::string(&mut body, room);
    let _ = write!(body, ",\"clients\":{clients}");
    body
}

fn write_memory(out: &mut String, told: &Recollection, has_messages: bool) {
    let (position, oldest) = (told.position, told.oldest);
    let _ = write!(out, ",\"position\":\"{position}\",\"oldest\":\"{oldest}\"");
    if !has_messages {
        return;
    }
    let _ = write!(out, ",\"complete\":{},\"messages\":", told.is_complete);
    json::array(out, &told.messages, |out, recalled| {
        let past = PastMessage::from(recalled);
        let _ = write!(out, "{{\"position\":\"{}\",", past.position);
        match &past.message {
            Message::Text(text) => {
                out.push_str("\"text\":");
                json::string(out, text);
            }
            Message::Binary(bytes) => {
                let _ = write!(out, "\"base64\":\"{}\"", BASE64.encode(bytes));
            }
        }
        // Milliseconds since 1970, as a browser's Date takes them.
        let _ = write!(out, ",\"at\":{}}}", recalled.at.0);
    });
}
