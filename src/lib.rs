//! A synchronous WebSocket broadcast server: what one client of a room
//! sends, every client of that room receives.
//!
//! This is for programs without an async runtime: a daemon, a command-line
//! tool, an embedded device. Every client has a thread, one hub thread owns
//! the rooms, and a program talks to all of it through a [`Handle`]. A slow
//! client never delays anybody else.
//!
//! # The smallest program
//!
//! A complete server, a plain relay:
//!
//! ```no_run
//! hubcast::Server::bind("127.0.0.1:8080")?.run()?;
//! # Ok::<(), hubcast::Error>(())
//! ```
//!
//! And a program that does something else as well, and pushes what it has to
//! every browser and terminal that watches:
//!
//! ```
//! use hubcast::Server;
//!
//! let running = Server::bind("127.0.0.1:0")?.spawn()?; // port 0: any free one
//! println!("watch at http://{}/", running.local_addr());
//!
//! let handle = running.handle(); // cheap to clone, for any thread
//! for celsius in [21.2, 21.3, 21.3] {
//!     handle.broadcast("/", format!("{celsius} °C"))?;
//! }
//!
//! let summary = running.shutdown()?; // in order; dropping it does the same
//! assert_eq!(summary.stats.broadcasts, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The repository's `examples` folder has programs to start from: `ticker`
//! (a sensor), `chat`, `auth` (tokens), `moderated`, and `in_process_test`
//! (how to test a program that embeds this crate). What a client sends and
//! receives, and how a server is operated, is in the [`guide`].
//!
//! # The types
//!
//! To run a server:
//!
//! - [`Server`] is bound to its address; [`run`](Server::run) blocks,
//!   [`spawn`](Server::spawn) does not.
//! - [`ServerBuilder`] is how a server gets settings and hooks.
//! - [`Config`] holds the settings. Every field's doc says its default.
//! - [`Running`] is a spawned server; it ends in order when it is dropped.
//! - [`Summary`] says what a server has done, once it has ended.
//!
//! To talk to it while it runs:
//!
//! - [`Handle`] broadcasts, sends, disconnects, lists and shuts down, from
//!   any thread.
//! - [`Message`] is text or binary, and whole.
//! - [`Position`] is a message's place in the log, and [`History`] what a room
//!   remembers from one on.
//! - [`Subscription`] gives a program every message that a room receives.
//! - [`ClientInfo`], [`RoomInfo`] and [`Stats`] are what a handle tells.
//!
//! To take part in what clients do:
//!
//! - [`Handler`] has the hooks: on upgrade, on join, on message, on leave.
//!   Closures do, where a trait is too much.
//! - [`Upgrade`] is a request that may be accepted or answered with a
//!   [`Refusal`]; a value can be attached to the client here.
//! - [`Client`] is one connected peer, named by its [`ClientId`].
//! - [`Departure`] says how and why a connection ended: its [`Cause`] and
//!   the [`CloseFrame`]s that were exchanged. It is a value, not an error.
//! - [`Secret`] is a token that is compared in constant time.
//!
//! What can go wrong: [`Error`] when a server is started or has ended badly,
//! [`SendError`] when a message was not accepted (it hands the message back),
//! [`Stopped`] when there is no server any more.
//!
//! # The threads
//!
//! ```text
//!  hubcast-accept        reader-17 (one per client)            hubcast-hub
//!  TcpListener ────────▶ on_upgrade, on_join
//!                        join ───────────────────────────────▶ ┌───────┐
//!  client's bytes ─────▶ messages are parsed and checked       │ inbox │  rooms and
//!                        on_message                            │bounded│  their clients
//!                        encoded once ───────────────────────▶ └───────┘      │
//!  a Handle, any thread ── broadcast ────────────────────────▶                ▼
//!                                                               each client's outbox
//!                                                               │ socket has room: sent now
//!                                                               │ socket is full: queued ─┐
//!                                                               ▼                         ▼
//!                                                            socket ◀──────────── writer-17
//! ```
//!
//! - The **accept** thread takes connections and gives each its thread. An
//!   operator's listener of its own ([`Config::admin_listen`]) has another.
//! - A **reader** thread serves one connection: it reads the request, and answers
//!   it, or serves its peer as a client from there to its departure. The hooks
//!   run here, one after another for one client, and at the same time for
//!   different clients.
//! - A **door** thread (not drawn) does the first part for a connection over TLS:
//!   the handshake, the request, and [`on_upgrade`](Handler::on_upgrade).
//! - The **hub** thread owns the rooms. It sends without blocking, or it
//!   queues. It runs no hook and waits for nobody.
//! - **Helper** threads send parts of a large fan-out, if the machine has
//!   several cores ([`Config::fan_out_threads`]).
//! - A **writer** thread is started when a client's socket is full for the
//!   first time, and sends what is queued for that client.
//!
//! Waiting goes one way: a full inbox makes readers (and callers of a
//! [`Handle`]) wait, so TCP slows the senders down. A hook may therefore take
//! its time and call anything on a handle: it holds up its own client only.
//!
//! # Guarantees
//!
//! - All clients of a room receive its messages in the same order.
//! - A message is delivered whole and at most once. No two messages are ever
//!   merged, text stays text, binary stays binary.
//! - `Ok` from [`Handle::broadcast`] means: accepted, in order. A client that
//!   keeps up receives it. What happens to one that does not is
//!   [`Config::slow_consumer`]; what is dropped is counted.
//! - Nothing is announced before it holds. A client that has read its 101, or
//!   the first bytes of its event stream, is in its room: what anybody sends
//!   from then on reaches it. Its place is free before it can read its end.
//! - A client that comes back with a [`Position`] and is told that its resume is
//!   complete has missed nothing, and gets nothing twice.
//! - A slow client delays nobody else. Every queue is bounded in messages and
//!   in bytes, and every wait on a peer has a deadline.
//! - What was sent to a client before its Close frame is delivered before it,
//!   and the closing handshake is waited for.
//! - A panic in a hook ends that client's connection (1011, or the answer 500
//!   while it asks to come in), and nothing else.
//! - A [`ClientId`] is never used again.
//! - Several servers in one process do not know of each other. The library
//!   installs no logger, no signal handler and no global; it logs through the
//!   [`log`] crate. There is no unsafe code in it.
//!
//! # Limits
//!
//! Each client costs one thread, or two once its socket was full, one
//! descriptor, and up to eight memory mappings. [`Config::max_clients`] is
//! computed from the limits of the process unless it is set. A room's name
//! has at most 256 bytes, and does not begin with `/-/`, when a client names it.
//!
//! # Memory
//!
//! An idle client costs about 15 KiB of resident memory, or 20 KiB over TLS. All queues are
//! bounded, so the most that a server can use is a sum, which
//! [the guide](guide::memory#memory) has line by line; each [`Subscription`]
//! adds at most 16 MiB and a message. On a small device, lower
//! `max_message_size`, `queue_bytes`, `queue_total` and `read_buffer`: with
//! 2 KiB, 16 KiB, 1 MiB and 2 KiB a hundred clients fit into 16 MiB.
//!
//! # What it does not do
//!
//! - Extensions other than permessage-deflate.
//! - Storing messages: rooms remember in memory ([`Config::history`]), and a
//!   restart forgets everything.
//! - Acknowledgements, or several processes that share rooms.
//! - Tens of thousands of clients: a thread each is too much then.
//! - Windows. It is made for Unix, and tested on Linux.
//!
//! # Features
//!
//! - `cli` (default): the program `hubcast` and its options, logger and
//!   signals. Nothing of it is in the library, so a program that embeds the
//!   library turns it off: `default-features = false`.
//! - `deflate` (default): messages compressed for clients that offer it
//!   (permessage-deflate, RFC 7692), if the field `deflate` of [`Config`] is
//!   on. Two small crates without unsafe code.
//! - `tls` (default): `wss://` and `https://` without a proxy, see the
//!   [guide](guide::tls). It takes a C compiler to build.
//! - `generate` (default): the program's `--generate`.

