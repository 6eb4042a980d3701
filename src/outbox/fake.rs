//! A client's socket and writer thread, simulated for tests.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::names::ClientId;
use crate::net::{Outlet, Sent};
use crate::outbox::writer::{Chunk, StartWriter};

/// A socket that takes as many bytes as the test allows.
#[derive(Debug)]
pub(crate) struct FakeSocket {
    wire: Mutex<Wire>,
    start: Sender<Chunk>,
    chunks: Receiver<Chunk>,
}

/// What the socket has seen, and how it answers.
#[derive(Debug)]
pub(crate) struct Wire {
    /// All bytes that were sent, until the test takes them.
    pub(crate) out: Vec<u8>,
    /// How many bytes the hub's next send takes at most.
    pub(crate) room: usize,
    /// How many bytes are sealed into one record at most, each of which is
    /// taken whole; zero: none are sealed.
    pub(super) record: usize,
    /// What was taken and has not gone out.
    pub(crate) owed: Vec<u8>,
    /// The error of every send of the hub.
    pub(crate) error: Option<io::ErrorKind>,
    /// What the writer has not written yet of its chunk.
    writing: VecDeque<Bytes>,
    pub(crate) plain_sends: usize,
    pub(super) vectored_sends: usize,
    pub(super) writers_started: usize,
    pub(crate) finished: usize,
    pub(crate) aborted: usize,
}

impl FakeSocket {
    /// A socket that takes everything.
    pub(super) fn new() -> Arc<FakeSocket> {
        let (start, chunks) = bounded(1);
        let wire = Mutex::new(Wire {
            out: Vec::new(),
            room: usize::MAX,
            record: 0,
            owed: Vec::new(),
            error: None,
            writing: VecDeque::new(),
            plain_sends: 0,
            vectored_sends: 0,
            writers_started: 0,
            finished: 0,
            aborted: 0,
        });
        Arc::new(FakeSocket {
            wire,
            start,
            chunks,
        })
    }

    pub(crate) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    /// From now on each of the hub's sends takes at most `room` bytes.
    pub(crate) fn set_room(&self, room: usize) {
        self.wire().room = room;
    }

    /// The bytes that were sent since this was asked last.
    pub(crate) fn take_out(&self) -> Vec<u8> {
        std::mem::take(&mut self.wire().out)
    }

    /// Takes the chunk that the outbox has handed over, if there is a new
    /// one; the writer has it from now on. Returns its frames.
    pub(super) fn take_chunk(&self) -> Option<Vec<Bytes>> {
        let chunk = self.chunks.try_recv().ok()?;
        let mut wire = self.wire();
        assert!(wire.writing.is_empty(), "a second chunk beside the first");
        let is_idle = chunk.frames.is_empty() && wire.owed.is_empty();
        assert!(!is_idle, "a chunk with nothing to write");
        wire.writing = chunk.frames.iter().cloned().collect();
        Some(chunk.frames)
    }

    /// Whether the writer has something to write.
    pub(crate) fn is_writing(&self) -> bool {
        let wire = self.wire();
        !wire.writing.is_empty() || !wire.owed.is_empty() || !self.chunks.is_empty()
    }

    /// The writer writes up to `n` bytes of its chunk. Returns whether the
    /// chunk is finished; the test must then tell the outbox.
    pub(crate) fn write(&self, mut n: usize) -> bool {
        self.take_chunk();
        let mut wire = self.wire();
        let Wire {
            out, writing, owed, ..
        } = &mut *wire;
        let had = !writing.is_empty() || !owed.is_empty();
        let flushed = n.min(owed.len());
        out.extend(owed.drain(..flushed));
        n -= flushed;
        if !owed.is_empty() {
            return false;
        }
        while let Some(frame) = writing.front_mut() {
            let taken = frame.split_to(n.min(frame.len()));
            n -= taken.len();
            out.extend_from_slice(&taken);
            if !frame.is_empty() {
                break;
            }
            writing.pop_front();
        }
        had && writing.is_empty()
    }

