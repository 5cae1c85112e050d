//! Objects as bytes: written once, with a gap where the writer puts the revision.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the store and its readers need of an object without parsing it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.labels`, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The uids of `metadata.ownerReferences`.
    pub owners: Box<[Box<str>]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

/// An object before it has its revision.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
    pub(super) meta: Meta,
}

/// A stored object.
#[derive(Debug)]
pub struct Entry {
    json: Bytes,
    gap: usize,
    revision: u64,
    meta: Meta,
}

impl Draft {
    /// The bytes of an object. Its `metadata.resourceVersion`, if any, is not among them.
    pub fn new(object: &Map<String, Value>) -> Self {
        let own = |name: &str| object.get(name).unwrap_or(&Value::Null);
        Self::with_type(own("apiVersion"), own("kind"), object)
    }

    /// The bytes of an object in this version of this kind, whatever it says itself.
    pub(crate) fn of_type(api_version: &str, kind: &str, object: &Map<String, Value>) -> Self {
        Self::with_type(&api_version.into(), &kind.into(), object)
    }

    fn with_type(api_version: &Value, kind: &Value, object: &Map<String, Value>) -> Self {
        let mut head = b"{\"apiVersion\":".to_vec();
        push(&mut head, api_version);
        head.extend_from_slice(b",\"kind\":");
        push(&mut head, kind);
        head.extend_from_slice(b",\"metadata\":{\"resourceVersion\":\"");
        let mut tail = b"\"".to_vec();
        let metadata = object.get("metadata").and_then(Value::as_object);
        for (name, value) in metadata.into_iter().flatten() {
            if name != "resourceVersion" {
                push_member(&mut tail, name, value);
            }
        }
        tail.push(b'}');
        for (name, value) in object {
            if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                push_member(&mut tail, name, value);
            }
        }
        tail.push(b'}');
        let meta = metadata.map(Meta::of).unwrap_or_default();
        Self { head: head.into(), tail: tail.into(), meta }
    }

    /// The object of an entry, to be given another revision.
    pub fn of_entry(entry: &Entry) -> Self {
        let revision_len = entry.revision.to_string().len();
        Self {
            head: entry.json.slice(..entry.gap),
            tail: entry.json.slice(entry.gap + revision_len..),
            meta: entry.meta.clone(),
        }
    }

    pub(crate) fn into_entry(self, revision: u64) -> Entry {
        let digits = revision.to_string();
        let mut json = Vec::with_capacity(self.head.len() + digits.len() + self.tail.len());
        json.extend_from_slice(&self.head);
        json.extend_from_slice(digits.as_bytes());
        json.extend_from_slice(&self.tail);
        Entry { json: json.into(), gap: self.head.len(), revision, meta: self.meta }
    }

    /// The object as it would be sent with a revision.
    pub fn revised(&self, revision: u64) -> Bytes {
        [&self.head[..], revision.to_string().as_bytes(), &self.tail[..]].concat().into()
    }

    /// The object as it would be sent, without a revision.
    pub fn unrevised(&self) -> Bytes {
        // `"resourceVersion":"` is at the end of the head and its closing quote, perhaps followed
        // by a comma, at the start of the tail.
        let head = &self.head[..self.head.len() - "\"resourceVersion\":\"".len()];
        let tail = self.tail.strip_prefix(b"\",").or_else(|| self.tail.strip_prefix(b"\""));
        let tail = tail.unwrap_or(&self.tail);
        [head, tail].concat().into()
    }
}

fn push_member(json: &mut Vec<u8>, name: &str, value: &Value) {
    json.push(b',');
    push(json, name);
    json.push(b':');
    push(json, value);
}

fn push<T: Serialize + ?Sized>(json: &mut Vec<u8>, value: &T) {
    // Texts and values can always be written, and a vector always takes them.
    let _ = serde_json::to_writer(json, value);
}

impl Entry {
    pub(super) fn load(json: Bytes, gap: usize, revision: u64) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            #[serde(default)]
            uid: Box<str>,
            #[serde(default)]
            labels: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
            #[serde(default)]
            owner_references: Option<Vec<Owner>>,
            deletion_timestamp: Option<serde::de::IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct Owner {
            #[serde(default)]
            uid: Box<str>,
        }
        let metadata = serde_json::from_slice::<Object>(&json)?.metadata;
        let meta = Meta {
            uid: metadata.uid,
            labels: metadata.labels.into_iter().flatten().collect(),
            owners: metadata
                .owner_references
                .into_iter()
                .flatten()
                .map(|owner| owner.uid)
                .collect(),
            deleting: metadata.deletion_timestamp.is_some(),
        };
        Ok(Self { json, gap, revision, meta })
    }

    /// The object as JSON.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The revision that wrote it, which is its `metadata.resourceVersion`.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is known of it without parsing.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The object parsed.
    pub fn object(&self) -> Map<String, Value> {
        // Only JSON objects are ever stored; see `Draft::new`.
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    pub(super) fn gap(&self) -> usize {
        self.gap
    }
}

impl Meta {
    fn of(metadata: &Map<String, Value>) -> Self {
        let text = |value: &Value| Box::<str>::from(value.as_str().unwrap_or_default());
        let mut labels: Vec<_> = metadata
            .get("labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| (Box::<str>::from(key.as_str()), text(value)))
            .collect();
        labels.sort_unstable();
        let owners = metadata.get("ownerReferences").and_then(Value::as_array);
        Self {
            uid: metadata.get("uid").map(text).unwrap_or_default(),
            labels: labels.into(),
            owners: owners
                .into_iter()
                .flatten()
                .filter_map(|owner| owner.get("uid").map(text))
                .collect(),
            deleting: metadata.get("deletionTimestamp").is_some_and(|at| !at.is_null()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(value: Value) -> Draft {
        Draft::new(value.as_object().unwrap())
    }

    #[test]
    fn revision_goes_into_the_gap_and_out_again() {
        let object = json!({"kind": "K", "apiVersion": "g/v1", "aa": 1, "metadata": {
            "name": "n", "resourceVersion": "3", "uid": "u", "labels": {"b": "2", "a": "1"},
            "ownerReferences": [{"uid": "o"}]
        }});
        let entry = draft(object).into_entry(12);
        let value: Value = serde_json::from_slice(entry.json()).unwrap();
        assert_eq!(value["metadata"]["resourceVersion"], "12");
        assert_eq!(value["metadata"]["name"], "n");
        assert_eq!(value["aa"], 1);
        let again = Draft::of_entry(&entry).into_entry(13_000);
        let loaded = Entry::load(again.json().clone(), again.gap(), 13_000).unwrap();
        assert_eq!(loaded.meta(), entry.meta());
        assert_eq!(loaded.object()["metadata"]["resourceVersion"], "13000");
        assert_eq!(&*loaded.meta().labels[0].0, "a");
    }

    #[test]
    fn unrevised_is_the_object_without_a_revision() {
        for metadata in [json!({}), json!({"name": "n"})] {
            let object = json!({"kind": "K", "apiVersion": "v1", "metadata": metadata});
            let bytes = draft(object.clone()).unrevised();
            assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), object);
        }
    }
}
