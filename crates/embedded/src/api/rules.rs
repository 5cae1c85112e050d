//! The rules of objects beside `metadata`: schemas of custom resources, rules of built-in kinds.

use serde_json::Value;

use super::{kinds::Resource, metadata::Object, query::FieldValidation, status::Status};
use crate::schema::Cause;

/// Drops unknown fields and fills in defaults. Returns warnings, or refuses under `Strict`.
pub(crate) fn complete(
    object: &mut Object,
    resource: &Resource,
    mut unknown: Vec<String>,
    fields: FieldValidation,
) -> Result<Vec<String>, Status> {
    let schema = resource.custom.as_ref().and_then(|custom| custom.schema.as_ref());
    let mut value = Value::Object(std::mem::take(object));
    if let Some(schema) = schema {
        unknown.extend(schema.prune(&mut value));
        schema.default(&mut value);
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
    let schema = resource.custom.as_ref().and_then(|custom| custom.schema.as_ref());
    let value = |object: &Object| Value::Object(object.clone());
    match schema {
        Some(schema) => schema.validate(&value(new), old.map(value).as_ref()),
        None => Vec::new(),
    }
}
