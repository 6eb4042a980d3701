//! What nodes tell each other about the members of their rooms.

use std::fmt;
use std::sync::Arc;

/// A part of what a node tells about its own members. It is told twice
/// without harm, and again from the beginning whenever somebody may have
/// missed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attendance {
    /// From here up to `Complete` with the same number, everybody is named.
    Begins(u64),
    /// Whoever was not named since `Begins` is not there.
    Complete(u64),
    /// These clients are in the room, each with its name.
    Joined {
        room: Arc<str>,
        members: Vec<(u64, Option<Box<str>>)>,
    },
    Left {
        room: Arc<str>,
        members: Vec<u64>,
        is_lost: bool,
    },
    /// The node has said goodbye, or was buried.
    Gone,
}

impl Attendance {
    /// About how many bytes it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Attendance::Joined { members, .. } => 64 * members.len(),
            Attendance::Left { members, .. } => 8 * members.len(),
            _ => 0,
        }
    }
}

/// How the hub tells the other nodes. It never waits for them.
pub(crate) trait Announce: fmt::Debug + Send + Sync {
    /// Tells what has changed.
    fn changed(&self, changes: &[Attendance]);

    /// Tells who is there, in place of all that was not told yet.
    fn everybody(&self, all: &[Attendance]);
}
