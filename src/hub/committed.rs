//! What an engine has placed in the log: messages, with their offsets, and
//! what has become of the log itself.

use std::fmt;

use super::Hub;
use super::attendance::Attendance;
use super::command::{Act, Audience, Receipt};
use super::inbox::InboxError;
use super::permit::Permit;
use super::reply::Reply;
use super::ring::{Floor, Millis};
use crate::names::{ClientId, NodeTag};
use crate::outbox::Delivery;
use crate::position::{Lineage, Offset, Position};
use crate::wire::forms;
use crate::wire::{Burst, Forms};

/// Where messages for the log go if an engine orders it.
pub(crate) trait Append: fmt::Debug + Send + Sync {
    /// Accepts messages. If `may_wait`, it waits a while for room.
    fn append(
        &self,
        to: Audience,
        frames: Burst,
        receipt: Option<Reply<Receipt>>,
        may_wait: bool,
    ) -> Result<(), InboxError>;

    /// Accepts what another node does to one of its clients.
    fn act(&self, client: ClientId, act: Act) -> Result<(), InboxError>;
}

/// The next part of the log, as an engine's reader has it.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// A new epoch has begun, or the first one.
    pub(crate) lineage: Option<Lineage>,
    /// The log goes on behind this offset, and is not what came before:
    /// something is missing, or what came is void.
    pub(crate) break_at: Option<Offset>,
    /// What stands up to this offset came before, in another place: clients
    /// have had it, and rooms do not remember it.
    pub(crate) forget: Option<Offset>,
    pub(crate) placed: Vec<Placed>,
    /// What is done to clients, each before the messages with this index.
    pub(crate) acts: Vec<(usize, ClientId, Act)>,
    /// What other nodes tell about the members of rooms.
    pub(crate) attendance: Vec<(NodeTag, Attendance)>,
    /// Told how many members have left with each node that is gone.
    pub(crate) departures: Option<Reply<Vec<(NodeTag, usize)>>>,
    /// Held until the hub has taken it.
    pub(crate) permit: Option<Permit>,
}

/// Messages with their places in the log; those for one client have none.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) to: Audience,
    pub(crate) forms: Forms,
    /// The engine's time, in milliseconds since the beginning of 1970.
    pub(crate) time: u64,
    pub(crate) receipt: Option<Reply<Receipt>>,
}

impl Committed {
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.acts.is_empty() && self.attendance.is_empty()
    }

    /// The bytes of all that is in it.
    pub(super) fn len(&self) -> usize {
        let placed = self.placed.iter();
        let told = self.attendance.iter();
        placed.map(|placed| placed.forms.len()).sum::<usize>()
            + told.map(|(_, told)| told.len()).sum::<usize>()
    }
}

impl Hub {
    /// Takes the next part of the log.
    pub(super) fn commit(&mut self, committed: Committed) {
        if committed.lineage.is_some() || committed.break_at.is_some() {
            self.flush();
            self.others.doubt();
            let before = self.log.position(self.log.head());
            if let Some(lineage) = committed.lineage {
                self.begin_epoch(lineage);
            }
            if let Some(at) = committed.break_at {
                self.break_off(before, at);
            }
        }
        if let Some(at) = committed.forget {
            self.log.come_to(at);
            self.rooms.forget_all(at);
        }
        let mut acts = committed.acts.into_iter().peekable();
        for (index, placed) in committed.placed.into_iter().enumerate() {
            while let Some((_, client, act)) = acts.next_if(|(at, ..)| *at <= index) {
                self.apply(act.command(client));
            }
            if !placed.to.is_in_the_log() {
                self.publish(&placed.to, placed.forms, None, placed.receipt);
                continue;
            }
            let frames = &placed.forms.frames;
            let last = frames.offset((frames.messages as usize).saturating_sub(1));
            self.counters.broadcasts.add(u64::from(frames.messages));
            self.log.come_to(last);
            self.rooms.history.came(Millis(placed.time));
            self.look_for_ahead();
            if let Some(receipt) = placed.receipt {
                receipt.give(self.receipt(&placed.to));
            }
            self.deliver(&placed.to, placed.forms, None);
        }
        for (_, client, act) in acts {
            self.apply(act.command(client));
        }
        let mut departures = Vec::new();
        for (node, what) in committed.attendance {
            match what {
                Attendance::Gone => departures.push((node, self.bury(node))),
                what => self.attend(node, what),
            }
        }
        if let Some(reply) = committed.departures {
            reply.give(departures);
        }
        drop(committed.permit);
    }

    /// From here on positions are of a new epoch.
    fn begin_epoch(&mut self, lineage: Lineage) {
        let epoch = lineage.epoch();
        self.log.begin(lineage);
        for place in 0..self.members.places() {
            if let Some(member) = self.members.get_mut(place)
                && member.encoding.has_positions()
            {
                member.outbox.tell_gaps(member.encoding, epoch);
            }
        }
    }

    /// What rooms remember is not what the log goes on from: it is forgotten,
    /// and those who can be told are.
    fn break_off(&mut self, before: Position, at: Offset) {
        self.log.come_to(at);
        self.rooms.forget_all(at);
        let to = self.log.position(at);
        for place in 0..self.members.places() {
            let Some(member) = self.members.get_mut(place) else {
                continue;
            };
            if let Some(behind) = &mut member.behind {
                behind.go_back_to(at);
            }
            if member.ending || !member.encoding.has_positions() {
                continue;
            }
            let encoding = member.encoding;
            let notice = Burst::notice(forms::gap_notice(encoding, before, to), encoding);
            let totals = &mut self.totals;
            let outcome = Delivery::prepare(&[notice], &mut self.joined, |delivery| {
                totals.give(member, delivery)
            });
            self.settle_one(place, outcome);
        }
        self.look_for_ahead();
    }
}

impl super::rooms::Rooms {
    /// Forgets what all rooms remember: the log goes on behind `at`.
    fn forget_all(&mut self, at: Offset) {
        let floor = Floor {
            offset: at,
            at: self.history.now(),
        };
        for place in 0..self.places() {
            if let Some(ring) = self.get_mut(place).and_then(|room| room.ring.as_mut()) {
                let held = ring.held();
                ring.clear(floor);
                let now = ring.held();
                self.history.shrunk(held - now);
            }
            self.forget_if_empty(place);
        }
        self.history.forget_everything(floor);
    }
}
