//! The settings of a server, their defaults and their checks.

#[cfg(feature = "redis")]
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::rights::TokenVerifier;
use crate::room_rule::{RoomRule, RoomSettings};
use crate::secret::Secret;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// The settings of a server.
///
/// Every field is also an option of the program, of the same name in
/// kebab-case. Sizes are in bytes. Where a field says that zero turns
/// something off, that is the only special value.
///
/// New fields may be added, so a `Config` is made with [`Config::default`] and
/// then changed. [`ServerBuilder::bind`](crate::ServerBuilder::bind) checks it:
/// sizes, counts and timeouts must not be zero unless the field says what zero
/// means, no time may be longer than 1,000 days, `read_buffer` must be 256
/// bytes to 16 MiB, `stack_size` at least 64 KiB, and `fan_out_threads` at
/// most 64.
///
/// ```
/// use hubcast::{Config, Server, SlowConsumer};
///
/// let mut config = Config::default();
/// assert_eq!(config.max_message_size, 1024 * 1024);
/// config.max_message_size = 4096;
/// config.slow_consumer = SlowConsumer::DropOldest;
/// let server = Server::builder().config(config).bind("127.0.0.1:0")?;
/// # drop(server);
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether a client receives its own messages, as everybody in its room
    /// does. Default: true.
    pub echo: bool,
    /// Whether `\n` is appended to every text message delivered. Default:
    /// false.
    pub append_newline: bool,
    /// The largest message a client may send, in bytes, after its fragments
    /// are joined; a larger one ends the connection with 1009. At most 1 GiB.
    /// Default: 1 MiB.
    pub max_message_size: usize,
    /// The most fragments a message may come in; more end the connection
    /// with 1008. Default: 32,768, twice what a message of 1 MiB needs in
    /// fragments of 64 bytes.
    pub max_fragments: usize,
    /// Whether messages are compressed for clients that offer it
    /// (permessage-deflate, RFC 7692), in both directions. The thread that
    /// publishes compresses a message, once for all clients; where nobody in
    /// the room has agreed, it does not. Only with the feature `deflate`.
    /// Default: false.
    #[cfg(feature = "deflate")]
    pub deflate: bool,
    /// The shortest message that is compressed, in bytes. Default: 256.
    #[cfg(feature = "deflate")]
    pub deflate_threshold: usize,
    /// How hard to compress: 1 is the fastest, 9 the tightest. Default: 1.
    #[cfg(feature = "deflate")]
    pub deflate_level: u8,
    /// Whether short messages of a room are compressed together: each refers to
    /// those before it. An experiment, see the guide; it needs
    /// [`deflate`](Config::deflate). Whoever sends to a room and sees the sizes
    /// of what a member is sent could guess what others write there, so
    /// everybody who may send to a room must be somebody who may read it.
    /// Default: false.
    #[cfg(feature = "deflate")]
    pub deflate_rooms: bool,
    /// The most messages that wait for one client; see also
    /// [`queue_bytes`](Config::queue_bytes). Whichever is reached first
    /// makes the client a slow consumer, but one message may always wait,
    /// however large. Each takes 48 bytes beside its content. Default: 8,192.
    pub queue_messages: usize,
    /// The most bytes that wait for one client. Default: 1 MiB.
    pub queue_bytes: usize,
    /// The most bytes that are queued for all clients together. When more
    /// are, clients are treated as slow consumers: of the room whose clients
    /// hold most, the one that holds most, and so on until it is enough. A
    /// message counts once for each client it is queued for; what a client's
    /// writer thread has of it already does not count here, but for who is the
    /// next. Default: 256 MiB.
    pub queue_total: usize,
    /// How many bytes the system may keep for one client beyond those that are
    /// on their way to it (`TCP_NOTSENT_LOWAT`); more waits in its queue. It
    /// does not slow a client down, however far away that is. Linux only. 0: as
    /// much as the system likes, usually up to 4 MiB. At most 1 GiB. Default:
    /// 128 KiB.
    pub unsent_bytes: usize,
    /// What is done about a slow consumer. Default:
    /// [`Disconnect`](SlowConsumer::Disconnect).
    pub slow_consumer: SlowConsumer,
    /// How many of its newest messages a room remembers, for clients that
    /// come back or come later. Default: 0, none.
    pub history: usize,
    /// The most memory that what one room remembers may take, in bytes.
    /// Default: 256 KiB.
    pub history_bytes: usize,
    /// How old a message may be that a room remembers. Default: 1 hour.
    pub history_age: Duration,
    /// The most memory that what all rooms remember may take together, in
    /// bytes; of the rooms that hold the most, the oldest messages go first.
    /// Default: 64 MiB.
    pub history_total: usize,
    /// How many of the newest messages a client gets first that does not
    /// say from where on it wants them; 1 makes a room show its last value.
    /// Default: 0, none.
    pub replay: usize,
    /// Whether `?presence` shows who is in a room, to whoever may enter it, and
    /// `?name=` says how a client is shown there. Default: false.
    pub presence: bool,
    /// How long a client may be away before it is shown to have left, if it
    /// comes back by the same name; 0: not at all. Default: 2 s.
    pub presence_grace: Duration,
    /// Other settings for single rooms. Default: none.
    pub room: Vec<RoomRule>,
    /// Where the log of several servers is, which makes them one:
    /// `redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DATABASE]`, `rediss://…`
    /// over TLS (with the feature `tls`), or `redis+unix:PATH`, Redis 6.2 or
    /// newer, or Valkey. It is not shown anywhere. Only with the feature `redis`, like the fields below. Default:
    /// none, the server is alone.
    #[cfg(feature = "redis")]
    pub engine: Option<Secret>,
    /// The password of the engine, in place of one in its address. Default:
    /// none.
    #[cfg(feature = "redis")]
    pub engine_password: Option<Secret>,
    /// The authorities that may have signed the certificate of an engine over
    /// TLS, in PEM. Default: none, those of the system.
    #[cfg(feature = "redis")]
    pub engine_ca: Option<PathBuf>,
    /// The certificate that this server shows to an engine over TLS, in PEM.
    /// Default: none.
    #[cfg(feature = "redis")]
    pub engine_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM. Default: none.
    #[cfg(feature = "redis")]
    pub engine_key: Option<PathBuf>,
    /// Whether the server does not start if the engine is not reached within
    /// 10 s. Else it starts, is not ready, and waits for it. Default: false.
    #[cfg(feature = "redis")]
    pub engine_required: bool,
    /// What the names of the engine's keys begin with; servers with the same
    /// prefix are one. Default: `hubcast`.
    #[cfg(feature = "redis")]
    pub engine_prefix: String,
    /// The most bytes of messages that wait for the engine, or have not come
    /// back from it; 65,536 messages at most. Default: 16 MiB.
    #[cfg(feature = "redis")]
    pub engine_spool: usize,
    /// How long a publisher waits while that much waits; then a client is closed
    /// with 1013, a `POST` is answered with 503, and your program gets an error.
    /// Default: 5 s.
    #[cfg(feature = "redis")]
    pub engine_patience: Duration,
    /// How much of the log the engine keeps, in bytes. Default: 64 MiB.
    #[cfg(feature = "redis")]
    pub engine_retain: usize,
    /// How old messages may be that the engine keeps. Default: 10 minutes.
    #[cfg(feature = "redis")]
    pub engine_retain_age: Duration,
    /// How much of the end of the log this server keeps in memory, in bytes, to
    /// put it back if the engine loses it. Default: 32 MiB.
    #[cfg(feature = "redis")]
    pub engine_tail: usize,
    /// What people call this server of several; empty: its id. Default: empty.
    #[cfg(feature = "redis")]
    pub node_name: String,
    /// After how long a silence another server counts as gone. Default: 10 s.
    #[cfg(feature = "redis")]
    pub node_timeout: Duration,
    /// The deadline of the whole opening handshake, however slowly the
    /// request comes. Default: 10 s.
    pub handshake_timeout: Duration,
    /// The most connections that may be in their opening handshake, or be
    /// answered, at once. Of one more, the oldest of the address that has most
    /// of them is closed, so that no flood keeps others out. Default: 1,024.
    pub max_handshakes: usize,
    /// The most clients at once; one more is answered with 503. Requests that
    /// make no client, such as a `POST`, are answered all the same: beside the
    /// clients there may be twice
    /// [`max_handshakes`](Config::max_handshakes) connections. Zero: as many
    /// as the limits on descriptors, threads and memory mappings allow,
    /// computed when the server starts; at most a quarter of that is kept for
    /// what makes no client. Default: 0.
    pub max_clients: usize,
    /// The most clients from one IP address; one more is answered with 503. Of
    /// an IPv6 address the first 64 bits count, since one host has all of the
    /// others. Zero turns the limit off. Default: 0.
    pub max_clients_per_ip: usize,
    /// The most messages per second of one client. Control frames count, and
    /// so do fragments of less than 1 KiB between the first and the last. A
    /// client that sends more is read more slowly, so that TCP makes it wait.
    /// Nothing is lost, with one exception: when a throttled client closes its
    /// side, it is read for [`close_timeout`](Config::close_timeout) more, and
    /// the rest is discarded. Of `POST`, the rate is that of an IP address
    /// (IPv6: of 64 bits), and what is beyond is answered with 429. Zero turns
    /// the limit off. Default: 0.
    pub max_message_rate: u32,
    /// The most bytes per second of one client, like
    /// [`max_message_rate`](Config::max_message_rate). Default: 0, off.
    pub max_byte_rate: u32,
    /// After how long a silence a client gets a Ping (RFC 6455 §5.5.2).
    /// Zero turns pings off, and dead peers stay until a write fails.
    /// Default: 20 s, since proxies cut idle connections after 30 s to 120 s.
    pub ping_interval: Duration,
    /// How long a client may stay silent after a Ping before it is dropped;
    /// for a client of events, how long what was sent may go unacknowledged.
    /// Default: 20 s.
    pub pong_timeout: Duration,
    /// How long a message that was begun may take to be complete, however
    /// its fragments drip. Default: 30 s.
    pub message_timeout: Duration,
    /// How long one frame may take to be written to a client whose socket is
    /// full. Default: 10 s.
    pub write_timeout: Duration,
    /// How long the server waits, after its Close frame, for the peer's and
    /// for the end of the stream; at a shutdown no longer than 0.8 s. Default:
    /// 5 s.
    pub close_timeout: Duration,
    /// How long a shutdown may take; what is left then is aborted and
    /// counted. Default: 5 s.
    pub shutdown_timeout: Duration,
    /// Over how long a shutdown closes the clients, one after the other, so that
    /// they do not all come back at the same moment. For the first quarter of it
    /// the server goes on as before, but `/-/readyz` says 503, so that a load
    /// balancer sends new clients elsewhere; then it accepts nobody, and closes
    /// the clients with 1012, each with the time after which to come back. Zero:
    /// all at once, with 1001. Default: 0.
    pub drain: Duration,
    /// After how long a client is closed with 1001, so that clients spread over
    /// new servers; of each up to an eighth less, so that those that came
    /// together do not go together. Zero: never. Default: 0.
    pub max_age: Duration,
    /// The read buffer of one client, in bytes. A larger one costs that much
    /// for every client and saves system calls for large messages. Default:
    /// 4 KiB.
    pub read_buffer: usize,
    /// The stack of each thread, in bytes of address space; memory is used
    /// for what is touched. A handler's hooks run on it. Default: 256 KiB.
    pub stack_size: usize,
    /// How many threads send a message to the clients of a large room: the
    /// hub's own, and helpers beside it. Rooms of less than 256 clients are
    /// served by the hub alone. At most 64. 0: one for each core, and at most
    /// nine. Default: 0.
    pub fan_out_threads: usize,
    /// Origins that are let in beside the server's own, each
    /// `scheme://host[:port]`, `null`, or `*` for any (RFC 6455 §10.2). A host
    /// `*.example.com` stands for every host that has one label in place of the
    /// `*`. With none, a request is let in that has no Origin header (no browser
    /// sent it) or whose Origin is the host it asks for. Default: none.
    pub allow_origin: Vec<String>,
    /// The proxies that are believed when they say whose request they pass on,
    /// in `Forwarded` (RFC 7239) or `X-Forwarded-For`: addresses, networks such
    /// as `10.0.0.0/8`, and `unix` for whoever connects by a Unix socket. The
    /// client is the last hop that is not one of them; limits, log, lists and
    /// hooks see its address. Of others the headers mean nothing. Default: none.
    pub trust_proxy: Vec<String>,
    /// Whether every connection begins with a header of the PROXY protocol,
    /// version 1 or 2, in which a proxy names its client's address. A connection
    /// without one is closed. Where [`trust_proxy`](Config::trust_proxy) lists
    /// proxies, so is one of anybody else. Does not hold for
    /// [`admin_listen`](Config::admin_listen). Default: false.
    pub proxy_protocol: bool,
    /// The subprotocols the server knows; the first that a client offers and
    /// that stands here is chosen (RFC 6455 §4.2.2). Default: none.
    pub subprotocol: Vec<String>,
    /// The token that is needed to enter any room; see
    /// [`Secret`]. It is brought as `Authorization: Bearer`,
    /// as a subprotocol entry `hubcast.token.` with the base64url of the
    /// token (a browser offers `hubcast` beside it, which is answered), or as
    /// `?token=`. A request may bring one token only. At most 4,096 bytes,
    /// without control characters, and without blanks at its ends. Take one
    /// that is long and random, since attempts are not limited. Default: none,
    /// everybody may enter.
    pub token: Option<Secret>,
    /// The name of a cookie that may bring [`token`](Config::token), or
    /// [`publish_token`](Config::publish_token), percent-encoded. A browser sends
    /// it with every request, those of other sites' pages too; what keeps those
    /// out is [`allow_origin`](Config::allow_origin), which must not hold `*`
    /// then. Default: none.
    pub token_cookie: Option<String>,
    /// Who is asked which rights a token gives, one that is neither
    /// [`token`](Config::token), which allows everything, nor
    /// [`publish_token`](Config::publish_token) or the operator's. With it, every
    /// request for a room must bring a token. No option of the program: it is
    /// set by `--tokens` and its like. Default: none.
    pub token_verifier: Option<TokenVerifier>,
    /// Whether what a client sends to a room that its [`Rights`](crate::Rights)
    /// let it only read is ignored; otherwise the client is closed with 1008.
    /// Default: false.
    pub ignore_writes: bool,
    /// Whether `POST` (or `PUT`) to a room publishes its body there. It is checked by
    /// [`Handler::on_upgrade`](crate::Handler::on_upgrade), but not seen by
    /// [`on_message`](crate::Handler::on_message). Default: false.
    pub allow_publish: bool,
    /// The token that is needed to publish over HTTP; a server that listens
    /// beyond the loopback addresses needs one. Default: none.
    pub publish_token: Option<Secret>,
    /// A folder whose files are answered with, to everybody and whatever token
    /// there is, before the chat page. `index.html` stands for a folder. Not
    /// shown are names that begin with a dot, and what links lead to outside of
    /// the folder. Only with the feature `pages`. Default: none.
    #[cfg(feature = "pages")]
    pub pages: Option<std::path::PathBuf>,
    /// Whether a browser that opens a room gets a chat page for it. Default:
    /// true.
    pub page: bool,
    /// Whether `/-/` is answered: health, metrics, clients and rooms. Beyond
    /// health, they are answered to the server's own machine, unless the
    /// request carries a header of a proxy (`Forwarded`, `Via`,
    /// `X-Forwarded-…`, `X-Real-IP`, `CF-Connecting-IP`), and to others only
    /// by [`admin_token`](Config::admin_token) or
    /// [`admin_listen`](Config::admin_listen). Default: true.
    pub admin: bool,
    /// The operator's token: who brings it is answered under `/-/` from
    /// anywhere. It is brought as [`token`](Config::token) is. Default: none.
    pub admin_token: Option<Secret>,
    /// The address that `/-/` is answered on instead of the server's own, over
    /// TLS where the server speaks it: to everybody who can reach it, or, where
    /// there is an [`admin_token`](Config::admin_token), to this machine and to
    /// those who bring the token. Default: none, it is answered on the server's
    /// own.
    pub admin_listen: Option<String>,
    /// With it, the server speaks TLS: `wss://` and `https://`. Only with the
    /// feature `tls`. Default: none, it speaks plain text.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// A second address to listen on, without TLS: for a proxy, or for programs
    /// on the same machine. Its clients are in the same rooms. Default: none;
    /// there is nothing to set where the server speaks no TLS anyway.
    pub plain_listen: Option<String>,
}

