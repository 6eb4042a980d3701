//! The log as the hub knows it: its epoch, how far it has come, and what a
//! position means in it.

use std::fmt;

use crate::position::{Descent, Epoch, Lineage, Offset, Position};
use crate::wire::Burst;

/// What gives messages their places in the log, one after the other.
pub(crate) trait Order: fmt::Debug + Send {
    /// The epoch in which it does so.
    fn epoch(&self) -> Epoch;

    /// Places a number of messages; returns the first one's offset.
    fn place(&mut self, messages: u32) -> Offset;

    /// The highest offset that anybody may have seen.
    fn top(&self) -> Offset;

    /// The offset of the last message that has come to the hub at its start.
    fn head(&self) -> Offset {
        self.top()
    }
}

/// The log as the hub knows it.
#[derive(Debug)]
pub(super) struct Log {
    order: Box<dyn Order>,
    lineage: Lineage,
    /// The offset of the last message that has come to the hub.
    head: Offset,
}

/// How a client can resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumption {
    /// It gets everything that it has missed: what comes after this.
    Complete(Offset),
    /// Something is missing; it gets what comes after this.
    Incomplete(Offset),
}

impl Log {
    pub(super) fn new(order: Box<dyn Order>) -> Log {
        Log {
            lineage: Lineage::new(order.epoch()),
            head: order.head(),
            order,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lineage.epoch()
    }

    pub(super) fn head(&self) -> Offset {
        self.head
    }

    pub(crate) fn position(&self, offset: Offset) -> Position {
        self.lineage.position(offset)
    }

    /// Gives the messages of a burst their places.
    pub(crate) fn place(&mut self, burst: &mut Burst) {
        let first = self.order.place(burst.messages);
        burst.place(first);
        self.head = first.plus(u64::from(burst.messages)).before();
    }

    /// The messages up to here have come to the hub.
    #[cfg(feature = "redis")]
    pub(super) fn come_to(&mut self, head: Offset) {
        self.head = head;
    }

    /// The log goes on in another epoch.
    #[cfg(feature = "redis")]
    pub(super) fn begin(&mut self, lineage: Lineage) {
        self.lineage = lineage;
    }

    /// How a client can resume from a position in a room. Of the room's
    /// messages, those up to `floor` may be gone.
    pub(super) fn resume(&self, position: Position, floor: Offset) -> Resumption {
        let from = position.offset;
        match self.lineage.descent(position) {
            Descent::Unknown => Resumption::Incomplete(floor),
            // Nobody has seen it: the position is invented, or of a log that
            // was lost together with all who knew it.
            Descent::Valid if from > self.order.top() => Resumption::Incomplete(floor),
            Descent::Valid if from < floor => Resumption::Incomplete(floor),
            // Even if it is ahead of this hub: what comes up to there is
            // known to the client.
            Descent::Valid => Resumption::Complete(from),
            Descent::Cut(cut) => Resumption::Incomplete(cut.max(floor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Resumption::{Complete, Incomplete};
    use super::*;

    /// Places messages behind 100, and has told others of messages up to 120.
    #[derive(Debug)]
    struct Ordered(Epoch);

    impl Order for Ordered {
        fn epoch(&self) -> Epoch {
            self.0
        }

        fn place(&mut self, _messages: u32) -> Offset {
            Offset(101)
        }

        fn top(&self) -> Offset {
            Offset(120)
        }
    }

    /// A log with its head at 100 and two ancestors, `aaaaaaaa` and
    /// `bbbbbbbb`, which are valid up to 40 and 60.
    fn log() -> Log {
        let epoch = |text: &str| format!("{text}-0").parse::<Position>().unwrap().epoch;
        let mut log = Log::new(Box::new(Ordered(epoch("aaaaaaaa"))));
        log.lineage.begin(epoch("bbbbbbbb"), Offset(40));
        log.lineage.begin(epoch("cccccccc"), Offset(60));
        log.head = Offset(100);
        log
    }

    /// Every row of the table in the guide: what a resume from a position
    /// comes to, where the room's messages up to 50 are gone.
    #[test]
    fn a_resume_is_complete_only_if_nothing_is_missing() {
        for (position, expected) in [
            // An epoch that is not known.
            ("dddddddd-70", Incomplete(Offset(50))),
            // An ancestor, above its cut or above a later one's.
            ("bbbbbbbb-61", Incomplete(Offset(60))),
            ("aaaaaaaa-41", Incomplete(Offset(50))),
            // An ancestor, at its cut or below.
            ("bbbbbbbb-60", Complete(Offset(60))),
            ("bbbbbbbb-49", Incomplete(Offset(50))),
            ("aaaaaaaa-40", Incomplete(Offset(50))),
            // At the floor or above.
            ("cccccccc-50", Complete(Offset(50))),
            ("cccccccc-100", Complete(Offset(100))),
            // Below the floor.
            ("cccccccc-49", Incomplete(Offset(50))),
            ("cccccccc-0", Incomplete(Offset(50))),
            // Ahead of this hub, but not of the log.
            ("cccccccc-101", Complete(Offset(101))),
            ("cccccccc-120", Complete(Offset(120))),
            // Ahead of the log.
            ("cccccccc-121", Incomplete(Offset(50))),
            ("cccccccc-18446744073709551615", Incomplete(Offset(50))),
        ] {
            let resumption = log().resume(position.parse().unwrap(), Offset(50));
            assert_eq!(resumption, expected, "{position}");
        }
    }

    #[test]
    fn messages_are_placed_one_behind_the_other() {
        let mut log = log();
        let mut burst = crate::wire::burst::single(&"a".into(), false);
        burst.messages = 3;
        log.place(&mut burst);
        assert_eq!(burst.offset(0), Offset(101));
        assert_eq!(burst.offset(2), Offset(103));
        assert_eq!(log.head(), Offset(103));
        assert_eq!(log.position(log.head()).to_string(), "cccccccc-103");
    }
}
