//! Clients that come and go at random, in every way a client can go, while others
//! stay: those must receive everything that was said, whole and in one order, and at
//! the end nothing may be left of those who went.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::beside::{PER_CLIENT, held, mib};
use crate::client::{Client, Got, dial};
use crate::kit::Result;
use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{handshake, post};
use crate::options::Options;
use crate::order::{Order, message};
use crate::random::Random;
use crate::server::{Holdings, Server, exchange};

const ROOMS: [&str; 3] = ["/a", "/b", "/c"];
const HEALTHY_IN_ROOM: usize = 8;
/// The most that come and go at once.
const GUESTS: usize = 80;
/// Short deadlines and a small outbox: everything that they lead to happens often.
const SETTINGS: &str = "--listen 127.0.0.1:0 --allow-publish --queue-messages 200 \
    --ping-interval 5s --pong-timeout 5s --write-timeout 3s --close-timeout 2s --message-timeout 4s --handshake-timeout 3s";
const PING_AND_PONG: Duration = Duration::from_secs(10);
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(4);
/// What a deadline may be late on a busy machine.
const SLACK: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(2);
const LARGEST: usize = 200 * 1024;
/// Memory is flat if it has grown by no more than a tenth and this between the first
/// and the last third of what comes after the first minute.
const GROWTH: f64 = 2.0 * 1024.0 * 1024.0;
/// Less time than this says nothing about that.
const TELLING: Duration = Duration::from_secs(180);

/// One who stays.
struct Healthy {
    client: Client,
    room: usize,
    next: u64,
    sender: u32,
    sent: u64,
}

/// How a guest behaves, and how it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    /// Reads, speaks, and leaves with a closing handshake.
    Polite,
    /// Reads, speaks, and resets the connection within a frame.
    Abrupt,
    /// Reads, speaks, and ends the stream without a Close.
    Unsaid,
    /// Never reads.
    Stalled,
    /// Reads and never answers a ping.
    Mute,
    /// Begins a message and does not go on with it.
    Unfinished,
    /// Begins an opening handshake and does not go on with it.
    Hesitant,
    /// Follows the room's events over HTTP.
    Follower,
    /// Connects and is gone.
    Passing,
    /// Publishes over HTTP.
    Publisher,
}

struct Guest {
    client: Client,
    manner: Manner,
    room: usize,
    sender: u32,
    sent: u64,
    /// When it leaves, or when it must have been thrown out.
    until: Instant,
    leaving: bool,
    /// The code of the Close frame it has received.
    code: Option<u16>,
}

/// What becomes of a guest after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Stays,
    /// It is gone; whether everything that it said must arrive.
    Gone(bool),
}

struct Churn {
    server: Server,
    random: Random,
    rooms: [Order; ROOMS.len()],
    healthy: Vec<Healthy>,
    guests: Vec<Guest>,
    next_sender: u32,
    /// Room, sender and number of messages of those who left in order.
    must_arrive: Vec<(usize, u32, u64)>,
    gone: BTreeMap<Manner, u64>,
    samples: Vec<(Duration, Holdings)>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let time = options.churn_time();
    let policy = options.policy();
    println!("churn for {} s, policy {}", time.as_secs(), policy.name());
    let settings = format!("{SETTINGS} --slow-consumer {}", policy.name());
    let server = Server::start(&options.server(), &settings)?;
    let bare = server.settled()?;
    let mut churn = Churn {
        server,
        random: Random::new(options.seed()),
        rooms: Default::default(),
        healthy: Vec::new(),
        guests: Vec::new(),
        next_sender: 0,
        must_arrive: Vec::new(),
        gone: BTreeMap::new(),
        samples: Vec::new(),
    };
    let outcome = churn.go_on_for(time).and_then(|()| churn.wind_up(bare));
    outcome.map_err(|error| {
        let log = churn.server.log();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        format!("churn: {error}; the server's last lines, newest first: {tail:?}")
    })?;
    churn.server.stop()
}

