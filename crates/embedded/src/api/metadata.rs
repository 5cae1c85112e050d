//! `metadata`: its shape, its rules, and the parts that only the server writes.

use serde_json::{Map, Value, json};

use super::{
    kinds::{NameRule, Resource, text},
    status::Status,
};
use crate::schema::{Cause, compact_json, names};

pub(crate) type Object = Map<String, Value>;

/// The class of what is missing.
const REQUIRED: &str = "FieldValueRequired";

/// All annotations of an object together.
const ANNOTATIONS_BYTES: usize = 256 << 10;

/// What Go's decoder calls a value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Makes `metadata` an object and drops what is empty or not kept here.
pub(crate) fn normalise(object: &mut Object) {
    let metadata = object.entry("metadata").or_insert(Value::Null);
    let Value::Object(metadata) = metadata else {
        *metadata = json!({});
        return;
    };
    metadata.retain(|name, value| {
        let empty = match value {
            Value::Null => true,
            Value::Object(members) => members.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        // Managed fields belong to server-side apply, which is not offered here.
        !empty && name != "managedFields" && name != "selfLink"
    });
}

/// A member of `metadata` that is text.
pub(crate) fn get<'a>(object: &'a Object, name: &str) -> &'a str {
    object
        .get("metadata")
        .map_or("", |metadata| metadata.get(name).and_then(Value::as_str).unwrap_or_default())
}

/// Sets a member of `metadata`.
pub(crate) fn set(object: &mut Object, name: &str, value: impl Into<Value>) {
    let metadata = object.entry("metadata").or_insert(Value::Null);
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert(name.into(), value.into());
    } else {
        *metadata = json!({ name: value.into() });
    }
}

/// Takes a member out of `metadata`.
pub(crate) fn remove(object: &mut Object, name: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(name);
    }
}

/// `metadata.finalizers`.
pub(crate) fn finalizers(object: &Object) -> Vec<&str> {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("finalizers")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Whether a deletion has begun.
pub(crate) fn is_deleting(object: &Object) -> bool {
    !get(object, "deletionTimestamp").is_empty()
}

/// `metadata.generation`.
pub(crate) fn generation(object: &Object) -> i64 {
    object.get("metadata").and_then(|metadata| metadata.get("generation")?.as_i64()).unwrap_or(0)
}

/// Adds one to `metadata.generation`, if the object has one.
pub(crate) fn count_up(object: &mut Object) {
    let next = generation(object) + 1;
    if next > 1 {
        set(object, "generation", next);
    }
}

/// The time as Kubernetes writes it.
pub(crate) fn now() -> String {
    at(jiff::Timestamp::now())
}

/// A time as Kubernetes writes it.
pub(crate) fn at(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Fills in what the server decides about a new object.
pub(crate) fn begin(object: &mut Object, resource: &Resource, namespace: &str) {
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        remove(object, name);
    }
    set(object, "uid", uuid::Uuid::new_v4().to_string());
    set(object, "creationTimestamp", now());
    if resource.counts {
        set(object, "generation", 1);
    }
    if resource.namespaced {
        set(object, "namespace", namespace);
    }
}

/// A name from `generateName`.
pub(crate) fn generate_name(prefix: &str) -> Result<String, Status> {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = [0; 5];
    getrandom::fill(&mut random).map_err(Status::internal)?;
    let mut name: String = prefix.chars().take(58).collect();
    for byte in random {
        let letter = LETTERS.get(usize::from(byte) % LETTERS.len()).copied().unwrap_or(b'x');
        name.push(char::from(letter));
    }
    Ok(name)
}

/// The rules of `metadata` for a new object.
pub(crate) fn validate(object: &Object, resource: &Resource) -> Vec<Cause> {
    let mut causes = validate_form(object, resource.names, resource.namespaced);
    causes.extend(core_finalizers(object, resource));
    causes
}

/// The rules of `metadata` for an object in another one, which needs no name.
pub(crate) fn validate_embedded(object: &Object) -> Vec<Cause> {
    let namespaced = !get(object, "namespace").is_empty();
    let mut causes = validate_form(object, NameRule::Path, namespaced);
    causes.retain(|cause| !(cause.field == "metadata.name" && cause.reason == REQUIRED));
    causes
}

fn validate_form(object: &Object, rule: NameRule, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut invalid = |field: &str, value: &str, problems: Vec<String>| {
        causes.extend(problems.iter().map(|problem| Cause::invalid(field, &value.into(), problem)));
    };
    let prefix = get(object, "generateName");
    if !prefix.is_empty() {
        invalid("metadata.generateName", prefix, rule.problems(prefix, true));
    }
    let name = get(object, "name");
    if !name.is_empty() {
        invalid("metadata.name", name, rule.problems(name, false));
    }
    let namespace = get(object, "namespace");
    if namespaced {
        invalid("metadata.namespace", namespace, names::label(namespace));
    }
    if name.is_empty() {
        let at = causes.iter().take_while(|cause| cause.field == "metadata.generateName").count();
        causes.insert(at, Cause::required("metadata.name", "name or generateName is required"));
    }
    if !namespaced && !namespace.is_empty() {
        causes.push(Cause::forbidden("metadata.namespace", "not allowed on this type"));
    }
    causes.extend(common(object));
    causes.extend(finalizer_names(object));
    causes
}

/// Finalizers of core kinds have a group, if Kubernetes did not make them.
pub(crate) fn core_finalizers(object: &Object, resource: &Resource) -> Vec<Cause> {
    const STANDARD: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];
    if resource.custom.is_some()
        || resource.is(super::crds::TABLE)
        || resource.is("leases.coordination.k8s.io")
    {
        return Vec::new();
    }
    let all = finalizers(object).into_iter().enumerate();
    all.filter(|(_, one)| !one.contains('/') && !STANDARD.contains(one))
        .map(|(index, one)| {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            Cause::invalid(format!("metadata.finalizers[{index}]"), &one.into(), detail)
        })
        .collect()
}

