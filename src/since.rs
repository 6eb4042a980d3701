//! From where on somebody wants a room's messages.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::position::{Position, PositionError};

/// From where on a room's messages are wanted, of those that it remembers.
///
/// The text of the first two is what `?since=` takes: a position, or a time
/// such as `500ms`, `30s`, `5m`, `2h` or `1d`.
///
/// ```
/// use std::time::Duration;
///
/// use hubcast::Since;
///
/// assert_eq!("30s".parse(), Ok(Since::Ago(Duration::from_secs(30))));
/// let Ok(Since::Position(position)) = "k3f9x2qa-10482".parse() else {
///     panic!("a position");
/// };
/// assert_eq!(position.to_string(), "k3f9x2qa-10482");
/// assert_eq!(
///     "yesterday".parse::<Since>().unwrap_err().to_string(),
///     "\"yesterday\" is neither a position such as k3f9x2qa-10482 nor a time such as 30s"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// What came after this position.
    Position(Position),
    /// What came within this time, by the server's clock.
    Ago(Duration),
    /// The newest messages, at most this number of them.
    Last(usize),
}

impl From<Position> for Since {
    fn from(position: Position) -> Since {
        Since::Position(position)
    }
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Since, SinceError> {
        if let Some(time) = duration(text) {
            return Ok(Since::Ago(time));
        }
        let position = text.parse::<Position>();
        position.map(Since::Position).map_err(SinceError)
    }
}

/// A whole number and its unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A text is not what `?since=` takes; shows the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinceError(PositionError);

impl fmt::Display for SinceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.text();
        write!(
            f,
            "{text:?} is neither a position such as k3f9x2qa-10482 nor a time such as 30s"
        )
    }
}

impl std::error::Error for SinceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_are_whole() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5m", 300_000),
            ("2d", 172_800_000),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(text.parse(), Ok(Since::Ago(time)), "{text}");
        }
        for text in [
            "",
            "s",
            "30",
            "1.5s",
            "-1s",
            "30 s",
            "30S",
            "18446744073709551615d",
        ] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
