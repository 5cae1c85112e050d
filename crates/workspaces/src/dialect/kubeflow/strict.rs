//! Reads a WorkspaceKind manifest strictly: what the definition does not know is refused by name.

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::api::ObjectMeta;
use serde_json::{Map, Value};
use web::Cause;

use super::error::Problem;
use crate::{
    decide::names::{INVALID, check_annotations, check_labels, check_subdomain, invalid, required},
    model::{API_VERSION, WorkspaceKindSpec},
};

const KIND: &str = "WorkspaceKind";

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
pub(crate) fn read_kind(manifest: Value) -> Result<NewKind, Problem> {
    let Value::Object(mut manifest) = manifest else {
        return Err(unreadable("the manifest is not an object"));
    };
    check_type(&manifest)?;
    let unknown = unknown_fields(&manifest);
    if !unknown.is_empty() {
        return Err(Problem::body(unknown));
    }
    let metadata = manifest.remove("metadata").unwrap_or(Value::Object(Map::new()));
    let metadata: ObjectMeta = serde_path_to_error::deserialize(metadata)
        .map_err(|error| wrong_type("metadata", &error))?;
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
    let spec = read_spec(manifest.remove("spec").unwrap_or_default())?;
    Ok(NewKind { name, labels, annotations, spec })
}

fn read_spec(spec: Value) -> Result<Result<WorkspaceKindSpec, Incomplete>, Problem> {
    match serde_path_to_error::deserialize(&spec) {
        Ok(spec) => Ok(Ok(spec)),
        Err(error) if error.inner().to_string().starts_with("missing field") => {
            Ok(Err(Incomplete { spec, problem: wrong_type("spec", &error) }))
        }
        Err(error) => Err(wrong_type("spec", &error)),
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

fn wrong_type(root: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let path = if path == "." { root.to_owned() } else { format!("{root}.{path}") };
    unreadable(&format!("{path}: {}", error.inner()))
}

fn unreadable(why: &str) -> Problem {
    Problem::malformed(format!("error decoding request body: {why}"))
}

/// One cause for each field that the definition does not know.
fn unknown_fields(manifest: &Map<String, Value>) -> Vec<Cause> {
    const HEADER: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let mut paths: Vec<String> =
        manifest.keys().filter(|key| !HEADER.contains(&key.as_str())).cloned().collect();
    if let (Some(schema), Some(spec)) = (spec_schema(), manifest.get("spec")) {
        collect_unknown(schema, spec, "spec", &mut paths);
    }
    let cause = |path: String| {
        Cause::internal(INVALID, "", format!("Invalid value: unknown field {path:?}"))
    };
    paths.into_iter().map(cause).collect()
}

fn spec_schema() -> Option<&'static JSONSchemaProps> {
    static SCHEMA: LazyLock<Option<JSONSchemaProps>> = LazyLock::new(|| {
        let crd = crate::crds().into_iter().find(|crd| crd.spec.names.kind == KIND)?;
        let schema = crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?;
        schema.properties?.remove("spec")
    });
    SCHEMA.as_ref()
}

fn collect_unknown(schema: &JSONSchemaProps, value: &Value, path: &str, unknown: &mut Vec<String>) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
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
