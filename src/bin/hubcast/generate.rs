//! The man page and the completions of shells, made from the options.

use std::io;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::Options;

/// What can be made from the options.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Artifact {
    Man,
    Bash,
    Zsh,
    Fish,
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
    pub(crate) fn text(self) -> io::Result<String> {
        let mut command = Options::command();
        let mut bytes = Vec::new();
        let shell = match self {
            Artifact::Man => {
                man(command, &mut bytes)?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            Artifact::Bash => Shell::Bash,
            Artifact::Zsh => Shell::Zsh,
            Artifact::Fish => Shell::Fish,
        };
        clap_complete::generate(shell, &mut command, "hubcast", &mut bytes);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn man(command: Command, out: &mut Vec<u8>) -> io::Result<()> {
    // Without the features, which belong to one build.
    let command = command.version(env!("CARGO_PKG_VERSION"));
    Man::new(command).render(out)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_STATUS {
        more.control("TP", []);
        more.text([roman(code)]).text([roman(meaning)]);
    }
    more.to_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knows_every_option_that_is_shown() {
        for artifact in Artifact::value_variants() {
            let text = artifact.text().unwrap().replace('\\', "");
            for arg in Options::command().get_arguments() {
                let long = arg.get_long().filter(|_| !arg.is_hide_set());
                if let Some(long) = long {
                    assert!(text.contains(long), "{artifact:?} lacks {long}");
                }
            }
        }
    }
}
