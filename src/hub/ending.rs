//! How a member's connection ends: closed, evicted, failed, aborted.

use std::collections::{BinaryHeap, HashMap};
use std::iter;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::close::{Cause, CloseCode, CloseFrame};
use crate::config::SlowConsumer;
use crate::names::ClientId;
use crate::outbox::{Outbox, Outcome};
use crate::position::Offset;
use crate::wire::{Encoding, frame, lines, sse};

use super::Hub;

impl Hub {
    /// Deals with the members that a fan-out has found to be slow or gone.
    pub(super) fn settle(&mut self) {
        let mut troubled = std::mem::take(&mut self.troubled);
        for (place, outcome) in troubled.drain(..) {
            self.settle_one(place, outcome);
        }
        self.troubled = troubled;
    }

    pub(super) fn settle_one(&mut self, place: u32, outcome: Outcome) {
        match outcome {
            Outcome::Done => {}
            Outcome::Overflow => self.evict(place),
            Outcome::Failed(cause) => self.fail(place, cause),
        }
    }

    /// While all queues together exceed `queue_total`, applies the policy to
    /// one client after another. What a writer thread has cannot be taken back:
    /// it does not count against the total, so that nobody pays for what
    /// others hold there; but it counts for who is the next.
    pub(super) fn relieve(&mut self) {
        // Each round takes from everybody who has a queue, until it is enough.
        while self.totals.queued > self.queue_total {
            let holders = self.holders();
            if holders.is_empty() {
                return;
            }
            for place in holders {
                if self.totals.queued <= self.queue_total {
                    return;
                }
                match self.slow_consumer {
                    _ if self.is_ending(place) => self.discard_before_close(place),
                    SlowConsumer::Disconnect => self.evict(place),
                    SlowConsumer::DropOldest | SlowConsumer::DropNewest => self.shed(place),
                }
            }
        }
    }

    /// Where the clients with a queue are: those of the room that holds most
    /// memory first, and of a room the one that holds most. A crowd of strangers
    /// pays before a client that holds more than each of them.
    fn holders(&self) -> Vec<u32> {
        let mut of_room: HashMap<&str, usize> = HashMap::new();
        let mut holders = Vec::new();
        for (place, member) in self.members.iter() {
            if member.outbox.queued_bytes() > 0 {
                let held = member.outbox.backlog_bytes();
                *of_room.entry(&member.client.room).or_default() += held;
                holders.push((place, &*member.client.room, held));
            }
        }
        let mut ranked: BinaryHeap<_> = holders
            .into_iter()
            .map(|(place, room, held)| (of_room.get(room), room, held, place))
            .collect();
        let most = || ranked.pop().map(|(.., place)| place);
        iter::from_fn(most).collect()
    }

    fn is_ending(&self, place: u32) -> bool {
        let member = self.members.get(place);
        member.is_some_and(|member| member.ending)
    }

