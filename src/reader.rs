//! The conversation with one client, on its reader thread: from its bytes to
//! commands for the hub.

use std::io;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use crate::client::Client;
use crate::close::{Cause, CloseCode, CloseFrame};
use crate::config::Config;
use crate::frame::{self, BurstBuilder};
use crate::hub::{Audience, Command};
use crate::inbox::InboxError;
use crate::inlet::Inlet;
use crate::message::Message;
use crate::rate::Bucket;
use crate::server::Shared;

/// A message larger than this leaves a large buffer behind in the protocol's
/// state, which is then made anew.
const LARGE_MESSAGE: usize = 64 * 1024;
/// A throttled reader looks this often whether its client is ending.
const THROTTLE_STEP: Duration = Duration::from_millis(250);

/// Reads one client until its connection ends.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    shared: &'a Shared,
    client: &'a Client,
    inlet: Inlet<'a>,
    context: WebSocketContext,
    /// Messages of this read that go to the hub as one command.
    burst: BurstBuilder,
    largest: usize,
    keepalive: Keepalive,
    /// When the message that is in progress began.
    begun: Option<Instant>,
    units: Option<Bucket>,
    bytes: Option<Bucket>,
    /// The Close frame that came from the peer.
    received: Option<CloseFrame>,
}

/// Silence, and what it means.
#[derive(Debug, Default)]
struct Keepalive {
    silent: Duration,
    /// When the ping that is not answered yet was sent.
    pinged: Option<Instant>,
    number: u64,
}

/// Why reading ends.
enum End {
    /// The peer's Close frame has come.
    Closed(CloseFrame),
    /// The connection is closed by us: how, and why.
    Fail(CloseCode, String, Cause),
    /// The stream has ended or failed: there is nobody to talk to.
    Gone(Cause),
}

/// The hub is gone, so the server is.
impl From<InboxError> for End {
    fn from(_: InboxError) -> End {
        End::Gone(Cause::Shutdown)
    }
}