#![cfg_attr(
    any(fuzzing, test),
    allow(clippy::unwrap_used, reason = "tests may panic")
)]

mod close;
mod config;
mod connection;
mod doors;
mod embed;
mod engine;
mod error;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod http1;
mod hub;
mod message;
mod names;
mod net;
mod outbox;
mod position;
mod rate;
mod rights;
mod room_rule;
mod secret;
mod seldom;
mod server;
mod since;
mod stats;
mod task;
#[cfg(feature = "tls")]
mod tls;
mod wire;

pub use close::{Cause, CloseCode, CloseFrame, Departure, MAX_REASON};
pub use config::{Config, SlowConsumer};
pub use embed::client::Client;
pub use embed::handle::Handle;
pub use embed::handler::Handler;
pub use embed::history::{History, PastMessage};
pub use embed::subscription::{Reception, Subscription};
pub use embed::upgrade::{Refusal, Upgrade};
pub use error::{Error, ErrorKind, SendError, Stopped};
pub use hub::info::{ClientInfo, RoomInfo};
pub use message::Message;
pub use names::{ClientId, Peer, check_room};
pub use net::listen::Listener;
pub use position::{Position, PositionError};
pub use rights::{Rights, TokenVerifier};
pub use room_rule::RoomRule;
pub use secret::Secret;
pub use server::{Running, Server, ServerBuilder, Summary};
pub use since::{Since, SinceError};
pub use stats::Stats;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsVersion};

/// The TLS library, for [`Tls::from_rustls`].
#[cfg(feature = "tls")]
pub use rustls;

/// The README's programs, compiled as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_keeps_may_go_to_any_thread() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Client>();
        check::<Config>();
        check::<Departure>();
        check::<Error>();
        check::<Handle>();
        check::<Message>();
        check::<Running>();
        check::<SendError>();
        check::<Server>();
        check::<ServerBuilder>();
    }
}
