//! Filter rules of a kind: who sees and may use it and its options.
//!
//! The first rule whose conditions all hold decides alone. A condition on something that is not
//! there (no namespace named, no option chosen) does not hold, whatever it asks for.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt};
use web::Cause;

use super::names::forbidden;
use crate::model::{
    FilterMatch, FilterRule, FilterScope, OptionLabel, SelectorMatch, WorkspaceKind, WorkspaceSpec,
};

/// Labels as selectors match them.
pub type Labels = BTreeMap<String, String>;

/// What rules can look at; `None` is what is not there.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Labels of the namespace.
    pub namespace: Option<Labels>,
    /// Labels of the image option.
    pub image: Option<Labels>,
    /// Labels of the pod option.
    pub pod: Option<Labels>,
}

/// The labels of an option.
pub fn labels(labels: &[OptionLabel]) -> Labels {
    labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect()
}

/// What a rule says about something; the default is what holds without a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// User interfaces do not offer it.
    pub hidden: bool,
    /// Lists leave it out.
    pub omitted: bool,
    /// It may not be used.
    pub denied: bool,
    /// What users are told about that.
    pub message: Option<&'a str>,
    /// Which rule of the kind says so, counted from 0.
    pub rule: Option<usize>,
}

/// The rules of a kind, ready to be asked.
#[derive(Debug)]
pub struct Rules<'a> {
    rules: Vec<Rule<'a>>,
    /// How many there are, those that cannot be read included.
    all: usize,
}

#[derive(Debug)]
struct Rule<'a> {
    index: usize,
    rule: &'a FilterRule,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    Namespace(Selector),
    Image(Selector),
    Pod(Selector),
}

impl<'a> Rules<'a> {
    /// Reads the rules. Conditions that cannot be read are dropped, and rules that have none left.
    pub fn new(rules: &'a [FilterRule]) -> Self {
        let read = |(index, rule): (usize, &'a FilterRule)| {
            let conditions: Vec<_> = rule.matches.iter().flat_map(conditions).collect();
            (!conditions.is_empty()).then_some(Rule { index, rule, conditions })
        };
        Self { rules: rules.iter().enumerate().filter_map(read).collect(), all: rules.len() }
    }

    /// Which rules were dropped, counted from 0.
    pub fn ignored(&self) -> Vec<usize> {
        let read = |index: &usize| self.rules.iter().any(|rule| rule.index == *index);
        (0..self.all).filter(|index| !read(index)).collect()
    }

    /// What the rules say about something of this scope.
    pub fn verdict(&self, scope: FilterScope, context: &Context) -> Verdict<'a> {
        let holds = |rule: &&Rule<'_>| {
            rule.rule.scope == scope
                && rule.conditions.iter().all(|condition| condition.holds(context))
        };
        let Some(Rule { index, rule, .. }) = self.rules.iter().find(holds) else {
            return Verdict::default();
        };
        let api = rule.effect.api.as_ref();
        let denied = api.and_then(|api| api.deny).unwrap_or(false);
        let message = api.and_then(|api| api.deny_message.as_ref());
        Verdict {
            hidden: rule.effect.ui.as_ref().is_some_and(|ui| ui.hide),
            omitted: api.and_then(|api| api.hide).unwrap_or(false),
            denied,
            message: message.filter(|_| denied).map(|message| message.text.as_str()),
            rule: Some(*index),
        }
    }
}

fn conditions(entry: &FilterMatch) -> Vec<Condition> {
    let read = |part: &Option<SelectorMatch>, make: fn(Selector) -> Condition| {
        let selector = part.as_ref()?.selector.clone().try_into().ok()?;
        Some(make(selector))
    };
    let all = [
        read(&entry.match_namespace, Condition::Namespace),
        read(&entry.match_image_config, Condition::Image),
        read(&entry.match_pod_config, Condition::Pod),
    ];
    all.into_iter().flatten().collect()
}

impl Condition {
    fn holds(&self, context: &Context) -> bool {
        let (selector, labels) = match self {
            Self::Namespace(selector) => (selector, &context.namespace),
            Self::Image(selector) => (selector, &context.image),
            Self::Pod(selector) => (selector, &context.pod),
        };
        labels.as_ref().is_some_and(|labels| selector.matches(labels))
    }
}

/// Why a new workspace may not use this kind or these options in a namespace with these labels.
pub fn denied(spec: &WorkspaceSpec, kind: &WorkspaceKind, namespace: &Labels) -> Vec<Cause> {
    denials(None, spec, kind, namespace)
}

/// Why a workspace may not change to these options. What it had before it keeps: rules that came
/// later do not stand in the way of other changes.
pub fn denied_change(
    old: &WorkspaceSpec,
    new: &WorkspaceSpec,
    kind: &WorkspaceKind,
    namespace: &Labels,
) -> Vec<Cause> {
    denials(Some(old), new, kind, namespace)
}

