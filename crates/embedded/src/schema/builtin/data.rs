//! Secret and ConfigMap.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{at, entries, fill, names, object_in, text};
use crate::schema::Cause;

/// All values of an object together.
const MAX_BYTES: usize = 1 << 20;

/// What stands for a value that must not be shown.
const REDACTED: &str = "<secret contents redacted>";

const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// `stringData` becomes part of `data`, and wins over it.
pub(super) fn default_secret(secret: &mut Value) {
    let plain = secret.as_object_mut().and_then(|map| map.remove("stringData"));
    if let Some(Value::Object(plain)) = plain
        && !plain.is_empty()
        && let Some(data) = object_in(secret, "data")
    {
        for (key, value) in plain {
            data.insert(key, json!(STANDARD.encode(value.as_str().unwrap_or_default())));
        }
    }
    if let Some(map) = secret.as_object_mut() {
        fill(map, "type", "Opaque");
    }
}

pub(super) fn check_secret(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if let Some(old) = old {
        check_same_type(new, old, causes);
        check_frozen(new, old, &["data"], causes);
    }
    let mut total = 0;
    for (key, value) in entries(new, &["data"]) {
        let field = format!("data[{key}]");
        names::check_config_key(&field, key, causes);
        match value.as_str().map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => total += bytes.len(),
            None if value.is_null() => {}
            _ => causes.push(Cause::invalid(&field, &json!(REDACTED), "must be valid base64")),
        }
    }
    check_total("data", total, causes);
    let has = |key: &str| at(new, &["data", key]).is_string();
    let mut need = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !has(key)) {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    };
    match text(new, &["type"]) {
        "kubernetes.io/dockercfg" => need(&[".dockercfg"]),
        "kubernetes.io/dockerconfigjson" => need(&[".dockerconfigjson"]),
        "kubernetes.io/ssh-auth" => need(&["ssh-privatekey"]),
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            need(&["username", "password"])
        }
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if text(new, &["metadata", "annotations", name]).is_empty() {
                causes.push(Cause::required(format!("metadata.annotations[{name}]"), ""));
            }
        }
        _ => {}
    }
}

fn check_same_type(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    super::check_same("type", at(new, &["type"]), at(old, &["type"]), causes);
}

pub(super) fn check_config_map(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if let Some(old) = old {
        check_frozen(new, old, &["data", "binaryData"], causes);
    }
    let mut total = 0;
    for (key, value) in entries(new, &["data"]) {
        let field = format!("data[{key}]");
        names::check_config_key(&field, key, causes);
        if !at(new, &["binaryData", key]).is_null() {
            causes.push(Cause::invalid(
                &field,
                &json!(key),
                "duplicate of key present in binaryData",
            ));
        }
        total += value.as_str().map_or(0, str::len);
    }
    for (key, value) in entries(new, &["binaryData"]) {
        let field = format!("binaryData[{key}]");
        names::check_config_key(&field, key, causes);
        match value.as_str().map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => total += bytes.len(),
            None if value.is_null() => {}
            _ => causes.push(Cause::invalid(&field, value, "must be valid base64")),
        }
    }
    check_total("[]", total, causes);
}

fn check_total(field: &str, total: usize, causes: &mut Vec<Cause>) {
    if total > MAX_BYTES {
        causes.push(Cause::too_long(field, i64::try_from(MAX_BYTES).unwrap_or(i64::MAX)));
    }
}

/// What is marked immutable stays so, and so do its values.
fn check_frozen(new: &Value, old: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    if at(old, &["immutable"]) != &json!(true) {
        return;
    }
    if at(new, &["immutable"]) != &json!(true) {
        causes.push(Cause::forbidden("immutable", IMMUTABLE));
    }
    for field in fields {
        if at(new, &[field]) != at(old, &[field]) {
            causes.push(Cause::forbidden(*field, IMMUTABLE));
        }
    }
}
