//! `--explain`: what these options come to, before anybody connects.

use std::fmt::Write;

use hubcast::{Config, Error, Server, SlowConsumer};
use humantime::format_duration;

use crate::listen::Address;

const KIB: u128 = 1024;
const MIB: u128 = 1024 * KIB;
/// An idle client, in plain text and over TLS.
const IDLE: [u128; 2] = [15 * KIB, 20 * KIB];
/// How many commands the hub holds at most, and how much of messages each.
const COMMANDS: u128 = 1280;
const COMMAND: u128 = 64 * KIB;

/// The options, as the explanation needs them.
pub(crate) struct Given<'a> {
    pub(crate) config: &'a Config,
    pub(crate) addresses: &'a [Address],
    pub(crate) over_tls: bool,
    /// How many rooms are printed.
    pub(crate) prints: usize,
}

/// What the options come to.
///
/// # Errors
///
/// What would keep the server from starting, but for an address that is in use.
pub(crate) fn text(given: &Given<'_>) -> Result<String, Error> {
    let (clients, because) = limit(given)?;
    let mut out = format!("clients: at most {clients} ({because})\n\n");
    memory(&mut out, given, clients as u128);
    who_comes_in(&mut out, given);
    what_is_refused(&mut out, given.config);
    Ok(out)
}

/// How many clients there may be, and what sets that limit. The server is
/// bound for that, but to free ports.
fn limit(given: &Given<'_>) -> Result<(usize, String), Error> {
    let mut config = given.config.clone();
    for address in [&mut config.admin_listen, &mut config.plain_listen] {
        if let Some((host, _)) = address.as_deref().and_then(|text| text.rsplit_once(':')) {
            *address = Some(format!("{host}:0"));
        }
    }
    let mut listeners = given.addresses.iter().filter_map(|address| match address {
        Address::Tcp(host, _) => Some(Address::Tcp(host.clone(), 0)),
        Address::Unix(_) => None,
    });
    let server = Server::builder().config(config);
    let server = match listeners.next() {
        None => server.bind("127.0.0.1:0")?,
        Some(address) => {
            let mut bound = listeners
                .chain([address])
                .map(|address| address.bind(None))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten();
            let first = bound.next();
            let server = bound.fold(server, hubcast::ServerBuilder::also_listen);
            match first {
                Some(first) => server.from_listener(first)?,
                None => server.bind("127.0.0.1:0")?,
            }
        }
    };
    let (clients, because) = server.capacity();
    Ok((clients, because.to_owned()))
}

