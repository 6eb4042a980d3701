//! A program's own ear in a room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::frame::Burst;
use crate::inbox::Gone;
use crate::message::Message;

/// How many bursts may wait for the program to take them.
const BURSTS: usize = 1024;
/// How many bytes may wait, whichever is reached first.
const BYTES: usize = 4 * 1024 * 1024;

/// The hub's end of a subscription.
#[derive(Debug)]
pub(crate) struct Tap {
    bursts: Sender<Burst>,
    shared: Arc<TapCounts>,
}

/// What both ends of a subscription count.
#[derive(Debug, Default)]
struct TapCounts {
    waiting_bytes: AtomicUsize,
    missed: AtomicU64,
}

impl Tap {
    /// Whether the other end is still there: it shares the counts.
    pub(crate) fn is_heard(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Copies a burst; false when nobody listens any more.
    pub(crate) fn give(&self, burst: &Burst) -> bool {
        let len = burst.bytes.len();
        let waiting = self.shared.waiting_bytes.load(Ordering::Relaxed);
        let fits = waiting == 0 || waiting + len <= BYTES;
        if fits {
            self.shared.waiting_bytes.fetch_add(len, Ordering::Relaxed);
            match self.bursts.try_send(burst.clone()) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) => {
                    self.shared.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
                }
            }
        }
        let missed = u64::from(burst.messages);
        self.shared.missed.fetch_add(missed, Ordering::Relaxed);
        true
    }
}

/// What a room receives, for the program itself; from
/// [`Handle::subscribe`](crate::Handle::subscribe).
///
/// An iterator: it waits for the next message, and ends when the server has.
/// Messages come as they were published, in the order of the room. Dropping
/// it ends the subscription.
///
/// It never holds up the room: at most 4 MiB and about 1,024 messages wait
/// for the program, and what does not fit is missed, and counted.
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
        let (sender, bursts) = bounded(BURSTS);
        let shared = Arc::new(TapCounts::default());
        let tap = Tap {
            bursts: sender,
            shared: shared.clone(),
        };
        let subscription = Subscription {
            bursts,
            gone,
            shared,
            taken: Vec::new(),
        };
        (subscription, tap)
    }

    /// How many messages were missed so far, because too much waited.
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
