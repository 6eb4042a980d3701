//! Clients that nobody should have to wait for: stalled ones, which never read, and
//! slow ones. Whoever is gone is replaced, so that there are always as many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, ops::AddAssign, sync::Arc};

use crate::client::{Client, Got};
use crate::kit::Result;
use crate::kit::frame::Opcode;
use crate::kit::stamp::Stamp;
use crate::server::{Member, Server};

pub(crate) const STALLED: usize = 20;
pub(crate) const SLOW: usize = 20;

/// A slow client reads this many bytes in each tick: 64 KiB/s.
const SIP: usize = 655;
const TICK: Duration = Duration::from_millis(10);
/// How often the server is asked who is still there.
const LOOK: Duration = Duration::from_secs(1);
/// The server's default limits, which no backlog may exceed.
const QUEUE_MESSAGES: usize = 8192;
const QUEUE_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Policy {
    Disconnect,
    DropOldest,
    DropNewest,
}

impl Policy {
    pub(crate) const ALL: [Policy; 3] =
        [Policy::Disconnect, Policy::DropOldest, Policy::DropNewest];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Policy::Disconnect => "disconnect",
            Policy::DropOldest => "drop-oldest",
            Policy::DropNewest => "drop-newest",
        }
    }

    /// How long a stalled client may stay: under full load its outbox is full within
    /// a second; after that it is evicted, or it takes nothing for the write timeout
    /// of 10 s.
    fn longest_stall(self) -> Duration {
        Duration::from_secs(match self {
            Policy::Disconnect => 4,
            Policy::DropOldest | Policy::DropNewest => 14,
        })
    }
}

/// What became of the crowd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Stalled clients that the server has got rid of …
    stalled_gone: u64,
    /// … and how long the last to go stayed.
    longest_stall: Duration,
    /// Messages that were dropped for clients that stalled, as far as was seen.
    shed: u64,
    /// What slow clients read, and the gaps in it.
    slow_messages: u64,
    gaps: u64,
    /// Slow clients that read a Close frame with 1008 …
    told: u64,
    /// … and those that did not read quickly enough to see one.
    cut_off: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.stalled_gone += other.stalled_gone;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.shed += other.shed;
        self.slow_messages += other.slow_messages;
        self.gaps += other.gaps;
        self.told += other.told;
        self.cut_off += other.cut_off;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stalled: {} gone, after {:.1} s at most, {} messages dropped; \
             slow: {} messages read with {} gaps, {} told 1008, {} cut off",
            self.stalled_gone,
            self.longest_stall.as_secs_f64(),
            self.shed,
            self.slow_messages,
            self.gaps,
            self.told,
            self.cut_off
        )
    }
}

/// A crowd at work, on a thread of its own.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally>>,
}

impl Crowd {
    /// Connects everybody; they are there when this returns.
    pub(crate) fn start(server: Arc<Server>, policy: Policy) -> Result<Crowd> {
        let mut members = Members::connect(server, policy)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("crowd".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    members.tick()?;
                    thread::sleep(TICK);
                }
                members.check_on_stalled()?;
                Ok(members.tally)
            })?;
        Ok(Crowd { stop, thread })
    }

    /// Ends them all.
    pub(crate) fn disperse(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the crowd panicked")?
    }
}

struct Members {
    server: Arc<Server>,
    policy: Policy,
    stalled: Vec<Stalled>,
    slow: Vec<Slow>,
    looked: Instant,
    tally: Tally,
}

struct Stalled {
    client: Client,
    since: Instant,
    /// How many messages were dropped for it when it was last seen.
    dropped: u64,
}

struct Slow {
    client: Client,
    /// The last message of each sender.
    last: Vec<Option<u64>>,
    told: bool,
}

impl Members {
    fn connect(server: Arc<Server>, policy: Policy) -> Result<Members> {
        let address = server.address();
        Ok(Members {
            server,
            policy,
            stalled: (0..STALLED)
                .map(|_| Stalled::join(address))
                .collect::<Result<_>>()?,
            slow: (0..SLOW)
                .map(|_| Slow::join(address))
                .collect::<Result<_>>()?,
            looked: Instant::now(),
            tally: Tally::default(),
        })
    }

