//! The server under test, and everything that can be seen of it from outside.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::Result;
use crate::kit::child::Child;
use crate::kit::http::{Answer, plain};
use crate::kit::process::{descriptors, threads};
use crate::kit::socket::dial;
use crate::kit::usage::Process;
use crate::kit::wait::wait_for;

/// How often is looked whether something has come to pass.
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    process: Process,
}

/// Threads, descriptors and memory that the server has in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
}

/// One client as `/-/clients` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) peer: SocketAddr,
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) dropped: u64,
}

impl Server {
    /// Starts a command with options behind it.
    pub(crate) fn start(command: &[String], options: &str) -> Result<Server> {
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).args(options.split_whitespace());
        let child = Child::start(command, PATIENCE)?;
        let process = Process::new(child.pid())?;
        Ok(Server { child, process })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.child.address()
    }

    pub(crate) fn log(&self) -> String {
        self.child.log().unwrap_or_default()
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.process.cpu()
    }

    /// The most memory that was resident at any time, in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no VmHWM")?.parse::<u64>()? * 1024)
    }

    pub(crate) fn holdings(&self) -> Result<Holdings> {
        let pid = self.child.pid();
        Ok(Holdings {
            threads: threads(pid)?,
            descriptors: descriptors(pid)?,
            resident: self.process.resident()?,
        })
    }

    /// Waits until the server has no more threads and descriptors than it had, and
    /// says what it has then.
    pub(crate) fn await_return(&self, to: Holdings, patience: Duration) -> Result<Holdings> {
        let mut now = to;
        let returned = wait_for(patience, POLL, || -> Result<_> {
            now = self.holdings()?;
            let is_back = now.threads <= to.threads && now.descriptors <= to.descriptors;
            Ok(is_back.then_some(now))
        });
        returned?.ok_or_else(|| {
            format!(
                "after {} s there are {} threads instead of {}, and {} descriptors instead of {}",
                patience.as_secs(),
                now.threads,
                to.threads,
                now.descriptors,
                to.descriptors
            )
            .into()
        })
    }

    /// What the server has when it has come to rest.
    pub(crate) fn settled(&self) -> Result<Holdings> {
        let mut last = self.holdings()?;
        for _ in 0..100 {
            thread::sleep(4 * POLL);
            let now = self.holdings()?;
            if (now.threads, now.descriptors) == (last.threads, last.descriptors) {
                return Ok(now);
            }
            last = now;
        }
        Err("the server does not come to rest".into())
    }

    /// The value of a metric without labels, or of one with them.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let text = get(self.address(), "/-/metrics")?;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix("hubcast_")?.strip_prefix(name));
        let value = value.ok_or_else(|| format!("no metric {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// The value of a metric that is no whole number.
    pub(crate) fn figure(&self, name: &str) -> Result<f64> {
        let text = get(self.address(), "/-/metrics")?;
        let value = text.lines().find_map(|line| {
            let value = line.strip_prefix("hubcast_")?.strip_prefix(name)?;
            value.strip_prefix(' ')
        });
        Ok(value.ok_or_else(|| format!("no metric {name}"))?.parse()?)
    }

    /// How many clients left for a cause.
    pub(crate) fn departed(&self, cause: &str) -> Result<u64> {
        self.metric(&format!("departures_total{{cause=\"{cause}\"}}"))
    }

    /// The names of the rooms, as JSON.
    pub(crate) fn rooms(&self) -> Result<String> {
        get(self.address(), "/-/rooms")
    }

    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let text = get(self.address(), "/-/clients")?;
        text.split("{\"id\":").skip(1).map(member).collect()
    }

    /// Waits until something about the server is so.
    pub(crate) fn await_that(
        &self,
        what: &str,
        mut is_so: impl FnMut(&Server) -> Result<bool>,
    ) -> Result<Duration> {
        let start = Instant::now();
        let met = wait_for(PATIENCE, POLL, || -> Result<_> {
            Ok(is_so(self)?.then(|| start.elapsed()))
        });
        met?.ok_or_else(|| format!("{} s were not enough for {what}", PATIENCE.as_secs()).into())
    }

    /// Ends the server in order. Whatever panicked has said so.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.child.stop(PATIENCE)?;
        let log = self.log();
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(format!("the server says: {line}").into());
        }
        match status.success() {
            true => Ok(()),
            false => Err(format!("the server ended with {status}").into()),
        }
    }
}

/// Asks over HTTP and returns the body of a good answer.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let answer = exchange(address, &plain("GET", path, &[]))?;
    match answer.status {
        200 => Ok(answer.body),
        _ => Err(format!("GET {path} is answered with {answer:?}").into()),
    }
}

/// Sends a request and reads the answer until the server ends it.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Result<Answer> {
    let mut socket = dial(address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(request)?;
    Answer::read(&mut socket)
}

fn member(json: &str) -> Result<Member> {
    let field = |name: &str| {
        let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
        let end = rest.find([',', '}'])?;
        Some(rest[..end].trim_matches('"'))
    };
    let field = |name| field(name).ok_or_else(|| format!("a client without {name}: {json}"));
    Ok(Member {
        peer: field("peer")?.parse()?,
        queue_messages: field("queue_messages")?.parse()?,
        queue_bytes: field("queue_bytes")?.parse()?,
        dropped: field("dropped_messages")?.parse()?,
    })
}
