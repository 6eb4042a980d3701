//! Where a message stands in the log: epoch and offset.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

/// The digits of an epoch's text, five bits each; letters that look like
/// another are left out.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// How many digits an epoch has: 40 bits.
const EPOCH_DIGITS: usize = 8;
/// How many former epochs are known, with the end of each.
#[cfg(any(test, feature = "redis"))]
const MAX_ANCESTORS: usize = 64;

/// A stretch of the log in which no offset is used twice: 40 random bits.
///
/// A counter would not do: one that is rolled back itself would name two
/// different stretches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// A new epoch. The randomness is that of the standard library's hash
    /// maps, which take it from the system.
    pub(crate) fn random() -> Epoch {
        let bits = RandomState::new().hash_one(std::process::id());
        Epoch(bits >> (64 - 5 * EPOCH_DIGITS))
    }

    pub(crate) fn parse(text: &str) -> Option<Epoch> {
        if text.len() != EPOCH_DIGITS {
            return None;
        }
        let value = |digit| DIGITS.iter().position(|known| *known == digit);
        let mut digits = text.bytes().map(value);
        let bits = digits.try_fold(0, |bits, digit| Some(bits << 5 | digit? as u64));
        bits.map(Epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; EPOCH_DIGITS];
        for (index, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS[(self.0 >> (5 * index)) as usize & 31];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// The number of a message in the log: 1, 2, 3, … over all rooms. Zero
/// stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Offset(pub(crate) u64);

impl Offset {
    /// Before the first message; of a message, that it is not in the log.
    pub(crate) const NONE: Offset = Offset(0);

    /// Behind every message.
    pub(crate) const MAX: Offset = Offset(u64::MAX);

    /// The offset `count` messages further on.
    pub(crate) fn plus(self, count: u64) -> Offset {
        Offset(self.0.saturating_add(count))
    }

    /// The offset before this one.
    pub(crate) fn before(self) -> Offset {
        Offset(self.0.saturating_sub(1))
    }
}

/// The place of a message in the server's log. Its text, such as
/// `k3f9x2qa-10482`, is made of letters, digits and a dash: it goes into
/// URLs, headers and logs as it is.
///
/// Of two messages of a room the later one has the larger number, but the
/// numbers are not dense: those between went to other rooms. A program keeps
/// a position as a whole; the server alone knows which ones can be compared.
///
/// ```
/// use hubcast::Position;
///
/// let position: Position = "k3f9x2qa-10482".parse()?;
/// assert_eq!(position.to_string(), "k3f9x2qa-10482");
/// let error = "10482".parse::<Position>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\"10482\" is not a position such as k3f9x2qa-10482"
/// );
/// # Ok::<(), hubcast::PositionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub(crate) epoch: Epoch,
    pub(crate) offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset.0)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        parse(text).ok_or_else(|| PositionError(text.chars().take(MAX_SHOWN).collect()))
    }
}

/// Only the text that [`Position`] itself writes: no sign, no leading zero.
fn parse(text: &str) -> Option<Position> {
    let (epoch, number) = text.split_once('-')?;
    let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || (number.starts_with('0') && number != "0") {
        return None;
    }
    Some(Position {
        epoch: Epoch::parse(epoch)?,
        offset: Offset(number.parse().ok()?),
    })
}

/// How much of a text that is not a position an error shows.
const MAX_SHOWN: usize = 40;

/// A text is not a [`Position`]; shows the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionError(String);

impl PositionError {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(f, "{text:?} is not a position such as k3f9x2qa-10482")
    }
}

impl std::error::Error for PositionError {}

/// The epoch of a log, and the epochs before it.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    epoch: Epoch,
    /// Former epochs, the oldest first, each with its cut: the last of its
    /// offsets that is still valid.
    ancestors: VecDeque<(Epoch, Offset)>,
}

/// What a lineage says about a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descent {
    /// Its offset means what it would mean in this epoch.
    Valid,
    /// Its offset lies above a cut: the log lost what it named. Up to this
    /// offset both agree.
    Cut(Offset),
    /// Its epoch is not known.
    Unknown,
}

impl Lineage {
    pub(crate) fn new(epoch: Epoch) -> Lineage {
        Lineage {
            epoch,
            ancestors: VecDeque::new(),
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins a new epoch behind `cut`, the last offset of the old one that
    /// is still valid.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn begin(&mut self, epoch: Epoch, cut: Offset) {
        if self.ancestors.len() == MAX_ANCESTORS {
            self.ancestors.pop_front();
        }
        self.ancestors.push_back((self.epoch, cut));
        self.epoch = epoch;
    }

    /// The lineage that two texts name: its epoch, and its ancestors as
    /// [`ancestors`](Lineage::ancestors) writes them.
    #[cfg(feature = "redis")]
    pub(crate) fn from_texts(epoch: &str, ancestors: &str) -> Option<Lineage> {
        let mut lineage = Lineage::new(Epoch::parse(epoch)?);
        for ancestor in ancestors.split_whitespace() {
            let position = parse(ancestor)?;
            lineage
                .ancestors
                .push_back((position.epoch, position.offset));
        }
        let extra = lineage.ancestors.len().saturating_sub(MAX_ANCESTORS);
        lineage.ancestors.drain(..extra);
        Some(lineage)
    }

    /// The ends of the former epochs, as positions with blanks between them.
    #[cfg(feature = "redis")]
    pub(crate) fn ancestors(&self) -> String {
        let ends = self.ancestors.iter();
        let ends = ends.map(|&(epoch, offset)| Position { epoch, offset }.to_string());
        ends.collect::<Vec<_>>().join(" ")
    }

    /// The position of an offset in this epoch.
    pub(crate) fn position(&self, offset: Offset) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }

