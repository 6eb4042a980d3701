//! A redis-server of the test's own: on a free port, in a scratch folder.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::eventually;

/// What it keeps when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    /// What it wrote to its file up to a second ago, or all.
    Aof(&'static str),
    /// What there was at the last [`Redis::snapshot`].
    Snapshot,
}

pub struct Redis {
    pub port: u16,
    keeps: Keeps,
    folder: PathBuf,
    process: Child,
    pub options: Vec<&'static str>,
    /// The network namespace in which it runs.
    namespace: Option<String>,
}

impl Redis {
    pub fn start(keeps: Keeps) -> Redis {
        Redis::start_with(keeps, &[])
    }

    pub fn start_with(keeps: Keeps, options: &[&'static str]) -> Redis {
        Redis::start_in(None, keeps, options)
    }

    pub fn start_in(namespace: Option<&str>, keeps: Keeps, options: &[&'static str]) -> Redis {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hubcast-redis-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let port = free_port();
        let options = options.to_vec();
        let namespace = namespace.map(str::to_owned);
        let process = spawn(namespace.as_deref(), port, keeps, &folder, &options);
        let redis = Redis {
            port,
            keeps,
            folder,
            process,
            options,
            namespace,
        };
        redis.await_answer();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn restart(&mut self) {
        if self.keeps == Keeps::Nothing {
            let _ = fs::remove_file(self.folder.join("dump.rdb"));
        }
        let namespace = self.namespace.as_deref();
        self.process = spawn(
            namespace,
            self.port,
            self.keeps,
            &self.folder,
            &self.options,
        );
    }

    /// Waits until it answers.
    pub fn await_answer(&self) {
        eventually("redis-server answers", || {
            ["PONG", "NOAUTH"]
                .iter()
                .any(|word| self.cli(&["PING"]).contains(word))
        });
    }

    pub fn snapshot(&self) {
        assert!(self.cli(&["SAVE"]).contains("OK"));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = within(self.namespace.as_deref(), "redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port])
            .args(arguments)
            .output();
        let output = output.expect("redis-cli is there: make test-engine installs it");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// A command that runs in a network namespace.
fn within(namespace: Option<&str>, program: &str) -> Command {
    match namespace {
        None => Command::new(program),
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace, program]);
            command
        }
    }
}

fn spawn(
    namespace: Option<&str>,
    port: u16,
    keeps: Keeps,
    folder: &PathBuf,
    options: &[&str],
) -> Child {
    let (aof, fsync) = match keeps {
        Keeps::Aof(fsync) => ("yes", fsync),
        _ => ("no", "everysec"),
    };
    let port = port.to_string();
    within(namespace, "redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", ""])
        .args(["--appendonly", aof, "--appendfsync", fsync])
        .args(["--enable-debug-command", "yes"])
        .args(options)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is there: make test-engine installs it")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How many faults of a kind a test makes: `HUBCAST_TEST_FAULTS`, or few.
pub fn faults(few: usize) -> usize {
    let number = std::env::var("HUBCAST_TEST_FAULTS");
    number.ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
