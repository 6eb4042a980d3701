//! The operator disconnects a client, or everybody in a room.

use http::StatusCode;

use super::admin::JSON;
use super::hall::Doors;
use super::rooms::room_of;
use crate::close::CloseCode;
#[cfg(feature = "redis")]
use crate::close::CloseFrame;
#[cfg(feature = "redis")]
use crate::engine::{Engine, NodeInfo};
use crate::error::Error;
use crate::http1::{Answer, percent_decode, stopping};
#[cfg(feature = "redis")]
use crate::hub::{Act, InboxError};
#[cfg(feature = "redis")]
use crate::names::NodeTag;
use crate::names::{ADMIN_PREFIX, ClientId};
use crate::wire::json;

/// What a client that is disconnected is told.
const REASON: &str = "disconnected by the operator";

impl Doors {
    /// The client whose id a path or a query holds; in a path the `@` may be
    /// percent-encoded.
    pub(super) fn client_named(&self, id: &str) -> Result<ClientId, Answer> {
        let text = percent_decode(id).unwrap_or_else(|| id.to_owned());
        let id: ClientId = text
            .parse()
            .map_err(|flaw: Error| Answer::bad_request(flaw.to_string()))?;
        Ok(self.handle.shared.full_id(id))
    }

    /// Disconnects the client, or the clients of the room, that the path names.
    pub(super) fn remove(&self, path: &str) -> Result<Answer, Answer> {
        let named = path.strip_prefix(ADMIN_PREFIX).unwrap_or_default();
        #[cfg(feature = "redis")]
        if let Some(id) = named.strip_prefix("clients/") {
            let id = self.client_named(id)?;
            if let Some(tag) = id
                .tag()
                .filter(|_| self.handle.shared.publisher.is_elsewhere(id))
            {
                return self.remove_elsewhere(id, tag);
            }
        }
        let clients = match named.strip_prefix("rooms") {
            Some(room) => self.handle.clients_in(&room_of(room)?),
            None => self.handle.clients(),
        };
        let ids = clients
            .map_err(|_| stopping())?
            .into_iter()
            .map(|client| client.id);
        let ids: Vec<ClientId> = match named.strip_prefix("clients/") {
            Some(id) => {
                let id = self.client_named(id)?;
                ids.filter(|known| *known == id).collect()
            }
            None => ids.collect(),
        };
        if ids.is_empty() {
            let line = "nobody is connected there: /-/clients and /-/rooms list who is";
            return Err(Answer::text(StatusCode::NOT_FOUND, line));
        }
        for id in &ids {
            let told = self
                .handle
                .disconnect(*id, CloseCode::POLICY_VIOLATION, REASON);
            told.map_err(|_| stopping())?;
        }
        let body = one_member("disconnected", ids.len());
        Ok(Answer::new(StatusCode::OK, JSON, body))
    }

    /// Has another node disconnect its client. Whether it has one of this id is
    /// not known here.
    #[cfg(feature = "redis")]
    fn remove_elsewhere(&self, id: ClientId, tag: NodeTag) -> Result<Answer, Answer> {
        let shared = &self.handle.shared;
        let nodes = shared.engine.as_ref().map(Engine::nodes);
        let is_known = |node: &NodeInfo| node.tag == Some(tag);
        if !nodes.unwrap_or_default().iter().any(is_known) {
            let line = format!("there is no node @{tag}: /-/nodes lists those that there are");
            return Err(Answer::text(StatusCode::NOT_FOUND, line));
        }
        let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, REASON);
        match shared.publisher.act(id, Act::Close(frame)) {
            Ok(()) => Ok(Answer::new(
                StatusCode::ACCEPTED,
                JSON,
                one_member("asked", 1),
            )),
            Err(InboxError::Gone) => Err(stopping()),
            Err(_) => {
                let line = "too much waits for the engine; nobody was asked";
                Err(Answer::unavailable(line, 1))
            }
        }
    }
}

fn one_member(name: &str, number: usize) -> String {
    let mut body = String::new();
    json::object(&mut body, |object| {
        object.plain(name, number);
    });
    body.push('\n');
    body
}
