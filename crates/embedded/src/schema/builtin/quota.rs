//! ResourceQuota.

use serde_json::{Value, json};

use super::{at, entries, list, names, quantity, text};
use crate::schema::Cause;

const COMPUTE: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
/// What is counted in whole numbers.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const OTHERS: [&str; 4] = [
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "requests.storage",
];

fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name)
        || COUNTED.contains(&name)
        || OTHERS.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

pub(super) fn check_quota(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
        for (name, value) in entries(new, &path) {
            let field = format!("{}.{}[{name}]", path[0], path[1]);
            check_name(&field, name, causes);
            quantity::check_not_negative(&field, value, causes);
            let whole = COUNTED.contains(&name.as_str());
            let amount = quantity::Quantity::of(value).map(quantity::Quantity::billionths);
            if whole && amount.is_some_and(|amount| amount % 1_000_000_000 != 0) {
                causes.push(Cause::invalid(&field, value, "must be an integer"));
            }
        }
    }
    check_scopes(new, causes);
    for one in list(new, &["spec", "scopeSelector", "matchExpressions"]) {
        check_selector(one, causes);
    }
    if let Some(old) = old {
        let sorted = |quota: &Value| {
            let mut scopes: Vec<String> =
                list(quota, &["spec", "scopes"]).iter().map(Value::to_string).collect();
            scopes.sort();
            scopes.dedup();
            scopes
        };
        if sorted(new) != sorted(old) {
            let scopes = at(new, &["spec", "scopes"]);
            causes.push(Cause::invalid("spec.scopes", scopes, "field is immutable"));
        }
    }
}

fn check_name(field: &str, name: &str, causes: &mut Vec<Cause>) {
    let before = causes.len();
    names::check_qualified(field, name, causes);
    if name.contains('/') {
        return;
    }
    if causes.len() == before && !is_standard(name) && name != "storage" {
        let detail = "must be a standard resource type or fully qualified";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
    if !is_standard(name) {
        causes.push(Cause::invalid(field, &json!(name), "must be a standard resource for quota"));
    }
}

fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => name == "pods" || COMPUTE.contains(&name),
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn is_scope(scope: &str) -> bool {
    matches!(
        scope,
        "Terminating"
            | "NotTerminating"
            | "BestEffort"
            | "NotBestEffort"
            | "PriorityClass"
            | "CrossNamespacePodAffinity"
            | "VolumeAttributesClass"
    )
}

fn check_scopes(new: &Value, causes: &mut Vec<Cause>) {
    let all = at(new, &["spec", "scopes"]);
    let scopes: Vec<&str> =
        list(new, &["spec", "scopes"]).iter().filter_map(Value::as_str).collect();
    let mut invalid = |detail: &str| causes.push(Cause::invalid("spec.scopes", all, detail));
    for scope in &scopes {
        if !is_scope(scope) {
            invalid("unsupported scope");
        }
        for (name, _) in entries(new, &["spec", "hard"]) {
            if is_standard(name) && !fits(scope, name) {
                invalid("unsupported scope applied to resource");
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            invalid("conflicting scopes");
        }
    }
}

fn check_selector(one: &Value, causes: &mut Vec<Cause>) {
    let field = |name: &str| format!("spec.scopeSelector.matchExpressions.{name}");
    let (scope, operator) = (text(one, &["scopeName"]), text(one, &["operator"]));
    if !is_scope(scope) {
        causes.push(Cause::invalid(field("scopeName"), &json!(scope), "unsupported scope"));
    }
    let only_exists = matches!(
        scope,
        "BestEffort"
            | "NotBestEffort"
            | "Terminating"
            | "NotTerminating"
            | "CrossNamespacePodAffinity"
    );
    if only_exists && operator != "Exists" {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        causes.push(Cause::invalid(field("operator"), &json!(operator), detail));
    }
    let some = !list(one, &["values"]).is_empty();
    match operator {
        "In" | "NotIn" if !some => {
            let detail =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            causes.push(Cause::required(field("values"), detail));
        }
        "Exists" | "DoesNotExist" if some => {
            let detail =
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            causes.push(Cause::invalid(field("values"), at(one, &["values"]), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let detail = "not a valid selector operator";
            causes.push(Cause::invalid(field("operator"), &json!(other), detail));
        }
    }
}