impl<'a> Reader<'a> {
    /// `early` are the bytes that came with the opening handshake.
    pub(crate) fn new(
        shared: &'a Shared,
        client: &'a Client,
        socket: &'a TcpStream,
        early: Vec<u8>,
    ) -> Reader<'a> {
        let now = Instant::now();
        Reader {
            shared,
            client,
            inlet: Inlet::new(socket, early),
            context: new_context(&shared.config),
            burst: BurstBuilder::default(),
            largest: 0,
            keepalive: Keepalive::default(),
            begun: None,
            units: Bucket::new(shared.config.max_rate, now),
            bytes: Bucket::new(shared.config.max_bytes_rate, now),
            received: None,
        }
    }

    /// Reads until the connection ends; returns the peer's Close frame, if
    /// it came. Why it ended is in the client's state then.
    pub(crate) fn run(mut self) -> Option<CloseFrame> {
        let end = loop {
            if let Err(end) = self.step() {
                break end;
            }
        };
        // What came before the end still counts.
        let _ = self.send_burst();
        self.end(end)
    }

    /// Ends the connection because a hook has panicked.
    pub(crate) fn fail_for_panic(self) -> Option<CloseFrame> {
        self.end(handler_panicked())
    }

    fn end(mut self, end: End) -> Option<CloseFrame> {
        let id = self.client.id();
        let linger = match end {
            End::Closed(frame) => {
                let _ = self.client.state.cause.set(Cause::ClosedByPeer);
                self.received = Some(frame.clone());
                let reply = answer_to(frame);
                self.shared.inbox.send(Command::PeerClosed { id, reply })
            }
            End::Fail(code, reason, cause) => {
                let _ = self.client.state.cause.set(cause.clone());
                let frame = CloseFrame::new(code, reason);
                let finish = true;
                self.shared.inbox.send(Command::Close {
                    id,
                    frame,
                    cause,
                    finish,
                })
            }
            End::Gone(cause) => {
                let _ = self.client.state.cause.set(cause);
                return self.received;
            }
        };
        if linger.is_ok() {
            self.inlet.discard();
        }
        self.received
    }

    /// Reads the socket once and does everything that follows from it.
    fn step(&mut self) -> Result<(), End> {
        let timeout = self.timeout();
        self.inlet.arm(timeout);
        let mut units = 0;
        loop {
            match self.context.read(&mut self.inlet) {
                Ok(message) => {
                    units += 1;
                    self.take(message)?;
                }
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.end_of(error)),
            }
        }
        self.send_burst()?;
        match self.inlet.read {
            0 => self.timed_out(timeout.unwrap_or_default())?,
            read => self.heard(units, read)?,
        }
        self.watch_message()
    }

    /// How long the next read may block.
    fn timeout(&self) -> Option<Duration> {
        let config = &self.shared.config;
        let limit = match self.keepalive.pinged {
            None if config.ping_interval.is_zero() => None,
            None => Some(config.ping_interval),
            Some(_) => Some(config.pong_timeout),
        };
        let silence = limit.map(|limit| limit.saturating_sub(self.keepalive.silent));
        let message = self
            .begun
            .map(|begun| config.message_timeout.saturating_sub(begun.elapsed()));
        silence.into_iter().chain(message).min()
    }

    fn take(&mut self, message: tungstenite::Message) -> Result<(), End> {
        use tungstenite::Message as Ws;
        match message {
            Ws::Text(text) => {
                self.largest = self.largest.max(text.len());
                match self.hooked() {
                    false => self.relay(|b, newline| b.text(&text, newline)),
                    true => return self.hook(Message::Text(text.as_str().to_owned())),
                }
            }
            Ws::Binary(bytes) => {
                self.largest = self.largest.max(bytes.len());
                match self.hooked() {
                    false => self.relay(|b, _| b.binary(&bytes)),
                    true => return self.hook(Message::Binary(bytes.into())),
                }
            }
            Ws::Ping(payload) => self.shared.inbox.send(Command::Pong {
                id: self.client.id(),
                frame: frame::pong(&payload),
            })?,
            Ws::Pong(payload) => self.keepalive_answered(&payload),
            Ws::Close(frame) => return Err(End::Closed(close_frame(frame))),
            // Never returned by a read.
            Ws::Frame(_) => {}
        }
        Ok(())
    }

    fn hooked(&self) -> bool {
        self.shared.handler.is_some()
    }

    fn relay(&mut self, encode: impl FnOnce(&mut BurstBuilder, bool)) {
        self.count_message();
        if !self.client.state.is_ending() {
            encode(&mut self.burst, self.shared.config.append_newline);
        }
    }

    fn count_message(&self) {
        count(&self.client.state.messages_in, 1);
        self.shared.counters.messages_in.add(1);
    }

    /// Gives a message to the handler, and what that returns to the hub,
    /// before the next hook runs: a program sees its actions in order.
    fn hook(&mut self, message: Message) -> Result<(), End> {
        let Some(handler) = &self.shared.handler else {
            return Ok(());
        };
        self.count_message();
        if self.client.state.is_ending() {
            return Ok(());
        }
        let client = self.client;
        let relayed = catch_unwind(AssertUnwindSafe(|| handler.on_message(client, message)));
        let message = relayed.map_err(|_| handler_panicked())?;
        let newline = self.shared.config.append_newline;
        match message {
            Some(Message::Text(text)) => self.burst.text(&text, newline),
            Some(Message::Binary(bytes)) => self.burst.binary(&bytes),
            None => return Ok(()),
        }
        self.send_burst()
    }

    /// Sends what this read has brought to the client's room.
    fn send_burst(&mut self) -> Result<(), End> {
        if self.burst.is_empty() {
            return Ok(());
        }
        let burst = self.burst.take();
        let inbox = &self.shared.inbox;
        let except = self.shared.config.no_echo.then(|| self.client.id());
        let room = self.client.state.room.clone();
        Ok(inbox.send(Command::Publish {
            to: Audience::Room { room, except },
            permit: inbox.permit(&burst.bytes),
            burst,
        })?)
    }

    /// The peer has sent so many messages and control frames: counts them,
    /// and waits if it was too much.
    fn heard(&mut self, units: u64, bytes: usize) -> Result<(), End> {
        self.keepalive.silent = Duration::ZERO;
        self.keepalive.pinged = None;
        count(&self.client.state.bytes_in, bytes as u64);
        self.shared.counters.bytes_in.add(bytes as u64);
        if self.largest > LARGE_MESSAGE && !self.inlet.progress.in_message() {
            self.context = new_context(&self.shared.config);
            self.largest = 0;
        }
        self.throttle(units, bytes as u64)
    }

    /// Waits until the client's rates allow the next read. What it sends
    /// meanwhile fills its socket, and TCP makes it wait.
    fn throttle(&mut self, units: u64, bytes: u64) -> Result<(), End> {
        if self.units.is_none() && self.bytes.is_none() {
            return Ok(());
        }
        let start = Instant::now();
        let take = |bucket: &mut Option<Bucket>, n| {
            bucket.as_mut().map_or(Duration::ZERO, |b| b.take(n, start))
        };
        let wait = take(&mut self.units, units).max(take(&mut self.bytes, bytes));
        let until = start + wait;
        while Instant::now() < until && !self.client.state.is_ending() {
            let step = until.min(Instant::now() + THROTTLE_STEP);
            if self.shared.stop.wait(step).unwrap_or(true) {
                break;
            }
        }
        // The wait was ours: it is not the message's time.
        self.begun = self.begun.map(|begun| begun + start.elapsed());
        Ok(())
    }

    /// The peer has been silent for so long; a ping may be due, or the end.
    fn timed_out(&mut self, after: Duration) -> Result<(), End> {
        self.keepalive.silent += after;
        let config = &self.shared.config;
        if self.client.state.is_ending() {
            // The hub waits for the closing handshake, with a deadline.
            self.keepalive.silent = Duration::ZERO;
            return Ok(());
        }
        match self.keepalive.pinged {
            None if config.ping_interval.is_zero() => Ok(()),
            None if self.keepalive.silent >= config.ping_interval => self.ping(),
            Some(_) if self.keepalive.silent >= config.pong_timeout => {
                Err(End::Gone(Cause::PongTimeout))
            }
            _ => Ok(()),
        }
    }

    fn ping(&mut self) -> Result<(), End> {
        self.keepalive.silent = Duration::ZERO;
        self.keepalive.pinged = Some(Instant::now());
        self.keepalive.number += 1;
        Ok(self.shared.inbox.send(Command::Ping {
            id: self.client.id(),
            frame: frame::ping(&self.keepalive.number.to_be_bytes()),
        })?)
    }

    fn keepalive_answered(&mut self, payload: &[u8]) {
        if payload == self.keepalive.number.to_be_bytes()
            && let Some(at) = self.keepalive.pinged.take()
        {
            let micros = at.elapsed().as_micros().max(1) as u64;
            let rtt = &self.client.state.rtt_micros;
            rtt.store(micros, Ordering::Relaxed);
        }
    }

    /// Holds the limits of a message that is in progress.
    fn watch_message(&mut self) -> Result<(), End> {
        let config = &self.shared.config;
        let progress = &self.inlet.progress;
        if progress.fragments() > config.max_fragments {
            return Err(End::Fail(
                CloseCode::POLICY_VIOLATION,
                format!("more than {} fragments", config.max_fragments),
                Cause::TooManyFragments,
            ));
        }
        if !progress.in_message() {
            self.begun = None;
            return Ok(());
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if begun.elapsed() < config.message_timeout {
            return Ok(());
        }
        Err(End::Fail(
            CloseCode::POLICY_VIOLATION,
            "message not completed in time".to_owned(),
            Cause::MessageTimeout,
        ))
    }

    /// What an error of the protocol's reader means (RFC 6455 §7.4.1).
    fn end_of(&self, error: WsError) -> End {
        if let Some(kind) = self.inlet.failed {
            return End::Gone(Cause::ReadFailed(kind));
        }
        if self.inlet.ended {
            return End::Gone(Cause::EndOfStream);
        }
        match error {
            WsError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => End::Fail(
                CloseCode::TOO_LARGE,
                format!("messages have at most {max_size} bytes here"),
                Cause::TooLarge,
            ),
            WsError::Utf8(_) => End::Fail(
                CloseCode::INVALID_PAYLOAD,
                "text must be UTF-8".to_owned(),
                Cause::InvalidUtf8,
            ),
            WsError::Protocol(error) => protocol_error(&error),
            error => End::Fail(
                CloseCode::INTERNAL_ERROR,
                String::new(),
                Cause::ProtocolError(error.to_string()),
            ),
        }
    }
}

