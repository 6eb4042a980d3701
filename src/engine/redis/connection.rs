//! A connection to the engine: commands and replies, each with a deadline.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::address::{Address, Place};
use super::resp::{Malformed, Parser, Reply, write_command};
use crate::net::{Outlet, Received, Stop, Stream, Upstream, Wake, poll_until};

/// How long the engine has for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of one reply.
const MAX_REPLY: usize = 64 * 1024 * 1024;
/// How much is read at once.
const READ: usize = 64 * 1024;
/// The oldest version that has what the scripts need.
const VERSION: (u32, u32) = (6, 2);

/// Why the engine did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It cannot be reached, or not in time, or is not ready.
    Away(String),
    /// It is reached, and will not do: somebody must change something.
    Denied(String),
    /// It has no memory left.
    Full(String),
    /// The reply is larger than what may come.
    TooLarge,
    /// The server is stopping.
    Stopping,
}

impl Fault {
    /// What an error that the engine answered means.
    fn of_reply(error: &str, command: &str) -> Fault {
        let name = error.split(' ').next().unwrap_or_default();
        let error = printable(error);
        match name {
            "OOM" => Fault::Full(format!("the engine has no memory left: {error}")),
            "NOAUTH" | "WRONGPASS" => Fault::Denied(format!(
                "the engine does not accept the password, or wants one: {error}"
            )),
            "NOPERM" => Fault::Denied(format!("the engine does not permit {command}: {error}")),
            "MOVED" | "ASK" | "CROSSSLOT" => Fault::Denied(format!(
                "the engine is a cluster, which is not supported; give it a single server: {error}"
            )),
            "ERR" if command == "AUTH" || command == "SELECT" => {
                Fault::Denied(format!("the engine refuses {command}: {error}"))
            }
            _ => Fault::Away(format!("the engine answers {command} with {error:?}")),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Fault::Away(text) | Fault::Denied(text) | Fault::Full(text) => text,
            Fault::TooLarge => "the engine's reply is larger than 64 MiB",
            Fault::Stopping => "the server is stopping",
        }
    }
}

/// What a text from the engine looks like in a log.
fn printable(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control()).take(200);
    shown.collect()
}

/// A connection, logged in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    tls: Option<Upstream>,
    parser: Parser,
    out: Vec<u8>,
    stop: Arc<Stop>,
    /// Who is at the other end; another one after each start.
    pub(super) run: String,
    /// Something about the engine that its operator should know.
    pub(super) remark: Option<String>,
}

impl Connection {
    /// Connects to the first server of the address that is a master.
    pub(super) fn open(address: &Address, stop: &Arc<Stop>) -> Result<Connection, Fault> {
        let mut first = None;
        for place in &address.places {
            match Connection::to(place, address, stop) {
                Ok(connection) => return Ok(connection),
                Err(Fault::Stopping) => return Err(Fault::Stopping),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or_else(|| Fault::Away("the engine has no address".to_owned())))
    }

    fn to(place: &Place, address: &Address, stop: &Arc<Stop>) -> Result<Connection, Fault> {
        let stream = connect(place).map_err(|error| {
            Fault::Away(format!("cannot connect to the engine at {place}: {error}"))
        })?;
        let tls = secure(&stream, place, address, stop)?;
        let mut connection = Connection {
            stream,
            tls,
            parser: Parser::new(MAX_REPLY),
            out: Vec::new(),
            stop: stop.clone(),
            run: String::new(),
            remark: None,
        };
        connection.log_in(address)?;
        connection.inspect(place)?;
        Ok(connection)
    }

    fn log_in(&mut self, address: &Address) -> Result<(), Fault> {
        if let Some(password) = &address.password {
            let (user, password) = (address.user.as_deref(), password.as_bytes());
            match user {
                Some(user) => self.call(&[b"AUTH", user.as_bytes(), password])?,
                None => self.call(&[b"AUTH", password])?,
            };
        }
        if address.database != 0 {
            self.call(&[b"SELECT", address.database.to_string().as_bytes()])?;
        }
        Ok(())
    }

    /// Learns who is at the other end, and whether it will do.
    fn inspect(&mut self, place: &Place) -> Result<(), Fault> {
        let info = self.call(&[b"INFO"])?;
        let info = info.text().unwrap_or_default();
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(field, _)| *field == name)
                .map(|(_, value)| printable(value.trim()))
        };
        let version = field("redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map_while(|part| part.parse().ok());
        let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if numbers < VERSION {
            return Err(Fault::Denied(format!(
                "the engine at {place} has version {version:?}; it must be Redis 6.2 or newer, or Valkey"
            )));
        }
        if field("role").as_deref() != Some("master") {
            return Err(Fault::Away(format!("the engine at {place} is a replica")));
        }
        self.run = field("run_id").unwrap_or_default();
        let policy = field("maxmemory_policy").unwrap_or_default();
        if policy.starts_with("allkeys-") {
            self.remark = Some(format!(
                "the engine's maxmemory-policy is {policy}, which may take the log away; set it to noeviction"
            ));
        }
        Ok(())
    }

