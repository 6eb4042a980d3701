//! Settings for some rooms, as people write them.

use std::str::FromStr;

use hubcast::RoomRule;

use crate::values::{Size, Time, switch};

/// What can be set for some rooms.
const KEYS: &str = "history, history-bytes, history-age, replay, presence";

/// A pattern and settings: `/price/* history=1 replay=1`.
#[derive(Debug, Clone)]
pub(crate) struct Room(pub(crate) RoomRule);

impl FromStr for Room {
    type Err = String;

    fn from_str(text: &str) -> Result<Room, String> {
        let mut words = text.split_whitespace();
        let pattern = words.next().unwrap_or_default();
        let mut rule = RoomRule::new(pattern);
        let mut settings = 0;
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?} is not key=value; the keys are {KEYS}"))?;
            match key {
                "history" => rule.history = Some(parsed(key, value)?),
                "history-bytes" => rule.history_bytes = Some(parsed::<Size>(key, value)?.0),
                "history-age" => rule.history_age = Some(parsed::<Time>(key, value)?.0),
                "replay" => rule.replay = Some(parsed(key, value)?),
                "presence" => rule.presence = Some(on_or_off(value)?),
                _ => return Err(format!("there is no {key:?}; the keys are {KEYS}")),
            }
            settings += 1;
        }
        match settings {
            0 => Err(format!(
                "nothing is set for {pattern:?}; the keys are {KEYS}"
            )),
            _ => Ok(Room(rule)),
        }
    }
}

fn on_or_off(value: &str) -> Result<bool, String> {
    switch(value).ok_or_else(|| format!("presence={value}: it is on or off"))
}

fn parsed<T: FromStr<Err: ToString>>(key: &str, value: &str) -> Result<T, String> {
    let parsed = value.parse::<T>();
    parsed.map_err(|error| format!("{key}={value}: {}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_room_is_a_pattern_and_what_is_set_there() {
        let text = "/price/*  history=1 history-bytes=4KiB history-age=5m replay=2";
        let Room(rule) = text.parse().unwrap();
        assert_eq!(rule.pattern, "/price/*");
        assert_eq!((rule.history, rule.replay), (Some(1), Some(2)));
        assert_eq!(rule.history_bytes, Some(4096));
        assert_eq!(rule.history_age, Some(Duration::from_secs(300)));
    }

    #[test]
    fn bad_settings_are_named_with_what_is_possible() {
        for (text, part) in [
            ("/a", "nothing is set for \"/a\""),
            ("/a history", "\"history\" is not key=value"),
            ("/a hist=1", "there is no \"hist\"; the keys are history, "),
            ("/a history=-1", "history=-1: "),
            ("/a history-age=1", "history-age=1: "),
        ] {
            let error = text.parse::<Room>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
