//! A server as a child process: started by its command, found by the line in which
//! it says where it listens, and ended by SIGINT.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Result;

const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
const LISTENING: &str = "listening on ws://";
/// How much of a server's last words is quoted.
const LAST_WORDS: usize = 600;

#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Child {
    /// Starts a command and waits until it says `listening on ws://ADDRESS/`. What
    /// it prints goes to a file: a pipe would want a thread that reads it, and take
    /// CPU time from the load.
    pub(crate) fn start(command: &[String]) -> Result<Child> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = env::temp_dir().join(format!("hubcast-load-{}-{number}", process::id()));
        let output = File::create(&log)?;
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        let process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let mut child = Child {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        child.address = child.await_address()?;
        Ok(child)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn await_address(&mut self) -> Result<SocketAddr> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let log = fs::read_to_string(&self.log)?;
            if let Some(address) = listening_address(&log) {
                return Ok(address);
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("ended with {status}: {}", self.last_words()).into());
            }
            thread::sleep(POLL);
        }
        Err(format!("does not say where it listens: {}", self.last_words()).into())
    }

    /// Asks the server to end, and waits for that.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.process.try_wait()? {
            return Err(format!("ended by itself with {status}: {}", self.last_words()).into());
        }
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::INT)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        Err(format!("does not end on SIGINT: {}", self.last_words()).into())
    }

    /// What the server has printed so far.
    pub(crate) fn log(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap_or_default()
    }

    /// The end of it.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let tail = &log[log.len().saturating_sub(LAST_WORDS)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing to do about a failure: the process has ended, or the file is gone.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_file(&self.log));
    }
}

fn listening_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(LISTENING)?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace())?;
    rest[..end].parse().ok()
}
