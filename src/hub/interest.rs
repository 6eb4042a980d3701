//! Which rooms have members that need more than plain frames.
//!
//! The thread that publishes a message encodes it. Here that thread learns
//! which encodings beside plain frames somebody in the room needs.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wire::Encoding;

/// The number of counters for each need. Rooms whose names hash to the same
/// counter share it: if members of one need something, messages for both are
/// encoded for it.
const PLACES: usize = 256;

/// What a member may need beside plain frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Events,
    Lines,
    JsonLines,
    #[cfg(feature = "deflate")]
    Deflated,
}

impl Need {
    #[cfg(not(feature = "deflate"))]
    pub(super) const ALL: [Need; 3] = [Need::Events, Need::Lines, Need::JsonLines];

    #[cfg(feature = "deflate")]
    pub(super) const ALL: [Need; 4] = [Need::Events, Need::Lines, Need::JsonLines, Need::Deflated];

    /// What a member needs that receives messages in this encoding.
    pub(crate) fn of(encoding: Encoding) -> Option<Need> {
        match encoding {
            Encoding::Frames | Encoding::PositionedFrames | Encoding::RoomFrames => None,
            Encoding::Events
            | Encoding::PositionedEvents
            | Encoding::RoomEvents
            | Encoding::PositionedRoomEvents => Some(Need::Events),
            Encoding::Lines | Encoding::RoomLines => Some(Need::Lines),
            Encoding::JsonLines
            | Encoding::PositionedJsonLines
            | Encoding::RoomJsonLines
            | Encoding::PositionedRoomJsonLines => Some(Need::JsonLines),
            #[cfg(feature = "deflate")]
            Encoding::Deflated
            | Encoding::DeflatedShared
            | Encoding::Deflated4KiB
            | Encoding::Deflated256 => Some(Need::Deflated),
        }
    }
}

/// Which rooms have members that need what.
#[derive(Debug)]
pub(crate) struct Interest {
    hasher: RandomState,
    needs: [Needs; Need::ALL.len()],
}

/// How many members need one thing.
#[derive(Debug)]
struct Needs {
    places: [AtomicU32; PLACES],
    anywhere: AtomicU32,
}

/// Held while somebody in a room needs something.
#[derive(Debug)]
pub(crate) struct Interested {
    interest: Arc<Interest>,
    need: Need,
    place: usize,
}

impl Interest {
    pub(super) fn new() -> Interest {
        Interest {
            hasher: RandomState::new(),
            needs: [const {
                Needs {
                    places: [const { AtomicU32::new(0) }; PLACES],
                    anywhere: AtomicU32::new(0),
                }
            }; Need::ALL.len()],
        }
    }

    /// Counts a member of this room with this need until the returned value is
    /// dropped.
    pub(crate) fn add(self: &Arc<Interest>, need: Need, room: &str) -> Interested {
        let place = self.place(room);
        // Called before the member is in the room, so that messages published
        // then are encoded for it.
        let needs = &self.needs[need as usize];
        needs.anywhere.fetch_add(1, Ordering::SeqCst);
        needs.places[place].fetch_add(1, Ordering::SeqCst);
        Interested {
            interest: self.clone(),
            need,
            place,
        }
    }

    /// Whether somebody in this room may need it.
    pub(super) fn is_in(&self, need: Need, room: &str) -> bool {
        let places = &self.needs[need as usize].places;
        self.is_anywhere(need) && places[self.place(room)].load(Ordering::SeqCst) > 0
    }

    /// Whether somebody in any room needs it.
    pub(super) fn is_anywhere(&self, need: Need) -> bool {
        self.needs[need as usize].anywhere.load(Ordering::SeqCst) > 0
    }

    fn place(&self, room: &str) -> usize {
        (self.hasher.hash_one(room) % PLACES as u64) as usize
    }
}

impl Drop for Interested {
    fn drop(&mut self) {
        let needs = &self.interest.needs[self.need as usize];
        needs.places[self.place].fetch_sub(1, Ordering::SeqCst);
        needs.anywhere.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_of_interest_while_somebody_follows() {
        let interest = Arc::new(Interest::new());
        assert!(!interest.is_in(Need::Events, "/a") && !interest.is_anywhere(Need::Events));
        let first = interest.add(Need::Events, "/a");
        let second = interest.add(Need::Events, "/a");
        assert!(interest.is_in(Need::Events, "/a"));
        drop(first);
        assert!(interest.is_in(Need::Events, "/a") && interest.is_anywhere(Need::Events));
        drop(second);
        assert!(!interest.is_in(Need::Events, "/a") && !interest.is_anywhere(Need::Events));
    }
}
