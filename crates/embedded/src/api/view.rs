//! How a client wants objects: whole, only their metadata, or as rows of a table.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Status, kinds::Resource, query::Query, table::Table};
use crate::store::Entry;

/// The form of answers about one resource.
#[derive(Debug, Clone)]
pub(crate) struct View {
    resource: Arc<Resource>,
    /// How the stored bytes begin when they are in the wanted version already.
    start: String,
    /// How long API version and kind are there.
    type_meta: usize,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Whole,
    Metadata,
    Table(Table),
}

#[derive(Deserialize)]
struct OnlyMetadata {
    #[serde(default)]
    metadata: Value,
}

impl View {
    /// What the `Accept` header asks for; the first that can be had counts.
    pub(crate) fn new(
        resource: &Arc<Resource>,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Self, Status> {
        let form = match accepted(headers)? {
            Accepted::Whole => Form::Whole,
            Accepted::Metadata => Form::Metadata,
            Accepted::Table(version) => Form::Table(Table::new(resource, version, query)?),
        };
        let start = format!("{{\"apiVersion\":{:?}", resource.api_version());
        let type_meta = format!("{start},\"kind\":{:?},", resource.kind).len();
        Ok(Self { resource: resource.clone(), start, type_meta, form })
    }

    /// An entry, nearly always as its stored bytes.
    pub(crate) fn entry(&self, entry: &Entry) -> Bytes {
        self.event(entry, true)
    }

    /// An entry in a watch, whose tables tell their columns only once.
    pub(crate) fn event(&self, entry: &Entry, headers: bool) -> Bytes {
        match &self.form {
            Form::Whole if entry.json().starts_with(self.start.as_bytes()) => entry.json().clone(),
            Form::Table(table) => table.one(&super::forms::served(&self.resource, entry), headers),
            _ => self.object(super::forms::served(&self.resource, entry)),
        }
    }

    /// An entry as an item of a list; see [`Self::items_are_open`].
    pub(crate) fn item(&self, entry: &Entry) -> Bytes {
        if let Form::Table(table) = &self.form {
            return table.row(&super::forms::served(&self.resource, entry));
        }
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
        matches!(self.form, Form::Whole) && self.resource.custom.is_none()
    }

    /// An object that is in the version of the resource.
    pub(crate) fn object(&self, json: Bytes) -> Bytes {
        match &self.form {
            Form::Whole => return json,
            Form::Table(table) => return table.one(&json, true),
            Form::Metadata => {}
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
        let (kind, api_version) = match &self.form {
            Form::Table(table) => return table.head(meta, true).into(),
            Form::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
            Form::Whole => (self.resource.list_kind.as_str(), self.resource.api_version()),
        };
        format!(
            "{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{{{meta}}},\"items\":["
        )
        .into()
    }

    /// An object that says nothing but a revision.
    pub(crate) fn bookmark(&self, annotations: &str, revision: u64, headers: bool) -> Bytes {
        let (kind, api_version) = match self.form {
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            _ => (self.resource.kind.as_str(), self.resource.api_version()),
        };
        let object = Bytes::from(format!(
            "{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{{{annotations}\"resourceVersion\":\"{revision}\"}}}}"
        ));
        match &self.form {
            Form::Table(table) => table.one(&object, headers),
            _ => object,
        }
    }
}

/// The other language that answers may be in.
pub(crate) const YAML: &str = "application/yaml";

/// Whether the answer is to be in YAML: what can be had and comes first counts.
pub(crate) fn wants_yaml(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kinds = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut known = kinds.filter(|kind| {
        matches!(
            *kind,
            "*/*" | "application/*" | "application/json" | YAML | "text/plain" | "text/*"
        )
    });
    known.next() == Some(YAML)
}

enum Accepted {
    Whole,
    Metadata,
    Table(&'static str),
}

/// Protobuf cannot be written here; whoever takes nothing else is told so.
fn accepted(headers: &HeaderMap) -> Result<Accepted, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut asked = false;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        if !matches!(
            kind,
            "" | "*/*" | "application/*" | "application/json" | YAML | "text/plain" | "text/*"
        ) {
            continue;
        }
        let parts: Vec<&str> = parts.collect();
        let part = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name));
        let version = match (part("g="), part("v=")) {
            (Some("meta.k8s.io"), Some("v1beta1")) => Some("meta.k8s.io/v1beta1"),
            (Some("meta.k8s.io"), Some("v1") | None) | (None, None) => Some("meta.k8s.io/v1"),
            _ => None,
        };
        match (part("as="), version) {
            (None, _) => return Ok(Accepted::Whole),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some(_)) => {
                return Ok(Accepted::Metadata);
            }
            (Some("Table"), Some(version)) => return Ok(Accepted::Table(version)),
            (Some(_), _) => asked = true,
        }
    }
    if asked {
        return Err(Status::not_acceptable(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    Err(Status::no_representation(
        "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    ))
}
