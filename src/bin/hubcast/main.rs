//! The binary: options, logger and signals around the library's server.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::SystemTime;

use env_logger::fmt::Formatter;
use env_logger::fmt::style::{AnsiColor, Style};
use hubcast::{Config, Error, ErrorKind, Listener, Server, ServerBuilder};
use log::{LevelFilter, Record};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::Options;
use crate::environment::{Ended, with_variables};
use crate::explain::Given;
use crate::listen::Address;
use crate::pipe::Printer;
use crate::tokens::Tokens;

mod background;
mod cli;
mod environment;
mod explain;
#[cfg(feature = "generate")]
mod generate;
mod json;
#[cfg(feature = "jwt")]
mod jwt;
mod listen;
mod pipe;
mod probe;
mod room;
mod signals;
mod systemd;
mod token;
mod tokens;
mod values;

/// The server could not run.
const CANNOT_RUN: u8 = 1;
/// The options are wrong.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    match probe::asked_for(&arguments) {
        None => {}
        Some(Err(ended)) => return end(&ended),
        Some(Ok(result)) => return tell(result),
    }
    let (options, warnings) = match environment::parse(arguments, env::vars_os()) {
        Ok(parsed) => parsed,
        Err(ended) => return end(&ended),
    };
    signals::leave_ignored();
    start_logger(&options);
    for warning in warnings {
        log::warn!("{warning}");
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, line)) => {
            let line = with_variables(&format!("hubcast: {line}"), &options.variables);
            let _ = print(io::stderr(), &line);
            ExitCode::from(code)
        }
    }
}

