//! The options of the binary, and the [`Config`] that they describe.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{ArgAction, Args, Parser};
#[cfg(feature = "tls")]
use hubcast::Tls;
use hubcast::{Config, Secret};

use crate::environment::Variable;
#[cfg(feature = "generate")]
use crate::generate::Artifact;
#[cfg(feature = "jwt")]
use crate::jwt::Key;
use crate::listen::Address;
use crate::room::Room;
use crate::token;
use crate::tokens::Tokens;
use crate::values::{Format, LogLevel, MinTls, Mode, Policy, Size, Time};

/// The version, and the features that this binary was built with.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let built = FEATURES.iter().filter(|(_, is_built)| *is_built);
    let names: Vec<&str> = built.map(|(name, _)| *name).collect();
    let version = env!("CARGO_PKG_VERSION");
    format!("{version} (features: {})", names.join(", "))
});

/// The features of Cargo.toml, and whether each is in this binary.
const FEATURES: [(&str, bool); 7] = [
    ("cli", cfg!(feature = "cli")),
    ("generate", cfg!(feature = "generate")),
    ("jwt", cfg!(feature = "jwt")),
    ("deflate", cfg!(feature = "deflate")),
    ("tls", cfg!(feature = "tls")),
    ("pages", cfg!(feature = "pages")),
    ("redis", cfg!(feature = "redis")),
];

/// A WebSocket broadcast server: what one client of a room sends, every
/// client of that room receives. The path of the URL names the room.
///
/// `hubcast probe URL` checks a relay, or is its health check; see hubcast probe
/// --help.
///
/// Sizes are written 512, 64KiB or 1MiB, times 500ms, 20s or 2m.
///
/// Each option is also an environment variable: --max-clients is
/// HUBCAST_MAX_CLIENTS, and HUBCAST_NO_ECHO=1 is a switch that is on (0, false,
/// no and off are off). An empty variable counts as unset; what stands on the
/// command line comes first.
///
/// The log goes to standard error. RUST_LOG sets its level for single modules
/// (RUST_LOG=hubcast=debug), where neither --log-level nor -q nor -v does.
#[derive(Debug, Parser)]
#[command(name = "hubcast", version = VERSION.as_str(), max_term_width = 100)]
pub(crate) struct Options {
    /// Where to listen: HOST:PORT, :PORT for all addresses, or unix:PATH; port
    /// 0 takes a free one; may be given several times
    #[arg(long, short, value_name = "ADDRESS", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.1:8080")]
    #[arg(aliases = ["bind", "address"])]
    listen: Vec<String>,

    /// Listen on this port of 127.0.0.1
    #[arg(long, short, value_name = "PORT", hide = true)]
    #[arg(conflicts_with = "listen")]
    port: Option<u16>,

    /// The mode of a Unix socket that is listened on; write permission lets
    /// others connect
    #[arg(long, value_name = "MODE")]
    unix_mode: Option<Mode>,

    /// A client does not receive its own messages
    #[arg(long)]
    no_echo: bool,

    /// Append a newline to every text message delivered
    #[arg(long)]
    append_newline: bool,

    /// What is logged: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    #[arg(overrides_with_all = ["quiet", "verbose"])]
    #[arg(hide_possible_values = true)]
    log_level: LogLevel,

    /// Log warnings and errors only
    #[arg(long, short, overrides_with_all = ["log_level", "verbose"])]
    quiet: bool,

    /// Log more: refused requests and why; -vv logs everything
    #[arg(long, short, action = ArgAction::Count)]
    #[arg(overrides_with_all = ["log_level", "quiet"])]
    verbose: u8,

    /// Print a file, and end: man; completions for bash, zsh or fish; or for these
    /// options nginx, caddy, systemd, compose, kubernetes, prometheus-rules or
    /// grafana
    #[cfg(feature = "generate")]
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    pub(crate) generate: Option<Artifact>,

    /// Say what these options come to: how many clients, how much memory, who may
    /// come in, and what is refused; and end
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    messages: Messages,
    #[command(flatten)]
    slow_clients: SlowClients,
    #[command(flatten)]
    memory: Memory,
    #[cfg(feature = "redis")]
    #[command(flatten)]
    nodes: Nodes,

    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    tls: Security,
    #[command(flatten)]
    guards: Guards,
    #[command(flatten)]
    pub(crate) doors: Doors,