/// What is done about a slow consumer, a client whose queue is full; see
/// [`Config::slow_consumer`].
///
/// With every policy, a message that was begun is finished, a Close frame still
/// gets through, and dropped messages are counted in
/// [`ClientInfo::dropped_messages`](crate::ClientInfo::dropped_messages) and
/// [`Stats::dropped_messages`](crate::Stats::dropped_messages).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// Discard its backlog and close with 1008: a client that reconnects
    /// knows that it missed something.
    #[default]
    Disconnect,
    /// Drop the oldest message that waits, so that the newest is queued.
    DropOldest,
    /// Drop the new message and keep what waits.
    DropNewest,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            echo: true,
            append_newline: false,
            max_message_size: 1024 * 1024,
            max_fragments: 32_768,
            #[cfg(feature = "deflate")]
            deflate: false,
            #[cfg(feature = "deflate")]
            deflate_threshold: 256,
            #[cfg(feature = "deflate")]
            deflate_level: 1,
            #[cfg(feature = "deflate")]
            deflate_rooms: false,
            queue_messages: 8192,
            queue_bytes: 1024 * 1024,
            queue_total: 256 * 1024 * 1024,
            unsent_bytes: 128 * 1024,
            slow_consumer: SlowConsumer::Disconnect,
            history: 0,
            history_bytes: 256 * 1024,
            history_age: Duration::from_secs(60 * 60),
            history_total: 64 * 1024 * 1024,
            replay: 0,
            presence: false,
            presence_grace: Duration::from_secs(2),
            room: Vec::new(),
            #[cfg(feature = "redis")]
            engine: None,
            #[cfg(feature = "redis")]
            engine_password: None,
            #[cfg(feature = "redis")]
            engine_ca: None,
            #[cfg(feature = "redis")]
            engine_cert: None,
            #[cfg(feature = "redis")]
            engine_key: None,
            #[cfg(feature = "redis")]
            engine_required: false,
            #[cfg(feature = "redis")]
            engine_prefix: "hubcast".to_owned(),
            #[cfg(feature = "redis")]
            engine_spool: 16 * 1024 * 1024,
            #[cfg(feature = "redis")]
            engine_patience: Duration::from_secs(5),
            #[cfg(feature = "redis")]
            engine_retain: 64 * 1024 * 1024,
            #[cfg(feature = "redis")]
            engine_retain_age: Duration::from_secs(600),
            #[cfg(feature = "redis")]
            engine_tail: 32 * 1024 * 1024,
            #[cfg(feature = "redis")]
            node_name: String::new(),
            #[cfg(feature = "redis")]
            node_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            max_clients: 0,
            max_clients_per_ip: 0,
            max_message_rate: 0,
            max_byte_rate: 0,
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(20),
            message_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(5),
            drain: Duration::ZERO,
            max_age: Duration::ZERO,
            read_buffer: 4096,
            stack_size: 256 * 1024,
            fan_out_threads: 0,
            allow_origin: Vec::new(),
            trust_proxy: Vec::new(),
            proxy_protocol: false,
            subprotocol: Vec::new(),
            token: None,
            token_verifier: None,
            ignore_writes: false,
            allow_publish: false,
            token_cookie: None,
            publish_token: None,
            admin_token: None,
            #[cfg(feature = "pages")]
            pages: None,
            page: true,
            admin: true,
            admin_listen: None,
            #[cfg(feature = "tls")]
            tls: None,
            plain_listen: None,
        }
    }
}

