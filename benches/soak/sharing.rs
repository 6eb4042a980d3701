//! Attacks on what all clients share: places, the memory for what waits, the hub's
//! time, and the trust that who has been answered is there.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::{Client, Got, PATIENCE, dial, dial_from};
use crate::kit::Result;
use crate::kit::frame::{Opcode, masked};
use crate::kit::http::{handshake, request};
use crate::random::Random;
use crate::server::{Server, exchange};

const HALF_OPEN: usize = 3_000;
const NEWCOMERS: usize = 40;
const ADDRESSES: u8 = 50;
const STRANGERS: usize = 320;
/// By WebSocket, and as many as followers of events.
const JOINS: usize = 5_000;
const MIB: usize = 1 << 20;
/// What may be queued for all clients together, by default.
const TOTAL: u64 = 256 << 20;
/// In this time a newcomer must be in.
const PROMPT: Duration = Duration::from_secs(1);

/// Connections that send their requests byte by byte, all from one address.
pub(crate) fn half_open(server: &Server, _: &mut Random) -> Result<String> {
    flood(server, 1)
}

/// The same from fifty addresses.
pub(crate) fn half_open_from_fifty(server: &Server, _: &mut Random) -> Result<String> {
    flood(server, ADDRESSES)
}

/// Keeps so many requests unfinished, each ended one replaced by the next, while
/// newcomers come in one after another.
fn flood(server: &Server, addresses: u8) -> Result<String> {
    let address = server.address();
    let is_over = AtomicBool::new(false);
    let (mut prompt, mut longest) = (0, Duration::ZERO);
    let opened = thread::scope(|scope| -> Result<usize> {
        let flood = scope.spawn(|| drip(address, addresses, &is_over));
        // The flood has taken all places before anybody comes.
        let full = server.await_that("the flood", |server| {
            Ok(server.metric("displaced_handshakes_total")? > 0)
        });
        for _ in 0..NEWCOMERS {
            let asked = Instant::now();
            let is_in = Client::join(address, "/newcomers").is_ok();
            let took = asked.elapsed();
            longest = longest.max(took);
            prompt += usize::from(is_in && took < PROMPT);
        }
        is_over.store(true, Ordering::SeqCst);
        let opened = flood.join().map_err(|_| "the flood panicked")?;
        full?;
        opened
    })?;
    if prompt + 1 < NEWCOMERS {
        return Err(
            format!("{prompt} of {NEWCOMERS} newcomers were let in within a second").into(),
        );
    }
    Ok(format!(
        "{HALF_OPEN} half-open from {addresses} addresses, {opened} in all: {prompt} of \
         {NEWCOMERS} newcomers in, after {:.0} ms at most",
        longest.as_secs_f64() * 1e3
    ))
}

fn drip(address: SocketAddr, addresses: u8, is_over: &AtomicBool) -> Result<usize> {
    let bytes = handshake("/half-open");
    let connect = |number: usize| -> Result<Client> {
        let source = Ipv4Addr::new(127, 0, 1, 1 + (number % usize::from(addresses)) as u8);
        let socket: TcpStream = match addresses {
            1 => dial(address)?,
            _ => dial_from(SocketAddrV4::new(source, 0), address)?,
        };
        Ok(Client::over(socket))
    };
    let mut opened = 0;
    let mut clients: Vec<(Client, usize)> = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        clients.retain_mut(|(client, sent)| {
            let is_open = client.write(&bytes[*sent..=*sent]).is_ok();
            // The last byte is never sent.
            *sent = (*sent + 1).min(bytes.len() - 2);
            is_open && client.fill(4096) == Got::Nothing
        });
        while clients.len() < HALF_OPEN && !is_over.load(Ordering::SeqCst) {
            match connect(opened) {
                Ok(client) => clients.push((client, 0)),
                Err(_) => break,
            }
            opened += 1;
        }
    }
    Ok(opened)
}

/// Stalled strangers have much in their writers' hands; a client of another room,
/// slow for a moment, must not pay for it.
pub(crate) fn strangers(server: &Server, _: &mut Random) -> Result<String> {
    let address = server.address();
    let join = |_| Client::join_tight(address, "/strangers");
    let strangers: Vec<Client> = (0..STRANGERS).map(join).collect::<Result<_>>()?;
    let mut sender = Client::join_tight(address, "/strangers")?;
    let total = server.metric("queue_bytes")?;
    for size in [MIB, MIB, MIB * 2 / 3, MIB] {
        let size = size - 16;
        sender.write(&masked(Opcode::Binary, &vec![b'x'; size]))?;
    }
    server.await_that("the strangers to hold memory", |server| {
        Ok(server.metric("queue_bytes")? > total + TOTAL)
    })?;
    let held = server.metric("queue_bytes")?;
    // Half a MiB waits for it: far less than each client may have.
    let mut honest = Client::join_tight(address, "/honest")?;
    let mut talker = Client::join(address, "/honest")?;
    const MESSAGES: usize = 500;
    for n in 0..MESSAGES {
        talker.say(Opcode::Text, format!("{n:01000}").as_bytes())?;
    }
    let deadline = Instant::now() + PATIENCE;
    for n in 0..MESSAGES {
        let frame = honest.next(deadline)?.ok_or("the honest client is out")?;
        if frame.payload != format!("{n:01000}").as_bytes() {
            return Err(format!("the honest client misses message {n}: {frame:?}").into());
        }
        talker.fill(MIB);
        talker.forget();
    }
    drop(strangers);
    Ok(format!(
        "{STRANGERS} strangers held {:.0} MiB; a slow client of another room got all {MESSAGES} \
         messages",
        held as f64 / MIB as f64
    ))
}