    /// Whether one of the options above sets the log level.
    #[arg(skip)]
    pub(crate) level_is_set: bool,
    /// Whether an option sets where to listen.
    #[arg(skip)]
    pub(crate) listen_is_set: bool,
    /// The variables that set options.
    #[arg(skip)]
    pub(crate) variables: Vec<Variable>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
struct Messages {
    /// The largest message a client may send; a larger one ends with 1009
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    max_message_size: Size,

    /// The most fragments a message may come in
    #[arg(long, value_name = "N", default_value = "32768")]
    max_fragments: usize,

    /// Compress messages for clients that offer it (permessage-deflate)
    #[cfg(feature = "deflate")]
    #[arg(long, aliases = ["per-message-deflate", "permessage-deflate"])]
    deflate: bool,

    /// The shortest message that is compressed
    #[cfg(feature = "deflate")]
    #[arg(long, value_name = "SIZE", default_value = "256")]
    deflate_threshold: Size,

    /// How hard to compress, 1 (fastest) to 9 (tightest)
    #[cfg(feature = "deflate")]
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    deflate_level: u8,

    /// How long a message that was begun may take to be complete
    #[arg(long, value_name = "TIME", default_value = "30s")]
    message_timeout: Time,

    /// The most messages per second of one client, which is read more slowly
    /// when it sends more; 0: no limit
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(alias = "max-rate")]
    max_message_rate: u32,

    /// The most bytes per second of one client; 0: no limit
    #[arg(long, value_name = "SIZE", default_value = "0")]
    #[arg(alias = "max-bytes-rate")]
    max_byte_rate: Size,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Slow clients")]
struct SlowClients {
    /// The most messages that may wait for one client
    #[arg(long, value_name = "N", default_value = "8192")]
    #[arg(aliases = ["queue-len", "max-queue", "outbox-messages"])]
    queue_messages: usize,

    /// The most bytes that may wait for one client
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    #[arg(aliases = ["queue-max-size", "max-pending", "outbox-bytes"])]
    queue_bytes: Size,

    /// The most bytes that may wait for all clients together
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    #[arg(alias = "max-backlog-total")]
    queue_total: Size,

    /// The most bytes that the system keeps for one client beyond those that
    /// are on their way to it; 0: as it likes
    #[arg(long, value_name = "SIZE", default_value = "128KiB")]
    unsent_bytes: Size,

    /// What is done about a client for which too much waits
    #[arg(long, value_name = "POLICY", default_value = "disconnect")]
    slow_consumer: Policy,

    /// How long one frame may take to be written to a client
    #[arg(long, value_name = "TIME", default_value = "10s")]
    write_timeout: Time,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "History and presence")]
struct Memory {
    /// How many of its newest messages a room remembers for clients that come
    /// back, or come later; 0: none
    #[arg(long, value_name = "N", default_value = "0")]
    history: usize,

    /// The most memory of what one room remembers
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    history_bytes: Size,

    /// How old a message may be that a room remembers
    #[arg(long, value_name = "TIME", default_value = "1h")]
    history_age: Time,

    /// The most memory of what all rooms remember together
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    history_total: Size,

    /// How many of the newest messages a client gets first that does not say
    /// where it was; 1 makes a room show its last value
    #[arg(long, value_name = "N", default_value = "0")]
    replay: usize,

    /// Show who is in a room, under ?presence, to whoever may enter it; clients
    /// give their names as ?name=
    #[arg(long)]
    presence: bool,

    /// How long a client may be away and come back unnoticed; 0: not at all
    #[arg(long, value_name = "TIME", default_value = "2s")]
    presence_grace: Time,

    /// Other settings for some rooms, as in '/price/* history=1 replay=1'; may
    /// be given several times
    #[arg(long, value_name = "RULE", value_delimiter = ';')]
    room: Vec<Room>,
}

#[cfg(feature = "redis")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Several nodes")]
struct Nodes {
    /// Redis or Valkey, where the log of several nodes is, which makes them
    /// one server: redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DATABASE],
    /// rediss:// over TLS, or redis+unix:PATH
    #[arg(long, value_name = "URL")]
    engine: Option<String>,

