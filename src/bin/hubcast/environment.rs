//! Options from the environment: each option is also a variable.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::cli::{self, Options};
use crate::values::switch;

/// The prefix of the options' variables.
const PREFIX: &str = "HUBCAST_";
/// The variable in which platforms say which port to listen on. They reach the
/// process from another machine.
const PORT: &str = "PORT";
/// Variables with our prefix that are no options: Kubernetes and Docker set
/// them for a service that is called hubcast, and the tests for themselves.
const NOT_OURS: [&str; 4] = [
    "HUBCAST_SERVICE_",
    "HUBCAST_PORT",
    "HUBCAST_ENV_",
    "HUBCAST_TEST_",
];
/// Options of which one overrides the others.
const LEVELS: [&str; 3] = ["log-level", "quiet", "verbose"];

/// A variable that sets an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    /// The option's name, without the dashes.
    option: String,
}

/// Why nothing runs: wrong usage, or a text that was asked for.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

impl From<clap::Error> for Ended {
    fn from(error: clap::Error) -> Ended {
        Ended {
            text: error.to_string(),
            is_error: error.use_stderr(),
        }
    }
}

/// The options from arguments and environment, and warnings for the log.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Options, Vec<String>), Ended> {
    let command = cli::command();
    let mut arguments = Vec::from_iter(arguments);
    // Arguments that cannot be parsed are an error below. Help and version end
    // here.
    let given = cli::command().ignore_errors(true);
    let given = given.try_get_matches_from(&arguments)?;
    let environment = Environment::read(&command, &given, variables)?;
    let behind_the_program = arguments.len().min(1);
    arguments.splice(
        behind_the_program..behind_the_program,
        environment.arguments,
    );
    #[cfg(feature = "generate")]
    let said = {
        let said = arguments.iter().skip(1);
        said.map(|argument| argument.to_string_lossy().into_owned())
            .collect()
    };
    match command.try_get_matches_from(arguments) {
        Ok(matches) => {
            let mut options = Options::new(&matches);
            options.listen_is_set = is_said(&matches, "listen") || is_said(&matches, "port");
            options.level_is_set = LEVELS.iter().any(|id| is_said(&matches, id));
            #[cfg(feature = "generate")]
            if let Some(artifact) = options.generate {
                return Err(match artifact.text(&options, said) {
                    Ok(text) => Ended {
                        text,
                        is_error: false,
                    },
                    Err(error) => wrong(format!("cannot generate that: {error}")),
                });
            }
            options.variables = environment.variables;
            Ok((options, environment.warnings))
        }
        Err(error) => {
            let mut ended = Ended::from(error);
            ended.text = with_variables(&ended.text, &environment.variables);
            Err(ended)
        }
    }
}

