//! The load itself: who sends when, and the loop that sends and receives.
//!
//! Closed loop: each sender keeps a number of its messages in flight, or all senders
//! together do; a message is in flight until every client has received it. Open loop: messages are due at a
//! fixed rate, whatever has become of those before, and latency counts from when
//! one was due, so that a server which falls behind cannot hide it.

use std::time::Duration;

use super::Result;
use super::clock::{Clock, Nanos, nanos};
use super::frame::Opcode;
use super::histogram::Histogram;
use super::ledger::{Ledger, Taken};
use super::room::{Ready, Room};
use super::scenario::{Pace, Scenario};
use super::stamp::{STAMP_LEN, Stamp};

/// After this time without a delivery, messages in flight count as lost.
const SILENCE: Duration = Duration::from_secs(5);
/// A look for messages that nobody expects, after the last.
const AFTERMATH: Duration = Duration::from_millis(20);
/// The time a server that is only slow has for the rest.
const OVERTIME: Duration = Duration::from_secs(20);
/// Never waited longer than this for an event.
const MAX_WAIT: Duration = Duration::from_millis(100);

pub(crate) struct Load<'a> {
    room: &'a mut Room,
    clock: Clock,
    pace: Pace,
    ledger: Ledger,
    senders: Vec<Sender>,
    /// How many more messages all senders together may send now, and which of them
    /// sends the next.
    shared_credit: usize,
    next_sender: usize,
    /// A message as it will be sent, but for its stamp.
    payload: Vec<u8>,
    sent: u64,
    deliveries: u64,
    last_delivery: Nanos,
}

#[derive(Debug)]
struct Sender {
    connection: usize,
    sequence: u64,
    /// How many more messages it may send now.
    credit: usize,
}

/// What a stretch of load amounted to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) broadcasts: u64,
    pub(crate) deliveries: u64,
    /// From the first message until the last delivery.
    pub(crate) elapsed: Duration,
}

impl<'a> Load<'a> {
    pub(crate) fn new(room: &'a mut Room, scenario: &Scenario, opcode: Opcode) -> Load<'a> {
        let payload = vec![b'.'; scenario.size.max(STAMP_LEN)];
        let (credit, shared_credit) = match scenario.pace {
            Pace::Each(messages) => (messages, 0),
            Pace::Together(messages) => (0, messages),
            Pace::PerSecond(_) | Pace::Unread => (0, 0),
        };
        let sender = |sender| Sender {
            connection: room.connection_of(sender, scenario.senders),
            sequence: 0,
            credit,
        };
        let senders: Vec<_> = (0..scenario.senders).map(sender).collect();
        let filler = payload[STAMP_LEN..].to_vec();
        Load {
            ledger: Ledger::new(room.clients(), senders.len(), opcode, filler),
            room,
            clock: Clock::start(),
            pace: scenario.pace,
            senders,
            shared_credit,
            next_sender: 0,
            payload,
            sent: 0,
            deliveries: 0,
            last_delivery: 0,
        }
    }

    pub(crate) fn latency(&mut self) -> &mut Histogram {
        &mut self.ledger.latency
    }

    /// Sends for this duration, then waits until everybody has received everything.
    pub(crate) fn run(&mut self, duration: Duration) -> Result<Stretch> {
        let start = self.clock.now();
        let (sent, deliveries) = (self.sent, self.deliveries);
        let end = start + nanos(duration);
        self.last_delivery = start;
        let mut ready = Vec::new();
        let mut due = Schedule::new(self.pace, start);
        loop {
            let now = self.clock.now();
            let sending = now < end;
            if sending {
                self.send(&mut due, now)?;
            } else if self.in_flight() == 0 {
                break;
            }
            self.check_progress(now, end)?;
            let wait = match due.next {
                Some(due) if sending => Duration::from_nanos(due.saturating_sub(now)),
                _ => MAX_WAIT,
            };
            self.turn(wait.min(MAX_WAIT), &mut ready)?;
        }
        Ok(Stretch {
            broadcasts: self.sent - sent,
            deliveries: self.deliveries - deliveries,
            elapsed: Duration::from_nanos(self.last_delivery - start),
        })
    }

    /// Sends one message, which is read after `rest` has returned.
    pub(crate) fn send_unread(&mut self, rest: impl FnOnce() -> Result<()>) -> Result<()> {
        let now = self.clock.now();
        self.send_one(0, now);
        self.room.flush(self.senders[0].connection)?;
        rest()?;
        self.run(Duration::ZERO).map(drop)
    }

    /// Fails if anything more comes.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let deliveries = self.deliveries;
        self.turn(AFTERMATH, &mut Vec::new())?;
        match self.deliveries == deliveries {
            true => Ok(()),
            false => Err("a message came after the last".into()),
        }
    }

