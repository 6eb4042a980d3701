//! Which rooms have members that need more than frames.
//!
//! A message is encoded by the thread that publishes it, and as events only if
//! somebody follows the room, which that thread learns here.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of counters. Rooms whose names hash to the same counter share it;
/// if one of them has followers, messages for both are encoded as events.
const PLACES: usize = 256;

/// Which rooms have members that need events.
#[derive(Debug)]
pub(crate) struct Interest {
    hasher: RandomState,
    places: [AtomicU32; PLACES],
    anywhere: AtomicU32,
}

/// Held while somebody follows a room.
#[derive(Debug)]
pub(crate) struct Interested {
    interest: Arc<Interest>,
    place: usize,
}

impl Interest {
    pub(crate) fn new() -> Interest {
        Interest {
            hasher: RandomState::new(),
            places: [const { AtomicU32::new(0) }; PLACES],
            anywhere: AtomicU32::new(0),
        }
    }

    /// Counts a follower of this room until the returned value is dropped.
    pub(crate) fn follow(self: &Arc<Interest>, room: &str) -> Interested {
        let place = self.place(room);
        // Called before the follower is in the room, so that messages published
        // then are encoded for it.
        self.anywhere.fetch_add(1, Ordering::SeqCst);
        self.places[place].fetch_add(1, Ordering::SeqCst);
        Interested {
            interest: self.clone(),
            place,
        }
    }

    /// Whether somebody may follow this room.
    pub(super) fn is_in(&self, room: &str) -> bool {
        self.is_anywhere() && self.places[self.place(room)].load(Ordering::SeqCst) > 0
    }

    /// Whether somebody follows any room.
    pub(super) fn is_anywhere(&self) -> bool {
        self.anywhere.load(Ordering::SeqCst) > 0
    }

    fn place(&self, room: &str) -> usize {
        (self.hasher.hash_one(room) % PLACES as u64) as usize
    }
}

impl Drop for Interested {
    fn drop(&mut self) {
        self.interest.places[self.place].fetch_sub(1, Ordering::SeqCst);
        self.interest.anywhere.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_of_interest_while_somebody_follows() {
        let interest = Arc::new(Interest::new());
        assert!(!interest.is_in("/a") && !interest.is_anywhere());
        let first = interest.follow("/a");
        let second = interest.follow("/a");
        assert!(interest.is_in("/a"));
        drop(first);
        assert!(interest.is_in("/a") && interest.is_anywhere());
        drop(second);
        assert!(!interest.is_in("/a") && !interest.is_anywhere());
    }
}
