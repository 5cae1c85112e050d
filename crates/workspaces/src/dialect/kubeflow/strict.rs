//! Reads WorkspaceKinds strictly: what the definition does not know is refused by name.

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::api::ObjectMeta;
use serde_json::{Map, Value};
use web::Cause;

use super::{error::Problem, profile::Profile};
use crate::{
    decide::names::{INVALID, check_annotations, check_labels, check_subdomain, invalid, required},
    model::{API_VERSION, WorkspaceKindSpec},
};

const KIND: &str = "WorkspaceKind";

/// How many unknown fields are named; a body of 4 MiB has room for many.
const MOST_NAMED: usize = 100;

/// What a caller may say about a new kind; everything else belongs to the server.
#[derive(Debug)]
pub(crate) struct NewKind {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) spec: Result<WorkspaceKindSpec, Incomplete>,
}

/// A spec that lacks required fields: the cluster names them all, and in its own words.
#[derive(Debug)]
pub(crate) struct Incomplete {
    pub(crate) spec: Value,
    /// What to say in case the cluster finds nothing wrong.
    pub(crate) problem: Problem,
}

/// Reads a manifest.
pub(crate) fn read_kind(manifest: Value, profile: Profile) -> Result<NewKind, Problem> {
    let Value::Object(mut manifest) = manifest else {
        return Err(unreadable("the manifest is not an object"));
    };
    check_type(&manifest)?;
    let unknown = unknown_in(&manifest);
    if !unknown.is_empty() {
        return Err(not_known(unknown, profile));
    }
    let metadata = manifest.remove("metadata").unwrap_or(Value::Object(Map::new()));
    let metadata: ObjectMeta = serde_path_to_error::deserialize(metadata)
        .map_err(|error| unreadable(&explain("metadata", &error)))?;
    let name = metadata.name.unwrap_or_default();
    let labels = metadata.labels.unwrap_or_default();
    let annotations = metadata.annotations.unwrap_or_default();
    let mut causes = check_header(&manifest, &name);
    causes.extend(check_labels("metadata.labels", &labels));
    causes.extend(check_annotations("metadata.annotations", &annotations));
    if causes.is_empty() && manifest.get("spec").is_none_or(Value::is_null) {
        causes.push(required("spec", ""));
    }
    if !causes.is_empty() {
        return Err(Problem::body(causes));
    }
    let spec = manifest.remove("spec").unwrap_or_default();
    let spec = read_spec(&spec)
        .map_err(|why| unreadable(&why))?
        .map_err(|why| Incomplete { spec, problem: unreadable(&why) });
    Ok(NewKind { name, labels, annotations, spec })
}

/// Reads a spec: the spec, why our types cannot hold it although the cluster may have better words
/// for it (a required field is missing, a word is none of those allowed), or what has the wrong type.
pub(crate) fn read_spec(spec: &Value) -> Result<Result<WorkspaceKindSpec, String>, String> {
    match serde_path_to_error::deserialize(spec) {
        Ok(spec) => Ok(Ok(spec)),
        Err(error) => {
            let why = explain("spec", &error);
            let inner = error.inner().to_string();
            let schema = ["missing field", "unknown variant"];
            match schema.iter().any(|start| inner.starts_with(start)) {
                true => Ok(Err(why)),
                false => Err(why),
            }
        }
    }
}

fn text<'a>(manifest: &'a Map<String, Value>, key: &str) -> &'a str {
    manifest.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A manifest that says to be something else cannot be read as a kind at all.
fn check_type(manifest: &Map<String, Value>) -> Result<(), Problem> {
    let (version, kind) = (text(manifest, "apiVersion"), text(manifest, "kind"));
    let complete = !version.is_empty() && !kind.is_empty();
    if complete && (version != API_VERSION || kind != KIND) {
        let message = format!("no kind {kind:?} is registered for version {version:?} here");
        return Err(unreadable(&format!("{message}, expected {KIND:?} of {API_VERSION:?}")));
    }
    Ok(())
}

fn check_header(manifest: &Map<String, Value>, name: &str) -> Vec<Cause> {
    let expect = |field: &str, expected: &str| match text(manifest, field) {
        "" => Some(required(field, "")),
        value if value != expected => Some(invalid(field, value, &format!("must be {expected:?}"))),
        _ => None,
    };
    let mut causes = Vec::from_iter(expect("apiVersion", API_VERSION));
    causes.extend(expect("kind", KIND));
    causes.extend(check_subdomain("metadata.name", name));
    causes
}

fn explain(root: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let path = if path == "." { root.to_owned() } else { format!("{root}.{path}") };
    format!("{path}: {}", error.inner())
}

/// The older generation could not decode what it did not know; the newer one names the fields.
fn not_known(paths: Vec<String>, profile: Profile) -> Problem {
    if profile.is_old() {
        let named: Vec<_> = paths.iter().map(|path| format!("unknown field {path:?}")).collect();
        return unreadable(&named.join(", "));
    }
    let cause = |path: String| {
        Cause::internal(INVALID, "", format!("Invalid value: unknown field {path:?}"))
    };
    Problem::body(paths.into_iter().map(cause).collect())
}

/// A body that cannot be decoded.
pub(crate) fn unreadable(why: &str) -> Problem {
    Problem::malformed(format!("error decoding request body: {why}"))
}

/// What the definition does not know in a manifest.
fn unknown_in(manifest: &Map<String, Value>) -> Vec<String> {
    const HEADER: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    const METADATA: [&str; 15] = [
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    let header = manifest.keys().filter(|key| !HEADER.contains(&key.as_str())).cloned();
    let metadata = manifest.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let metadata = metadata.filter(|(key, _)| !METADATA.contains(&key.as_str()));
    let metadata = metadata.map(|(key, _)| format!("metadata.{key}"));
    let mut paths: Vec<String> = header.chain(metadata).take(MOST_NAMED).collect();
    if let Some(spec) = manifest.get("spec") {
        paths.extend(unknown_fields(spec, "spec"));
    }
    paths
}

/// The paths of all that the definition does not know in a spec; `root` is where the spec is.
pub(crate) fn unknown_fields(spec: &Value, root: &str) -> Vec<String> {
    let mut paths = Vec::new();
    if let Some(schema) = spec_schema() {
        collect_unknown(schema, spec, root, &mut paths);
    }
    paths
}

fn spec_schema() -> Option<&'static JSONSchemaProps> {
    static SCHEMA: LazyLock<Option<JSONSchemaProps>> = LazyLock::new(|| {
        const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
        let mut crd = crate::crds().find(|crd| crd["spec"]["names"]["kind"] == KIND)?;
        serde_json::from_value(crd.pointer_mut(SPEC)?.take()).ok()
    });
    SCHEMA.as_ref()
}

fn collect_unknown(schema: &JSONSchemaProps, value: &Value, path: &str, unknown: &mut Vec<String>) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) || unknown.len() >= MOST_NAMED {
        return;
    }
    match value {
        Value::Object(fields) => {
            let known = schema.properties.as_ref();
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                let inner = known.and_then(|known| known.get(key));
                match (inner, &schema.additional_properties) {
                    (Some(inner), _) => collect_unknown(inner, value, &path, unknown),
                    (None, Some(JSONSchemaPropsOrBool::Schema(inner))) => {
                        collect_unknown(inner, value, &path, unknown);
                    }
                    (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                    _ => unknown.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
                for (index, value) in items.iter().enumerate() {
                    collect_unknown(inner, value, &format!("{path}[{index}]"), unknown);
                }
            }
        }
        _ => {}
    }
}
