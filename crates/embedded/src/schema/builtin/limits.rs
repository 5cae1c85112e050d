//! LimitRange.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{at, entries, list, names, quantity::Quantity, text};
use crate::schema::Cause;

const TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
/// What containers can ask for.
const OF_CONTAINERS: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
/// What else has a name without a domain.
const STANDARD: [&str; 17] = [
    "configmaps",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// The defaults of a container follow from what it may have at most, at least and by default.
pub(super) fn default_limit_range(range: &mut Value) {
    // An empty list is kept as none.
    if list(range, &["spec", "limits"]).is_empty()
        && let Some(spec) = range.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("limits");
    }
    let limits = range.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
    for limit in limits.into_iter().flatten() {
        if text(limit, &["type"]) != "Container" {
            continue;
        }
        let of = |name: &str| at(limit, &[name]).as_object().cloned().unwrap_or_default();
        let fill = |into: &mut Map<String, Value>, from: Map<String, Value>| {
            for (name, amount) in from {
                into.entry(name).or_insert(amount);
            }
        };
        let (mut default, mut request) = (of("default"), of("defaultRequest"));
        fill(&mut default, of("max"));
        fill(&mut request, default.clone());
        fill(&mut request, of("min"));
        if let Some(limit) = limit.as_object_mut() {
            limit.insert("default".into(), default.into());
            limit.insert("defaultRequest".into(), request.into());
        }
    }
}

pub(super) fn check_limit_range(new: &Value, _old: Option<&Value>, causes: &mut Vec<Cause>) {
    let limits = list(new, &["spec", "limits"]);
    for (index, limit) in limits.iter().enumerate() {
        let field = format!("spec.limits[{index}]");
        let kind = text(limit, &["type"]);
        check_type(&format!("{field}.type"), kind, causes);
        if limits[..index].iter().any(|other| text(other, &["type"]) == kind) {
            causes.push(Cause::duplicate(format!("{field}.type"), &json!(kind)));
        }
        check_names(&field, kind, limit, causes);
        check_amounts(&field, kind, limit, causes);
    }
}

fn check_type(field: &str, kind: &str, causes: &mut Vec<Cause>) {
    let before = causes.len();
    names::check_qualified(field, kind, causes);
    if causes.len() == before && !kind.contains('/') && !TYPES.contains(&kind) {
        let detail = "must be a standard limit type or fully qualified";
        causes.push(Cause::invalid(field, &json!(kind), detail));
    }
}

fn check_names(field: &str, kind: &str, limit: &Value, causes: &mut Vec<Cause>) {
    for part in ["max", "min", "default", "defaultRequest"] {
        if kind == "Pod" && part.starts_with("default") {
            if entries(limit, &[part]).next().is_some() {
                let detail = "may not be specified when `type` is 'Pod'";
                causes.push(Cause::forbidden(format!("{field}.{part}"), detail));
            }
            continue;
        }
        check_part(field, kind, part, limit, causes);
    }
    if kind == "PersistentVolumeClaim"
        && at(limit, &["min", "storage"]).is_null()
        && at(limit, &["max", "storage"]).is_null()
    {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        causes.push(Cause::required(format!("{field}.limits"), detail));
    }
    check_part(field, kind, "maxLimitRequestRatio", limit, causes);
}

fn check_part(field: &str, kind: &str, part: &str, limit: &Value, causes: &mut Vec<Cause>) {
    for (name, _) in entries(limit, &[part]) {
        check_name(&format!("{field}.{part}[{name}]"), kind, name, causes);
    }
}

/// The name of something that there is more or less of.
fn check_name(field: &str, kind: &str, name: &str, causes: &mut Vec<Cause>) {
    let before = causes.len();
    names::check_qualified(field, name, causes);
    if name.contains('/') {
        return;
    }
    let of_containers = OF_CONTAINERS.contains(&name) || name.starts_with("hugepages-");
    if causes.len() == before && !of_containers && !STANDARD.contains(&name) {
        let detail = "must be a standard resource type or fully qualified";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
    if matches!(kind, "Container" | "Pod") && !of_containers {
        let detail = "must be a standard resource for containers";
        causes.push(Cause::invalid(field, &json!(name), detail));
    }
}

fn check_amounts(field: &str, kind: &str, limit: &Value, causes: &mut Vec<Cause>) {
    let used = |part: &&str| !(kind == "Pod" && part.starts_with("default"));
    let parts = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    let parts: Vec<&str> = parts.into_iter().filter(used).collect();
    let members = |part: &&str| at(limit, &[*part]).as_object().into_iter().flat_map(Map::keys);
    let names: BTreeSet<&String> = parts.iter().flat_map(members).collect();
    for name in names {
        let value = |part: &str| match parts.contains(&part) {
            true => at(limit, &[part, name]),
            false => &Value::Null,
        };
        let amount = |part: &str| Quantity::of(value(part));
        let shown = |part: &str| value(part).as_str().unwrap_or_default().to_owned();
        // Which must not be more than which, what that is called, and where it is told of.
        for (less, more, words, (place, about)) in [
            ("min", "max", ["min value", "max value"], ("min", "min")),
            (
                "min",
                "defaultRequest",
                ["min value", "default request value"],
                ("defaultRequest", "defaultRequest"),
            ),
            (
                "defaultRequest",
                "max",
                ["default request value", "max value"],
                ("defaultRequest", "defaultRequest"),
            ),
            (
                "defaultRequest",
                "default",
                ["default request value", "default limit value"],
                ("defaultRequest", "defaultRequest"),
            ),
            ("min", "default", ["min value", "default value"], ("default", "min")),
            ("default", "max", ["default value", "max value"], ("default", "max")),
        ] {
            if let (Some(one), Some(other)) = (amount(less), amount(more))
                && one > other
            {
                let [first, second] = words;
                let detail =
                    format!("{first} {} is greater than {second} {}", shown(less), shown(more));
                let field = format!("{field}.{place}[{name}]");
                causes.push(Cause::invalid(field, value(about), &detail));
            }
        }
        check_ratio(
            field,
            name,
            [value("maxLimitRequestRatio"), value("min"), value("max")],
            causes,
        );
    }
}

fn check_ratio(field: &str, name: &str, [ratio, min, max]: [&Value; 3], causes: &mut Vec<Cause>) {
    let Some(most) = Quantity::of(ratio) else { return };
    let field = format!("{field}.maxLimitRequestRatio[{name}]");
    let shown = ratio.as_str().unwrap_or_default();
    if most < Quantity::of_billionths(1_000_000_000) {
        let detail = format!("ratio {shown} is less than 1");
        causes.push(Cause::invalid(&field, ratio, &detail));
    }
    if let (Some(min), Some(max)) = (Quantity::of(min), Quantity::of(max)) {
        let widest = max.as_f64() / min.as_f64();
        if most.as_f64() / 1e9 > widest {
            let detail = format!("ratio {shown} is greater than max/min = {widest:.6}");
            causes.push(Cause::invalid(&field, ratio, &detail));
        }
    }
}
