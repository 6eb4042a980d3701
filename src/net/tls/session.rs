//! One TLS connection after its handshake.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use crate::net::outlet::Sent;
use crate::net::raw;
use crate::net::received::{Plain, Received};

/// The most plaintext of one record (RFC 8446 §5.1).
const MAX_PLAIN: usize = 16 * 1024;
/// The length of a record's header, and where in it the record's length stands.
const HEADER: usize = 5;
/// How much a record is longer than its plaintext, with every cipher suite that
/// there is (RFC 8446 §5.2).
const OVERHEAD: usize = HEADER + 256;
/// How long a thread that must not wait tries to get at the session.
const PATIENCE: Duration = Duration::from_micros(2);

/// One TLS connection after its handshake.
#[derive(Debug)]
pub(in crate::net) struct Session {
    sealed: Mutex<Sealed>,
    /// What is encrypted and not in the socket yet. It is locked while `sealed`
    /// is, so that records stand here in the order of their encryption, or
    /// alone by the one thread that sends.
    owed: Mutex<Vec<u8>>,
    /// Locked by the one thread that reads.
    inbound: Mutex<Inbound>,
}

/// The keys and counters.
struct Sealed {
    connection: UnbufferedServerConnection,
    /// The peer has ended its direction.
    is_closed: bool,
    /// Nothing can be sent or received any more.
    is_dead: bool,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").finish_non_exhaustive()
    }
}

/// What has come and is not taken yet; nothing while the client is idle.
#[derive(Debug, Default)]
struct Inbound {
    /// The beginning of a record.
    cipher: Vec<u8>,
    /// Plaintext for which the caller's buffer was too small.
    plain: Vec<u8>,
    is_closed: bool,
}

/// What one step of decrypting has come to.
#[derive(Debug, PartialEq, Eq)]
enum Opened {
    /// There may be more whole records.
    More,
    /// What is left is the beginning of a record.
    Done,
}

thread_local! {
    /// The working space of a thread that sends.
    static SPACE: RefCell<Space> = RefCell::default();
}

#[derive(Debug, Default)]
struct Space {
    cipher: Ciphertext,
    plain: Vec<u8>,
}

/// Records on their way to the socket, in memory that is cleared once.
#[derive(Debug, Default)]
struct Ciphertext {
    memory: Vec<u8>,
    len: usize,
}

impl Ciphertext {
    /// The memory behind what is there, at least `len` bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.memory.len() < self.len + len {
            self.memory.resize(self.len + len, 0);
        }
        &mut self.memory[self.len..]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Whether there is a whole record at the start of these bytes.
fn begins_with_record(bytes: &[u8]) -> bool {
    record_len(bytes).is_some_and(|len| len <= bytes.len())
}