    fn tick(&mut self) -> Result<()> {
        for at in 0..self.slow.len() {
            if !self.slow[at].sip(self.policy, &mut self.tally)? {
                self.slow[at] = Slow::join(self.server.address())?;
            }
        }
        if self.looked.elapsed() >= LOOK {
            self.check_on_stalled()?;
            self.looked = Instant::now();
        }
        Ok(())
    }

    /// Replaces stalled clients that are gone, and fails if one stays that should
    /// not, or if more waits for anybody than the outbox's limits allow.
    fn check_on_stalled(&mut self) -> Result<()> {
        let members = self.server.members()?;
        for member in &members {
            if member.queue_messages > QUEUE_MESSAGES + 1 || member.queue_bytes > QUEUE_BYTES {
                return Err(format!("more waits than may: {member:?}").into());
            }
        }
        for stalled in &mut self.stalled {
            let peer = stalled.client.local()?;
            let age = stalled.since.elapsed();
            match members.iter().find(|member| member.peer == peer) {
                Some(member) if age > self.policy.longest_stall() => {
                    return Err(format!("stalled for {age:?}, still there: {member:?}").into());
                }
                Some(member) => stalled.note(member, &mut self.tally),
                None => {
                    self.tally.stalled_gone += 1;
                    self.tally.longest_stall = self.tally.longest_stall.max(age);
                    *stalled = Stalled::join(self.server.address())?;
                }
            }
        }
        Ok(())
    }
}

impl Stalled {
    fn join(address: std::net::SocketAddr) -> Result<Stalled> {
        Ok(Stalled {
            client: Client::join_tight(address, "/")?,
            since: Instant::now(),
            dropped: 0,
        })
    }

    fn note(&mut self, member: &Member, tally: &mut Tally) {
        tally.shed += member.dropped - self.dropped;
        self.dropped = member.dropped;
    }
}

impl Slow {
    fn join(address: std::net::SocketAddr) -> Result<Slow> {
        Ok(Slow {
            client: Client::join_tight(address, "/")?,
            last: Vec::new(),
            told: false,
        })
    }

    /// Reads a little and checks it. False: the connection has ended, as it may.
    fn sip(&mut self, policy: Policy, tally: &mut Tally) -> Result<bool> {
        let got = self.client.fill(SIP);
        while let Some(frame) = self.client.frame()? {
            if self.told {
                return Err("a frame came behind the Close".into());
            }
            match frame.opcode {
                Opcode::Close
                    if frame.close_code() == Some(1008) && policy == Policy::Disconnect =>
                {
                    self.told = true;
                    self.client.say(Opcode::Close, &frame.payload[..2])?;
                }
                Opcode::Close => {
                    return Err(format!("a slow client is closed with {frame:?}").into());
                }
                Opcode::Ping => self.client.say(Opcode::Pong, &frame.payload)?,
                Opcode::Pong => {}
                _ => self.check(&frame.payload, policy, tally)?,
            }
        }
        if got != Got::End {
            return Ok(true);
        }
        match (policy, self.told) {
            (_, true) => tally.told += 1,
            // Its Close did not fit into the socket before the close timeout.
            (Policy::Disconnect, false) => tally.cut_off += 1,
            _ => return Err("a slow client was thrown out, which only `disconnect` does".into()),
        }
        Ok(false)
    }

    /// In order, nothing twice, and without a gap where the policy is to disconnect.
    fn check(&mut self, payload: &[u8], policy: Policy, tally: &mut Tally) -> Result<()> {
        let stamp = Stamp::read(payload).ok_or("a message without a stamp")?;
        let sender = stamp.sender as usize;
        if sender >= self.last.len() {
            self.last.resize(sender + 1, None);
        }
        tally.slow_messages += 1;
        match self.last[sender].replace(stamp.sequence) {
            Some(last) if stamp.sequence <= last => {
                Err(format!("{stamp:?} came to a slow client behind number {last}").into())
            }
            Some(last) if stamp.sequence > last + 1 => {
                tally.gaps += 1;
                match policy {
                    Policy::Disconnect => {
                        Err(format!("{stamp:?} came behind {last}: messages are missing").into())
                    }
                    Policy::DropOldest | Policy::DropNewest => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
