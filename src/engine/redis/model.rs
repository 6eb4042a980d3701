//! The engine and its nodes in one thread, by random choices: what the
//! scripts do is written here once more, in Rust; the nodes are the real ones,
//! and take their steps in any order. The engine crashes and comes back with
//! everything, with less, or with nothing; keys are deleted; answers get lost,
//! and commands are carried out late; nodes are cut off, stop, and die.
//!
//! What must hold then is in [`Model::check`].

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::append::Restoration;
use super::keys::{Appended, Attached, Beat, Entry, Holding, Id, Keys, Open, Remains, Sign};
use super::node::Node;
use super::spool::Spool;
use super::tail::{Retention, Tail};
use crate::fuzzing::choices::Choices;
use crate::hub::{Append as _, Audience, Committed};
use crate::names::room_name;
use crate::net::Stop;
use crate::position::{Descent, Epoch, Lineage, Offset, Position};
use crate::wire::burst::single;

/// How long nodes are waited for, and how long they may be silent, in the
/// model's milliseconds.
const PATIENCE: u64 = 3000;
const TIMEOUT: u64 = 10_000;
const NODES: usize = 3;
/// The size of a tail that keeps everything.
const ALL: usize = 1 << 20;

/// What the engine keeps, or loses.
#[derive(Clone, Debug, Default)]
struct Store {
    log: Vec<Entry>,
    batches: HashMap<String, u64>,
    signs: BTreeMap<String, u64>,
    left: BTreeMap<String, u64>,
    attached: BTreeMap<String, Option<Holding>>,
    meta: Option<Meta>,
}

#[derive(Clone, Debug)]
struct Meta {
    run: u64,
    is_open: bool,
    until: u64,
    restorer: Option<String>,
    depth: u64,
    lineage: Option<Lineage>,
    /// There once the log was opened.
    next: Option<Offset>,
    extra: u64,
}

#[derive(Clone, Debug)]
enum Command {
    Attach(String, Holding, Vec<String>),
    Restore(String, bool, (u64, Lineage), Vec<Entry>),
    Open(String, u64, Lineage, Offset),
    Append(String, Epoch, u64, u64, bytes::Bytes),
    Beat(String, Epoch),
    Leave(String),
}

#[derive(Debug)]
enum Answer {
    Attach(Attached),
    Restore(bool),
    Open(Option<Open>),
    Append(Appended),
    Beat(Beat),
    Leave,
}

#[derive(Debug, Default)]
struct Engine {
    run: u64,
    now: u64,
    store: Store,
}

impl Engine {
    fn is_whole(&self, meta: &Meta) -> bool {
        let is_new = meta.next == Some(Offset(1)) && meta.extra == 0;
        meta.lineage.is_some() && (!self.store.log.is_empty() || is_new)
    }

    fn opened(&self, epoch: Epoch) -> Option<&Meta> {
        let meta = self.store.meta.as_ref()?;
        let is_of = |lineage: &Lineage| lineage.epoch() == epoch;
        let is_open = meta.run == self.run && meta.is_open;
        (is_open && meta.lineage.as_ref().is_some_and(is_of) && self.is_whole(meta)).then_some(meta)
    }

    fn restores(&mut self, node: &str) -> Option<&mut Meta> {
        let run = self.run;
        let meta = self.store.meta.as_mut()?;
        let is_it = meta.run == run && !meta.is_open && meta.restorer.as_deref() == Some(node);
        is_it.then_some(meta)
    }

    fn execute(&mut self, command: Command) -> Answer {
        match command {
            Command::Attach(node, holding, others) => {
                Answer::Attach(self.attach(&node, holding, &others))
            }
            Command::Restore(node, replace, of, entries) => {
                Answer::Restore(self.restore(&node, replace, of, entries))
            }
            Command::Open(node, depth, lineage, next) => {
                Answer::Open(self.open(&node, depth, lineage, next))
            }
            Command::Append(node, epoch, batch, messages, records) => {
                Answer::Append(self.append(node, epoch, batch, messages, records))
            }
            Command::Beat(node, epoch) => Answer::Beat(self.beat(&node, epoch)),
            Command::Leave(node) => {
                self.store.signs.remove(&node);
                self.store.batches.remove(&node);
                self.store.attached.remove(&node);
                self.store.left.insert(node, self.now);
                Answer::Leave
            }
        }
    }