impl Churn {
    fn go_on_for(&mut self, time: Duration) -> Result<()> {
        for (room, path) in ROOMS.iter().enumerate() {
            for _ in 0..HEALTHY_IN_ROOM {
                let client = Client::join(self.server.address(), path)?;
                let sender = self.new_sender();
                self.healthy.push(Healthy {
                    client,
                    room,
                    next: 0,
                    sender,
                    sent: 0,
                });
            }
        }
        let all = (ROOMS.len() * HEALTHY_IN_ROOM) as u64;
        self.server
            .await_that("the healthy clients to join", |server| {
                Ok(server.metric("clients")? == all)
            })?;
        let start = Instant::now();
        let mut sampled = start;
        while start.elapsed() < time {
            self.invite()?;
            self.serve_guests()?;
            self.speak()?;
            self.listen()?;
            if sampled.elapsed() >= Duration::from_secs(1) {
                sampled = Instant::now();
                self.sample(start.elapsed(), time)?;
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn new_sender(&mut self) -> u32 {
        self.next_sender += 1;
        self.next_sender
    }

    fn sample(&mut self, at: Duration, time: Duration) -> Result<()> {
        let holdings = self.server.holdings()?;
        self.samples.push((at, holdings));
        if self.samples.len().is_multiple_of(60) {
            let said: u64 = self.rooms.iter().map(Order::end).sum();
            println!(
                "    {:>4} of {} s: {} guests were there, {said} messages, {:.1} MiB, {} threads, \
                 {} descriptors",
                at.as_secs(),
                time.as_secs(),
                self.gone.values().sum::<u64>(),
                mib(holdings.resident),
                holdings.threads,
                holdings.descriptors
            );
        }
        Ok(())
    }

    /// Lets somebody in, now and then; and now and then all go at once.
    fn invite(&mut self) -> Result<()> {
        if self.random.once_in(8_000) {
            for guest in self.guests.drain(..) {
                *self.gone.entry(guest.manner).or_default() += 1;
            }
        }
        if self.guests.len() >= GUESTS || !self.random.once_in(6) {
            return Ok(());
        }
        let manner = match self.random.below(24) {
            0..6 => Manner::Polite,
            6..11 => Manner::Abrupt,
            11..14 => Manner::Unsaid,
            14..17 => Manner::Stalled,
            17 => Manner::Mute,
            18 => Manner::Unfinished,
            19 => Manner::Hesitant,
            20 => Manner::Follower,
            21 => Manner::Publisher,
            _ => Manner::Passing,
        };
        let room = self.random.below(ROOMS.len());
        let sender = self.new_sender();
        let address = self.server.address();
        let client = match manner {
            Manner::Publisher => {
                let sent = self.publish(room, sender)?;
                self.must_arrive.push((room, sender, sent));
                *self.gone.entry(manner).or_default() += 1;
                return Ok(());
            }
            Manner::Stalled => Client::join_tight(address, ROOMS[room])?,
            Manner::Hesitant => self.hesitate()?,
            Manner::Passing => Client::over(dial(address)?),
            Manner::Follower => Client::follow(self.server.address(), ROOMS[room])?,
            Manner::Unfinished => {
                let mut client = Client::join(address, ROOMS[room])?;
                let frame = masked(Opcode::Text, &message(sender, 0, 1000));
                client.write(&frame[..self.random.within(1..frame.len())])?;
                client
            }
            _ => Client::join(address, ROOMS[room])?,
        };
        let stay = match manner {
            Manner::Passing => Duration::ZERO,
            Manner::Mute => PING_AND_PONG + SLACK,
            Manner::Unfinished => MESSAGE_TIMEOUT + SLACK,
            Manner::Stalled => Duration::from_millis(self.random.within(500..12_000) as u64),
            _ => Duration::from_millis(self.random.below(4_000) as u64),
        };
        self.guests.push(Guest {
            client,
            manner,
            room,
            sender,
            sent: 0,
            until: Instant::now() + stay,
            leaving: false,
            code: None,
        });
        Ok(())
    }

    fn hesitate(&mut self) -> Result<Client> {
        let mut client = Client::over(dial(self.server.address())?);
        let request = handshake("/a");
        client.write(&request[..self.random.below(request.len())])?;
        Ok(client)
    }

    fn publish(&mut self, room: usize, sender: u32) -> Result<u64> {
        let body = message(sender, 0, self.random.within(40..5_000));
        let answer = exchange(self.server.address(), &post(ROOMS[room], &[], &body))?;
        match answer.status {
            202 => Ok(1),
            _ => Err(format!("publishing is answered with {answer:?}").into()),
        }
    }

    fn serve_guests(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.guests.len() {
            let guest = &mut self.guests[at];
            let turn = guest
                .turn(&mut self.random)
                .map_err(|error| format!("a guest, {:?}: {error}", guest.manner))?;
            let Turn::Gone(must_arrive) = turn else {
                at += 1;
                continue;
            };
            let guest = self.guests.swap_remove(at);
            *self.gone.entry(guest.manner).or_default() += 1;
            if must_arrive {
                let said = (guest.room, guest.sender, guest.sent);
                self.must_arrive.push(said);
            }
        }
        Ok(())
    }

    /// Those who stay speak as well.
    fn speak(&mut self) -> Result<()> {
        for _ in 0..self.random.below(3) {
            let len = random_len(&mut self.random);
            let at = self.random.below(self.healthy.len());
            let healthy = &mut self.healthy[at];
            let payload = message(healthy.sender, healthy.sent, len);
            healthy.client.say(Opcode::Binary, &payload)?;
            healthy.sent += 1;
        }
        Ok(())
    }

    /// They hear everything.
    fn listen(&mut self) -> Result<()> {
        let mut least = [u64::MAX; ROOMS.len()];
        for healthy in &mut self.healthy {
            let order = &mut self.rooms[healthy.room];
            healthy.listen(order)?;
            least[healthy.room] = least[healthy.room].min(healthy.next);
        }
        for (order, least) in self.rooms.iter_mut().zip(least) {
            order.forget(least);
        }
        Ok(())
    }

    /// Everybody goes; what must have arrived has; nothing is left.
    fn wind_up(&mut self, bare: Holdings) -> Result<()> {
        let guests = std::mem::take(&mut self.guests);
        for guest in guests {
            *self.gone.entry(guest.manner).or_default() += 1;
        }
        self.await_quiet()?;
        self.check_complete()?;
        self.check_rooms()?;
        for healthy in &mut self.healthy {
            healthy.client.say(Opcode::Close, &1000_u16.to_be_bytes())?;
            let code = healthy.client.read_to_close()?;
            if code != Some(1000) {
                return Err(format!("a healthy client is closed with {code:?}").into());
            }
        }
        let after = self.server.await_return(bare, Duration::from_secs(10))?;
        for gauge in ["clients", "rooms", "queue_bytes"] {
            let value = self.server.metric(gauge)?;
            if value > 0 {
                return Err(format!("nobody is there, but {gauge} is {value}").into());
            }
        }
        self.report(bare, after)
    }

    /// Waits until only those who stay are there.
    fn await_quiet(&mut self) -> Result<()> {
        let deadline = Instant::now() + PING_AND_PONG + SLACK;
        loop {
            self.listen()?;
            let clients = self.server.metric("clients")?;
            // This question's own connection is in its handshake.
            if clients == self.healthy.len() as u64 && self.server.metric("handshakes")? <= 1 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("all guests are gone, but there are {clients} clients").into());
            }
            thread::sleep(10 * TICK);
        }
    }

    fn check_complete(&mut self) -> Result<()> {
        let deadline = Instant::now() + SLACK;
        while Instant::now() < deadline && self.missing().is_some() {
            self.listen()?;
            thread::sleep(TICK);
        }
        match self.missing() {
            Some(missing) => Err(missing.into()),
            None => Ok(()),
        }
    }

    fn missing(&self) -> Option<String> {
        let said_by_healthy = self.healthy.iter().map(|h| (h.room, h.sender, h.sent));
        let mut said = said_by_healthy.chain(self.must_arrive.iter().copied());
        let lost = said.find(|&(room, sender, sent)| self.rooms[room].of_sender(sender) != sent);
        if let Some((room, sender, sent)) = lost {
            let came = self.rooms[room].of_sender(sender);
            return Some(format!("{came} of {sent} messages of sender {sender} came"));
        }
        let behind = self
            .healthy
            .iter()
            .find(|h| h.next != self.rooms[h.room].end());
        behind.map(|h| format!("a healthy client has {} messages of its room", h.next))
    }

    /// The server's own view of who is where.
    fn check_rooms(&self) -> Result<()> {
        let said = self.server.rooms()?;
        let here = format!("\"clients\":{HEALTHY_IN_ROOM}}}");
        let is_right = said.matches("\"name\"").count() == ROOMS.len()
            && said.matches(&here).count() == ROOMS.len();
        match is_right {
            true => Ok(()),
            false => Err(format!("the rooms are not what they should be: {said}").into()),
        }
    }

    fn report(&self, bare: Holdings, after: Holdings) -> Result<()> {
        let said: u64 = self.rooms.iter().map(Order::end).sum();
        println!(
            "  {said} messages of {} senders, all there, whole and in one order for {} clients",
            self.next_sender,
            self.healthy.len()
        );
        println!("  guests: {:?}", self.gone);
        let departures = [
            "closed_by_peer",
            "end_of_stream",
            "read_failed",
            "write_failed",
            "write_timeout",
            "pong_timeout",
            "message_timeout",
            "evicted",
        ];
        let departures = departures.map(|cause| {
            let count = self.server.departed(cause)?;
            Ok(format!("{cause} {count}"))
        });
        let departures = departures.into_iter().collect::<Result<Vec<_>>>()?;
        println!("  departures: {}", departures.join(", "));
        println!(
            "  threads {} and {} afterwards, descriptors {} and {}",
            bare.threads, after.threads, bare.descriptors, after.descriptors
        );
        let peak = self.server.peak()?;
        let all = (GUESTS * 2 + self.healthy.len()) as u64;
        let bound = bare.resident + held(1 << 20, 256 << 20) + all * PER_CLIENT;
        let (first, last) = self.thirds();
        println!(
            "  memory: {:.1} MiB at start; after the first minute {:.1}, at the end {:.1}; {:.1} \
             at most (formula: {:.0}), {:.1} without clients",
            mib(bare.resident),
            first / 1024.0 / 1024.0,
            last / 1024.0 / 1024.0,
            mib(peak),
            mib(bound),
            mib(after.resident)
        );
        if peak > bound {
            return Err("more memory than the formula says".into());
        }
        let is_telling = self.samples.last().is_some_and(|(at, _)| *at >= TELLING);
        if is_telling && last > first * 1.1 + GROWTH {
            return Err("memory grows".into());
        }
        Ok(())
    }

    /// Medians of resident memory over the first and the last third of what comes
    /// after the first minute, or after the first tenth if that is less.
    fn thirds(&self) -> (f64, f64) {
        let end = self.samples.last().map_or(Duration::ZERO, |(at, _)| *at);
        let start = Duration::from_secs(60).min(end / 10);
        let steady: Vec<u64> = self
            .samples
            .iter()
            .filter(|(at, _)| *at >= start)
            .map(|(_, holdings)| holdings.resident)
            .collect();
        let third = steady.len() / 3;
        (
            median(&steady[..third]),
            median(&steady[steady.len() - third..]),
        )
    }
}

impl Healthy {
    fn listen(&mut self, order: &mut Order) -> Result<()> {
        loop {
            let got = self.client.fill(64 * 1024);
            while let Some(frame) = self.client.frame()? {
                match frame.opcode {
                    Opcode::Text | Opcode::Binary => order.take(&mut self.next, &frame.payload)?,
                    Opcode::Ping => self.client.say(Opcode::Pong, &frame.payload)?,
                    _ => return Err(format!("a healthy client hears {frame:?}").into()),
                }
            }
            match got {
                Got::Bytes => {}
                Got::Nothing => return Ok(()),
                Got::End => return Err("a healthy client was thrown out".into()),
            }
        }
    }
}

impl Guest {
    fn turn(&mut self, random: &mut Random) -> Result<Turn> {
        let is_time = Instant::now() >= self.until;
        match self.manner {
            Manner::Stalled | Manner::Passing if is_time => return Ok(Turn::Gone(false)),
            Manner::Stalled | Manner::Passing => return Ok(Turn::Stays),
            _ => {}
        }
        if !self.hear()? {
            return self.ended();
        }
        if is_time && !self.leaving {
            return self.leave(random);
        }
        if is_time && Instant::now() >= self.until + 2 * SLACK {
            return Err("its leaving is not answered".into());
        }
        let speaks = matches!(
            self.manner,
            Manner::Polite | Manner::Abrupt | Manner::Unsaid
        );
        if speaks && !self.leaving && self.code.is_none() && random.once_in(40) {
            let payload = message(self.sender, self.sent, random_len(random));
            if self.client.say(Opcode::Text, &payload).is_ok() {
                self.sent += 1;
            }
        }
        Ok(Turn::Stays)
    }

