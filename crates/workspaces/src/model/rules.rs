//! The rule lists and the status of a WorkspaceKind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{core::core_schema, schema::text_enum};

/// One rule about idle workspaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityRule {
    /// When a workspace counts as idle.
    pub config: ActivityRuleConfig,
    /// Which workspaces it is about; all when absent.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<ActivityRuleMatch>,
    /// What happens.
    pub effect: ActivityRuleEffect,
}

/// When a workspace counts as idle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityRuleConfig {
    /// Seconds without activity.
    #[schemars(range(min = 16))]
    pub seconds_since_active: i32,
    /// Seconds that it has run at least.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub min_running_seconds: i32,
}

/// Which workspaces a rule is about; both parts must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityRuleMatch {
    /// By the labels of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_namespace: Option<SelectorMatch>,
    /// By the labels of the chosen pod option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_pod_config: Option<SelectorMatch>,
}

/// A match by labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorMatch {
    /// The labels.
    #[schemars(schema_with = "core_schema::<LabelSelector>")]
    pub selector: LabelSelector,
}

/// What happens to idle workspaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.pauseWorkspace)",
    "message": "at least one effect must be set"
}]))]
pub struct ActivityRuleEffect {
    /// Whether they are paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_workspace: Option<bool>,
}

/// One rule about who sees and may use what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilterRule {
    /// What it is about.
    pub scope: FilterScope,
    /// What happens.
    pub effect: FilterEffect,
    /// When it applies; all must match.
    #[serde(rename = "match")]
    #[schemars(length(min = 1), extend("x-kubernetes-list-type" = "atomic"))]
    pub matches: Vec<FilterMatch>,
}

text_enum! {
    /// What a filter rule is about.
    pub enum FilterScope {
        /// The kind itself.
        WorkspaceKind = "WORKSPACE_KIND",
        /// Pod options.
        PodConfig = "POD_CONFIG",
        /// Image options.
        ImageConfig = "IMAGE_CONFIG",
    }
}

/// What a filter rule does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.ui) || has(self.api)",
    "message": "at least one of 'ui' or 'api' must be set"
}]))]
pub struct FilterEffect {
    /// In user interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui: Option<FilterUiEffect>,
    /// In the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<FilterApiEffect>,
}

/// What a filter rule does in user interfaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilterUiEffect {
    /// Marks it as hidden.
    pub hide: bool,
}

/// What a filter rule does in the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.denyMessage) || (has(self.deny) && self.deny)",
    "message": "'denyMessage' can only be set when 'deny' is true"
}]))]
pub struct FilterApiEffect {
    /// Leaves it out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide: Option<bool>,
    /// Refuses its use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<bool>,
    /// What users are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_message: Option<DenyMessage>,
}

/// What users are told about a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DenyMessage {
    /// The text.
    #[schemars(length(min = 2, max = 1024))]
    pub text: String,
}

// Its rule counts without a list: one inside of lists goes over the API server's budget for rules.
/// One condition of a filter rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.matchNamespace) != has(self.matchImageConfig)) != has(self.matchPodConfig) && !(has(self.matchNamespace) && has(self.matchImageConfig) && has(self.matchPodConfig))",
    "message": "must specify exactly one of 'matchNamespace', 'matchImageConfig' or 'matchPodConfig'"
}]))]
pub struct FilterMatch {
    /// By the labels of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_namespace: Option<SelectorMatch>,
    /// By the labels of the image option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_image_config: Option<SelectorMatch>,
    /// By the labels of the pod option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_pod_config: Option<SelectorMatch>,
}

/// What the controller has seen of a kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = [
    "podTemplateOptions", "spawnerIcon", "spawnerLogo", "workspaces"
]))]
pub struct WorkspaceKindStatus {
    /// How many workspaces use the kind.
    #[serde(default)]
    pub workspaces: i32,
    /// How many use each option.
    #[serde(default)]
    #[schemars(!default)]
    pub pod_template_options: KindOptionsStatus,
    /// The icon.
    #[serde(default)]
    #[schemars(!default)]
    pub spawner_icon: AssetStatus,
    /// The logo.
    #[serde(default)]
    #[schemars(!default)]
    pub spawner_logo: AssetStatus,
}

/// How many workspaces use each option of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["imageConfig", "podConfig"]))]
pub struct KindOptionsStatus {
    /// Images.
    #[serde(default)]
    #[schemars(
        !default,
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub image_config: Vec<OptionCount>,
    /// Pod options.
    #[serde(default)]
    #[schemars(
        !default,
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub pod_config: Vec<OptionCount>,
}

/// How many workspaces use an option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionCount {
    /// Id of the option.
    #[schemars(length(min = 1, max = 256))]
    pub id: String,
    /// Number of workspaces.
    pub workspaces: i32,
}

/// What became of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetStatus {
    /// Hash of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What is wrong with its ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<AssetConfigMapStatus>,
}

/// What is wrong with the ConfigMap of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetConfigMapStatus {
    /// For machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<AssetErrorType>,
    /// For humans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

text_enum! {
    /// What is wrong with the ConfigMap of a picture.
    pub enum AssetErrorType {
        /// There is none, or it is not marked as an image source.
        NotFound,
        /// It has no such key.
        KeyNotFound,
        /// Something else.
        Other,
    }
}