    fn attach(&mut self, node: &str, holding: Holding, others: &[String]) -> Attached {
        let (run, now) = (self.run, self.now);
        if let Some(meta) = &self.store.meta
            && meta.run == run
            && meta.is_open
            && self.is_whole(meta)
        {
            return Attached::Open(self.as_open(meta));
        }
        let meta = self.store.meta.get_or_insert(Meta {
            run: u64::MAX,
            is_open: false,
            until: 0,
            restorer: None,
            depth: 0,
            lineage: None,
            next: None,
            extra: 0,
        });
        if meta.run != run || meta.is_open {
            self.store.attached.clear();
            (meta.run, meta.is_open, meta.restorer) = (run, false, None);
            meta.until = now + PATIENCE;
        }
        let deadline = meta.until;
        if now >= deadline
            && let Some(restorer) = meta.restorer.take()
        {
            self.store.attached.remove(&restorer);
        }
        let attached = &mut self.store.attached;
        attached.insert(node.to_owned(), Some(holding));
        for other in others {
            attached.entry(other.clone()).or_default();
        }
        if meta.restorer.as_deref().is_some_and(|other| other != node) {
            return Attached::Wait;
        }
        let is_missing = attached.values().any(Option::is_none);
        if is_missing && meta.restorer.is_none() && now < deadline {
            return Attached::Wait;
        }
        let have = attached
            .iter()
            .filter_map(|(node, holding)| Some((node, holding.as_ref()?)));
        let best = have.max_by_key(|(node, holding)| {
            let epoch = holding.epoch.map(|epoch| epoch.to_string());
            (holding.depth, epoch, holding.head, (*node).clone())
        });
        let best = best.map(|(node, _)| node.clone());
        meta.restorer.clone_from(&best);
        meta.until = now + PATIENCE;
        if best.as_deref() != Some(node) {
            return Attached::Wait;
        }
        Attached::Restore(Remains {
            depth: meta.depth,
            lineage: meta.lineage.clone(),
            last: self.store.log.last().map_or(Offset::NONE, |e| e.id.last),
        })
    }

    fn as_open(&self, meta: &Meta) -> Open {
        Open {
            run: self.run.to_string(),
            depth: meta.depth,
            lineage: meta.lineage.clone().unwrap(),
            next: meta.next.unwrap(),
        }
    }

    fn restore(
        &mut self,
        node: &str,
        replace: bool,
        (depth, lineage): (u64, Lineage),
        entries: Vec<Entry>,
    ) -> bool {
        let now = self.now;
        let Some(meta) = self.restores(node) else {
            return false;
        };
        meta.until = now + PATIENCE;
        meta.depth = depth;
        meta.lineage = Some(lineage);
        if replace {
            self.store.log.clear();
            self.store.batches.clear();
        }
        for entry in entries {
            let last = self.store.log.last().map_or(Id::default(), |last| last.id);
            assert!(entry.id > last, "an entry that Redis would refuse");
            self.store.batches.insert(entry.node.clone(), entry.batch);
            self.store.log.push(entry);
        }
        true
    }

    fn open(&mut self, node: &str, depth: u64, lineage: Lineage, next: Offset) -> Option<Open> {
        let now = self.now;
        let mut last = self.store.log.last().map(|entry| entry.id);
        self.restores(node)?;
        if last.is_none() && next > Offset(1) {
            let id = Id {
                last: next.before(),
                extra: 1,
            };
            last = Some(id);
            let entry = Entry {
                id,
                node: node.to_owned(),
                batch: 0,
                messages: 0,
                epoch: lineage.epoch(),
                time: now,
                records: bytes::Bytes::new(),
            };
            self.store.log.push(entry);
        }
        let meta = self.restores(node)?;
        (meta.is_open, meta.restorer) = (true, None);
        (meta.depth, meta.lineage) = (depth, Some(lineage));
        meta.next = Some(last.map_or(next, |id| id.last.plus(1)));
        meta.extra = last.map_or(0, |id| id.extra);
        let open = self.store.meta.as_ref().map(|meta| self.as_open(meta));
        self.store.attached.clear();
        open
    }