/// Prints help or an error. Where nobody can read it, the exit code says what
/// can still be said.
fn end(ended: &Ended) -> ExitCode {
    if ended.is_error {
        let _ = print(io::stderr(), &ended.text);
        return ExitCode::from(WRONG_USAGE);
    }
    match print(io::stdout(), &ended.text) {
        // The reader of the help, such as `head`, has seen enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(CANNOT_RUN),
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// Prints how a probe went.
fn tell(result: Result<String, String>) -> ExitCode {
    let printed = match &result {
        Ok(line) => print(io::stdout(), &format!("{line}\n")),
        Err(line) => print(io::stderr(), &format!("hubcast: {line}\n")),
    };
    match result.is_ok() && printed.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(CANNOT_RUN),
    }
}

fn print(mut output: impl Write, text: &str) -> io::Result<()> {
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Logs to standard error. What cannot be written there is lost, and no more.
fn start_logger(options: &Options) {
    let mut builder = env_logger::Builder::new();
    builder
        .format(write_line)
        .parse_write_style(&env::var(env_logger::DEFAULT_WRITE_STYLE_ENV).unwrap_or_default());
    let level = LevelFilter::from(options.log_level());
    let spec = env::var(env_logger::DEFAULT_FILTER_ENV).unwrap_or_default();
    // A wrong one is a line on standard error otherwise, and where that is
    // full, a panic.
    let checked = env_filter::Builder::new().try_parse(&spec).map(drop);
    match &checked {
        Ok(()) if !options.level_is_set && !spec.is_empty() => builder.parse_filters(&spec),
        _ => builder.filter_level(level),
    };
    builder.init();
    if let (false, Err(error)) = (options.level_is_set, checked) {
        log::warn!("RUST_LOG={spec:?} is ignored: {error}");
    }
}

/// Writes a line of the log as env_logger does, which for the time takes two
/// crates that nothing else needs.
fn write_line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let level = record.level();
    let style = out.default_level_style(level);
    let dim = match style == Style::new() {
        true => style,
        false => AnsiColor::BrightBlack.on_default(),
    };
    // Nothing that is logged can look like a line of its own.
    let text = record.args().to_string().replace('\n', "\n    ");
    writeln!(
        out,
        "{dim}[{dim:#}{time} {style}{level:<5}{style:#}{dim}]{dim:#} {text}"
    )
}

fn run(options: &Options) -> Result<(), (u8, String)> {
    raise_descriptor_limit();
    let mut config = options.config().map_err(|line| (WRONG_USAGE, line))?;
    let tokens = options.tokens().map_err(|line| (WRONG_USAGE, line))?;
    config.token_verifier = tokens.as_ref().map(Tokens::verifier);
    #[cfg(feature = "jwt")]
    if let Some(key) = options.jwt_key().map_err(|line| (WRONG_USAGE, line))? {
        config.token_verifier = Some(key.verifier(config.token_verifier.take()));
    }
    let addresses = options.listen().map_err(|line| (WRONG_USAGE, line))?;
    if options.explain {
        return explain(options, &config, &addresses);
    }
    let shutdown_timeout = config.shutdown_timeout;
    let max_message_size = config.max_message_size;
    let mut listeners = listeners(options, &addresses)?.into_iter();
    let first = listeners
        .next()
        .ok_or((CANNOT_RUN, "nothing to listen on".to_owned()))?;
    let server = Server::builder().config(config);
    let server = listeners.fold(server, ServerBuilder::also_listen);
    let server = server.from_listener(first).map_err(cannot_bind)?;
    let handle = server.handle();
    signals::stop_on_signals(handle.clone()).map_err(cannot_run)?;
    let mut printed = Vec::new();
    for room in &options.stdout {
        let subscription = handle.subscribe(room).map_err(cannot_run)?;
        let printer = Printer::new(room, options.stdout_format);
        printed.push(pipe::print_to_stdout(subscription, printer).map_err(cannot_run)?);
    }
    if options.stdin.is_some() || options.stdin_rooms {
        let exit = options.exit_on_eof;
        let (handle, room) = (handle.clone(), options.stdin.clone());
        pipe::broadcast_stdin(handle, room, max_message_size, exit).map_err(cannot_run)?;
    }
    greet(options, server.local_addr());
    let running = server.spawn().map_err(cannot_run)?;
    if let Some(tokens) = tokens {
        tokens.watch(handle.clone()).map_err(cannot_run)?;
    }
    systemd::ready(handle).map_err(cannot_run)?;
    running.wait().map_err(cannot_run)?;
    for printed in printed {
        // A reader of standard output that is slow delays the end no longer
        // than a slow client would.
        let _ = printed.recv_timeout(shutdown_timeout);
    }
    Ok(())
}

fn explain(options: &Options, config: &Config, addresses: &[Address]) -> Result<(), (u8, String)> {
    let given = Given {
        config,
        addresses,
        over_tls: options.has_tls(),
        prints: options.stdout.len(),
    };
    let text = explain::text(&given).map_err(cannot_bind)?;
    print(io::stdout(), &text).map_err(cannot_run)
}

/// What systemd passes, and what the options say; the default only where
/// systemd passes nothing.
fn listeners(options: &Options, addresses: &[Address]) -> Result<Vec<Listener>, (u8, String)> {
    let mut listeners = listen::passed().map_err(cannot_run)?;
    if listeners.is_empty() || options.listen_is_set {
        for address in addresses {
            listeners.extend(address.bind(options.unix_mode()).map_err(cannot_bind)?);
        }
    }
    Ok(listeners)
}

/// Says what to open, to whoever has started the program for the first time.
fn greet(options: &Options, address: SocketAddr) {
    let s = if options.has_tls() { "s" } else { "" };
    if address.port() == 0 {
        return; // there are Unix sockets only
    }
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    let room = format!("{}/lobby", SocketAddr::new(ip, address.port()));
    if options.has_page() {
        log::info!("open http{s}://{room} in two browser windows, or: websocat ws{s}://{room}");
    } else {
        log::info!("try: websocat ws{s}://{room}");
    }
    log::info!("all options: hubcast --help; the guide: src/guide, or man hubcast");
}

fn cannot_bind(error: Error) -> (u8, String) {
    match error.kind() {
        ErrorKind::Config => (WRONG_USAGE, error.to_string()),
        _ => cannot_run(error),
    }
}

fn cannot_run(error: impl Display) -> (u8, String) {
    (CANNOT_RUN, error.to_string())
}

/// Raises the soft limit on descriptors to the hard one, because each client
/// needs one, and nothing here depends on low numbers.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("the descriptor limit stays at {:?}: {error}", limit.current);
    }
}