fn denials(
    old: Option<&WorkspaceSpec>,
    new: &WorkspaceSpec,
    kind: &WorkspaceKind,
    namespace: &Labels,
) -> Vec<Cause> {
    let rules = Rules::new(&kind.spec.filter_rules);
    let options = &kind.spec.pod_template.options;
    let chosen = &new.pod_template.options;
    let before = old.map(|old| &old.pod_template.options);
    let image = options.image_config.values.iter().find(|value| value.id == chosen.image_config);
    let pod = options.pod_config.values.iter().find(|value| value.id == chosen.pod_config);
    let context = Context {
        namespace: Some(namespace.clone()),
        image: image.map(|value| labels(&value.spawner.labels)),
        pod: pod.map(|value| labels(&value.spawner.labels)),
    };
    let judge = |scope, concerned: bool, field: &str, what: &str| {
        let verdict = rules.verdict(scope, &context);
        let detail = verdict.message.map_or(String::new(), |message| format!(": {message}"));
        let text = || forbidden(field, &format!("{what} may not be used here{detail}"));
        (concerned && verdict.denied).then(text)
    };
    let new_image = before.is_none_or(|before| before.image_config != chosen.image_config);
    let new_pod = before.is_none_or(|before| before.pod_config != chosen.pod_config);
    let root = "spec.podTemplate.options";
    let image = format!("{root}.imageConfig");
    let pod = format!("{root}.podConfig");
    let all = [
        judge(FilterScope::WorkspaceKind, old.is_none(), "spec.kind", "this workspace kind"),
        judge(FilterScope::ImageConfig, new_image, &image, "this image"),
        judge(FilterScope::PodConfig, new_pod, &pod, "this pod option"),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::fixtures::{kind, workspace};

    fn rules(json: serde_json::Value) -> Vec<FilterRule> {
        serde_json::from_value(json).unwrap()
    }

    fn context(namespace: &[(&str, &str)]) -> Context {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Context { namespace: Some(namespace.iter().map(pair).collect()), ..Context::default() }
    }

    #[test]
    fn the_first_rule_that_holds_decides_alone() {
        let rules = rules(json!([
            {
                "scope": "IMAGE_CONFIG",
                "effect": {"ui": {"hide": true}},
                "match": [{"matchNamespace": {"selector": {"matchLabels": {"team": "a"}}}}],
            },
            {
                "scope": "IMAGE_CONFIG",
                "effect": {"api": {"deny": true, "denyMessage": {"text": "no"}}},
                "match": [{"matchNamespace": {"selector": {}}}],
            },
        ]));
        let rules = Rules::new(&rules);
        let verdict = rules.verdict(FilterScope::ImageConfig, &context(&[("team", "a")]));
        assert_eq!(verdict, Verdict { hidden: true, rule: Some(0), ..Verdict::default() });
        let verdict = rules.verdict(FilterScope::ImageConfig, &context(&[]));
        let denied =
            Verdict { denied: true, message: Some("no"), rule: Some(1), ..Verdict::default() };
        assert_eq!(verdict, denied);
        let verdict = rules.verdict(FilterScope::PodConfig, &context(&[]));
        assert_eq!(verdict, Verdict::default());
    }

    #[test]
    fn what_is_not_there_matches_nothing_not_even_an_absence() {
        let rules = rules(json!([{
            "scope": "POD_CONFIG",
            "effect": {"api": {"hide": true}},
            "match": [{"matchNamespace": {"selector": {
                "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}],
            }}}],
        }]));
        let rules = Rules::new(&rules);
        assert!(!rules.verdict(FilterScope::PodConfig, &Context::default()).omitted);
        assert!(rules.verdict(FilterScope::PodConfig, &context(&[])).omitted);
    }

    #[test]
    fn an_unreadable_condition_is_dropped_and_so_is_an_empty_rule() {
        let bad = json!({"matchNamespace": {"selector": {
            "matchExpressions": [{"key": "team", "operator": "Near"}],
        }}});
        let effect = json!({"api": {"hide": true}});
        let alone = rules(json!([{"scope": "POD_CONFIG", "effect": effect, "match": [bad]}]));
        assert!(!Rules::new(&alone).verdict(FilterScope::PodConfig, &context(&[])).omitted);
        let good = json!({"matchNamespace": {"selector": {}}});
        let both = rules(json!([{"scope": "POD_CONFIG", "effect": effect, "match": [bad, good]}]));
        assert!(Rules::new(&both).verdict(FilterScope::PodConfig, &context(&[])).omitted);
    }

    #[test]
    fn a_workspace_keeps_what_it_has_when_a_rule_comes() {
        let mut kind = kind();
        kind.spec.filter_rules = rules(json!([{
            "scope": "POD_CONFIG",
            "effect": {"api": {"deny": true, "denyMessage": {"text": "too small"}}},
            "match": [{"matchPodConfig": {"selector": {"matchLabels": {"size": "s"}}}}],
        }]));
        let old = workspace("lab").spec;
        let told: Vec<_> = denied(&old, &kind, &Labels::new());
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].field, "spec.podTemplate.options.podConfig");
        assert_eq!(told[0].message, "Forbidden: this pod option may not be used here: too small");
        let mut new = old.clone();
        new.pod_template.options.image_config = "img-1".to_owned();
        assert_eq!(denied_change(&old, &new, &kind, &Labels::new()), []);
        let mut other = old.clone();
        other.pod_template.options.pod_config = "large".to_owned();
        assert_eq!(denied_change(&other, &old, &kind, &Labels::new()), told);
    }
}
