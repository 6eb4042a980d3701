//! A subscription of your program to a room.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;

use crate::hub::Gone;
use crate::hub::{Copied, Tap, TapCounts};
use crate::message::Message;
use crate::position::{Offset, Position};
use crate::wire::burst::parts;

/// Gives your program every message that a room receives; from
/// [`Handle::subscribe`](crate::Handle::subscribe).
///
/// An iterator: it waits for the next message, and ends when the server has.
/// Messages come as they were published, in the order of the room. Dropping
/// it ends the subscription.
///
/// It never holds up the room. At most 16 MiB wait for your program, with 128
/// bytes for each message beside its own; what does not fit is missed, and
/// counted. [`next_or_gap`](Subscription::next_or_gap) says where.
///
/// ```
/// use hubcast::{Message, Server};
///
/// let running = Server::bind("127.0.0.1:0")?.spawn()?;
/// let mut lobby = running.handle().subscribe("/lobby")?;
///
/// let url = format!("ws://{}/lobby", running.local_addr());
/// let (mut client, _) = tungstenite::connect(url)?;
/// client.send("what a client says".into())?;
/// assert_eq!(lobby.next(), Some(Message::from("what a client says")));
/// assert_eq!(lobby.missed(), 0);
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    copies: Receiver<Copied>,
    gone: Gone,
    shared: Arc<TapCounts>,
    /// Messages of the last burst that are not taken yet, last first.
    taken: Vec<(Option<Position>, Bytes)>,
    position: Option<Position>,
    is_complete: bool,
    /// How many of the missed messages were reported as a gap.
    reported: u64,
}

/// What a [`Subscription`] yields in the order of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reception {
    /// The next message.
    Message(Message),
    /// So many messages were missed here, because too much waited.
    Gap(u64),
}

impl Subscription {
    pub(crate) fn new(gone: Gone) -> (Subscription, Tap) {
        let (tap, copies, shared) = Tap::new();
        let subscription = Subscription {
            copies,
            gone,
            shared,
            taken: Vec::new(),
            reported: 0,
            position: None,
            is_complete: true,
        };
        (subscription, tap)
    }

    /// It begins behind this position.
    pub(super) fn begin(&mut self, position: Position, is_complete: bool) {
        self.position = Some(position);
        self.is_complete = is_complete;
    }

    /// Whether nothing was missing when it began: see
    /// [`Handle::subscribe_since`](crate::Handle::subscribe_since). True for
    /// one that began with what was said next.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Where it has come to: the position of the message that was taken last,
    /// or where it began. `None` before the first message of
    /// [`Handle::subscribe`](crate::Handle::subscribe).
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// How many messages were missed so far because too much waited.
    pub fn missed(&self) -> u64 {
        self.shared.missed()
    }

    /// Waits for the next message, or yields a gap where messages were missed;
    /// `None` once the server has ended. A gap at the end of what waits is
    /// yielded at once, before the next message comes.
    ///
    /// ```
    /// use hubcast::{Message, Reception, Server};
    ///
    /// let running = Server::bind("127.0.0.1:0")?.spawn()?;
    /// let mut lobby = running.handle().subscribe("/lobby")?;
    /// for _ in 0..40 {
    ///     running.handle().broadcast("/lobby", vec![0; 1024 * 1024])?;
    /// }
    /// running.shutdown()?;
    /// let (mut heard, mut missed) = (0, 0);
    /// while let Some(reception) = lobby.next_or_gap() {
    ///     match reception {
    ///         Reception::Gap(messages) => missed += messages,
    ///         _ => heard += 1,
    ///     }
    /// }
    /// assert!(missed > 0 && heard + missed == 40);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_or_gap(&mut self) -> Option<Reception> {
        loop {
            if let Some(message) = self.next_taken() {
                return Some(Reception::Message(message));
            }
            // Read first: what was missed by now comes behind all that waits.
            let missed = self.shared.missed();
            if let Ok(copied) = self.copies.try_recv() {
                if let Some(gap) = self.take(copied) {
                    return Some(gap);
                }
                continue;
            }
            if let Some(gap) = self.gap(missed) {
                return Some(gap);
            }
            let gap = match self.gone.or_recv(&self.copies) {
                Some(copied) => self.take(copied),
                None => Some(self.gap(self.shared.missed())?),
            };
            if gap.is_some() {
                return gap;
            }
        }
    }

    /// Takes the messages of a burst; yields the gap before it.
    fn take(&mut self, copied: Copied) -> Option<Reception> {
        self.shared.taken(&copied.burst);
        let position = |index| match copied.burst.offset(index) {
            Offset::NONE => None,
            offset => Some(Position {
                epoch: copied.epoch,
                offset,
            }),
        };
        let frames = copied.burst.frames().enumerate();
        self.taken = frames.map(|(i, frame)| (position(i), frame)).collect();
        self.taken.reverse();
        self.gap(copied.missed)
    }

    /// The gap between what was reported and this many messages missed.
    fn gap(&mut self, missed: u64) -> Option<Reception> {
        let messages = missed.saturating_sub(self.reported);
        self.reported += messages;
        (messages > 0).then_some(Reception::Gap(messages))
    }

    fn next_taken(&mut self) -> Option<Message> {
        let (position, frame) = self.taken.pop()?;
        self.position = position.or(self.position);
        let (is_text, payload) = parts(&frame);
        Some(Message::of_payload(is_text, payload))
    }
}

impl Iterator for Subscription {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        loop {
            if let Reception::Message(message) = self.next_or_gap()? {
                return Some(message);
            }
        }
    }
}
