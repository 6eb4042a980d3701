//! The fuzz targets, and the choices of random tests. Compiled only for tests
//! and under `cfg(fuzzing)`.
//!
//! Every input of `tests/fuzz/corpus` is also run by an ordinary test.

use crate::config::SlowConsumer;
use crate::outbox::model::Tally;
use crate::{connection, doors, net, outbox};

pub(crate) mod choices;

use choices::Choices;

/// A request head, of any bytes: parsed, and shown to the doors.
pub fn request_head(data: &[u8]) {
    doors::model::run(data);
}

/// The header by which a proxy says whose connection it passes on.
pub fn proxy_header(data: &[u8]) {
    net::proxied::check(data);
}

/// A client's bytes on their way to the hub. The first two bytes choose the
/// settings and how the rest is cut. Returns how much memory that may take.
pub fn reader(data: &[u8]) -> usize {
    let [settings, cuts, bytes @ ..] = data else {
        return 0;
    };
    connection::model::run(*settings, u64::from(*cuts), bytes)
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
    fn the_corpus_of_proxy_header_passes() {
        replay("proxy_header", super::proxy_header);
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
