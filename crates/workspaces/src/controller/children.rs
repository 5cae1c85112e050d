//! What the controller keeps of the objects that it owns: enough to tell whether they are as
//! wanted, in a fraction of their size.

use cluster::{Cache, Object, Source, apply};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Event, Secret, Service, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::{Client, Resource, core::ApiResource};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::objects;
use crate::model::{GROUP, label};

/// An object that a workspace owns.
#[derive(Debug, Clone, Default)]
pub(super) struct Child {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) version: Box<str>,
    pub(super) workspace: Box<str>,
    pub(super) workspace_uid: Box<str>,
    pub(super) deleting: bool,
    pub(super) generation: i64,
    pub(super) observed_generation: i64,
    pub(super) update_revision: Box<str>,
    /// Whether a changed template waits until the pod is deleted.
    pub(super) holds_updates: bool,
    /// The parts that are compared with what is wanted, as JSON text: a tenth of a parsed tree.
    compared: Box<str>,
}

impl Child {
    /// The kept part of an object; none if no workspace controls it. `owned` lists the JSON
    /// pointers of the fields that are ours.
    pub(super) fn of(value: Value, owned: &[&str]) -> Option<Self> {
        let meta = &value["metadata"];
        let owner = meta["ownerReferences"].as_array()?.iter().find(|owner| {
            let group = owner["apiVersion"].as_str().and_then(|text| text.split_once('/'));
            owner["controller"] == true
                && owner["kind"] == "Workspace"
                && group.is_some_and(|(group, _)| group == GROUP)
        })?;
        let text = |value: &Value| value.as_str().unwrap_or_default().into();
        let status = &value["status"];
        let child = Self {
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            version: text(&meta["resourceVersion"]),
            workspace: text(&owner["name"]),
            workspace_uid: text(&owner["uid"]),
            deleting: meta["deletionTimestamp"].is_string(),
            generation: meta["generation"].as_i64().unwrap_or(0),
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
            update_revision: text(&status["updateRevision"]),
            holds_updates: value["spec"]["updateStrategy"]["type"] == objects::ON_DELETE,
            compared: Box::default(),
        };
        Some(Self { compared: compared(value, owned).to_string().into(), ..child })
    }

    /// The name of the pod of a StatefulSet.
    pub(super) fn pod_name(&self) -> String {
        format!("{}-0", self.name)
    }

    /// The parts that are compared, at their places.
    pub(super) fn compared(&self) -> Value {
        serde_json::from_str(&self.compared).unwrap_or_default()
    }
}

fn compared(mut value: Value, owned: &[&str]) -> Value {
    let mut kept = Value::Null;
    for pointer in ["/metadata/labels", "/metadata/annotations"].iter().chain(owned) {
        let Some(part) = value.pointer_mut(pointer) else { continue };
        apply::set(&mut kept, pointer, part.take());
    }
    kept
}

/// A Warning event about something that may belong to a workspace.
#[derive(Debug)]
pub(super) struct WarningEvent {
    pub(super) about: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) reason: Box<str>,
    pub(super) message: Box<str>,
    pub(super) at: i64,
}

impl WarningEvent {
    fn of(value: Value) -> Option<Self> {
        let event: Event = serde_json::from_value(value).ok()?;
        let about = event.involved_object;
        if !matches!(about.kind.as_deref(), Some("Pod" | "StatefulSet")) {
            return None;
        }
        let series = event.series.and_then(|series| series.last_observed_time);
        let at = event
            .last_timestamp
            .map(|time| time.0)
            .or(series.or(event.event_time).map(|time| time.0))
            .or(event.first_timestamp.or(event.metadata.creation_timestamp).map(|time| time.0));
        let text = |text: Option<String>| text.unwrap_or_default().into();
        Some(Self {
            about: text(about.uid),
            kind: text(about.kind),
            namespace: text(about.namespace),
            name: text(about.name),
            reason: text(event.reason),
            message: text(event.message),
            at: at.map_or(0, |time| time.as_millisecond()),
        })
    }
}