/// The bound of the guide's chapter on memory, line by line.
fn memory(out: &mut String, given: &Given<'_>, clients: u128) {
    let config = given.config;
    let message = config.max_message_size as u128;
    let buffer = config.read_buffer as u128;
    let own = clients * (config.queue_bytes as u128 + 2 * message);
    let shared = config.queue_total as u128 + clients * (64 * KIB + message);
    let mut rows = vec![
        ("the program", 4 * MIB, String::new()),
        (
            "reading",
            clients * (32 * KIB + buffer + 2 * message),
            format!(
                "{clients} × (32 KiB + read-buffer {} + 2 × max-message-size {})",
                size(buffer),
                size(message)
            ),
        ),
        (
            "queues",
            own.min(shared),
            match own <= shared {
                true => format!("{clients} × (queue-bytes + 2 × max-message-size)"),
                false => format!("queue-total + {clients} × (64 KiB + max-message-size)"),
            },
        ),
        (
            "the hub",
            COMMANDS * COMMAND.min(message + buffer) + 16 * message,
            format!(
                "{COMMANDS} × {} + 16 × max-message-size",
                size(COMMAND.min(message + buffer))
            ),
        ),
    ];
    if remembers(config) {
        let total = config.history_total as u128;
        rows.push((
            "history",
            total + total / 20 + clients * (64 * KIB + message),
            format!("history-total and 5 %, {clients} × (64 KiB + max-message-size)"),
        ));
    }
    if given.prints > 0 {
        rows.push((
            "--stdout",
            given.prints as u128 * (16 * MIB + message),
            format!("{} × (16 MiB + max-message-size)", given.prints),
        ));
    }
    #[cfg(feature = "redis")]
    if config.engine.is_some() {
        let held = config.engine_spool as u128 + config.engine_tail as u128;
        rows.push(("the engine", held, "engine-spool + engine-tail".to_owned()));
    }
    let _ = writeln!(
        out,
        "memory, if every client sends the largest messages and none reads:"
    );
    for (what, bytes, how) in &rows {
        let line = format!("  {what:<12} {:>10}  {how}", size(*bytes));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let sum = rows.iter().map(|(_, bytes, _)| bytes).sum();
    let _ = writeln!(out, "  {:<12} {:>10}", "at most", size(sum));
    let idle = IDLE[usize::from(given.over_tls)];
    let _ = writeln!(
        out,
        "  {:<12} {:>10}  4 MiB + {clients} × {}\n",
        "idle",
        size(4 * MIB + clients * idle),
        size(idle)
    );
}

fn remembers(config: &Config) -> bool {
    let rooms = config.room.iter();
    config.history > 0 || rooms.filter_map(|rule| rule.history).any(|count| count > 0)
}

/// Each door, and to whom it opens.
fn who_comes_in(out: &mut String, given: &Given<'_>) {
    let config = given.config;
    let s = if given.over_tls { "s" } else { "" };
    let _ = writeln!(out, "doors:");
    for address in given.addresses {
        let _ = writeln!(out, "  {address}: {}", reach(address));
    }
    let verified = config.token_verifier.is_some();
    let token = match (&config.token, verified) {
        (Some(_), false) => "who brings the token",
        (Some(_), true) => "who brings the token, or one with rights in the room",
        (None, true) => "who brings a token with rights in the room",
        (None, false) => "everybody",
    };
    let pages = match config.allow_origin.as_slice() {
        [] => "of pages, those of the same host".to_owned(),
        all => format!("of pages, those of the same host and of {}", all.join(", ")),
    };
    let post = match (config.allow_publish, &config.publish_token) {
        (false, _) => "nobody: --allow-publish is off".to_owned(),
        (true, Some(_)) => format!("who brings the publish token; {pages}"),
        (true, None) => format!("{token}; {pages}"),
    };
    let operators = match (config.admin, &config.admin_token, &config.admin_listen) {
        (false, ..) => "nobody: --no-admin".to_owned(),
        (_, None, None) => "this machine, but no proxy on it".to_owned(),
        (_, Some(_), None) => "this machine, and who brings the admin token".to_owned(),
        (_, None, Some(place)) => format!("who reaches {place}"),
        (_, Some(_), Some(place)) => format!("at {place}, who brings the admin token"),
    };
    let presence = match config.presence {
        true => format!("{token}; {pages}"),
        false => "nobody: --presence is off".to_owned(),
    };
    let page = match config.page {
        true => "everybody; the rooms ask for the token",
        false => "nobody: --no-page",
    };
    let health = match (config.admin, &config.admin_listen) {
        (false, _) => "nobody: --no-admin".to_owned(),
        (true, None) => "everybody".to_owned(),
        (true, Some(place)) => format!("who reaches {place}"),
    };
    #[cfg_attr(not(feature = "pages"), allow(unused_mut))]
    let mut rows = vec![
        (
            format!("ws{s}://, events, lines"),
            format!("{token}; {pages}"),
        ),
        ("POST, PUT".to_owned(), post),
        ("?presence".to_owned(), presence),
        ("the chat page".to_owned(), page.to_owned()),
        ("/-/healthz, /-/readyz".to_owned(), health),
        ("all else of /-/".to_owned(), operators),
    ];
    #[cfg(feature = "pages")]
    if let Some(folder) = &config.pages {
        let shown = format!("everybody, the files of {}", folder.display());
        rows.insert(3, ("GET of a file".to_owned(), shown));
    }
    for (door, whom) in rows {
        let _ = writeln!(out, "  {door:<23} {whom}");
    }
    out.push('\n');
}

fn reach(address: &Address) -> &'static str {
    match address {
        Address::Unix(_) => "who may write to this file",
        Address::Tcp(host, _) if host.is_empty() || host == "0.0.0.0" || host == "::" => {
            "every machine that reaches this one"
        }
        Address::Tcp(host, _) if host == "localhost" || host.starts_with("127.") => {
            "this machine alone"
        }
        Address::Tcp(host, _) if host == "::1" => "this machine alone",
        Address::Tcp(..) => "every machine that reaches this address",
    }
}

/// What a client may not do, and what happens then.
fn what_is_refused(out: &mut String, config: &Config) {
    let slow = match config.slow_consumer {
        SlowConsumer::DropOldest => "its oldest messages are dropped",
        SlowConsumer::DropNewest => "new messages are dropped",
        _ => "closed with 1008",
    };
    let mut rows = vec![
        (
            format!(
                "a message of more than {}",
                size(config.max_message_size as u128)
            ),
            "closed with 1009",
        ),
        (
            format!("more than {} fragments", config.max_fragments),
            "closed with 1008",
        ),
        (
            format!(
                "{} messages or {} that wait for a client",
                config.queue_messages,
                size(config.queue_bytes as u128)
            ),
            slow,
        ),
        (
            format!("{} that wait for all", size(config.queue_total as u128)),
            slow,
        ),
        (
            format!(
                "a handshake of more than {}",
                format_duration(config.handshake_timeout)
            ),
            "answered with 408",
        ),
        (
            format!(
                "a message that takes more than {}",
                format_duration(config.message_timeout)
            ),
            "closed with 1008",
        ),
        ("one client too many".to_owned(), "answered with 503"),
    ];
    if config.max_clients_per_ip > 0 {
        let clients = format!(
            "more than {} clients of one address",
            config.max_clients_per_ip
        );
        rows.push((clients, "answered with 503"));
    }
    for (rate, of) in [
        (config.max_message_rate, "messages"),
        (config.max_byte_rate, "bytes"),
    ] {
        if rate > 0 {
            rows.push((
                format!("more than {rate} {of} a second"),
                "read more slowly; of POST, answered with 429",
            ));
        }
    }
    if !config.max_age.is_zero() {
        rows.push((
            format!("an age of {}", format_duration(config.max_age)),
            "closed with 1001",
        ));
    }
    let _ = writeln!(out, "refused:");
    for (what, how) in rows {
        let _ = writeln!(out, "  {what}: {how}");
    }
}

/// A number of bytes for people.
fn size(bytes: u128) -> String {
    let units = [
        (MIB * KIB * KIB, "TiB"),
        (MIB * KIB, "GiB"),
        (MIB, "MiB"),
        (KIB, "KiB"),
    ];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        None => format!("{bytes} B"),
        Some((unit, name)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => {
            let tenths = (bytes * 10 + unit / 2) / unit;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (16 * MIB, "16 MiB"),
            (3 * MIB * KIB / 2, "1.5 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