/// Whoever has read its answer hears what another client sends at once.
pub(crate) fn joins(server: &Server, _: &mut Random) -> Result<String> {
    let mut talker = Client::join(server.address(), "/joins")?;
    let start = Instant::now();
    let mut missed = 0;
    for n in 0..2 * JOINS {
        let expected = n.to_string();
        let mut late = match n % 2 {
            0 => Client::join(server.address(), "/joins")?,
            _ => Client::follow(server.address(), "/joins")?,
        };
        talker.say(Opcode::Text, expected.as_bytes())?;
        let deadline = Instant::now() + PROMPT;
        let came = match n % 2 {
            0 => matches!(late.next(deadline), Ok(Some(f)) if f.payload == expected.as_bytes()),
            _ => late.reads(format!("data: {expected}\n\n").as_bytes(), deadline),
        };
        missed += usize::from(!came);
        talker.fill(MIB);
        talker.forget();
    }
    match missed {
        0 => Ok(format!(
            "0 of {} messages missed right after the answer, in {:.1} s",
            2 * JOINS,
            start.elapsed().as_secs_f64()
        )),
        _ => Err(format!("{missed} of {} messages missed", 2 * JOINS).into()),
    }
}

/// One request tries many tokens.
pub(crate) fn guesses(server: &Server, _: &mut Random) -> Result<String> {
    const TIMES: usize = 200;
    for time in 0..TIMES {
        let entries: Vec<String> = (0..600)
            .map(|n| format!("{:06}", n + 600 * time))
            .map(|token| URL_SAFE_NO_PAD.encode(token.as_bytes()))
            .map(|token| format!("hubcast.token.{token}"))
            .collect();
        let header = format!("Sec-WebSocket-Protocol: {}", entries.join(","));
        let headers = [&header, "Content-Length: 0", "Host: localhost"];
        let request = request("POST / HTTP/1.1", &headers);
        let status = exchange(server.address(), &request)?.status;
        if status != 400 {
            return Err(format!("600 tokens in one request are answered with {status}").into());
        }
    }
    let said = server
        .log()
        .lines()
        .filter(|line| line.contains("WARN"))
        .count();
    if !(1..=TIMES / 10).contains(&said) {
        return Err(format!("{TIMES} guessing requests make {said} lines of warning").into());
    }
    Ok(format!(
        "{TIMES} requests with 600 tokens each are 400; {said} lines of warning so far"
    ))
}

/// Two senders of 1 MiB, and two clients that take it, first by WebSocket and then as
/// events: the hub's time must not depend on which.
pub(crate) fn followers(server: &Server, _: &mut Random) -> Result<String> {
    let frames = beside(server, |address| Client::join(address, "/large"))?;
    let events = beside(server, |address| Client::follow(address, "/large"))?;
    let ratio = events / frames;
    let line = format!(
        "the hub's time for 1 MiB: {:.2} ms for two WebSockets, {:.2} ms for two \
         followers",
        frames * 1e3,
        events * 1e3
    );
    match ratio < 3.0 {
        true => Ok(line),
        false => Err(line.into()),
    }
}

/// The hub's time for a message, in seconds, while two clients take it.
fn beside(server: &Server, join: fn(SocketAddr) -> Result<Client>) -> Result<f64> {
    const MESSAGES: usize = 50;
    let address = server.address();
    let message = masked(Opcode::Text, &vec![b'a'; MIB - 16]);
    let is_over = AtomicBool::new(false);
    let before = (
        server.figure("fan_out_seconds_sum")?,
        server.metric("broadcasts_total")?,
    );
    thread::scope(|scope| -> Result<()> {
        let mut takers = Vec::new();
        for _ in 0..2 {
            let mut taker = join(address)?;
            let is_over = &is_over;
            takers.push(scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    match taker.fill(MIB) {
                        Got::Bytes => taker.forget(),
                        Got::Nothing => thread::sleep(Duration::from_micros(100)),
                        Got::End => return Err("a client that reads was thrown out"),
                    }
                }
                Ok(())
            }));
        }
        let mut sender = Client::over(dial(address)?);
        sender.write(&handshake("/large"))?;
        sender.read_head()?;
        for _ in 0..MESSAGES {
            sender.write(&message)?;
            while sender.fill(MIB) == Got::Bytes {
                sender.forget();
            }
        }
        // It receives what it sends, too.
        let deadline = Instant::now() + PATIENCE;
        let all = MESSAGES as u64;
        while server.metric("broadcasts_total")? < before.1 + all && Instant::now() < deadline {
            sender.fill(MIB);
            sender.forget();
        }
        is_over.store(true, Ordering::SeqCst);
        for taker in takers {
            taker.join().map_err(|_| "a client panicked")??;
        }
        Ok(())
    })?;
    let took = server.figure("fan_out_seconds_sum")? - before.0;
    Ok(took / (server.metric("broadcasts_total")? - before.1) as f64)
}
