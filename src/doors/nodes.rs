//! The nodes that are one server, for the operator.

use http::StatusCode;

use super::admin::{JSON, list_json};
use super::hall::Doors;
use crate::engine::{Engine, NodeInfo};
use crate::http1::Answer;
use crate::wire::Decimal;

impl Doors {
    /// Lists the nodes, of which this one is the only one without an engine.
    pub(super) fn nodes(&self) -> Answer {
        let engine = self.handle.shared.engine.as_ref();
        let nodes: Vec<NodeInfo> = engine.map(Engine::nodes).unwrap_or_default();
        let json = list_json("nodes", &nodes, |object, node| {
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
}
