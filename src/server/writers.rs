//! Starts real writer threads.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::connection::Threads;
use crate::hub::Command;
use crate::hub::Inbox;
use crate::names::ClientId;
use crate::net::Outlet;
use crate::outbox::writer;
use crate::outbox::{Chunk, StartWriter};
use crate::task::Task;

/// Starts real writer threads.
#[derive(Debug)]
pub(super) struct Writers {
    pub(super) inbox: Inbox,
    pub(super) threads: Arc<Threads>,
    pub(super) write_timeout: Duration,
    pub(super) stack_size: usize,
}

impl StartWriter for Writers {
    fn start(&self, id: ClientId, socket: Arc<dyn Outlet>) -> io::Result<Sender<Chunk>> {
        let (sender, chunks) = bounded(1);
        let (inbox, timeout) = (self.inbox.clone(), self.write_timeout);
        let presence = self.threads.enter();
        thread::Builder::new()
            .name(format!("writer-{id}"))
            .stack_size(self.stack_size)
            .spawn(Box::new(move || {
                let _presence = presence;
                // Dropped before `_presence`, so that the socket is closed when
                // this thread is counted out.
                let socket = socket;
                writer::run(id, &*socket, &chunks, timeout, |result| {
                    inbox.send(Command::Written { id, result }).is_ok()
                });
            }) as Task)?;
        Ok(sender)
    }
}
