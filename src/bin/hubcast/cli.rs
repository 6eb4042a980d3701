//! The options of the program, and what they say in a [`Config`].

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Parser, ValueEnum};
use hubcast::{Config, Secret, SlowConsumer};

/// A WebSocket broadcast server: what one client of a room sends, every
/// client of that room receives. The path of the URL names the room.
///
/// Sizes are written 512, 64KiB or 1MiB, durations 500ms, 20s or 2m. The
/// log goes to standard error; RUST_LOG steers it (RUST_LOG=hubcast=debug).
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Options {
    /// The address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "HUBCAST_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) listen: String,

    /// A client does not receive its own messages
    #[arg(long, env = "HUBCAST_NO_ECHO", value_parser = FalseyValueParser::new())]
    no_echo: bool,

    /// Append a newline to every text message delivered
    #[arg(long, env = "HUBCAST_APPEND_NEWLINE", value_parser = FalseyValueParser::new())]
    append_newline: bool,

    /// The largest message a client may send; a larger one ends with 1009
    #[arg(long, env = "HUBCAST_MAX_MESSAGE_SIZE", value_name = "SIZE", default_value_t = Size(defaults().max_message_size))]
    max_message_size: Size,

    /// The most fragments a message may come in
    #[arg(long, env = "HUBCAST_MAX_FRAGMENTS", value_name = "N", default_value_t = defaults().max_fragments)]
    max_fragments: usize,

    /// The most messages that may wait for one client
    #[arg(long, env = "HUBCAST_QUEUE_MESSAGES", value_name = "N", default_value_t = defaults().queue_messages)]
    queue_messages: usize,

    /// The most bytes that may wait for one client
    #[arg(long, env = "HUBCAST_QUEUE_BYTES", value_name = "SIZE", default_value_t = Size(defaults().queue_bytes))]
    queue_bytes: Size,

    /// The most bytes that may wait for all clients together
    #[arg(long, env = "HUBCAST_QUEUE_TOTAL", value_name = "SIZE", default_value_t = Size(defaults().queue_total))]
    queue_total: Size,

    /// What is done about a client for which too much waits
    #[arg(
        long,
        env = "HUBCAST_SLOW_CONSUMER",
        value_name = "POLICY",
        default_value = "disconnect"
    )]
    slow_consumer: Policy,

    /// The deadline of the whole opening handshake
    #[arg(long, env = "HUBCAST_HANDSHAKE_TIMEOUT", value_name = "TIME", default_value_t = Span(defaults().handshake_timeout))]
    handshake_timeout: Span,

    /// The most connections in their opening handshake at once
    #[arg(long, env = "HUBCAST_MAX_HANDSHAKES", value_name = "N", default_value_t = defaults().max_handshakes)]
    max_handshakes: usize,

    /// The most connections at once; 0: as many as the system's limits allow
    #[arg(long, env = "HUBCAST_MAX_CLIENTS", value_name = "N", default_value_t = defaults().max_clients)]
    max_clients: usize,

    /// The most connections from one IP address; 0: no limit
    #[arg(long, env = "HUBCAST_MAX_CLIENTS_PER_IP", value_name = "N", default_value_t = defaults().max_clients_per_ip)]
    max_clients_per_ip: usize,

    /// The most messages per second of one client, which is read more slowly
    /// when it sends more; 0: no limit
    #[arg(long, env = "HUBCAST_MAX_MESSAGE_RATE", value_name = "N", default_value_t = defaults().max_message_rate)]
    max_message_rate: u32,

    /// The most bytes per second of one client; 0: no limit
    #[arg(long, env = "HUBCAST_MAX_BYTE_RATE", value_name = "SIZE", default_value_t = Size(defaults().max_byte_rate as usize))]
    max_byte_rate: Size,

    /// After how long a silence a client gets a ping; 0: never
    #[arg(long, env = "HUBCAST_PING_INTERVAL", value_name = "TIME", default_value_t = Span(defaults().ping_interval))]
    ping_interval: Span,

    /// How long a client may stay silent after a ping
    #[arg(long, env = "HUBCAST_PONG_TIMEOUT", value_name = "TIME", default_value_t = Span(defaults().pong_timeout))]
    pong_timeout: Span,

    /// How long a message that was begun may take to be complete
    #[arg(long, env = "HUBCAST_MESSAGE_TIMEOUT", value_name = "TIME", default_value_t = Span(defaults().message_timeout))]
    message_timeout: Span,

    /// How long one frame may take to be written to a client
    #[arg(long, env = "HUBCAST_WRITE_TIMEOUT", value_name = "TIME", default_value_t = Span(defaults().write_timeout))]
    write_timeout: Span,

    /// How long the closing handshake may take
    #[arg(long, env = "HUBCAST_CLOSE_TIMEOUT", value_name = "TIME", default_value_t = Span(defaults().close_timeout))]
    close_timeout: Span,

    /// How long the shutdown may take
    #[arg(long, env = "HUBCAST_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value_t = Span(defaults().shutdown_timeout))]
    shutdown_timeout: Span,

    /// The read buffer of one client
    #[arg(long, env = "HUBCAST_READ_BUFFER", value_name = "SIZE", default_value_t = Size(defaults().read_buffer))]
    read_buffer: Size,

    /// The stack of each thread, in address space
    #[arg(long, env = "HUBCAST_STACK_SIZE", value_name = "SIZE", default_value_t = Size(defaults().stack_size))]
    stack_size: Size,

    /// Let in browsers from pages of this origin, scheme://host[:port], or
    /// from any with *; may be given several times
    #[arg(
        long,
        env = "HUBCAST_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    allow_origin: Vec<String>,

    /// Answer this subprotocol where a client offers it; may be given
    /// several times
    #[arg(
        long,
        env = "HUBCAST_SUBPROTOCOL",
        value_name = "NAME",
        value_delimiter = ','
    )]
    subprotocol: Vec<String>,

    /// The token that is needed to enter any room
    #[arg(long, env = "HUBCAST_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// A file whose first line is the token
    #[arg(
        long,
        env = "HUBCAST_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,

    /// Publish the body of a POST to a room there
    #[arg(long, env = "HUBCAST_ALLOW_PUBLISH", value_parser = FalseyValueParser::new())]
    allow_publish: bool,

    /// The token that is needed to publish over HTTP
    #[arg(
        long,
        env = "HUBCAST_PUBLISH_TOKEN",
        value_name = "TOKEN",
        requires = "allow_publish",
        hide_env_values = true
    )]
    publish_token: Option<String>,

    /// Give browsers no chat page
    #[arg(long, env = "HUBCAST_NO_PAGE", value_parser = FalseyValueParser::new())]
    no_page: bool,

    /// Answer nothing under /-/: health, metrics, clients and rooms
    #[arg(long, env = "HUBCAST_NO_ADMIN", value_parser = FalseyValueParser::new())]
    no_admin: bool,

    /// Answer /-/ on this address instead
    #[arg(long, env = "HUBCAST_ADMIN_LISTEN", value_name = "HOST:PORT")]
    admin_listen: Option<String>,

    /// Broadcast each line of standard input in this room
    #[arg(long, env = "HUBCAST_STDIN", value_name = "ROOM")]
    pub(crate) stdin: Option<String>,

    /// End the server in order when standard input ends
    #[arg(long, short = 'E', env = "HUBCAST_EXIT_ON_EOF", requires = "stdin", value_parser = FalseyValueParser::new())]
    pub(crate) exit_on_eof: bool,

    /// Print what this room receives, one message a line
    #[arg(long, env = "HUBCAST_STDOUT", value_name = "ROOM")]
    pub(crate) stdout: Option<String>,
}