    /// Reads what there is. False: the stream has ended.
    fn hear(&mut self) -> Result<bool> {
        let got = self.client.fill(64 * 1024);
        if matches!(self.manner, Manner::Follower | Manner::Hesitant) {
            // It is not frames that come.
            self.client.forget();
            return Ok(got != Got::End);
        }
        while let Some(frame) = self.client.frame()? {
            match frame.opcode {
                Opcode::Close => {
                    self.code = frame.close_code();
                    if !self.leaving {
                        // The server may have gone on without it.
                        drop(self.client.say(Opcode::Close, &frame.payload[..2]));
                    }
                }
                Opcode::Ping if self.manner != Manner::Mute => {
                    drop(self.client.say(Opcode::Pong, &frame.payload));
                }
                _ => {}
            }
        }
        Ok(got != Got::End)
    }

    /// The server has ended the connection.
    fn ended(&self) -> Result<Turn> {
        let as_it_should = match self.manner {
            Manner::Polite => self.leaving && self.code == Some(1000),
            Manner::Unsaid => self.leaving,
            Manner::Unfinished => self.code == Some(1008),
            Manner::Mute | Manner::Hesitant => true,
            _ => false,
        };
        let all_said = matches!(self.manner, Manner::Polite | Manner::Unsaid);
        match as_it_should || self.code == Some(1008) {
            true => Ok(Turn::Gone(all_said && as_it_should)),
            false => Err(format!("thrown out with {:?}", self.code).into()),
        }
    }

    fn leave(&mut self, random: &mut Random) -> Result<Turn> {
        self.leaving = true;
        match self.manner {
            Manner::Polite => {
                self.client.say(Opcode::Close, &1000_u16.to_be_bytes())?;
                Ok(Turn::Stays)
            }
            Manner::Unsaid => {
                self.client.socket.shutdown(Shutdown::Write)?;
                Ok(Turn::Stays)
            }
            Manner::Abrupt => {
                let frame = masked(Opcode::Text, &message(self.sender, self.sent, 2_000));
                self.client.write(&frame[..random.below(frame.len())])?;
                Ok(Turn::Gone(false))
            }
            Manner::Mute | Manner::Unfinished => Err("it is still there".into()),
            _ => Ok(Turn::Gone(false)),
        }
    }
}

/// Mostly small, sometimes large.
fn random_len(random: &mut Random) -> usize {
    match random.below(1000) {
        0 => random.within(STEP..LARGEST),
        1..20 => random.within(2_000..STEP),
        _ => random.within(32..400),
    }
}

const STEP: usize = 20_000;

fn median(values: &[u64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0) as f64
}