/// The length of the record that begins here, if its header is there.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    Some(HEADER + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// Appends what the session wants to say, such as an alert.
pub(super) fn encode(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let start = out.len();
    out.resize(start + OVERHEAD, 0);
    loop {
        match data.encode(&mut out[start..]) {
            Ok(len) => {
                out.truncate(start + len);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => out.resize(start + size.required_size, 0),
            Err(error) => return Err(rustls::Error::General(error.to_string())),
        }
    }
}

impl Sealed {
    /// Decrypts the first record of `incoming` that holds data, or what there is
    /// up to the end. Returns how many bytes are used up.
    ///
    /// rustls remembers where a part of a handshake message lies in the buffer,
    /// and would look for it in the empty one of a thread that encrypts. So none
    /// may be left when this returns. After the handshake only a KeyUpdate of
    /// five bytes may come, which nobody but an attacker sends in parts; and data
    /// never comes between the parts of a message (RFC 8446 §5.1).
    fn open(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        owed: &Mutex<Vec<u8>>,
    ) -> Result<(usize, Opened), rustls::Error> {
        let mut used = 0;
        loop {
            let rest = &mut incoming[used..];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            used += discard;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        plain.extend_from_slice(record?.payload);
                    }
                    return Ok((used, Opened::More));
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut lock(owed))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.is_closed = true,
                _ => break,
            }
        }
        match !self.is_closed && begins_with_record(&incoming[used..]) {
            true => Err(rustls::Error::General(
                "a handshake message in parts".into(),
            )),
            false => Ok((used, Opened::Done)),
        }
    }

    /// Encrypts what is the plaintext of one record, behind what the session
    /// itself has to say.
    fn seal(&mut self, plain: &[u8], out: &mut Ciphertext) -> Result<(), rustls::Error> {
        self.write(out, plain.len() + OVERHEAD, |traffic, room| {
            traffic.encrypt(plain, room)
        })
    }

    fn close(&mut self, out: &mut Ciphertext) -> Result<(), rustls::Error> {
        self.write(out, OVERHEAD, |traffic, room| {
            traffic.queue_close_notify(room)
        })
    }

    fn write(
        &mut self,
        out: &mut Ciphertext,
        mut needed: usize,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        loop {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    match write(&mut traffic, out.room(needed)) {
                        Ok(len) => {
                            out.len += len;
                            return Ok(());
                        }
                        Err(EncryptError::InsufficientSize(size)) => needed = size.required_size,
                        Err(error) => return Err(rustls::Error::General(error.to_string())),
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut said = Vec::new();
                    encode(&mut data, &mut said)?;
                    out.put(&said);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.is_closed = true,
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
        }
    }
}

/// Whether a thread may wait for the other one.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Brief,
    Wait,
}

impl Session {
    /// `incoming` is what has come behind the handshake.
    pub(super) fn new(
        connection: UnbufferedServerConnection,
        mut incoming: Vec<u8>,
        plain: Vec<u8>,
    ) -> io::Result<Session> {
        let session = Session {
            sealed: Mutex::new(Sealed {
                connection,
                is_closed: false,
                is_dead: false,
            }),
            owed: Mutex::default(),
            inbound: Mutex::default(),
        };
        let mut inbound = Inbound {
            plain,
            ..Inbound::default()
        };
        let used = session.open(&mut incoming, &mut inbound)?;
        inbound.cipher = incoming[used..].to_vec();
        *lock(&session.inbound) = inbound;
        Ok(session)
    }

    /// The certificates that the peer has shown, its own first.
    pub(in crate::net) fn peer_certificates(&self) -> Vec<Vec<u8>> {
        let sealed = lock(&self.sealed);
        let certificates = sealed.connection.peer_certificates().unwrap_or_default();
        certificates.iter().map(|der| der.to_vec()).collect()
    }

    /// Decrypts all whole records. Returns how many bytes are used up.
    fn open(&self, incoming: &mut [u8], inbound: &mut Inbound) -> io::Result<usize> {
        let mut used = 0;
        loop {
            // Locked anew for each record, so that a thread that sends gets its
            // turn.
            let mut sealed = lock(&self.sealed);
            if sealed.is_dead {
                return Err(broken());
            }
            let rest = &mut incoming[used..];
            match sealed.open(rest, &mut inbound.plain, &self.owed) {
                Ok((discard, opened)) => {
                    used += discard;
                    if opened == Opened::Done {
                        inbound.is_closed |= sealed.is_closed;
                        return Ok(used);
                    }
                }
                Err(error) => {
                    sealed.is_dead = true;
                    drop(sealed);
                    log::debug!("a TLS connection fails: {error}");
                    return Err(broken());
                }
            }
        }
    }

