//! A workspace as users write and edit it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::Cause;

use super::{
    super::{Profile, body::Validate, error::Problem},
    claim::{ClaimCreate, ClaimToMake},
    or_default, revision,
};
use crate::{
    decide::{self, names::required},
    model::{
        DataVolume, PodMetadata, SecretVolume, Workspace, WorkspaceOptions, WorkspacePodTemplate,
        WorkspaceSpec, WorkspaceVolumes,
    },
};

/// What a user asks for, and the answer when it is made.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct WorkspaceCreate {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    display_name: String,
    #[serde(deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    paused: bool,
    #[serde(deserialize_with = "or_default")]
    pod_template: PodTemplate,
    /// Clients of 2025-07 send it and read it back; it means nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    defer_updates: Option<bool>,
}

impl WorkspaceCreate {
    /// The object's spec.
    pub(crate) fn spec(&self) -> WorkspaceSpec {
        let name = self.display_name.clone();
        WorkspaceSpec {
            paused: self.paused,
            display_name: Some(name).filter(|name| !name.is_empty()),
            kind: self.kind.clone(),
            pod_template: self.pod_template.clone().into(),
        }
    }
}

impl WorkspaceCreate {
    /// The claims that are to be made with it, by the places of their volumes.
    pub(crate) fn claims(&self) -> Vec<(usize, ClaimCreate)> {
        let to_make = self.pod_template.volumes.to_make();
        to_make.map(|(index, name, claim)| (index, claim.named(name))).collect()
    }

    /// The answer to a request, about what was made of it.
    pub(crate) fn answer(&self, made: &Workspace, profile: Profile) -> Self {
        let defer_updates = profile.is_old().then(|| self.defer_updates.unwrap_or(false));
        Self { defer_updates, ..Self::from(made) }
    }
}

impl Validate for WorkspaceCreate {
    fn validate(&self) -> Vec<Cause> {
        let mut causes = decide::request::new_workspace(&self.name, &self.spec());
        let to_make = || self.pod_template.volumes.to_make();
        for (index, _, claim) in to_make() {
            causes
                .extend(claim.validate(&format!("data.podTemplate.volumes.data[{index}].create")));
        }
        let names: Vec<_> = to_make().map(|(index, name, _)| (index, name)).collect();
        causes.extend(decide::request::claims_with_workspace(&names));
        causes
    }
}

impl From<&Workspace> for WorkspaceCreate {
    fn from(workspace: &Workspace) -> Self {
        let spec = &workspace.spec;
        Self {
            name: workspace.metadata.name.clone().unwrap_or_default(),
            display_name: spec.display_name.clone().unwrap_or_default(),
            kind: spec.kind.clone(),
            paused: spec.paused,
            pod_template: (&spec.pod_template).into(),
            defer_updates: None,
        }
    }
}

/// The part of a workspace that can be edited, as it is read and as it is sent back.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct WorkspaceUpdate {
    #[serde(deserialize_with = "or_default")]
    revision: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    display_name: String,
    #[serde(deserialize_with = "or_default")]
    paused: bool,
    #[serde(deserialize_with = "or_default")]
    pod_template: PodTemplate,
}

impl WorkspaceUpdate {
    /// Which version this is.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// The spec that takes the place of that of a workspace of this kind.
    pub(crate) fn spec(&self, kind: &str) -> WorkspaceSpec {
        let name = self.display_name.clone();
        WorkspaceSpec {
            paused: self.paused,
            display_name: Some(name).filter(|name| !name.is_empty()),
            kind: kind.to_owned(),
            pod_template: self.pod_template.clone().into(),
        }
    }
}

impl Validate for WorkspaceUpdate {
    fn validate(&self) -> Vec<Cause> {
        let template = self.pod_template.clone().into();
        let mut causes = decide::request::changed_workspace(&self.revision, &template);
        let to_make: Vec<_> = self.pod_template.volumes.to_make().map(|(i, ..)| i).collect();
        causes.extend(decide::request::no_claims_with_edit(&to_make));
        causes
    }
}

