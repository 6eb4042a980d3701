//! The payload of a message that comes in pieces.

use std::ops::RangeInclusive;

/// A message larger than this leaves no buffer behind.
const LARGE: usize = 64 * 1024;
/// The least and the most that is received straight into a message at once.
const ROOM: RangeInclusive<usize> = 4 * 1024..=64 * 1024;

/// A message that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// The message is the first `len` bytes.
    memory: Vec<u8>,
    len: usize,
    /// How many bytes were checked to be UTF-8; ends at a character boundary.
    checked: usize,
}

impl Collected {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// Appends a piece of a message that may come to `bound` bytes.
    pub(super) fn push(&mut self, piece: &[u8], bound: usize) {
        self.reserve(piece.len(), bound);
        let end = self.len + piece.len();
        match self.memory.get_mut(self.len..end) {
            Some(memory) => memory.copy_from_slice(piece),
            None => {
                self.memory.truncate(self.len);
                self.memory.extend_from_slice(piece);
            }
        }
        self.len = end;
    }

    /// Memory behind the message for the `left` bytes that are missing in a
    /// frame, or for as many of them as have come already.
    pub(crate) fn room(&mut self, left: usize, bound: usize) -> &mut [u8] {
        let spare = self.memory.capacity() - self.len;
        let size = self.len.max(spare).clamp(*ROOM.start(), *ROOM.end());
        let size = size.min(left);
        self.reserve(size, bound);
        let end = self.len + size;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.len..end]
    }

    /// The next `len` bytes of the memory, which are the message's now.
    pub(crate) fn received(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        self.len = (start + len).min(self.memory.len());
        &mut self.memory[start..self.len]
    }

    /// Makes room for `more` bytes: twice as much as there was, unless the
    /// message cannot come to that.
    fn reserve(&mut self, more: usize, bound: usize) {
        let needed = self.len + more;
        let capacity = self.memory.capacity();
        if needed > capacity {
            let capacity = needed.max((2 * capacity).min(bound));
            self.memory.reserve_exact(capacity - self.memory.len());
        }
    }

    /// Checks what has come since the last time. A character may be cut off
    /// at the end, unless the message is whole.
    pub(super) fn is_utf8(&mut self, is_whole: bool) -> bool {
        let unchecked = &self.memory[self.checked..self.len];
        // Most text is ASCII, which is the faster thing to ask.
        if unchecked.is_ascii() {
            self.checked = self.len;
            return true;
        }
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.checked = self.len,
            Err(error) if is_whole || error.error_len().is_some() => return false,
            Err(error) => self.checked += error.valid_up_to(),
        }
        true
    }

    /// Forgets the message, and frees what is large.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.checked = 0;
        if self.memory.capacity() > LARGE {
            self.memory = Vec::new();
        }
    }
}