/// The longest time: a longer one might not fit when added to a clock's time.
const MAX_TIME: Duration = Duration::from_secs(1000 * 24 * 60 * 60);
/// The largest message: a header of 14 bytes announces one.
const MAX_MESSAGE: usize = 1024 * 1024 * 1024;
/// The most unsent bytes, well within what the system's call takes.
const MAX_UNSENT: usize = 1024 * 1024 * 1024;
/// The largest message in a log of several servers.
#[cfg(feature = "redis")]
const MAX_ENGINE_MESSAGE: usize = 8 * 1024 * 1024;
/// The longest name of a server, or of an engine's keys.
#[cfg(feature = "redis")]
const MAX_NAME: usize = 64;
/// The largest read buffer, which is allocated whole.
const MAX_READ_BUFFER: usize = 16 * 1024 * 1024;
/// Beyond it, lending and taking back take longer than they save.
const MAX_FAN_OUT_THREADS: usize = 64;
/// Hooks and the protocol's code need this much stack.
const MIN_STACK: usize = 64 * 1024;
/// A larger stack is a mistake, and the system may refuse it for any thread.
const MAX_STACK: usize = 1024 * 1024 * 1024;

impl Config {
    #[cfg(feature = "redis")]
    fn check_engine(&self) -> Result<(), Error> {
        for (name, value) in [
            ("engine-spool", self.engine_spool),
            ("engine-retain", self.engine_retain),
            ("engine-tail", self.engine_tail),
        ] {
            in_range(name, value, 1, usize::MAX)?;
        }
        for (name, duration) in [
            ("engine-patience", self.engine_patience),
            ("engine-retain-age", self.engine_retain_age),
            ("node-timeout", self.node_timeout),
        ] {
            if duration.is_zero() {
                return Err(Error::config(format!("{name} must be more than 0")));
            }
            not_too_long(name, duration)?;
        }
        let is_secure = |engine: &Secret| engine.reveal().starts_with("rediss://");
        let is_secure = self.engine.as_ref().is_some_and(is_secure);
        for (name, path) in [
            ("engine-ca", &self.engine_ca),
            ("engine-cert", &self.engine_cert),
            ("engine-key", &self.engine_key),
        ] {
            if let (Some(path), false) = (path, is_secure) {
                return Err(Error::config(format!(
                    "{name} {path:?} is for an engine over TLS, rediss://…"
                )));
            }
        }
        if self.engine_cert.is_some() != self.engine_key.is_some() {
            return Err(Error::config(
                "engine-cert and engine-key, its private key's file, go together",
            ));
        }
        if self.engine.is_some() && self.max_message_size > MAX_ENGINE_MESSAGE {
            let most = MAX_ENGINE_MESSAGE;
            return Err(Error::config(format!(
                "max-message-size must be at most {most} with an engine, not {}",
                self.max_message_size
            )));
        }
        for (name, text) in [
            ("engine-prefix", &self.engine_prefix),
            ("node-name", &self.node_name),
        ] {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            if text.len() > MAX_NAME || !text.chars().all(is_plain) {
                return Err(Error::config(format!(
                    "{name} must be at most {MAX_NAME} letters, digits and -_.:, not {text:?}"
                )));
            }
        }
        Ok(())
    }

