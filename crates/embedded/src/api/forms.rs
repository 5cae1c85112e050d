//! What an object becomes on its way in and out: the parts that a request may not change, the
//! version that is stored, the version that is served.

use bytes::Bytes;
use serde_json::Value;

use super::{
    kinds::Resource,
    metadata::{self, Object},
};
use crate::store::{Draft, Entry};

/// Which part of an object a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    /// The finalizers of a namespace.
    Finalize,
}

/// Whether a change lets go of an object whose deletion waited for that.
pub(crate) fn is_finished(resource: &Resource, new: &Object, old: &Object) -> bool {
    let grace = old
        .get("metadata")
        .and_then(|metadata| metadata.get("deletionGracePeriodSeconds")?.as_i64())
        .unwrap_or(0);
    // A namespace has finalizers of its own beside those of every object.
    let emptied = !resource.is("namespaces")
        || new
            .get("spec")
            .and_then(|spec| spec.get("finalizers")?.as_array())
            .is_none_or(|left| left.is_empty());
    metadata::is_deleting(old) && metadata::finalizers(new).is_empty() && grace == 0 && emptied
}

/// What a client may not change, and may leave out.
pub(crate) fn keep_server_fields(new: &mut Object, old: &Object) {
    let before = |field: &str| old.get("metadata").and_then(|metadata| metadata.get(field));
    for field in ["creationTimestamp", "generation", "resourceVersion"] {
        match before(field) {
            Some(value) => metadata::set(new, field, value.clone()),
            None => metadata::remove(new, field),
        }
    }
    let given = |new: &Object, field: &str| {
        new.get("metadata").is_some_and(|metadata| metadata.get(field).is_some())
    };
    // What differs in these is refused.
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if let Some(value) = before(field)
            && (!given(new, field) || field == "deletionTimestamp")
        {
            metadata::set(new, field, value.clone());
        }
    }
}

/// A status request changes only the status, any other request everything but the status.
pub(crate) fn keep_other_part(resource: &Resource, part: Part, new: &mut Object, old: &Object) {
    let put = |object: &mut Object, field: &str, value: Option<&Value>| match value {
        Some(value) => {
            object.insert(field.into(), value.clone());
        }
        None => {
            object.remove(field);
        }
    };
    match part {
        Part::Main => {
            if resource.has_status {
                put(new, "status", old.get("status"));
            }
            if resource.is("namespaces") {
                put(new, "spec", old.get("spec"));
            }
        }
        Part::Finalize => put(new, "status", old.get("status")),
        Part::Status if resource.custom.is_some() => {
            let status = new.remove("status");
            *new = old.clone();
            put(new, "status", status.as_ref());
        }
        Part::Status => {
            let (status, metadata) = (new.remove("status"), new.remove("metadata"));
            *new = old.clone();
            put(new, "status", status.as_ref());
            put(new, "metadata", metadata.as_ref());
            let owners = old.get("metadata").and_then(|metadata| metadata.get("ownerReferences"));
            match owners {
                _ if !resource.is("pods") => {}
                Some(owners) => metadata::set(new, "ownerReferences", owners.clone()),
                None => metadata::remove(new, "ownerReferences"),
            }
        }
    }
}

/// Whether a change makes a new generation.
pub(crate) fn counts_as_change(resource: &Resource, new: &Object, old: &Object) -> bool {
    if !resource.counts {
        return false;
    }
    let ignored = |field: &str| {
        matches!(field, "metadata" | "apiVersion" | "kind")
            || (field == "status" && resource.has_status)
    };
    let differs = |one: &Object, other: &Object| {
        one.iter().any(|(field, value)| !ignored(field) && other.get(field) != Some(value))
    };
    differs(new, old) || differs(old, new)
}

/// What the store keeps of an object, in the version that it keeps.
pub(crate) fn stored_form(resource: &Resource, object: &Object) -> Draft {
    Draft::of_type(&resource.stored_api_version(), &resource.kind, object)
}

/// The object of an entry in the version of a resource.
pub(crate) fn served_object(resource: &Resource, entry: &Entry) -> Object {
    let mut object = entry.object();
    object.insert("apiVersion".into(), resource.api_version().into());
    object
}

/// The bytes of an entry in the version of a resource: nearly always the stored ones.
pub(crate) fn served(resource: &Resource, entry: &Entry) -> Bytes {
    served_bytes(resource, entry.json().clone())
}

pub(crate) fn served_bytes(resource: &Resource, json: Bytes) -> Bytes {
    let start = format!("{{\"apiVersion\":\"{}\"", resource.api_version());
    if json.starts_with(start.as_bytes()) {
        return json;
    }
    match serde_json::from_slice::<Object>(&json) {
        Ok(mut object) => {
            object.insert("apiVersion".into(), resource.api_version().into());
            Value::Object(object).to_string().into()
        }
        Err(_) => json,
    }
}