fn defaults() -> Config {
    Config::default()
}

impl Options {
    /// The settings that these options say.
    pub(crate) fn config(&self) -> Result<Config, String> {
        let mut config = defaults();
        config.echo = !self.no_echo;
        config.append_newline = self.append_newline;
        config.max_message_size = self.max_message_size.0;
        config.max_fragments = self.max_fragments;
        config.queue_messages = self.queue_messages;
        config.queue_bytes = self.queue_bytes.0;
        config.queue_total = self.queue_total.0;
        config.slow_consumer = self.slow_consumer.into();
        config.handshake_timeout = self.handshake_timeout.0;
        config.max_handshakes = self.max_handshakes;
        config.max_clients = self.max_clients;
        config.max_clients_per_ip = self.max_clients_per_ip;
        config.max_message_rate = self.max_message_rate;
        config.max_byte_rate = u32::try_from(self.max_byte_rate.0)
            .map_err(|_| format!("max-byte-rate {} is 4GiB or more", self.max_byte_rate))?;
        config.ping_interval = self.ping_interval.0;
        config.pong_timeout = self.pong_timeout.0;
        config.message_timeout = self.message_timeout.0;
        config.write_timeout = self.write_timeout.0;
        config.close_timeout = self.close_timeout.0;
        config.shutdown_timeout = self.shutdown_timeout.0;
        config.read_buffer = self.read_buffer.0;
        config.stack_size = self.stack_size.0;
        config.allow_origin.clone_from(&self.allow_origin);
        config.subprotocol.clone_from(&self.subprotocol);
        config.token = self.token()?;
        config.allow_publish = self.allow_publish;
        config.publish_token = self.publish_token.clone().map(Secret::from);
        config.page = !self.no_page;
        config.admin = !self.no_admin;
        config.admin_listen.clone_from(&self.admin_listen);
        Ok(config)
    }

