//! WorkspaceKinds as lists show them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::profile::Profile,
    ImageRef,
    option_list::{Choice, ClusterMetrics, PodTemplateOptions, Restrictions},
};
use crate::{
    decide::filter::{Context, Labels, Rules, Verdict},
    model::{
        ActivityRule, Asset, AssetStatus, FilterScope, JupyterProbe, KindOptionsStatus,
        KindPodTemplate, WorkspaceKind,
    },
};

/// How lists show kinds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) profile: Profile,
    /// What goes before the paths of pictures.
    pub(crate) prefix: &'a str,
}

/// An item of the list of kinds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindListItem<'a> {
    name: &'a str,
    display_name: &'a str,
    description: &'a str,
    deprecated: bool,
    deprecation_message: &'a str,
    hidden: bool,
    icon: ImageRef<'a>,
    logo: ImageRef<'a>,
    cluster_metrics: ClusterMetrics,
    pod_template: PodTemplate<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    activity_rules: &'a [ActivityRule],
    #[serde(skip_serializing_if = "Option::is_none")]
    restrictions: Option<Restrictions<'a>>,
}

impl<'a> KindListItem<'a> {
    /// Shows a kind to somebody in a namespace with these labels, or to an admin who looks at it
    /// from nowhere; `None` if a rule leaves it out.
    pub(crate) fn new(
        kind: &'a WorkspaceKind,
        namespace: Option<&Labels>,
        shown: Shown<'_>,
    ) -> Option<Self> {
        let rules = Rules::new(&kind.spec.filter_rules);
        let context = Context { namespace: namespace.cloned(), ..Context::default() };
        let verdict = rules.verdict(FilterScope::WorkspaceKind, &context);
        (!verdict.omitted).then(|| Self::judged(kind, &rules, shown, verdict))
    }

    /// Shows a kind by itself.
    pub(crate) fn alone(kind: &'a WorkspaceKind, shown: Shown<'_>) -> Self {
        Self::judged(kind, &Rules::new(&kind.spec.filter_rules), shown, Verdict::default())
    }

    fn judged(
        kind: &'a WorkspaceKind,
        rules: &Rules<'a>,
        Shown { profile, prefix }: Shown<'_>,
        verdict: Verdict<'a>,
    ) -> Self {
        let name = kind.metadata.name.as_deref().unwrap_or_default();
        let spawner = &kind.spec.spawner;
        let status = kind.status.as_ref();
        let picture = |which: &str, asset: &'a Asset, status: Option<&AssetStatus>| {
            if profile.is_old() {
                return ImageRef::of_old(name, which);
            }
            ImageRef::of(prefix, name, which, asset, status)
        };
        let new = !profile.is_old();
        Self {
            name,
            display_name: &spawner.display_name,
            description: &spawner.description,
            deprecated: spawner.deprecated,
            deprecation_message: spawner.deprecation_message.as_deref().unwrap_or_default(),
            hidden: spawner.hidden || verdict.hidden,
            icon: picture("icon", &spawner.icon, status.map(|status| &status.spawner_icon)),
            logo: picture("logo", &spawner.logo, status.map(|status| &status.spawner_logo)),
            cluster_metrics: ClusterMetrics {
                workspaces_count: status.map_or(0, |status| status.workspaces),
            },
            pod_template: PodTemplate::new(
                &kind.spec.pod_template,
                status.map(|status| &status.pod_template_options),
                rules,
                profile,
            ),
            activity_rules: if new { &kind.spec.activity_rules } else { &[] },
            restrictions: new.then(|| verdict.into()),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "KindTemplate")]
struct PodTemplate<'a> {
    pod_metadata: Metadata<'a>,
    volume_mounts: VolumeMounts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_probe: Option<Probe<'a>>,
    options: PodTemplateOptions<'a>,
}

impl<'a> PodTemplate<'a> {
    fn new(
        template: &'a KindPodTemplate,
        counts: Option<&KindOptionsStatus>,
        rules: &Rules<'a>,
        profile: Profile,
    ) -> Self {
        let metadata = template.pod_metadata.as_ref();
        Self {
            pod_metadata: Metadata {
                labels: metadata.map(|metadata| &metadata.labels).into(),
                annotations: metadata.map(|metadata| &metadata.annotations).into(),
            },
            volume_mounts: VolumeMounts { home: &template.volume_mounts.home },
            activity_probe: template.activity_probe.as_ref().map(|probe| Probe {
                min_probe_interval_seconds: probe.min_probe_interval_seconds,
                probe_interval_seconds: probe.probe_interval_seconds,
                pod_exec: probe
                    .pod_exec
                    .as_ref()
                    .map(|exec| PodExec { timeout_seconds: exec.timeout_seconds }),
                jupyter: probe.jupyter.as_ref(),
            }),
            options: PodTemplateOptions::new(
                &template.options,
                counts,
                rules,
                &Choice::default(),
                profile,
            ),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "KindMetadata")]
struct Metadata<'a> {
    #[schemars(with = "BTreeMap<String, String>")]
    labels: Map<'a>,
    #[schemars(with = "BTreeMap<String, String>")]
    annotations: Map<'a>,
}

/// A map that is written even when there is none.
#[derive(Debug)]
struct Map<'a>(Option<&'a BTreeMap<String, String>>);

impl<'a> From<Option<&'a BTreeMap<String, String>>> for Map<'a> {
    fn from(map: Option<&'a BTreeMap<String, String>>) -> Self {
        Self(map)
    }
}

impl Serialize for Map<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.into_iter().flatten())
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct VolumeMounts<'a> {
    home: &'a str,
}

/// How activity is found out; scripts stay with the admins.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "KindProbe")]
struct Probe<'a> {
    min_probe_interval_seconds: i32,
    probe_interval_seconds: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_exec: Option<PodExec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jupyter: Option<&'a JupyterProbe>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PodExec {
    timeout_seconds: i32,
}