    fn append(
        &mut self,
        node: String,
        epoch: Epoch,
        batch: u64,
        messages: u64,
        records: bytes::Bytes,
    ) -> Appended {
        let Some(meta) = self.opened(epoch) else {
            return Appended::Closed;
        };
        if self
            .store
            .batches
            .get(&node)
            .is_some_and(|newest| batch <= *newest)
        {
            return Appended::Done;
        }
        let first = meta.next.unwrap();
        let last = Offset(first.0 + messages - 1);
        let extra = if messages == 0 { meta.extra + 1 } else { 0 };
        self.store.log.push(Entry {
            id: Id { last, extra },
            node: node.clone(),
            batch,
            messages,
            epoch,
            time: self.now,
            records,
        });
        self.store.batches.insert(node, batch);
        let meta = self.store.meta.as_mut().unwrap();
        (meta.next, meta.extra) = (Some(last.plus(1)), extra);
        Appended::At(first)
    }

    fn beat(&mut self, node: &str, epoch: Epoch) -> Beat {
        let now = self.now;
        self.store.signs.insert(node.to_owned(), now);
        self.store.signs.retain(|_, seen| now - *seen <= TIMEOUT);
        self.store.left.retain(|_, seen| now - *seen <= TIMEOUT);
        let signs = self.store.signs.iter().map(|(node, seen)| Sign {
            node: node.clone(),
            age: now - seen,
            about: String::new(),
        });
        Beat {
            is_open: self.opened(epoch).is_some(),
            next: Offset::NONE,
            now,
            nodes: signs.collect(),
            left: self.store.left.keys().cloned().collect(),
        }
    }
}

/// What the thread that appends is about.
#[derive(Debug)]
enum Doing {
    Away,
    Attach(Holding, Vec<String>),
    /// What is to be put back, in pieces; then the log is opened.
    Restore(Holding, Vec<String>, Box<Restoration>),
    CatchUp(Epoch),
    Resend(Epoch, u64),
    Flow(Epoch),
    Over,
}

/// What the thread that reads has in its hands.
#[derive(Debug)]
enum Reading {
    Nothing,
    Adopt(Open, Option<Entry>),
    Take(Vec<Entry>),
}

/// A node, its two threads, and what its hub was given.
#[derive(Debug)]
struct Actor {
    node: Node,
    doing: Doing,
    /// The process at the other end of each connection.
    appends_to: u64,
    reads_from: Option<u64>,
    reading: Reading,
    cursor: Id,
    is_cut_off: bool,
    said: u64,
    lineage: Option<Lineage>,
    /// What came since the log did last not go on, and where that was.
    heard: Vec<(Offset, String)>,
    floor: Offset,
    breaks: usize,
    /// It came to a log that has nothing in common with its own, as it and
    /// all others were never there together.
    is_orphan: bool,
    /// All that it was ever given.
    ever: HashSet<String>,
    /// How much all had said when it came to the log.
    said_before: HashMap<String, u64>,
}

/// What a client of a node had heard when it was told a position.
#[derive(Debug)]
struct Sample {
    position: Position,
    floor: Offset,
    heard: Vec<(Offset, String)>,
}

impl Actor {
    fn start(number: u64, tail: usize) -> Actor {
        let name = format!("n{number}");
        let node = Node::new(
            (name.clone(), name),
            Address::parse("redis://nowhere").unwrap(),
            Duration::from_secs(3600),
            Keys::new("test"),
            Arc::new(Spool::new(1 << 20, 1 << 16, Duration::ZERO)),
            (
                Tail::new(tail),
                Retention::new(1 << 30, Duration::from_secs(3600)),
            ),
            Arc::new(Stop::new().unwrap()),
        );
        Actor {
            node,
            doing: Doing::Away,
            appends_to: 0,
            reads_from: None,
            reading: Reading::Nothing,
            cursor: Id::default(),
            is_cut_off: false,
            said: 0,
            lineage: None,
            heard: Vec::new(),
            floor: Offset::NONE,
            breaks: 0,
            is_orphan: false,
            ever: HashSet::new(),
            said_before: HashMap::new(),
        }
    }

    fn say(&mut self) {
        let text = format!("{} {}", self.node.id, self.said);
        let to = Audience::Room {
            room: room_name("/r"),
            except: None,
        };
        let burst = single(&text.as_str().into(), false);
        if self.node.spool.append(to, burst, None, false).is_ok() {
            self.said += 1;
        }
    }

