//! The floor: what it costs to hand the bytes to the kernel and nothing else.
//!
//! The bench starts itself again in this mode as a child process. It accepts its
//! clients and after them one input, from which it reads frames as a server sends
//! them, and passes each on to every client: no handshake, no parsing beyond the
//! frames' lengths, no queues.

use std::io::{IoSlice, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::slice;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use crate::kit::Result;
use crate::kit::frame::Parsed;

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// Larger than anything in flight.
const INPUT_BUFFER: usize = 1 << 20;
/// The most slices that one vectored send takes (IOV_MAX).
const MAX_SLICES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Floor {
    /// One send for each message and client.
    Send,
    /// One vectored send for each client, of all messages that are there.
    Vectored,
    /// The same as one plain send, since the messages lie one behind another.
    Joined,
    /// A thread for each client, blocked on its socket, for what connecting costs.
    Threads,
}

/// As long as hubcast's.
const BACKLOG: i32 = 4096;
/// As large as hubcast's.
const STACK: usize = 256 * 1024;

/// Nothing is waited for longer than this, so that no floor outlives its bench.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until the input ends.
pub(crate) fn run(floor: Floor, listen: SocketAddr, clients: usize) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    // Longer than std's, so that no client's SYN is lost.
    rustix::net::listen(&listener, BACKLOG)?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let mut sockets = Vec::with_capacity(clients);
    for number in 0..=clients {
        wait_for(&listener, PollFlags::IN)?;
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let socket = Arc::new(socket);
        let is_client = number < clients;
        if floor == Floor::Threads && is_client {
            block_on(socket.clone())?;
        }
        sockets.push(socket);
    }
    let mut input = &*sockets.pop().ok_or("no input")?;
    input.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; INPUT_BUFFER];
    let mut filled = 0;
    loop {
        let len = input.read(&mut buffer[filled..])?;
        if len == 0 {
            return Ok(());
        }
        filled += len;
        let frames = whole_frames(&buffer[..filled])?;
        let used = frames.iter().map(|frame| frame.len()).sum();
        match floor {
            Floor::Send | Floor::Threads => send_each(&frames, &sockets)?,
            Floor::Vectored => send_together(&frames, &sockets)?,
            Floor::Joined => send_each(&[&buffer[..used]], &sockets)?,
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Starts a thread that does nothing but wait for the end of a client.
fn block_on(socket: Arc<TcpStream>) -> Result<()> {
    let wait = move || (&*socket).read(&mut [0]);
    thread::Builder::new().stack_size(STACK).spawn(wait)?;
    Ok(())
}

fn whole_frames(mut bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut frames = Vec::new();
    while let Some(frame) = Parsed::parse(bytes)? {
        let (whole, rest) = bytes.split_at(frame.len);
        frames.push(whole);
        bytes = rest;
    }
    Ok(frames)
}

fn send_each(frames: &[&[u8]], sockets: &[Arc<TcpStream>]) -> Result<()> {
    for frame in frames {
        for socket in sockets {
            let mut rest = *frame;
            while !rest.is_empty() {
                match send(&**socket, rest, FLAGS) {
                    Ok(sent) => rest = &rest[sent..],
                    Err(Errno::AGAIN) => wait_for(&**socket, PollFlags::OUT)?,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

fn send_together(frames: &[&[u8]], sockets: &[Arc<TcpStream>]) -> Result<()> {
    for lot in frames.chunks(MAX_SLICES) {
        for socket in sockets {
            let mut slices: Vec<_> = lot.iter().map(|frame| IoSlice::new(frame)).collect();
            let mut rest = slices.as_mut_slice();
            while !rest.is_empty() {
                match sendmsg(&**socket, rest, &mut SendAncillaryBuffer::default(), FLAGS) {
                    Ok(sent) => IoSlice::advance_slices(&mut rest, sent),
                    Err(Errno::AGAIN) => wait_for(&**socket, PollFlags::OUT)?,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

fn wait_for(socket: &impl AsFd, flags: PollFlags) -> Result<()> {
    let mut interest = PollFd::new(socket, flags);
    let timeout = Timespec::try_from(PATIENCE)?;
    match poll(slice::from_mut(&mut interest), Some(&timeout))? {
        0 => Err("nothing happened".into()),
        _ => Ok(()),
    }
}
