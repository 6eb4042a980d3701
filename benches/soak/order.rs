//! What was said in one room, in the order in which it was said there.
//!
//! Every message says who sent it, as which of its messages, and how long it is, and
//! consists of nothing else but one repeated letter. Whoever receives it first notes
//! it down, if it is its sender's next; everybody else must receive the same next.

use std::collections::{HashMap, VecDeque};

use crate::kit::Result;
use crate::kit::stamp::{STAMP_LEN, Stamp};

#[derive(Debug, Default)]
pub(crate) struct Order {
    said: VecDeque<Said>,
    /// How many messages were forgotten before the first of `said`.
    forgotten: u64,
    /// The next number of each sender.
    expected: HashMap<u32, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    sender: u32,
    number: u64,
    len: u64,
}

/// A sender's message of `len` bytes; a shorter one than its stamp is as long as that.
pub(crate) fn message(sender: u32, number: u64, len: usize) -> Vec<u8> {
    let len = len.max(STAMP_LEN);
    let mut payload = vec![letter(number); len];
    let stamp = Stamp {
        sender,
        sequence: number,
        sent: len as u64,
    };
    stamp.write(&mut payload);
    payload
}

fn letter(number: u64) -> u8 {
    b'a' + (number % 26) as u8
}

impl Order {
    /// How many messages there have been.
    pub(crate) fn end(&self) -> u64 {
        self.forgotten + self.said.len() as u64
    }

    /// How many messages of a sender have come.
    pub(crate) fn of_sender(&self, sender: u32) -> u64 {
        self.expected.get(&sender).copied().unwrap_or(0)
    }

    /// Checks a message that has come to the client whose next is number `next`.
    pub(crate) fn take(&mut self, next: &mut u64, payload: &[u8]) -> Result<()> {
        let said = read(payload)?;
        let index = (*next - self.forgotten) as usize;
        *next += 1;
        if let Some(&other) = self.said.get(index) {
            return match other == said {
                true => Ok(()),
                false => Err(format!("{said:?} came to one and {other:?} to another").into()),
            };
        }
        let expected = self.expected.entry(said.sender).or_default();
        if said.number != *expected {
            return Err(format!("{said:?} came where number {expected} was due").into());
        }
        *expected += 1;
        self.said.push_back(said);
        Ok(())
    }

    /// Forgets what everybody has received.
    pub(crate) fn forget(&mut self, everybody_has: u64) {
        while self.forgotten < everybody_has && self.said.pop_front().is_some() {
            self.forgotten += 1;
        }
    }
}

fn read(payload: &[u8]) -> Result<Said> {
    let stamp = Stamp::read(payload).ok_or("a message without a stamp")?;
    let is_whole = payload.len() as u64 == stamp.sent
        && payload[STAMP_LEN..]
            .iter()
            .all(|&byte| byte == letter(stamp.sequence));
    match is_whole {
        true => Ok(Said {
            sender: stamp.sender,
            number: stamp.sequence,
            len: stamp.sent,
        }),
        false => Err(format!("a message was changed on the way: {stamp:?}").into()),
    }
}
