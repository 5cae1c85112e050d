//! WorkspaceKinds: as lists show them, as admins edit them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    ImageRef,
    option::{Message, OptionView},
    revision,
};
use crate::{
    decide::filter::{Context, Labels, Rules, Verdict, labels},
    model::{
        ActivityRule, FilterRule, FilterScope, JupyterProbe, KindOptionsStatus, KindPodTemplate,
        KindSpawner, OptionCount, OptionLabel, WorkspaceKind,
    },
};

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
    restrictions: Restrictions<'a>,
}

impl<'a> KindListItem<'a> {
    /// Shows a kind to somebody in a namespace with these labels, or to an admin who looks at it
    /// from nowhere; `None` if a rule leaves it out. `prefix` goes before paths of pictures.
    pub(crate) fn new(
        kind: &'a WorkspaceKind,
        namespace: Option<&Labels>,
        prefix: &str,
    ) -> Option<Self> {
        let rules = Rules::new(&kind.spec.filter_rules);
        let context = Context { namespace: namespace.cloned(), ..Context::default() };
        let verdict = rules.verdict(FilterScope::WorkspaceKind, &context);
        let item = Self::shown(kind, &rules, prefix, verdict);
        (!verdict.omitted).then_some(item)
    }

    fn shown(
        kind: &'a WorkspaceKind,
        rules: &Rules<'a>,
        prefix: &str,
        verdict: Verdict<'a>,
    ) -> Self {
        let name = kind.metadata.name.as_deref().unwrap_or_default();
        let spawner = &kind.spec.spawner;
        let status = kind.status.as_ref();
        let icon = status.map(|status| &status.spawner_icon);
        let logo = status.map(|status| &status.spawner_logo);
        Self {
            name,
            display_name: &spawner.display_name,
            description: &spawner.description,
            deprecated: spawner.deprecated,
            deprecation_message: spawner.deprecation_message.as_deref().unwrap_or_default(),
            hidden: spawner.hidden || verdict.hidden,
            icon: ImageRef::of(prefix, name, "icon", &spawner.icon, icon),
            logo: ImageRef::of(prefix, name, "logo", &spawner.logo, logo),
            cluster_metrics: ClusterMetrics {
                workspaces_count: status.map_or(0, |status| status.workspaces),
            },
            pod_template: PodTemplate::new(
                &kind.spec.pod_template,
                status.map(|status| &status.pod_template_options),
                rules,
            ),
            activity_rules: &kind.spec.activity_rules,
            restrictions: verdict.into(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterMetrics {
    workspaces_count: i32,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Restrictions<'a> {
    deny: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_message: Option<Text<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Text<'a> {
    text: &'a str,
}

impl<'a> From<Verdict<'a>> for Restrictions<'a> {
    fn from(verdict: Verdict<'a>) -> Self {
        let deny_message = verdict.message.map(|text| Text { text });
        Self { deny: verdict.denied, deny_message }
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
    ) -> Self {
        let metadata = template.pod_metadata.as_ref();
        let options = &template.options;
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
            options: PodTemplateOptions {
                image_config: OptionList::new(
                    &options.image_config.spawner.default,
                    &options.image_config.values,
                    counts.map(|counts| &counts.image_config[..]),
                    &|labels| {
                        let context = Context { image: Some(labels), ..Context::default() };
                        rules.verdict(FilterScope::ImageConfig, &context)
                    },
                ),
                pod_config: OptionList::new(
                    &options.pod_config.spawner.default,
                    &options.pod_config.values,
                    counts.map(|counts| &counts.pod_config[..]),
                    &|labels| {
                        let context = Context { pod: Some(labels), ..Context::default() };
                        rules.verdict(FilterScope::PodConfig, &context)
                    },
                ),
            },
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

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PodTemplateOptions<'a> {
    image_config: OptionList<'a>,
    pod_config: OptionList<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OptionList<'a> {
    default: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<OptionItem<'a>>,
}

impl<'a> OptionList<'a> {
    fn new<T>(
        default: &'a str,
        values: &'a [T],
        counts: Option<&[OptionCount]>,
        judge: &dyn Fn(Labels) -> Verdict<'a>,
    ) -> Self
    where
        OptionView<'a>: From<&'a T>,
    {
        let counts = counts.unwrap_or_default();
        let item = |value: OptionView<'a>| {
            let verdict = judge(labels(&value.spawner.labels));
            let count = counts.iter().find(|count| count.id == value.id);
            let count = count.map_or(0, |count| count.workspaces);
            (!verdict.omitted).then(|| OptionItem::new(value, count, verdict))
        };
        Self { default, values: values.iter().map(OptionView::from).filter_map(item).collect() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OptionItem<'a> {
    id: &'a str,
    display_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [OptionLabel],
    hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<Redirect<'a>>,
    cluster_metrics: ClusterMetrics,
    restrictions: Restrictions<'a>,
}

impl<'a> OptionItem<'a> {
    fn new(value: OptionView<'a>, workspaces_count: i32, verdict: Verdict<'a>) -> Self {
        let spawner = value.spawner;
        let redirect = value.redirect.map(|redirect| Redirect {
            to: &redirect.to,
            message: redirect.message.as_ref().map(Message::from),
        });
        Self {
            id: value.id,
            display_name: &spawner.display_name,
            description: spawner.description.as_deref().unwrap_or_default(),
            labels: &spawner.labels,
            hidden: spawner.hidden || verdict.hidden,
            redirect,
            cluster_metrics: ClusterMetrics { workspaces_count },
            restrictions: verdict.into(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Redirect<'a> {
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
}

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

/// The answer when a kind is made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindCreated {
    pub(crate) name: String,
    pub(crate) spawner: KindSpawner,
    pub(crate) pod_template: KindPodTemplate,
}