    fn in_flight(&self) -> u64 {
        self.sent - self.ledger.finished()
    }

    fn check_progress(&self, now: Nanos, end: Nanos) -> Result<()> {
        let silence = now.saturating_sub(self.last_delivery);
        let why = if self.in_flight() > 0 && silence > nanos(SILENCE) {
            format!("nothing has come for {} s", SILENCE.as_secs())
        } else if now > end + nanos(OVERTIME) {
            format!("{} s were not enough for them", OVERTIME.as_secs())
        } else {
            return Ok(());
        };
        let missing = self.sent * self.room.clients() as u64 - self.deliveries;
        Err(format!(
            "{missing} deliveries of {} messages are missing: {why}",
            self.sent
        )
        .into())
    }

    fn send(&mut self, due: &mut Schedule, now: Nanos) -> Result<()> {
        while let Some(stamp) = due.take(now) {
            let sender = (self.sent % self.senders.len() as u64) as usize;
            self.send_one(sender, stamp);
            self.room.flush(self.senders[sender].connection)?;
        }
        for _ in 0..std::mem::take(&mut self.shared_credit) {
            let sender = self.next_sender;
            self.next_sender = (sender + 1) % self.senders.len();
            let now = self.clock.now();
            self.send_one(sender, now);
            self.room.flush(self.senders[sender].connection)?;
        }
        for sender in 0..self.senders.len() {
            let credit = std::mem::take(&mut self.senders[sender].credit);
            if credit > 0 {
                let now = self.clock.now();
                (0..credit).for_each(|_| self.send_one(sender, now));
                self.room.flush(self.senders[sender].connection)?;
            }
        }
        Ok(())
    }

    fn send_one(&mut self, sender: usize, sent: Nanos) {
        let state = &mut self.senders[sender];
        let stamp = Stamp {
            sender: sender as u32,
            sequence: state.sequence,
            sent,
        };
        state.sequence += 1;
        stamp.write(&mut self.payload);
        self.room.queue(state.connection, &self.payload);
        self.sent += 1;
    }

    /// Waits for events and handles them.
    fn turn(&mut self, wait: Duration, ready: &mut Vec<Ready>) -> Result<()> {
        self.room.wait(wait, ready)?;
        for event in ready.iter() {
            if event.readable {
                self.receive(event.connection)?;
            }
            if event.writable {
                self.room.flush(event.connection)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, connection: usize) -> Result<()> {
        let mut taken = Taken::default();
        let mut finished = Vec::new();
        let (ledger, clock) = (&mut self.ledger, &self.clock);
        let mut now = 0;
        self.room.read(connection, |next, bytes| {
            now = clock.now();
            taken = ledger.take(next, bytes, now, &mut finished)?;
            Ok(taken.bytes)
        })?;
        if taken.deliveries > 0 {
            self.deliveries += taken.deliveries;
            self.last_delivery = now;
        }
        match self.pace {
            Pace::Each(_) => {
                for sender in finished {
                    self.senders[sender as usize].credit += 1;
                }
            }
            Pace::Together(_) => self.shared_credit += finished.len(),
            Pace::PerSecond(_) | Pace::Unread => {}
        }
        if let Some(payload) = taken.ping {
            self.room.queue_pong(connection, &payload);
            self.room.flush(connection)?;
        }
        Ok(())
    }
}

/// When messages are due in the open loop.
#[derive(Debug)]
struct Schedule {
    next: Option<Nanos>,
    interval: Nanos,
}

impl Schedule {
    fn new(pace: Pace, start: Nanos) -> Schedule {
        match pace {
            Pace::Each(_) | Pace::Together(_) | Pace::Unread => Schedule {
                next: None,
                interval: 0,
            },
            Pace::PerSecond(rate) => Schedule {
                next: Some(start),
                interval: nanos(Duration::from_secs(1)) / rate,
            },
        }
    }

    /// The time at which a message was due, if one is by now.
    fn take(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.next.filter(|&due| due <= now)?;
        self.next = Some(due + self.interval);
        Some(due)
    }
}