    /// A file whose first line is the engine's password
    #[arg(long, value_name = "FILE")]
    engine_password_file: Option<PathBuf>,

    /// The authorities that may have signed the certificate of an engine over
    /// TLS, in PEM; those of the system if none is given
    #[arg(long, value_name = "FILE")]
    engine_ca: Option<PathBuf>,

    /// The certificate that this node shows to an engine over TLS, in PEM
    #[arg(long, value_name = "FILE")]
    engine_cert: Option<PathBuf>,

    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE")]
    engine_key: Option<PathBuf>,

    /// Do not start if the engine is not reached within 10 s
    #[arg(long)]
    engine_required: bool,

    /// What the names of the engine's keys begin with; nodes with the same
    /// prefix are one server
    #[arg(long, value_name = "NAME", default_value = "hubcast")]
    engine_prefix: String,

    /// The most that waits for the engine
    #[arg(long, value_name = "SIZE", default_value = "16MiB")]
    engine_spool: Size,

    /// How long a publisher waits while that much waits
    #[arg(long, value_name = "TIME", default_value = "5s")]
    engine_patience: Time,

    /// How much of the log the engine keeps
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    engine_retain: Size,

    /// How old messages may be that the engine keeps
    #[arg(long, value_name = "TIME", default_value = "10m")]
    engine_retain_age: Time,

    /// How much of the end of the log this node keeps in memory
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    engine_tail: Size,

    /// What people call this node; its id if none is given
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,

    /// After how long a silence another node counts as gone
    #[arg(long, value_name = "TIME", default_value = "10s")]
    node_timeout: Time,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
struct Connections {
    /// The most clients at once; 0: as many as the system's limits allow
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(alias = "max-connections")]
    max_clients: usize,

    /// The most clients from one IP address, or IPv6 network of 64 bits; 0: no limit
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(alias = "max-connections-per-ip")]
    max_clients_per_ip: usize,

    /// The most connections in their opening handshake at once; of more, the oldest are closed
    #[arg(long, value_name = "N", default_value = "1024")]
    max_handshakes: usize,

    /// The deadline of the whole opening handshake
    #[arg(long, value_name = "TIME", default_value = "10s")]
    handshake_timeout: Time,

    /// After how long a silence a client gets a ping; 0: never
    #[arg(long, value_name = "TIME", default_value = "20s")]
    ping_interval: Time,

    /// How long a client may stay silent after a ping
    #[arg(long, value_name = "TIME", default_value = "20s")]
    #[arg(alias = "ping-timeout")]
    pong_timeout: Time,

    /// How long the closing handshake may take
    #[arg(long, value_name = "TIME", default_value = "5s")]
    close_timeout: Time,

    /// How long the shutdown may take
    #[arg(long, value_name = "TIME", default_value = "5s")]
    shutdown_timeout: Time,

    /// Over how long a stop closes the clients one after the other; for the first
    /// quarter of it the server is not ready and goes on; 0: all at once
    #[arg(long, value_name = "TIME", default_value = "0")]
    drain: Time,

    /// After how long a client is closed to come back, so that clients spread
    /// over new servers; 0: never
    #[arg(long, value_name = "TIME", default_value = "0")]
    #[arg(alias = "max-connection-age")]
    max_age: Time,

    /// The read buffer of one client
    #[arg(long, value_name = "SIZE", default_value = "4KiB")]
    #[arg(alias = "read-buffer-size")]
    read_buffer: Size,

    /// The stack of each thread, in address space
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    stack_size: Size,

    /// The threads that send to a large room, the hub's own among them; 0: one
    /// for each core, at most nine
    #[arg(long, value_name = "N", default_value = "0")]
    fan_out_threads: usize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
struct Security {
    /// Speak TLS, wss:// and https://, with the certificate in this file (PEM):
    /// the server's own first, then its chain; read again when it changes
    #[arg(long, value_name = "FILE")]
    #[arg(aliases = ["cert", "cert-file", "tls-certificate"])]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM), not encrypted
    #[arg(long, value_name = "FILE")]
    #[arg(aliases = ["key", "key-file"])]
    tls_key: Option<PathBuf>,

    /// The oldest version of TLS that is spoken: 1.2 or 1.3
    #[arg(long, value_name = "VERSION", default_value = "1.2")]
    #[arg(hide_possible_values = true)]
    tls_min: MinTls,

