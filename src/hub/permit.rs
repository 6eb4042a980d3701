//! How many large bursts may wait for the hub.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::inbox::{Gone, InboxError};
use crate::wire::burst::Forms;

/// Bursts up to this size count as a command only.
const SMALL: usize = 64 * 1024;
/// The most larger bursts that wait: each holds one of so many permits.
const LARGE: usize = 16;

/// Leave for one large burst to wait in the inbox; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // There are never more permits than places for them.
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
        // Without the hub no permit comes back, and none is needed.
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