    /// Halves a member's queue by dropping messages as its policy says.
    pub(super) fn shed(&mut self, place: u32) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let enough = member.outbox.queued_bytes() / 2;
        let mut dropped = true;
        while dropped
            && self.totals.queued > self.queue_total
            && member.outbox.queued_bytes() > enough
        {
            self.totals.track(&mut member.outbox, |outbox| {
                dropped = outbox.shed();
                Outcome::Done
            });
        }
    }

    /// Discards a member's backlog. Returns how many messages and bytes it had.
    pub(super) fn discard(&mut self, place: u32) -> (usize, usize) {
        let mut was = (0, 0);
        if let Some(member) = self.members.get_mut(place) {
            self.totals.track(&mut member.outbox, |outbox| {
                was = outbox.discard();
                Outcome::Done
            });
        }
        was
    }

    /// Discards what waits before a Close. The Close was to say that the client
    /// has all of it.
    fn discard_before_close(&mut self, place: u32) {
        let lost = self.first_queued(place);
        self.discard(place);
        let Some(member) = self.members.get(place) else {
            return;
        };
        let (Some(sent), Some(lost)) = (member.client.sent.get(), lost) else {
            return;
        };
        let Some((reason, _)) = sent.reason.rsplit_once("since=") else {
            return;
        };
        let mut frame = sent.clone();
        frame.reason = reason.trim_end().to_owned();
        let frame = self.with_position(place, &frame, Some(lost.before()));
        if let Some(member) = self.members.get_mut(place) {
            member.outbox.replace_close(encode(&frame, member.encoding));
        }
    }

    pub(super) fn evict(&mut self, place: u32) {
        let open = self.members.get(place).filter(|member| !member.ending);
        let Some(id) = open.map(|member| member.id) else {
            return;
        };
        let lost = self.first_queued(place);
        let (messages, bytes) = self.discard(place);
        let reason = format!("slow consumer: {messages} messages ({bytes} bytes) behind");
        let cause = Cause::Evicted { messages, bytes };
        let frame = with_case(&cause.close_frame(reason), id, &cause);
        let frame = self.with_position(place, &frame, lost.map(Offset::before));
        self.close_with(id, frame, cause, false, None);
    }

    fn first_queued(&self, place: u32) -> Option<Offset> {
        self.members.get(place)?.outbox.first_queued()
    }

    /// A Close frame that says from where on the client can resume: `at`, or
    /// behind everything it was given; if its room remembers anything.
    fn with_position(&self, place: u32, frame: &CloseFrame, at: Option<Offset>) -> CloseFrame {
        let Some(member) = self.members.get(place) else {
            return frame.clone();
        };
        let mut rooms = member.client.rooms();
        if !rooms.any(|room| self.rooms.history.remembers(room)) {
            return frame.clone();
        }
        let cursor = member.behind.as_ref().map(|behind| behind.cursor());
        let at = at.or(cursor).unwrap_or(self.log.head());
        frame.ending_with(&format!("since={}", self.log.position(at)))
    }

    /// Ends a connection that cannot be written to any more.
    pub(super) fn fail(&mut self, place: u32, cause: Cause) {
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        // Fails if the reader has set another cause first.
        let _ = member.client.cause.set(cause);
        member.ending = true;
        member.client.place.release();
        member.behind = None;
        member.outbox.abort();
        self.leave_rooms(place);
    }

    /// Sends a Close frame behind a client's backlog, and takes the client out
    /// of its rooms. If `finish`, ends our direction of the stream after it.
    pub(super) fn close(&mut self, id: ClientId, frame: CloseFrame, cause: Cause, finish: bool) {
        let Some(place) = self.place_of(id) else {
            return;
        };
        // The answer to a Close repeats it (RFC 6455 §5.5.1).
        let frame = match cause {
            Cause::ClosedByPeer => frame,
            _ => self.with_position(place, &with_case(&frame, id, &cause), None),
        };
        self.close_with(id, frame, cause, finish, None);
    }

    /// Closes a client that is asked to come back after some time, which the
    /// frame says, too.
    pub(super) fn close_to_return(
        &mut self,
        id: ClientId,
        frame: &CloseFrame,
        cause: Cause,
        after: Option<Duration>,
    ) {
        let Some(place) = self.place_of(id) else {
            return;
        };
        let frame = self.with_position(place, frame, None);
        self.close_with(id, frame, cause, false, after);
    }

    fn close_with(
        &mut self,
        id: ClientId,
        frame: CloseFrame,
        cause: Cause,
        finish: bool,
        retry: Option<Duration>,
    ) {
        let Some(place) = self.place_of(id) else {
            return;
        };
        let Some(member) = self.members.get_mut(place) else {
            return;
        };
        let mut outcome = Outcome::Done;
        if !member.ending {
            member.ending = true;
            // Before anything goes out that tells of the end.
            member.client.place.release();
            member.behind = None;
            let _ = member.client.cause.set(cause);
            let wire = match retry {
                Some(retry) if member.encoding.is_events() => sse::retry_event(&frame, retry),
                _ => encode(&frame, member.encoding),
            };
            let _ = member.client.sent.set(frame);
            self.deadlines
                .push_back((Instant::now() + self.close_timeout, id));
            outcome = self
                .totals
                .track(&mut member.outbox, |outbox| outbox.close(wire));
        }
        // The client of a stream sends no Close that could be waited for.
        if finish || member.encoding.is_stream() {
            member.outbox.finish();
        }
        self.leave_rooms(place);
        self.settle_one(place, outcome);
    }

    /// Closes every client, now and from now on.
    pub(super) fn shut_down(&mut self) {
        self.stopping = true;
        let ids: Vec<ClientId> = self.places.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close_for_shutdown(id));
    }

    /// Ends the connections whose Close is out: they have had their time.
    pub(super) fn end_closed(&mut self) {
        let outboxes = self.members.iter().map(|(_, member)| &member.outbox);
        let closed = outboxes.filter(|outbox| outbox.is_closed());
        closed.for_each(Outbox::end);
    }

    pub(super) fn close_for_shutdown(&mut self, id: ClientId) {
        let frame = Cause::Shutdown.close_frame("server shutdown");
        self.close(id, frame, Cause::Shutdown, false);
    }

    /// Closes the members whose time has come, by their age or in a drain.
    pub(super) fn end_planned(&mut self) {
        while let Some(id) = self.planned.take_due() {
            let retry = self.planned.retry(id);
            let (frame, cause) = match retry {
                None => {
                    let cause = Cause::MaxAge;
                    (cause.close_frame("reached max-age; come back"), cause)
                }
                Some(retry) => {
                    let (whole, tenths) = (retry.as_secs(), retry.subsec_millis() / 100);
                    let reason = format!("restarting; come back in {whole}.{tenths} s");
                    let frame = CloseFrame::new(CloseCode::SERVICE_RESTART, reason);
                    (frame, Cause::Shutdown)
                }
            };
            self.close_to_return(id, &frame, cause, retry);
        }
    }

    /// Aborts the connections whose closing has taken too long.
    pub(super) fn abort_overdue(&mut self) {
        while let Some(&(at, id)) = self.deadlines.front() {
            let member = self.place_of(id).and_then(|place| self.members.get(place));
            if member.is_some() && at > Instant::now() {
                return;
            }
            if let Some(member) = member {
                member.outbox.abort();
            }
            self.deadlines.pop_front();
        }
    }
}

/// A Close frame that says under which number the operator finds what has
/// happened: the client's id. What happens to everybody needs none.
fn with_case(frame: &CloseFrame, id: ClientId, cause: &Cause) -> CloseFrame {
    match cause.is_normal() {
        true => frame.clone(),
        false => frame.ending_with(&format!("#{id}")),
    }
}

/// A Close as the client receives it.
fn encode(frame: &CloseFrame, encoding: Encoding) -> Bytes {
    match encoding {
        _ if encoding.is_events() => sse::close_event(frame),
        _ if encoding.is_json() => lines::json_close_line(frame),
        _ if encoding.is_lines() => lines::close_line(frame),
        _ => frame::close(frame),
    }
}
