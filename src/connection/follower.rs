//! Waits beside the client of a stream, of events or lines, until it ends.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::reader::expires;
use crate::close::Cause;
use crate::embed::Client;
use crate::embed::Shared;
use crate::hub::Command;
use crate::net::Stream;
use crate::wire::{Encoding, lines, sse};

/// The most bytes the client of a stream may send after its request.
const MAX_INPUT: usize = 4096;

/// Runs on the client's thread: waits for the end of the stream and keeps it
/// alive meanwhile. What such a client sends is discarded. `beat` is how
/// often it wants to see a sign of life.
// Not inlined, for the sake of the stack frame of `converse`.
#[inline(never)]
pub(super) fn follow(
    shared: &Shared,
    client: &Client,
    mut socket: &Stream,
    encoding: Encoding,
    beat: Option<Duration>,
) {
    let interval = beat.unwrap_or(shared.config.ping_interval);
    let expires = expires(client);
    // The wait for the next keepalive, or for the end of the client's rights.
    let wait = || {
        let left = expires.map(|at| at.saturating_duration_since(Instant::now()));
        // Zero would mean no timeout.
        let left = left.map(|left| left.max(Duration::from_millis(1)));
        let interval = (!interval.is_zero()).then_some(interval);
        let _ = socket.set_read_timeout(interval.into_iter().chain(left).min());
    };
    wait();
    // A stream has no pong. That the client has vanished is noticed when
    // TCP gets no acknowledgement for a keepalive or a message.
    #[cfg(target_os = "linux")]
    if !interval.is_zero() {
        let patience = shared.config.pong_timeout.as_millis();
        let patience = u32::try_from(patience).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(socket, patience);
    }
    let mut scratch = [0; 256];
    let mut heard = 0;
    let mut silent = Instant::now();
    let cause = loop {
        match socket.read(&mut scratch) {
            Ok(0) => break Cause::ClosedByPeer,
            Ok(n) => {
                heard += n;
                if heard > MAX_INPUT {
                    break Cause::ProtocolError("the client of a stream has sent data".to_owned());
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                if expires.is_some_and(|at| at <= Instant::now()) {
                    break Cause::TokenExpired;
                }
                if expires.is_some() {
                    wait();
                }
                // By a signal, or by the beginning of a TLS record.
                let is_interrupted = error.kind() == io::ErrorKind::Interrupted;
                if is_interrupted && (interval.is_zero() || silent.elapsed() < interval) {
                    continue;
                }
                silent = Instant::now();
                let keepalive = Command::Ping {
                    id: client.id(),
                    frame: sign_of_life(encoding, client, beat.is_some()),
                };
                if shared.inbox.send(keepalive).is_err() {
                    break Cause::Shutdown;
                }
            }
            Err(error) => break Cause::ReadFailed(error.kind()),
        }
    };
    // Fails if the hub has set a cause first.
    let _ = client.state.cause.set(cause);
}

/// What keeps an idle stream alive.
fn sign_of_life(encoding: Encoding, client: &Client, is_asked_for: bool) -> Bytes {
    match encoding {
        _ if encoding.is_lines() => Bytes::from_static(lines::KEEPALIVE),
        _ if encoding.is_json() => lines::json_keepalive(),
        _ if is_asked_for => sse::ping_event(client.id()),
        _ => Bytes::from_static(sse::KEEPALIVE),
    }
}