/// Takes out owners that are named twice; returns a warning about them.
pub(crate) fn dedup_owners(object: &mut Object) -> Option<String> {
    let owners = object
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("ownerReferences")?.as_array_mut())?;
    let mut repeated: Vec<String> = Vec::new();
    let mut seen: Vec<Value> = Vec::new();
    for owner in std::mem::take(owners) {
        if seen.contains(&owner) {
            let uid = text(&owner, "/uid").to_owned();
            if !repeated.contains(&uid) {
                repeated.push(uid);
            }
        } else {
            seen.push(owner);
        }
    }
    *owners = seen;
    (!repeated.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        )
    })
}

/// What is wrong with finalizers of any kind of object.
fn finalizer_names(object: &Object) -> Vec<Cause> {
    let field = "metadata.finalizers";
    let all = finalizers(object);
    let mut causes = Vec::new();
    for finalizer in &all {
        let problems = names::qualified_name(finalizer);
        let value = Value::from(*finalizer);
        causes.extend(problems.iter().map(|problem| Cause::invalid(field, &value, problem)));
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid(field, &Value::from(all), detail));
    }
    causes
}

/// How often a kind's own rules for changes look at all of `metadata`, as if it were new.
fn whole_looks(resource: &Resource) -> usize {
    match &*resource.table {
        "configmaps" | "jobs.batch" | "namespaces" | "pods" | "secrets" | "serviceaccounts" => 1,
        "persistentvolumeclaims" => 2,
        _ if resource.group == "rbac.authorization.k8s.io" => 2,
        _ => 0,
    }
}

/// The rules of `metadata` for a changed object.
///
/// A real server asks them several times, once for all kinds and then for each by itself, and
/// lists a problem as often.
pub(crate) fn validate_update(new: &Object, old: &Object, resource: &Resource) -> Vec<Cause> {
    let named = finalizer_names(new);
    let core = core_finalizers(new, resource);
    let mut shared = common(new);
    let mut changed = changes(new, old);
    changed.extend(shared.iter().cloned());
    let mut causes = shared.clone();
    causes.extend(named.iter().cloned());
    causes.extend(changed.iter().cloned());
    causes.extend(changed);
    causes.extend(core.iter().cloned());
    shared.extend(named);
    shared.extend(core);
    for _ in 0..whole_looks(resource) {
        causes.extend(shared.iter().cloned());
    }
    causes
}

