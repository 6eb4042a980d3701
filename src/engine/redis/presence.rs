//! What the log tells about the members of rooms, and what this node must
//! tell in turn.

use super::node::Node;
use crate::engine::records::Record;
use crate::hub::{Attendance, Committed};
use crate::names::NodeTag;

impl Node {
    /// Takes what an entry tells about the members of rooms.
    pub(super) fn attend(&self, from: &str, records: &[Record], committed: &mut Committed) {
        let Some(announcements) = &self.announcements else {
            return;
        };
        let is_own = from == self.id;
        for record in records {
            let (node, told) = match record {
                Record::Hello if !is_own => {
                    announcements.name_all();
                    continue;
                }
                // It lives all the same: it was stopped, or cut off.
                Record::Gone { node } if *node == self.id => {
                    announcements.name_all();
                    continue;
                }
                Record::Gone { node } => (node.as_str(), Attendance::Gone),
                Record::Attendance(told) if !is_own => (from, told.clone()),
                _ => continue,
            };
            let node = NodeTag::of_node(node);
            committed.attendance.extend(node.map(|node| (node, told)));
        }
    }

    /// This node may have missed what others have told.
    pub(super) fn ask_others(&self) {
        if let Some(announcements) = &self.announcements {
            announcements.ask_others();
        }
    }
}
