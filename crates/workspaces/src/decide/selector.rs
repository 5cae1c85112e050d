//! Rules for label selectors, in the words of Kubernetes, and selectors as query strings have them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Expression, Selector};
use web::Cause;

use super::names;

/// Checks that a label selector is well formed.
pub fn check(field: &str, selector: &LabelSelector) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(labels) = &selector.match_labels {
        causes.extend(names::check_labels(&format!("{field}.matchLabels"), labels));
    }
    let requirements = selector.match_expressions.as_deref().unwrap_or_default();
    for (index, requirement) in requirements.iter().enumerate() {
        causes
            .extend(check_requirement(&format!("{field}.matchExpressions[{index}]"), requirement));
    }
    causes
}

/// The most requirements that a selector may have.
const MOST: usize = 64;

/// Reads a selector such as `team=a,tier notin (x, y),!old`.
pub fn parse(text: &str) -> Result<Selector, String> {
    let mut requirements = Vec::new();
    for part in split(text) {
        let part = part.trim();
        if part.is_empty() {
            return Err("a requirement is missing".to_owned());
        }
        if requirements.len() == MOST {
            return Err(format!("must have at most {MOST} requirements"));
        }
        requirements.push(parse_requirement(part)?);
    }
    Ok(Selector::from_iter(requirements))
}

/// The parts between commas that are not in parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

fn parse_requirement(part: &str) -> Result<Expression, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(name(key)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(name(key)?, self::value(value)?));
    }
    if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Expression::Equal(name(key)?, self::value(value)?));
    }
    let Some((before, values)) = part.split_once('(') else {
        return Ok(Expression::Exists(name(part)?));
    };
    let values = values.strip_suffix(')').ok_or("a parenthesis is not closed")?;
    let values = values.split(',').map(self::value).collect::<Result<_, _>>()?;
    let (key, operator) = before.trim_end().rsplit_once(' ').ok_or("an operator is missing")?;
    match operator {
        "in" => Ok(Expression::In(name(key)?, values)),
        "notin" => Ok(Expression::NotIn(name(key)?, values)),
        other => Err(format!("{other:?} is not an operator")),
    }
}

fn name(text: &str) -> Result<String, String> {
    label(text.trim(), "").map(|(key, _)| key)
}

fn value(text: &str) -> Result<String, String> {
    label("key", text.trim()).map(|(_, value)| value)
}

fn label(key: &str, value: &str) -> Result<(String, String), String> {
    let pair = (key.to_owned(), value.to_owned());
    let broken = names::check_labels("", &BTreeMap::from([pair.clone()]));
    match broken.into_iter().next() {
        Some(cause) => Err(cause.message),
        None => Ok(pair),
    }
}

fn check_requirement(field: &str, requirement: &LabelSelectorRequirement) -> Vec<Cause> {
    let values = requirement.values.as_deref().unwrap_or_default();
    let mut causes = Vec::new();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => causes.push(names::required(
            &format!("{field}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => causes.push(names::forbidden(
            &format!("{field}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => causes.push(names::invalid(
            &format!("{field}.operator"),
            other,
            "not a valid selector operator",
        )),
    }
    let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    causes.extend(names::check_labels(&format!("{field}.key"), &label(&requirement.key, "")));
    for (index, value) in values.iter().enumerate() {
        causes
            .extend(names::check_labels(&format!("{field}.values[{index}]"), &label("key", value)));
    }
    causes
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn fields(selector: serde_json::Value) -> Vec<(String, String)> {
        let causes = check("s", &serde_json::from_value(selector).unwrap());
        causes.into_iter().map(|cause| (cause.reason, cause.field)).collect()
    }

    #[rstest]
    #[case::equal("team=a", true)]
    #[case::equal_twice("team == a", true)]
    #[case::other("team=b", false)]
    #[case::not_equal("team!=b,tier!=x", true)]
    #[case::within("team in (b, a)", true)]
    #[case::not_within("team notin (a,b)", false)]
    #[case::absent_is_not_within("tier notin (a)", true)]
    #[case::exists("team", true)]
    #[case::absent("!team", false)]
    #[case::all_must_hold("team=a,!team", false)]
    #[case::empty_value("empty=", true)]
    fn selectors_in_queries(#[case] text: &str, #[case] matches: bool) {
        let labels = [("team", "a"), ("empty", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(parse(text).unwrap().matches(&labels), matches);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::comma("a=b,")]
    #[case::bad_key("-a=b")]
    #[case::bad_value("a=b c")]
    #[case::operator("a near (b)")]
    #[case::open("a in (b")]
    #[case::no_operator("(a)")]
    #[case::no_key("in (a)")]
    fn broken_selectors(#[case] text: &str) {
        parse(text).unwrap_err();
    }

    #[test]
    fn selectors_are_bounded() {
        parse(&vec!["a=b"; MOST].join(",")).unwrap();
        parse(&vec!["a=b"; MOST + 1].join(",")).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_selector_panics(text in "[a-c!=(), in]{0,40}|\\PC{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn well_formed_selectors_pass() {
        assert!(fields(json!({})).is_empty());
        assert!(
            fields(json!({"matchLabels": {"a/b": "c"}, "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["b", ""]},
                {"key": "a", "operator": "DoesNotExist"},
            ]}))
            .is_empty()
        );
    }

    #[test]
    fn each_broken_part_is_named() {
        let broken = fields(json!({"matchLabels": {"-": "c"}, "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["b"]},
            {"key": "a b", "operator": "Like"},
            {"key": "a", "operator": "NotIn", "values": ["b", "c d"]},
        ]}));
        let expected = [
            ("FieldValueInvalid", "s.matchLabels"),
            ("FieldValueRequired", "s.matchExpressions[0].values"),
            ("FieldValueForbidden", "s.matchExpressions[1].values"),
            ("FieldValueInvalid", "s.matchExpressions[2].operator"),
            ("FieldValueInvalid", "s.matchExpressions[2].key"),
            ("FieldValueInvalid", "s.matchExpressions[3].values[1]"),
        ];
        assert_eq!(broken, expected.map(|(r, f)| (r.to_owned(), f.to_owned())));
    }
}
