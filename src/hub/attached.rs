//! Giving messages to members that can follow their rooms' shared streams:
//! to those attached as a part of the stream, to the others as they stand alone.

use super::giving::{Delivering, Given, Receivers, each, give_apart};
use super::member::{Member, Totals};
use super::shared_stream::Stretch;
use crate::outbox::{Delivery, Outcome};
use crate::wire::Burst;

impl Stretch {
    /// Whether the member can inflate all of it, and is to be sent it now.
    fn is_for(&self, member: &Member) -> bool {
        let can_inflate = self.needs == 0 || member.attached == self.needs;
        !self.list.is_empty() && can_inflate && member.outbox.is_idle()
    }

    /// Sends it to a member. What the socket does not take now is given to the
    /// member as it stands alone, in `list`.
    fn give(
        &self,
        totals: &mut Totals,
        member: &mut Member,
        shared: &Delivery<'_>,
        list: &[Burst],
    ) -> Outcome {
        let mut sent = (0, 0);
        let outcome = totals.track(&mut member.outbox, |outbox| {
            match outbox.send_begun(shared) {
                Ok(begun) => {
                    sent = begun;
                    Outcome::Done
                }
                Err(cause) => Outcome::Failed(cause),
            }
        });
        let (messages, bytes) = sent;
        totals.count(member, messages, bytes);
        let has_all = messages == shared.messages && member.outbox.is_idle();
        member.attached = if has_all { self.gives } else { 0 };
        match outcome {
            Outcome::Done => give_apart(totals, member, &behind(list, messages)),
            failed => failed,
        }
    }
}

/// What of these bursts is behind their first `messages`.
fn behind(list: &[Burst], mut messages: usize) -> Vec<Burst> {
    let mut rest = Vec::new();
    for burst in list {
        let here = messages.min(burst.messages as usize);
        messages -= here;
        match here {
            0 => rest.push(burst.clone()),
            _ if here < burst.messages as usize => rest.push(burst.behind(here)),
            _ => {}
        }
    }
    rest
}

impl Delivering<'_> {
    /// Gives messages to those of the members that can follow shared streams.
    pub(super) fn give_shared(&mut self, receivers: &mut impl Receivers, given: Given<'_>) {
        let Given { list, excepts, .. } = given;
        let nothing = Stretch::default();
        let stretch = given.stretch.unwrap_or(&nothing);
        let moves = list.iter().any(Burst::is_compressed);
        let (totals, troubled) = (&mut *self.totals, &mut *self.troubled);
        let mut scratch = Vec::new();
        let mut give = |shared: &Delivery<'_>, alone: &Delivery<'_>| {
            each(receivers, given.encoding, troubled, |member| {
                let is_left_out = excepts.is_from_any(member.id);
                let outcome = if !is_left_out && stretch.is_for(member) {
                    stretch.give(totals, member, shared, list)
                } else {
                    if moves || member.attached == stretch.needs {
                        member.attached = 0;
                    }
                    match is_left_out {
                        true => give_apart(totals, member, &excepts.bursts_for(member.id, list)),
                        false => totals.give(member, alone),
                    }
                };
                let is_attached = member.attached == stretch.gives;
                if given.stretch.is_some() && !is_attached && member.outbox.is_idle() {
                    totals.waiting += 1;
                }
                outcome
            });
        };
        Delivery::prepare(list, self.joined, |alone| {
            Delivery::prepare(&stretch.list, &mut scratch, |shared| give(shared, alone));
        });
    }
}