fn protocol_error(error: &ProtocolError) -> End {
    let rule = error.to_string();
    End::Fail(
        CloseCode::PROTOCOL_ERROR,
        rule.clone(),
        Cause::ProtocolError(rule),
    )
}

fn handler_panicked() -> End {
    End::Fail(
        CloseCode::INTERNAL_ERROR,
        "internal error".to_owned(),
        Cause::HandlerPanicked,
    )
}

/// The protocol's state for one client. It is never asked to write: answers
/// are the hub's, so what it would write is discarded.
fn new_context(config: &Config) -> WebSocketContext {
    let settings = WebSocketConfig::default()
        .read_buffer_size(config.read_buffer)
        .write_buffer_size(0)
        .max_message_size(Some(config.max_message_size))
        .max_frame_size(Some(config.max_message_size));
    WebSocketContext::new(Role::Server, Some(settings))
}

/// A peer's Close frame in our words. tungstenite has put 1002 in the place
/// of a code that must not be sent.
fn close_frame(frame: Option<tungstenite::protocol::CloseFrame>) -> CloseFrame {
    let Some(frame) = frame else {
        return CloseFrame::empty();
    };
    let code = CloseCode::new(frame.code.into()).unwrap_or(CloseCode::PROTOCOL_ERROR);
    CloseFrame::new(code, frame.reason.as_str())
}

/// The answer to a peer's Close: the same code (RFC 6455 §5.5.1).
fn answer_to(frame: CloseFrame) -> CloseFrame {
    match frame.code {
        None => CloseFrame::empty(),
        Some(code) => CloseFrame::new(code, ""),
    }
}

/// Counts on a counter that only this thread writes.
fn count(counter: &std::sync::atomic::AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