    /// Let in only clients with a certificate of one of the authorities in
    /// this file (PEM)
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Listen without TLS on this address as well
    #[arg(long, value_name = "HOST:PORT")]
    plain_listen: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Who may come in")]
struct Guards {
    /// Let in browsers from pages of this origin, scheme://host[:port]; a host
    /// *.example.com stands for one more label, and * for any origin; may be
    /// given several times
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    #[arg(aliases = ["origin", "allowed-origin", "allowed-origins"])]
    #[arg(aliases = ["cors-origin", "cors-origins"])]
    allow_origin: Vec<String>,

    /// Believe the proxies of this network, such as 10.0.0.0/8, when they say in
    /// Forwarded or X-Forwarded-For whose request they pass on; unix: those that
    /// connect by a Unix socket; may be given several times
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    trust_proxy: Vec<String>,

    /// Every connection begins with a header of the PROXY protocol, version 1 or
    /// 2, which names the client
    #[arg(long)]
    proxy_protocol: bool,

    /// The token that is needed to enter any room; who can list processes can
    /// read it, which --token-file avoids
    #[arg(long)]
    token: Option<String>,

    /// A file whose first line is the token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,

    /// A file of tokens and what each allows, one a line, such as: TOKEN
    /// name=ann read=/* write=/lobby admin expires=2027-01-31; it is read again
    /// when it changes
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,

    /// Take tokens that are signed with this key (JWT): a public key (PEM) of
    /// P-256 or Ed25519, or a secret of at least 32 bytes
    #[cfg(feature = "jwt")]
    #[arg(long, value_name = "FILE")]
    jwt_key: Option<PathBuf>,

    /// Take those signed tokens alone that are for this audience
    #[cfg(feature = "jwt")]
    #[arg(long, value_name = "NAME", requires = "jwt_key")]
    jwt_audience: Option<String>,

    /// Ignore what a client sends to a room that its token lets it only read,
    /// instead of closing it with 1008
    #[arg(long)]
    ignore_writes: bool,

    /// The name of a cookie that may bring a token; other sites' pages are kept
    /// out by --allow-origin then
    #[arg(long, value_name = "NAME", alias = "cookie-name")]
    token_cookie: Option<String>,

    /// Answer this subprotocol where a client offers it; may be given
    /// several times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    subprotocol: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Doors")]
pub(crate) struct Doors {
    /// Publish the body of a POST to a room there
    #[arg(long, alias = "publish")]
    allow_publish: bool,

    /// The token that is needed to publish over HTTP
    #[arg(long, value_name = "TOKEN", requires = "allow_publish")]
    publish_token: Option<String>,

    /// Answer with the files of this folder; where there is none, with the chat
    /// page
    #[cfg(feature = "pages")]
    #[arg(long, value_name = "FOLDER", aliases = ["static", "staticdir"])]
    pages: Option<PathBuf>,

    /// Give browsers no chat page
    #[arg(long)]
    no_page: bool,

    /// Answer nothing under /-/: health, metrics, clients and rooms
    #[arg(long)]
    no_admin: bool,

    /// The token that opens /-/ from anywhere; without it, only this machine and
    /// --admin-listen are answered more than /-/healthz
    #[arg(long, value_name = "TOKEN")]
    admin_token: Option<String>,

    /// Answer /-/ on this address instead
    #[arg(long, value_name = "HOST:PORT", alias = "metrics-listen")]
    admin_listen: Option<String>,

    /// Broadcast each line of standard input in this room
    #[arg(long, value_name = "ROOM", group = "input")]
    pub(crate) stdin: Option<String>,

    /// Broadcast each line of standard input in the room that it names: /ROOM, a
    /// tab, and the text
    #[arg(long, group = "input")]
    pub(crate) stdin_rooms: bool,

    /// End the server in order when standard input ends
    #[arg(long, short = 'E', requires = "input", alias = "stdin-exit")]
    pub(crate) exit_on_eof: bool,

    /// Print what this room receives, one message a line; 16 MiB may wait for a
    /// slow reader, and a line says what it missed; may be given several times
    #[arg(long, value_name = "ROOM", value_delimiter = ',')]
    pub(crate) stdout: Vec<String>,

