//! All connections of one run, in one epoll set, driven by one thread.

use std::hint;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::Result;
use super::connection::Connection;
use super::frame::{self, Dialect, Opcode, Parsed};
use super::stamp::{STAMP_LEN, Stamp};
use super::tls::Identity;

/// Opening handshakes under way at once.
const ABREAST: usize = 64;
/// Large enough for everything that a client usually has waiting.
const READ_BUFFER: usize = 256 * 1024;
const EVENTS: usize = 1024;
/// How long the generator looks for something to read before it sleeps …
const AWAKE: Duration = Duration::from_micros(50);
/// … and how long it pauses between two looks.
const PAUSE: Duration = Duration::from_micros(2);
/// A message that proves the members' presence has reached everybody when nothing has
/// come for this time …
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// … which is waited for this long at most.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// Somebody who joined too late for one probe sees another.
const PROBES: u64 = 10;

pub(crate) struct Room {
    dialect: Dialect,
    opcode: Opcode,
    /// The clients that read, those that will stall, and the floor's one input if
    /// there is one.
    connections: Vec<Connection>,
    clients: usize,
    /// How long it looks for something to read before it sleeps. Clients sleep at
    /// once.
    pub(crate) awake: Duration,
    epoll: OwnedFd,
    events: Vec<Event>,
    buffer: Box<[u8]>,
}