    /// What the hub does with what is read.
    fn commit(&mut self, committed: Committed) {
        let is_first = self.lineage.is_none();
        if let (Some(new), Some(old)) = (&committed.lineage, &self.lineage) {
            self.is_orphan |= new.fork(old) == Descent::Unknown;
        }
        self.lineage = committed.lineage.or(self.lineage.take());
        if let Some(at) = committed.break_at {
            self.breaks += usize::from(!is_first);
            self.floor = at;
            self.heard.clear();
        }
        if let Some(at) = committed.forget {
            self.floor = at;
            self.heard.clear();
        }
        for placed in committed.placed {
            let frames = placed.forms.frames;
            for (index, (_, payload)) in frames.payloads().enumerate() {
                let text = String::from_utf8(payload.to_vec()).unwrap();
                let offset = frames.offset(index);
                let newest = self.heard.last().map_or(self.floor, |last| last.0);
                assert!(offset > newest, "{offset:?} comes behind {newest:?}");
                assert!(self.ever.insert(text.clone()), "{text} comes twice");
                self.heard.push((offset, text));
            }
        }
    }

    fn sample(&self) -> Option<Sample> {
        let lineage = self.lineage.as_ref()?;
        let offset = self.heard.last().map_or(self.floor, |last| last.0);
        Some(Sample {
            position: lineage.position(offset),
            floor: self.floor,
            heard: self.heard.clone(),
        })
    }

    fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Flow(_))
            && self.node.spool.load().messages == 0
            && matches!(self.reading, Reading::Nothing)
            && self.reads_from.is_some()
    }
}

#[derive(Debug)]
struct Model<'a> {
    choices: Choices<'a>,
    engine: Engine,
    /// What it may come back with.
    snapshot: Store,
    /// What was sent over connections that are closed, and is still there.
    late: VecDeque<Command>,
    actors: Vec<Actor>,
    /// Those that were killed or have stopped: who said what.
    gone: HashSet<String>,
    samples: Vec<Sample>,
    started: u64,
    tail: usize,
    is_calm: bool,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    accepted: u64,
    restores: u64,
    breaks: usize,
    complete: u64,
    incomplete: u64,
}

/// The engine or the way there did not work.
struct Fault;

impl<'a> Model<'a> {
    fn new(choices: Choices<'a>) -> Model<'a> {
        let mut model = Model {
            choices,
            engine: Engine::default(),
            snapshot: Store::default(),
            late: VecDeque::new(),
            actors: Vec::new(),
            gone: HashSet::new(),
            samples: Vec::new(),
            started: 0,
            tail: 0,
            is_calm: false,
            tally: Tally::default(),
        };
        model.tail = [600, 4000, ALL, ALL][model.choices.below(4)];
        for _ in 0..NODES {
            model.start();
        }
        model
    }

    fn start(&mut self) {
        self.started += 1;
        self.actors.push(Actor::start(self.started, self.tail));
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.engine.now += self.choices.below(40) as u64;
            if self.choices.one_in(60) {
                self.something_happens();
            }
            self.step();
        }
        self.calm_down();
    }

    fn step(&mut self) {
        let at = self.choices.below(self.actors.len());
        match self.choices.below(6) {
            0 => self.actors[at].say(),
            1 | 2 => self.read(at),
            3 if self.choices.one_in(4) => {
                let sample = self.actors[at].sample();
                self.samples.extend(sample);
            }
            _ => {
                if self.append(at).is_err() {
                    self.actors[at].node.detach();
                    self.actors[at].doing = Doing::Away;
                }
            }
        }
    }

    fn something_happens(&mut self) {
        let at = self.choices.below(self.actors.len());
        match self.choices.below(16) {
            0..=2 => self.snapshot = self.engine.store.clone(),
            3 => self.engine_restarts(self.engine.store.clone()),
            4 => self.engine_restarts(self.snapshot.clone()),
            5 => self.engine_restarts(Store::default()),
            6 => self.engine.store = Store::default(),
            7 => self.engine.store.log.clear(),
            8 => self.engine.store.meta = None,
            9 => {
                self.engine.store.batches.clear();
                self.engine.store.signs.clear();
                self.engine.store.left.clear();
            }
            10 | 11 => self.actors[at].is_cut_off ^= true,
            12 if self.choices.one_in(4) => {
                self.actors[at].node.spool.close();
            }
            13 if self.choices.one_in(4) => self.end(at),
            14 => self.engine.now += 1000,
            _ => {
                if let Some(command) = self.late.pop_front() {
                    self.engine.execute(command);
                }
            }
        }
    }

