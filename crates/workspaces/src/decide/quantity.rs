//! Quantities of Kubernetes, to be added and compared.

use std::{fmt, ops::Add};

/// So many parts make one.
const ONE: i128 = 1_000_000_000;

/// An amount of something, to a billionth. What is too large to be told apart is as large as can be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amount {
    parts: i128,
    /// Whether it is written with `Ki`, `Mi` and so on.
    binary: bool,
}

impl Amount {
    /// So many.
    pub fn count(number: usize) -> Self {
        let number = i128::try_from(number).unwrap_or(i128::MAX);
        Self { parts: number.saturating_mul(ONE), binary: false }
    }

    /// Reads `1`, `0.5`, `500m`, `2Gi`, `1e3`.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c));
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let (unsigned, negative) = match number.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (number.strip_prefix('+').unwrap_or(number), false),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 {
            return None;
        }
        let (multiplier, divisor) = scale(suffix)?;
        let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(i128::MAX) };
        let fraction = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let fraction = fraction.fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        let sum = whole.saturating_mul(ONE).saturating_add(fraction);
        let sum = sum.saturating_mul(multiplier) / divisor;
        let parts = if negative { -sum } else { sum };
        Some(Self { parts, binary: suffix.ends_with('i') })
    }

    /// Whether it is more than that.
    pub fn exceeds(self, limit: Self) -> bool {
        self.parts > limit.parts
    }
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let of = |base: i128, power: u32| Some((base.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, ONE)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => of(1000, 1),
        "M" => of(1000, 2),
        "G" => of(1000, 3),
        "T" => of(1000, 4),
        "P" => of(1000, 5),
        "E" => of(1000, 6),
        "Ki" => of(1024, 1),
        "Mi" => of(1024, 2),
        "Gi" => of(1024, 3),
        "Ti" => of(1024, 4),
        "Pi" => of(1024, 5),
        "Ei" => of(1024, 6),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(power.unsigned_abs()).unwrap_or(i128::MAX);
            Some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let binary = self.binary || other.binary;
        Self { parts: self.parts.saturating_add(other.parts), binary }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.parts / ONE, self.parts % ONE);
        if rest != 0 {
            // Rounded up, as Kubernetes does below a thousandth.
            return write!(f, "{}m", self.parts.saturating_add(999_999) / 1_000_000);
        }
        let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let fits = |power: &u32| whole % 1024_i128.pow(*power) == 0;
        let power = if self.binary && whole != 0 { (0..7).rfind(fits).unwrap_or(0) } else { 0 };
        write!(f, "{}{}", whole / 1024_i128.pow(power), units[power as usize])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", "1000m")]
    #[case("0.5", "500m")]
    #[case(".5", "500000000n")]
    #[case("2Gi", "2048Mi")]
    #[case("1e3", "1k")]
    #[case("15E2", "1500")]
    #[case("5e-1", "500m")]
    #[case("-1", "-1000m")]
    #[case("1E", "1000P")]
    #[case("+7u", "7000n")]
    fn the_same_may_be_written_in_many_ways(#[case] one: &str, #[case] other: &str) {
        let (one, other) = (Amount::parse(one).unwrap(), Amount::parse(other).unwrap());
        assert_eq!(one.parts, other.parts);
    }

    #[rstest]
    #[case("3", "1", "4")]
    #[case("500m", "600m", "1100m")]
    #[case("1Gi", "512Mi", "1536Mi")]
    #[case("1", "1n", "1001m")]
    #[case("0", "0Gi", "0")]
    fn sums_are_written_short(#[case] one: &str, #[case] other: &str, #[case] sum: &str) {
        let total = Amount::parse(one).unwrap() + Amount::parse(other).unwrap();
        assert_eq!(total.to_string(), sum);
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case("1x")]
    #[case("1-2")]
    #[case("Gi")]
    #[case("1e")]
    #[case("--1")]
    #[case("١")]
    fn what_is_no_quantity_is_none(#[case] text: &str) {
        assert!(Amount::parse(text).is_none());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_more_digits_are_more(text in "\\PC{0,40}", zeros in 0_usize..60) {
            let _ = Amount::parse(&text);
            let many = Amount::parse(&format!("1{}", "0".repeat(zeros))).unwrap();
            prop_assert!(!many.exceeds(many + many));
            let two_suffixes = format!("1e{zeros}Gi");
            prop_assert!(Amount::parse(&two_suffixes).is_none());
            let _ = (many + many).to_string();
        }
    }
}
