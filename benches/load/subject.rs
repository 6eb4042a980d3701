//! Whose figures are taken: hubcast, a peer, or the floor.

use std::env;
use std::process::Command;

use clap::ValueEnum;

use crate::floor::Floor;
use crate::kit::Result;
use crate::kit::frame::Dialect;
use crate::kit::scenario::{Pace, Scenario};
use crate::kit::tls::Identity;

#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server under test, by its command: its failures are the run's.
    Server(Vec<String>),
    /// Somebody else's, by its command: its failures are only reported.
    Peer(Vec<String>),
    Floor(Floor),
}

impl Subject {
    pub(crate) fn server(command: &str) -> Subject {
        Subject {
            name: "hubcast".to_owned(),
            kind: Kind::Server(words(command)),
        }
    }

    /// From `NAME=COMMAND`.
    pub(crate) fn peer(text: &str) -> Result<Subject> {
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| format!("not NAME=COMMAND: {text:?}"))?;
        Ok(Subject {
            name: name.trim().to_owned(),
            kind: Kind::Peer(words(command)),
        })
    }

    pub(crate) fn floor(floor: Floor) -> Subject {
        let value = floor.to_possible_value();
        let name = value.map_or_else(String::new, |value| value.get_name().to_owned());
        Subject {
            name: format!("floor: {name}"),
            kind: Kind::Floor(floor),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::Floor(_) => Dialect::Server,
            Kind::Server(_) | Kind::Peer(_) => Dialect::Client,
        }
    }

    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.kind, Kind::Peer(_))
    }

    /// Whether the scenario means anything to this subject. The floor knows no TLS,
    /// and over it nobody is asked what a fan-out took. The floor has no clients to
    /// look after; one send for each message is no measure for bursts, and without
    /// bursts there is nothing to join, and nobody can ask it what a fan-out took. Its
    /// threads are for what connecting costs.
    pub(crate) fn takes_part_in(&self, scenario: &Scenario, over_tls: bool) -> bool {
        let is_read = !matches!(scenario.pace, Pace::Unread);
        let bare = scenario.senders > 0 && scenario.stalled == 0 && is_read;
        match self.kind {
            Kind::Floor(_) if over_tls => false,
            _ if over_tls && !is_read => false,
            Kind::Server(_) => true,
            Kind::Peer(_) => scenario.peers,
            Kind::Floor(Floor::Send) => bare && scenario.is_sparse(),
            Kind::Floor(Floor::Vectored) => bare,
            Kind::Floor(Floor::Joined) => bare && !scenario.is_sparse(),
            Kind::Floor(Floor::Threads) => scenario.senders == 0,
        }
    }

    /// The whole command line for a scenario.
    pub(crate) fn command(
        &self,
        scenario: &Scenario,
        identity: Option<&Identity>,
    ) -> Result<Command> {
        let (words, options) = match &self.kind {
            Kind::Server(command) => (command.clone(), scenario.options),
            Kind::Peer(command) => (command.clone(), [].as_slice()),
            Kind::Floor(_) => (self.floor_command(scenario)?, [].as_slice()),
        };
        let (program, arguments) = words.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).args(["--listen", "127.0.0.1:0"]);
        command.args(options);
        if let Some(identity) = identity {
            command.arg("--tls-cert").arg(identity.certificate());
            command.arg("--tls-key").arg(identity.key());
        }
        Ok(command)
    }

    fn floor_command(&self, scenario: &Scenario) -> Result<Vec<String>> {
        let program = env::current_exe()?.to_string_lossy().into_owned();
        let kind = self.name.trim_start_matches("floor: ").to_owned();
        let clients = scenario.clients.to_string();
        Ok(vec![
            program,
            "--floor".into(),
            kind,
            "--floor-clients".into(),
            clients,
        ])
    }
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}
