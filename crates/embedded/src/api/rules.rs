//! The rules of objects beside `metadata`: schemas of custom resources, rules of built-in kinds.

use serde_json::Value;

use super::{
    decode, embedded,
    kinds::{Custom, Resource},
    metadata::Object,
    query::FieldValidation,
    status::Status,
};
use crate::schema::{Cause, builtin, shape};

/// Drops unknown fields and fills in defaults. Returns warnings, or refuses under `Strict`.
pub(crate) fn complete(
    object: &mut Object,
    resource: &Resource,
    doubts: Vec<String>,
    fields: FieldValidation,
) -> Result<Vec<String>, Status> {
    let doubts = fill_in(object, resource, doubts).map_err(|problem| {
        let (kind, version) = (&resource.kind, &resource.version);
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {problem}"
        ))
    })?;
    judge(doubts, fields, |problem| {
        let (kind, version) = (&resource.kind, &resource.version);
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {problem}"
        ))
    })
}

/// The same for what a patch made.
pub(crate) fn complete_patched(
    object: &mut Object,
    resource: &Resource,
    doubts: Vec<String>,
    fields: FieldValidation,
    patched: &Value,
) -> Result<Vec<String>, Status> {
    let doubts = fill_in(object, resource, doubts)
        .map_err(|problem| decode::invalid_patch(patched, &problem))?;
    judge(doubts, fields, |problem| decode::invalid_patch(patched, problem))
}

fn judge(
    doubts: Vec<String>,
    fields: FieldValidation,
    refuse: impl FnOnce(&str) -> Status,
) -> Result<Vec<String>, Status> {
    match fields {
        FieldValidation::Strict if !doubts.is_empty() => {
            Err(refuse(&format!("strict decoding error: {}", doubts.join(", "))))
        }
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict | FieldValidation::Warn => Ok(doubts),
    }
}

/// Fails if an object in the object has metadata that cannot be read.
fn fill_in(
    object: &mut Object,
    resource: &Resource,
    mut doubts: Vec<String>,
) -> Result<Vec<String>, String> {
    let mut value = Value::Object(std::mem::take(object));
    match &resource.custom {
        None => {
            builtin::default(&resource.kind, &mut value);
            if let Some(shape) = shape::of_kind(&resource.group, &resource.kind) {
                shape::write(shape, &mut value);
            }
        }
        Some(custom) => {
            if let Some(schema) = &custom.schema {
                let unknown = schema.prune(&mut value);
                doubts.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
                doubts.extend(embedded::coerce(schema, &mut value)?);
                schema.default(&mut value);
            }
        }
    }
    if let Value::Object(completed) = value {
        *object = completed;
    }
    Ok(doubts)
}

/// What should be told to whoever writes an object.
pub(crate) fn warn(resource: &Resource, object: &Object) -> Vec<String> {
    match &resource.custom {
        None => builtin::warn(&resource.kind, &Value::Object(object.clone())),
        Some(_) => Vec::new(),
    }
}

/// What an object breaks, `metadata` aside.
pub(crate) fn validate(resource: &Resource, new: &Object, old: Option<&Object>) -> Vec<Cause> {
    let value = |object: &Object| Value::Object(object.clone());
    let (new, old) = (value(new), old.map(value));
    match &resource.custom {
        None => builtin::validate(&resource.kind, &new, old.as_ref()),
        Some(Custom { schema: Some(schema), .. }) => {
            let mut causes = schema.validate(&new, old.as_ref());
            causes.extend(embedded::validate(schema, &new));
            causes
        }
        Some(_) => Vec::new(),
    }
}
