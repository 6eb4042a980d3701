//! The nodes that are one server, and who is on them, for the operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;

use super::admin::{JSON, list_json};
use super::hall::Doors;
use crate::embed::Handle;
use crate::engine::{Engine, NodeInfo};
use crate::error::Stopped;
use crate::http1::Answer;
use crate::hub::Attendees;
use crate::names::ClientId;
use crate::wire::{Decimal, json};

impl Doors {
    /// Lists the nodes, of which this one is the only one without an engine.
    pub(super) fn nodes(&self) -> Answer {
        let json = list_json("nodes", &nodes(&self.handle), |object, node| {
            object.string("id", &node.id);
            if let Some(tag) = node.tag {
                object.string("clients", &format!("@{tag}"));
            }
            object
                .string("name", &node.name)
                .string("version", &node.version)
                .plain("silent_seconds", Decimal(node.silent_millis, 3))
                .plain("this", node.is_this);
        });
        Answer::new(StatusCode::OK, JSON, json)
    }

    /// Lists the members of rooms on all nodes, as far as nodes tell each other.
    pub(super) fn everyone(&self) -> Answer {
        if !self.config().shows_presence() {
            return Answer::text(
                StatusCode::FORBIDDEN,
                "nodes tell each other who is in their rooms with --presence only; \
                 without ?cluster this lists the clients of this node",
            );
        }
        self.list(everyone_json)
    }
}

fn nodes(handle: &Handle) -> Vec<NodeInfo> {
    let engine = handle.shared.engine.as_ref();
    engine.map(Engine::nodes).unwrap_or_default()
}

/// A client in rooms that show it.
#[derive(Default)]
struct Member {
    name: Option<String>,
    rooms: Vec<Arc<str>>,
}

fn everyone_json(handle: &Handle) -> Result<String, Stopped> {
    let mut members: BTreeMap<ClientId, Member> = BTreeMap::new();
    for Attendees { room, present } in handle.everyone()? {
        for one in present {
            let member = members.entry(one.id).or_default();
            member.name = member.name.take().or(one.name);
            member.rooms.push(room.clone());
        }
    }
    let nodes = nodes(handle);
    let members: Vec<_> = members.into_iter().collect();
    let json = list_json("clients", &members, |object, (id, member)| {
        object.id(*id);
        let node = nodes.iter().find(|node| node.tag == id.tag());
        if let Some(node) = node {
            object.string("node", &node.name);
        }
        if let Some(name) = &member.name {
            object.string("name", name);
        }
        object.array("rooms", &member.rooms, |out, room| json::string(out, room));
    });
    Ok(json)
}
