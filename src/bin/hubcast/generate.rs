//! Files that are made from the options: the man page, the completions of
//! shells, and what stands around a server.

mod surroundings;

use std::io;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use clap_complete::{Generator, aot};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{self, Options};
use surroundings::Surroundings;

/// What can be made from the options.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Artifact {
    Man,
    Bash,
    Zsh,
    Fish,
    Nginx,
    Caddy,
    Systemd,
    Compose,
    Kubernetes,
    PrometheusRules,
    Grafana,
}

impl ValueEnum for Artifact {
    fn value_variants<'a>() -> &'a [Artifact] {
        &[
            Artifact::Man,
            Artifact::Bash,
            Artifact::Zsh,
            Artifact::Fish,
            Artifact::Nginx,
            Artifact::Caddy,
            Artifact::Systemd,
            Artifact::Compose,
            Artifact::Kubernetes,
            Artifact::PrometheusRules,
            Artifact::Grafana,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Artifact::Man => "man",
            Artifact::Bash => "bash",
            Artifact::Zsh => "zsh",
            Artifact::Fish => "fish",
            Artifact::Nginx => "nginx",
            Artifact::Caddy => "caddy",
            Artifact::Systemd => "systemd",
            Artifact::Compose => "compose",
            Artifact::Kubernetes => "kubernetes",
            Artifact::PrometheusRules => "prometheus-rules",
            Artifact::Grafana => "grafana",
        }))
    }
}

const EXIT_STATUS: [(&str, &str); 4] = [
    (
        "0",
        "stopped in order, by SIGINT, SIGTERM, SIGHUP or --exit-on-eof",
    ),
    ("1", "could not run; one line says why"),
    ("2", "wrong usage: an option is unknown or out of range"),
    ("130", "a second signal came while it was stopping"),
];

impl Artifact {
    /// The text, for these options and the arguments that gave them.
    pub(crate) fn text(self, options: &Options, arguments: Vec<String>) -> Result<String, String> {
        let around = || Surroundings::new(options, arguments);
        match self {
            Artifact::Man => man().map_err(|error| error.to_string()),
            Artifact::Bash => Ok(completions(&aot::Bash)),
            Artifact::Zsh => Ok(completions(&aot::Zsh)),
            Artifact::Fish => Ok(completions(&aot::Fish)),
            Artifact::Nginx => around()?.nginx(),
            Artifact::Caddy => around()?.caddy(),
            Artifact::Systemd => Ok(around()?.systemd()),
            Artifact::Compose => Ok(around()?.compose()),
            Artifact::Kubernetes => Ok(around()?.kubernetes()),
            Artifact::PrometheusRules => Ok(around()?.rules()),
            Artifact::Grafana => Ok(surroundings::grafana()),
        }
    }
}

fn completions(shell: &dyn Generator) -> String {
    let mut bytes = Vec::new();
    let mut command = cli::command().bin_name("hubcast");
    command.build();
    shell.generate(&command, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn man() -> io::Result<String> {
    // Without the features, which belong to one build.
    let command = cli::command().version(env!("CARGO_PKG_VERSION"));
    let mut out = Vec::new();
    Man::new(command).render(&mut out)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_STATUS {
        more.control("TP", []);
        more.text([roman(code)]).text([roman(meaning)]);
    }
    more.to_writer(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(artifact: Artifact, args: &[&str]) -> String {
        let options = Options::parse_from(&[&["hubcast"], args].concat()).unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        artifact.text(&options, args).unwrap()
    }

    #[test]
    fn each_knows_every_option_that_is_shown() {
        for artifact in [Artifact::Man, Artifact::Bash, Artifact::Zsh, Artifact::Fish] {
            let text = made(artifact, &[]).replace('\\', "");
            for arg in cli::command().get_arguments() {
                let long = arg.get_long().filter(|_| !arg.is_hide_set());
                if let Some(long) = long {
                    assert!(text.contains(long), "{artifact:?} lacks {long}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for artifact in Artifact::value_variants() {
            for args in [
                &[][..],
                &["--max-clients=7", "-l", "unix:/run/hubcast.sock"],
            ] {
                let text = made(*artifact, args);
                let legends = ["{{instance}}", "{{cause}}", "{{status}}"];
                let text = legends
                    .iter()
                    .fold(text, |text, legend| text.replace(legend, ""));
                assert!(
                    !text.contains("{{") && text.ends_with('\n'),
                    "{artifact:?} {text}"
                );
            }
        }
    }

    #[test]
    fn the_options_are_in_what_is_made() {
        let args = [
            "--listen=:9000",
            "--drain=20s",
            "--room=/a history=1",
            "--max-clients=1000",
            "--token=secret-and-long-enough",
        ];
        let unit = made(Artifact::Systemd, &args);
        let command = "ExecStart=/usr/bin/hubcast --listen=:9000 --drain=20s \
                       \"--room=/a history=1\" --max-clients=1000 ";
        for part in [
            command,
            "TimeoutStopSec=30s\n",
            "LimitNOFILE=3304\n",
            "# It holds a token",
        ] {
            assert!(unit.contains(part), "{part} in {unit}");
        }
        let compose = made(Artifact::Compose, &args);
        for part in [
            "[\"--listen=0.0.0.0:9000\", \"--drain=20s\",",
            "stop_grace_period: 30s",
            "probe, \"http://127.0.0.1:9000/-/healthz\"]",
        ] {
            assert!(compose.contains(part), "{part} in {compose}");
        }
        assert!(made(Artifact::PrometheusRules, &args).contains("hubcast_clients > 0.9 * 1000"));
        let low = made(Artifact::Systemd, &["--listen=:443"]);
        assert!(
            low.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            "{low}"
        );
        let socket = ["--listen=unix:/run/hubcast/hubcast.sock"];
        let nginx = made(Artifact::Nginx, &socket);
        assert!(nginx.contains("proxy_pass http://unix:/run/hubcast/hubcast.sock;"));
        let caddy = made(Artifact::Caddy, &socket);
        assert!(caddy.contains("reverse_proxy unix//run/hubcast/hubcast.sock {"));
    }
}
