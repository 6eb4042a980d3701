//! A subscription of your program to a room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crossbeam_channel::Receiver;

use crate::hub::inbox::Gone;
use crate::hub::tap::{Tap, TapCounts};
use crate::message::Message;
use crate::wire::burst::Burst;

/// Gives your program every message that a room receives; from
/// [`Handle::subscribe`](crate::Handle::subscribe).
///
/// An iterator: it waits for the next message, and ends when the server has.
/// Messages come as they were published, in the order of the room. Dropping
/// it ends the subscription.
///
/// It never holds up the room. At most 4 MiB and about 1,024 messages wait for
/// your program; what does not fit is missed, and counted.
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
    bursts: Receiver<Burst>,
    gone: Gone,
    shared: Arc<TapCounts>,
    /// Messages of the last burst that are not taken yet, last first.
    taken: Vec<(bool, Bytes)>,
}

impl Subscription {
    pub(crate) fn new(gone: Gone) -> (Subscription, Tap) {
        let (tap, bursts, shared) = Tap::new();
        let subscription = Subscription {
            bursts,
            gone,
            shared,
            taken: Vec::new(),
        };
        (subscription, tap)
    }

    /// How many messages were missed so far because too many waited.
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

impl Iterator for Subscription {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        while self.taken.is_empty() {
            let burst = self.gone.or_recv(&self.bursts)?;
            let waiting = &self.shared.waiting_bytes;
            waiting.fetch_sub(burst.bytes.len(), Ordering::Relaxed);
            self.taken = burst.payloads().collect();
            self.taken.reverse();
        }
        let (is_text, payload) = self.taken.pop()?;
        Some(match String::from_utf8(payload.to_vec()) {
            Ok(text) if is_text => Message::Text(text),
            Ok(text) => Message::Binary(text.into_bytes()),
            Err(error) => Message::Binary(error.into_bytes()),
        })
    }
}
