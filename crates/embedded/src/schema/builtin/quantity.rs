//! Quantities such as `500m`, `1Gi` or `2e3`.

use std::cmp::Ordering;

use serde_json::Value;

use crate::schema::Cause;

const PATTERN: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A quantity, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(i128);

impl Quantity {
    /// Parses a quantity; what is too large becomes the largest.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end =
            unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (binary, decimal) = scale(suffix)?;
        let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let mut billionths: i128 = 0;
        for digit in whole.bytes().chain(digits) {
            billionths = billionths.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        }
        billionths = billionths.saturating_mul(1 << binary);
        for _ in 0..decimal.max(0) {
            billionths = billionths.saturating_mul(10);
        }
        for _ in decimal.min(0)..0 {
            // What is less than a billionth is rounded up.
            billionths = billionths.saturating_add(9) / 10;
        }
        Some(Self(if negative { -billionths } else { billionths }))
    }

    /// A quantity of an object; numbers are quantities too.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    fn sign(self) -> Ordering {
        self.0.cmp(&0)
    }
}

/// The powers of two and ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (0, exponent.clamp(-60, 60))
        }
    })
}

/// Checks that a value is a quantity and not negative.
pub(super) fn check_not_negative(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    check(field, value, false, causes);
}

/// Checks that a value is a quantity above zero.
pub(super) fn check_positive(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    check(field, value, true, causes);
}

fn check(field: &str, value: &Value, positive: bool, causes: &mut Vec<Cause>) {
    let shown = match value {
        Value::Number(number) => Value::String(number.to_string()),
        other => other.clone(),
    };
    match Quantity::of(value).map(Quantity::sign) {
        None => causes.push(Cause::invalid(field, &shown, PATTERN)),
        Some(Ordering::Less) if !positive => {
            causes.push(Cause::invalid(field, &shown, "must be greater than or equal to 0"));
        }
        Some(Ordering::Less | Ordering::Equal) if positive => {
            causes.push(Cause::invalid(field, &shown, "must be greater than zero"));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1Gi", "1073741824")]
    #[case("500m", "0.5")]
    #[case("2e3", "2k")]
    #[case("1.5G", "1500M")]
    #[case("-1", "-1000m")]
    #[case("1E", "1e18")]
    fn equal_quantities(#[case] one: &str, #[case] other: &str) {
        assert_eq!(Quantity::parse(one), Quantity::parse(other));
        assert!(Quantity::parse(one).is_some());
    }

    #[rstest]
    #[case("")]
    #[case("1 Gi")]
    #[case("Gi")]
    #[case("1.2.3")]
    #[case("1kb")]
    #[case("--1")]
    fn not_quantities(#[case] text: &str) {
        assert_eq!(Quantity::parse(text), None);
    }

    #[test]
    fn quantities_have_an_order() {
        assert!(Quantity::parse("1Gi") > Quantity::parse("1G"));
        assert!(
            Quantity::parse("999999999999999999999999999999999999999999Ei")
                >= Quantity::parse("1Ei")
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+0-9.eEinumkKMGTP]{0,40}|\\PC{0,10}") {
            Quantity::parse(&text);
        }
    }
}