    /// How messages are printed: text; rooms, /ROOM, a tab, and the text; or
    /// ndjson
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    #[arg(hide_possible_values = true)]
    pub(crate) stdout_format: Format,
}

impl Options {
    /// The addresses to listen on.
    pub(crate) fn listen(&self) -> Result<Vec<Address>, String> {
        if let Some(port) = self.port {
            return Ok(vec![Address::Tcp("127.0.0.1".to_owned(), port)]);
        }
        let texts = trimmed(&self.listen).into_iter();
        texts.map(|text| address("listen", &text)).collect()
    }

    /// The file of tokens, if there is one.
    pub(crate) fn tokens(&self) -> Result<Option<Tokens>, String> {
        self.guards.tokens.as_deref().map(Tokens::open).transpose()
    }

    /// The key of signed tokens, if there is one.
    #[cfg(feature = "jwt")]
    pub(crate) fn jwt_key(&self) -> Result<Option<Key>, String> {
        let audience = self.guards.jwt_audience.as_deref();
        let open = |path: &PathBuf| Key::open(path, audience);
        self.guards.jwt_key.as_ref().map(open).transpose()
    }

    pub(crate) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.tls_cert.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(crate) fn has_page(&self) -> bool {
        !self.doors.no_page
    }

    pub(crate) fn unix_mode(&self) -> Option<u32> {
        self.unix_mode.map(|mode| mode.0)
    }

    /// The log level, where an option sets one; else it is RUST_LOG's.
    pub(crate) fn log_level(&self) -> LogLevel {
        match (self.quiet, self.verbose) {
            (true, _) => LogLevel::Warn,
            (false, 0) => self.log_level,
            (false, 1) => LogLevel::Debug,
            (false, _) => LogLevel::Trace,
        }
    }

    /// The settings that these options describe.
    pub(crate) fn config(&self) -> Result<Config, String> {
        let mut config = Config::default();
        config.echo = !self.no_echo;
        config.append_newline = self.append_newline;
        self.messages.apply(&mut config)?;
        self.slow_clients.apply(&mut config);
        self.memory.apply(&mut config);
        #[cfg(feature = "redis")]
        self.nodes.apply(&mut config)?;
        self.connections.apply(&mut config);
        self.tls.apply(&mut config)?;
        self.guards.apply(&mut config)?;
        self.doors.apply(&mut config)?;
        Ok(config)
    }
}

impl Messages {
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        config.max_message_size = self.max_message_size.0;
        config.max_fragments = self.max_fragments;
        #[cfg(feature = "deflate")]
        {
            config.deflate = self.deflate;
            config.deflate_threshold = self.deflate_threshold.0;
            config.deflate_level = self.deflate_level;
        }
        config.message_timeout = self.message_timeout.0;
        config.max_message_rate = self.max_message_rate;
        let rate = self.max_byte_rate.0;
        config.max_byte_rate = u32::try_from(rate)
            .map_err(|_| format!("max-byte-rate must be less than 4GiB, not {rate}"))?;
        Ok(())
    }
}

impl SlowClients {
    fn apply(&self, config: &mut Config) {
        config.queue_messages = self.queue_messages;
        config.queue_bytes = self.queue_bytes.0;
        config.queue_total = self.queue_total.0;
        config.unsent_bytes = self.unsent_bytes.0;
        config.slow_consumer = self.slow_consumer.into();
        config.write_timeout = self.write_timeout.0;
    }
}

impl Memory {
    fn apply(&self, config: &mut Config) {
        config.history = self.history;
        config.history_bytes = self.history_bytes.0;
        config.history_age = self.history_age.0;
        config.history_total = self.history_total.0;
        config.replay = self.replay;
        config.presence = self.presence;
        config.presence_grace = self.presence_grace.0;
        config.room = self.room.iter().map(|room| room.0.clone()).collect();
    }
}

#[cfg(feature = "redis")]
impl Nodes {
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        config.engine = self.engine.as_deref().map(token::bare);
        let file = self.engine_password_file.as_deref();
        let password = file.map(|path| token::of_file("engine-password-file", path));
        config.engine_password = password.transpose()?;
        config.engine_ca.clone_from(&self.engine_ca);
        config.engine_cert.clone_from(&self.engine_cert);
        config.engine_key.clone_from(&self.engine_key);
        config.engine_required = self.engine_required;
        config.engine_prefix.clone_from(&self.engine_prefix);
        config.engine_spool = self.engine_spool.0;
        config.engine_patience = self.engine_patience.0;
        config.engine_retain = self.engine_retain.0;
        config.engine_retain_age = self.engine_retain_age.0;
        config.engine_tail = self.engine_tail.0;
        config.node_name = self.node_name.clone().unwrap_or_default();
        config.node_timeout = self.node_timeout.0;
        Ok(())
    }
}