    /// Sends a command and waits for its reply.
    pub(super) fn call(&mut self, arguments: &[&[u8]]) -> Result<Reply, Fault> {
        self.call_within(arguments, PATIENCE)
    }

    /// The same, with another patience.
    pub(super) fn call_within(
        &mut self,
        arguments: &[&[u8]],
        patience: Duration,
    ) -> Result<Reply, Fault> {
        let name = String::from_utf8_lossy(arguments.first().copied().unwrap_or_default());
        match self.exchange(arguments, Instant::now() + patience)? {
            Reply::Error(error) if error.starts_with("NOSCRIPT") => Ok(Reply::Error(error)),
            Reply::Error(error) => Err(Fault::of_reply(&error, &name)),
            reply => Ok(reply),
        }
    }

    /// Sends the command that was written.
    fn send(&mut self, deadline: Instant) -> Result<(), Fault> {
        let mut sent = 0;
        while sent < self.out.len() || self.tls.as_ref().is_some_and(Upstream::owes) {
            let rest = &self.out[sent..];
            let result = match &mut self.tls {
                Some(tls) => tls.try_send(self.stream.as_fd(), rest),
                None => self.stream.try_send(rest).map(|sent| sent.bytes),
            };
            match result {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
                    if !poll_until(&mut fds, Some(deadline)).map_err(lost)? {
                        let text = "the engine takes no command in time";
                        return Err(Fault::Away(text.to_owned()));
                    }
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    fn exchange(&mut self, arguments: &[&[u8]], deadline: Instant) -> Result<Reply, Fault> {
        self.out.clear();
        write_command(&mut self.out, arguments);
        self.send(deadline)?;
        loop {
            match self.parser.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(Malformed::TooLarge) => return Err(Fault::TooLarge),
                Err(Malformed::Unknown(shown)) => {
                    return Err(Fault::Away(format!(
                        "the engine does not speak Redis's protocol; its answer begins with {shown:?}"
                    )));
                }
            }
            let ready = match &self.tls {
                Some(tls) if tls.is_readable() => Ok(Wake::Ready),
                _ => self.stream.wait_readable(&self.stop, Some(deadline)),
            };
            match ready.map_err(lost)? {
                Wake::Ready => {}
                Wake::Stopping => return Err(Fault::Stopping),
                Wake::TimedOut => {
                    return Err(Fault::Away("the engine does not answer in time".to_owned()));
                }
            }
            let buffer = &mut self.parser.buffer;
            let len = buffer.len();
            buffer.resize(len + READ, 0);
            let got = match &mut self.tls {
                Some(tls) => tls.receive_into(self.stream.as_fd(), &mut buffer[len..]),
                None => self.stream.receive_into(&mut buffer[len..]),
            };
            let more = match got.map_err(lost)? {
                Received::Bytes(more) => more,
                Received::Nothing => 0,
                Received::End => {
                    let text = "the engine has ended the connection";
                    return Err(Fault::Away(text.to_owned()));
                }
            };
            buffer.truncate(len + more);
        }
    }
}

fn lost(error: io::Error) -> Fault {
    let text = format!("the connection to the engine is lost: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => Fault::Denied(text),
        _ => Fault::Away(text),
    }
}

/// Shakes hands where the address asks for TLS.
fn secure(
    stream: &Stream,
    place: &Place,
    address: &Address,
    stop: &Stop,
) -> Result<Option<Upstream>, Fault> {
    let (Some(trust), Place::Network { host, .. }) = (&address.trust, place) else {
        return Ok(None);
    };
    let deadline = Instant::now() + PATIENCE;
    let shaken = Upstream::shake_hands(trust, host, stream.as_fd(), stop, deadline);
    shaken.map(Some).map_err(|error| {
        let text = format!("no TLS with the engine at {place}: {error}");
        match error.kind() {
            _ if stop.is_triggered() => Fault::Stopping,
            io::ErrorKind::PermissionDenied => Fault::Denied(text),
            _ => Fault::Away(text),
        }
    })
}

fn connect(place: &Place) -> io::Result<Stream> {
    match place {
        Place::Unix(path) => Ok(UnixStream::connect(path)?.into()),
        Place::Network { host, port } => {
            let mut result = Err(io::Error::other("the name has no address"));
            for address in (host.as_str(), *port).to_socket_addrs()? {
                result = TcpStream::connect_timeout(&address, PATIENCE);
                if result.is_ok() {
                    break;
                }
            }
            let stream = result?;
            stream.set_nodelay(true)?;
            #[cfg(target_os = "linux")]
            rustix::net::sockopt::set_tcp_user_timeout(&stream, PATIENCE.as_millis() as u32)?;
            Ok(stream.into())
        }
    }
}
