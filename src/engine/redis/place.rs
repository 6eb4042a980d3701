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
            let receipt = self.receipt(index);
            let next = at.plus(u64::from(frames.messages));
            committed.placed.push(Placed {
                to,
                forms: burst(frames, at).into(),
                time: self.time,
                receipt,
            });
            at = next;
        }
    }

    /// Messages for one client, if it is of this node. They have no offsets.
    fn direct(&self, client: u64, frames: Frames, committed: &mut Committed) {
        let Some(client) = self.own_client(client) else {
            return;
        };
        committed.placed.push(Placed {
            to: Audience::Client(client),
            forms: burst(frames, Offset::NONE).into(),
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

/// Messages from `first` on.
fn burst(frames: Frames, first: Offset) -> Burst {
    let Frames {
        bytes, messages, ..
    } = frames;
    let burst = Burst::placed(bytes, messages, first);
    #[cfg(feature = "deflate")]
    if frames.is_plain {
        return burst.uncompressed();
    }
    burst
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

#[cfg(feature = "deflate")]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::spool::Spool;
    use super::*;
    use crate::engine::records::read;
    use crate::hub::Append;
    use crate::message::Message;
    use crate::wire::burst::single;

    #[test]
    fn what_must_not_be_compressed_comes_out_of_the_log_like_that() {
        let spool = Spool::new(1000, 1000, Duration::ZERO);
        let room = || Audience::Room {
            room: room_name("/lobby"),
            except: None,
        };
        let everybody = || Audience::Everybody { except: None };
        let to_client = || Audience::Client(ClientId(7));
        for (to, is_plain) in [
            (room(), true),
            (everybody(), false),
            (everybody(), true),
            (to_client(), true),
            (room(), false),
        ] {
            let burst = single(&Message::from("a secret, or not"), false);
            let burst = if is_plain {
                burst.uncompressed()
            } else {
                burst
            };
            spool.append(to, burst, None, false).unwrap();
        }
        let batch = spool.take(1).unwrap();
        let read = read(batch.records).unwrap();
        let place = Place {
            first: Offset(1),
            time: 0,
            is_own: true,
            tag: ClientId(7).tag(),
            receipts: Vec::new(),
        };
        let mut committed = Committed::default();
        place.records(read.records, batch.messages, &mut committed);
        let placed = committed.placed.iter();
        let plain: Vec<bool> = placed
            .filter(|placed| placed.to.is_in_the_log())
            .map(|placed| placed.forms.frames.must_stay_plain())
            .collect();
        assert_eq!(plain, [true, false, true, false]);
    }
}