impl Connections {
    fn apply(&self, config: &mut Config) {
        config.max_clients = self.max_clients;
        config.max_clients_per_ip = self.max_clients_per_ip;
        config.max_handshakes = self.max_handshakes;
        config.handshake_timeout = self.handshake_timeout.0;
        config.ping_interval = self.ping_interval.0;
        config.pong_timeout = self.pong_timeout.0;
        config.close_timeout = self.close_timeout.0;
        config.shutdown_timeout = self.shutdown_timeout.0;
        config.drain = self.drain.0;
        config.max_age = self.max_age.0;
        config.read_buffer = self.read_buffer.0;
        config.stack_size = self.stack_size.0;
        config.fan_out_threads = self.fan_out_threads;
    }
}

impl Security {
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        config.plain_listen.clone_from(&self.plain_listen);
        let Some(certificate) = &self.tls_cert else {
            let lone = [
                ("tls-key", &self.tls_key),
                ("tls-client-ca", &self.tls_client_ca),
            ];
            return match lone.into_iter().find(|(_, path)| path.is_some()) {
                Some((name, _)) => Err(format!("{name} needs tls-cert, the certificate's file")),
                None => Ok(()),
            };
        };
        let Some(key) = &self.tls_key else {
            return Err(format!(
                "tls-cert {certificate:?} needs tls-key, its private key's file, \
                 which may be the same"
            ));
        };
        self.set_tls(config, certificate, key)
    }

    #[cfg(feature = "tls")]
    fn set_tls(&self, config: &mut Config, certificate: &Path, key: &Path) -> Result<(), String> {
        let tls = Tls::from_pem_files(certificate, key).min_version(self.tls_min.into());
        config.tls = Some(match &self.tls_client_ca {
            Some(authorities) => tls.client_ca(authorities),
            None => tls,
        });
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn set_tls(&self, _: &mut Config, certificate: &Path, _: &Path) -> Result<(), String> {
        Err(format!(
            "tls-cert {certificate:?} is of no use: this program was built without the feature tls"
        ))
    }
}

impl Guards {
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        config.allow_origin = trimmed(&self.allow_origin);
        config.trust_proxy = trimmed(&self.trust_proxy);
        config.proxy_protocol = self.proxy_protocol;
        config.subprotocol = trimmed(&self.subprotocol);
        config.ignore_writes = self.ignore_writes;
        config.token_cookie = self.token_cookie.clone();
        config.token = match (&self.token_file, &self.token) {
            (Some(path), _) => Some(token::of_file("token-file", path)?),
            (None, Some(text)) => Some(token::bare(text)),
            (None, None) => None,
        };
        Ok(())
    }
}

impl Doors {
    fn apply(&self, config: &mut Config) -> Result<(), String> {
        config.allow_publish = self.allow_publish;
        let token: Option<Secret> = self.publish_token.as_deref().map(token::bare);
        config.publish_token = token;
        #[cfg(feature = "pages")]
        config.pages.clone_from(&self.pages);
        config.page = !self.no_page;
        config.admin = !self.no_admin;
        config.admin_token = self.admin_token.as_deref().map(token::bare);
        let listen = self.admin_listen.as_deref();
        config.admin_listen = listen
            .map(|text| match address("admin-listen", text)? {
                Address::Tcp(host, port) if host.is_empty() => Ok(format!("0.0.0.0:{port}")),
                Address::Unix(_) => Err(format!("admin-listen {text:?} must be HOST:PORT")),
                tcp => Ok(tcp.to_string()),
            })
            .transpose()?;
        let stdout = self.stdout.iter().map(|room| ("stdout", room));
        for (option, room) in self.stdin.iter().map(|room| ("stdin", room)).chain(stdout) {
            hubcast::check_room(room).map_err(|error| format!("{option}: {error}"))?;
        }
        Ok(())
    }
}