/// What happened on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) connection: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Room {
    /// Connects `clients` members that read and `stalled` that will not once the
    /// load begins. Their opening handshakes are done when this returns.
    pub(crate) fn connect(
        address: SocketAddr,
        path: &str,
        dialect: Dialect,
        opcode: Opcode,
        clients: usize,
        stalled: usize,
        tls: Option<&Identity>,
    ) -> Result<Room> {
        let members = clients + stalled;
        let mut connections = Vec::with_capacity(members + 1);
        while connections.len() < members {
            let first = connections.len();
            for _ in 0..ABREAST.min(members - first) {
                connections.push(Connection::start(address, path, dialect, tls)?);
            }
            for connection in &mut connections[first..] {
                connection.finish(dialect)?;
            }
        }
        if dialect == Dialect::Server {
            let mut input = Connection::start(address, path, dialect, None)?;
            input.finish(dialect)?;
            connections.push(input);
        }
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (index, connection) in connections.iter().enumerate() {
            let data = EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection.socket, data, EventFlags::IN)?;
        }
        Ok(Room {
            dialect,
            opcode,
            connections,
            clients,
            awake: AWAKE,
            epoll,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        })
    }

    /// Returns when every member has proved that it receives what is sent, and
    /// nothing is under way any more. Those who are to stall do so from here on.
    pub(crate) fn assemble(&mut self) -> Result<()> {
        let members = self.connections.len() - usize::from(self.dialect == Dialect::Server);
        // The last probe that each member has seen, counted from one.
        let mut seen = vec![0; members];
        for probe in 1..=PROBES {
            self.probe(probe)?;
            self.watch_probes(&mut seen)?;
            if seen.iter().all(|&last| last == probe) {
                return self.stall(members);
            }
        }
        let missing = seen.iter().filter(|&&last| last < PROBES).count();
        Err(format!("{missing} of {members} members missed the last of {PROBES} messages").into())
    }

    fn probe(&mut self, probe: u64) -> Result<()> {
        let stamp = Stamp {
            sender: u32::MAX,
            sequence: probe,
            sent: 0,
        };
        let mut payload = [0; STAMP_LEN];
        stamp.write(&mut payload);
        let connection = self.connection_of(0, 1);
        self.queue(connection, &payload);
        self.flush(connection)
    }

    /// Reads until nothing has come for a while.
    fn watch_probes(&mut self, seen: &mut [u64]) -> Result<()> {
        let deadline = Instant::now() + PROBE_PATIENCE;
        let mut ready = Vec::new();
        while Instant::now() < deadline {
            self.wait(PROBE_INTERVAL, &mut ready)?;
            if ready.is_empty() {
                break;
            }
            for event in &ready {
                let last = seen.get_mut(event.connection);
                let last = last.ok_or("the floor talks back")?;
                self.read(event.connection, |_, bytes| read_probes(last, bytes))?;
            }
        }
        Ok(())
    }

    fn stall(&mut self, members: usize) -> Result<()> {
        for connection in &self.connections[self.clients..members] {
            connection.shrink()?;
            epoll::delete(&self.epoll, &connection.socket)?;
        }
        Ok(())
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients
    }

    /// The connection that sends for a sender; they are spread over the clients.
    pub(crate) fn connection_of(&self, sender: usize, senders: usize) -> usize {
        match self.dialect {
            Dialect::Client => sender * self.clients / senders,
            Dialect::Server => self.connections.len() - 1,
        }
    }

    /// Waits for something to happen, at most the whole milliseconds of `timeout`, but
    /// looks for a while before it goes to sleep: a sleeping reader has to be woken
    /// by the server's send, and waking costs more than sending.
    pub(crate) fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> Result<()> {
        let start = Instant::now();
        self.look(Duration::ZERO, ready)?;
        while ready.is_empty() && start.elapsed() < self.awake {
            pause();
            self.look(Duration::ZERO, ready)?;
        }
        if ready.is_empty() && !timeout.is_zero() {
            self.look(timeout, ready)?;
        }
        Ok(())
    }

    fn look(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> Result<()> {
        ready.clear();
        // Rounded down to what every kernel can wait: never too long.
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_millis()) * 1_000_000,
        };
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.drain(..).map(|event| {
            let flags = event.flags;
            Ready {
                connection: event.data.u64() as usize,
                readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }

    /// Reads once from a connection and has the bytes used up (see
    /// [`Connection::feed`]).
    pub(crate) fn read(
        &mut self,
        connection: usize,
        use_up: impl FnOnce(&mut u64, &[u8]) -> Result<usize>,
    ) -> Result<()> {
        let client = &mut self.connections[connection];
        let fed = match client.receive(&mut self.buffer) {
            Ok(None) => return Ok(()),
            Ok(Some(len)) => client.feed(&self.buffer[..len], use_up),
            Err(error) => Err(error),
        };
        fed.map_err(|error| format!("client {connection}: {error}").into())
    }

    /// Queues a message on a connection.
    pub(crate) fn queue(&mut self, connection: usize, payload: &[u8]) {
        let out = self.connections[connection].outgoing();
        frame::push(out, self.dialect, self.opcode.last(), payload);
    }

    pub(crate) fn queue_pong(&mut self, connection: usize, payload: &[u8]) {
        let out = self.connections[connection].outgoing();
        frame::push(out, self.dialect, Opcode::Pong.last(), payload);
    }

    /// Writes what is queued on a connection; what is left waits for room.
    pub(crate) fn flush(&mut self, connection: usize) -> Result<()> {
        let client = &mut self.connections[connection];
        let flushed = client.flush();
        let full = !flushed.map_err(|error| format!("client {connection}: {error}"))?;
        if client.waits_to_write != full {
            client.waits_to_write = full;
            let data = EventData::new_u64(connection as u64);
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, full);
            epoll::modify(&self.epoll, &client.socket, data, flags)?;
        }
        Ok(())
    }
}

/// Leaves the epoll set's lock to the server for a moment.
fn pause() {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        hint::spin_loop();
    }
}

fn read_probes(last: &mut u64, bytes: &[u8]) -> Result<usize> {
    let mut used = 0;
    while let Some(frame) = Parsed::parse(&bytes[used..])? {
        used += frame.len;
        if let Some(stamp) = Stamp::read(frame.payload) {
            *last = stamp.sequence;
        }
    }
    Ok(used)
}
