//! A crowd that comes back at once, as after a network's failure: each client asks for
//! what it missed, and checks that it gets all of it, once and in order.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::beside::mib;
use crate::client::{Client, Got, dial};
use crate::kit::Result;
use crate::kit::frame::Opcode;
use crate::kit::http::{check_upgrade, handshake, post};
use crate::options::Options;
use crate::server::{Server, exchange};

const CLIENTS: usize = 10_000;
const MISSED: usize = 100;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);
const SETTINGS: &str = "--listen 127.0.0.1:0 --history 200 --allow-publish";
/// More than one client has to read here.
const READ: usize = 16 * 1024;

/// A client on its way back.
struct Returner {
    client: Client,
    /// Whether its 101 has come, and how many messages.
    entered: bool,
    messages: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let server = Server::start(&options.server(), SETTINGS)?;
    let position = publish(&server, "before")?;
    for number in 0..MISSED {
        publish(&server, &text(number))?;
    }
    println!("{CLIENTS} clients connect at once, with {MISSED} messages to catch up, or none");
    let before = server.settled()?;
    storm(&server, "/crowd", 0)?;
    let connected = server.peak()?;
    let (mut alone, mut caught_up) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(storm(&server, "/crowd", 0)?);
        caught_up.push(storm(&server, &format!("/crowd?since={position}"), MISSED)?);
    }
    let after = server.settled()?;
    report("connecting alone", alone);
    report("complete", caught_up);
    println!(
        "memory: {:.1} MiB before, {:.1} MiB with all connected, {:.1} MiB at most, {:.1} MiB after",
        mib(before.resident),
        mib(connected),
        mib(server.peak()?),
        mib(after.resident)
    );
    server.stop()
}

fn report(what: &str, mut times: Vec<(Duration, Duration)>) {
    times.sort();
    let ms = |time: Duration| time.as_millis();
    let (median, cpu) = times[times.len() / 2];
    println!(
        "{what}: {} ms (median of {ROUNDS}; {} to {}), of which the server's CPU is {} ms",
        ms(median),
        ms(times[0].0),
        ms(times[times.len() - 1].0),
        ms(cpu)
    );
}

fn text(number: usize) -> String {
    format!("{number:<128}")
}

/// The position of the message.
fn publish(server: &Server, text: &str) -> Result<String> {
    let answer = exchange(server.address(), &post("/crowd", &[], text.as_bytes()))?;
    let (_, rest) = answer
        .body
        .split_once("\"position\":\"")
        .ok_or("no position")?;
    let (position, _) = rest.split_once('"').ok_or("no end of a position")?;
    Ok(position.to_owned())
}

/// How long it takes until all have come in and have `missed` messages, and the
/// server's CPU time meanwhile.
fn storm(server: &Server, target: &str, missed: usize) -> Result<(Duration, Duration)> {
    let (start, cpu) = (Instant::now(), server.cpu()?);
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let request = handshake(target);
    let mut crowd = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let mut client = Client::over(dial(server.address())?);
        client.write(&request)?;
        let data = EventData::new_u64(number as u64);
        epoll::add(&epoll, &client.socket, data, EventFlags::IN)?;
        crowd.push(Returner {
            client,
            entered: false,
            messages: 0,
        });
    }
    receive(&epoll, &mut crowd, missed, start + PATIENCE)?;
    let took = (start.elapsed(), server.cpu()? - cpu);
    drop(crowd);
    server.await_that("the crowd to leave", |server| {
        Ok(server.metric("clients")? == 0)
    })?;
    Ok(took)
}

fn receive(
    epoll: &OwnedFd,
    crowd: &mut [Returner],
    missed: usize,
    deadline: Instant,
) -> Result<()> {
    let mut left = crowd.len();
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    let timeout = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    while left > 0 {
        if Instant::now() > deadline {
            return Err(format!("{left} clients are not complete").into());
        }
        epoll::wait(epoll, spare_capacity(&mut events), Some(&timeout))?;
        for event in events.drain(..) {
            let returner = &mut crowd[event.data.u64() as usize];
            if returner.take(missed)? {
                epoll::delete(epoll, &returner.client.socket)?;
                left -= 1;
            }
        }
    }
    Ok(())
}

impl Returner {
    /// Reads once. Whether it is complete now.
    fn take(&mut self, missed: usize) -> Result<bool> {
        if self.client.fill(READ) == Got::End {
            return Err("thrown out".into());
        }
        if !self.entered {
            match self.client.head() {
                Some(head) => check_upgrade(&head)?,
                None => return Ok(false),
            }
            self.entered = true;
        }
        while let Some(frame) = self.client.frame()? {
            let expected = text(self.messages);
            if frame.opcode != Opcode::Text || frame.payload != expected.as_bytes() {
                return Err(format!("{frame:?} came instead of {expected:?}").into());
            }
            self.messages += 1;
        }
        Ok(self.messages == missed)
    }
}
