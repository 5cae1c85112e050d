//! Writing objects that have one controlling owner: created once, replaced when they differ, never
//! taken over from somebody else.
//!
//! An API server fills in defaults, so what is read is never equal to what was written. Two things
//! together tell whether a write is needed: a hash of what was applied, kept as an annotation (it
//! notices what we dropped), and whether what is there still [covers] what is wanted (it notices
//! what others changed).
//!
//! [covers]: covers

mod compare;

use kube::{
    Api, Client, Resource,
    api::PostParams,
    core::{ApiResource, Request},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::compare::{covers, hash};
use crate::{Object, error};

/// Annotation with the hash of what was applied.
pub const APPLIED: &str = "quartermaster.io/applied";

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The name belongs to an object of somebody else.
    #[error("{kind} {name:?} exists and belongs to somebody else")]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API refused.
    #[error("cannot write {kind} {name:?}")]
    Api {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
}

/// What is wanted: an object with name, namespace and controlling owner.
///
/// Labels and annotations are added to those that are there; the top-level fields listed in `owned`
/// (JSON pointers) are replaced as a whole, everything else is left to others.
#[derive(Debug)]
pub struct Wanted {
    object: Object,
    resource: ApiResource,
    owned: &'static [&'static str],
    hash: String,
}

impl Wanted {
    /// Puts the hash of the object on it.
    pub fn new(resource: ApiResource, mut value: Value, owned: &'static [&'static str]) -> Self {
        let hash = hash(&value);
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(APPLIED.to_owned(), json!(hash));
            }
        }
        Self { object: value.into(), resource, owned, hash }
    }

    /// The object as it will be created.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.object.text("/metadata/name")
    }

    /// Whether a live object that has this annotation, these labels and these owned fields needs no
    /// write.
    pub fn is_met_by(&self, live: &Value) -> bool {
        let applied = live
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get(APPLIED))
            .and_then(Value::as_str);
        applied == Some(self.hash.as_str())
            && ["/metadata/labels", "/metadata/annotations"].iter().chain(self.owned).all(|field| {
                let wanted = self.object.value().pointer(field).unwrap_or(&Value::Null);
                covers(live.pointer(field).unwrap_or(&Value::Null), wanted)
            })
    }

    /// The live object with our part of it as wanted.
    fn over(&self, live: &Object) -> Object {
        let mut value = live.value().clone();
        for field in ["labels", "annotations"] {
            let Some(wanted) = self.object.value()["metadata"][field].as_object() else { continue };
            let there = &mut value["metadata"][field];
            if !there.is_object() {
                *there = Value::Object(Map::new());
            }
            if let Some(there) = there.as_object_mut() {
                there.extend(wanted.clone());
            }
        }
        for field in self.owned {
            if let Some(wanted) = self.object.value().pointer(field) {
                set(&mut value, field, wanted.clone());
            }
        }
        value.into()
    }

    fn api(&self, client: &Client) -> Api<Object> {
        api(client, &self.resource, self.object.text("/metadata/namespace"))
    }

    fn failed(&self, source: kube::Error) -> ApplyError {
        let (kind, name) = (self.resource.kind.clone(), self.name().to_owned());
        ApplyError::Api { kind, name, source }
    }

    /// Creates the object. If the name is taken by an object of the same owner (an earlier try whose
    /// answer was lost, or that our cache has not seen), that one is brought in line.
    pub async fn create(&self, client: &Client) -> Result<Object, ApplyError> {
        match self.api(client).create(&PostParams::default(), &self.object).await {
            Err(error) if error::is_already_exists(&error) => {
                self.replace(client, self.name()).await
            }
            created => created.map_err(|source| self.failed(source)),
        }
    }

    /// Brings the object of that name in line, if it has the same owner and differs.
    pub async fn replace(&self, client: &Client, name: &str) -> Result<Object, ApplyError> {
        let api = self.api(client);
        let live = api.get(name).await.map_err(|source| self.failed(source))?;
        if live.controller_uid() != self.object.controller_uid() || live.controller_uid().is_none()
        {
            return Err(ApplyError::Foreign {
                kind: self.resource.kind.clone(),
                name: name.to_owned(),
            });
        }
        if self.is_met_by(live.value()) {
            return Ok(live);
        }
        // Carries the version that was read: a change in between is a conflict, not lost.
        let wanted = self.over(&live);
        api.replace(name, &PostParams::default(), &wanted)
            .await
            .map_err(|source| self.failed(source))
    }
}

/// The API of a kind, in a namespace or, if that is empty, in the cluster.
pub fn api(client: &Client, resource: &ApiResource, namespace: &str) -> Api<Object> {
    if namespace.is_empty() {
        Api::all_with(client.clone(), resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, resource)
    }
}

/// Writes the status of an object, and gives the version that it has then. The rest of the answer is
/// passed over: the object is known.
pub async fn replace_status<K>(client: &Client, object: &K) -> Result<String, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let bytes = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let (meta, params) = (object.meta(), PostParams::default());
    let (path, name) = (K::url_path(&(), meta.namespace.as_deref()), meta.name.as_deref());
    let request = Request::new(path);
    let request = request.replace_subresource("status", name.unwrap_or_default(), &params, bytes);
    let request = request.map_err(kube::Error::BuildRequest)?;
    let written: Written = client.request(request).await?;
    Ok(written.metadata.resource_version)
}

/// What is of interest in an object that was just written.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    resource_version: String,
}

/// Puts a value at a JSON pointer of object keys, making the objects on the way.
pub fn set(value: &mut Value, pointer: &str, to: Value) {
    let mut here = value;
    for key in pointer.split('/').skip(1) {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        here = &mut here[key];
    }
    *here = to;
}
