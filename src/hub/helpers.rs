//! Fan-out on several cores: helper threads send a part of a large fan-out.
//!
//! The hub stays the one owner of its members. For a room that is large
//! enough it moves some of them to a helper thread, sends to the others
//! meanwhile, and takes those back before it does anything else. A member is
//! in one place at any time, so nothing is shared and nothing needs a lock.

use std::io;
use std::panic;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::giving::{Delivering, Given, Receivers};
use super::member::{Member, Totals};
use super::rooms::Excepts;
#[cfg(feature = "deflate")]
use super::shared_stream::Stretch;
use super::slab::Slab;
use crate::outbox::Outcome;
use crate::task::Task;
use crate::wire::{Burst, Encoding};

/// Waking a helper and taking its part back cost about as much as sending
/// to ten members. A part of fewer members than this is not worth it.
const MIN_PART: usize = 128;
/// The most helpers that are started where the configuration does not say.
const MAX_AUTOMATIC: usize = 8;

/// How many threads send a fan-out, the hub's own among them: the number
/// configured, or as many as there are cores where that is 0.
pub(crate) fn fan_out_threads(configured: usize) -> usize {
    match configured {
        0 => {
            let cores = thread::available_parallelism();
            cores.map_or(1, |cores| cores.get().min(1 + MAX_AUTOMATIC))
        }
        threads => threads,
    }
}

/// Threads that send parts of a fan-out. Dropping them ends them.
#[derive(Debug)]
pub(crate) struct Helpers {
    helpers: Vec<Helper>,
    min_part: usize,
}

#[derive(Debug)]
struct Helper {
    lend: Sender<Box<Part>>,
    back: Receiver<Box<Part>>,
    thread: JoinHandle<()>,
    /// Here while nothing is lent.
    part: Option<Box<Part>>,
}

/// Members and what they are given. It moves to a helper and back, and its
/// vectors are used again, so that a fan-out allocates nothing.
#[derive(Debug, Default)]
struct Part {
    members: Vec<(u32, Box<Member>)>,
    list: Vec<Burst>,
    excepts: Excepts,
    encoding: Encoding,
    #[cfg(feature = "deflate")]
    stretch: Option<Stretch>,
    totals: Totals,
    troubled: Vec<(u32, Outcome)>,
    joined: Vec<u8>,
}

impl Helpers {
    pub(crate) fn none() -> Helpers {
        Helpers {
            helpers: Vec::new(),
            min_part: MIN_PART,
        }
    }

    /// Starts one more helper.
    pub(crate) fn start(&mut self, stack_size: usize) -> io::Result<()> {
        let (lend, parts) = bounded(1);
        let (done, back) = bounded(1);
        let thread = thread::Builder::new()
            .name(format!("hubcast-helper-{}", self.helpers.len() + 1))
            .stack_size(stack_size)
            .spawn(Box::new(move || help(&parts, &done)) as Task)?;
        self.helpers.push(Helper {
            lend,
            back,
            thread,
            part: Some(Box::default()),
        });
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn with_parts_of(mut self, min_part: usize) -> Helpers {
        self.min_part = min_part;
        self
    }

    /// Lends the members at some of these places to helpers, which begin to
    /// give them this at once. Returns the places that are the hub's own to
    /// serve.
    pub(super) fn lend<'p>(
        &mut self,
        mut places: &'p [u32],
        members: &mut Slab<Box<Member>>,
        given: Given<'_>,
    ) -> &'p [u32] {
        let parts = (places.len() / self.min_part).min(1 + self.helpers.len());
        if parts < 2 {
            return places;
        }
        let size = places.len() / parts;
        for helper in &mut self.helpers[..parts - 1] {
            let Some(mut part) = helper.part.take() else {
                continue;
            };
            let (lent, kept) = places.split_at(size);
            places = kept;
            let taken = |&place| Some((place, members.take_out(place)?));
            part.members.extend(lent.iter().filter_map(taken));
            part.encoding = given.encoding;
            part.list.extend_from_slice(given.list);
            part.excepts.copy(given.excepts);
            #[cfg(feature = "deflate")]
            {
                part.stretch = given.stretch.cloned();
            }
            // The channel holds one part, and it is empty. If the thread is
            // gone, taking the part back shows it.
            let _ = helper.lend.send(part);
        }
        places
    }

    /// Waits for the parts that were lent and puts their members back. A
    /// helper's panic goes on here: it is a fault in the hub's own code.
    pub(super) fn take_back(
        &mut self,
        members: &mut Slab<Box<Member>>,
        totals: &mut Totals,
        troubled: &mut Vec<(u32, Outcome)>,
    ) {
        let lent = |helper: &Helper| helper.part.is_none();
        while let Some(at) = self.helpers.iter().position(lent) {
            let Ok(mut part) = self.helpers[at].back.recv() else {
                let ended = self.helpers.swap_remove(at).thread.join();
                panic::resume_unwind(ended.err().unwrap_or_else(|| Box::new("a helper ended")));
            };
            for (place, member) in part.members.drain(..) {
                members.put_back(place, member);
            }
            totals.add(&std::mem::take(&mut part.totals));
            troubled.append(&mut part.troubled);
            self.helpers[at].part = Some(part);
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        for helper in self.helpers.drain(..) {
            drop(helper.lend);
            // Its panic, if it was one, has been reported where it happened.
            let _ = helper.thread.join();
        }
    }
}

/// Runs on a helper thread until the hub has ended.
fn help(parts: &Receiver<Box<Part>>, done: &Sender<Box<Part>>) {
    for mut part in parts {
        part.send();
        if done.send(part).is_err() {
            return;
        }
    }
}

