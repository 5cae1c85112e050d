//! Amounts as Kubernetes writes them: `500m`, `2Gi`.

/// The amount as a number, if it is one.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let digits = text.find(|character: char| !matches!(character, '0'..='9' | '.' | '+' | '-'));
    let (number, suffix) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return text.parse().ok().filter(|number: &f64| number.is_finite()),
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[rstest::rstest]
    #[case("500m", Some(0.5))]
    #[case("2Gi", Some(2_147_483_648.0))]
    #[case("1e3", Some(1000.0))]
    #[case("3", Some(3.0))]
    #[case("three", None)]
    #[case("", None)]
    #[case("1Qi", None)]
    fn reads_quantities(#[case] text: &str, #[case] expected: Option<f64>) {
        assert_eq!(parse(text), expected);
    }
}
