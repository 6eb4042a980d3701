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
    /// The messages in this encoding. A form that is missing is made: somebody
    /// has begun to need it while the messages were on their way.
    pub(crate) fn burst(&self, encoding: Encoding) -> Burst {
        match encoding {
            Encoding::Frames => self.frames.clone(),
            Encoding::Events => match &self.events {
                Some(events) => events.clone(),
                None => sse::encode(&self.frames),
            },
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