/// What may not change in `metadata`, and did.
fn changes(new: &Object, old: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    if is_deleting(old) {
        let before = finalizers(old);
        let added: Vec<&str> =
            finalizers(new).into_iter().filter(|one| !before.contains(one)).collect();
        if !added.is_empty() {
            let list = added.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
            let message = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
            );
            causes.push(Cause::forbidden("metadata.finalizers", &message));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        let (now, before) = (get(new, field), get(old, field));
        if now != before {
            causes.push(Cause::invalid(
                format!("metadata.{field}"),
                &now.into(),
                "field is immutable",
            ));
        }
    }
    let grace = |object: &Object| {
        object.get("metadata").and_then(|meta| meta.get("deletionGracePeriodSeconds")).cloned()
    };
    if grace(new) != grace(old) {
        let now = grace(new).unwrap_or_default();
        let field = "metadata.deletionGracePeriodSeconds";
        causes.push(Cause::invalid(field, &now, "field is immutable"));
    }
    causes
}

/// The rules of labels, annotations and owners.
fn common(object: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    let members = |name: &str| {
        object
            .get("metadata")
            .and_then(|metadata| metadata.get(name)?.as_object())
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    };
    for (key, value) in members("labels") {
        for problem in names::qualified_name(key) {
            causes.push(Cause::invalid("metadata.labels", &key.into(), &problem));
        }
        for problem in names::label_value(value) {
            causes.push(Cause::invalid("metadata.labels", &value.into(), &problem));
        }
    }
    let mut bytes = 0;
    for (key, value) in members("annotations") {
        bytes += key.len() + value.len();
        for problem in names::qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &key.into(), &problem));
        }
    }
    if bytes > ANNOTATIONS_BYTES {
        causes.push(Cause {
            reason: "FieldValueTooLong".into(),
            message: format!("Too long: may not be more than {ANNOTATIONS_BYTES} bytes"),
            field: "metadata.annotations".into(),
        });
    }
    causes.extend(owners(object));
    causes
}

fn owners(object: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controller = String::new();
    let owners =
        object.get("metadata").and_then(|metadata| metadata.get("ownerReferences")?.as_array());
    for owner in owners.into_iter().flatten() {
        let api_version = text(owner, "/apiVersion");
        if api_version.is_empty() || api_version.matches('/').count() > 1 {
            let field = "metadata.ownerReferences.apiVersion";
            causes.push(Cause::invalid(field, &api_version.into(), "version must not be empty"));
        }
        let mut demand = |field: &str, message: &str| {
            if text(owner, &format!("/{field}")).is_empty() {
                let field = format!("metadata.ownerReferences.{field}");
                causes.push(Cause::invalid(&field, &"".into(), message));
            }
        };
        demand("kind", "must not be empty");
        demand("name", "must not be empty");
        demand("uid", "must not be empty");
        if api_version == "v1" && text(owner, "/kind") == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            let field = "metadata.ownerReferences";
            causes.push(Cause::shown_invalid(field, &shown_owner(owner), detail));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let this = format!("{}/{}", text(owner, "/kind"), text(owner, "/name"));
            if controller.is_empty() {
                controller = this;
            } else {
                let message = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {controller} and {this}"
                );
                let all: Vec<String> = owners.into_iter().flatten().map(shown_owner).collect();
                let shown = format!("[{}]", all.join(","));
                causes.push(Cause::shown_invalid("metadata.ownerReferences", &shown, &message));
            }
        }
    }
    causes
}

/// An owner with its members in the order of its Go type.
fn shown_owner(owner: &Value) -> String {
    let names = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let members = names.iter().filter_map(|name| Some((name, owner.get(name)?)));
    let members: Vec<String> =
        members.map(|(name, value)| format!("{name:?}:{}", compact_json(value))).collect();
    format!("{{{}}}", members.join(","))
}
