//! How many large bursts may wait for the hub.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::inbox::{Gone, InboxError};
use crate::wire::burst::Forms;

/// Bursts up to this size count as a command only.
const SMALL: usize = 64 * 1024;
/// How many larger bursts may wait: each holds a permit.
const LARGE: usize = 16;

/// Held by one large burst while it waits in the inbox; given back when
/// dropped.
#[derive(Debug)]
pub(crate) struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // Never full: the channel has a place for each permit.
        let _ = self.0.try_send(());
    }
}

/// Where large bursts get their permits; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    free: Receiver<()>,
    back: Sender<()>,
}

impl Permits {
    pub(crate) fn new() -> Permits {
        let (back, free) = bounded(LARGE);
        for _ in 0..LARGE {
            drop(Permit(back.clone()));
        }
        Permits { free, back }
    }

    /// The permit that these messages need, if they need one; waits
    /// until there is one.
    pub(crate) fn wait_for(&self, forms: &Forms, gone: &Gone) -> Option<Permit> {
        if forms.frames.bytes.len() <= SMALL {
            return None;
        }
        // Once the hub has ended no permit comes back, and none is needed.
        gone.or_recv(&self.free)?;
        Some(Permit(self.back.clone()))
    }

    /// Like [`wait_for`](Permits::wait_for), without waiting.
    pub(crate) fn try_take(&self, forms: &Forms) -> Result<Option<Permit>, InboxError> {
        if forms.frames.bytes.len() <= SMALL {
            return Ok(None);
        }
        self.free.try_recv().map_err(|_| InboxError::Full)?;
        Ok(Some(Permit(self.back.clone())))
    }
}
