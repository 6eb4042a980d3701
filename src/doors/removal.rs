//! The operator disconnects a client, or everybody in a room.

use http::StatusCode;

use super::admin::JSON;
use super::hall::Doors;
use super::rooms::room_of;
use crate::close::CloseCode;
use crate::error::Error;
use crate::http1::{Answer, stopping};
use crate::names::{ADMIN_PREFIX, ClientId};
use crate::wire::json;

/// What a client that is disconnected is told.
const REASON: &str = "disconnected by the operator";

impl Doors {
    /// The client whose id a path or a query holds.
    pub(super) fn client_named(&self, id: &str) -> Result<ClientId, Answer> {
        let id: ClientId = id
            .parse()
            .map_err(|flaw: Error| Answer::bad_request(flaw.to_string()))?;
        Ok(self.handle.shared.full_id(id))
    }

    /// Disconnects the client, or the clients of the room, that the path names.
    pub(super) fn remove(&self, path: &str) -> Result<Answer, Answer> {
        let named = path.strip_prefix(ADMIN_PREFIX).unwrap_or_default();
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
        let mut body = String::new();
        json::object(&mut body, |object| {
            object.plain("disconnected", ids.len());
        });
        body.push('\n');
        Ok(Answer::new(StatusCode::OK, JSON, body))
    }
}
