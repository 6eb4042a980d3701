//! Turns what a client has sent into commands for the hub.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::end::{End, panicked};
use super::service::Service;
use crate::close::{Cause, Violation};
use crate::embed::Client;
use crate::hub::{Audience, Command};
use crate::message::Message;
use crate::wire::BurstBuilder;
use crate::wire::Encoding;
use crate::wire::Incoming;
use crate::wire::Payload;
use crate::wire::frame;
#[cfg(feature = "deflate")]
use crate::wire::{Fault, invalid_utf8, too_large};

/// A message larger than this is a burst of its own. The bytes of a burst are
/// freed together, so a small message that waits for a slow consumer would keep
/// the large one in memory.
const LARGE_MESSAGE: usize = 4096;

/// Gathers what one read brought, and sends it to the hub.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    pub(super) service: &'a Service,
    pub(super) client: &'a Client,
    /// Messages of this read that go to the hub as one command.
    burst: BurstBuilder,
    /// The answers to the Pings of this read.
    pongs: Vec<u8>,
    /// Where the newest Pong begins in `pongs`.
    newest_pong: usize,
    /// The payload of the last Pong of this read that may answer our Ping.
    pub(super) pong: Option<[u8; 8]>,
    /// Messages, short fragments and control frames of this read.
    pub(super) incoming: u64,
    /// Why the client may not send, if it may not.
    mute: Option<&'static str>,
    /// Bytes that the compressed messages of this read have inflated to.
    pub(super) inflated: u64,
}

impl<'a> Relay<'a> {
    pub(super) fn new(service: &'a Service, client: &'a Client, encoding: Encoding) -> Relay<'a> {
        let rights = client.rights();
        let mute = if encoding.names_rooms() {
            Some("a client of several rooms only receives here")
        } else {
            let may_write = rights.is_none_or(|rights| rights.may_write(client.room()));
            (!may_write).then_some("this token may only read here")
        };
        Relay {
            service,
            client,
            burst: BurstBuilder::default(),
            pongs: Vec::new(),
            newest_pong: 0,
            pong: None,
            incoming: 0,
            mute,
            inflated: 0,
        }
    }

    /// A read has brought this many bytes.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.incoming = 0;
        self.inflated = 0;
        // Counted before anybody can see the effect of these bytes.
        count(&self.client.state.received_bytes, bytes);
        self.service.shared.counters.received_bytes.add(bytes);
    }

    pub(super) fn take(&mut self, incoming: Incoming<'_>) -> Result<(), End> {
        self.incoming += 1;
        self.take_uncounted(incoming)
    }

    fn take_uncounted(&mut self, incoming: Incoming<'_>) -> Result<(), End> {
        match incoming {
            Incoming::Text(text) => self.message(true, text),
            Incoming::Binary(bytes) => self.message(false, bytes),
            #[cfg(feature = "deflate")]
            Incoming::Compressed { is_text, payload } => self.inflate(is_text, &payload),
            Incoming::ShortFragment => Ok(()),
            Incoming::Ping(payload) => {
                self.newest_pong = self.pongs.len();
                frame::append_pong(&mut self.pongs, payload);
                Ok(())
            }
            Incoming::Pong(payload) => {
                self.pong = payload.try_into().ok().or(self.pong);
                Ok(())
            }
            Incoming::Close(frame) => Err(End::Closed(frame)),
        }
    }

    /// Inflates a message and goes on with it (RFC 7692 §6.2).
    #[cfg(feature = "deflate")]
    fn inflate(&mut self, is_text: bool, payload: &[u8]) -> Result<(), End> {
        let shared = &self.service.shared;
        let limit = shared.config.max_message_size;
        let inflated = match &shared.publisher.deflate {
            Some(deflate) => deflate.inflate(payload, limit),
            None => Err(Fault::NotDeflate),
        };
        let message = inflated.map_err(|fault| match fault {
            Fault::TooLarge => too_large(limit),
            Fault::NotDeflate => Violation {
                cause: Cause::InvalidDeflate,
                reason: "a compressed message must be a deflate stream".to_owned(),
            },
        })?;
        self.inflated += message.len() as u64;
        if is_text && std::str::from_utf8(&message).is_err() {
            return Err(invalid_utf8().into());
        }
        self.message(is_text, Payload::Here(&message))
    }

    /// Encodes a message for the room, or gives it to the handler. What an
    /// ending client sends is discarded.
    fn message(&mut self, is_text: bool, payload: Payload<'_>) -> Result<(), End> {
        count(&self.client.state.received_messages, 1);
        self.service.shared.counters.received_messages.add(1);
        // Who follows the members has nothing to say.
        if self.client.state.is_ending() || self.client.state.is_watching {
            return Ok(());
        }
        if let Some(reason) = self.mute {
            return self.not_allowed(reason);
        }
        let newline = self.service.shared.config.append_newline;
        let Some(handler) = &self.service.hooks else {
            let is_large = payload.len() > LARGE_MESSAGE;
            if is_large {
                self.send_burst()?;
            }
            self.burst.payload(is_text, payload, newline);
            return if is_large { self.send_burst() } else { Ok(()) };
        };
        // The hook may take long, so its time is not counted as silence.
        self.send_pongs()?;
        let client = self.client;
        let message = match is_text {
            // It is UTF-8, so nothing is replaced.
            true => Message::Text(String::from_utf8_lossy(&payload).into_owned()),
            false => Message::Binary(payload.to_vec()),
        };
        let hook = || handler.on_message(client, message);
        let relayed = catch_unwind(AssertUnwindSafe(hook));
        let relayed = relayed.map_err(|_| panicked(Cause::HandlerPanicked))?;
        match relayed {
            Some(Message::Text(text)) => self.burst.text(&text, newline),
            Some(Message::Binary(bytes)) => self.burst.binary(&bytes),
            None => return Ok(()),
        }
        // Sent before the next hook runs, so that your program's actions keep
        // their order.
        self.send_burst()
    }

    /// A message from a client that may only read.
    fn not_allowed(&self, reason: &str) -> Result<(), End> {
        if self.service.shared.config.ignore_writes {
            return Ok(());
        }
        Err(End::Fail(Violation {
            cause: Cause::ReadOnly,
            reason: reason.to_owned(),
        }))
    }

    /// Sends what this read has brought.
    pub(super) fn send(&mut self) -> Result<(), End> {
        self.send_pongs()?;
        self.send_burst()
    }

    /// Sends the answers to Pings back, all as one command.
    fn send_pongs(&mut self) -> Result<(), End> {
        if self.pongs.is_empty() {
            return Ok(());
        }
        let id = self.client.id();
        let all = Bytes::from(std::mem::take(&mut self.pongs));
        let newest = all.slice(self.newest_pong..);
        Ok(self
            .service
            .shared
            .inbox
            .send(Command::Pong { id, all, newest })?)
    }

    /// Sends the gathered burst to the client's room.
    fn send_burst(&mut self) -> Result<(), End> {
        if self.burst.is_empty() {
            return Ok(());
        }
        let burst = self.burst.take();
        let except = (!self.service.shared.config.echo).then(|| self.client.id());
        let room = self.client.state.room.clone();
        let to = Audience::Room { room, except };
        let publisher = &self.service.shared.publisher;
        Ok(publisher.publish_from(self.client.id(), to, burst)?)
    }
}

/// Counts on a counter that only this thread writes.
fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
