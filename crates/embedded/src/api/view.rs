//! How a client wants objects: whole, or only their metadata.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Status, kinds::Resource};
use crate::store::Entry;

/// The form of answers about one resource.
#[derive(Debug, Clone)]
pub(crate) struct View {
    resource: Arc<Resource>,
    /// How the stored bytes begin when they are in the wanted version already.
    start: String,
    /// How long API version and kind are there.
    type_meta: usize,
    metadata_only: bool,
}

#[derive(Deserialize)]
struct OnlyMetadata {
    #[serde(default)]
    metadata: Value,
}

impl View {
    /// What the `Accept` header asks for; the first that can be had counts.
    pub(crate) fn new(resource: &Arc<Resource>, headers: &HeaderMap) -> Result<Self, Status> {
        let metadata_only = match accepted(headers)? {
            Form::Metadata => true,
            Form::Whole => false,
        };
        let start = format!("{{\"apiVersion\":{:?}", resource.api_version());
        let type_meta = format!("{start},\"kind\":{:?},", resource.kind).len();
        Ok(Self { resource: resource.clone(), start, type_meta, metadata_only })
    }

    /// An entry, nearly always as its stored bytes.
    pub(crate) fn entry(&self, entry: &Entry) -> Bytes {
        if !self.metadata_only && entry.json().starts_with(self.start.as_bytes()) {
            return entry.json().clone();
        }
        self.object(super::forms::served(&self.resource, entry))
    }

    /// An entry as an item of a list; see [`Self::items_are_open`].
    pub(crate) fn item(&self, entry: &Entry) -> Bytes {
        let object = self.entry(entry);
        if self.items_are_open() {
            object.slice(self.type_meta.min(object.len())..)
        } else {
            object
        }
    }

    /// Whether items lack their first brace: lists of built-in kinds leave API version and kind
    /// out, with which the stored bytes begin.
    pub(crate) fn items_are_open(&self) -> bool {
        !self.metadata_only && self.resource.custom.is_none()
    }

    /// An object that is in the version of the resource.
    pub(crate) fn object(&self, json: Bytes) -> Bytes {
        if !self.metadata_only {
            return json;
        }
        match serde_json::from_slice::<OnlyMetadata>(&json) {
            Ok(object) => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.metadata,
            })
            .to_string()
            .into(),
            Err(_) => json,
        }
    }

    /// The start of a list, up to its objects. `meta` is the inside of its metadata.
    pub(crate) fn list_head(&self, meta: &str) -> Bytes {
        let (kind, api_version) = if self.metadata_only {
            ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned())
        } else {
            (self.resource.list_kind.as_str(), self.resource.api_version())
        };
        format!(
            "{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{{{meta}}},\"items\":["
        )
        .into()
    }

    /// An object that says nothing but a revision.
    pub(crate) fn bookmark(&self, annotations: &str, revision: u64) -> Bytes {
        let (kind, api_version) = if self.metadata_only {
            ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned())
        } else {
            (self.resource.kind.as_str(), self.resource.api_version())
        };
        format!(
            "{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{{{annotations}\"resourceVersion\":\"{revision}\"}}}}"
        )
        .into()
    }
}

enum Form {
    Whole,
    Metadata,
}

/// Protobuf and tables cannot be written here; whoever takes nothing else is told so.
fn accepted(headers: &HeaderMap) -> Result<Form, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        if !matches!(
            kind,
            "" | "*/*" | "application/*" | "application/json" | "text/plain" | "text/*"
        ) {
            continue;
        }
        let form = parts.find_map(|part| part.strip_prefix("as="));
        match form {
            None => return Ok(Form::Whole),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                return Ok(Form::Metadata);
            }
            Some(_) => {}
        }
    }
    Err(Status::not_acceptable("application/json"))
}