    fn engine_restarts(&mut self, store: Store) {
        self.engine.run += 1;
        self.engine.store = store;
        self.late.clear();
    }

    /// A node is killed, and another one starts.
    fn end(&mut self, at: usize) {
        let actor = self.actors.swap_remove(at);
        self.gone.insert(actor.node.id.clone());
        self.start();
    }

    /// From here on everything works, until nothing is left to do.
    fn calm_down(&mut self) {
        self.is_calm = true;
        for actor in &mut self.actors {
            actor.is_cut_off = false;
        }
        for round in 0.. {
            assert!(
                round < 20_000,
                "it does not come to an end: {:#?}",
                self.actors
            );
            self.engine.now += 40;
            for at in 0..self.actors.len() {
                if self.append(at).is_err() {
                    self.actors[at].node.detach();
                    self.actors[at].doing = Doing::Away;
                }
                self.read(at);
            }
            let top = self
                .engine
                .store
                .log
                .last()
                .map_or(Offset::NONE, |e| e.id.last);
            let is_over = |actor: &Actor| actor.is_idle() && actor.heard_to() >= top;
            if self.late.is_empty() && self.actors.iter().all(is_over) {
                break;
            }
            if let Some(command) = self.late.pop_front() {
                self.engine.execute(command);
            }
        }
    }

    /// Sends a command over the connection on which a node appends.
    fn call(&mut self, at: usize, command: Command) -> Result<Answer, Fault> {
        let actor = &self.actors[at];
        if actor.is_cut_off || actor.appends_to != self.engine.run {
            return Err(Fault);
        }
        if self.is_calm || !self.choices.one_in(40) {
            return Ok(self.engine.execute(command));
        }
        match self.choices.below(3) {
            0 => {}
            1 => drop(self.engine.execute(command)),
            _ => self.late.push_back(command),
        }
        Err(Fault)
    }

    /// The next step of the thread that appends, as in `append.rs`.
    fn append(&mut self, at: usize) -> Result<(), Fault> {
        let id = self.actors[at].node.id.clone();
        let doing = std::mem::replace(&mut self.actors[at].doing, Doing::Away);
        let next = match doing {
            Doing::Away if self.actors[at].is_cut_off => Doing::Away,
            Doing::Away => {
                self.actors[at].appends_to = self.engine.run;
                self.attach_again(at)
            }
            Doing::Attach(holding, others) => {
                let attach = Command::Attach(id, holding.clone(), others.clone());
                match self.call(at, attach)? {
                    Answer::Attach(Attached::Open(open)) => self.attached(at, open),
                    Answer::Attach(Attached::Restore(remains)) => {
                        let epoch = self.epoch();
                        let restoration = Restoration::new(&self.actors[at].node, &remains, epoch);
                        self.tally.restores += 1;
                        Doing::Restore(holding, others, Box::new(restoration))
                    }
                    _ => Doing::Attach(holding, others),
                }
            }
            Doing::Restore(holding, others, mut restoration) => {
                let Some((replace, of, piece)) = restoration.next_piece() else {
                    let Restoration {
                        depth,
                        lineage,
                        next,
                        ..
                    } = *restoration;
                    return match self.call(at, Command::Open(id, depth, lineage, next))? {
                        Answer::Open(Some(open)) => {
                            self.actors[at].doing = self.attached(at, open);
                            Ok(())
                        }
                        _ => {
                            self.actors[at].doing = Doing::Attach(holding, others);
                            Ok(())
                        }
                    };
                };
                match self.call(at, Command::Restore(id, replace, of, piece))? {
                    Answer::Restore(true) => Doing::Restore(holding, others, restoration),
                    _ => Doing::Attach(holding, others),
                }
            }
            Doing::CatchUp(epoch) => {
                let (is_read, is_doubtful) = {
                    let progress = self.actors[at].node.lock();
                    (Node::is_read(&progress), progress.is_doubtful)
                };
                match (is_read, is_doubtful) {
                    (true, _) => Doing::Resend(epoch, 0),
                    (false, true) => return Err(Fault),
                    (false, false) => self.beat(at, epoch, Doing::CatchUp(epoch))?,
                }
            }
            Doing::Resend(epoch, last) => match self.actors[at].node.unread_after(last) {
                None => Doing::Flow(epoch),
                Some((batch, messages, records, _)) => {
                    let then = Doing::Resend(epoch, batch);
                    self.append_batch(at, (epoch, batch, messages, records), then)?
                }
            },
            Doing::Flow(epoch) => self.flow(at, epoch)?,
            Doing::Over => {
                self.end(at);
                return Ok(());
            }
        };
        self.actors[at].doing = next;
        Ok(())
    }