    /// Reads the socket once and decrypts what has come. The buffer is working
    /// space.
    fn fill<'b>(
        &self,
        socket: BorrowedFd<'_>,
        inbound: &mut Inbound,
        receive: impl FnOnce() -> io::Result<&'b mut [u8]>,
    ) -> io::Result<()> {
        if inbound.cipher.is_empty() {
            let bytes = receive()?;
            inbound.is_closed |= bytes.is_empty();
            let used = self.open(bytes, inbound)?;
            inbound.cipher.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut cipher = mem::take(&mut inbound.cipher);
        // The whole record, and what follows it where it is short.
        let wanted = record_len(&cipher).unwrap_or_default() + HEADER;
        cipher.reserve(wanted.saturating_sub(cipher.len()).max(1024));
        let received = recv(socket, spare_capacity(&mut cipher), RecvFlags::empty());
        match received {
            Ok((len, _)) => inbound.is_closed |= len == 0,
            Err(errno) => {
                inbound.cipher = cipher;
                return Err(errno.into());
            }
        }
        let used = self.open(&mut cipher, inbound)?;
        if used < cipher.len() {
            cipher.drain(..used);
            inbound.cipher = cipher;
        }
        Ok(())
    }

    /// Reads once. The caller's buffer is the socket's, too.
    pub(in crate::net) fn receive<'b>(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &'b mut [MaybeUninit<u8>],
    ) -> io::Result<Received<Plain<'b>>> {
        let mut inbound = lock(&self.inbound);
        if !inbound.is_readable() {
            self.fill(socket, &mut inbound, || {
                let ((bytes, _), _) = recv(socket, buffer, RecvFlags::empty())?;
                Ok(bytes)
            })?;
        }
        Ok(match inbound.plain.is_empty() {
            false => Received::Bytes(Plain::Apart(mem::take(&mut inbound.plain))),
            true if inbound.is_closed => Received::End,
            true => Received::Nothing,
        })
    }

    /// Reads once into initialised memory; returns how many bytes have come.
    pub(in crate::net) fn receive_into(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> io::Result<Received<usize>> {
        let mut inbound = lock(&self.inbound);
        if !inbound.is_readable() {
            self.fill(socket, &mut inbound, || {
                let (len, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
                Ok(&mut buffer[..len])
            })?;
        }
        if inbound.plain.is_empty() {
            return Ok(match inbound.is_closed {
                true => Received::End,
                false => Received::Nothing,
            });
        }
        let len = inbound.plain.len().min(buffer.len());
        buffer[..len].copy_from_slice(&inbound.plain[..len]);
        match len == inbound.plain.len() {
            true => inbound.plain = Vec::new(),
            false => drop(inbound.plain.drain(..len)),
        }
        Ok(Received::Bytes(len))
    }

    /// Whether a read returns at once, whatever the socket says.
    pub(in crate::net) fn is_readable(&self) -> bool {
        lock(&self.inbound).is_readable()
    }

    fn sealed(&self, patience: Patience) -> io::Result<MutexGuard<'_, Sealed>> {
        let mut since = None;
        let sealed = loop {
            match (patience, self.sealed.try_lock()) {
                (_, Ok(sealed)) => break sealed,
                (_, Err(TryLockError::Poisoned(poisoned))) => break poisoned.into_inner(),
                (Patience::Wait, Err(TryLockError::WouldBlock)) => break lock(&self.sealed),
                (Patience::Brief, Err(TryLockError::WouldBlock)) => {
                    let since = since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    std::hint::spin_loop();
                }
            }
        };
        match sealed.is_dead {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(sealed),
        }
    }

    /// Puts what is owed and the next record into `out`.
    fn seal(
        &self,
        patience: Patience,
        out: &mut Ciphertext,
        seal: impl FnOnce(&mut Sealed, &mut Ciphertext) -> Result<(), rustls::Error>,
    ) -> io::Result<()> {
        let mut sealed = self.sealed(patience)?;
        out.len = 0;
        out.put(&mem::take(&mut *lock(&self.owed)));
        seal(&mut sealed, out).map_err(|error| {
            sealed.is_dead = true;
            io::Error::other(error)
        })
    }

    /// Gives the socket as much as it takes now; the rest is owed. Returns how
    /// much that is.
    fn pass_on(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let sent = match raw::try_send(socket, bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let rest = &bytes[sent..];
        if !rest.is_empty() {
            // The reading thread may have added something, which was encrypted
            // later.
            let mut owed = lock(&self.owed);
            owed.splice(..0, rest.iter().copied());
        }
        Ok(rest.len())
    }

    /// Sends record by record until the socket takes no more, or the other
    /// thread uses the session.
    pub(in crate::net) fn try_send(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        SPACE.with_borrow_mut(|Space { cipher, plain }| {
            let mut cursor = Cursor::new(slices);
            let mut sent = Sent::default();
            while let Some(record) = cursor.next_record(plain) {
                match self.seal(Patience::Brief, cipher, |s, out| s.seal(record, out)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent.bytes > 0 => {
                        break;
                    }
                    Err(error) => return Err(error),
                }
                sent.bytes += record.len();
                sent.owed = self.pass_on(socket, cipher.bytes())?;
                if sent.owed > 0 {
                    break;
                }
            }
            Ok(sent)
        })
    }

    /// Takes one record after what is owed is out.
    pub(in crate::net) fn send_within(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        timeout: Duration,
    ) -> io::Result<usize> {
        self.flush_within(socket, timeout)?;
        SPACE.with_borrow_mut(|Space { cipher, plain }| {
            let Some(record) = Cursor::new(slices).next_record(plain) else {
                return Ok(0);
            };
            self.seal(Patience::Wait, cipher, |s, out| s.seal(record, out))?;
            self.pass_on(socket, cipher.bytes())?;
            Ok(record.len())
        })
    }

    /// Sends what is owed.
    pub(in crate::net) fn flush_within(
        &self,
        socket: BorrowedFd<'_>,
        timeout: Duration,
    ) -> io::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let owed = mem::take(&mut *lock(&self.owed));
            if owed.is_empty() {
                return Ok(());
            }
            if self.pass_on(socket, &owed)? == 0 {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !raw::wait_writable(socket, deadline)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Tells the peer that nothing more comes (RFC 8446 §6.1), and waits for at
    /// most `timeout` until the socket has taken it; zero: no longer than a
    /// thread may that must not wait. Where it does not fit, the end of the
    /// stream must do.
    pub(in crate::net) fn say_goodbye(&self, socket: BorrowedFd<'_>, timeout: Duration) {
        let said = SPACE.with_borrow_mut(|Space { cipher, .. }| {
            self.seal(Patience::Brief, cipher, Sealed::close)?;
            self.pass_on(socket, cipher.bytes())
        });
        if said.is_ok_and(|owed| owed > 0) && !timeout.is_zero() {
            let _ = self.flush_within(socket, timeout);
        }
    }
}

impl Inbound {
    fn is_readable(&self) -> bool {
        !self.plain.is_empty() || self.is_closed
    }
}

/// Cuts what is to be sent into the plaintexts of records.
struct Cursor<'a> {
    slices: &'a [IoSlice<'a>],
    /// How much of the first slice is taken.
    taken: usize,
}

impl<'a> Cursor<'a> {
    fn new(slices: &'a [IoSlice<'a>]) -> Cursor<'a> {
        Cursor { slices, taken: 0 }
    }

    /// The rest of the first slice.
    fn rest(&self) -> Option<&'a [u8]> {
        Some(&self.slices.first()?[self.taken..])
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        while let Some(first) = self.slices.first()
            && self.taken >= first.len()
        {
            self.taken -= first.len();
            self.slices = &self.slices[1..];
        }
    }

    /// The next plaintext: of one slice, or gathered from several in `space`.
    fn next_record<'s>(&mut self, space: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        self.take(0);
        let first = self.rest()?;
        if first.len() >= MAX_PLAIN || self.slices.len() == 1 {
            let record = &first[..first.len().min(MAX_PLAIN)];
            self.take(record.len());
            return Some(record);
        }
        space.clear();
        while let Some(rest) = self.rest()
            && space.len() < MAX_PLAIN
        {
            let len = rest.len().min(MAX_PLAIN - space.len());
            space.extend_from_slice(&rest[..len]);
            self.take(len);
        }
        Some(space)
    }
}
