//! The rules of the core kinds, as far as users and our own programs reach them.
//!
//! A cluster on one machine needs no more than this: fields that must be there, enumerations,
//! names, quantities, ports, what may not change, and the defaults that programs rely on. Fields
//! that nothing here acts on are stored as they are. `metadata` belongs to the API.

mod claim;
mod data;
mod limits;
mod names;
mod pod;
pub(super) mod quantity;
mod quota;
mod rbac;
pub(crate) mod service;
mod slice;
#[cfg(test)]
mod tests;
mod workload;

use serde_json::{Map, Value, json};

use super::cause::Cause;

pub(crate) use quantity::Quantity;
pub(crate) use workload::select_own_pods;

/// Fills in the defaults of a core kind; for other kinds nothing happens.
pub fn default(kind: &str, object: &mut Value) {
    match kind {
        "Secret" => data::default_secret(object),
        "PersistentVolumeClaim" => claim::default_claim(object),
        "PersistentVolume" => claim::default_volume(object),
        "StorageClass" => claim::default_class(object),
        "LimitRange" => limits::default_limit_range(object),
        "Service" => service::default_service(object),
        "EndpointSlice" => slice::default_slice(object),
        "Pod" => pod::default_pod(object),
        "StatefulSet" => workload::default_stateful_set(object),
        "Job" => workload::default_job(object),
        "Role" | "ClusterRole" => rbac::default_role(object),
        "RoleBinding" | "ClusterRoleBinding" => rbac::default_binding(object),
        _ => {}
    }
}

/// Everything that is wrong with an object of a core kind; for other kinds nothing is.
///
/// Objects are taken as [`default`] leaves them.
pub fn validate(kind: &str, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let check = match kind {
        "Secret" => data::check_secret,
        "ConfigMap" => data::check_config_map,
        "PersistentVolumeClaim" => claim::check_claim,
        "PersistentVolume" => claim::check_volume,
        "StorageClass" => claim::check_class,
        "Service" => service::check_service,
        "EndpointSlice" => slice::check_slice,
        "Pod" => pod::check_pod,
        "StatefulSet" => workload::check_stateful_set,
        "Job" => workload::check_job,
        "LimitRange" => limits::check_limit_range,
        "ResourceQuota" => quota::check_quota,
        "Role" => rbac::check_role,
        "ClusterRole" => rbac::check_cluster_role,
        "RoleBinding" => rbac::check_binding,
        "ClusterRoleBinding" => rbac::check_cluster_binding,
        "Lease" => check_lease,
        "Event" => check_event,
        _ => return causes,
    };
    check(new, old, &mut causes);
    causes
}

/// What is not wrong with an object of a core kind, but should be told to whoever writes it.
pub fn warn(kind: &str, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if kind == "Service" {
        service::warn(object, &mut warnings);
    }
    warnings
}

fn check_lease(new: &Value, _old: Option<&Value>, causes: &mut Vec<Cause>) {
    for (name, least, detail) in [
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ] {
        let value = at(new, &["spec", name]);
        if value.as_i64().is_some_and(|number| number < least) {
            causes.push(Cause::invalid(format!("spec.{name}"), value, detail));
        }
    }
}

fn check_event(new: &Value, _old: Option<&Value>, causes: &mut Vec<Cause>) {
    let involved = text(new, &["involvedObject", "namespace"]);
    let own = text(new, &["metadata", "namespace"]);
    // Events about objects without a namespace live in the default one.
    if involved != own && !(involved.is_empty() && own == "default") {
        causes.push(Cause::invalid(
            "involvedObject.namespace",
            &json!(involved),
            "does not match event.namespace",
        ));
    }
}

/// The value at a path of fields; null if there is none.
fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// The text at a path of fields; empty if there is none.
fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The elements at a path of fields.
fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The entries at a path of fields.
fn entries<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(value, path).as_object().into_iter().flatten()
}

/// The object in a field, made if it is missing; none if something else is there.
fn object_in<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let map = value.as_object_mut()?;
    let inner = map.entry(name).or_insert(Value::Null);
    if inner.is_null() {
        *inner = json!({});
    }
    inner.as_object_mut()
}

/// Sets a field that is missing, null or an empty text.
fn fill(map: &mut Map<String, Value>, name: &str, default: impl Into<Value>) {
    let value = map.entry(name).or_insert(Value::Null);
    if value.is_null() || value == "" {
        *value = default.into();
    }
}

/// Sets several fields of an object, if it is one.
fn fill_all(value: &mut Value, defaults: &[(&str, Value)]) {
    if let Some(map) = value.as_object_mut() {
        for (name, default) in defaults {
            fill(map, name, default.clone());
        }
    }
}

/// Checks that a text, if there is one, is one of several.
fn check_one_of(field: &str, value: &Value, supported: &[&str], causes: &mut Vec<Cause>) {
    if !value.is_null() && !value.as_str().is_some_and(|text| supported.contains(&text)) {
        causes.push(Cause::not_supported(field, value, supported));
    }
}

/// Checks that a number, if there is one, is not negative.
fn check_count(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    if value.as_f64().is_some_and(|number| number < 0.0) {
        causes.push(Cause::invalid(field, value, "must be greater than or equal to 0"));
    }
}

/// Checks that a field has not changed.
fn check_same(field: &str, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if new != old {
        causes.push(Cause::invalid(field, new, "field is immutable"));
    }
}

/// Checks the port of a program or a service.
fn check_port(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    if !value.as_i64().is_some_and(|port| (1..=65535).contains(&port)) {
        let shown = if value.is_null() { &json!(0) } else { value };
        causes.push(Cause::invalid(field, shown, "must be between 1 and 65535, inclusive"));
    }
}

/// Checks the number of a port, or a name for one.
fn check_port_or_name(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    match value {
        Value::String(name) => names::check_port_name(field, name, causes),
        other => check_port(field, other, causes),
    }
}

/// Checks the form of a label selector.
fn check_selector(field: &str, selector: &Value, causes: &mut Vec<Cause>) {
    for (index, one) in list(selector, &["matchExpressions"]).iter().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let some = !list(one, &["values"]).is_empty();
        match text(one, &["operator"]) {
            "In" | "NotIn" if !some => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{field}.values"), detail));
            }
            "Exists" | "DoesNotExist" if some => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{field}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                causes.push(Cause::invalid(format!("{field}.operator"), &json!(other), detail));
            }
        }
    }
}

/// Whether a label selector selects an object with these labels.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    entries(selector, &["matchLabels"]).all(|(key, value)| label(key) == value.as_str())
        && list(selector, &["matchExpressions"]).iter().all(|one| {
            let value = label(text(one, &["key"]));
            let listed = value
                .is_some_and(|value| list(one, &["values"]).iter().any(|other| other == value));
            match text(one, &["operator"]) {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