    /// Checks every field; the error names the first that is out of range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value, least, most) in [
            ("max-message-size", self.max_message_size, 1, MAX_MESSAGE),
            ("max-fragments", self.max_fragments, 1, usize::MAX),
            ("queue-messages", self.queue_messages, 1, usize::MAX),
            ("queue-bytes", self.queue_bytes, 1, usize::MAX),
            ("queue-total", self.queue_total, 1, usize::MAX),
            ("unsent-bytes", self.unsent_bytes, 0, MAX_UNSENT),
            ("max-handshakes", self.max_handshakes, 1, usize::MAX),
            ("history-total", self.history_total, 1, usize::MAX),
            ("read-buffer", self.read_buffer, 256, MAX_READ_BUFFER),
            ("stack-size", self.stack_size, MIN_STACK, MAX_STACK),
            (
                "fan-out-threads",
                self.fan_out_threads,
                0,
                MAX_FAN_OUT_THREADS,
            ),
        ] {
            in_range(name, value, least, most)?;
        }
        #[cfg(feature = "deflate")]
        self.check_deflate()?;
        #[cfg(feature = "redis")]
        self.check_engine()?;
        for (name, duration) in [
            ("ping-interval", self.ping_interval),
            ("handshake-timeout", self.handshake_timeout),
            ("pong-timeout", self.pong_timeout),
            ("message-timeout", self.message_timeout),
            ("write-timeout", self.write_timeout),
            ("close-timeout", self.close_timeout),
            ("shutdown-timeout", self.shutdown_timeout),
            ("presence-grace", self.presence_grace),
            ("drain", self.drain),
            ("max-age", self.max_age),
        ] {
            let may_be_zero = ["ping-interval", "presence-grace", "drain", "max-age"];
            if duration.is_zero() && !may_be_zero.contains(&name) {
                return Err(Error::config(format!("{name} must be more than 0")));
            }
            not_too_long(name, duration)?;
        }
        let everywhere = self.room_settings("");
        check_settings("", &everywhere)?;
        for (index, rule) in self.room.iter().enumerate() {
            let pattern = &rule.pattern;
            if let Some(fault) = rule.fault() {
                return Err(Error::config(format!("room {pattern:?} {fault}")));
            }
            let earlier = &self.room[..index];
            if earlier.iter().any(|earlier| earlier.pattern == *pattern) {
                return Err(Error::config(format!("room {pattern:?} is there twice")));
            }
            let settings = everywhere.in_room(std::slice::from_ref(rule), pattern);
            check_settings(&format!("room {pattern:?} "), &settings)?;
        }
        for (name, token) in [
            ("token", &self.token),
            ("publish-token", &self.publish_token),
            ("admin-token", &self.admin_token),
        ] {
            if let Some(flaw) = token.as_ref().and_then(Secret::flaw) {
                return Err(Error::config(format!("{name} must {flaw}")));
            }
        }
        if self.publish_token.is_some() && !self.allow_publish {
            return Err(Error::config(
                "publish-token has no effect without allow-publish",
            ));
        }
        #[cfg(feature = "tls")]
        let over_tls = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let over_tls = false;
        if self.plain_listen.is_some() && !over_tls {
            return Err(Error::config(
                "plain-listen needs tls-cert: without it, listen speaks plain text already",
            ));
        }
        if !self.admin && self.admin_token.is_some() {
            return Err(Error::config("no-admin and admin-token exclude each other"));
        }
        if !self.admin && self.admin_listen.is_some() {
            return Err(Error::config(
                "no-admin and admin-listen exclude each other",
            ));
        }
        Ok(())
    }

    #[cfg(feature = "deflate")]
    fn check_deflate(&self) -> Result<(), Error> {
        let threshold = self.deflate_threshold;
        in_range("deflate-threshold", threshold, 1, usize::MAX)?;
        in_range("deflate-level", self.deflate_level.into(), 1, 9)?;
        if !self.deflate_rooms {
            return Ok(());
        }
        if !self.deflate {
            return Err(Error::config("deflate-rooms needs deflate"));
        }
        // Whoever publishes and cannot read could guess what others write.
        let apart = match (&self.token, &self.publish_token) {
            _ if self.token_verifier.is_some() => "tokens that may each read and write other rooms",
            (Some(_), Some(_)) => "publish-token beside token",
            _ => return Ok(()),
        };
        Err(Error::config(format!(
            "deflate-rooms is for servers where everybody who may publish may read, not for \
             {apart}"
        )))
    }

    /// A token of which all values can be tried.
    fn short_token(&self) -> Option<&'static str> {
        let tokens = [
            ("token", &self.token),
            ("publish-token", &self.publish_token),
            ("admin-token", &self.admin_token),
        ];
        let mut short = tokens.into_iter().filter(|(_, token)| {
            let token = token.as_ref();
            token.is_some_and(Secret::is_short)
        });
        short.next().map(|(name, _)| name)
    }

    /// Limits that have no effect because of other limits, and the like: no
    /// errors, but worth a line in the log.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = String> {
        let (clients, per_ip) = (self.max_clients, self.max_clients_per_ip);
        let (bytes, total) = (self.queue_bytes, self.queue_total);
        let message = self.max_message_size;
        [
            (clients > 0 && per_ip > clients).then(|| {
                format!("max-clients-per-ip {per_ip} has no effect: max-clients is {clients}")
            }),
            self.short_token().map(|name| {
                format!("{name} is short, and can be guessed; `openssl rand -hex 16` makes one")
            }),
            (bytes > total)
                .then(|| format!("queue-bytes {bytes} has no effect: queue-total is {total}")),
            (message > total).then(|| {
                format!(
                    "a message of max-message-size {message} can wait for nobody: \
                     queue-total is {total}"
                )
            }),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether any room may show who is in it.
    #[cfg(feature = "redis")]
    pub(crate) fn shows_presence(&self) -> bool {
        self.presence || self.room.iter().any(|rule| rule.presence == Some(true))
    }

    /// What a room remembers.
    pub(crate) fn room_settings(&self, room: &str) -> RoomSettings {
        let everywhere = RoomSettings {
            history: self.history,
            history_bytes: self.history_bytes,
            history_age: self.history_age,
            replay: self.replay,
            presence: self.presence,
        };
        everywhere.in_room(&self.room, room)
    }
}

