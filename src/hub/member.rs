//! One client as the hub knows it, and the sums over all of them.

use std::sync::Arc;

use super::behind::Behind;
use super::client_state::ClientState;
use super::rooms::Seat;
use crate::names::ClientId;
use crate::outbox::Delivery;
use crate::outbox::{Outbox, Outcome};
use crate::position::Offset;
use crate::wire::{Burst, Encoding};

/// One client as the hub knows it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) outbox: Outbox,
    pub(super) id: ClientId,
    pub(super) encoding: Encoding,
    /// Its Close is under way or its connection has failed, so it is in no room
    /// any more.
    pub(super) ending: bool,
    /// The key frame since which it has everything of a room's shared stream;
    /// zero: there is none. It fits where there was nothing but padding.
    #[cfg(feature = "deflate")]
    pub(super) attached: u32,
    pub(super) client: Arc<ClientState>,
    pub(super) rooms: Vec<Seat>,
    /// It is still being given what its rooms remember.
    pub(super) behind: Option<Box<Behind>>,
    pub(super) sent_messages: u64,
    pub(super) sent_bytes: u64,
}

impl Member {
    /// Keeps bursts that no room remembers until it has what came before.
    pub(super) fn hold(&mut self, head: Offset, bursts: Vec<Burst>) -> Outcome {
        let limits = self.outbox.limits();
        let Some(behind) = &mut self.behind else {
            return Outcome::Done;
        };
        match bursts
            .into_iter()
            .all(|burst| behind.hold(head, burst, limits))
        {
            true => Outcome::Done,
            false => Outcome::Overflow,
        }
    }
}

/// Sums over all outboxes, or changes of them. A change of bytes wraps
/// where it is below zero; added to the sum, it comes out right.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) backlog: usize,
    /// Of the backlog, what no writer thread has.
    pub(super) queued: usize,
    pub(super) dropped: u64,
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    /// How many members wait for the next key frame of a shared stream.
    #[cfg(feature = "deflate")]
    pub(super) waiting: usize,
}

impl Totals {
    /// Calls `act` with an outbox and updates the sums by what changed.
    pub(super) fn track(
        &mut self,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut Outbox) -> Outcome,
    ) -> Outcome {
        let (backlog, dropped) = (outbox.backlog_bytes(), outbox.dropped());
        let queued = outbox.queued_bytes();
        let outcome = act(outbox);
        let change = outbox.backlog_bytes().wrapping_sub(backlog);
        self.backlog = self.backlog.wrapping_add(change);
        let change = outbox.queued_bytes().wrapping_sub(queued);
        self.queued = self.queued.wrapping_add(change);
        self.dropped += outbox.dropped() - dropped;
        outcome
    }

    /// Adds the changes that a part of the members has gone through.
    pub(super) fn add(&mut self, changes: &Totals) {
        self.backlog = self.backlog.wrapping_add(changes.backlog);
        self.queued = self.queued.wrapping_add(changes.queued);
        self.dropped += changes.dropped;
        self.deliveries += changes.deliveries;
        self.bytes += changes.bytes;
        #[cfg(feature = "deflate")]
        {
            self.waiting += changes.waiting;
        }
    }

    /// Gives a delivery to a member.
    pub(super) fn give(&mut self, member: &mut Member, delivery: &Delivery<'_>) -> Outcome {
        self.count(member, delivery.messages, delivery.bytes);
        self.track(&mut member.outbox, |outbox| outbox.push(delivery))
    }

    /// Gives a piece of what its rooms remember to a member that is behind.
    pub(super) fn give_piece(&mut self, member: &mut Member, piece: &Delivery<'_>) -> Outcome {
        self.count(member, piece.messages, piece.bytes);
        self.track(&mut member.outbox, |outbox| outbox.push_piece(piece))
    }

    /// Counts what is given to a member.
    pub(super) fn count(&mut self, member: &mut Member, messages: usize, bytes: usize) {
        member.sent_messages += messages as u64;
        member.sent_bytes += bytes as u64;
        self.deliveries += messages as u64;
        self.bytes += bytes as u64;
    }
}
