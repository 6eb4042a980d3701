//! The conversation with one client, on its reader thread: from its bytes to
//! commands for the hub.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::end::{End, panicked};
use super::service::Service;
use crate::close::{Cause, CloseFrame, Violation};
use crate::connection::keepalive::{Keepalive, Silence};
use crate::embed::Client;
use crate::embed::Shared;
use crate::hub::Command;
use crate::net::Stream;
use crate::net::Wake;
use crate::net::{Inlet, Read};
use crate::rate::Bucket;
use crate::wire::Decoder;
use crate::wire::Encoding;
use crate::wire::frame;

use super::relay::Relay;

/// A read buffer up to this size lies on the thread's stack. The opening
/// handshake has used that much stack already.
const STACK_BUFFER: usize = 4096;
/// How often a throttled reader checks whether its client is ending.
const THROTTLE_STEP: Duration = Duration::from_millis(250);

/// Reads one client until its connection ends.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    inlet: Inlet<'a>,
    pub(super) decoder: Decoder,
    keepalive: Keepalive,
    /// When the incomplete message began.
    pub(super) begun: Option<Instant>,
    message_rate: Option<Bucket>,
    byte_rate: Option<Bucket>,
    /// Set when a throttled peer has ended its stream: the time until which
    /// what it sent before is still read.
    last_call: Option<Instant>,
    relay: Relay<'a>,
    /// When the client's rights end.
    expires: Option<Instant>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        service: &'a Service,
        client: &'a Client,
        socket: &'a Stream,
        encoding: Encoding,
    ) -> Reader<'a> {
        let now = Instant::now();
        Reader {
            inlet: Inlet::new(socket),
            decoder: Decoder::new(&service.shared.config).deflated(encoding.is_deflated()),
            keepalive: Keepalive::new(&service.shared.config),
            begun: None,
            message_rate: Bucket::new(service.shared.config.max_message_rate, now),
            byte_rate: Bucket::new(service.shared.config.max_byte_rate, now),
            last_call: None,
            relay: Relay::new(service, client, encoding),
            expires: expires(client),
        }
    }

    /// Reads until the connection ends; returns the peer's Close frame, if it
    /// came. `early` are the bytes that came with the request. Sets the cause
    /// in the client's state.
    pub(super) fn run(&mut self, mut early: Vec<u8>) -> Option<CloseFrame> {
        let mut stack = [const { MaybeUninit::uninit() }; STACK_BUFFER];
        let mut heap = Vec::new();
        let size = self.relay.service.shared.config.read_buffer;
        let buffer = if size <= STACK_BUFFER {
            &mut stack[..size]
        } else {
            heap.resize(size, MaybeUninit::uninit());
            &mut heap[..]
        };
        let mut step = match early[..] {
            [] => Ok(()),
            _ => self.heard(&mut early),
        };
        drop(early);
        while step.is_ok() {
            step = self.step(buffer);
        }
        self.conclude(step, buffer)
    }

    /// Ends the connection, for the reason for which reading ended.
    pub(super) fn conclude(
        &mut self,
        step: Result<(), End>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Option<CloseFrame> {
        // Messages that came before the end are still relayed.
        let _ = self.relay.send();
        match step {
            Ok(()) => None,
            Err(end) => self.end(end, buffer),
        }
    }

    /// Ends the connection after a panic, for this cause.
    // Not inlined, for the sake of the stack frame of `converse`, in which a
    // client waits: it stays resident for every idle client.
    #[inline(never)]
    pub(super) fn fail(&mut self, cause: Cause) -> Option<CloseFrame> {
        let mut buffer = [MaybeUninit::uninit(); 256];
        self.end(panicked(cause), &mut buffer)
    }

    fn end(&mut self, end: End, buffer: &mut [MaybeUninit<u8>]) -> Option<CloseFrame> {
        let client = self.relay.client;
        let id = client.id();
        let (command, received) = match end {
            End::Closed(frame) => {
                let _ = client.state.cause.set(Cause::ClosedByPeer);
                let reply = answer_to(&frame);
                (Command::PeerClosed { id, reply }, Some(frame))
            }
            End::Fail(Violation { cause, reason }) => {
                let _ = client.state.cause.set(cause.clone());
                let command = Command::Close {
                    id,
                    frame: cause.close_frame(reason),
                    cause,
                    finish: true,
                };
                (command, None)
            }
            End::Gone(cause) => {
                let is_dead = cause == Cause::PongTimeout;
                let _ = client.state.cause.set(cause);
                // Before the peer can know that this is the end.
                client.state.place.release();
                if is_dead {
                    // After the cause is set, because writes that fail from
                    // here on are not the cause.
                    self.inlet.abort();
                }
                return None;
            }
        };
        // The hub ends the stream once the Close is out and the peer has had
        // its time to answer. Until then everything is read, because unread
        // bytes would cause a reset.
        if self.relay.service.shared.inbox.send(command).is_ok() {
            self.inlet.discard(buffer);
        }
        received
    }

    /// Reads the socket once and does everything that follows from it.
    pub(super) fn step(&mut self, buffer: &mut [MaybeUninit<u8>]) -> Result<(), End> {
        let timeout = self.timeout();
        if let Some(room) = self.decoder.room(buffer.len()) {
            let read = self.inlet.receive_into(room, timeout);
            self.react(read, Self::heard_directly)
        } else {
            let read = self.inlet.receive(buffer, timeout);
            self.react(read, |reader, mut bytes| reader.heard(&mut bytes))
        }
    }

    fn react<B>(
        &mut self,
        read: Read<B>,
        heard: impl FnOnce(&mut Self, B) -> Result<(), End>,
    ) -> Result<(), End> {
        match read {
            Read::Bytes(bytes) => heard(self, bytes),
            Read::Silence(time) => self.silence(time),
            Read::End => Err(End::Gone(Cause::EndOfStream)),
            Read::Failed(kind) => Err(End::Gone(Cause::ReadFailed(kind))),
        }
    }

    /// How long the next read may block.
    fn timeout(&self) -> Option<Duration> {
        let limit = self.relay.service.shared.config.message_timeout;
        let message = self
            .begun
            .map(|begun| limit.saturating_sub(begun.elapsed()));
        let rights = self
            .expires
            .filter(|_| !self.relay.client.state.is_ending());
        let rights = rights.map(|at| at.saturating_duration_since(Instant::now()));
        let patience = self.keepalive.patience().into_iter();
        patience.chain(message).chain(rights).min()
    }

    /// Ends the connection when the client's rights have ended.
    fn watch_rights(&self) -> Result<(), End> {
        match self.expires {
            Some(at) if at <= Instant::now() && !self.relay.client.state.is_ending() => {
                Err(End::Fail(Violation {
                    cause: Cause::TokenExpired,
                    reason: "token expired".to_owned(),
                }))
            }
            _ => Ok(()),
        }
    }

    /// The peer has sent bytes.
    // Not inlined, so that its stack frame is gone while the thread waits: a
    // stack page once touched stays resident for every idle client.
    #[inline(never)]
    pub(super) fn heard(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        let len = bytes.len() as u64;
        self.relay.begin(len);
        let relay = &mut self.relay;
        self.decoder.feed(bytes, |incoming| relay.take(incoming))?;
        self.follow_up(len)
    }

    /// The peer has sent bytes of a large frame, which were received straight
    /// into the message.
    #[inline(never)]
    pub(super) fn heard_directly(&mut self, len: usize) -> Result<(), End> {
        self.relay.begin(len as u64);
        let relay = &mut self.relay;
        self.decoder
            .received(len, |incoming| relay.take(incoming))?;
        self.follow_up(len as u64)
    }

    /// Does what follows from bytes that are decoded.
    fn follow_up(&mut self, len: u64) -> Result<(), End> {
        let relay = &mut self.relay;
        relay.send()?;
        if let Some(rtt) = relay
            .pong
            .take()
            .and_then(|pong| self.keepalive.answered(&pong))
        {
            let micros = rtt.as_micros().max(1) as u64;
            let rtt = &relay.client.state.rtt_micros;
            rtt.store(micros, Ordering::Relaxed);
        }
        self.keepalive.heard();
        if self.decoder.is_new() {
            // The message that is open is another than before.
            self.begun = None;
        }
        // What a small message inflates to is work as well.
        self.throttle(len + self.relay.inflated)?;
        self.watch_rights()?;
        self.watch_message()
    }

    /// The peer has been silent for `time`.
    pub(super) fn silence(&mut self, time: Duration) -> Result<(), End> {
        self.decoder.rest();
        if self.relay.client.state.is_ending() {
            // The hub waits for the closing handshake, with a deadline. The
            // message that was begun does not matter any more.
            self.begun = None;
            return Ok(());
        }
        self.watch_rights()?;
        match self.keepalive.silent_for(time) {
            Silence::Wait => {}
            Silence::Dead => return Err(End::Gone(Cause::PongTimeout)),
            Silence::Ping(payload) => self.relay.service.shared.inbox.send(Command::Ping {
                id: self.relay.client.id(),
                frame: frame::ping(&payload),
            })?,
        }
        self.watch_message()
    }

    /// Waits until the client's rates allow the next read. What it sends
    /// meanwhile fills its socket, and TCP makes it wait.
    fn throttle(&mut self, bytes: u64) -> Result<(), End> {
        if self.message_rate.is_none() && self.byte_rate.is_none() {
            return Ok(());
        }
        let start = Instant::now();
        let take = |bucket: &mut Option<Bucket>, n| {
            bucket.as_mut().map_or(Duration::ZERO, |b| b.take(n, start))
        };
        let messages = take(&mut self.message_rate, self.relay.incoming);
        let until = start + messages.max(take(&mut self.byte_rate, bytes));
        while Instant::now() < until && !self.relay.client.state.is_ending() {
            if !self.pause(until.min(Instant::now() + THROTTLE_STEP))? {
                break;
            }
        }
        // The server caused this wait, so it does not count as the message's
        // time.
        self.begun = self.begun.map(|begun| begun + start.elapsed());
        Ok(())
    }

    /// Waits until `until`; false if the server is stopping. A peer that is
    /// gone is read for `close_timeout` at most, so that it does not keep its
    /// place longer.
    fn pause(&mut self, until: Instant) -> Result<bool, End> {
        let Shared { stop, config, .. } = &*self.relay.service.shared;
        let Some(last_call) = self.last_call else {
            let wake = stop.wait_hung_up(self.inlet.socket(), until);
            if matches!(wake, Ok(Wake::Ready)) {
                self.last_call = Some(Instant::now() + config.close_timeout);
            }
            return Ok(matches!(wake, Ok(Wake::Ready | Wake::TimedOut)));
        };
        if Instant::now() >= last_call {
            return Err(End::Gone(Cause::EndOfStream));
        }
        Ok(!stop.wait(until).unwrap_or(true))
    }

    /// Ends the connection if the incomplete message takes too long.
    fn watch_message(&mut self) -> Result<(), End> {
        if !self.decoder.in_message() {
            self.begun = None;
            return Ok(());
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if begun.elapsed() < self.relay.service.shared.config.message_timeout {
            return Ok(());
        }
        Err(End::Fail(Violation {
            reason: "message not completed in time".to_owned(),
            cause: Cause::MessageTimeout,
        }))
    }
}

/// When the client's rights end, by the clock that waits use.
pub(super) fn expires(client: &Client) -> Option<Instant> {
    let left = client.rights()?.expiry()?.duration_since(SystemTime::now());
    // Further away than the clock can count is never.
    Instant::now().checked_add(left.unwrap_or_default())
}

/// The answer to a peer's Close: the same code (RFC 6455 §5.5.1).
fn answer_to(frame: &CloseFrame) -> CloseFrame {
    CloseFrame {
        code: frame.code,
        reason: String::new(),
    }
}
