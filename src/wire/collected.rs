//! The payload of a message that comes in pieces.

use std::ops::{Deref, RangeInclusive};

/// Memory is kept for a message as long as the last one, up to this length.
const LARGE: usize = 64 * 1024;
/// Memory in front of the payload: room for the header of the frame in which
/// the server sends it on, which is without a mask (RFC 6455 §5.2).
pub(super) const FRONT: usize = 10;
/// The least and the most that is received straight into a message at once.
const ROOM: RangeInclusive<usize> = 4 * 1024..=64 * 1024;

/// The payload of a message, where it is.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// In the read buffer, or in another one.
    Here(&'a [u8]),
    /// In memory of its own, which may be taken.
    Apart(&'a mut Collected),
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Here(bytes) => bytes,
            Payload::Apart(message) => message.bytes(),
        }
    }
}

/// A message that comes in pieces.
#[derive(Debug)]
pub(crate) struct Collected {
    /// The message stands from [`FRONT`] to `end`.
    memory: Vec<u8>,
    end: usize,
    /// The end of what was checked to be UTF-8, a character boundary.
    checked: usize,
    /// How much memory to begin with.
    expected: usize,
}

impl Default for Collected {
    fn default() -> Collected {
        Collected {
            memory: Vec::new(),
            end: FRONT,
            checked: FRONT,
            expected: 0,
        }
    }
}

impl Collected {
    pub(super) fn len(&self) -> usize {
        self.end - FRONT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == FRONT
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.get(FRONT..self.end).unwrap_or_default()
    }

    /// Appends a piece of a message that may come to `bound` bytes.
    pub(super) fn push(&mut self, piece: &[u8], bound: usize) {
        self.reserve(piece.len(), bound);
        self.memory.truncate(self.end);
        self.memory.extend_from_slice(piece);
        self.end += piece.len();
    }

    /// Memory behind the message for the `left` bytes that are missing in a
    /// frame, or for as many of them as have come already.
    pub(super) fn room(&mut self, left: usize, bound: usize) -> &mut [u8] {
        let spare = self.memory.capacity().saturating_sub(self.end);
        let size = self.len().max(spare).clamp(*ROOM.start(), *ROOM.end());
        let size = size.min(left);
        self.reserve(size, bound);
        let end = self.end + size;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.end..end]
    }

    /// The next `len` bytes of the memory, which are the message's now.
    pub(super) fn received(&mut self, len: usize) -> &mut [u8] {
        let start = self.end;
        self.end = (start + len).min(self.memory.len());
        &mut self.memory[start..self.end]
    }

    /// Makes room for `more` bytes: twice as much as there was, or as much as
    /// the last message took, unless the message cannot come to that.
    fn reserve(&mut self, more: usize, bound: usize) {
        let needed = self.end + more;
        let capacity = self.memory.capacity();
        if needed > capacity {
            let wanted = self.expected.max(2 * capacity);
            let capacity = needed.max(wanted.min(bound.saturating_add(FRONT)));
            self.memory.reserve_exact(capacity - self.memory.len());
        }
        if self.memory.is_empty() {
            self.memory.resize(FRONT, 0);
        }
    }

    /// Checks what has come since the last time. A character may be cut off
    /// at the end, unless the message is whole.
    pub(super) fn is_utf8(&mut self, is_whole: bool) -> bool {
        let unchecked = &self.memory[self.checked..self.end];
        // Most text is ASCII, which is the faster thing to ask.
        if unchecked.is_ascii() {
            self.checked = self.end;
            return true;
        }
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.checked = self.end,
            Err(error) if is_whole || error.error_len().is_some() => return false,
            Err(error) => self.checked += error.valid_up_to(),
        }
        true
    }

    /// Takes the message out, with its memory: the payload stands behind
    /// [`FRONT`] bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut memory = std::mem::take(&mut self.memory);
        memory.truncate(self.end);
        self.clear();
        memory
    }

    /// Forgets the message, and frees what is large.
    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            self.expected = if self.len() > LARGE { 0 } else { self.end };
        }
        self.end = FRONT;
        self.checked = FRONT;
        if self.memory.capacity() > FRONT + LARGE {
            self.memory = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_stands_behind_the_room_for_a_header() {
        let mut message = Collected::default();
        for text in ["a text", "a longer text"] {
            let (first, rest) = text.as_bytes().split_at(3);
            message.push(first, text.len());
            message.room(rest.len(), text.len())[..rest.len()].copy_from_slice(rest);
            assert_eq!(message.received(rest.len()), rest);
            assert!(message.is_utf8(true));
            let memory = message.take();
            assert_eq!(memory.capacity(), FRONT + text.len());
            assert_eq!(&memory[FRONT..], text.as_bytes());
            assert!(message.is_empty() && message.bytes().is_empty());
            assert_eq!(message.capacity(), 0);
        }
    }

    #[test]
    fn memory_begins_as_large_as_the_last_message_was() {
        let mut message = Collected::default();
        for (len, expected) in [
            (20_000, 4096),
            (LARGE, 20_000),
            (LARGE + 1, LARGE),
            (9, 4096),
        ] {
            message.push(&[0; 4096][..len.min(4096)], len);
            let begun = message.capacity();
            assert_eq!(begun, FRONT + expected.min(len.max(9)), "of {len}");
            message.push(&vec![0; len.saturating_sub(4096)], len);
            drop(message.take());
            // As the decoder does, whether the message was taken or not.
            message.clear();
        }
    }
}
