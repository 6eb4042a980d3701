//! What the hub takes of an entry's records: messages with their places in
//! the log, and what is done to single clients.

use crate::engine::records::{Frames, Record};
use crate::hub::{Act, Audience, Committed, Placed, Receipt, Reply};
use crate::names::{ClientId, NodeTag, room_name};
use crate::position::Offset;
use crate::wire::Burst;

/// Where an entry's messages stand, and who waits for them.
pub(super) struct Place {
    pub(super) first: Offset,
    pub(super) time: u64,
    pub(super) is_own: bool,
    /// This node's.
    pub(super) tag: Option<NodeTag>,
    pub(super) receipts: Vec<(usize, Reply<Receipt>)>,
}

impl Place {
    /// Turns records into what the hub takes; nothing if they are not the
    /// messages that the entry says it has.
    pub(super) fn records(
        mut self,
        records: Vec<Record>,
        messages: u64,
        committed: &mut Committed,
    ) {
        if records.iter().map(messages_of).sum::<u64>() != messages {
            return;
        }
        let mut at = self.first;
        for (index, record) in records.into_iter().enumerate() {
            let (to, frames) = match record {
                Record::Messages {
                    room,
                    except,
                    frames,
                } => {
                    let except = self.client(except);
                    let room = room_name(&room);
                    (Audience::Room { room, except }, frames)
                }
                Record::Everybody { except, frames } => {
                    let except = self.client(except);
                    (Audience::Everybody { except }, frames)
                }
                Record::Direct { client, frames } => {
                    self.direct(client, frames, committed);
                    continue;
                }
                Record::Act { client, act } => {
                    self.act(client, act, committed);
                    continue;
                }
                // They are no messages: the node and its roster take them.
                Record::Up
                | Record::Hello
                | Record::Attendance(_)
                | Record::Gone { .. }
                | Record::Came { .. } => continue,
            };
            let Frames { bytes, messages } = frames;
            let receipt = self.receipt(index);
            committed.placed.push(Placed {
                to,
                forms: Burst::placed(bytes, messages, at).into(),
                time: self.time,
                receipt,
            });
            at = at.plus(u64::from(messages));
        }
    }

    /// Messages for one client, if it is of this node. They have no offsets.
    fn direct(&self, client: u64, frames: Frames, committed: &mut Committed) {
        let Some(client) = self.own_client(client) else {
            return;
        };
        let Frames { bytes, messages } = frames;
        committed.placed.push(Placed {
            to: Audience::Client(client),
            forms: Burst::placed(bytes, messages, Offset::NONE).into(),
            time: self.time,
            receipt: None,
        });
    }

    /// What is done to one client, if it is of this node.
    fn act(&self, client: u64, act: Act, committed: &mut Committed) {
        let client = self.own_client(client);
        let at = committed.placed.len();
        let act = client.map(|client| (at, client, act));
        committed.acts.extend(act);
    }

    /// Who waits for the record with this index to be in the log.
    fn receipt(&mut self, index: usize) -> Option<Reply<Receipt>> {
        let mut receipts = self.receipts.iter();
        let own = receipts.position(|(record, _)| *record == index)?;
        Some(self.receipts.swap_remove(own).1)
    }

    /// The client with these bits, if it is of this node.
    fn own_client(&self, bits: u64) -> Option<ClientId> {
        let is_own = |id: &ClientId| id.tag().is_some() && id.tag() == self.tag;
        Some(ClientId(bits)).filter(is_own)
    }

    /// The client with these bits; a number alone is of the node that wrote
    /// the entry.
    fn client(&self, bits: u64) -> Option<ClientId> {
        let id = ClientId(bits);
        let is_known = self.is_own || id.tag().is_some();
        (bits != 0 && is_known).then_some(id)
    }
}

/// How many messages of the log a record has.
fn messages_of(record: &Record) -> u64 {
    match record {
        Record::Messages { frames, .. } | Record::Everybody { frames, .. } => {
            u64::from(frames.messages)
        }
        _ => 0,
    }
}
