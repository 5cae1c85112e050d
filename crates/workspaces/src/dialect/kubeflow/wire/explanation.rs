//! What the filter rules of a kind make of a choice, and which rule it is: for who writes rules.

use schemars::JsonSchema;
use serde::Serialize;

use super::option_list::Choice;
use crate::{
    decide::filter::{Context, Rules, Verdict, labels},
    model::{FilterScope, OptionSpawner, WorkspaceKind},
};

/// What the rules of a kind say.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation<'a> {
    /// Whether the namespace that was named exists: without one, no rule about namespaces holds.
    namespace_found: bool,
    workspace_kind: Explained<'a>,
    image_config: Vec<OptionExplained<'a>>,
    pod_config: Vec<OptionExplained<'a>>,
    /// Rules without a condition that can be read: they never hold.
    ignored_rules: Vec<usize>,
}

/// What happens to something.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Explained<'a> {
    hidden: bool,
    omitted: bool,
    denied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_message: Option<&'a str>,
    /// Which rule decided, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OptionExplained<'a> {
    id: &'a str,
    #[serde(flatten)]
    explained: Explained<'a>,
}

impl<'a> Explained<'a> {
    fn new(hidden: bool, verdict: Verdict<'a>) -> Self {
        Self {
            hidden: hidden || verdict.hidden,
            omitted: verdict.omitted,
            denied: verdict.denied,
            deny_message: verdict.message,
            rule: verdict.rule,
        }
    }
}

impl<'a> Explanation<'a> {
    /// All values of both lists are judged, also those that the choice has ruled out.
    pub(crate) fn new(kind: &'a WorkspaceKind, choice: &Choice<'_>) -> Self {
        let spec = &kind.spec;
        let options = &spec.pod_template.options;
        let rules = Rules::new(&spec.filter_rules);
        let context = choice.context(options);
        let judge = |id: &'a str, spawner: &OptionSpawner, scope| {
            let labels = Some(labels(&spawner.labels));
            let context = match scope {
                FilterScope::ImageConfig => Context { image: labels, ..context.clone() },
                _ => Context { pod: labels, ..context.clone() },
            };
            let verdict = rules.verdict(scope, &context);
            OptionExplained { id, explained: Explained::new(spawner.hidden, verdict) }
        };
        let images = options.image_config.values.iter();
        let pods = options.pod_config.values.iter();
        let verdict = rules.verdict(FilterScope::WorkspaceKind, &context);
        Self {
            namespace_found: context.namespace.is_some(),
            workspace_kind: Explained::new(spec.spawner.hidden, verdict),
            image_config: images
                .map(|value| judge(&value.id, &value.spawner, FilterScope::ImageConfig))
                .collect(),
            pod_config: pods
                .map(|value| judge(&value.id, &value.spawner, FilterScope::PodConfig))
                .collect(),
            ignored_rules: rules.ignored(),
        }
    }
}
