//! What the fuzz targets call, and where random tests take their choices
//! from. It is there for tests and under `cfg(fuzzing)` only.
//!
//! Every input of `tests/fuzz/corpus` is also run by an ordinary test.

use crate::config::SlowConsumer;
use crate::outbox::model::Tally;
use crate::{http, outbox, reader};

/// A request head, of any bytes: parsed, and shown to the doors.
pub fn request_head(data: &[u8]) {
    http::model::run(data);
}

/// A client's bytes on their way to the hub. The first two bytes choose the
/// settings and how the rest is cut. Returns how much memory that may take.
pub fn reader(data: &[u8]) -> usize {
    let [settings, cuts, bytes @ ..] = data else {
        return 0;
    };
    reader::model::run(*settings, u64::from(*cuts), bytes)
}

/// An outbox whose socket and writer thread do what the data says.
pub fn outbox(data: &[u8]) {
    let mut choices = Choices::Bytes(data);
    let slow_consumer = [
        SlowConsumer::Disconnect,
        SlowConsumer::DropOldest,
        SlowConsumer::DropNewest,
    ][choices.below(3)];
    let steps = data.len();
    outbox::model::run(&mut choices, slow_consumer, steps, &mut Tally::default());
}

/// Where the choices of a random test come from.
#[derive(Debug)]
pub(crate) enum Choices<'a> {
    /// A small generator (SplitMix64): the same seed, the same choices.
    Seed(u64),
    /// A fuzzer's input; when it is used up, every choice is the first.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// One of the numbers below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next(n) % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        // Not the first choice: input that is used up chooses what is usual.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    /// Runs a target on every file of its corpus.
    fn replay(target: &str, run: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        // A published package has no corpus.
        let Ok(files) = fs::read_dir(corpus.join(target)) else {
            return;
        };
        let mut replayed = 0;
        for file in files {
            let path = file.unwrap().path();
            let data = fs::read(&path).unwrap();
            assert!(catch_unwind(|| run(&data)).is_ok(), "{}", path.display());
            replayed += 1;
        }
        assert!(replayed > 0, "the corpus of {target} is empty");
    }

    #[test]
    fn the_corpus_of_request_head_passes() {
        replay("request_head", super::request_head);
    }

    #[test]
    fn the_corpus_of_reader_passes() {
        replay("reader", |data| {
            super::reader(data);
        });
    }

    #[test]
    fn the_corpus_of_outbox_passes() {
        replay("outbox", super::outbox);
    }
}
