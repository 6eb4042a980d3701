//! The log of several servers, in Redis or Valkey.
//!
//! All messages of all rooms go through one stream, and every node reads all
//! of it. One thread appends what the node has accepted, another reads and
//! gives the hub what is in the log. The nodes are the truth and the engine
//! is the relay: when it comes back with less than they have seen, they put
//! the end of the log back before anybody may append.

mod address;
mod announce;
mod append;
mod away;
mod connection;
#[cfg(test)]
mod hostile;
mod keys;
#[cfg(test)]
mod model;
mod node;
mod place;
mod presence;
mod read;
mod resp;
mod roster;
mod scripts;
mod spool;
mod status;
mod tail;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::Error;
use crate::hub::{Announce, Append, Publisher};
use crate::names::NodeTag;
use crate::net::{Stop, Trust};
use crate::secret::Secret;
use crate::task::Task;
use address::Address;
use announce::Announcements;
use connection::{Connection, Fault};
use keys::Keys;
use node::Node;
use spool::Spool;
use tail::{Retention, Tail};

pub(crate) use status::Status;

/// The most messages that the spool holds.
const SPOOL_MESSAGES: usize = 65_536;
/// How long a node waits at its start for an engine that is required.
const REQUIRED: Duration = Duration::from_secs(10);
/// … and the pause between its attempts.
const RETRY: Duration = Duration::from_millis(200);
/// How often the end of a thread is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A node's connection to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    node: Arc<Node>,
}

/// A node as the engine lists it.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    pub(crate) id: String,
    /// What follows the `@` in the ids of its clients.
    pub(crate) tag: Option<NodeTag>,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) silent_millis: u64,
    pub(crate) is_this: bool,
}

/// The numbers that change by the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spooled {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) waits: u64,
    pub(crate) refused: u64,
}

impl Engine {
    /// An engine that was tried out: what somebody must change is said at the
    /// start. One that is away is waited for, here if it is required.
    pub(crate) fn new(config: &Config) -> Result<Engine, Error> {
        let engine = Engine::configured(config)?;
        let deadline = Instant::now() + REQUIRED;
        loop {
            let fault = match engine.try_out() {
                Ok(()) => return Ok(engine),
                Err(fault) => fault,
            };
            let is_over = Instant::now() >= deadline;
            match fault {
                Fault::Denied(text) => return Err(Error::engine(text)),
                fault if config.engine_required && is_over => {
                    return Err(Error::engine(fault.text()));
                }
                _ if config.engine_required => thread::sleep(RETRY),
                fault => {
                    log::warn!("{}; this node waits for it", fault.text());
                    return Ok(engine);
                }
            }
        }
    }

    fn configured(config: &Config) -> Result<Engine, Error> {
        let address = config.engine.as_ref().map_or("", Secret::reveal);
        let address = Address::parse(address);
        let mut address = address.map_err(|flaw| Error::config(format!("engine: {flaw}")))?;
        address.take_password(config.engine_password.as_ref().map(Secret::reveal));
        if address.is_secure {
            let own = config
                .engine_cert
                .as_deref()
                .zip(config.engine_key.as_deref());
            address.trust = Some(Trust::new(config.engine_ca.as_deref(), own)?);
        }
        let stop = Stop::new().map_err(|error| Error::start("cannot make a socket pair", error))?;
        let random = RandomState::new().hash_one(std::process::id());
        // The first six digits tell clients of nodes apart, where zero is none.
        let id = format!("{:08x}", (random >> 32).max(1 << 8));
        let name = match config.node_name.as_str() {
            "" => id.clone(),
            name => name.to_owned(),
        };
        let spool = Spool::new(config.engine_spool, SPOOL_MESSAGES, config.engine_patience);
        let retention = Retention::new(config.engine_retain, config.engine_retain_age);
        let spool = Arc::new(spool);
        let mut node = Node::new(
            (id, name),
            address,
            config.node_timeout,
            Keys::new(&config.engine_prefix),
            spool.clone(),
            (Tail::new(config.engine_tail), retention),
            Arc::new(stop),
        );
        node.announcements = config
            .shows_presence()
            .then(|| Arc::new(Announcements::new(spool)));
        let node = Arc::new(node);
        Ok(Engine { node })
    }

