//! One client as the hub knows it, and the sums over all of them.

use std::sync::Arc;

use super::client_state::ClientState;
use super::rooms::Seat;
use crate::names::ClientId;
use crate::outbox::Delivery;
use crate::outbox::{Outbox, Outcome};
use crate::wire::Encoding;

/// One client as the hub knows it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) outbox: Outbox,
    pub(super) id: ClientId,
    pub(super) encoding: Encoding,
    /// Its Close is under way or its connection has failed, so it is in no room
    /// any more.
    pub(super) ending: bool,
    pub(super) client: Arc<ClientState>,
    pub(super) rooms: Vec<Seat>,
    pub(super) sent_messages: u64,
    pub(super) sent_bytes: u64,
}

/// Sums over all outboxes.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) backlog: usize,
    pub(super) dropped: u64,
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
}

impl Totals {
    /// Calls `act` with an outbox and updates the sums by what changed.
    pub(super) fn track(
        &mut self,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut Outbox) -> Outcome,
    ) -> Outcome {
        let (backlog, dropped) = (outbox.backlog_bytes(), outbox.dropped());
        let outcome = act(outbox);
        self.backlog = self.backlog + outbox.backlog_bytes() - backlog;
        self.dropped += outbox.dropped() - dropped;
        outcome
    }

    /// Gives a delivery to a member.
    pub(super) fn give(&mut self, member: &mut Member, delivery: &Delivery<'_>) -> Outcome {
        member.sent_messages += delivery.messages as u64;
        member.sent_bytes += delivery.bytes as u64;
        self.deliveries += delivery.messages as u64;
        self.bytes += delivery.bytes as u64;
        self.track(&mut member.outbox, |outbox| outbox.push(delivery))
    }
}
