//! The name of a delivery: the time it came, and chance. Later ones sort after earlier ones.

use std::{fmt, str::FromStr};

/// Crockford's digits: no letter looks like another.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// See the module. Written as 26 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub(super) u128);

impl Id {
    /// The id of a delivery at this Unix millisecond, greater than `last`.
    pub(super) fn after(last: Self, now: i64, chance: u128) -> Self {
        let time = u128::from(now.unsigned_abs()) << 80;
        Self((time | chance >> 48).max(last.0.saturating_add(1)))
    }

    /// The id of something that happens now and is not kept.
    pub(crate) fn now() -> Self {
        let chance = getrandom::u64().unwrap_or_default();
        Self::after(Self(0), super::now_ms(), u128::from(chance) << 64)
    }

    /// Less than the id of any delivery from this Unix millisecond on.
    pub(super) fn first_of(ms: i64) -> Self {
        Self(u128::from(ms.max(0).unsigned_abs()) << 80)
    }

    /// When it came, in Unix milliseconds.
    pub fn received_ms(self) -> i64 {
        i64::try_from(self.0 >> 80).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..26).rev() {
            let digit = usize::try_from(self.0 >> (place * 5) & 31).unwrap_or_default();
            write!(f, "{}", char::from(DIGITS[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return Err(NoId);
        }
        text.bytes()
            .try_fold(0_u128, |id, byte| {
                let digit = DIGITS.iter().position(|&digit| digit == byte.to_ascii_uppercase());
                Ok(id << 5 | u128::try_from(digit.ok_or(NoId)?).map_err(|_| NoId)?)
            })
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_never_repeat() {
        let first = Id::after(Id(0), 1000, u128::MAX);
        let second = Id::after(first, 1000, 0);
        let third = Id::after(second, 1001, 0);
        let back_in_time = Id::after(third, 5, 7);
        assert!(first < second && second < third && third < back_in_time);
        assert_eq!(third.received_ms(), 1001);
        assert_eq!(first.received_ms(), 1000);
    }

    #[test]
    fn ids_are_read_as_written() {
        for id in [Id(0), Id(u128::MAX), Id::after(Id(0), 1_735_689_600_000, 1 << 100)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in ["", "0", "80000000000000000000000000", "0000000000000000000000000U"] {
            assert_eq!(bad.parse::<Id>(), Err(NoId));
        }
    }
}