    /// What a position means here. It is held against the cut of its own
    /// epoch and of every later one.
    pub(crate) fn descent(&self, position: Position) -> Descent {
        if position.epoch == self.epoch {
            return Descent::Valid;
        }
        let known = |(epoch, _): &(Epoch, Offset)| *epoch == position.epoch;
        let Some(own) = self.ancestors.iter().position(known) else {
            return Descent::Unknown;
        };
        let cuts = self.ancestors.range(own..).map(|(_, cut)| *cut);
        match cuts.min() {
            Some(cut) if position.offset > cut => Descent::Cut(cut),
            _ => Descent::Valid,
        }
    }

    /// What a log that went on apart from this one means here: up to where
    /// both are the same.
    #[cfg(feature = "redis")]
    pub(crate) fn fork(&self, other: &Lineage) -> Descent {
        let mut fork = self.descent(other.position(Offset::MAX));
        let mut end = Offset::MAX;
        for &(epoch, cut) in other.ancestors.iter().rev() {
            if fork != Descent::Unknown {
                break;
            }
            end = end.min(cut);
            let position = Position { epoch, offset: end };
            fork = match self.descent(position) {
                Descent::Valid => Descent::Cut(end),
                descent => descent,
            };
        }
        fork
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(text: &str) -> Epoch {
        Epoch::parse(text).unwrap()
    }

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn a_position_is_what_its_text_says() {
        for text in [
            "k3f9x2qa-10482",
            "00000000-0",
            "zzzzzzzz-18446744073709551615",
        ] {
            assert_eq!(position(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_position_is_shown_and_not_taken() {
        for text in [
            "",
            "-",
            "k3f9x2qa",
            "k3f9x2qa-",
            "k3f9x2qa--1",
            "k3f9x2qa-+1",
            "k3f9x2qa-01",
            "k3f9x2qa-1 ",
            "k3f9x2q-1",
            "k3f9x2qaa-1",
            "K3F9X2QA-1",
            "k3f9x2qo-1",
            "k3f9x2qa-18446744073709551616",
            "k3f9x2qé-1",
        ] {
            let error = text.parse::<Position>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let long = "x".repeat(10_000).parse::<Position>().unwrap_err();
        assert!(long.to_string().len() < 100);
    }

    #[test]
    fn epochs_differ_and_their_text_is_exact() {
        let epochs: std::collections::HashSet<Epoch> = (0..1000).map(|_| Epoch::random()).collect();
        assert_eq!(epochs.len(), 1000);
        for random in epochs {
            assert_eq!(epoch(&random.to_string()), random);
        }
    }

    #[test]
    fn a_position_is_held_against_its_own_cut_and_every_later_one() {
        let mut lineage = Lineage::new(epoch("aaaaaaaa"));
        lineage.begin(epoch("bbbbbbbb"), Offset(100));
        lineage.begin(epoch("cccccccc"), Offset(80));
        for (text, descent) in [
            ("cccccccc-7000", Descent::Valid),
            ("bbbbbbbb-80", Descent::Valid),
            ("bbbbbbbb-81", Descent::Cut(Offset(80))),
            ("aaaaaaaa-80", Descent::Valid),
            ("aaaaaaaa-90", Descent::Cut(Offset(80))),
            ("aaaaaaaa-101", Descent::Cut(Offset(80))),
            ("dddddddd-1", Descent::Unknown),
        ] {
            assert_eq!(lineage.descent(position(text)), descent, "{text}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn logs_are_the_same_up_to_where_they_went_apart() {
        let log = |ends: &[(&str, u64)], last: &str| {
            let text = ends.iter().map(|(epoch, cut)| format!("{epoch}-{cut}"));
            let text = text.collect::<Vec<_>>().join(" ");
            Lineage::from_texts(last, &text).unwrap()
        };
        let here = log(&[("aaaaaaaa", 4), ("bbbbbbbb", 9)], "cccccccc");
        let cut = |offset| Descent::Cut(Offset(offset));
        for (other, expected) in [
            (here.clone(), Descent::Valid),
            (log(&[("aaaaaaaa", 4)], "bbbbbbbb"), cut(9)),
            (log(&[], "aaaaaaaa"), cut(4)),
            (log(&[("aaaaaaaa", 4), ("bbbbbbbb", 7)], "dddddddd"), cut(7)),
            (
                log(&[("aaaaaaaa", 4), ("bbbbbbbb", 12)], "dddddddd"),
                cut(9),
            ),
            (log(&[("aaaaaaaa", 2)], "dddddddd"), cut(2)),
            (log(&[("aaaaaaaa", 8)], "dddddddd"), cut(4)),
            (log(&[("aaaaaaaa", 8), ("dddddddd", 3)], "eeeeeeee"), cut(3)),
            (log(&[("dddddddd", 8)], "eeeeeeee"), Descent::Unknown),
        ] {
            assert_eq!(here.fork(&other), expected, "{other:?}");
        }
    }

    #[test]
    fn the_oldest_ancestor_is_forgotten_first() {
        let mut lineage = Lineage::new(Epoch(0));
        for next in 1..=MAX_ANCESTORS as u64 + 1 {
            lineage.begin(Epoch(next), Offset(5));
        }
        let of = |epoch| lineage.position(Offset(1)).offset_in(Epoch(epoch));
        assert_eq!(lineage.descent(of(0)), Descent::Unknown);
        assert_eq!(lineage.descent(of(1)), Descent::Valid);
    }

    impl Position {
        fn offset_in(self, epoch: Epoch) -> Position {
            Position { epoch, ..self }
        }
    }
}
