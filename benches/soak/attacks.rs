//! What a malicious or broken client may try. Each attack returns when the server has
//! dealt with it, and says in what way.

use std::thread;
use std::time::{Duration, Instant};

use miniz_oxide::deflate::compress_to_vec;

use crate::beside::{PER_CLIENT, held, mib};
use crate::client::{Client, Got, PATIENCE, dial};
use crate::kit::Result;
use crate::kit::frame::{MASKED, Opcode, RSV1, fragment, masked, masked_as};
use crate::kit::http::{UPGRADE, handshake, request};
use crate::random::Random;
use crate::server::Server;
use crate::sharing;

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What the server is started with, beside the deadlines of all attacks.
    pub(crate) options: &'static str,
    /// The descriptor limit it is started with.
    pub(crate) descriptors: Option<u32>,
    pub(crate) act: fn(&Server, &mut Random) -> Result<String>,
}

const BASE: Attack = Attack {
    name: "",
    options: "",
    descriptors: None,
    act: pings,
};

pub(crate) const ALL: &[Attack] = &[
    Attack {
        name: "pings",
        options: "--ping-interval 2s --pong-timeout 2s",
        ..BASE
    },
    Attack {
        name: "fragments",
        act: fragments,
        ..BASE
    },
    Attack {
        name: "reset",
        act: resets,
        ..BASE
    },
    Attack {
        name: "idle",
        act: idle,
        ..BASE
    },
    Attack {
        name: "descriptors",
        // More than there are descriptors for.
        options: "--max-clients 1000",
        descriptors: Some(64),
        act: descriptors,
    },
    Attack {
        name: "slowloris",
        act: slowloris,
        ..BASE
    },
    Attack {
        name: "oversized",
        act: oversized,
        ..BASE
    },
    Attack {
        name: "bombs",
        options: "--deflate",
        act: bombs,
        ..BASE
    },
    Attack {
        name: "garbage-http",
        act: garbage_http,
        ..BASE
    },
    Attack {
        name: "garbage-frames",
        act: garbage_frames,
        ..BASE
    },
    Attack {
        name: "unfinished",
        act: unfinished,
        ..BASE
    },
    Attack {
        name: "backlogs",
        options: "--slow-consumer drop-oldest --queue-bytes 4MiB \
                  --queue-total 32MiB --max-message-size 64KiB",
        act: backlogs,
        ..BASE
    },
    Attack {
        name: "half-open",
        act: sharing::half_open,
        ..BASE
    },
    Attack {
        name: "half-open-from-50",
        act: sharing::half_open_from_fifty,
        ..BASE
    },
    Attack {
        name: "strangers",
        options: "--max-message-size 1MiB",
        act: sharing::strangers,
        ..BASE
    },
    Attack {
        name: "joins",
        act: sharing::joins,
        ..BASE
    },
    Attack {
        name: "guesses",
        options: "--allow-publish --publish-token a-long-and-random-one",
        act: sharing::guesses,
        ..BASE
    },
    Attack {
        name: "followers",
        // Nobody is to be slow here, however busy the machine is.
        options: "--queue-bytes 128MiB --queue-messages 100000",
        act: sharing::followers,
        ..BASE
    },
];

const PINGS: u64 = 100_000;
/// As long as they may be (RFC 6455 §5.5), so that no socket buffer takes all pongs.
const PING_LEN: usize = 125;
const FRAGMENTS: usize = 100_000;
const RESETS: usize = 10_000;
const IDLE: usize = 2_000;
const WAITING: usize = 200;
const SLOWLORIS: usize = 500;
const OVERSIZED: usize = 400;
const BOMBS: usize = 400;
const GARBAGE: usize = 500;
const UNFINISHED: usize = 100;
const MIB: usize = 1 << 20;