    fn hub_sends(&self) -> io::Result<MutexGuard<'_, Wire>> {
        assert!(
            !self.is_writing(),
            "the hub writes while the writer has a chunk"
        );
        let wire = self.wire();
        assert_eq!(wire.finished, 0, "a send behind the end of the stream");
        match wire.error {
            Some(kind) => Err(kind.into()),
            None if wire.room == 0 && wire.record == 0 => Err(io::ErrorKind::WouldBlock.into()),
            None => Ok(wire),
        }
    }
}

/// How much a socket takes of `len` bytes, and how much of that goes out at
/// once, where there is `room` and each record is taken whole.
pub(super) fn taken(len: usize, room: usize, record: usize) -> (usize, usize) {
    let out = len.min(room);
    if record == 0 {
        return (out, out);
    }
    // Also the record for which there is no room any more.
    let records = room.min(len) / record + 1;
    (len.min(records * record), out)
}

impl Wire {
    fn take(&mut self, bytes: &[u8]) -> Sent {
        let (taken, out) = taken(bytes.len(), self.room, self.record);
        self.out.extend_from_slice(&bytes[..out]);
        self.owed.extend_from_slice(&bytes[out..taken]);
        Sent {
            bytes: taken,
            owed: taken - out,
        }
    }
}

impl Outlet for FakeSocket {
    fn try_send(&self, bytes: &[u8]) -> io::Result<Sent> {
        self.wire().plain_sends += 1;
        Ok(self.hub_sends()?.take(bytes))
    }

    fn try_send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        self.wire().vectored_sends += 1;
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter())
            .copied()
            .collect();
        Ok(self.hub_sends()?.take(&bytes))
    }

    fn send_within(&self, _: &[IoSlice<'_>], _: Duration) -> io::Result<usize> {
        unreachable!("the test plays the writer thread");
    }

    fn finish(&self) {
        self.wire().finished += 1;
    }

    fn end(&self) {}

    fn abort(&self) {
        self.wire().aborted += 1;
    }
}

/// Starts no thread: the chunks go to the client's [`FakeSocket`].
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeWriters(Arc<Mutex<Sockets>>);

#[derive(Debug, Default)]
struct Sockets {
    by_client: HashMap<ClientId, Arc<FakeSocket>>,
    refuse: bool,
}

impl FakeWriters {
    /// Makes a client's socket.
    pub(crate) fn socket(&self, id: ClientId) -> Arc<FakeSocket> {
        let socket = FakeSocket::new();
        let mut sockets = self.0.lock().unwrap();
        sockets.by_client.insert(id, socket.clone());
        socket
    }

    /// From now on no thread can be started.
    #[cfg(test)]
    pub(crate) fn refuse(&self) {
        self.0.lock().unwrap().refuse = true;
    }
}

impl StartWriter for FakeWriters {
    fn start(&self, id: ClientId, _: Arc<dyn Outlet>) -> io::Result<Sender<Chunk>> {
        let sockets = self.0.lock().unwrap();
        if sockets.refuse {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let socket = &sockets.by_client[&id];
        let mut wire = socket.wire();
        wire.writers_started += 1;
        assert_eq!(wire.writers_started, 1, "a second writer thread");
        Ok(socket.start.clone())
    }
}

/// What a client reads from these bytes, in short: texts as they are, `P` and
/// the payload for a Ping, `p` for a Pong, `CLOSE` with code and reason. All
/// frames are short ones.
#[cfg(test)]
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let [first, len @ 0..127, rest @ ..] = bytes {
        let (len, rest) = match (len, rest) {
            (126, [high, low, rest @ ..]) => (u16::from_be_bytes([*high, *low]), rest),
            (len, rest) => (u16::from(*len), rest),
        };
        let (payload, rest) = rest.split_at(usize::from(len));
        let text = String::from_utf8_lossy(payload);
        frames.push(match (first, payload) {
            (0x81, _) => text.into_owned(),
            (0x89, _) => format!("P{text}"),
            (0x8a, _) => format!("p{text}"),
            (0x88, []) => "CLOSE".to_owned(),
            (0x88, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                format!("CLOSE {code} {}", String::from_utf8_lossy(reason))
            }
            (first, _) => panic!("a frame that begins with {first:#x}"),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame: {bytes:?}");
    frames
}
