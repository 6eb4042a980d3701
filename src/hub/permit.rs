//! How many large bursts may wait for the hub.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::wire::Forms;

/// Bursts up to this size count as a command only.
const SMALL: usize = 64 * 1024;
/// How many larger bursts may wait. Each holds a permit.
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

/// All permits are out.
#[derive(Debug)]
pub(super) struct NoPermit;

/// Where large bursts get their permits; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    free: Receiver<()>,
    back: Sender<()>,
}

impl Permits {
    pub(super) fn new() -> Permits {
        let (back, free) = bounded(LARGE);
        for _ in 0..LARGE {
            drop(Permit(back.clone()));
        }
        Permits { free, back }
    }

    /// The permit that so many bytes of messages need; `None` if they need none. `wait`
    /// takes one from the channel that it is given.
    pub(super) fn wait_for(
        &self,
        bytes: usize,
        wait: impl FnOnce(&Receiver<()>) -> Option<()>,
    ) -> Option<Permit> {
        if bytes <= SMALL {
            return None;
        }
        wait(&self.free)?;
        Some(Permit(self.back.clone()))
    }

    /// Like [`wait_for`](Permits::wait_for), without waiting.
    pub(super) fn try_take(&self, forms: &Forms) -> Result<Option<Permit>, NoPermit> {
        if forms.len() <= SMALL {
            return Ok(None);
        }
        self.free.try_recv().map_err(|_| NoPermit)?;
        Ok(Some(Permit(self.back.clone())))
    }
}
