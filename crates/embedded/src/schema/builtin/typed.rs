//! Core kinds are typed: values of a wrong type cannot be read, fields that a type does not have
//! are dropped.
//!
//! Found out by reading an object as the type and writing it again, so that no list of fields
//! has to be kept here.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview},
        authorization::v1::{
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
            SubjectAccessReview,
        },
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
            ResourceQuota, Secret, Service, ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
        storage::v1::StorageClass,
    },
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::Value;

/// Removes the fields that a core kind does not have, and returns their paths in order; for other
/// kinds nothing happens.
///
/// # Errors
/// Why the object cannot be read as its kind.
pub fn unknown_fields(kind: &str, object: &mut Value) -> Result<Vec<String>, String> {
    let written = match kind {
        "ClusterRole" => through::<ClusterRole>(object),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(object),
        "ConfigMap" => through::<ConfigMap>(object),
        "EndpointSlice" => through::<EndpointSlice>(object),
        "Event" => through::<Event>(object),
        "Job" => through::<Job>(object),
        "Lease" => through::<Lease>(object),
        "Namespace" => through::<Namespace>(object),
        "Node" => through::<Node>(object),
        "PersistentVolume" => through::<PersistentVolume>(object),
        "PersistentVolumeClaim" => through::<PersistentVolumeClaim>(object),
        "Pod" => through::<Pod>(object),
        "LocalSubjectAccessReview" => through::<LocalSubjectAccessReview>(object),
        "ResourceQuota" => through::<ResourceQuota>(object),
        "SelfSubjectAccessReview" => through::<SelfSubjectAccessReview>(object),
        "SelfSubjectReview" => through::<SelfSubjectReview>(object),
        "SelfSubjectRulesReview" => through::<SelfSubjectRulesReview>(object),
        "SubjectAccessReview" => through::<SubjectAccessReview>(object),
        "TokenRequest" => through::<TokenRequest>(object),
        "TokenReview" => through::<TokenReview>(object),
        "Role" => through::<Role>(object),
        "RoleBinding" => through::<RoleBinding>(object),
        "Secret" => through::<Secret>(object),
        "Service" => through::<Service>(object),
        "ServiceAccount" => through::<ServiceAccount>(object),
        "StatefulSet" => through::<StatefulSet>(object),
        "StorageClass" => through::<StorageClass>(object),
        _ => return Ok(Vec::new()),
    }?;
    let mut unknown = Vec::new();
    drop_unknown("", object, &written, &mut unknown);
    unknown.sort();
    Ok(unknown)
}

fn through<T: DeserializeOwned + Serialize>(object: &mut Value) -> Result<Value, String> {
    quantities_to_text(object);
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Quantities may be written as numbers, but are texts.
fn quantities_to_text(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match (name.as_str(), value) {
                    (
                        "limits" | "requests" | "capacity" | "allocatable",
                        Value::Object(resources),
                    ) => {
                        for quantity in
                            resources.values_mut().filter(|quantity| quantity.is_number())
                        {
                            *quantity = Value::String(quantity.to_string());
                        }
                    }
                    ("sizeLimit", value @ Value::Number(_)) => {
                        *value = Value::String(value.to_string())
                    }
                    (_, value) => quantities_to_text(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_to_text),
        _ => {}
    }
}

fn drop_unknown(path: &str, value: &mut Value, written: &Value, unknown: &mut Vec<String>) {
    match (value, written) {
        (Value::Object(map), Value::Object(written)) => map.retain(|name, value| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match written.get(name) {
                Some(written) => drop_unknown(&path, value, written, unknown),
                // Absent fields may be written as null or empty.
                None if is_empty(value) => {}
                None => {
                    unknown.push(path);
                    return false;
                }
            }
            true
        }),
        (Value::Array(items), Value::Array(written)) => {
            for (index, (item, written)) in items.iter_mut().zip(written).enumerate() {
                drop_unknown(&format!("{path}[{index}]"), item, written, unknown);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
