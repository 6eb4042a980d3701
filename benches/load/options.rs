//! The command line of the benchmark.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::cores::State;
use crate::floor::Floor;
use crate::kit::Result;
use crate::kit::frame::Opcode;
use crate::kit::scenario::{self, Scenario};
use crate::kit::tls::Identity;
use crate::subject::Subject;

/// Measures hubcast under load, beside the floor and beside its peers.
#[derive(Debug, Parser)]
#[command(name = "load", max_term_width = 100)]
pub(crate) struct Options {
    /// Only the scenarios of these names, or whose names contain one of these.
    pub(crate) scenarios: Vec<String>,

    /// Say which scenarios there are.
    #[arg(long)]
    pub(crate) list: bool,

    /// How often everything is measured; the tables show medians.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,

    /// How long a run sends.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,

    /// How long it does so beforehand without being measured.
    #[arg(long, value_name = "S", default_value_t = 0.3)]
    warm_up: f64,

    /// The command that starts hubcast. Default: the program of this build.
    #[arg(long, value_name = "COMMAND", default_value = env!("CARGO_BIN_EXE_hubcast"))]
    server: String,

    /// Another server to measure beside it: a command that takes `--listen
    /// HOST:PORT` and prints `listening on ws://HOST:PORT/`.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<String>,

    /// A file with a peer on each line; a line that begins with `#` is a remark,
    /// which the run passes on.
    #[arg(long, value_name = "FILE")]
    peers_from: Option<PathBuf>,

    /// Only subjects whose name contains one of these, as in `--only hubcast,bun`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,

    /// Runs during which the cores were in another state are repeated, and left out
    /// if that does not help. Default: the tables show the state that most runs were
    /// in, if it is one and the same for all subjects.
    #[arg(long, value_name = "STATE")]
    pub(crate) cores: Option<State>,

    /// Runs during which other processes took more than a tenth of a core are repeated,
    /// and left out if that does not help.
    #[arg(long)]
    pub(crate) undisturbed: bool,

    /// Sleep at once when there is nothing to read, as clients do, instead of looking
    /// around for a while: the server pays for waking its clients then.
    #[arg(long)]
    pub(crate) sleep: bool,

    /// Over TLS, of those subjects that take `--tls-cert FILE --tls-key FILE`.
    #[arg(long)]
    tls: bool,

    #[arg(skip)]
    identity: Option<Identity>,

    /// Send text messages instead of binary ones.
    #[arg(long)]
    text: bool,

    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,

    #[arg(long, hide = true)]
    pub(crate) floor: Option<Floor>,

    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) floor_clients: usize,

    #[arg(long, hide = true, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}

impl Options {
    /// From the command line. Without any, as `cargo test --benches` runs it, only
    /// enough to see that it works.
    pub(crate) fn from_command_line() -> Result<Options> {
        let mut options = match env::args_os().len() {
            1 => Options::parse_from("load one-100 --rounds 1 --seconds 0.1".split(' ')),
            _ => Options::parse(),
        };
        if options.tls {
            options.identity = Some(Identity::new()?);
        }
        Ok(options)
    }

    /// What servers and clients have in common over TLS.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    pub(crate) fn duration(&self) -> Duration {
        seconds(self.seconds)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        seconds(self.warm_up)
    }

    /// Whether there are conditions for a run to count.
    pub(crate) fn is_picky(&self) -> bool {
        self.undisturbed || self.cores.is_some()
    }

    pub(crate) fn opcode(&self) -> Opcode {
        match self.text {
            true => Opcode::Text,
            false => Opcode::Binary,
        }
    }

    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let is_meant = |scenario: &Scenario, filter: &String| match scenario::ALL
            .iter()
            .any(|known| known.name == filter)
        {
            true => scenario.name == filter,
            false => scenario.name.contains(filter.as_str()),
        };
        let is_chosen = |scenario: &&Scenario| {
            let mut filters = self.scenarios.iter();
            self.scenarios.is_empty() || filters.any(|filter| is_meant(scenario, filter))
        };
        scenario::ALL.iter().filter(is_chosen).copied().collect()
    }

    /// The floor first, then hubcast, then its peers; and the remarks on peers.
    pub(crate) fn subjects(&self) -> Result<(Vec<Subject>, Vec<String>)> {
        let mut subjects: Vec<_> = Floor::value_variants()
            .iter()
            .map(|&floor| Subject::floor(floor))
            .collect();
        subjects.push(Subject::server(&self.server));
        let mut remarks = Vec::new();
        let listed = match &self.peers_from {
            Some(file) => {
                fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?
            }
            None => String::new(),
        };
        let lines = listed
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        for line in lines.chain(self.peers.iter().map(String::as_str)) {
            match line.strip_prefix('#') {
                Some(remark) => remarks.push(remark.trim().to_owned()),
                None => subjects.push(Subject::peer(line)?),
            }
        }
        subjects.retain(|subject| contains_one(&subject.name, &self.only));
        Ok((subjects, remarks))
    }
}

fn contains_one(name: &str, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

/// No run is longer than a minute.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(60.0)).unwrap_or_default()
}