/// Checks what a room remembers; `whose` begins the error.
fn check_settings(whose: &str, settings: &RoomSettings) -> Result<(), Error> {
    let name = format!("{whose}history-bytes");
    in_range(&name, settings.history_bytes, 1, usize::MAX)?;
    let name = format!("{whose}history-age");
    if settings.history_age.is_zero() {
        return Err(Error::config(format!("{name} must be more than 0")));
    }
    not_too_long(&name, settings.history_age)
}

fn not_too_long(name: &str, duration: Duration) -> Result<(), Error> {
    if duration > MAX_TIME {
        return Err(Error::config(format!(
            "{name} must be at most 1000 days, not {} s",
            duration.as_secs()
        )));
    }
    Ok(())
}

fn in_range(name: &str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    let bound = match value {
        value if value < least => format!("at least {least}"),
        value if value > most => format!("at most {most}"),
        _ => return Ok(()),
    };
    Err(Error::config(format!(
        "{name} must be {bound}, not {value}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_checks() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_bad_field_is_named_with_its_value() {
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 17] = [
            (
                |c| c.read_buffer = 3,
                "read-buffer must be at least 256, not 3",
            ),
            (
                |c| c.queue_messages = 0,
                "queue-messages must be at least 1, not 0",
            ),
            (
                |c| c.write_timeout = Duration::ZERO,
                "write-timeout must be more than 0",
            ),
            (
                |c| c.read_buffer = usize::MAX,
                "read-buffer must be at most 16777216, not 18446744073709551615",
            ),
            (
                |c| c.stack_size = 1,
                "stack-size must be at least 65536, not 1",
            ),
            (
                |c| c.stack_size = usize::MAX,
                "stack-size must be at most 1073741824, not 18446744073709551615",
            ),
            (
                |c| c.max_message_size = 1 << 36,
                "max-message-size must be at most 1073741824, not 68719476736",
            ),
            (|c| c.token = Some("".into()), "token must not be empty"),
            (
                |c| c.token = Some("s3cret ".into()),
                "token must not begin or end with a blank: no header can bring that",
            ),
            (
                |c| {
                    c.allow_publish = true;
                    c.publish_token = Some("a\nb".into());
                },
                "publish-token must hold no control character, such as a line end: \
                 no header can bring that",
            ),
            (
                |c| c.publish_token = Some("s3cret".into()),
                "publish-token has no effect without allow-publish",
            ),
            (
                |c| c.unsent_bytes = 1 << 31,
                "unsent-bytes must be at most 1073741824, not 2147483648",
            ),
            (
                |c| c.fan_out_threads = 65,
                "fan-out-threads must be at most 64, not 65",
            ),
            (
                |c| c.history_bytes = 0,
                "history-bytes must be at least 1, not 0",
            ),
            (
                |c| c.room.push(RoomRule::new("lobby")),
                "room \"lobby\" must begin with a slash",
            ),
            (
                |c| c.room = vec![RoomRule::new("/a"), RoomRule::new("/a")],
                "room \"/a\" is there twice",
            ),
            (
                |c| {
                    let mut rule = RoomRule::new("/a*");
                    rule.history_age = Some(Duration::ZERO);
                    c.room.push(rule);
                },
                "room \"/a*\" history-age must be more than 0",
            ),
        ];
        for (change, text) in cases {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.check().unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn limits_that_other_limits_take_the_effect_from_are_remarked_on() {
        let remarks = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.remarks().collect::<Vec<String>>()
        };
        assert_eq!(remarks(|_| {}), [""; 0]);
        let per_ip = remarks(|c| (c.max_clients, c.max_clients_per_ip) = (10, 11));
        assert_eq!(
            per_ip,
            ["max-clients-per-ip 11 has no effect: max-clients is 10"]
        );
        let total = remarks(|c| (c.queue_total, c.queue_bytes) = (1000, 1001));
        assert_eq!(
            total,
            [
                "queue-bytes 1001 has no effect: queue-total is 1000",
                "a message of max-message-size 1048576 can wait for nobody: queue-total is 1000",
            ]
        );
    }

    #[test]
    fn a_time_that_no_clock_can_count_is_refused_by_name() {
        let fields: [fn(&mut Config) -> &mut Duration; 8] = [
            |c| &mut c.history_age,
            |c| &mut c.handshake_timeout,
            |c| &mut c.ping_interval,
            |c| &mut c.pong_timeout,
            |c| &mut c.message_timeout,
            |c| &mut c.write_timeout,
            |c| &mut c.close_timeout,
            |c| &mut c.shutdown_timeout,
        ];
        for field in fields {
            let mut config = Config::default();
            *field(&mut config) = Duration::MAX;
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("must be at most 1000 days"), "{error}");
            *field(&mut config) = MAX_TIME;
            config.check().unwrap();
        }
    }
}
