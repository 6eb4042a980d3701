//! The table of all options, in the order in which the help lists them.

use super::row::{Row, Sets, entries, file, number, off, on, secret, size, time};

/// Options under one heading.
pub(super) struct Section {
    pub(super) heading: Option<&'static str>,
    pub(super) rows: &'static [Row],
}

pub(super) static SECTIONS: &[Section] = &[
    Section {
        heading: None,
        rows: GENERAL,
    },
    Section {
        heading: Some("Messages"),
        rows: MESSAGES,
    },
    Section {
        heading: Some("Slow clients"),
        rows: SLOW_CLIENTS,
    },
    Section {
        heading: Some("History and presence"),
        rows: MEMORY,
    },
    #[cfg(feature = "redis")]
    Section {
        heading: Some("Several nodes"),
        rows: NODES,
    },
    Section {
        heading: Some("Connections"),
        rows: CONNECTIONS,
    },
    Section {
        heading: Some("TLS"),
        rows: TLS,
    },
    Section {
        heading: Some("Who may come in"),
        rows: GUARDS,
    },
    Section {
        heading: Some("Doors"),
        rows: DOORS,
    },
];

const GENERAL: &[Row] = &[
    entries("listen", "ADDRESS", |o| &mut o.listen)
        .default("127.0.0.1:8080")
        .help(
            "Where to listen: HOST:PORT, :PORT for all addresses, or unix:PATH; port 0 takes a \
             free one; may be given several times",
        )
        .with(|arg| arg.short('l').aliases(["bind", "address"])),
    Row::new("port", "PORT", Sets::Port(|o| &mut o.port))
        .help("Listen on this port of 127.0.0.1")
        .with(|arg| arg.short('p').conflicts_with("listen").hide(true)),
    Row::new("unix-mode", "MODE", Sets::Mode(|o| &mut o.unix_mode)).help(
        "The mode of a Unix socket that is listened on; write permission lets others connect",
    ),
    off("no-echo", |o| &mut o.config.echo).help("A client does not receive its own messages"),
    on("append-newline", |o| &mut o.config.append_newline)
        .help("Append a newline to every text message delivered"),
    Row::new("log-level", "LEVEL", Sets::LogLevel(|o| &mut o.log_level))
        .default("info")
        .help("What is logged: off, error, warn, info, debug or trace")
        .with(|arg| {
            arg.overrides_with_all(["quiet", "verbose"])
                .hide_possible_values(true)
        }),
    on("quiet", |o| &mut o.quiet)
        .help("Log warnings and errors only")
        .with(|arg| arg.short('q').overrides_with_all(["log-level", "verbose"])),
    Row::new("verbose", "", Sets::Times(|o| &mut o.verbose))
        .help("Log more: refused requests and why; -vv logs everything")
        .with(|arg| arg.short('v').overrides_with_all(["log-level", "quiet"])),
    #[cfg(feature = "generate")]
    Row::new("generate", "WHAT", Sets::Artifact(|o| &mut o.generate))
        .help(
            "Print a file, and end: man; completions for bash, zsh or fish; or for these \
             options nginx, caddy, systemd, compose, kubernetes, prometheus-rules or grafana",
        )
        .with(|arg| arg.hide_possible_values(true)),
    on("explain", |o| &mut o.explain).help(
        "Say what these options come to: how many clients, how much memory, who may come \
         in, and what is refused; and end",
    ),
];

const MESSAGES: &[Row] = &[
    size("max-message-size", "1MiB", |o| {
        &mut o.config.max_message_size
    })
    .help("The largest message a client may send; a larger one ends with 1009"),
    number("max-fragments", "32768", |o| &mut o.config.max_fragments)
        .help("The most fragments a message may come in"),
    #[cfg(feature = "deflate")]
    on("deflate", |o| &mut o.config.deflate)
        .help("Compress messages for clients that offer it (permessage-deflate)")
        .with(|arg| arg.aliases(["per-message-deflate", "permessage-deflate"])),
    #[cfg(feature = "deflate")]
    size("deflate-threshold", "256", |o| {
        &mut o.config.deflate_threshold
    })
    .help("The shortest message that is compressed"),
    #[cfg(feature = "deflate")]
    Row::new(
        "deflate-level",
        "N",
        Sets::DeflateLevel(|o| &mut o.config.deflate_level),
    )
    .default("1")
    .help("How hard to compress, 1 (fastest) to 9 (tightest)"),
    #[cfg(feature = "deflate")]
    on("deflate-rooms", |o| &mut o.config.deflate_rooms)
        .help(
            "An experiment: compress the short messages of a room together, each by what came \
             before it",
        )
        .with(|arg| arg.requires("deflate")),
    time("message-timeout", "30s", |o| &mut o.config.message_timeout)
        .help("How long a message that was begun may take to be complete"),
    Row::new(
        "max-message-rate",
        "N",
        Sets::Rate(|o| &mut o.config.max_message_rate),
    )
    .default("0")
    .help(
        "The most messages per second of one client, which is read more slowly when it \
         sends more; 0: no limit",
    )
    .with(|arg| arg.alias("max-rate")),
    size("max-byte-rate", "0", |o| &mut o.max_byte_rate)
        .help("The most bytes per second of one client; 0: no limit")
        .with(|arg| arg.alias("max-bytes-rate")),
];

