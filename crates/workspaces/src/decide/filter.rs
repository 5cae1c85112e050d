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
}

/// The rules of a kind, ready to be asked.
#[derive(Debug)]
pub struct Rules<'a>(Vec<Rule<'a>>);

#[derive(Debug)]
struct Rule<'a> {
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
        let read = |rule: &'a FilterRule| {
            let conditions: Vec<_> = rule.matches.iter().flat_map(conditions).collect();
            (!conditions.is_empty()).then_some(Rule { rule, conditions })
        };
        Self(rules.iter().filter_map(read).collect())
    }

    /// What the rules say about something of this scope.
    pub fn verdict(&self, scope: FilterScope, context: &Context) -> Verdict<'a> {
        let holds = |rule: &&Rule<'_>| {
            rule.rule.scope == scope
                && rule.conditions.iter().all(|condition| condition.holds(context))
        };
        let Some(Rule { rule, .. }) = self.0.iter().find(holds) else { return Verdict::default() };
        let api = rule.effect.api.as_ref();
        let denied = api.and_then(|api| api.deny).unwrap_or(false);
        let message = api.and_then(|api| api.deny_message.as_ref());
        Verdict {
            hidden: rule.effect.ui.as_ref().is_some_and(|ui| ui.hide),
            omitted: api.and_then(|api| api.hide).unwrap_or(false),
            denied,
            message: message.filter(|_| denied).map(|message| message.text.as_str()),
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
    let rules = Rules::new(&kind.spec.filter_rules);
    let options = &kind.spec.pod_template.options;
    let chosen = &spec.pod_template.options;
    let image = options.image_config.values.iter().find(|value| value.id == chosen.image_config);
    let pod = options.pod_config.values.iter().find(|value| value.id == chosen.pod_config);
    let context = Context {
        namespace: Some(namespace.clone()),
        image: image.map(|value| labels(&value.spawner.labels)),
        pod: pod.map(|value| labels(&value.spawner.labels)),
    };
    let judge = |scope, field: &str, what: &str| {
        let verdict = rules.verdict(scope, &context);
        let detail = verdict.message.map_or(String::new(), |message| format!(": {message}"));
        verdict.denied.then(|| forbidden(field, &format!("{what} may not be used here{detail}")))
    };
    let root = "spec.podTemplate.options";
    let image = format!("{root}.imageConfig");
    let pod = format!("{root}.podConfig");
    let all = [
        judge(FilterScope::WorkspaceKind, "spec.kind", "this workspace kind"),
        judge(FilterScope::ImageConfig, &image, "this image"),
        judge(FilterScope::PodConfig, &pod, "this pod option"),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        assert_eq!(verdict, Verdict { hidden: true, ..Verdict::default() });
        let verdict = rules.verdict(FilterScope::ImageConfig, &context(&[]));
        let denied = Verdict { denied: true, message: Some("no"), ..Verdict::default() };
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
}