    fn try_out(&self) -> Result<(), Fault> {
        let mut connection = Connection::open(&self.node.address, &self.node.stop)?;
        if let Some(remark) = &connection.remark {
            log::warn!("{remark}");
        }
        self.node.keys.try_out(&mut connection, &self.node.id)
    }

    /// What tells this node's clients from those of others.
    pub(crate) fn tag(&self) -> Option<NodeTag> {
        self.node.tag()
    }

    /// Where messages for the log go.
    pub(crate) fn spool(&self) -> Arc<dyn Append> {
        self.node.spool.clone()
    }

    /// How the other nodes are told who is in the rooms here, if any room
    /// shows that.
    pub(crate) fn announcer(&self) -> Option<Arc<dyn Announce>> {
        let announcements = self.node.announcements.clone()?;
        Some(announcements)
    }

    /// Starts the two threads.
    pub(crate) fn start(&self, publisher: &Publisher, stack_size: usize) -> io::Result<Threads> {
        let spawn = |name: &str| {
            let name = name.to_owned();
            thread::Builder::new().name(name).stack_size(stack_size)
        };
        let (node, to) = (self.node.clone(), publisher.clone());
        let read = spawn("hubcast-read").spawn(Box::new(move || read::run(&node, &to)) as Task)?;
        let (node, publisher) = (self.node.clone(), publisher.clone());
        let append: Task = Box::new(move || append::run(&node, &publisher));
        let append = spawn("hubcast-append").spawn(append);
        let mut threads = Threads {
            node: self.node.clone(),
            append: None,
            read: Some(read),
        };
        threads.append = Some(append?);
        Ok(threads)
    }

    pub(crate) fn status(&self) -> &Status {
        &self.node.status
    }

    /// Why the node is not ready, if so.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        self.node.status.flaw(self.node.oldest_unread())
    }

    pub(crate) fn spooled(&self) -> Spooled {
        use std::sync::atomic::Ordering;
        let load = self.node.spool.load();
        Spooled {
            messages: load.messages,
            bytes: load.bytes,
            waits: self.node.spool.waits.load(Ordering::Relaxed),
            refused: self.node.spool.refused.load(Ordering::Relaxed),
        }
    }

    /// The nodes that have given a sign of life.
    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        let (signs, since) = self.node.signs();
        let infos = signs.into_iter().map(|sign| {
            let (version, name) = sign.about.split_once(' ').unwrap_or_default();
            NodeInfo {
                is_this: sign.node == self.node.id,
                tag: NodeTag::of_node(&sign.node),
                id: sign.node,
                name: name.to_owned(),
                version: version.to_owned(),
                silent_millis: sign.age + since.as_millis() as u64,
            }
        });
        infos.collect()
    }
}

/// The two threads. Dropped, they end at once.
#[derive(Debug)]
pub(crate) struct Threads {
    node: Arc<Node>,
    append: Option<JoinHandle<()>>,
    read: Option<JoinHandle<()>>,
}

impl Threads {
    /// Takes nothing more from publishers; what was accepted still goes out.
    pub(crate) fn drain(&self) {
        self.node.spool.close();
    }

    /// Ends both threads, by the deadline even if something is left. Returns
    /// how many messages are.
    pub(crate) fn end(mut self, deadline: Instant) -> usize {
        let is_over = |thread: &JoinHandle<()>| thread.is_finished();
        while Instant::now() < deadline && !self.append.as_ref().is_none_or(is_over) {
            thread::sleep(LOOK);
        }
        self.stop();
        self.node.spool.load().messages
    }

    fn stop(&mut self) {
        self.node.spool.close();
        self.node.stop.trigger();
        self.node.notify();
        for thread in [self.append.take(), self.read.take()].into_iter().flatten() {
            if thread.join().is_err() {
                log::error!("a thread of the engine panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}
