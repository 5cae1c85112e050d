//! What the server itself writes into built-in kinds.

use serde_json::{Value, json};

use super::{
    Api, Status,
    kinds::Resource,
    metadata::{self, Object},
    query::WriteOptions,
};
use crate::schema::builtin;

/// The namespaces that always exist.
pub(crate) const NAMESPACES: [&str; 4] =
    ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Prepares the status and the server's own fields of a new object.
pub(crate) fn begin(resource: &Resource, object: &mut Object) {
    if resource.custom.is_some() {
        if resource.has_status {
            object.remove("status");
        }
        return;
    }
    let status = match &*resource.table {
        "namespaces" => {
            let own = object.get("spec").and_then(|spec| spec.get("finalizers")?.as_array());
            let mut finalizers = own.cloned().unwrap_or_default();
            if !finalizers.contains(&json!("kubernetes")) {
                finalizers.push(json!("kubernetes"));
            }
            set_spec(object, "finalizers", finalizers.into());
            json!({"phase": "Active"})
        }
        "pods" => json!({"phase": "Pending"}),
        "persistentvolumeclaims" | "persistentvolumes" => json!({"phase": "Pending"}),
        "services" => json!({"loadBalancer": {}}),
        "statefulsets.apps" => json!({"replicas": 0}),
        "jobs.batch" | "resourcequotas" => json!({}),
        // A node is registered with its status; other kinds have none of their own.
        _ => return,
    };
    object.insert("status".into(), status);
}

/// What a kind says about itself with its name and uid, before its rules are looked at.
pub(crate) fn prepare(resource: &Resource, object: &mut Object) {
    if resource.is("jobs.batch") {
        let (name, uid) =
            (metadata::get(object, "name").into(), metadata::get(object, "uid").into());
        let mut job = Value::Object(std::mem::take(object));
        builtin::select_own_pods(&mut job, name, uid);
        if let Value::Object(job) = job {
            *object = job;
        }
    }
}

fn set_spec(object: &mut Object, name: &str, value: Value) {
    let spec = object.entry("spec").or_insert_with(|| json!({}));
    if let Some(spec) = spec.as_object_mut() {
        spec.insert(name.into(), value);
    }
}

fn label(object: &mut Object, key: &str, value: &str) {
    let mut labels = object
        .get("metadata")
        .and_then(|metadata| metadata.get("labels")?.as_object().cloned())
        .unwrap_or_default();
    labels.insert(key.into(), value.into());
    metadata::set(object, "labels", labels);
}

/// What a kind always says about itself, whatever a client makes of it.
pub(crate) fn canonical(resource: &Resource, object: &mut Object) {
    let name = metadata::get(object, "name").to_owned();
    if resource.is("namespaces") && !name.is_empty() {
        label(object, "kubernetes.io/metadata.name", &name);
    }
}

/// The seconds that an object has to end by itself when it is deleted, if its kind has that.
pub(crate) fn grace_seconds(
    resource: &Resource,
    object: &Object,
    asked: Option<i64>,
) -> Option<i64> {
    if !resource.is("pods") {
        return None;
    }
    let at = |path: [&str; 2]| object.get(path[0]).and_then(|value| value.get(path[1]));
    let ended =
        matches!(at(["status", "phase"]).and_then(Value::as_str), Some("Succeeded" | "Failed"));
    let unscheduled =
        at(["spec", "nodeName"]).and_then(Value::as_str).unwrap_or_default().is_empty();
    if ended || unscheduled {
        return Some(0);
    }
    let own = at(["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64);
    let seconds = asked.or(own).unwrap_or(30);
    Some(if seconds < 0 { 1 } else { seconds })
}

/// Makes the namespaces that always exist.
pub(crate) async fn make_namespaces(api: &Api) -> Result<(), Status> {
    let registry = api.kinds();
    let Some(resource) = registry.find("", "v1", "namespaces") else { return Ok(()) };
    let options = WriteOptions::internal();
    let missing = NAMESPACES.iter().filter(|name| api.store.get("namespaces", name).is_none());
    let made = missing.map(|name| {
        let object = Object::from_iter([("metadata".to_owned(), json!({"name": name}))]);
        api.create(resource, "", object.into(), options.clone())
    });
    futures::future::try_join_all(made).await?;
    Ok(())
}
