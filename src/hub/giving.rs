//! Giving bursts to members: the one loop of every fan-out. The hub thread and
//! its helper threads run it.

use super::member::{Member, Totals};
use super::rooms::Excepts;
#[cfg(feature = "deflate")]
use super::shared_stream::Stretch;
use crate::outbox::{Delivery, Outcome};
use crate::wire::{Burst, Encoding};

/// Members that are given something, and their places, wherever they are.
pub(super) trait Receivers {
    fn len(&self) -> usize;
    fn get(&mut self, index: usize) -> Option<(u32, &mut Member)>;
}

/// What a fan-out gives to the members that receive one encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) encoding: Encoding,
    pub(super) list: &'a [Burst],
    pub(super) excepts: &'a Excepts,
    /// The same messages in the room's shared stream, if it has one.
    #[cfg(feature = "deflate")]
    pub(super) stretch: Option<&'a Stretch>,
}

/// What whoever sends a fan-out, or a part of it, keeps of it.
pub(super) struct Delivering<'a> {
    pub(super) totals: &'a mut Totals,
    pub(super) troubled: &'a mut Vec<(u32, Outcome)>,
    /// Working space.
    pub(super) joined: &'a mut Vec<u8>,
}

impl Delivering<'_> {
    /// Gives bursts to those of the members that receive this encoding: the
    /// one loop that does, on whichever thread.
    pub(super) fn give(&mut self, receivers: &mut impl Receivers, given: Given<'_>) {
        let Given { list, excepts, .. } = given;
        #[cfg(feature = "deflate")]
        if given.encoding == Encoding::DeflatedShared {
            self.give_shared(receivers, given);
            return;
        }
        let totals = &mut *self.totals;
        let troubled = &mut *self.troubled;
        Delivery::prepare(list, self.joined, |delivery| {
            each(receivers, given.encoding, troubled, |member| {
                if excepts.is_from_any(member.id) {
                    give_apart(totals, member, &excepts.bursts_for(member.id, list))
                } else {
                    totals.give(member, delivery)
                }
            });
        });
    }
}

/// Calls `give` with each of the members that receive this encoding, and keeps
/// who has got into trouble by that.
pub(super) fn each(
    receivers: &mut impl Receivers,
    encoding: Encoding,
    troubled: &mut Vec<(u32, Outcome)>,
    mut give: impl FnMut(&mut Member) -> Outcome,
) {
    for index in 0..receivers.len() {
        let Some((place, member)) = receivers.get(index) else {
            continue;
        };
        // One that is behind has not come to these yet.
        if member.encoding != encoding || member.behind.is_some() {
            continue;
        }
        let outcome = give(member);
        if outcome != Outcome::Done {
            troubled.push((place, outcome));
        }
    }
}

/// Gives a member bursts apart from the others.
pub(super) fn give_apart(totals: &mut Totals, member: &mut Member, bursts: &[Burst]) -> Outcome {
    if bursts.is_empty() {
        return Outcome::Done;
    }
    Delivery::prepare(bursts, &mut Vec::new(), |delivery| {
        totals.give(member, delivery)
    })
}
