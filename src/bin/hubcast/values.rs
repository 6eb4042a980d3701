//! Values of options, as people write them.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use hubcast::SlowConsumer;
#[cfg(feature = "tls")]
use hubcast::TlsVersion;
use log::LevelFilter;

/// A size in bytes: 512, 64KiB or 1MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let bytes = parse_size::parse_size(text)
            .map_err(|error| format!("{error}; a size is 512, 64KiB or 1MiB"))?;
        usize::try_from(bytes)
            .map(Size)
            .map_err(|_| "too large".to_owned())
    }
}

/// How messages are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    Rooms,
    Ndjson,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Format] {
        &[Format::Text, Format::Rooms, Format::Ndjson]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Format::Text => "text".into(),
            Format::Rooms => "rooms".into(),
            Format::Ndjson => "ndjson".into(),
        })
    }
}

/// A duration: 500ms, 20s or 2m.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Time, humantime::DurationError> {
        humantime::parse_duration(text).map(Time)
    }
}

/// What a switch's variable says: on or off. Any other word is an error, since
/// it may mean either.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    Disconnect,
    DropOldest,
    DropNewest,
}

impl ValueEnum for Policy {
    fn value_variants<'a>() -> &'a [Policy] {
        &[Policy::Disconnect, Policy::DropOldest, Policy::DropNewest]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Policy::Disconnect => PossibleValue::new("disconnect")
                .alias("evict")
                .help("Discard what waits and close with 1008"),
            Policy::DropOldest => {
                PossibleValue::new("drop-oldest").help("Drop the oldest message that waits")
            }
            Policy::DropNewest => PossibleValue::new("drop-newest").help("Drop the new message"),
        })
    }
}

impl From<Policy> for SlowConsumer {
    fn from(policy: Policy) -> SlowConsumer {
        match policy {
            Policy::Disconnect => SlowConsumer::Disconnect,
            Policy::DropOldest => SlowConsumer::DropOldest,
            Policy::DropNewest => SlowConsumer::DropNewest,
        }
    }
}

/// The oldest version of TLS.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum MinTls {
    #[default]
    V1_2,
    V1_3,
}

impl ValueEnum for MinTls {
    fn value_variants<'a>() -> &'a [MinTls] {
        &[MinTls::V1_2, MinTls::V1_3]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            MinTls::V1_2 => "1.2".into(),
            MinTls::V1_3 => "1.3".into(),
        })
    }
}

#[cfg(feature = "tls")]
impl From<MinTls> for TlsVersion {
    fn from(version: MinTls) -> TlsVersion {
        match version {
            MinTls::V1_2 => TlsVersion::V1_2,
            MinTls::V1_3 => TlsVersion::V1_3,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl ValueEnum for LogLevel {
    fn value_variants<'a>() -> &'a [LogLevel] {
        &[
            LogLevel::Off,
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Trace,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            LogLevel::Off => "off".into(),
            LogLevel::Error => "error".into(),
            LogLevel::Warn => PossibleValue::new("warn").alias("warning"),
            LogLevel::Info => "info".into(),
            LogLevel::Debug => "debug".into(),
            LogLevel::Trace => "trace".into(),
        })
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> LevelFilter {
        match level {
            LogLevel::Off => LevelFilter::Off,
            LogLevel::Error => LevelFilter::Error,
            LogLevel::Warn => LevelFilter::Warn,
            LogLevel::Info => LevelFilter::Info,
            LogLevel::Debug => LevelFilter::Debug,
            LogLevel::Trace => LevelFilter::Trace,
        }
    }
}

/// The mode of a file in octal digits, such as 660.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| *mode <= 0o777)
            .map(Mode)
            .ok_or_else(|| "a mode is three octal digits, such as 660".to_owned())
    }
}
