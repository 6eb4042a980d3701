//! Numbers with decimals, without floating point.

use std::fmt::{self, Display, Formatter};

/// A number as this many units, of which 10 to the power of the second are one:
/// 1,250 and 3 are 1.25. What formats floating point is 14 KB of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal(pub(crate) u64, pub(crate) u32);

impl Display for Decimal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Decimal(units, mut places) = *self;
        let one = 10_u64.pow(places);
        write!(f, "{}", units / one)?;
        let mut rest = units % one;
        if rest == 0 {
            return Ok(());
        }
        while rest.is_multiple_of(10) {
            rest /= 10;
            places -= 1;
        }
        write!(f, ".{rest:0places$}", places = places as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[test]
    fn decimals_are_written_as_far_as_they_say_something() {
        for (units, places, text) in [
            (0, 0, "0"),
            (17, 0, "17"),
            (0, 3, "0"),
            (17_000, 3, "17"),
            (1_250, 3, "1.25"),
            (100, 6, "0.0001"),
            (20_300_000_001, 9, "20.300000001"),
            (u64::MAX, 0, "18446744073709551615"),
        ] {
            assert_eq!(Decimal(units, places).to_string(), text);
        }
    }
}