const SLOW_CLIENTS: &[Row] = &[
    number("queue-messages", "8192", |o| &mut o.config.queue_messages)
        .help("The most messages that may wait for one client")
        .with(|arg| arg.aliases(["queue-len", "max-queue", "outbox-messages"])),
    size("queue-bytes", "1MiB", |o| &mut o.config.queue_bytes)
        .help("The most bytes that may wait for one client")
        .with(|arg| arg.aliases(["queue-max-size", "max-pending", "outbox-bytes"])),
    size("queue-total", "256MiB", |o| &mut o.config.queue_total)
        .help("The most bytes that may wait for all clients together")
        .with(|arg| arg.alias("max-backlog-total")),
    size("unsent-bytes", "128KiB", |o| &mut o.config.unsent_bytes).help(
        "The most bytes that the system keeps for one client beyond those that are on \
         their way to it; 0: as it likes",
    ),
    Row::new(
        "slow-consumer",
        "POLICY",
        Sets::Policy(|o| &mut o.config.slow_consumer),
    )
    .default("disconnect")
    .help("What is done about a client for which too much waits"),
    time("write-timeout", "10s", |o| &mut o.config.write_timeout)
        .help("How long one frame may take to be written to a client"),
];

const MEMORY: &[Row] = &[
    number("history", "0", |o| &mut o.config.history).help(
        "How many of its newest messages a room remembers for clients that come back, or \
         come later; 0: none",
    ),
    size("history-bytes", "256KiB", |o| &mut o.config.history_bytes)
        .help("The most memory of what one room remembers"),
    time("history-age", "1h", |o| &mut o.config.history_age)
        .help("How old a message may be that a room remembers"),
    size("history-total", "64MiB", |o| &mut o.config.history_total)
        .help("The most memory of what all rooms remember together"),
    number("replay", "0", |o| &mut o.config.replay).help(
        "How many of the newest messages a client gets first that does not say where it \
         was; 1 makes a room show its last value",
    ),
    on("presence", |o| &mut o.config.presence).help(
        "Show who is in a room, under ?presence, to whoever may enter it; clients give \
         their names as ?name=",
    ),
    time("presence-grace", "2s", |o| &mut o.config.presence_grace)
        .help("How long a client may be away and come back unnoticed; 0: not at all"),
    Row::new("room", "RULE", Sets::Rules(|o| &mut o.config.room)).help(
        "Other settings for some rooms, as in '/price/* history=1 replay=1'; may be given \
         several times",
    ),
];

#[cfg(feature = "redis")]
const NODES: &[Row] = &[
    Row::new("engine", "URL", Sets::Secret(|o| &mut o.config.engine)).help(
        "Redis or Valkey, where the log of several nodes is, which makes them one server: \
         redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DATABASE], rediss:// over TLS, or \
         redis+unix:PATH",
    ),
    file("engine-password-file", |o| &mut o.engine_password_file)
        .help("A file whose first line is the engine's password"),
    file("engine-ca", |o| &mut o.config.engine_ca).help(
        "The authorities that may have signed the certificate of an engine over TLS, in \
         PEM; those of the system if none is given",
    ),
    file("engine-cert", |o| &mut o.config.engine_cert)
        .help("The certificate that this node shows to an engine over TLS, in PEM"),
    file("engine-key", |o| &mut o.config.engine_key)
        .help("The private key of that certificate, in PEM"),
    on("engine-required", |o| &mut o.config.engine_required)
        .help("Do not start if the engine is not reached within 10 s"),
    Row::new(
        "engine-prefix",
        "NAME",
        Sets::Name(|o| &mut o.config.engine_prefix),
    )
    .default("hubcast")
    .help(
        "What the names of the engine's keys begin with; nodes with the same prefix are \
         one server",
    ),
    size("engine-spool", "16MiB", |o| &mut o.config.engine_spool)
        .help("The most that waits for the engine"),
    time("engine-patience", "5s", |o| &mut o.config.engine_patience)
        .help("How long a publisher waits while that much waits"),
    size("engine-retain", "64MiB", |o| &mut o.config.engine_retain)
        .help("How much of the log the engine keeps"),
    time("engine-retain-age", "10m", |o| {
        &mut o.config.engine_retain_age
    })
    .help("How old messages may be that the engine keeps"),
    size("engine-tail", "32MiB", |o| &mut o.config.engine_tail)
        .help("How much of the end of the log this node keeps in memory"),
    Row::new("node-name", "NAME", Sets::Name(|o| &mut o.config.node_name))
        .help("What people call this node; its id if none is given"),
    time("node-timeout", "10s", |o| &mut o.config.node_timeout)
        .help("After how long a silence another node counts as gone"),
];