/// An address as the option has it.
fn address(option: &str, text: &str) -> Result<Address, String> {
    let parsed = text.parse::<Address>();
    parsed.map_err(|why| format!("{option} {text:?}: {why}"))
}

/// The entries of a list, without the blanks that people write behind a comma.
fn trimmed(entries: &[String]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| entry.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, CommandFactory};
    use hubcast::SlowConsumer;
    use std::time::Duration;

    fn parse(args: &[&str]) -> Options {
        Options::try_parse_from([&["hubcast"], args].concat()).unwrap()
    }

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn without_options_everything_is_at_its_default() {
        let said = format!("{:?}", parse(&[]).config().unwrap());
        assert_eq!(said, format!("{:?}", Config::default()));
    }

    #[test]
    fn sizes_and_durations_are_as_people_write_them() {
        let options = parse(&[
            "--max-message-size=64KiB",
            "--queue-bytes=1000",
            "--ping-interval=0",
            "--write-timeout=1m 30s",
            "--slow-consumer=drop-oldest",
            "--allow-origin=https://a.example, https://b.example",
        ]);
        let config = options.config().unwrap();
        assert_eq!(config.max_message_size, 64 * 1024);
        assert_eq!(config.queue_bytes, 1000);
        assert_eq!(config.ping_interval, Duration::ZERO);
        assert_eq!(config.write_timeout, Duration::from_secs(90));
        assert_eq!(config.slow_consumer, SlowConsumer::DropOldest);
        assert_eq!(
            config.allow_origin,
            ["https://a.example", "https://b.example"]
        );
    }

    #[test]
    fn a_value_that_cannot_be_parsed_is_refused_by_name() {
        for bad in [
            "--queue-bytes=much",
            "--ping-interval=20",
            "--slow-consumer=wait",
            "--log-level=loud",
        ] {
            let error = Options::try_parse_from(["hubcast", bad]).unwrap_err();
            let (option, value) = bad.split_once('=').unwrap();
            let text = error.to_string();
            assert!(text.contains(option) && text.contains(value), "{text}");
        }
        for (bad, named) in [
            (
                "--stdin=/-/x",
                "stdin: no client can name the room \"/-/x\"",
            ),
            ("--stdin=", "stdin: no client can name the room \"\""),
            (
                "--stdout=a\tb",
                "stdout: no client can name the room \"a\\tb\"",
            ),
        ] {
            let error = parse(&[bad]).config().unwrap_err();
            assert!(error.starts_with(named), "{error}");
        }
        for (text, example) in [
            ("::1:9000", "[::1]:8080"),
            ("localhost", "127.0.0.1:8080"),
            ("", "127.0.0.1:8080"),
        ] {
            let error = parse(&["--listen", text]).listen().unwrap_err();
            assert!(
                error.contains(example) && error.contains("listen"),
                "{error}"
            );
            let error = parse(&["--admin-listen", text]).config().unwrap_err();
            assert!(error.starts_with("admin-listen "), "{error}");
        }
        let error = parse(&["--max-byte-rate=4GiB"]).config().unwrap_err();
        assert_eq!(
            error,
            "max-byte-rate must be less than 4GiB, not 4294967296"
        );
    }

    #[test]
    fn the_words_of_other_servers_work_and_are_not_listed() {
        let said = |args: &[&str]| format!("{:?}", parse(args).config().unwrap());
        for (theirs, ours) in [
            ("--queue-len=7", "--queue-messages=7"),
            ("--max-queue=7", "--queue-messages=7"),
            ("--queue-max-size=7", "--queue-bytes=7"),
            ("--max-pending=7", "--queue-bytes=7"),
            ("--slow-consumer=evict", "--slow-consumer=disconnect"),
            ("--ping-timeout=7s", "--pong-timeout=7s"),
            ("--max-connections=7", "--max-clients=7"),
            ("--max-connections-per-ip=7", "--max-clients-per-ip=7"),
            ("--origin=*", "--allow-origin=*"),
            ("--allowed-origins=*", "--allow-origin=*"),
            ("--cors-origin=*", "--allow-origin=*"),
            ("--read-buffer-size=7KiB", "--read-buffer=7KiB"),
            ("--metrics-listen=a:7", "--admin-listen=a:7"),
        ] {
            assert_eq!(said(&[theirs]), said(&[ours]));
            let help = Options::command().render_long_help().to_string();
            let (theirs, _) = theirs.split_once('=').unwrap();
            assert!(theirs == "--slow-consumer" || !help.contains(&format!("{theirs} ")));
        }
        for args in [&["--bind=a:7"], &["--address=a:7"], &["-la:7"]] {
            assert_eq!(parse(args).listen().unwrap()[0].to_string(), "a:7");
        }
        for args in [&["--port=7"], &["-p7"]] {
            assert_eq!(parse(args).listen().unwrap()[0].to_string(), "127.0.0.1:7");
        }
        assert!(parse(&["-E", "--stdin=/"]).doors.exit_on_eof);
    }

    #[test]
    fn the_last_word_on_the_log_level_counts() {
        for (args, level) in [
            (&[][..], "Info"),
            (&["--log-level=off"], "Off"),
            (&["-q"], "Warn"),
            (&["-v"], "Debug"),
            (&["-vv"], "Trace"),
            (&["-v", "-q"], "Warn"),
            (&["-q", "-v"], "Debug"),
            (&["-q", "--log-level=error"], "Error"),
        ] {
            assert_eq!(format!("{:?}", parse(args).log_level()), level, "{args:?}");
        }
    }

    #[test]
    fn the_version_names_every_feature() {
        let manifest = include_str!("../../../Cargo.toml");
        let (_, features) = manifest.split_once("[features]").unwrap();
        let (features, _) = features.split_once("\n[").unwrap();
        let lines = features.lines().filter(|line| !line.starts_with('#'));
        let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0));
        let names: Vec<&str> = names.filter(|name| *name != "default").collect();
        assert_eq!(names, FEATURES.map(|(name, _)| name));
        assert!(VERSION.ends_with(" (features: cli)") || FEATURES.len() > 1);
    }

    /// How the guide's table lists an option: its name, value and letter; its
    /// heading; its default.
    type Row = (String, Option<String>, String);

    fn row_of(arg: &Arg) -> Row {
        let mut name = format!("`--{}", arg.get_long().unwrap());
        for value in arg.get_value_names().unwrap_or_default() {
            if arg.get_action().takes_values() {
                name.push_str(&format!(" {value}"));
            }
        }
        name.push('`');
        if let Some(letter) = arg.get_short() {
            name.push_str(&format!(", `-{letter}`"));
        }
        let heading = arg.get_help_heading().map(str::to_owned);
        let default = match arg.get_default_values() {
            _ if !arg.get_action().takes_values() => "off".to_owned(),
            [default] => format!("`{}`", default.to_str().unwrap()),
            _ => String::new(),
        };
        (name, heading, default)
    }

    /// The options in the tables of a text.
    fn rows_in(text: &str) -> Vec<Row> {
        let mut heading = None;
        let mut listed = Vec::new();
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", name, default, meaning, ""] = cells[..] else {
                continue;
            };
            if let Some(title) = name.strip_prefix("**") {
                heading = title.strip_suffix("**").map(str::to_owned);
            } else if name.starts_with("`--") {
                // Behind a comma stands what the default means.
                let (value, _) = default.split_once(',').unwrap_or((default, ""));
                let has_value = value == "off" || value.starts_with('`');
                let value = if has_value { value } else { "" };
                assert!(!default.is_empty() && !meaning.is_empty(), "{name}");
                listed.push((name.to_owned(), heading.clone(), value.to_owned()));
            }
        }
        listed
    }

    #[test]
    fn the_guide_lists_the_options_that_there_are_and_their_defaults() {
        let command = Options::command();
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let options: Vec<Row> = shown.map(row_of).collect();
        let listed = rows_in(include_str!("../../guide/options.md"));
        assert_eq!(listed, options);
        let short = rows_in(include_str!("../../../README.md"));
        assert!(!short.is_empty());
        for (name, _, default) in short {
            let mut same = listed.iter().filter(|row| row.0 == name);
            assert!(same.any(|row| row.2 == default), "{name}, {default}");
        }
    }
}
