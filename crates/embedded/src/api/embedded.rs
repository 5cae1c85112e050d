//! Objects inside of custom resources: their `metadata` is held to the rules of any other.

use serde_json::Value;

use super::metadata::{self, Object};
use crate::schema::{
    Cause, Schema,
    names::label_1035,
    shape::{self, Unreadable},
};

/// Reads the `metadata` of objects in an object by its type. Returns what it does not know.
///
/// # Errors
/// Something is not of its type.
pub(super) fn coerce(schema: &Schema, value: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    if !schema.has_embedded() {
        return Ok(unknown);
    }
    schema.visit_embedded(value, &mut |path, object| {
        for name in ["apiVersion", "kind"] {
            if let Some(value) = object.get(name).filter(|value| !value.is_string()) {
                let cause = Cause::invalid("", value, "must be a string");
                return Err(format!("{path}.{name}: {}", cause.message));
            }
        }
        let (Some(metadata), Some(shape)) =
            (object.get("metadata"), shape::named("meta/v1.ObjectMeta"))
        else {
            return Ok(());
        };
        match shape::read(shape, metadata) {
            Ok(read) => {
                unknown.extend(read.doubts.into_iter().map(|doubt| {
                    doubt.replacen("field \"", &format!("field \"{path}.metadata."), 1)
                }));
                let mut metadata = read.value;
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.retain(|_, value| !value.is_null());
                }
                object.insert("metadata".into(), metadata);
                Ok(())
            }
            Err(Unreadable::Type(problem)) => {
                let cause = Cause::invalid("", metadata, &problem);
                Err(format!("{path}.metadata: {}", cause.message))
            }
            Err(Unreadable::Syntax(error)) => Err(error.to_string()),
        }
    })?;
    Ok(unknown)
}

/// What is wrong with the objects in an object.
pub(super) fn validate(schema: &Schema, value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !schema.has_embedded() {
        return causes;
    }
    let mut value = value.clone();
    // The visitor never fails.
    let _ = schema.visit_embedded(&mut value, &mut |path, object| {
        causes.extend(check(path, object));
        Ok(())
    });
    causes
}

fn check(path: &str, object: &Object) -> Vec<Cause> {
    let mut causes = Vec::new();
    for name in ["apiVersion", "kind"] {
        let field = format!("{path}.{name}");
        match object.get(name) {
            None => causes.push(Cause::required(field, "")),
            Some(value) => match value.as_str() {
                None => causes.push(Cause::invalid(field, value, "must be a string")),
                Some("") => causes.push(Cause::invalid(field, value, "must not be empty")),
                Some(text) => {
                    causes.extend(
                        form(name, text).map(|detail| Cause::invalid(field, value, &detail)),
                    );
                }
            },
        }
    }
    if object.contains_key("metadata") {
        let problems = metadata::validate_embedded(object);
        causes.extend(problems.into_iter().map(|cause| cause.under(&format!("{path}."))));
    }
    causes
}

fn form(name: &str, text: &str) -> Option<String> {
    if name == "apiVersion" {
        return (text.matches('/').count() > 1)
            .then(|| format!("unexpected GroupVersion string: {text}"));
    }
    let problems = label_1035(&text.to_lowercase());
    (!problems.is_empty())
        .then(|| format!("may have mixed case, but should otherwise match: {}", problems.join(",")))
}
