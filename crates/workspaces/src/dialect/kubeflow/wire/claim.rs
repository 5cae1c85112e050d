//! PersistentVolumeClaims: as lists show them, as users make them.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::Cause;

use super::{super::body::Validate, Audit, or_default, storage_class::StorageClassName};
use crate::{
    decide::{
        names::check_subdomain,
        quota::NewClaim,
        request::{is_true, new_claim},
    },
    model::{Workspace, WorkspaceState, label},
};

const DEFAULT_VOLUME_MODE: &str = "Filesystem";

/// What a user asks for, and the answer when it is made.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ClaimCreate {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) access_modes: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) storage_class_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) requests: Requests,
}

/// A claim that is made along with a workspace, under the name that the workspace mounts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ClaimToMake {
    #[serde(deserialize_with = "or_default")]
    access_modes: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    storage_class_name: String,
    #[serde(deserialize_with = "or_default")]
    requests: Requests,
}

impl ClaimToMake {
    /// The rules for it; `root` is where it was said.
    pub(crate) fn validate(&self, root: &str) -> Vec<Cause> {
        new_claim(root, &self.access_modes, &self.storage_class_name, &self.requests.storage)
    }

    /// The same with its name.
    pub(crate) fn named(&self, name: &str) -> ClaimCreate {
        let Self { access_modes, storage_class_name, requests } = self.clone();
        ClaimCreate { name: name.to_owned(), access_modes, storage_class_name, requests }
    }
}

/// How much storage a claim asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Requests {
    #[serde(deserialize_with = "or_default")]
    pub(crate) storage: String,
}

impl ClaimCreate {
    /// What it asks for, as quotas count.
    pub(crate) fn demand(&self) -> NewClaim<'_> {
        NewClaim { class: &self.storage_class_name, storage: &self.requests.storage }
    }
}

impl Validate for ClaimCreate {
    fn validate(&self) -> Vec<Cause> {
        let Self { name, access_modes, storage_class_name, requests } = self;
        let mut causes = check_subdomain("data.name", name);
        let storage = &requests.storage;
        causes.extend(new_claim("data", access_modes, storage_class_name, storage));
        causes
    }
}

impl From<&PersistentVolumeClaim> for ClaimCreate {
    fn from(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.clone().unwrap_or_default();
        Self {
            name: claim.metadata.name.clone().unwrap_or_default(),
            access_modes: spec.access_modes.clone().unwrap_or_default(),
            storage_class_name: spec.storage_class_name.clone().unwrap_or_default(),
            requests: Requests { storage: requested(claim).to_owned() },
        }
    }
}

fn requested(claim: &PersistentVolumeClaim) -> &str {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).map_or("", |quantity| &quantity.0)
}

/// Who uses the claims of a namespace, and what is behind them.
#[derive(Debug, Default)]
pub(crate) struct Neighbours<'a> {
    pub(crate) pods: BTreeMap<&'a str, Vec<&'a Pod>>,
    pub(crate) workspaces: BTreeMap<&'a str, Vec<&'a Workspace>>,
    pub(crate) volumes: BTreeMap<&'a str, &'a PersistentVolume>,
    pub(crate) classes: BTreeMap<&'a str, &'a StorageClass>,
}

/// An item of the list of claims.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimListItem<'a> {
    name: &'a str,
    can_mount: bool,
    can_update: bool,
    pods: Vec<PodItem<'a>>,
    workspaces: Vec<WorkspaceItem<'a>>,
    audit: Audit<'a>,
    /// Whether there is a volume behind it: `Pending`, `Bound` or `Lost`.
    phase: &'a str,
    /// How large the volume is, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class: Option<StorageClassName<'a>>,
    pvc_spec: ClaimSpec<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pv: Option<Volume<'a>>,
}

