//! The options of a kind as users choose from them, filtered by the rules of the kind.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::profile::Profile,
    option::{Message, OptionView},
};
use crate::{
    decide::filter::{Context, Labels, Rules, Verdict, labels},
    model::{FilterScope, KindOptions, KindOptionsStatus, OptionCount, OptionLabel},
};

/// What somebody has chosen so far; nothing when they look at a kind from nowhere.
#[derive(Debug, Default)]
pub(crate) struct Choice<'a> {
    /// Labels of the namespace, if one is named and exists.
    pub(crate) namespace: Option<Labels>,
    /// Id of the image: the list shows only this one.
    pub(crate) image: Option<&'a str>,
    /// Id of the pod option: the list shows only this one.
    pub(crate) pod: Option<&'a str>,
}

impl Choice<'_> {
    /// What rules see of it.
    pub(crate) fn context(&self, options: &KindOptions) -> Context {
        let image = options.image_config.values.iter();
        let image = image.filter(|value| Some(&*value.id) == self.image);
        let pod = options.pod_config.values.iter();
        let pod = pod.filter(|value| Some(&*value.id) == self.pod);
        Context {
            namespace: self.namespace.clone(),
            image: image.map(|value| labels(&value.spawner.labels)).next(),
            pod: pod.map(|value| labels(&value.spawner.labels)).next(),
        }
    }
}

/// Both lists.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodTemplateOptions<'a> {
    image_config: OptionList<'a>,
    pod_config: OptionList<'a>,
}

impl<'a> PodTemplateOptions<'a> {
    /// The options of a kind as its rules show them.
    pub(crate) fn new(
        options: &'a KindOptions,
        counts: Option<&KindOptionsStatus>,
        rules: &Rules<'a>,
        choice: &Choice<'_>,
        profile: Profile,
    ) -> Self {
        let context = choice.context(options);
        let (image, pod) = (&options.image_config, &options.pod_config);
        let judge_image = |labels| {
            let context = Context { image: Some(labels), ..context.clone() };
            rules.verdict(FilterScope::ImageConfig, &context)
        };
        let judge_pod = |labels| {
            let context = Context { pod: Some(labels), ..context.clone() };
            rules.verdict(FilterScope::PodConfig, &context)
        };
        Self {
            image_config: OptionList {
                default: &image.spawner.default,
                values: items(
                    image.values.iter().map(OptionView::from),
                    counts.map_or(&[], |counts| &counts.image_config[..]),
                    choice.image,
                    &judge_image,
                    profile,
                ),
            },
            pod_config: OptionList {
                default: &pod.spawner.default,
                values: items(
                    pod.values.iter().map(OptionView::from),
                    counts.map_or(&[], |counts| &counts.pod_config[..]),
                    choice.pod,
                    &judge_pod,
                    profile,
                ),
            },
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct OptionList<'a> {
    default: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<OptionItem<'a>>>,
}

fn items<'a>(
    values: impl Iterator<Item = OptionView<'a>>,
    counts: &[OptionCount],
    only: Option<&str>,
    judge: &dyn Fn(Labels) -> Verdict<'a>,
    profile: Profile,
) -> Option<Vec<OptionItem<'a>>> {
    let counts: HashMap<&str, i32> =
        counts.iter().map(|count| (count.id.as_str(), count.workspaces)).collect();
    let item = |value: OptionView<'a>| {
        let verdict = judge(labels(&value.spawner.labels));
        let count = counts.get(value.id).copied().unwrap_or(0);
        (!verdict.omitted).then(|| OptionItem::new(value, count, verdict, profile))
    };
    let items: Vec<_> =
        values.filter(|value| only.is_none_or(|id| value.id == id)).filter_map(item).collect();
    (!items.is_empty() || profile.is_old()).then_some(items)
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OptionItem<'a> {
    id: &'a str,
    display_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [OptionLabel]>,
    hidden: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<Redirect<'a>>,
    cluster_metrics: ClusterMetrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    restrictions: Option<Restrictions<'a>>,
}

impl<'a> OptionItem<'a> {
    fn new(
        value: OptionView<'a>,
        workspaces_count: i32,
        verdict: Verdict<'a>,
        profile: Profile,
    ) -> Self {
        let spawner = value.spawner;
        let redirect = value.redirect.map(|redirect| Redirect {
            to: &redirect.to,
            message: redirect.message.as_ref().map(Message::from),
        });
        let labels = &spawner.labels[..];
        Self {
            id: value.id,
            display_name: &spawner.display_name,
            description: spawner.description.as_deref().unwrap_or_default(),
            labels: (!labels.is_empty() || profile.is_old()).then_some(labels),
            hidden: spawner.hidden || verdict.hidden,
            redirect,
            cluster_metrics: ClusterMetrics { workspaces_count },
            restrictions: (!profile.is_old()).then(|| verdict.into()),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Redirect<'a> {
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
}

/// How much something is used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterMetrics {
    pub(crate) workspaces_count: i32,
}

/// Whether something may be used, and what users are told if not.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restrictions<'a> {
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