const CONNECTIONS: &[Row] = &[
    number("max-clients", "0", |o| &mut o.config.max_clients)
        .help("The most clients at once; 0: as many as the system's limits allow")
        .with(|arg| arg.alias("max-connections")),
    number("max-clients-per-ip", "0", |o| {
        &mut o.config.max_clients_per_ip
    })
    .help("The most clients from one IP address, or IPv6 network of 64 bits; 0: no limit")
    .with(|arg| arg.alias("max-connections-per-ip")),
    number("max-handshakes", "1024", |o| &mut o.config.max_handshakes).help(
        "The most connections in their opening handshake at once; of more, the oldest are \
         closed",
    ),
    time("handshake-timeout", "10s", |o| {
        &mut o.config.handshake_timeout
    })
    .help("The deadline of the whole opening handshake"),
    time("ping-interval", "20s", |o| &mut o.config.ping_interval)
        .help("After how long a silence a client gets a ping; 0: never"),
    time("pong-timeout", "20s", |o| &mut o.config.pong_timeout)
        .help("How long a client may stay silent after a ping")
        .with(|arg| arg.alias("ping-timeout")),
    time("close-timeout", "5s", |o| &mut o.config.close_timeout)
        .help("How long the closing handshake may take"),
    time("shutdown-timeout", "5s", |o| &mut o.config.shutdown_timeout)
        .help("How long the shutdown may take"),
    time("drain", "0", |o| &mut o.config.drain).help(
        "Over how long a stop closes the clients one after the other; for the first \
         quarter of it the server is not ready and goes on; 0: all at once",
    ),
    time("max-age", "0", |o| &mut o.config.max_age)
        .help(
            "After how long a client is closed to come back, so that clients spread over new \
             servers; 0: never",
        )
        .with(|arg| arg.alias("max-connection-age")),
    size("read-buffer", "4KiB", |o| &mut o.config.read_buffer)
        .help("The read buffer of one client")
        .with(|arg| arg.alias("read-buffer-size")),
    size("stack-size", "256KiB", |o| &mut o.config.stack_size)
        .help("The stack of each thread, in address space"),
    number("fan-out-threads", "0", |o| &mut o.config.fan_out_threads).help(
        "The threads that send to a large room, the hub's own among them; 0: one for each \
         core, at most nine",
    ),
];

const TLS: &[Row] = &[
    file("tls-cert", |o| &mut o.tls_cert)
        .help(
            "Speak TLS, wss:// and https://, with the certificate in this file (PEM): the \
             server's own first, then its chain; read again when it changes",
        )
        .with(|arg| arg.aliases(["cert", "cert-file", "tls-certificate"])),
    file("tls-key", |o| &mut o.tls_key)
        .help("The certificate's private key (PEM), not encrypted")
        .with(|arg| arg.aliases(["key", "key-file"])),
    Row::new("tls-min", "VERSION", Sets::MinTls(|o| &mut o.tls_min))
        .default("1.2")
        .help("The oldest version of TLS that is spoken: 1.2 or 1.3")
        .with(|arg| arg.hide_possible_values(true)),
    file("tls-client-ca", |o| &mut o.tls_client_ca).help(
        "Let in only clients with a certificate of one of the authorities in this file (PEM)",
    ),
    Row::new(
        "plain-listen",
        "HOST:PORT",
        Sets::Text(|o| &mut o.config.plain_listen),
    )
    .help("Listen without TLS on this address as well"),
];

