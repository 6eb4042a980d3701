//! An option: how it is written, and what it sets.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use hubcast::{RoomRule, Secret, SlowConsumer};

use super::Options;
#[cfg(feature = "generate")]
use crate::generate::Artifact;
use crate::room::Room;
use crate::token;
use crate::values::{Format, LogLevel, MinTls, Mode, Policy, Size, Time};

/// An option, as a row of the table.
pub(super) struct Row {
    /// Its name, without the dashes.
    name: &'static str,
    /// What its value is called; empty for a switch.
    value_name: &'static str,
    default: Option<&'static str>,
    help: &'static str,
    sets: Sets,
    /// What else is said of it to clap.
    with: fn(Arg) -> Arg,
}

/// What an option sets, and so what its value is.
pub(super) type Place<T> = fn(&mut Options) -> &mut T;

pub(super) enum Sets {
    On(Place<bool>),
    Off(Place<bool>),
    Times(Place<u8>),
    Number(Place<usize>),
    Rate(Place<u32>),
    Size(Place<usize>),
    Time(Place<Duration>),
    Text(Place<Option<String>>),
    #[cfg(feature = "redis")]
    Name(Place<String>),
    Secret(Place<Option<Secret>>),
    File(Place<Option<PathBuf>>),
    /// Several, without the blanks that people write behind a comma.
    Entries(Place<Vec<String>>),
    Rooms(Place<Vec<String>>),
    Rules(Place<Vec<RoomRule>>),
    Port(Place<Option<u16>>),
    Mode(Place<Option<Mode>>),
    LogLevel(Place<LogLevel>),
    Policy(Place<SlowConsumer>),
    MinTls(Place<MinTls>),
    Format(Place<Format>),
    #[cfg(feature = "deflate")]
    DeflateLevel(Place<u8>),
    #[cfg(feature = "generate")]
    Artifact(Place<Option<Artifact>>),
}

/// A switch that is off.
pub(super) const fn on(name: &'static str, place: Place<bool>) -> Row {
    Row::new(name, "", Sets::On(place))
}

/// A switch that is off, for what is on.
pub(super) const fn off(name: &'static str, place: Place<bool>) -> Row {
    Row::new(name, "", Sets::Off(place))
}

pub(super) const fn number(name: &'static str, default: &'static str, place: Place<usize>) -> Row {
    Row::new(name, "N", Sets::Number(place)).default(default)
}

pub(super) const fn size(name: &'static str, default: &'static str, place: Place<usize>) -> Row {
    Row::new(name, "SIZE", Sets::Size(place)).default(default)
}

pub(super) const fn time(name: &'static str, default: &'static str, place: Place<Duration>) -> Row {
    Row::new(name, "TIME", Sets::Time(place)).default(default)
}

pub(super) const fn secret(name: &'static str, place: Place<Option<Secret>>) -> Row {
    Row::new(name, "TOKEN", Sets::Secret(place))
}

pub(super) const fn file(name: &'static str, place: Place<Option<PathBuf>>) -> Row {
    Row::new(name, "FILE", Sets::File(place))
}

pub(super) const fn entries(
    name: &'static str,
    value_name: &'static str,
    place: Place<Vec<String>>,
) -> Row {
    Row::new(name, value_name, Sets::Entries(place))
}

impl Row {
    pub(super) const fn new(name: &'static str, value_name: &'static str, sets: Sets) -> Row {
        Row {
            name,
            value_name,
            default: None,
            help: "",
            sets,
            with: |arg| arg,
        }
    }

    pub(super) const fn default(mut self, default: &'static str) -> Row {
        self.default = Some(default);
        self
    }

    pub(super) const fn help(mut self, help: &'static str) -> Row {
        self.help = help;
        self
    }

    pub(super) const fn with(mut self, with: fn(Arg) -> Arg) -> Row {
        self.with = with;
        self
    }

