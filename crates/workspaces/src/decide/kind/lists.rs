//! Rules about the option lists and the filter rules of a kind.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use web::Cause;

use super::same;
use crate::{
    decide::{
        names,
        options::{OptionValue, find_cycle},
        selector,
    },
    model::{
        FilterMatch, FilterRule, FilterScope, ImageConfigValue, PodConfigValue, WorkspaceKindSpec,
    },
};

/// Port numbers are unique in an image and the kind declares their ids.
pub(super) fn check_image_ports(
    spec: &WorkspaceKindSpec,
    concerned: impl Fn(&ImageConfigValue) -> bool,
) -> Vec<Cause> {
    let declared: HashSet<&str> = spec.pod_template.ports.iter().map(|p| p.id.as_str()).collect();
    let mut causes = Vec::new();
    let values = spec.pod_template.options.image_config.values.iter();
    for value in values.filter(|value| concerned(value)) {
        let mut numbers = HashSet::new();
        for port in &value.spec.ports {
            let field = format!(
                "spec.podTemplate.options.imageConfig.values[{}].spec.ports[{}]",
                value.id, port.id
            );
            if !numbers.insert(port.port) {
                let message =
                    format!("Invalid value: {0}: port {0} is defined more than once", port.port);
                causes.push(Cause::internal(names::INVALID, format!("{field}.port"), message));
            }
            if !declared.contains(port.id.as_str()) {
                let detail = format!("port {:?} is not defined in spec.podTemplate.ports", port.id);
                causes.push(names::invalid(&format!("{field}.id"), &port.id, &detail));
            }
        }
    }
    causes
}

/// Redirects lead to values of the list and never in a circle.
pub(super) fn check_redirects<V: OptionValue>(values: &[V]) -> Vec<Cause> {
    let field = |id: &str| format!("spec.podTemplate.options.{}.values[{id}].redirect.to", V::LIST);
    if let Some(cycle) = find_cycle(values) {
        let [source, target, ..] = cycle.as_slice() else { return Vec::new() };
        let detail = format!("redirect cycle detected: {}", cycle.join(" -> "));
        return vec![names::invalid(&field(source), target, &detail)];
    }
    let ids: HashSet<&str> = values.iter().map(OptionValue::id).collect();
    let mut causes = Vec::new();
    for value in values {
        if let Some(redirect) = value.redirect().filter(|r| !ids.contains(r.to.as_str())) {
            let detail = format!("target {} {:?} does not exist", V::LIST, redirect.to);
            causes.push(names::invalid(&field(value.id()), &redirect.to, &detail));
        }
    }
    causes
}

/// Whether a value came or went or redirects elsewhere.
pub(super) fn redirects_changed<'a, V: OptionValue>(old: &'a [V], new: &'a [V]) -> bool {
    let target = |value: &'a V| value.redirect().map(|redirect| redirect.to.as_str());
    let before: HashMap<&str, Option<&str>> = old.iter().map(|v| (v.id(), target(v))).collect();
    old.len() != new.len() || new.iter().any(|value| before.get(value.id()) != Some(&target(value)))
}

/// A value of an option list with the part that is fixed while workspaces use it.
pub(super) trait Fixed: OptionValue {
    fn spec(&self) -> &impl Serialize;
}

impl Fixed for ImageConfigValue {
    fn spec(&self) -> &impl Serialize {
        &self.spec
    }
}

impl Fixed for PodConfigValue {
    fn spec(&self) -> &impl Serialize {
        &self.spec
    }
}

/// The old values that would be changed or removed, and which of the two.
pub(super) fn touched<'a, V: Fixed>(old: &'a [V], new: &[V]) -> Vec<(&'a str, &'static str)> {
    let json = |value: &V| serde_json::to_value(value.spec()).unwrap_or_default();
    let new: HashMap<&str, &V> = new.iter().map(|value| (value.id(), value)).collect();
    old.iter()
        .filter_map(|old| match new.get(old.id()) {
            None => Some((old.id(), "removed")),
            Some(new) if !same(&json(old), &json(new)) => Some((old.id(), "changed")),
            Some(_) => None,
        })
        .collect()
}

/// Each filter rule does something, and matches what its scope has.
pub(super) fn check_filter_rules(spec: &WorkspaceKindSpec) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, rule) in spec.filter_rules.iter().enumerate() {
        let field = format!("spec.filterRules[{index}]");
        if !has_effect(rule) {
            let message = "Invalid value: at least one of 'ui.hide', 'api.hide' or 'api.deny' must \
                 be true";
            causes.push(Cause::internal(names::INVALID, format!("{field}.effect"), message));
        }
        for (index, entry) in rule.matches.iter().enumerate() {
            causes.extend(check_match(&format!("{field}.match[{index}]"), rule.scope, entry));
        }
    }
    causes
}

fn has_effect(rule: &FilterRule) -> bool {
    let api = rule.effect.api.as_ref();
    rule.effect.ui.as_ref().is_some_and(|ui| ui.hide)
        || api.is_some_and(|api| api.hide == Some(true) || api.deny == Some(true))
}

fn check_match(field: &str, scope: FilterScope, entry: &FilterMatch) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (name, part, of_options) in [
        ("matchNamespace", &entry.match_namespace, false),
        ("matchImageConfig", &entry.match_image_config, true),
        ("matchPodConfig", &entry.match_pod_config, true),
    ] {
        let Some(part) = part else { continue };
        let field = format!("{field}.{name}");
        if of_options && scope == FilterScope::WorkspaceKind {
            let message = format!("Invalid value: '{name}' is not allowed with scope '{scope}'");
            causes.push(Cause::internal(names::INVALID, field.clone(), message));
        }
        causes.extend(selector::check(&format!("{field}.selector"), &part.selector));
    }
    causes
}