impl From<&Workspace> for WorkspaceUpdate {
    fn from(workspace: &Workspace) -> Self {
        let spec = &workspace.spec;
        Self {
            revision: revision(&workspace.metadata),
            display_name: spec.display_name.clone().unwrap_or_default(),
            paused: spec.paused,
            pod_template: (&spec.pod_template).into(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "WorkspaceTemplate")]
struct PodTemplate {
    #[serde(deserialize_with = "or_default")]
    pod_metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    volumes: Volumes,
    #[serde(deserialize_with = "or_default")]
    options: Options,
}

/// Labels and annotations: both always written, even when empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
}

impl From<Option<&PodMetadata>> for Metadata {
    fn from(metadata: Option<&PodMetadata>) -> Self {
        let PodMetadata { labels, annotations } = metadata.cloned().unwrap_or_default();
        Self { labels, annotations }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Mounts")]
struct Volumes {
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    #[serde(deserialize_with = "or_default")]
    data: Vec<Data>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Secret>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "DataMount")]
struct Data {
    #[serde(deserialize_with = "or_default")]
    pvc_name: String,
    #[serde(deserialize_with = "or_default")]
    mount_path: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    /// The claim does not exist yet and is made along with the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    create: Option<ClaimToMake>,
}

impl Volumes {
    /// The claims that are to be made: the place of the volume, its name, what is said about it.
    fn to_make(&self) -> impl Iterator<Item = (usize, &str, &ClaimToMake)> {
        let all = self.data.iter().enumerate();
        all.filter_map(|(index, data)| Some((index, &*data.pvc_name, data.create.as_ref()?)))
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "SecretMount")]
struct Secret {
    #[serde(deserialize_with = "or_default")]
    secret_name: String,
    #[serde(deserialize_with = "or_default")]
    mount_path: String,
    #[serde(deserialize_with = "or_default")]
    default_mode: i32,
}

/// What a Secret's files get when nobody says otherwise: 0644.
const DEFAULT_MODE: i32 = 0o644;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ChosenOptions")]
struct Options {
    #[serde(deserialize_with = "or_default")]
    image_config: String,
    #[serde(deserialize_with = "or_default")]
    pod_config: String,
}

impl From<PodTemplate> for WorkspacePodTemplate {
    fn from(template: PodTemplate) -> Self {
        let Metadata { labels, annotations } = template.pod_metadata;
        let metadata = PodMetadata { labels, annotations };
        let volumes = template.volumes;
        Self {
            pod_metadata: (metadata != PodMetadata::default()).then_some(metadata),
            volumes: WorkspaceVolumes {
                home: volumes.home,
                data: volumes.data.into_iter().map(Into::into).collect(),
                secrets: volumes.secrets.into_iter().map(Into::into).collect(),
            },
            options: WorkspaceOptions {
                image_config: template.options.image_config,
                pod_config: template.options.pod_config,
            },
        }
    }
}

impl From<&WorkspacePodTemplate> for PodTemplate {
    fn from(template: &WorkspacePodTemplate) -> Self {
        let volumes = &template.volumes;
        Self {
            pod_metadata: template.pod_metadata.as_ref().into(),
            volumes: Volumes {
                home: volumes.home.clone(),
                data: volumes.data.iter().cloned().map(Into::into).collect(),
                secrets: volumes.secrets.iter().cloned().map(Into::into).collect(),
            },
            options: Options {
                image_config: template.options.image_config.clone(),
                pod_config: template.options.pod_config.clone(),
            },
        }
    }
}

impl From<Data> for DataVolume {
    fn from(Data { pvc_name, mount_path, read_only, .. }: Data) -> Self {
        Self { pvc_name, mount_path, read_only }
    }
}

impl From<DataVolume> for Data {
    fn from(DataVolume { pvc_name, mount_path, read_only }: DataVolume) -> Self {
        Self { pvc_name, mount_path, read_only, create: None }
    }
}

impl From<Secret> for SecretVolume {
    fn from(Secret { secret_name, mount_path, default_mode }: Secret) -> Self {
        let default_mode = if default_mode == 0 { DEFAULT_MODE } else { default_mode };
        Self { secret_name, mount_path, default_mode }
    }
}

impl From<SecretVolume> for Secret {
    fn from(SecretVolume { secret_name, mount_path, default_mode }: SecretVolume) -> Self {
        Self { secret_name, mount_path, default_mode }
    }
}

/// A request that says nothing but what its path says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Nothing {}

impl Validate for Nothing {
    fn validate(&self) -> Vec<Cause> {
        Vec::new()
    }
}

/// Pause or start.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PauseAction {
    paused: Option<bool>,
}

impl PauseAction {
    /// What `paused` is to become. An empty object starts, because the contract has it so; a
    /// server may insist on the field.
    pub(crate) fn target(&self, strict: bool) -> Result<bool, Problem> {
        match self.paused {
            Some(paused) => Ok(paused),
            None if strict => Err(Problem::body(vec![required("data.paused", "")])),
            None => {
                tracing::warn!("a pause request without `paused` starts the workspace");
                Ok(false)
            }
        }
    }
}

impl Validate for PauseAction {
    fn validate(&self) -> Vec<Cause> {
        Vec::new()
    }
}

/// The pod that a restart replaces.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restarted {
    pub(crate) pod_name: String,
}

/// What became of one of many workspaces that were paused or started together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PausedOne {
    pub(crate) name: String,
    /// What `paused` is now.
    pub(crate) paused: bool,
    /// Whether this request changed it.
    pub(crate) changed: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What `paused` is now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Paused {
    pub(crate) paused: bool,
}