    /// The option, for clap.
    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).help(self.help);
        let arg = match self.sets {
            Sets::On(_) | Sets::Off(_) => arg.action(ArgAction::SetTrue),
            Sets::Times(_) => arg.action(ArgAction::Count),
            Sets::Entries(_) | Sets::Rooms(_) => arg.action(ArgAction::Append).value_delimiter(','),
            Sets::Rules(_) => arg.action(ArgAction::Append).value_delimiter(';'),
            _ => arg.action(ArgAction::Set),
        };
        let arg = match self.sets.parser() {
            Some(parser) => arg.value_parser(parser).value_name(self.value_name),
            None => arg,
        };
        (self.with)(arg.default_value(self.default))
    }

    /// Sets what was said, or is the default.
    pub(super) fn set(&self, options: &mut Options, said: &ArgMatches) {
        let said = Said(said, self.name);
        match self.sets {
            Sets::On(place) => said.one(place(options), |on: bool| on),
            Sets::Off(place) => said.one(place(options), |off: bool| !off),
            Sets::Times(place) => said.one(place(options), |times: u8| times),
            Sets::Number(place) => said.one(place(options), |number: usize| number),
            Sets::Rate(place) => said.one(place(options), |rate: u32| rate),
            Sets::Size(place) => said.one(place(options), |size: Size| size.0),
            Sets::Time(place) => said.one(place(options), |time: Time| time.0),
            Sets::Text(place) => said.one(place(options), |text: String| Some(text)),
            #[cfg(feature = "redis")]
            Sets::Name(place) => said.one(place(options), |name: String| name),
            Sets::Secret(place) => said.one(place(options), |s: String| Some(token::bare(&s))),
            Sets::File(place) => said.one(place(options), |path: PathBuf| Some(path)),
            Sets::Entries(place) => said.all(place(options), |s: String| s.trim().to_owned()),
            Sets::Rooms(place) => said.all(place(options), |room: String| room),
            Sets::Rules(place) => said.all(place(options), |room: Room| room.0),
            Sets::Port(place) => said.one(place(options), |port: u16| Some(port)),
            Sets::Mode(place) => said.one(place(options), |mode: Mode| Some(mode)),
            Sets::LogLevel(place) => said.one(place(options), |level: LogLevel| level),
            Sets::Policy(place) => said.one(place(options), Policy::into),
            Sets::MinTls(place) => said.one(place(options), |version: MinTls| version),
            Sets::Format(place) => said.one(place(options), |format: Format| format),
            #[cfg(feature = "deflate")]
            Sets::DeflateLevel(place) => said.one(place(options), |level: u8| level),
            #[cfg(feature = "generate")]
            Sets::Artifact(place) => said.one(place(options), |what: Artifact| Some(what)),
        }
    }
}

impl Sets {
    /// What reads a value; none for a switch.
    fn parser(&self) -> Option<ValueParser> {
        Some(match self {
            Sets::On(_) | Sets::Off(_) | Sets::Times(_) => return None,
            Sets::Number(_) => value_parser!(usize).into(),
            Sets::Rate(_) => value_parser!(u32).into(),
            Sets::Size(_) => value_parser!(Size).into(),
            Sets::Time(_) => value_parser!(Time).into(),
            Sets::Text(_) | Sets::Secret(_) | Sets::Entries(_) | Sets::Rooms(_) => {
                ValueParser::string()
            }
            #[cfg(feature = "redis")]
            Sets::Name(_) => ValueParser::string(),
            Sets::File(_) => ValueParser::path_buf(),
            Sets::Rules(_) => value_parser!(Room).into(),
            Sets::Port(_) => value_parser!(u16).into(),
            Sets::Mode(_) => value_parser!(Mode).into(),
            Sets::LogLevel(_) => value_parser!(LogLevel).into(),
            Sets::Policy(_) => value_parser!(Policy).into(),
            Sets::MinTls(_) => value_parser!(MinTls).into(),
            Sets::Format(_) => value_parser!(Format).into(),
            #[cfg(feature = "deflate")]
            Sets::DeflateLevel(_) => value_parser!(u8).range(1..=9).into(),
            #[cfg(feature = "generate")]
            Sets::Artifact(_) => value_parser!(Artifact).into(),
        })
    }
}

/// What was said of the option with this name.
struct Said<'a>(&'a ArgMatches, &'static str);

impl Said<'_> {
    fn one<V: Clone + Send + Sync + 'static, T>(&self, place: &mut T, of: fn(V) -> T) {
        if let Some(value) = self.0.get_one::<V>(self.1) {
            *place = of(value.clone());
        }
    }

    fn all<V: Clone + Send + Sync + 'static, T>(&self, place: &mut Vec<T>, of: fn(V) -> T) {
        let values = self.0.get_many::<V>(self.1);
        place.extend(values.into_iter().flatten().cloned().map(of));
    }
}