/// Whether an argument, not a default, sets this option.
fn is_said(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// An error about options, followed by the variables that set them.
pub(crate) fn with_variables(error: &str, variables: &[Variable]) -> String {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = error.split(|c| !is_part(c)).map(|w| w.trim_matches('-'));
    let mut text = error.trim_end().to_owned();
    for Variable { name, option } in variables {
        if words.clone().any(|word| word == option) {
            text.push_str(&format!("\nnote: {option} is set by {name}"));
        }
    }
    text.push('\n');
    text
}

#[derive(Debug, Default)]
struct Environment {
    /// The variables as arguments.
    arguments: Vec<OsString>,
    variables: Vec<Variable>,
    warnings: Vec<String>,
}

impl Environment {
    /// Reads the variables of the options that the command line leaves open.
    fn read(
        command: &Command,
        given: &ArgMatches,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Environment, Ended> {
        let variables = variables.into_iter();
        let mut set: Vec<_> = variables.filter(|(_, value)| !value.is_empty()).collect();
        let mut take = |name: &str| {
            let place = set.iter().position(|(other, _)| other == name)?;
            Some(set.swap_remove(place).1)
        };
        let is_given = |id: &str| is_said(given, id);
        let level_given = LEVELS.iter().any(|id| is_given(id));
        let mut environment = Environment::default();
        for arg in command.get_arguments() {
            let Some(option) = variable_option(arg) else {
                continue;
            };
            let id = arg.get_id().as_str();
            let name = variable_name(option);
            let Some(value) = take(&name) else {
                continue;
            };
            let overridden = match id {
                "listen" => is_given("listen") || is_given("port"),
                id if LEVELS.contains(&id) => level_given,
                id => is_given(id),
            };
            if !overridden {
                environment.add(arg, option, name, value)?;
            }
        }
        let is_set = environment.variables.iter().any(|v| v.option == "listen");
        if let Some(port) = take(PORT)
            && !(is_set || is_given("listen") || is_given("port"))
        {
            environment.listen_on(&port)?;
        }
        environment.remark_on(set.into_iter().map(|(name, _)| name));
        Ok(environment)
    }

    fn add(&mut self, arg: &Arg, option: &str, name: String, value: OsString) -> Result<(), Ended> {
        let mut argument = OsString::from(format!("--{option}"));
        if arg.get_action().takes_values() {
            argument.push("=");
            argument.push(value);
        } else {
            match value.to_str().and_then(switch) {
                Some(true) => {}
                Some(false) => return Ok(()),
                None => {
                    return Err(wrong(format!(
                        "{name} must be 1, true, yes or on, or 0, false, no or off, not {value:?}"
                    )));
                }
            }
        }
        self.arguments.push(argument);
        let option = option.to_owned();
        self.variables.push(Variable { name, option });
        Ok(())
    }

    /// PORT is set by platforms that reach the program from another machine.
    fn listen_on(&mut self, port: &OsString) -> Result<(), Ended> {
        let number: Option<u16> = port.to_str().and_then(|text| text.trim().parse().ok());
        let Some(number) = number else {
            return Err(wrong(format!(
                "{PORT} must be a port from 0 to 65535, not {port:?}"
            )));
        };
        self.arguments
            .push(format!("--listen=0.0.0.0:{number}").into());
        self.variables.push(Variable {
            name: PORT.to_owned(),
            option: "listen".to_owned(),
        });
        self.warnings.push(format!(
            "{PORT} is set and neither --listen nor {}: \
             listening on port {number} of all addresses",
            variable_name("listen")
        ));
        Ok(())
    }

    /// Warns of a variable that looks like an option's and is none.
    fn remark_on(&mut self, names: impl Iterator<Item = OsString>) {
        for name in names {
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && !NOT_OURS.iter().any(|ours| name.starts_with(ours)) {
                self.warnings.push(format!(
                    "{name:?} has no effect: no option has this variable; \
                     hubcast --help lists the options"
                ));
            }
        }
    }
}

/// The name of the option, if the environment can set it.
pub(crate) fn variable_option(arg: &Arg) -> Option<&str> {
    // What ends at once is for the command line alone.
    let is_set_there = !arg.is_hide_set() && arg.get_id() != "generate";
    arg.get_long().filter(|_| is_set_there)
}

/// The variable of an option: `HUBCAST_MAX_CLIENTS` for `max-clients`.
pub(crate) fn variable_name(option: &str) -> String {
    format!("{PREFIX}{}", option.to_ascii_uppercase().replace('-', "_"))
}

fn wrong(line: String) -> Ended {
    Ended {
        text: format!("error: {line}\n"),
        is_error: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str], variables: &[(&str, &str)]) -> Result<(Options, Vec<String>), String> {
        let args = [&["hubcast"], args].concat();
        let variables = variables.iter().map(|(n, v)| (n.into(), v.into()));
        let parsed = parse(args.into_iter().map(OsString::from), variables);
        parsed.map_err(|ended| ended.text)
    }

    #[track_caller]
    fn options(args: &[&str], variables: &[(&str, &str)]) -> Options {
        parsed(args, variables).unwrap().0
    }

    #[track_caller]
    fn refused(args: &[&str], variables: &[(&str, &str)]) -> String {
        parsed(args, variables).map(drop).unwrap_err()
    }

    fn listened(options: &Options) -> String {
        let addresses = options.listen().unwrap();
        assert_eq!(addresses.len(), 1);
        addresses[0].to_string()
    }

    /// A value that the option takes and that is not its default.
    fn another_value(option: &str, arg: &Arg) -> &'static str {
        let value_name = arg.get_value_names().map_or("", |names| names[0].as_str());
        match (option, value_name) {
            ("slow-consumer", _) => "drop-newest",
            ("log-level", _) => "error",
            ("allow-origin", _) => "https://a.example",
            ("token-file", _) => "Cargo.toml",
            ("room", _) => "/a history=7",
            (_, "SIZE") => "5000000",
            (_, "TIME") => "77s",
            (_, "ADDRESS" | "HOST:PORT") => "127.0.0.1:7",
            (_, "MODE") => "660",
            (_, "NETWORK") => "unix",
            (_, "FORMAT") => "ndjson",
            (_, "VERSION") => "1.3",
            (_, "N") => "7",
            _ => "1",
        }
    }

    #[test]
    fn every_option_has_its_variable_which_an_empty_value_leaves_unset() {
        let unset = format!("{:?}", options(&[], &[]));
        let mut seen = 0;
        for arg in cli::command().get_arguments() {
            let Some(option) = variable_option(arg) else {
                continue;
            };
            let name = variable_name(option);
            let value = another_value(option, arg);
            let needed: &[(&str, &str)] = match option {
                "deflate-rooms" => &[("HUBCAST_DEFLATE", "1")],
                "exit-on-eof" => &[("HUBCAST_STDIN", "/")],
                "jwt-audience" => &[("HUBCAST_JWT_KEY", "x")],
                "publish-token" => &[("HUBCAST_ALLOW_PUBLISH", "1")],
                _ => &[],
            };
            let set = options(&[], &[needed, &[(name.as_str(), value)]].concat());
            assert!(set.variables.iter().any(|variable| variable.name == name));
            let without = format!("{:?}", options(&[], needed));
            assert_ne!(format!("{set:?}"), without, "{name}");
            let empty = options(&[], &[(name.as_str(), "")]);
            assert_eq!(format!("{empty:?}"), unset, "{name}");
            seen += 1;
        }
        assert!(seen > 30);
        assert_eq!(variable_name("max-clients"), "HUBCAST_MAX_CLIENTS");
    }

    #[test]
    fn a_switch_says_on_or_off_or_is_refused_by_name() {
        for on in ["1", "true", "YES", "on"] {
            assert!(
                !options(&[], &[("HUBCAST_NO_PAGE", on)])
                    .config()
                    .unwrap()
                    .page
            );
        }
        for off in ["0", "False", "no", "off", ""] {
            assert!(
                options(&[], &[("HUBCAST_NO_PAGE", off)])
                    .config()
                    .unwrap()
                    .page
            );
            // What is off asks for nothing else.
            options(&[], &[("HUBCAST_EXIT_ON_EOF", off)]);
        }
        for other in ["2", "maybe", " ", "offf"] {
            let text = refused(&[], &[("HUBCAST_NO_PAGE", other)]);
            assert!(text.contains("HUBCAST_NO_PAGE must be 1, true"), "{text}");
            assert!(text.contains(&format!("{other:?}")), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_shows_no_secret() {
        for (name, value) in [
            ("HUBCAST_MAX_CLIENTS", "many"),
            ("HUBCAST_QUEUE_BYTES", "-1"),
            ("HUBCAST_PONG_TIMEOUT", "20"),
            ("HUBCAST_SLOW_CONSUMER", "wait"),
            ("HUBCAST_EXIT_ON_EOF", "1"),
            ("HUBCAST_PUBLISH_TOKEN", "s3cret"),
            ("PORT", "http"),
        ] {
            let text = refused(&[], &[(name, value)]);
            assert!(text.contains(name), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
        let text = refused(&["--token-file=/x"], &[("HUBCAST_TOKEN", "s3cret")]);
        assert!(
            text.contains("note: token is set by HUBCAST_TOKEN\n"),
            "{text}"
        );
        assert!(!text.contains("HUBCAST_TOKEN_FILE"), "{text}");
        let set = options(&[], &[("HUBCAST_READ_BUFFER", "1"), ("HUBCAST_TOKEN", "x")]);
        let text = with_variables("hubcast: read-buffer must be more", &set.variables);
        let note = "note: read-buffer is set by HUBCAST_READ_BUFFER\n";
        assert_eq!(text, format!("hubcast: read-buffer must be more\n{note}"));
    }

    #[test]
    fn the_command_line_comes_first() {
        let variables = [
            ("HUBCAST_LISTEN", "127.0.0.1:1"),
            ("HUBCAST_ALLOW_ORIGIN", "https://a.example"),
            ("HUBCAST_MAX_CLIENTS", "not even a number"),
            ("HUBCAST_LOG_LEVEL", "trace"),
        ];
        let args = [
            "-l127.0.0.1:2",
            "--origin=https://b.example",
            "--max-connections=3",
            "-q",
        ];
        let options = options(&args, &variables);
        let config = options.config().unwrap();
        assert_eq!(listened(&options), "127.0.0.1:2");
        assert_eq!(config.allow_origin, ["https://b.example"]);
        assert_eq!(config.max_clients, 3);
        assert!(options.variables.is_empty(), "{:?}", options.variables);
        assert_eq!(format!("{:?}", options.log_level()), "Warn");
    }

    #[test]
    fn platforms_say_the_port_where_no_address_is_said() {
        let platform = ("PORT", "7");
        let (options, warnings) = parsed(&[], &[platform]).unwrap();
        assert_eq!(listened(&options), "0.0.0.0:7");
        assert!(warnings[0].contains("all addresses"), "{warnings:?}");
        for (args, variables, address) in [
            (&["--port=8"][..], &[platform][..], "127.0.0.1:8"),
            (&["--listen=[::1]:8"], &[platform], "[::1]:8"),
            (&[], &[platform, ("HUBCAST_LISTEN", "[::1]:8")], "[::1]:8"),
            (&[], &[("PORT", "")], "127.0.0.1:8080"),
            (
                &[],
                &[("HUBCAST_PORT", "tcp://10.0.0.1:8080")],
                "127.0.0.1:8080",
            ),
        ] {
            let (options, warnings) = parsed(args, variables).unwrap();
            assert_eq!(listened(&options), address);
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }

    #[test]
    fn a_variable_without_an_option_is_remarked_on() {
        let variables = [
            ("HUBCAST_MAX_CLENTS", "7"),
            ("HUBCAST_SERVICE_HOST", "10.0.0.1"),
            ("HUBCAST_OUTBOX_BYTES", ""),
            ("HUBRIS", "7"),
        ];
        let (_, warnings) = parsed(&[], &variables).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("HUBCAST_MAX_CLENTS"), "{warnings:?}");
    }

    #[test]
    fn help_comes_before_what_is_wrong_with_the_environment() {
        let bad = [("HUBCAST_MAX_CLIENTS", "many")];
        let args = ["hubcast", "--help"].map(OsString::from);
        let variables = bad.map(|(n, v)| (n.into(), v.into()));
        let ended = parse(args, variables).unwrap_err();
        assert!(!ended.is_error && ended.text.contains("Usage:"));
        assert!(refused(&["--bogus"], &bad).contains("HUBCAST_MAX_CLIENTS"));
        assert!(refused(&["--bogus"], &[]).contains("--bogus"));
    }
}
