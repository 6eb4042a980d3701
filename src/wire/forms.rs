//! The same messages in several encodings.

use super::burst::{Burst, Encoding};
use super::{positions, sse};
use crate::position::Epoch;

/// The same messages in every encoding that somebody needs.
///
/// The thread that publishes encodes: what takes time in proportion to bytes
/// must not run on the hub. The positions are known on the hub only, which
/// writes them before each message, in one copy for all who need it.
#[derive(Clone, Debug)]
pub(crate) struct Forms {
    pub(crate) frames: Burst,
    pub(crate) events: Option<Burst>,
    #[cfg(feature = "deflate")]
    pub(crate) deflated: Option<Burst>,
}

impl Forms {
    /// The bytes of all forms together.
    pub(crate) fn len(&self) -> usize {
        let others = [
            self.events.as_ref(),
            #[cfg(feature = "deflate")]
            self.deflated.as_ref(),
        ];
        let others = others.into_iter().flatten();
        self.frames.bytes.len() + others.map(|burst| burst.bytes.len()).sum::<usize>()
    }

    /// Makes a form that is missing: somebody has begun to need it while the
    /// messages were on their way. Nothing is compressed here; plain frames will
    /// do.
    pub(crate) fn complete(&mut self, encoding: Encoding) {
        if encoding.is_events() {
            self.events.get_or_insert_with(|| sse::encode(&self.frames));
        }
    }

    /// Takes the messages out in one encoding, with positions of this epoch.
    /// What is taken is gone, because a copy of shared bytes costs an
    /// allocation. So the encodings must be taken in the order of
    /// [`Encoding::ALL`].
    pub(crate) fn take(&mut self, encoding: Encoding, epoch: Epoch) -> Burst {
        self.complete(encoding);
        match encoding {
            Encoding::Frames => std::mem::take(&mut self.frames),
            Encoding::PositionedFrames => positions::encode(&self.frames, epoch),
            Encoding::Events => self
                .events
                .take()
                .unwrap_or_default()
                .placed_like(&self.frames),
            Encoding::PositionedEvents => {
                let events = self.events.clone().unwrap_or_default();
                sse::with_ids(&events.placed_like(&self.frames), epoch)
            }
            #[cfg(feature = "deflate")]
            Encoding::Deflated => {
                let deflated = self
                    .deflated
                    .take()
                    .map(|burst| burst.placed_like(&self.frames));
                deflated.unwrap_or_else(|| self.frames.clone())
            }
            #[cfg(feature = "deflate")]
            Encoding::Deflated4KiB | Encoding::Deflated256 => {
                let longest = encoding.longest_compressed();
                let fits = self.frames.longest <= longest;
                let deflated = self.deflated.as_ref().filter(|_| fits);
                deflated
                    .unwrap_or(&self.frames)
                    .clone()
                    .placed_like(&self.frames)
            }
        }
    }
}

impl From<Burst> for Forms {
    fn from(frames: Burst) -> Forms {
        Forms {
            frames,
            events: None,
            #[cfg(feature = "deflate")]
            deflated: None,
        }
    }
}
