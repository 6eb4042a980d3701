//! Which rooms have members that need more than frames.
//!
//! A message is encoded by the thread that publishes it, and events only
//! where somebody follows: this is how that thread knows.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Rooms are told apart by so many places; two that share one are encoded
/// for as if they were one.
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

    /// Somebody follows this room until the answer is dropped.
    pub(crate) fn follow(self: &Arc<Interest>, room: &str) -> Interested {
        let place = self.place(room);
        // Before the follower is in the room: what is published then has the
        // form that it needs.
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