impl Part {
    fn send(&mut self) {
        let mut delivering = Delivering {
            totals: &mut self.totals,
            troubled: &mut self.troubled,
            joined: &mut self.joined,
        };
        let given = Given {
            encoding: self.encoding,
            list: &self.list,
            excepts: &self.excepts,
            #[cfg(feature = "deflate")]
            stretch: self.stretch.as_ref(),
        };
        delivering.give(&mut self.members, given);
        // The bytes are needed no longer than by those who are sent them.
        self.list.clear();
        #[cfg(feature = "deflate")]
        drop(self.stretch.take());
    }
}

impl Receivers for Vec<(u32, Box<Member>)> {
    fn len(&self) -> usize {
        self.len()
    }

    fn get(&mut self, index: usize) -> Option<(u32, &mut Member)> {
        let (place, member) = self.get_mut(index)?;
        Some((*place, member))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::config::{Config, SlowConsumer};
    use crate::engine::Memory;
    use crate::hub::interest::Interest;
    use crate::hub::{Audience, ClientState, Command, Hub, Joining, Place, Start};
    use crate::message::Message;
    use crate::names::ClientId;
    use crate::net::{Outlet, Sent};
    use crate::outbox::fake::FakeWriters;
    use crate::outbox::{Outbox, OutboxRules};
    use crate::wire::burst::single;

    /// Writes down the thread that sends to it; panics on one that is not the
    /// hub's, if it is told so.
    #[derive(Debug)]
    struct Watched {
        senders: Mutex<Vec<ThreadId>>,
        only: Option<ThreadId>,
    }

    impl Outlet for Watched {
        fn try_send(&self, bytes: &[u8]) -> io::Result<Sent> {
            let sender = thread::current().id();
            self.senders.lock().unwrap().push(sender);
            if self.only.is_some_and(|only| only != sender) {
                panic!("a fault in a helper");
            }
            Ok(Sent::whole(bytes.len()))
        }

        fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
            let sent = slices.iter().map(|slice| Ok(self.try_send(slice)?.bytes));
            Ok(Sent::whole(sent.sum::<io::Result<usize>>()?))
        }

        fn send_within(&self, _: &[IoSlice<'_>], _: Duration) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn finish(&self) {}

        fn end(&self) {}

        fn abort(&self) {}
    }

    fn hub_of(clients: u64, helpers: Helpers, only: Option<ThreadId>) -> (Hub, Arc<Watched>) {
        let senders = Mutex::default();
        let socket = Arc::new(Watched { senders, only });
        let rules = Arc::new(OutboxRules {
            max_messages: 8,
            max_bytes: 1000,
            slow_consumer: SlowConsumer::Disconnect,
            writers: Box::new(FakeWriters::default()),
        });
        let interest = Arc::new(Interest::new());
        let hub = Hub::new(
            &Config::default(),
            Arc::default(),
            interest,
            Box::new(Memory::new()),
        );
        let mut hub = hub.with_helpers(helpers);
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
        for id in (1..=clients).map(ClientId) {
            hub.apply(Command::Join(Box::new(Joining {
                client: Arc::new(ClientState::new(
                    id,
                    peer,
                    "/".into(),
                    Place::anywhere(),
                    None,
                )),
                outbox: Outbox::new(id, socket.clone(), rules.clone()),
                encoding: Encoding::Frames,
                answer: Bytes::new(),
                following: None,
                start: Start::default(),
            })));
        }
        // The answers are sent by the hub alone.
        socket.senders.lock().unwrap().clear();
        (hub, socket)
    }

    fn broadcast(hub: &mut Hub) {
        hub.apply(Command::Publish {
            to: Audience::Everybody { except: None },
            forms: single(&Message::from("to all"), false).into(),
            permit: None,
            receipt: None,
        });
    }

    fn started(count: usize) -> Helpers {
        let mut helpers = Helpers::none();
        (0..count).for_each(|_| helpers.start(64 * 1024).unwrap());
        helpers
    }

    /// How many members each thread has sent to.
    fn shares(clients: usize, helpers: usize) -> Vec<usize> {
        let (mut hub, socket) = hub_of(clients as u64, started(helpers), None);
        broadcast(&mut hub);
        let senders = socket.senders.lock().unwrap();
        assert_eq!(senders.len(), clients);
        let mut shares: Vec<(ThreadId, usize)> = Vec::new();
        for sender in senders.iter() {
            match shares.iter_mut().find(|(thread, _)| thread == sender) {
                Some((_, share)) => *share += 1,
                None => shares.push((*sender, 1)),
            }
        }
        let mut shares: Vec<usize> = shares.into_iter().map(|(_, share)| share).collect();
        shares.sort_unstable();
        shares
    }

    #[test]
    fn a_large_room_is_shared_out_and_a_small_one_is_not() {
        assert_eq!(shares(2 * MIN_PART - 1, 2), [2 * MIN_PART - 1]);
        assert_eq!(shares(2 * MIN_PART, 2), [MIN_PART, MIN_PART]);
        assert_eq!(shares(4 * MIN_PART + 1, 2), [171, 171, 171]);
        assert_eq!(shares(4 * MIN_PART, 0), [4 * MIN_PART]);
    }

    #[test]
    fn a_helper_that_panics_ends_the_hub_as_its_own_panic_would() {
        let here = thread::current().id();
        let (mut hub, _) = hub_of(4, started(2).with_parts_of(1), Some(here));
        let panicked = catch_unwind(AssertUnwindSafe(|| broadcast(&mut hub)));
        let panic = panicked.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a fault in a helper"));
    }
}
