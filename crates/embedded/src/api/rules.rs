//! The rules of objects beside `metadata`: schemas of custom resources, rules of built-in kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use super::{
    crds,
    kinds::{Custom, Resource},
    metadata::Object,
    query::FieldValidation,
    status::Status,
};
use crate::schema::{Cause, builtin};

/// Drops unknown fields and fills in defaults. Returns warnings, or refuses under `Strict`.
pub(crate) fn complete(
    object: &mut Object,
    resource: &Resource,
    mut unknown: Vec<String>,
    fields: FieldValidation,
) -> Result<Vec<String>, Status> {
    let mut value = Value::Object(std::mem::take(object));
    match &resource.custom {
        None if resource.is(crds::TABLE) => {
            serde_json::from_value::<CustomResourceDefinition>(value.clone())
                .map_err(|error| undecodable(resource, &error.to_string()))?;
        }
        None => {
            let more = builtin::unknown_fields(&resource.kind, &mut value);
            unknown.extend(more.map_err(|problem| undecodable(resource, &problem))?);
            builtin::default(&resource.kind, &mut value);
        }
        Some(custom) => {
            if let Some(schema) = &custom.schema {
                unknown.extend(schema.prune(&mut value));
                schema.default(&mut value);
            }
        }
    }
    if let Value::Object(completed) = value {
        *object = completed;
    }
    let texts = || unknown.iter().map(|path| format!("unknown field {path:?}"));
    match fields {
        _ if unknown.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(texts().collect()),
        FieldValidation::Strict => {
            let all = texts().collect::<Vec<_>>().join(", ");
            Err(undecodable(resource, &format!("strict decoding error: {all}")))
        }
    }
}

/// 400 in the words of the API server's decoder.
pub(crate) fn undecodable(resource: &Resource, problem: &str) -> Status {
    let (kind, version) = (&resource.kind, &resource.version);
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {problem}"
    ))
}

/// What an object breaks, `metadata` aside.
pub(crate) fn validate(resource: &Resource, new: &Object, old: Option<&Object>) -> Vec<Cause> {
    let value = |object: &Object| Value::Object(object.clone());
    let (new, old) = (value(new), old.map(value));
    match &resource.custom {
        None => builtin::validate(&resource.kind, &new, old.as_ref()),
        Some(Custom { schema: Some(schema), .. }) => schema.validate(&new, old.as_ref()),
        Some(_) => Vec::new(),
    }
}