    /// The token itself, or the first line of its file.
    fn token(&self) -> Result<Option<Secret>, String> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone().map(Secret::from));
        };
        let text = fs::read_to_string(path)
            .map_err(|error| format!("token-file {}: {error}", path.display()))?;
        Ok(Some(text.lines().next().unwrap_or_default().into()))
    }
}

/// A size in bytes, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size(usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let bytes = parse_size::parse_size(text).map_err(|error| error.to_string())?;
        usize::try_from(bytes)
            .map(Size)
            .map_err(|_| "too large".to_owned())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "0"),
            n if n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}"),
        }
    }
}

/// A duration, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(Duration);

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Span, humantime::DurationError> {
        humantime::parse_duration(text).map(Span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    /// Discard what waits and close with 1008
    #[value(alias = "evict")]
    Disconnect,
    /// Drop the oldest message that waits
    DropOldest,
    /// Drop the new message
    DropNewest,
}

impl From<Policy> for SlowConsumer {
    fn from(policy: Policy) -> SlowConsumer {
        match policy {
            Policy::Disconnect => SlowConsumer::Disconnect,
            Policy::DropOldest => SlowConsumer::DropOldest,
            Policy::DropNewest => SlowConsumer::DropNewest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
    fn every_option_has_its_environment_variable() {
        for arg in Options::command().get_arguments() {
            let Some(long) = arg.get_long().filter(|l| !["help", "version"].contains(l)) else {
                continue;
            };
            let name = format!("HUBCAST_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(name.as_str()));
        }
    }

    #[test]
    fn sizes_and_durations_are_as_people_write_them() {
        let options = parse(&[
            "--max-message-size=64KiB",
            "--queue-bytes=1000",
            "--ping-interval=0",
            "--write-timeout=1m 30s",
            "--slow-consumer=drop-oldest",
            "--allow-origin=https://a.example,https://b.example",
        ]);
        let config = options.config().unwrap();
        assert_eq!(config.max_message_size, 64 * 1024);
        assert_eq!(config.queue_bytes, 1000);
        assert_eq!(config.ping_interval, Duration::ZERO);
        assert_eq!(config.write_timeout, Duration::from_secs(90));
        assert_eq!(config.slow_consumer, SlowConsumer::DropOldest);
        assert_eq!(config.allow_origin.len(), 2);
    }

    #[test]
    fn help_shows_no_secret_of_the_environment() {
        for arg in Options::command().get_arguments() {
            let is_secret = arg.get_id().as_str().ends_with("token");
            assert_eq!(arg.is_hide_env_values_set(), is_secret, "{}", arg.get_id());
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for bad in [
            "--queue-bytes=much",
            "--ping-interval=20",
            "--slow-consumer=wait",
        ] {
            let error = Options::try_parse_from(["hubcast", bad]).unwrap_err();
            let (option, value) = bad.split_once('=').unwrap();
            let text = error.to_string();
            assert!(text.contains(option) && text.contains(value), "{text}");
        }
    }
}
