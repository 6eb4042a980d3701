//! The command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

use crate::crowd::Policy;

/// Treats hubcast badly for a long time and in bad ways, and checks that it serves on.
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
pub(crate) struct Options {
    /// Without one of these nothing is done.
    #[command(subcommand)]
    pub(crate) what: Option<What>,

    /// The command that starts hubcast. Default: the program of this build.
    #[arg(long, global = true, value_name = "COMMAND", default_value = env!("CARGO_BIN_EXE_hubcast"))]
    server: String,

    /// What the random choices follow from. Default: the time.
    #[arg(long, global = true)]
    seed: Option<u64>,

    /// How long the full load runs beside slow clients, for each policy, and the chat
    /// beside each flood.
    #[arg(long, global = true, value_name = "S", default_value_t = 60)]
    load_seconds: u64,

    /// How long clients come and go.
    #[arg(long, global = true, value_name = "S", default_value_t = 600)]
    churn_seconds: u64,

    /// Only this policy. Default: all three under full load, disconnect otherwise.
    #[arg(long, global = true)]
    policy: Option<Policy>,

    /// Only the attacks whose names contain this.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) only: Option<String>,

    /// `cargo bench` says so.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum What {
    /// Full load beside slow clients, then churn.
    Soak,
    /// Only the full load.
    Load,
    /// Only the churn.
    Churn,
    /// What a malicious client may try.
    Abuse,
    /// Ten thousand clients that come back at once.
    Returning,
    /// A chat beside clients that flood, of plain text and of TLS.
    Flood,
    /// Peers whose cable is pulled, in network namespaces of their own; needs root.
    DeadPeers,
}

impl Options {
    pub(crate) fn server(&self) -> Vec<String> {
        self.server.split_whitespace().map(str::to_owned).collect()
    }

    /// The seed asked for, or a new one.
    pub(crate) fn settle_seed(&mut self) -> u64 {
        *self.seed.get_or_insert_with(|| {
            let time = SystemTime::now().duration_since(UNIX_EPOCH);
            time.map_or(1, |time| time.as_secs())
        })
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// At least a second, at most an hour.
    pub(crate) fn load_time(&self) -> Duration {
        Duration::from_secs(self.load_seconds.clamp(1, 3600))
    }

    pub(crate) fn churn_time(&self) -> Duration {
        Duration::from_secs(self.churn_seconds.clamp(5, 3600))
    }

    pub(crate) fn policies(&self) -> Vec<Policy> {
        match self.policy {
            Some(policy) => vec![policy],
            None => Policy::ALL.to_vec(),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy.unwrap_or(Policy::Disconnect)
    }
}
