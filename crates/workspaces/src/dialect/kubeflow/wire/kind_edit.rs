//! WorkspaceKinds as admins edit them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use web::Cause;

use super::{
    super::{
        body::Validate,
        strict::{read_spec, unknown_fields},
    },
    or_default, revision,
};
use crate::{
    decide,
    model::{ActivityRule, FilterRule, KindPodTemplate, KindSpawner, WorkspaceKind},
};

/// The part of a kind that can be edited.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindUpdate<'a> {
    revision: String,
    spawner: &'a KindSpawner,
    pod_template: &'a KindPodTemplate,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    activity_rules: &'a [ActivityRule],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    filter_rules: &'a [FilterRule],
}

impl<'a> From<&'a WorkspaceKind> for KindUpdate<'a> {
    fn from(kind: &'a WorkspaceKind) -> Self {
        Self {
            revision: revision(&kind.metadata),
            spawner: &kind.spec.spawner,
            pod_template: &kind.spec.pod_template,
            activity_rules: &kind.spec.activity_rules,
            filter_rules: &kind.spec.filter_rules,
        }
    }
}

impl KindUpdate<'_> {
    /// Which version this is.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }
}

/// What an admin sends back after editing. The parts stay the JSON that they came as: what is
/// missing in them is for the cluster to say, in the words of the definition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Edited")]
pub(crate) struct KindChange {
    revision: String,
    /// What is replaced in the spec; what is not there any more is `null`.
    parts: Map<String, Value>,
}

impl Validate for KindChange {
    fn validate(&self) -> Vec<Cause> {
        decide::request::revision(&self.revision)
    }
}

impl KindChange {
    /// The version that was edited.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// Makes the change.
    pub(crate) fn apply(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
        for (key, part) in &self.parts {
            match part {
                Value::Null => drop(spec.remove(key)),
                part => drop(spec.insert(key.clone(), part.clone())),
            }
        }
    }
}

/// The body as it is written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "KindChange")]
struct Edited {
    #[serde(deserialize_with = "or_default")]
    revision: String,
    #[schemars(with = "KindSpawner")]
    spawner: Value,
    #[schemars(with = "KindPodTemplate")]
    pod_template: Value,
    #[schemars(with = "Vec<ActivityRule>")]
    activity_rules: Value,
    /// Absent: the rules stay, for clients that do not know them. `null` or empty: they go.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<Vec<FilterRule>>")]
    filter_rules: Option<Value>,
}

/// Tells `null` from an absent field.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<Edited> for KindChange {
    type Error = String;

    fn try_from(edited: Edited) -> Result<Self, String> {
        let mut parts = Map::new();
        parts.insert("spawner".to_owned(), edited.spawner);
        parts.insert("podTemplate".to_owned(), edited.pod_template);
        parts.insert("activityRules".to_owned(), edited.activity_rules);
        if let Some(rules) = edited.filter_rules {
            parts.insert("filterRules".to_owned(), rules);
        }
        let mut written = parts.clone();
        written.retain(|_, part| !part.is_null());
        let written = Value::Object(written);
        if let Some(path) = unknown_fields(&written, "data").first() {
            return Err(format!("unknown field {path:?}"));
        }
        // Only to find what has the wrong type: the rest is judged as a part of the whole.
        drop(read_spec(&written)?);
        Ok(Self { revision: edited.revision, parts })
    }
}

/// The answer when a kind is made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindCreated<'a> {
    pub(crate) name: &'a str,
    pub(crate) spawner: &'a KindSpawner,
    pub(crate) pod_template: &'a KindPodTemplate,
}
