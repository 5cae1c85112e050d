//! JSON patches and merge patches.

use serde_json::Value;

use super::{metadata::Object, status::Status};

/// Bounds the work of one patch, like the API server does.
const OPERATIONS: usize = 10_000;

/// A patch that was read.
#[derive(Debug)]
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
}

impl Patch {
    /// Reads a patch by its media type. `custom` tells whether the object is a custom resource.
    pub(crate) fn parse(media_type: &str, body: &[u8], custom: bool) -> Result<Self, Status> {
        let malformed = |error: serde_json::Error| {
            Status::bad_request(format!("error decoding patch: {error}"))
        };
        match media_type {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(malformed)?;
                if patch.0.len() > OPERATIONS {
                    return Err(Status::too_many_operations(OPERATIONS, patch.0.len()));
                }
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                if !patch.is_object() {
                    return Err(Status::bad_request("error decoding patch: it is not an object"));
                }
                Ok(Self::Merge(patch))
            }
            "application/strategic-merge-patch+json" if !custom => Err(Status::not_implemented(
                "strategic merge patch is not served here; use application/merge-patch+json or application/json-patch+json",
            )),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                Err(Status::not_implemented(
                    "server-side apply is not served here; use create, replace, application/merge-patch+json or application/json-patch+json",
                ))
            }
            _ => Err(Status::unsupported_media_type(if custom {
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            } else {
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
            })),
        }
    }

    /// What the patch makes of an object.
    pub(crate) fn apply(&self, object: &Object) -> Result<Object, Status> {
        let mut value = Value::Object(object.clone());
        match self {
            Self::Json(patch) => {
                json_patch::patch(&mut value, patch).map_err(|_| Status::patch_rejected())?;
            }
            Self::Merge(patch) => json_patch::merge(&mut value, patch),
        }
        match value {
            Value::Object(object) => Ok(object),
            _ => Err(Status::patch_rejected()),
        }
    }
}