impl<'a> ClaimListItem<'a> {
    pub(crate) fn new(claim: &'a PersistentVolumeClaim, around: &Neighbours<'a>) -> Self {
        let metadata = &claim.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        let labels = metadata.labels.as_ref();
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        let class = class.and_then(|class| around.classes.get(class));
        let status = claim.status.as_ref();
        let capacity = status.and_then(|status| status.capacity.as_ref()?.get("storage"));
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        let volume = volume.and_then(|volume| around.volumes.get(volume));
        let pods = around.pods.get(name).into_iter().flatten();
        let workspaces = around.workspaces.get(name).into_iter().flatten();
        Self {
            name,
            can_mount: is_true(labels, label::CAN_MOUNT),
            can_update: is_true(labels, label::CAN_UPDATE),
            pods: pods.map(|pod| PodItem::from(*pod)).collect(),
            workspaces: workspaces.map(|workspace| WorkspaceItem::from(*workspace)).collect(),
            audit: metadata.into(),
            phase: status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending"),
            capacity: capacity.map(|quantity| quantity.0.as_str()),
            storage_class: class.map(|class| StorageClassName::from(*class)),
            pvc_spec: claim.into(),
            pv: volume.map(|volume| Volume::new(volume, &around.classes)),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct PodItem<'a> {
    name: &'a str,
    phase: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Name<'a>>,
}

impl<'a> From<&'a Pod> for PodItem<'a> {
    fn from(pod: &'a Pod) -> Self {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        Self {
            name: pod.metadata.name.as_deref().unwrap_or_default(),
            phase: phase.unwrap_or_default(),
            node: Name::unless_empty(node),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Name<'a> {
    name: &'a str,
}

impl<'a> Name<'a> {
    fn unless_empty(name: Option<&'a str>) -> Option<Self> {
        name.filter(|name| !name.is_empty()).map(|name| Self { name })
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WorkspaceItem<'a> {
    name: &'a str,
    state: WorkspaceState,
    state_message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_template_pod: Option<WorkspacePod<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WorkspacePod<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Name<'a>>,
}

impl<'a> From<&'a Workspace> for WorkspaceItem<'a> {
    fn from(workspace: &'a Workspace) -> Self {
        let status = workspace.status.as_ref();
        let pod = status.map(|status| &status.pod_template_pod);
        Self {
            name: workspace.metadata.name.as_deref().unwrap_or_default(),
            state: status.map_or(WorkspaceState::Unknown, |status| status.state),
            state_message: status.map_or("", |status| &status.state_message),
            pod_template_pod: pod.filter(|pod| !pod.name.is_empty()).map(|pod| WorkspacePod {
                name: &pod.name,
                node: Name::unless_empty(Some(&pod.node_name)),
            }),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec<'a> {
    requests: Storage<'a>,
    access_modes: &'a [String],
    volume_mode: &'a str,
    storage_class_name: &'a str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Storage<'a> {
    storage: &'a str,
}

impl<'a> From<&'a PersistentVolumeClaim> for ClaimSpec<'a> {
    fn from(claim: &'a PersistentVolumeClaim) -> Self {
        let spec = claim.spec.as_ref();
        let mode = spec.and_then(|spec| spec.volume_mode.as_deref());
        let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
        Self {
            requests: Storage { storage: requested(claim) },
            access_modes: spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default(),
            volume_mode: mode.unwrap_or(DEFAULT_VOLUME_MODE),
            storage_class_name: class.unwrap_or_default(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    name: &'a str,
    persistent_volume_reclaim_policy: &'a str,
    volume_mode: &'a str,
    access_modes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class: Option<StorageClassName<'a>>,
}

impl<'a> Volume<'a> {
    fn new(volume: &'a PersistentVolume, classes: &BTreeMap<&str, &'a StorageClass>) -> Self {
        let spec = volume.spec.as_ref();
        let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        let mode = spec.and_then(|spec| spec.volume_mode.as_deref());
        let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
        let class = class.and_then(|class| classes.get(class));
        Self {
            name: volume.metadata.name.as_deref().unwrap_or_default(),
            persistent_volume_reclaim_policy: policy.unwrap_or_default(),
            volume_mode: mode.unwrap_or(DEFAULT_VOLUME_MODE),
            access_modes: spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default(),
            storage_class: class.map(|class| StorageClassName::from(*class)),
        }
    }
}
