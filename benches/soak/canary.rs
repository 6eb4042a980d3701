//! A small chat that goes on whatever else happens: if it stumbles, the server does
//! not serve on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};
use crate::kit::Result;
use crate::kit::clock::Clock;
use crate::kit::frame::Opcode;
use crate::kit::histogram::Histogram;
use crate::kit::stamp::{STAMP_LEN, Stamp};
use crate::server::Server;

/// Between two messages.
const PACE: Duration = Duration::from_millis(5);
const LISTENERS: usize = 2;

pub(crate) struct Canary {
    stop: Arc<AtomicBool>,
    latency: Arc<Mutex<Histogram>>,
    thread: JoinHandle<Result<()>>,
}

/// How the chat has gone since the last look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Song {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
}

impl Canary {
    /// Everybody has joined when this returns.
    pub(crate) fn start(server: &Server) -> Result<Canary> {
        let join = |_| Client::join(server.address(), "/canary");
        let mut clients: Vec<Client> = (0..LISTENERS).map(join).collect::<Result<_>>()?;
        server.await_that("the canary to join", |server| {
            Ok(server.metric("clients")? == LISTENERS as u64)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let latency = Arc::new(Mutex::new(Histogram::new()));
        let (stopped, measured) = (stop.clone(), latency.clone());
        let thread = thread::Builder::new()
            .name("canary".to_owned())
            .spawn(move || sing(&mut clients, &stopped, &measured))?;
        Ok(Canary {
            stop,
            latency,
            thread,
        })
    }

    /// How it went since the last time.
    pub(crate) fn listen(&self) -> Result<Song> {
        if self.thread.is_finished() {
            return Err("the canary is silent".into());
        }
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let quantile = |share| Duration::from_nanos(latency.quantile(share));
        let song = Song {
            median: quantile(0.5),
            p99: quantile(0.99),
            longest: quantile(1.0),
        };
        latency.clear();
        Ok(song)
    }

    /// Ends the chat; fails if a message was lost, doubled, late or out of order.
    pub(crate) fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let sung = self.thread.join().map_err(|_| "the canary panicked")?;
        sung.map_err(|error| format!("the canary: {error}").into())
    }
}

/// One message after another, each heard by all before the next is sent.
fn sing(clients: &mut [Client], stop: &AtomicBool, latency: &Mutex<Histogram>) -> Result<()> {
    let clock = Clock::start();
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        let stamp = Stamp {
            sender: 0,
            sequence,
            sent: clock.now(),
        };
        let mut payload = [0; STAMP_LEN];
        stamp.write(&mut payload);
        let sender = sequence as usize % clients.len();
        clients[sender].say(Opcode::Text, &payload)?;
        for client in clients.iter_mut() {
            hear(client, &stamp)?;
            let took = clock.now() - stamp.sent;
            let mut latency = latency.lock().unwrap_or_else(PoisonError::into_inner);
            latency.record(took);
        }
        sequence += 1;
        thread::sleep(PACE);
    }
    Ok(())
}

fn hear(client: &mut Client, stamp: &Stamp) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let frame = client.next(deadline)?.ok_or("thrown out")?;
        match frame.opcode {
            Opcode::Text if Stamp::read(&frame.payload).as_ref() == Some(stamp) => return Ok(()),
            Opcode::Ping => client.say(Opcode::Pong, &frame.payload)?,
            Opcode::Pong => {}
            _ => return Err(format!("{frame:?} came instead of {stamp:?}").into()),
        }
    }
}
