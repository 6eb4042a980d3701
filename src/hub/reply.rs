//! The answer to one question.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The end that answers. If it is dropped, no answer comes.
///
/// The value does not go through the channel, which only wakes who waits for it:
/// a channel is compiled anew for each type that it carries, 4 KB and more.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    value: Arc<Mutex<Option<T>>>,
    done: Sender<()>,
}

/// The end that waits; see [`Gone`](super::inbox::Gone).
#[derive(Debug)]
pub(crate) struct Answer<T> {
    value: Arc<Mutex<Option<T>>>,
    pub(super) done: Receiver<()>,
}

impl<T> Reply<T> {
    /// Both ends of an answer.
    pub(crate) fn pair() -> (Reply<T>, Answer<T>) {
        let value = Arc::new(Mutex::new(None));
        let (done, waits) = bounded(1);
        let reply = Reply {
            value: value.clone(),
            done,
        };
        (reply, Answer { value, done: waits })
    }

    /// Answers. Nobody notices if whoever asked has gone.
    pub(crate) fn give(self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        let _ = self.done.try_send(());
    }
}

impl<T> Answer<T> {
    /// The answer, once it has come.
    pub(crate) fn take(&self) -> Option<T> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        value.take()
    }
}
