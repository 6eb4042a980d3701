//! The same messages in several encodings.

use super::burst::{Burst, Encoding};
use super::sse;

/// The same messages in every encoding that somebody needs.
///
/// The thread that publishes encodes: what takes time in proportion to bytes
/// must not run on the hub.
#[derive(Clone, Debug)]
pub(crate) struct Forms {
    pub(crate) frames: Burst,
    pub(crate) events: Option<Burst>,
}

impl Forms {
    /// Makes a form that is missing: somebody has begun to need it while the
    /// messages were on their way.
    pub(crate) fn complete(&mut self, encoding: Encoding) {
        match encoding {
            Encoding::Frames => {}
            Encoding::Events => {
                self.events.get_or_insert_with(|| sse::encode(&self.frames));
            }
        }
    }

    /// Takes the messages out in one encoding. What is taken is gone, because
    /// a copy of shared bytes costs an allocation.
    pub(crate) fn take(&mut self, encoding: Encoding) -> Burst {
        self.complete(encoding);
        match encoding {
            Encoding::Frames => std::mem::take(&mut self.frames),
            Encoding::Events => self.events.take().unwrap_or_default(),
        }
    }
}

impl From<Burst> for Forms {
    fn from(frames: Burst) -> Forms {
        Forms {
            frames,
            events: None,
        }
    }
}
