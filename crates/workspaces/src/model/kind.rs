//! WorkspaceKind: the admin's template, with image and pod options to choose from.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EnvVar, PodSecurityContext, Probe, SecurityContext, Volume, VolumeMount,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    core::Core,
    options::KindOptions,
    rules::{ActivityRule, FilterRule, WorkspaceKindStatus},
    schema::{CLUSTER_ROLE, CONFIG_KEY, LABEL, PATH, PORT_ID, SUBDOMAIN, text_enum},
    workspace::PodMetadata,
};

/// What workspaces of this kind look like.
#[expect(clippy::duplicated_attributes, reason = "each printer column has its own type")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeflow.org",
    version = "v1beta1",
    kind = "WorkspaceKind",
    status = "WorkspaceKindStatus",
    shortname = "wsk",
    derive = "PartialEq",
    doc = "WorkspaceKind is a template from which workspaces are made.",
    printcolumn(
        name = "Workspaces",
        type_ = "integer",
        json_path = ".status.workspaces",
        description = "The number of Workspaces that use this kind"
    ),
    printcolumn(
        name = "Deprecated",
        type_ = "boolean",
        json_path = ".spec.spawner.deprecated",
        description = "Whether this kind is deprecated"
    ),
    printcolumn(
        name = "Hidden",
        type_ = "boolean",
        json_path = ".spec.spawner.hidden",
        description = "Whether this kind is hidden"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceKindSpec {
    /// How the kind is shown to users.
    pub spawner: KindSpawner,
    /// What the pods are made of.
    pub pod_template: KindPodTemplate,
    /// What happens to idle workspaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub activity_rules: Vec<ActivityRule>,
    /// Who sees and may use what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub filter_rules: Vec<FilterRule>,
}

/// How a kind is shown to users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindSpawner {
    /// Name for humans.
    #[schemars(length(min = 2, max = 128))]
    pub display_name: String,
    /// Text for humans.
    #[schemars(length(min = 2, max = 4096))]
    pub description: String,
    /// Whether it is left out of what users choose from.
    #[serde(default)]
    pub hidden: bool,
    /// Whether users are told to choose something else.
    #[serde(default)]
    pub deprecated: bool,
    /// What they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 256))]
    pub deprecation_message: Option<String>,
    /// Small picture.
    pub icon: Asset,
    /// Large picture.
    pub logo: Asset,
}

/// A picture: an URL, or a key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.url) != has(self.configMap)",
    "message": "must specify exactly one of 'url' or 'configMap'"
}]))]
pub struct Asset {
    /// Where a browser finds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The ConfigMap that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<AssetConfigMap>,
}

/// A key of a ConfigMap that holds a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetConfigMap {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub namespace: String,
    /// The key.
    #[schemars(length(min = 1, max = 253), regex(pattern = CONFIG_KEY))]
    pub key: String,
    /// What the content is.
    pub media_type: AssetMediaType,
}

text_enum! {
    /// What the content of a picture may be.
    pub enum AssetMediaType {
        /// An SVG picture.
        Svg = "image/svg+xml",
    }
}

/// What the pods of a kind are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindPodTemplate {
    /// Metadata for the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_metadata: Option<PodMetadata>,
    /// What the pods may do in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<KindServiceAccount>,
    /// How activity is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity_probe: Option<ActivityProbe>,
    /// Probes of the container `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<KindProbes>,
    /// Where the volumes go.
    pub volume_mounts: KindVolumeMounts,
    /// The ports that images may serve.
    #[schemars(
        length(min = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub ports: Vec<KindPort>,
    /// Environment of the container `main`; values are templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub extra_env: Vec<Core<EnvVar>>,
    /// Further mounts of the container `main`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["mountPath"]
    ))]
    pub extra_volume_mounts: Vec<Core<VolumeMount>>,
    /// Further volumes of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub extra_volumes: Vec<Core<Volume>>,
    /// Security context of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<Core<PodSecurityContext>>,
    /// Security context of the container `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_security_context: Option<Core<SecurityContext>>,
    /// What users choose from.
    pub options: KindOptions,
}

/// What the pods of a kind may do in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindServiceAccount {
    /// ClusterRoles bound in the namespace of each workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub cluster_roles: Vec<ClusterRoleName>,
}

/// A ClusterRole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRoleName {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = CLUSTER_ROLE))]
    pub name: String,
}

/// How activity is found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.podExec) != has(self.jupyter)",
        "message": "must specify exactly one of 'podExec' or 'jupyter'"
    },
    {
        "rule": "self.minProbeIntervalSeconds <= self.probeIntervalSeconds",
        "message": "'minProbeIntervalSeconds' must be less than or equal to 'probeIntervalSeconds'"
    }
]))]
pub struct ActivityProbe {
    /// Seconds between probes after a failure.
    #[serde(default = "default_min_probe_interval")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub min_probe_interval_seconds: i32,
    /// Seconds between probes.
    #[serde(default = "default_probe_interval")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub probe_interval_seconds: i32,
    /// A script that runs in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_exec: Option<PodExecProbe>,
    /// The Jupyter API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jupyter: Option<JupyterProbe>,
}

fn default_min_probe_interval() -> i32 {
    300
}

fn default_probe_interval() -> i32 {
    3600
}

/// A script that runs in the container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodExecProbe {
    /// The script, with a shebang line.
    #[schemars(length(min = 1, max = 2048))]
    pub script: String,
    /// How long it may take.
    #[serde(default = "default_script_timeout")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: i32,
}

fn default_script_timeout() -> i32 {
    60
}

/// The Jupyter API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JupyterProbe {
    /// Ask for the last activity.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == true", "message": "'lastActivity' must be true"}
    ]))]
    pub last_activity: bool,
    /// The port that serves Jupyter.
    #[schemars(length(min = 1, max = 32), regex(pattern = PORT_ID))]
    pub port_id: String,
}

/// Probes of the container `main`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindProbes {
    /// Holds back the other probes until it succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Core<Probe>>,
    /// Restarts the container when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Core<Probe>>,
    /// Tells whether the container takes requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Core<Probe>>,
}

/// Where the volumes go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KindVolumeMounts {
    /// Where the home volume goes.
    #[schemars(
        length(min = 2, max = 4096),
        regex(pattern = PATH),
        extend("x-kubernetes-validations" = [
            {"rule": "self == oldSelf", "message": "home mount path is immutable"}
        ])
    )]
    pub home: String,
}

/// A port that images may serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindPort {
    /// Its id; part of the connect path.
    #[schemars(length(min = 1, max = 32), regex(pattern = PORT_ID))]
    pub id: String,
    /// What it speaks.
    pub protocol: PortProtocol,
    /// Name for humans where the image gives none.
    #[schemars(length(min = 2, max = 64))]
    pub default_display_name: String,
    /// How requests are passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<HttpProxy>,
}

text_enum! {
    /// What a port speaks.
    pub enum PortProtocol {
        /// HTTP, WebSocket included.
        Http = "HTTP",
    }
}

/// How requests are passed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpProxy {
    /// Whether the connect path is cut off before the request is passed on.
    #[serde(default)]
    pub remove_path_prefix: bool,
    /// What changes in the request headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<RequestHeaders>,
}

/// What changes in the request headers; values are templates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestHeaders {
    /// Headers that are overwritten.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers that are appended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Headers that are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}
