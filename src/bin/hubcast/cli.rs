//! The options of the binary, and the [`Config`] that they describe.

mod row;
mod table;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{ArgMatches, Command};
use hubcast::Config;
#[cfg(feature = "tls")]
use hubcast::Tls;

use crate::environment::Variable;
#[cfg(feature = "generate")]
use crate::generate::Artifact;
#[cfg(feature = "jwt")]
use crate::jwt::Key;
use crate::listen::Address;
use crate::token;
use crate::tokens::Tokens;
use crate::values::{Format, LogLevel, MinTls, Mode};
use row::Row;
use table::SECTIONS;

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

/// What the program is.
const ABOUT: &str = "A WebSocket broadcast server: what one client of a room sends, every client \
    of that room receives. The path of the URL names the room";

/// What `--help` says beyond that.
const MORE: &str = "\
`hubcast probe URL` checks a relay, or is its health check; see hubcast probe --help.

Sizes are written 512, 64KiB or 1MiB, times 500ms, 20s or 2m.

Each option is also an environment variable: --max-clients is HUBCAST_MAX_CLIENTS, and \
HUBCAST_NO_ECHO=1 is a switch that is on (0, false, no and off are off). An empty variable counts \
as unset; what stands on the command line comes first.

The log goes to standard error. RUST_LOG sets its level for single modules \
(RUST_LOG=hubcast=debug), where neither --log-level nor -q nor -v does.";

/// The options, for clap.
pub(crate) fn command() -> Command {
    let command = Command::new("hubcast")
        .version(VERSION.as_str())
        .about(ABOUT)
        .long_about(format!("{ABOUT}.\n\n{MORE}"))
        .max_term_width(100);
    SECTIONS.iter().fold(command, |command, section| {
        let args = section.rows.iter().map(Row::arg);
        command.args(args.map(|arg| arg.help_heading(section.heading)))
    })
}

/// What the options say. The table has which of them sets which field.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The settings; [`Options::config`] completes them.
    config: Config,
    listen: Vec<String>,
    port: Option<u16>,
    unix_mode: Option<Mode>,
    log_level: LogLevel,
    quiet: bool,
    verbose: u8,
    #[cfg(feature = "generate")]
    pub(crate) generate: Option<Artifact>,
    pub(crate) explain: bool,
    max_byte_rate: usize,
    #[cfg(feature = "redis")]
    engine_password_file: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_min: MinTls,
    tls_client_ca: Option<PathBuf>,
    token_file: Option<PathBuf>,
    tokens: Option<PathBuf>,
    #[cfg(feature = "jwt")]
    jwt_key: Option<PathBuf>,
    #[cfg(feature = "jwt")]
    jwt_audience: Option<String>,
    admin_listen: Option<String>,
    pub(crate) stdin: Option<String>,
    pub(crate) stdin_rooms: bool,
    pub(crate) exit_on_eof: bool,
    pub(crate) stdout: Vec<String>,
    pub(crate) stdout_format: Format,

    /// Whether one of the options above sets the log level.
    pub(crate) level_is_set: bool,
    /// Whether an option sets where to listen.
    pub(crate) listen_is_set: bool,
    /// The variables that set options.
    pub(crate) variables: Vec<Variable>,
}

impl Options {
    /// What clap has found.
    pub(crate) fn new(said: &ArgMatches) -> Options {
        let mut options = Options::default();
        for row in SECTIONS.iter().flat_map(|section| section.rows) {
            row.set(&mut options, said);
        }
        options
    }

    #[cfg(test)]
    pub(crate) fn parse_from(args: &[&str]) -> Result<Options, clap::Error> {
        let said = command().try_get_matches_from(args)?;
        Ok(Options::new(&said))
    }

    /// The addresses to listen on.
    pub(crate) fn listen(&self) -> Result<Vec<Address>, String> {
        if let Some(port) = self.port {
            return Ok(vec![Address::Tcp("127.0.0.1".to_owned(), port)]);
        }
        let texts = self.listen.iter();
        texts.map(|text| address("listen", text)).collect()
    }

    /// The file of tokens, if there is one.
    pub(crate) fn tokens(&self) -> Result<Option<Tokens>, String> {
        self.tokens.as_deref().map(Tokens::open).transpose()
    }

    /// The key of signed tokens, if there is one.
    #[cfg(feature = "jwt")]
    pub(crate) fn jwt_key(&self) -> Result<Option<Key>, String> {
        let audience = self.jwt_audience.as_deref();
        let open = |path: &PathBuf| Key::open(path, audience);
        self.jwt_key.as_ref().map(open).transpose()
    }

    pub(crate) fn has_tls(&self) -> bool {
        cfg!(feature = "tls") && self.tls_cert.is_some()
    }

    pub(crate) fn has_page(&self) -> bool {
        self.config.page
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
        let mut config = self.config.clone();
        let rate = self.max_byte_rate;
        config.max_byte_rate = u32::try_from(rate)
            .map_err(|_| format!("max-byte-rate must be less than 4GiB, not {rate}"))?;
        #[cfg(feature = "redis")]
        if let Some(path) = &self.engine_password_file {
            config.engine_password = Some(token::of_file("engine-password-file", path)?);
        }
        self.secure(&mut config)?;
        if let Some(path) = &self.token_file {
            config.token = Some(token::of_file("token-file", path)?);
        }
        config.admin_listen = self.admin_listen()?;
        let stdout = self.stdout.iter().map(|room| ("stdout", room));
        for (option, room) in self.stdin.iter().map(|room| ("stdin", room)).chain(stdout) {
            hubcast::check_room(room).map_err(|error| format!("{option}: {error}"))?;
        }
        Ok(config)
    }

    fn secure(&self, config: &mut Config) -> Result<(), String> {
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

    fn admin_listen(&self) -> Result<Option<String>, String> {
        let Some(text) = self.admin_listen.as_deref() else {
            return Ok(None);
        };
        match address("admin-listen", text)? {
            Address::Tcp(host, port) if host.is_empty() => Ok(Some(format!("0.0.0.0:{port}"))),
            Address::Unix(_) => Err(format!("admin-listen {text:?} must be HOST:PORT")),
            tcp => Ok(Some(tcp.to_string())),
        }
    }
}

/// An address as the option has it.
fn address(option: &str, text: &str) -> Result<Address, String> {
    let parsed = text.parse::<Address>();
    parsed.map_err(|why| format!("{option} {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;
    use hubcast::SlowConsumer;
    use std::time::Duration;

    fn parse(args: &[&str]) -> Options {
        Options::parse_from(&[&["hubcast"], args].concat()).unwrap()
    }

    #[test]
    fn the_options_are_consistent() {
        command().debug_assert();
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
            let error = Options::parse_from(&["hubcast", bad]).unwrap_err();
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
            let help = command().render_long_help().to_string();
            let (theirs, _) = theirs.split_once('=').unwrap();
            assert!(theirs == "--slow-consumer" || !help.contains(&format!("{theirs} ")));
        }
        for args in [&["--bind=a:7"], &["--address=a:7"], &["-la:7"]] {
            assert_eq!(parse(args).listen().unwrap()[0].to_string(), "a:7");
        }
        for args in [&["--port=7"], &["-p7"]] {
            assert_eq!(parse(args).listen().unwrap()[0].to_string(), "127.0.0.1:7");
        }
        assert!(parse(&["-E", "--stdin=/"]).exit_on_eof);
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
        let command = command();
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
