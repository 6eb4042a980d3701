//! The stamp that makes every message unique.

use super::clock::Nanos;

/// A stamp is printable, so that it fits a text message as well.
pub(crate) const STAMP_LEN: usize = 2 * SIXTEEN + 8;
const SIXTEEN: usize = 16;

/// Who sent a message, as which of its messages, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sender: u32,
    pub(crate) sequence: u64,
    pub(crate) sent: Nanos,
}

impl Stamp {
    pub(crate) fn write(&self, payload: &mut [u8]) {
        write_hex(&mut payload[..8], u64::from(self.sender));
        write_hex(&mut payload[8..8 + SIXTEEN], self.sequence);
        write_hex(&mut payload[8 + SIXTEEN..STAMP_LEN], self.sent);
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
        Some(Stamp {
            sender: u32::try_from(read_hex(payload.get(..8)?)?).ok()?,
            sequence: read_hex(payload.get(8..8 + SIXTEEN)?)?,
            sent: read_hex(payload.get(8 + SIXTEEN..STAMP_LEN)?)?,
        })
    }
}

fn write_hex(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