/// How many frames are written together.
const LOT: usize = 1_000;
/// The canary's clients.
const OTHERS: u64 = 2;
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Two clients ping without reading. One reads in the end: the newest pong is there,
/// as RFC 6455 §5.5.3 asks for. The other never does: no more than a pong waits for
/// it, and a ping that it does not answer ends it.
fn pings(server: &Server, _: &mut Random) -> Result<String> {
    let mut reads = Client::join_tight(server.address(), "/pings")?;
    let mut never = Client::join_tight(server.address(), "/pings")?;
    let start = Instant::now();
    send_pings(&mut reads)?;
    let took = start.elapsed();
    let deadline = Instant::now() + PATIENCE;
    let mut pongs = 0;
    loop {
        let frame = reads.next(deadline)?.ok_or("the reader was thrown out")?;
        if frame.opcode == Opcode::Pong {
            pongs += 1;
            if frame.payload.starts_with(&(PINGS - 1).to_be_bytes()) {
                break;
            }
        }
    }
    // Thrown out, it cannot send all of them.
    drop(send_pings(&mut never));
    let peer = never.local()?;
    let mut most = 0;
    let gone = server.await_that("the one that never reads to be thrown out", |server| {
        let members = server.members()?;
        let member = members.iter().find(|member| member.peer == peer);
        most = most.max(member.map_or(0, |member| member.queue_bytes));
        Ok(member.is_none())
    })?;
    if most > 2 * (PING_LEN + 2) {
        return Err(format!("{most} bytes of pongs wait for the one that never reads").into());
    }
    Ok(format!(
        "{PINGS} pings in {:.1} s, {pongs} pongs when read, the last among them; \
         unread: {most} bytes wait, out {:.1} s later",
        took.as_secs_f64(),
        gone.as_secs_f64()
    ))
}

fn send_pings(client: &mut Client) -> Result<()> {
    let numbers: Vec<u64> = (0..PINGS).collect();
    for lot in numbers.chunks(LOT) {
        let mut bytes = Vec::new();
        for number in lot {
            let mut payload = [0; PING_LEN];
            payload[..8].copy_from_slice(&number.to_be_bytes());
            bytes.extend(masked(Opcode::Ping, &payload));
        }
        client.write(&bytes)?;
    }
    Ok(())
}

/// Messages in as many fragments as are allowed arrive whole; one in more is refused.
fn fragments(server: &Server, _: &mut Random) -> Result<String> {
    const MESSAGES: usize = 4;
    let mut listener = Client::join(server.address(), "/fragments")?;
    let mut speaker = Client::join(server.address(), "/fragments")?;
    server.await_that("both to join", |server| {
        Ok(server.metric("clients")? == OTHERS + 2)
    })?;
    for _ in 0..MESSAGES {
        send_fragments(&mut speaker, FRAGMENTS / MESSAGES)?;
    }
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..MESSAGES {
        let frame = listener.next(deadline)?.ok_or("the listener is out")?;
        if frame.payload != vec![b'x'; FRAGMENTS / MESSAGES] {
            return Err("a message of fragments is not what it was".into());
        }
    }
    // Refused before the end, it need not take the rest.
    drop(send_fragments(&mut speaker, FRAGMENTS));
    match speaker.read_to_close()? {
        Some(1008) => Ok(format!(
            "{FRAGMENTS} one-byte fragments in {MESSAGES} messages arrive whole, in one are 1008"
        )),
        code => Err(format!("too many fragments are closed with {code:?}").into()),
    }
}

/// A message of one-byte fragments.
fn send_fragments(client: &mut Client, fragments: usize) -> Result<()> {
    let mut bytes = Vec::new();
    for at in 0..fragments {
        let opcode = match at {
            0 => Opcode::Text,
            _ => Opcode::Continuation,
        };
        let is_last = at + 1 == fragments;
        bytes.extend(match is_last {
            true => masked(opcode, b"x"),
            false => fragment(opcode, b"x"),
        });
        if bytes.len() > 7 * LOT || is_last {
            client.write(&bytes)?;
            bytes.clear();
        }
    }
    Ok(())
}