    fn flow(&mut self, at: usize, epoch: Epoch) -> Result<Doing, Fault> {
        let id = self.actors[at].node.id.clone();
        let flow = Doing::Flow(epoch);
        if self.actors[at].node.spool.is_drained() {
            self.call(at, Command::Leave(id))?;
            return Ok(Doing::Over);
        }
        if self.choices.one_in(8) {
            return self.beat(at, epoch, flow);
        }
        if self.actors[at].node.lock().is_doubtful {
            return Ok(self.attach_again(at));
        }
        let node = &self.actors[at].node;
        let batch = match !self.is_calm && self.choices.one_in(30) {
            true => Some(node.begin_probe()),
            false => node.begin_batch(),
        };
        match batch {
            None => Ok(flow),
            Some((batch, messages, records, _)) => {
                self.append_batch(at, (epoch, batch, messages, records), flow)
            }
        }
    }

    fn append_batch(
        &mut self,
        at: usize,
        (epoch, batch, messages, records): (Epoch, u64, u64, bytes::Bytes),
        then: Doing,
    ) -> Result<Doing, Fault> {
        let id = self.actors[at].node.id.clone();
        let append = Command::Append(id, epoch, batch, messages, records);
        match self.call(at, append)? {
            Answer::Append(Appended::Closed) => Ok(self.attach_again(at)),
            _ => Ok(then),
        }
    }

    fn beat(&mut self, at: usize, epoch: Epoch, then: Doing) -> Result<Doing, Fault> {
        let id = self.actors[at].node.id.clone();
        let Answer::Beat(beat) = self.call(at, Command::Beat(id, epoch))? else {
            return Ok(then);
        };
        let is_open = beat.is_open;
        self.actors[at].node.see(beat);
        match is_open {
            true => Ok(then),
            false => Ok(self.attach_again(at)),
        }
    }

    fn attach_again(&mut self, at: usize) -> Doing {
        let node = &self.actors[at].node;
        Doing::Attach(node.detach(), node.others())
    }

    fn attached(&mut self, at: usize, open: Open) -> Doing {
        let epoch = open.lineage.epoch();
        self.actors[at].node.attached(open);
        Doing::CatchUp(epoch)
    }

    fn epoch(&mut self) -> Epoch {
        let mut letter = || char::from(b"abcdefghjkmnpqrs"[self.choices.below(16)]);
        let text: String = (0..8).map(|_| letter()).collect();
        Epoch::parse(&text).unwrap()
    }

