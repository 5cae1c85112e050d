//! Amounts of something, added up and written as Kubernetes writes them.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use crate::schema::builtin::Quantity;

/// A quantity with the kind of suffix it is written with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Amount {
    billionths: i128,
    /// Whether it is written with `Ki`, `Mi` and so on.
    binary: bool,
}

impl PartialEq for Amount {
    /// How an amount is written does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.billionths == other.billionths
    }
}

const ONE: i128 = 1_000_000_000;

impl Amount {
    pub(crate) fn whole(number: usize) -> Self {
        let number = i128::try_from(number).unwrap_or(i128::MAX);
        Self { billionths: number.saturating_mul(ONE), binary: false }
    }

    pub(crate) fn of(value: &Value) -> Option<Self> {
        let billionths = Quantity::of(value)?.billionths();
        let binary = value.as_str().is_some_and(|text| text.ends_with('i'));
        Some(Self { billionths, binary })
    }

    /// The same without a fraction, rounded up.
    pub(crate) fn rounded_up(self) -> Self {
        let fraction = self.billionths.rem_euclid(ONE);
        let up = if fraction == 0 { 0 } else { ONE - fraction };
        Self { billionths: self.billionths.saturating_add(up), ..self }
    }

    pub(crate) fn is_zero(self) -> bool {
        self.billionths == 0
    }

    pub(crate) fn is_negative(self) -> bool {
        self.billionths < 0
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let binary = if self.is_zero() { other.binary } else { self.binary };
        Self { billionths: self.billionths.saturating_add(other.billionths), binary }
    }

    /// The difference, or nothing if the other is larger.
    pub(crate) fn minus(self, other: Self) -> Self {
        let binary = if self.is_zero() { other.binary } else { self.binary };
        Self { billionths: self.billionths.saturating_sub(other.billionths).max(0), binary }
    }

    pub(crate) fn larger(self, other: Self) -> Self {
        if self.exceeds(other) { self } else { other }
    }

    /// How many times the other is in this one.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is rounded anyway")]
    pub(crate) fn times(self, other: Self) -> f64 {
        self.billionths as f64 / other.billionths as f64
    }

    pub(crate) fn exceeds(self, limit: Self) -> bool {
        self.billionths > limit.billionths
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.binary { "Ki" } else { "" };
        f.write_str(&Quantity::of_billionths(self.billionths).canonical(suffix))
    }
}

/// Amounts by name.
pub(crate) type Amounts = BTreeMap<String, Amount>;

/// Reads a map of quantities.
pub(crate) fn read(value: Option<&Value>) -> Amounts {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), Amount::of(value)?))).collect()
}

/// Writes one.
pub(crate) fn write(amounts: &Amounts) -> Value {
    let map: Map<String, Value> =
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect();
    Value::Object(map)
}

/// Adds amounts to others.
pub(crate) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.plus(*amount);
    }
}

/// Amounts as error messages show them.
pub(crate) fn shown<'a>(amounts: impl IntoIterator<Item = (&'a String, Amount)>) -> String {
    let shown: Vec<String> =
        amounts.into_iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("1", "1")]
    #[case("1000", "1k")]
    #[case("1500", "1500")]
    #[case("1.5", "1500m")]
    #[case("500m", "500m")]
    #[case("1000m", "1")]
    #[case("1024Mi", "1Gi")]
    #[case("1536Mi", "1536Mi")]
    #[case("0.5Ki", "512")]
    #[case("1.5Gi", "1536Mi")]
    #[case("0", "0")]
    #[case("1e6", "1M")]
    fn amounts_are_written_shortest(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Amount::of(&json!(text)).unwrap().to_string(), expected);
    }

    #[test]
    fn a_sum_is_written_like_its_first_part() {
        let of = |text: &str| Amount::of(&json!(text)).unwrap();
        assert_eq!(Amount::default().plus(of("1Gi")).plus(of("1Gi")).to_string(), "2Gi");
        assert_eq!(of("1").minus(of("2")).to_string(), "0");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(text in "[0-9]{1,9}(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?") {
            let amount = Amount::of(&json!(text)).unwrap().rounded_up();
            prop_assert_eq!(Amount::of(&json!(amount.to_string())).unwrap(), amount);
        }
    }
}