/// Connections that are reset at once, within the request, behind it, and as members.
fn resets(server: &Server, random: &mut Random) -> Result<String> {
    let request = handshake("/reset");
    let (mut joined, mut refused) = (0, 0);
    let start = Instant::now();
    for _ in 0..RESETS {
        let mut client = Client::over(dial(server.address())?);
        match random.below(4) {
            0 => {}
            1 => client.write(&request[..random.below(request.len())])?,
            2 => client.write(&request)?,
            _ => {
                client.write(&request)?;
                match client.read_head()? {
                    head if head.starts_with("HTTP/1.1 101") => joined += 1,
                    _ => refused += 1,
                }
            }
        }
    }
    let took = start.elapsed();
    await_only_others(server)?;
    Ok(format!(
        "{RESETS} connections reset, {:.0}/s, {joined} of them members, {refused} refused",
        RESETS as f64 / took.as_secs_f64()
    ))
}

/// Idle clients in one room and in rooms of their own, gone at once.
fn idle(server: &Server, _: &mut Random) -> Result<String> {
    let mut clients = Vec::new();
    for number in 0..IDLE {
        let room = match number % 2 {
            0 => "/idle".to_owned(),
            _ => format!("/idle/{number}"),
        };
        clients.push(Client::join(server.address(), &room)?);
    }
    server.await_that("all to join", |server| {
        Ok(server.metric("clients")? == OTHERS + IDLE as u64)
    })?;
    let holdings = server.holdings()?;
    drop(clients);
    let gone = await_only_others(server)?;
    server.await_that("their rooms to go", |server| {
        Ok(server.metric("rooms")? == 1)
    })?;
    Ok(format!(
        "{IDLE} clients ({} threads, {:.1} MiB) gone at once, forgotten after {:.2} s",
        holdings.threads,
        mib(holdings.resident),
        gone.as_secs_f64()
    ))
}