/// Keys, each with the hash of its content.
type Hashes = Vec<(Box<str>, Box<str>)>;

/// A ConfigMap with pictures, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Pictures(Result<Hashes, Box<str>>);

impl Pictures {
    pub(super) fn of(value: &Value) -> Self {
        let map: ConfigMap = match serde_json::from_value(value.clone()) {
            Ok(map) => map,
            Err(error) => return Self(Err(error.to_string().into())),
        };
        let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
        let bytes = map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
        // `data` comes first and wins, as in the asset route.
        let hashed = text.chain(bytes).map(|(key, bytes)| (key.into(), hex(&bytes).into()));
        Self(Ok(hashed.collect()))
    }

    /// The hash of a key's content; none if there is no such key.
    pub(super) fn sha256(&self, key: &str) -> Result<Option<&str>, &str> {
        let all = self.0.as_ref().map_err(|why| &**why)?;
        Ok(all.iter().find(|(have, _)| **have == *key).map(|(_, hash)| &**hash))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The watches that only the controller needs.
#[derive(Debug, Clone)]
pub(super) struct Children {
    pub(super) service_accounts: Cache<Child>,
    /// None if no workspace gets one.
    pub(super) secrets: Option<Cache<Child>>,
    pub(super) stateful_sets: Cache<Child>,
    pub(super) services: Cache<Child>,
    /// None if the API has no such kind.
    pub(super) role_bindings: Option<Cache<Child>>,
    pub(super) warnings: Cache<WarningEvent>,
    pub(super) pictures: Cache<Pictures>,
}

impl Children {
    pub(super) fn start(client: &Client, role_bindings: bool, secrets: bool) -> Self {
        let all_secrets = children::<Secret>(objects::SECRET_FIELDS).labels(label::WORKSPACE_NAME);
        Self {
            service_accounts: children::<ServiceAccount>(objects::SERVICE_ACCOUNT_FIELDS)
                .start(client),
            secrets: secrets.then(|| all_secrets.start(client)),
            stateful_sets: children::<StatefulSet>(objects::STATEFUL_SET_FIELDS).start(client),
            services: children::<Service>(objects::SERVICE_FIELDS).start(client),
            role_bindings: role_bindings
                .then(|| children::<RoleBinding>(objects::ROLE_BINDING_FIELDS).start(client)),
            warnings: Source::projected(ApiResource::erase::<Event>(&()), |value| {
                Ok(WarningEvent::of(value))
            })
            .fields("type=Warning")
            .index(|warning| Some(&warning.about))
            .start(client),
            pictures: Source::projected(ApiResource::erase::<ConfigMap>(&()), |value| {
                Ok(Some(Pictures::of(&value)))
            })
            .labels(&format!("{}=true", label::IMAGE_SOURCE))
            .start(client),
        }
    }

    pub(super) async fn ready(&self) {
        tokio::join!(
            self.service_accounts.ready(),
            self.stateful_sets.ready(),
            self.services.ready(),
            self.warnings.ready(),
            self.pictures.ready(),
        );
        for optional in self.secrets.iter().chain(&self.role_bindings) {
            optional.ready().await;
        }
    }

    /// Every cache of children.
    pub(super) fn all(&self) -> impl Iterator<Item = &Cache<Child>> {
        [&self.service_accounts, &self.stateful_sets, &self.services]
            .into_iter()
            .chain(&self.secrets)
            .chain(&self.role_bindings)
    }
}

fn children<K: Resource<DynamicType = ()>>(owned: &'static [&'static str]) -> Source<Child> {
    children_of(ApiResource::erase::<K>(&()), owned)
}

/// The objects of a kind that workspaces own.
pub(super) fn children_of(resource: ApiResource, owned: &'static [&'static str]) -> Source<Child> {
    let parse = move |value: Value| Ok(Child::of(value, owned));
    Source::projected(resource, parse).index(|child| Some(&child.workspace_uid))
}

/// The child that an object just written is.
pub(super) fn written(object: Object, owned: &[&str]) -> Child {
    Child::of(object.into_value(), owned).unwrap_or_default()
}