    /// The next step of the thread that reads, as in `read.rs`.
    fn read(&mut self, at: usize) {
        if self.actors[at].lineage.is_none() {
            let said = self.actors.iter().map(|a| (a.node.id.clone(), a.said));
            self.actors[at].said_before = said.collect();
        }
        let (actor, engine) = (&mut self.actors[at], &self.engine);
        match std::mem::replace(&mut actor.reading, Reading::Nothing) {
            Reading::Take(entries) => {
                let run = actor.reads_from.unwrap_or(u64::MAX).to_string();
                if let Some(taken) = actor.node.take(&run, entries) {
                    actor.cursor = taken.cursor;
                    actor.commit(taken.committed);
                }
            }
            Reading::Adopt(open, first) => {
                if let Some((committed, cursor)) = actor.node.adopt(&open, first.as_ref()) {
                    actor.cursor = cursor;
                    actor.commit(committed);
                }
            }
            Reading::Nothing => {
                if actor.is_cut_off || actor.reads_from.is_some_and(|run| run != engine.run) {
                    actor.reads_from = None;
                    return;
                }
                let Some(open) = actor.node.lock().open.clone() else {
                    return;
                };
                let run = *actor.reads_from.get_or_insert(engine.run);
                if open.run != run.to_string() {
                    actor.node.doubt();
                    actor.reads_from = None;
                } else if !actor.node.has_adopted(&open) {
                    actor.reading = Reading::Adopt(open, engine.store.log.first().cloned());
                } else {
                    let behind = engine.store.log.iter().filter(|e| e.id > actor.cursor);
                    let count = 1 + self.choices.below(4);
                    let entries: Vec<Entry> = behind.take(count).cloned().collect();
                    if !entries.is_empty() {
                        actor.reading = Reading::Take(entries);
                    }
                }
            }
        }
    }

    /// Everything was said, and everybody is at the end of the log.
    fn check(&mut self) -> Tally {
        let whole: Vec<&Actor> = self.actors.iter().filter(|a| a.breaks == 0).collect();
        // One order, from where each began.
        for (a, b) in whole.iter().zip(whole.iter().skip(1)) {
            let floor = a.floor.max(b.floor);
            assert_eq!(a.since(floor), b.since(floor), "one order");
        }
        for actor in &self.actors {
            self.tally.accepted += actor.said;
            self.tally.breaks += actor.breaks;
            for number in 0..actor.said {
                let text = format!("{} {number}", actor.node.id);
                for other in &whole {
                    let said = other.said_before.get(&actor.node.id);
                    let is_old = said.is_some_and(|said| number < *said);
                    // What a tail no longer has cannot be put back.
                    let is_old = is_old || self.tail < ALL || actor.is_orphan;
                    assert!(
                        is_old || other.ever.contains(&text),
                        "{text} is lost at {}",
                        other.node.id
                    );
                }
            }
        }
        self.check_resumes();
        self.tally
    }

    /// Who is told that a resume is complete has missed nothing.
    fn check_resumes(&mut self) {
        for sample in &self.samples {
            for actor in &self.actors {
                let Some(lineage) = &actor.lineage else {
                    continue;
                };
                let at = sample.position.offset;
                let is_valid = lineage.descent(sample.position) == Descent::Valid;
                if !is_valid || at < actor.floor || at > actor.heard_to() {
                    self.tally.incomplete += 1;
                    continue;
                }
                self.tally.complete += 1;
                let floor = actor.floor.max(sample.floor);
                let here = actor
                    .since(floor)
                    .iter()
                    .filter(|(offset, _)| *offset <= at);
                let there = sample.heard.iter().filter(|(offset, _)| *offset > floor);
                let (here, there): (Vec<_>, Vec<_>) = (here.collect(), there.collect());
                let id = &actor.node.id;
                assert_eq!(here, there, "{id} from {} on, {floor:?}", sample.position);
            }
        }
    }
}

impl Actor {
    fn heard_to(&self) -> Offset {
        self.node.tail().1
    }

    fn since(&self, floor: Offset) -> &[(Offset, String)] {
        let from = self.heard.partition_point(|(offset, _)| *offset <= floor);
        &self.heard[from..]
    }
}

fn runs(seeds: std::ops::Range<u64>, steps: usize) {
    let mut sum = Tally::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| {
            let mut model = Model::new(Choices::Seed(seed));
            model.run(steps);
            model.check()
        });
        let Ok(tally) = run else {
            panic!("seed {seed}");
        };
        sum.accepted += tally.accepted;
        sum.restores += tally.restores;
        sum.breaks += tally.breaks;
        sum.complete += tally.complete;
        sum.incomplete += tally.incomplete;
    }
    println!("{seeds:?}: {sum:?}");
    assert!(sum.restores > 0 && sum.complete > 0 && sum.incomplete > 0);
}

#[test]
fn nothing_is_lost_or_doubled_and_there_is_one_order() {
    runs(0..60, 1000);
}

/// A million steps.
#[test]
#[ignore = "make test-engine runs it"]
fn nothing_is_lost_in_a_million_steps() {
    runs(1000..1500, 2000);
}