/// More connections than descriptors: those inside are served, nothing spins, and
/// when there is room again those outside get in.
fn descriptors(server: &Server, _: &mut Random) -> Result<String> {
    const HOLD: Duration = Duration::from_secs(5);
    let mut clients = Vec::new();
    for _ in 0..WAITING {
        let mut client = Client::over(dial(server.address())?);
        client.write(&handshake("/many"))?;
        clients.push(client);
    }
    thread::sleep(Duration::from_millis(500));
    let (start, cpu) = (Instant::now(), server.cpu()?);
    thread::sleep(HOLD);
    let load = (server.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let inside = clients
        .iter_mut()
        .map(|client| client.fill(4096))
        .filter(|got| *got == Got::Bytes)
        .count();
    let descriptors = server.holdings()?.descriptors;
    drop(clients);
    let start = Instant::now();
    drop(Client::join(server.address(), "/after")?);
    let recovered = start.elapsed();
    await_only_others(server)?;
    let told = server.log().matches("cannot accept connections").count();
    if load > 0.1 {
        return Err(format!(
            "waiting for descriptors takes {:.0} % of a core",
            load * 1e2
        )
        .into());
    }
    if told == 0 || told > 4 {
        return Err(format!("the log says {told} times that nothing can be accepted").into());
    }
    Ok(format!(
        "{WAITING} connections for {descriptors} descriptors: {inside} inside; {:.1} % of a core, \
         logged {told} times, {} failures; the next is in {:.2} s after the end",
        load * 1e2,
        server.metric("accept_errors_total")?,
        recovered.as_secs_f64()
    ))
}

/// Opening handshakes that drip, byte by byte, while others come in.
fn slowloris(server: &Server, _: &mut Random) -> Result<String> {
    const DRIP: Duration = Duration::from_millis(100);
    let request = handshake("/slow");
    let mut clients = Vec::new();
    for _ in 0..SLOWLORIS {
        clients.push(Client::over(dial(server.address())?));
    }
    let start = Instant::now();
    let (mut longest, mut newcomers, mut told) = (Duration::ZERO, 0, 0);
    for byte in &request {
        clients.retain_mut(|client| {
            let is_open = client.write(&[*byte]).is_ok();
            match client.fill(4096) {
                Got::Nothing => is_open,
                Got::End => false,
                Got::Bytes => {
                    let head = client.read_head().unwrap_or_default();
                    told += u32::from(head.starts_with("HTTP/1.1 408"));
                    false
                }
            }
        });
        if clients.is_empty() {
            break;
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{} of them are still there", clients.len()).into());
        }
        let asked = Instant::now();
        drop(Client::join(server.address(), "/newcomers")?);
        longest = longest.max(asked.elapsed());
        newcomers += 1;
        thread::sleep(DRIP);
    }
    Ok(format!(
        "{SLOWLORIS} dripping handshakes, all out after {:.1} s, {told} told 408; meanwhile \
         {newcomers} others came in, in {:.0} ms at most",
        start.elapsed().as_secs_f64(),
        longest.as_secs_f64() * 1e3
    ))
}

/// Frames and messages that are too large, announced or sent.
fn oversized(server: &Server, _: &mut Random) -> Result<String> {
    let header = |len: u64| {
        let mut bytes = vec![Opcode::Binary.last(), MASKED | 127];
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes
    };
    // Two halves that are too large together.
    let mut halves = fragment(Opcode::Binary, &vec![0; MIB]);
    halves.extend(masked(Opcode::Continuation, b"x"));
    let mut whole = header(MIB as u64 + 1);
    whole.extend_from_slice(&vec![0; MIB + 1]);
    let kinds = [header(u64::MAX >> 1), header(1 << 40), whole, halves];
    for number in 0..OVERSIZED {
        let mut client = Client::join(server.address(), "/oversized")?;
        // Refused at its header, it need not take the rest.
        drop(client.write(&kinds[number % kinds.len()]));
        match client.read_to_close()? {
            Some(1009) => {}
            code => {
                let kind = number % kinds.len();
                return Err(format!("kind {kind} is closed with {code:?}").into());
            }
        }
    }
    await_only_others(server)?;
    Ok(format!(
        "{OVERSIZED} oversized messages of {} kinds, all closed with 1009",
        kinds.len()
    ))
}

/// Compressed messages of 64 KiB that are 64 MiB, or a byte too large.
fn bombs(server: &Server, _: &mut Random) -> Result<String> {
    let first = Opcode::Binary.last() | RSV1;
    let kinds = [64 * MIB, MIB + 1].map(|len| {
        let packed = compress_to_vec(&vec![0; len], 6);
        masked_as(first, &packed)
    });
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    let handshake = request("GET /bombs HTTP/1.1", &[&UPGRADE[..], &[offer]].concat());
    for number in 0..BOMBS {
        let mut client = Client::over(dial(server.address())?);
        client.write(&handshake)?;
        let head = client.read_head()?;
        if !head.contains("permessage-deflate") {
            return Err(format!("nothing agreed: {head:?}").into());
        }
        drop(client.write(&kinds[number % kinds.len()]));
        match client.read_to_close()? {
            Some(1009) => {}
            code => return Err(format!("a bomb is closed with {code:?}").into()),
        }
    }
    await_only_others(server)?;
    Ok(format!("{BOMBS} bombs, all closed with 1009"))
}

/// Random bytes where a request should be.
fn garbage_http(server: &Server, random: &mut Random) -> Result<String> {
    let mut clients = Vec::new();
    for _ in 0..GARBAGE {
        let mut client = Client::over(dial(server.address())?);
        let len = random.within(1..4096);
        drop(client.write(&random.bytes(len)));
        clients.push(client);
    }
    let answered = read_to_ends(clients)?;
    await_only_others(server)?;
    Ok(format!(
        "{GARBAGE} times random bytes instead of a request, {answered} answered, all out"
    ))
}

/// Random bytes where frames should be.
fn garbage_frames(server: &Server, random: &mut Random) -> Result<String> {
    let mut clients = Vec::new();
    for _ in 0..GARBAGE {
        let mut client = Client::join(server.address(), "/garbage")?;
        let len = random.within(64..4096);
        drop(client.write(&random.bytes(len)));
        clients.push(client);
    }
    let answered = read_to_ends(clients)?;
    await_only_others(server)?;
    Ok(format!(
        "{GARBAGE} times random bytes instead of frames, {answered} answered, all out"
    ))
}

/// Waits until the server has ended all of these; how many it said something to.
fn read_to_ends(mut clients: Vec<Client>) -> Result<usize> {
    let deadline = Instant::now() + 2 * PATIENCE;
    let all = clients.len();
    let mut answered = vec![false; all];
    let mut open: Vec<(usize, Client)> = clients.drain(..).enumerate().collect();
    while !open.is_empty() {
        if Instant::now() > deadline {
            return Err(format!("{} of {all} are still there", open.len()).into());
        }
        open.retain_mut(|(number, client)| match client.fill(4096) {
            Got::Bytes => {
                answered[*number] = true;
                client.forget();
                true
            }
            Got::Nothing => true,
            Got::End => false,
        });
        thread::sleep(POLL);
    }
    Ok(answered.into_iter().filter(|&answered| answered).count())
}

/// Large messages that lack their last byte.
fn unfinished(server: &Server, _: &mut Random) -> Result<String> {
    let mut frame = masked(Opcode::Binary, &vec![0; MIB]);
    frame.pop();
    let mut clients = Vec::new();
    for _ in 0..UNFINISHED {
        let mut client = Client::join(server.address(), "/unfinished")?;
        client.write(&frame)?;
        clients.push(client);
    }
    let resident = server.holdings()?.resident;
    for client in &mut clients {
        match client.read_to_close()? {
            Some(1008) => {}
            code => return Err(format!("an unfinished message is closed with {code:?}").into()),
        }
    }
    drop(clients);
    await_only_others(server)?;
    Ok(format!(
        "{UNFINISHED} messages of 1 MiB lack a byte, {:.0} MiB; all closed with 1008",
        mib(resident)
    ))
}

/// Stalled clients in rooms of their own, each with its own full backlog, which no
/// other shares: as much memory as messages can take.
fn backlogs(server: &Server, _: &mut Random) -> Result<String> {
    const ROOMS: usize = 40;
    const MESSAGES: usize = 100;
    const BUDGET: u64 = 32 << 20;
    let bare = server.holdings()?.resident;
    let message = vec![b'x'; 60 * 1024];
    let (mut stalled, mut most) = (Vec::new(), 0);
    for room in 0..ROOMS {
        let room = format!("/backlogs/{room}");
        stalled.push(Client::join_tight(server.address(), &room)?);
        let mut publisher = Client::join(server.address(), &room)?;
        for _ in 0..MESSAGES {
            publisher.say(Opcode::Binary, &message)?;
            let echo = publisher.next(Instant::now() + PATIENCE)?;
            echo.ok_or("the publisher was thrown out")?;
        }
        most = most.max(server.metric("queue_bytes")?);
    }
    let dropped = server.metric("dropped_messages_total")?;
    // What writers have in hand comes on top: 64 KiB, or a message more.
    let waits = BUDGET + (ROOMS as u64) * (128 << 10);
    let bound = bare + held(64 << 10, waits) + (2 * ROOMS as u64) * PER_CLIENT;
    let peak = server.peak()?;
    drop(stalled);
    await_only_others(server)?;
    if most > waits || peak > bound {
        return Err(format!("{most} bytes wait, {peak} are resident, {bound} may be").into());
    }
    Ok(format!(
        "{ROOMS} stalled clients, {:.0} MiB sent, {:.1} MiB wait at most (queues: 32), {dropped} \
         messages dropped; peak {:.0} MiB (formula {:.0})",
        mib((ROOMS * MESSAGES * message.len()) as u64),
        mib(most),
        mib(peak),
        mib(bound)
    ))
}

/// Waits until only the canary is left.
fn await_only_others(server: &Server) -> Result<Duration> {
    server.await_that("the clients to be forgotten", |server| {
        Ok(server.metric("clients")? == OTHERS)
    })
}