const GUARDS: &[Row] = &[
    entries("allow-origin", "ORIGIN", |o| &mut o.config.allow_origin)
        .help(
            "Let in browsers from pages of this origin, scheme://host[:port]; a host \
             *.example.com stands for one more label, and * for any origin; may be given \
             several times",
        )
        .with(|arg| {
            arg.aliases([
                "origin",
                "allowed-origin",
                "allowed-origins",
                "cors-origin",
                "cors-origins",
            ])
        }),
    entries("trust-proxy", "NETWORK", |o| &mut o.config.trust_proxy).help(
        "Believe the proxies of this network, such as 10.0.0.0/8, when they say in \
         Forwarded or X-Forwarded-For whose request they pass on; unix: those that connect \
         by a Unix socket; may be given several times",
    ),
    on("proxy-protocol", |o| &mut o.config.proxy_protocol).help(
        "Every connection begins with a header of the PROXY protocol, version 1 or 2, \
         which names the client",
    ),
    secret("token", |o| &mut o.config.token).help(
        "The token that is needed to enter any room; who can list processes can read it, \
         which --token-file avoids",
    ),
    file("token-file", |o| &mut o.token_file)
        .help("A file whose first line is the token")
        .with(|arg| arg.conflicts_with("token")),
    file("tokens", |o| &mut o.tokens).help(
        "A file of tokens and what each allows, one a line, such as: TOKEN name=ann \
         read=/* write=/lobby admin expires=2027-01-31; it is read again when it changes",
    ),
    #[cfg(feature = "jwt")]
    file("jwt-key", |o| &mut o.jwt_key).help(
        "Take tokens that are signed with this key (JWT): a public key (PEM) of P-256 or \
         Ed25519, or a secret of at least 32 bytes",
    ),
    #[cfg(feature = "jwt")]
    Row::new("jwt-audience", "NAME", Sets::Text(|o| &mut o.jwt_audience))
        .help("Take those signed tokens alone that are for this audience")
        .with(|arg| arg.requires("jwt-key")),
    on("ignore-writes", |o| &mut o.config.ignore_writes).help(
        "Ignore what a client sends to a room that its token lets it only read, instead of \
         closing it with 1008",
    ),
    Row::new(
        "token-cookie",
        "NAME",
        Sets::Text(|o| &mut o.config.token_cookie),
    )
    .help(
        "The name of a cookie that may bring a token; other sites' pages are kept out by \
         --allow-origin then",
    )
    .with(|arg| arg.alias("cookie-name")),
    entries("subprotocol", "NAME", |o| &mut o.config.subprotocol)
        .help("Answer this subprotocol where a client offers it; may be given several times"),
];

const DOORS: &[Row] = &[
    on("allow-publish", |o| &mut o.config.allow_publish)
        .help("Publish the body of a POST to a room there")
        .with(|arg| arg.alias("publish")),
    secret("publish-token", |o| &mut o.config.publish_token)
        .help("The token that is needed to publish over HTTP")
        .with(|arg| arg.requires("allow-publish")),
    #[cfg(feature = "pages")]
    Row::new("pages", "FOLDER", Sets::File(|o| &mut o.config.pages))
        .help("Answer with the files of this folder; where there is none, with the chat page")
        .with(|arg| arg.aliases(["static", "staticdir"])),
    off("no-page", |o| &mut o.config.page).help("Give browsers no chat page"),
    off("no-admin", |o| &mut o.config.admin)
        .help("Answer nothing under /-/: health, metrics, clients and rooms"),
    secret("admin-token", |o| &mut o.config.admin_token).help(
        "The token that opens /-/ from anywhere; without it, only this machine and \
         --admin-listen are answered more than /-/healthz",
    ),
    Row::new(
        "admin-listen",
        "HOST:PORT",
        Sets::Text(|o| &mut o.admin_listen),
    )
    .help("Answer /-/ on this address instead")
    .with(|arg| arg.alias("metrics-listen")),
    Row::new("stdin", "ROOM", Sets::Text(|o| &mut o.stdin))
        .help("Broadcast each line of standard input in this room")
        .with(|arg| arg.group("input")),
    on("stdin-rooms", |o| &mut o.stdin_rooms)
        .help(
            "Broadcast each line of standard input in the room that it names: /ROOM, a tab, \
             and the text",
        )
        .with(|arg| arg.group("input")),
    on("exit-on-eof", |o| &mut o.exit_on_eof)
        .help("End the server in order when standard input ends")
        .with(|arg| arg.short('E').alias("stdin-exit").requires("input")),
    Row::new("stdout", "ROOM", Sets::Rooms(|o| &mut o.stdout)).help(
        "Print what this room receives, one message a line; 16 MiB may wait for a slow \
         reader, and a line says what it missed; may be given several times",
    ),
    Row::new(
        "stdout-format",
        "FORMAT",
        Sets::Format(|o| &mut o.stdout_format),
    )
    .default("text")
    .help("How messages are printed: text; rooms, /ROOM, a tab, and the text; or ndjson")
    .with(|arg| arg.hide_possible_values(true)),
];
