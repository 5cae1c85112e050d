//! Quantities such as `500m`, `1Gi` or `2e3`.

use std::cmp::Ordering;

use serde_json::Value;

use crate::schema::Cause;

pub(crate) const PATTERN: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A quantity, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(i128);

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

    #[expect(clippy::cast_precision_loss, reason = "for ratios, which are rounded anyway")]
    pub(super) fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// A quantity of an object; numbers are quantities too.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// In the form in which it is written: without a fraction, with the largest suffix of its family.
    pub(crate) fn canonical(self, suffix: &str) -> String {
        const BILLION: i128 = 1_000_000_000;
        let value = self.0;
        if value == 0 {
            return "0".to_owned();
        }
        let whole = value / BILLION;
        if suffix.ends_with('i') && value % BILLION == 0 && whole.abs() >= 1024 {
            let (mut number, mut power) = (whole, 0);
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            return format!("{number}{}", suffixes.get(power).unwrap_or(&""));
        }
        let (mut number, mut exponent) = (value, -9_i32);
        while number % 10 == 0 {
            number /= 10;
            exponent += 1;
        }
        while exponent.rem_euclid(3) != 0 {
            number = number.saturating_mul(10);
            exponent -= 1;
        }
        if suffix.starts_with(['e', 'E']) && suffix != "E" && suffix != "Ei" && exponent != 0 {
            return format!("{number}e{exponent}");
        }
        let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        while exponent > 18 {
            number = number.saturating_mul(10);
            exponent -= 1;
        }
        let at = usize::try_from((exponent + 9) / 3).unwrap_or(0);
        format!("{number}{}", suffixes.get(at).unwrap_or(&""))
    }

    /// The quantity of so many billionths.
    pub(crate) fn of_billionths(billionths: i128) -> Self {
        Self(billionths)
    }

    /// The quantity as a number of billionths.
    pub(crate) fn billionths(self) -> i128 {
        self.0
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

/// A quantity as the API server writes it; none if it is not one.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    Quantity::parse(text).map(|quantity| quantity.canonical(suffix))
}

/// Why a text is not a quantity.
pub(crate) fn problem(text: &str) -> &'static str {
    let number = text.trim_start_matches(['+', '-']);
    let suffix = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let sign = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let digits = sign.strip_prefix(['+', '-']).unwrap_or(sign);
    let fits = suffix.len() < number.len() && digits.bytes().all(|c| c.is_ascii_digit());
    if fits && !suffix.is_empty() {
        "unable to parse quantity's suffix"
    } else if fits {
        "unable to parse numeric part of quantity"
    } else {
        PATTERN
    }
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
    #[case("1024Mi", "1Gi")]
    #[case("1.5Gi", "1536Mi")]
    #[case("0.5Ki", "512")]
    #[case("0.5", "500m")]
    #[case("1000m", "1")]
    #[case("1500", "1500")]
    #[case("100000", "100k")]
    #[case("1e3", "1e3")]
    #[case("10e3", "10e3")]
    #[case("0.0", "0")]
    #[case("-1.5", "-1500m")]
    fn are_written_in_one_form(#[case] given: &str, #[case] written: &str) {
        assert_eq!(canonical(given).as_deref(), Some(written));
        assert_eq!(canonical(written).as_deref(), Some(written));
    }

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
