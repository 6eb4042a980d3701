//! The log of a single server, which is gone when the server is.

use crate::hub::log::Order;
use crate::position::{Epoch, Offset};

/// Places messages as the hub takes them, on the hub's thread; it has no
/// thread of its own and keeps nothing but the count.
#[derive(Debug)]
pub(crate) struct Memory {
    epoch: Epoch,
    last: Offset,
}

impl Memory {
    /// An empty log of a new epoch.
    pub(crate) fn new() -> Memory {
        Memory {
            epoch: Epoch::random(),
            last: Offset::NONE,
        }
    }
}

impl Order for Memory {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn place(&mut self, messages: u32) -> Offset {
        let first = self.last.plus(1);
        self.last = self.last.plus(u64::from(messages));
        first
    }

    fn top(&self) -> Offset {
        self.last
    }
}

/// The log of several servers, where an engine places messages before the hub
/// has them.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Elsewhere(Epoch);

#[cfg(feature = "redis")]
impl Elsewhere {
    /// A log of which nothing is known yet.
    pub(crate) fn new() -> Elsewhere {
        Elsewhere(Epoch::random())
    }
}

#[cfg(feature = "redis")]
impl Order for Elsewhere {
    fn epoch(&self) -> Epoch {
        self.0
    }

    /// Nothing is placed here.
    fn place(&mut self, _messages: u32) -> Offset {
        Offset::NONE
    }

    fn head(&self) -> Offset {
        Offset::NONE
    }

    /// Others may have seen more than this server, and nobody knows how much.
    /// What the log has lost is of another epoch.
    fn top(&self) -> Offset {
        Offset::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_begin_with_one_and_leave_none_out() {
        let mut memory = Memory::new();
        assert_eq!(memory.top(), Offset(0));
        let placed: Vec<Offset> = [1, 3, 1].map(|messages| memory.place(messages)).into();
        assert_eq!(placed, [Offset(1), Offset(2), Offset(5)]);
        assert_eq!(memory.top(), Offset(5));
        assert_ne!(memory.epoch(), Memory::new().epoch());
    }
}
