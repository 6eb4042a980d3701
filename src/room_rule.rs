//! Settings for single rooms, by name or by the beginning of their names.

use std::time::Duration;

/// Settings for the rooms that a pattern names, in place of those of
/// [`Config`](crate::Config); see [`Config::room`](crate::Config::room).
///
/// A pattern is a room's name, or the beginning of one followed by `*`. Of
/// several that fit, the longest counts, and it alone: what it leaves out is
/// as [`Config`](crate::Config) says.
///
/// ```
/// use hubcast::{RoomRule, Server};
///
/// let mut prices = RoomRule::new("/price/*");
/// prices.history = Some(1);
/// prices.replay = Some(1); // a newcomer gets the last price at once
/// let server = Server::builder()
///     .configure(|config| config.room.push(prices))
///     .bind("127.0.0.1:0")?;
/// # drop(server);
/// # Ok::<(), hubcast::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomRule {
    /// Which rooms it is for: `/lobby`, or `/price/*`.
    pub pattern: String,
    /// In place of [`Config::history`](crate::Config::history).
    pub history: Option<usize>,
    /// In place of [`Config::history_bytes`](crate::Config::history_bytes).
    pub history_bytes: Option<usize>,
    /// In place of [`Config::history_age`](crate::Config::history_age).
    pub history_age: Option<Duration>,
    /// In place of [`Config::replay`](crate::Config::replay).
    pub replay: Option<usize>,
    /// In place of [`Config::presence`](crate::Config::presence).
    pub presence: Option<bool>,
}

impl RoomRule {
    /// A rule that changes nothing yet.
    pub fn new(pattern: impl Into<String>) -> RoomRule {
        RoomRule {
            pattern: pattern.into(),
            history: None,
            history_bytes: None,
            history_age: None,
            replay: None,
            presence: None,
        }
    }

    /// How well the pattern fits a room: the longer, the better; `None`, not
    /// at all.
    fn fit(&self, room: &str) -> Option<usize> {
        fit(&self.pattern, room)
    }

    /// What is wrong with the pattern, if anything is.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        fault(&self.pattern)
    }
}

/// How well a pattern fits a room: the longer, the better; `None`, not at all.
pub(crate) fn fit(pattern: &str, room: &str) -> Option<usize> {
    match pattern.strip_suffix('*') {
        Some(beginning) => room.starts_with(beginning).then_some(beginning.len()),
        // The name itself is longer than any beginning of it.
        None => (pattern == room).then_some(usize::MAX),
    }
}

/// What is wrong with a pattern, if anything is.
pub(crate) fn fault(pattern: &str) -> Option<&'static str> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    if !name.starts_with('/') {
        return Some("must begin with a slash");
    }
    name.contains('*').then_some("may hold * only at its end")
}

/// What one room remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomSettings {
    /// The most messages; zero: the room remembers nothing.
    pub(crate) history: usize,
    /// The most bytes of memory.
    pub(crate) history_bytes: usize,
    /// The oldest a message may be.
    pub(crate) history_age: Duration,
    /// How many messages a client gets that asks for none.
    pub(crate) replay: usize,
    /// Whether it shows who is in it.
    pub(crate) presence: bool,
}

impl RoomSettings {
    /// These settings with what the best rule for a room says instead.
    pub(crate) fn in_room(mut self, rules: &[RoomRule], room: &str) -> RoomSettings {
        let fitting = rules
            .iter()
            .filter_map(|rule| Some((rule.fit(room)?, rule)));
        if let Some((_, rule)) = fitting.max_by_key(|(fit, _)| *fit) {
            self.history = rule.history.unwrap_or(self.history);
            self.history_bytes = rule.history_bytes.unwrap_or(self.history_bytes);
            self.history_age = rule.history_age.unwrap_or(self.history_age);
            self.replay = rule.replay.unwrap_or(self.replay);
            self.presence = rule.presence.unwrap_or(self.presence);
        }
        self
    }

    /// For what belongs to every room: of two settings, the larger ones.
    pub(crate) fn widest(self, other: RoomSettings) -> RoomSettings {
        RoomSettings {
            history: self.history.max(other.history),
            history_bytes: self.history_bytes.max(other.history_bytes),
            history_age: self.history_age.max(other.history_age),
            replay: self.replay.max(other.replay),
            presence: self.presence || other.presence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, history: usize) -> RoomRule {
        RoomRule {
            history: Some(history),
            ..RoomRule::new(pattern)
        }
    }

    #[test]
    fn the_longest_pattern_that_fits_counts_and_it_alone() {
        let base = RoomSettings {
            history: 0,
            history_bytes: 1000,
            history_age: Duration::from_secs(1),
            replay: 0,
            presence: false,
        };
        let mut price = rule("/price/*", 2);
        price.replay = Some(2);
        let rules = [
            rule("/price/gold", 4),
            price,
            rule("/*", 1),
            rule("/price/gold*", 3),
        ];
        for (room, history, replay) in [
            ("/", 1, 0),
            ("/price", 1, 0),
            ("/price/", 2, 2),
            ("/price/silver", 2, 2),
            ("/price/gold", 4, 0),
            ("/price/golden", 3, 0),
        ] {
            let settings = base.in_room(&rules, room);
            assert_eq!(
                (settings.history, settings.replay),
                (history, replay),
                "{room}"
            );
            assert_eq!(settings.history_bytes, 1000);
        }
        assert_eq!(base.in_room(&[], "/"), base);
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_one() {
        for good in ["/", "/*", "/a", "/a/*", "/a*"] {
            assert_eq!(rule(good, 1).fault(), None, "{good}");
        }
        for bad in ["", "*", "a", "a/*", "/*/a", "/**"] {
            assert!(rule(bad, 1).fault().is_some(), "{bad}");
        }
    }
}
