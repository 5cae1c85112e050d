//! Rules for label selectors, in the words of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
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
    use serde_json::json;

    use super::*;

    fn fields(selector: serde_json::Value) -> Vec<(String, String)> {
        let causes = check("s", &serde_json::from_value(selector).unwrap());
        causes.into_iter().map(|cause| (cause.reason, cause.field)).collect()
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
