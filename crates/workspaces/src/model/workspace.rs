//! Workspace: one user's running environment.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{PATH, SUBDOMAIN};

/// What a user wants to run.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeflow.org",
    version = "v1beta1",
    kind = "Workspace",
    namespaced,
    status = "WorkspaceStatus",
    shortname = "ws",
    derive = "PartialEq",
    doc = "Workspace is one user's environment, made from a WorkspaceKind.",
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "The current state of the Workspace"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSpec {
    /// Whether the workspace is paused: no pod runs, volumes are kept.
    #[serde(default)]
    pub paused: bool,
    /// Name for humans.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// Name of the WorkspaceKind.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = SUBDOMAIN),
        extend("x-kubernetes-validations" = [
            {"rule": "self == oldSelf", "message": "Workspace 'kind' is immutable"}
        ])
    )]
    pub kind: String,
    /// What the pod is made of.
    pub pod_template: WorkspacePodTemplate,
}

/// Labels and annotations for the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodMetadata {
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What the pod of a workspace is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspacePodTemplate {
    /// Metadata for the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_metadata: Option<PodMetadata>,
    /// What the pod mounts.
    pub volumes: WorkspaceVolumes,
    /// Which options of the kind are chosen.
    pub options: WorkspaceOptions,
}

/// What a workspace mounts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceVolumes {
    /// Claim that is mounted at the home path of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub home: Option<String>,
    /// Further claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["mountPath"]
    ))]
    pub data: Vec<DataVolume>,
    /// Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["mountPath"]
    ))]
    pub secrets: Vec<SecretVolume>,
}

/// A claim and where it is mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataVolume {
    /// Name of the PersistentVolumeClaim in the namespace of the workspace.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub pvc_name: String,
    /// Where it is mounted.
    #[schemars(length(min = 2, max = 4096), regex(pattern = PATH))]
    pub mount_path: String,
    /// Whether it can only be read.
    #[serde(default)]
    pub read_only: bool,
}

/// A Secret and where it is mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolume {
    /// Name of the Secret in the namespace of the workspace.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub secret_name: String,
    /// Where it is mounted.
    #[schemars(length(min = 2, max = 4096), regex(pattern = PATH))]
    pub mount_path: String,
    /// Mode of its files.
    #[serde(default = "default_mode")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: i32,
}

fn default_mode() -> i32 {
    0o644
}

/// The chosen options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceOptions {
    /// Id of an `imageConfig` value of the kind.
    #[schemars(length(min = 1, max = 256))]
    pub image_config: String,
    /// Id of a `podConfig` value of the kind.
    #[schemars(length(min = 1, max = 256))]
    pub pod_config: String,
}

/// What the controller has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = [
    "activity", "lastRunningTime", "pauseTime", "pendingRestart", "podTemplateOptions",
    "podTemplatePod", "state", "stateMessage"
]))]
pub struct WorkspaceStatus {
    /// Activity of the user.
    #[serde(default)]
    #[schemars(!default)]
    pub activity: Activity,
    /// Start of the current continuous time of running, in ms since 1970.
    #[serde(default)]
    pub last_running_time: i64,
    /// When the pause was first seen, in ms since 1970; 0 when not paused.
    #[serde(default)]
    pub pause_time: i64,
    /// Whether a newer option waits for a restart.
    #[serde(default)]
    pub pending_restart: bool,
    /// What the chosen options lead to.
    #[serde(default)]
    #[schemars(!default)]
    pub pod_template_options: PodTemplateOptionsStatus,
    /// Facts about the pod.
    #[serde(default)]
    #[schemars(!default)]
    pub pod_template_pod: PodTemplatePod,
    /// The state.
    #[serde(default)]
    pub state: WorkspaceState,
    /// Text about the state, for humans.
    #[serde(default)]
    pub state_message: String,
}

super::schema::text_enum! {
    /// State of a workspace.
    #[derive(Default)]
    pub enum WorkspaceState {
        /// The pod runs and is ready.
        Running,
        /// The pod is going away.
        Terminating,
        /// Paused, and the pod is gone.
        Paused,
        /// The pod is starting.
        Pending,
        /// It cannot run until somebody acts.
        Error,
        /// Nothing is known.
        #[default]
        Unknown,
    }
}

/// What the chosen options lead to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["imageConfig", "podConfig"]))]
pub struct PodTemplateOptionsStatus {
    /// The image option.
    #[serde(default)]
    #[schemars(!default)]
    pub image_config: OptionStatus,
    /// The pod option.
    #[serde(default)]
    #[schemars(!default)]
    pub pod_config: OptionStatus,
}

/// Where one option leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionStatus {
    /// Id at the end of the redirects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub desired: Option<String>,
    /// Each redirect on the way, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_chain: Vec<RedirectStep>,
}

/// One redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedirectStep {
    /// Id that redirects.
    #[schemars(length(min = 1, max = 256))]
    pub source: String,
    /// Id that it redirects to.
    #[schemars(length(min = 1, max = 256))]
    pub target: String,
}

/// Facts about the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name", "nodeName"]))]
pub struct PodTemplatePod {
    /// Name of the pod; empty without one.
    #[serde(default)]
    pub name: String,
    /// Name of its node; empty without one.
    #[serde(default)]
    pub node_name: String,
    /// ServiceAccount that the pod has, or will have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerName>,
    /// Init containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<ContainerName>,
}

/// A container of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerName {
    /// Its name.
    pub name: String,
}

/// Activity of the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Last activity as the probe reports it, in ms since 1970.
    #[serde(default)]
    pub last_activity: i64,
    /// End of the last successful probe, in ms since 1970.
    #[serde(default)]
    pub last_update: i64,
    /// The last probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe: Option<ProbeReport>,
    /// What the activity rules come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<ActivityRulesStatus>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// When it started, in ms since 1970.
    pub start_time: i64,
    /// When it ended, in ms since 1970.
    pub end_time: i64,
    /// How it went.
    pub result: ProbeResult,
    /// Text for humans.
    #[serde(default)]
    pub message: String,
}

super::schema::text_enum! {
    /// How a probe went.
    pub enum ProbeResult {
        /// It gave an answer.
        Success,
        /// It failed.
        Failure,
        /// It took too long.
        Timeout,
    }
}

/// What the activity rules come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityRulesStatus {
    /// The rule that pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_workspace: Option<PauseEligibility>,
}

/// When an idle workspace may be paused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseEligibility {
    /// In ms since 1970; 0 means never.
    #[serde(default)]
    pub eligible_after: i64,
    /// When its users are warned, in ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<i64>,
}
