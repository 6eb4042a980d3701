//! The choices of random tests.

/// A source of choices for a random test.
#[derive(Debug)]
pub(crate) enum Choices<'a> {
    /// A small generator (SplitMix64). The same seed gives the same choices.
    Seed(u64),
    /// A fuzzer's input; once it is used up, every choice is the first one.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// One of the numbers below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next(n) % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        // Not the first choice, so that used-up input chooses the usual case.
        self.below(n) == n - 1
    }

    /// Whether there are choices left.
    pub(crate) fn is_left(&self) -> bool {
        match self {
            Choices::Seed(_) => true,
            Choices::Bytes(bytes) => !bytes.is_empty(),
        }
    }

    fn next(&mut self, n: usize) -> u64 {
        match self {
            Choices::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            // A byte for a small choice, so that a mutation changes one.
            Choices::Bytes(bytes) => {
                let len = if n <= 256 { 1 } else { 3 };
                let (taken, rest) = bytes.split_at(len.min(bytes.len()));
                *bytes = rest;
                taken.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
            }
        }
    }
}
