//! What the containers of a workspace ask for and what they use.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The containers, or why nothing is known about them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Resources<'a> {
    /// By name.
    Known {
        /// Each container.
        containers: BTreeMap<&'a str, Container<'a>>,
    },
    /// Nothing is known.
    Unknown {
        /// Why.
        error: Unknown,
    },
}

/// Why nothing is known.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "ResourcesUnknown")]
pub(crate) enum Unknown {
    /// The cluster does not measure.
    MetricsApiNotAvailable,
    /// There is no pod.
    WorkspaceNotRunning,
}

/// A container.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ContainerResources")]
pub(crate) struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_from_metrics_server: Option<Metrics<'a>>,
    resources: Requirements<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ContainerMetrics")]
struct Metrics<'a> {
    timestamp: &'a str,
    usage: &'a BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct Requirements<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    requests: Option<&'a BTreeMap<String, Quantity>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    limits: Option<&'a BTreeMap<String, Quantity>>,
}

impl<'a> From<&'a ResourceRequirements> for Requirements<'a> {
    fn from(resources: &'a ResourceRequirements) -> Self {
        Self { requests: resources.requests.as_ref(), limits: resources.limits.as_ref() }
    }
}

/// What the cluster measured of a pod, as `metrics.k8s.io` gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodMetrics {
    timestamp: String,
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerMetrics {
    name: String,
    usage: BTreeMap<String, String>,
}

impl<'a> Resources<'a> {
    /// The containers of these pods, with what was measured of them so far.
    pub(crate) fn of(
        pods: impl Iterator<Item = &'a Pod>,
        measured: impl Iterator<Item = &'a PodMetrics>,
    ) -> Self {
        let declared = pods.filter_map(|pod| pod.spec.as_ref()).flat_map(|spec| &spec.containers);
        let mut containers: BTreeMap<&str, Container<'_>> = declared
            .map(|container| {
                let resources = container.resources.as_ref().map(Requirements::from);
                let resources = resources.unwrap_or_default();
                (&*container.name, Container { metrics_from_metrics_server: None, resources })
            })
            .collect();
        for PodMetrics { timestamp, containers: samples } in measured {
            for ContainerMetrics { name, usage } in samples {
                if let Some(container) = containers.get_mut(&**name) {
                    container.metrics_from_metrics_server = Some(Metrics { timestamp, usage });
                }
            }
        }
        Self::Known { containers }
    }
}
