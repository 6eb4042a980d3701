//! A server as a child process: found by the line in which it says where it listens,
//! asked to end by a signal, and killed when dropped.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Result;
use super::wait::wait_for;

const POLL: Duration = Duration::from_millis(2);
const LISTENING: &str = "listening on ws";
/// How much of a server's last words is quoted, in bytes.
const LAST_WORDS: usize = 600;

/// A running server.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    address: SocketAddr,
    /// Everything it has printed, to be read.
    log: File,
}

impl Child {
    /// Runs a command and waits until it says `listening on ws://ADDRESS/`, or `wss`. All it
    /// prints goes to a file: a pipe would need a thread that reads it, which takes
    /// CPU time from the server.
    pub(crate) fn start(mut command: Command, within: Duration) -> Result<Child> {
        command.stdin(Stdio::null());
        Child::start_with_input(command, within)
    }

    /// Like [`start`](Child::start), with the standard input that the command has.
    pub(crate) fn start_with_input(mut command: Command, within: Duration) -> Result<Child> {
        let (written, log) = log_file()?;
        command.stdout(written.try_clone()?);
        Child::spawn(command, written, log, within)
    }

    /// Like [`start`](Child::start), with pipes for standard input and output; the
    /// log is what it prints to standard error.
    pub(crate) fn start_piped(
        mut command: Command,
        within: Duration,
    ) -> Result<(Child, ChildStdin, ChildStdout)> {
        let (written, log) = log_file()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::spawn(command, written, log, within)?;
        let input = child.process.stdin.take().ok_or("no standard input")?;
        let output = child.process.stdout.take().ok_or("no standard output")?;
        Ok((child, input, output))
    }

    fn spawn(mut command: Command, written: File, log: File, within: Duration) -> Result<Child> {
        let program = command.get_program().to_owned();
        let process = command.stderr(written).spawn();
        let process = process.map_err(|error| format!("{}: {error}", program.display()))?;
        let mut child = Child {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        child.address = child.await_address(within)?;
        Ok(child)
    }

    fn await_address(&mut self, within: Duration) -> Result<SocketAddr> {
        let address = wait_for(within, POLL, || -> Result<_> {
            // What has ended cannot say it later.
            let end = self.process.try_wait()?;
            match (listening_address(&self.log()?), end) {
                (Some(address), _) => Ok(Some(address)),
                (None, None) => Ok(None),
                (None, Some(status)) => {
                    Err(format!("ended with {status}: {}", self.last_words()).into())
                }
            }
        });
        address?.ok_or_else(|| self.failure("does not say where it listens"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let status = wait_for(within, POLL, || self.process.try_wait())?;
        status.ok_or_else(|| self.failure("does not end"))
    }

    /// Asks the server to end, and waits for that. Fails if it has ended before.
    pub(crate) fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.process.try_wait()? {
            return Err(self.failure(&format!("ended by itself with {status}")));
        }
        self.signal(Signal::INT)?;
        self.wait(within)
    }

    /// Everything the server has printed so far.
    pub(crate) fn log(&self) -> Result<String> {
        let mut bytes = vec![0; self.log.metadata()?.len() as usize];
        self.log.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of it.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log().unwrap_or_default();
        let tail = &log.as_bytes()[log.len().saturating_sub(LAST_WORDS)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    fn failure(&self, what: &str) -> super::Failure {
        format!("{what}: {}", self.last_words()).into()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing to do about a failure: the process has ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A file to be written to, and the same to be read from. It has no name, so
/// nothing is left of it.
fn log_file() -> Result<(File, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("hubcast-log-{}-{number}", process::id()));
    let written = File::options().append(true).create_new(true).open(&path)?;
    let log = File::open(&path);
    fs::remove_file(&path)?;
    Ok((written, log?))
}

fn listening_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(LISTENING)?;
    let (_, rest) = rest.split_once("://")?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace())?;
    rest[..end].parse().ok()
}
