//! The image and pod options of a WorkspaceKind.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    core::Core,
    schema::{PORT_ID, text_enum},
};

/// What users choose from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindOptions {
    /// Images.
    pub image_config: ImageConfig,
    /// Sizes and places.
    pub pod_config: PodConfig,
}

/// The images of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageConfig {
    /// How they are shown.
    pub spawner: OptionsSpawner,
    /// The images.
    #[schemars(
        length(min = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub values: Vec<ImageConfigValue>,
}

/// The pod options of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodConfig {
    /// How they are shown.
    pub spawner: OptionsSpawner,
    /// The pod options.
    #[schemars(
        length(min = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub values: Vec<PodConfigValue>,
}

/// How a list of options is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptionsSpawner {
    /// Id of the value that is chosen unless the user says otherwise.
    #[schemars(length(min = 1, max = 256))]
    pub default: String,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageConfigValue {
    /// Its id.
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
    /// How it is shown.
    pub spawner: OptionSpawner,
    /// Which other image replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<OptionRedirect>,
    /// What runs.
    pub spec: ImageConfigSpec,
}

/// One pod option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodConfigValue {
    /// Its id.
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
    /// How it is shown.
    pub spawner: OptionSpawner,
    /// Which other pod option replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<OptionRedirect>,
    /// Where it runs and with what.
    pub spec: PodConfigSpec,
}

/// How an option is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionSpawner {
    /// Name for humans.
    #[schemars(length(min = 2, max = 128))]
    pub display_name: String,
    /// Text for humans.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024))]
    pub description: Option<String>,
    /// Labels, which filter and activity rules match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"])
    )]
    pub labels: Vec<OptionLabel>,
    /// Whether it is left out of what users choose from.
    #[serde(default)]
    pub hidden: bool,
}

/// A label of an option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptionLabel {
    /// Key.
    #[schemars(length(min = 2, max = 64))]
    pub key: String,
    /// Value.
    #[schemars(length(min = 1, max = 64))]
    pub value: String,
}

/// Which other option replaces this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptionRedirect {
    /// Id of the other option.
    #[schemars(length(min = 1, max = 256))]
    pub to: String,
    /// What users are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<RedirectMessage>,
}

/// What users are told about a redirect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RedirectMessage {
    /// How serious it is.
    pub level: RedirectMessageLevel,
    /// The text.
    #[schemars(length(min = 2, max = 1024))]
    pub text: String,
}

text_enum! {
    /// How serious a redirect is.
    pub enum RedirectMessageLevel {
        /// Good to know.
        Info,
        /// Better act.
        Warning,
        /// Act now.
        Danger,
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageConfigSpec {
    /// The image.
    #[schemars(length(min = 2))]
    pub image: String,
    /// When it is pulled.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// The ports that it serves.
    #[schemars(
        length(min = 1),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub ports: Vec<ImagePort>,
}

text_enum! {
    /// When an image is pulled.
    #[derive(Default)]
    pub enum ImagePullPolicy {
        /// Before every start.
        Always,
        /// When the node has none.
        #[default]
        IfNotPresent,
        /// Not at all.
        Never,
    }
}

/// A port that an image serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePort {
    /// Id of a port of the kind.
    #[schemars(length(min = 1, max = 32), regex(pattern = PORT_ID))]
    pub id: String,
    /// Number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name for humans.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 64))]
    pub display_name: Option<String>,
}

/// Where a pod runs and with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodConfigSpec {
    /// Affinity of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Core<Affinity>>,
    /// Labels that the node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Core<Toleration>>,
    /// Resources of the container `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Core<ResourceRequirements>>,
}
