//! JSON patches and merge patches.

use serde_json::Value;

use super::{
    json_patch,
    metadata::{self, Object},
    status::Status,
    syntax,
};
use crate::schema::shape::{self, Unreadable};

/// Bounds the work of one patch, like the API server does.
const OPERATIONS: usize = 10_000;

/// A patch that was read.
#[derive(Debug)]
pub(crate) struct Patch {
    change: Change,
    doubts: Vec<String>,
}

#[derive(Debug)]
enum Change {
    Json(Vec<json_patch::Operation>),
    Merge(Value),
}

impl Patch {
    /// Refuses a media type that is no patch or is not served, before anything else is looked at.
    /// `custom` tells whether the object is a custom resource.
    pub(crate) fn check(media_type: &str, custom: bool) -> Result<(), Status> {
        match media_type {
            "application/json-patch+json" | "application/merge-patch+json" => Ok(()),
            "application/strategic-merge-patch+json" if !custom => Err(Status::not_implemented(
                "strategic merge patch is not served here: use `kubectl replace -f FILE`, or `kubectl patch` with --type=merge (application/merge-patch+json) or --type=json (application/json-patch+json)",
            )),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                Err(Status::not_implemented(
                    "server-side apply is not served here: use `kubectl apply` without --server-side for custom resources, `kubectl create` and `kubectl replace` for others (POST, PUT, application/merge-patch+json, application/json-patch+json)",
                ))
            }
            "application/strategic-merge-patch+json" => Err(Status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            _ => Err(Status::unknown_patch()),
        }
    }

    /// Reads a patch by its media type, which [`Self::check`] let pass.
    pub(crate) fn parse(media_type: &str, body: &[u8]) -> Result<Self, Status> {
        let malformed = |error: serde_json::Error| {
            let problem = syntax::problem(body).unwrap_or_else(|| error.to_string());
            Status::bad_request(format!("error decoding patch: {problem}"))
        };
        match media_type {
            "application/json-patch+json" => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                let (patch, doubts) = json_patch::parse(&patch).map_err(|problem| {
                    Status::bad_request(format!("error decoding patch: {problem}"))
                })?;
                if patch.len() > OPERATIONS {
                    return Err(Status::too_many_operations(OPERATIONS, patch.len()));
                }
                Ok(Self { change: Change::Json(patch), doubts })
            }
            "application/merge-patch+json" => {
                let mut input = serde_json::Deserializer::from_slice(body);
                let read = match shape::any(&mut input) {
                    Ok(read) => read,
                    Err(Unreadable::Syntax(error)) => return Err(malformed(error)),
                    Err(Unreadable::Type(problem)) => return Err(Status::bad_request(problem)),
                };
                input.end().map_err(malformed)?;
                if read.value.is_null() {
                    return Err(Status::bad_request("Invalid JSON Patch"));
                }
                if !read.value.is_object() {
                    let found = metadata::type_name(&read.value);
                    return Err(Status::bad_request(format!(
                        "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
                    )));
                }
                Ok(Self { change: Change::Merge(read.value), doubts: read.doubts })
            }
            _ => Err(Status::unknown_patch()),
        }
    }

    /// What the patch makes of an object.
    pub(crate) fn apply(&self, object: &Object) -> Result<Value, Status> {
        let mut value = Value::Object(object.clone());
        match &self.change {
            Change::Json(patch) => {
                json_patch::apply(&mut value, patch).map_err(|_| Status::patch_rejected())?;
            }
            Change::Merge(patch) => ::json_patch::merge(&mut value, patch),
        }
        Ok(value)
    }

    /// Fields that the patch names twice.
    pub(crate) fn doubts(&self) -> &[String] {
        &self.doubts
    }
}
