//! Rules about the activity probe and the activity rules of a kind.

use web::Cause;

use crate::{
    decide::{names, selector},
    model::{ActivityRule, WorkspaceKindSpec},
};

/// The longest first line of a script that kernels read.
const MAX_SHEBANG: usize = 255;

/// The script has a shebang line, the Jupyter port exists.
pub(super) fn check_probe(spec: &WorkspaceKindSpec) -> Vec<Cause> {
    let field = "spec.podTemplate.activityProbe";
    let Some(probe) = &spec.pod_template.activity_probe else { return Vec::new() };
    let mut causes = Vec::new();
    if let Some(exec) = &probe.pod_exec {
        let line = exec.script.split(['\r', '\n']).next().unwrap_or_default();
        let field = format!("{field}.podExec.script");
        if !is_shebang(line) {
            let detail = "must start with a shebang line such as '#!/bin/sh'";
            causes.push(names::invalid(&field, line, detail));
        }
        if line.len() > MAX_SHEBANG {
            let detail = format!("shebang line must be no more than {MAX_SHEBANG} bytes");
            causes.push(names::invalid(&field, line, &detail));
        }
    }
    if let Some(jupyter) = &probe.jupyter
        && !spec.pod_template.ports.iter().any(|port| port.id == jupyter.port_id)
    {
        let detail = format!("port {:?} is not defined in spec.podTemplate.ports", jupyter.port_id);
        causes.push(names::invalid(&format!("{field}.jupyter.portId"), &jupyter.port_id, &detail));
    }
    causes
}

fn is_shebang(line: &str) -> bool {
    line.strip_prefix("#!").is_some_and(|rest| !rest.trim_matches([' ', '\t']).is_empty())
}

/// Selectors are well formed; one rule at most is about everything and it is the last; pausing
/// needs a probe.
pub(super) fn check_rules(spec: &WorkspaceKindSpec) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, rule) in spec.activity_rules.iter().enumerate() {
        let Some(matches) = &rule.matches else { continue };
        let field = format!("spec.activityRules[{index}].match");
        for (name, part) in [
            ("matchNamespace", &matches.match_namespace),
            ("matchPodConfig", &matches.match_pod_config),
        ] {
            if let Some(part) = part {
                causes.extend(selector::check(&format!("{field}.{name}.selector"), &part.selector));
            }
        }
    }
    causes.extend(check_catch_all(&spec.activity_rules));
    let pauses = spec.activity_rules.iter().any(|r| r.effect.pause_workspace == Some(true));
    if pauses && spec.pod_template.activity_probe.is_none() {
        let detail = "must be set when an activity rule pauses workspaces";
        causes.push(names::required("spec.podTemplate.activityProbe", detail));
    }
    causes
}

fn check_catch_all(rules: &[ActivityRule]) -> Vec<Cause> {
    let pausing: Vec<_> = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.effect.pause_workspace.is_some())
        .collect();
    let catch_all: Vec<usize> =
        pausing.iter().filter(|(_, rule)| is_catch_all(rule)).map(|(index, _)| *index).collect();
    let cause = |index: usize, detail: &str| {
        let field = format!("spec.activityRules[{index}].match");
        Cause::internal(names::INVALID, field, format!("Invalid value: {detail}"))
    };
    let mut causes: Vec<Cause> = catch_all
        .iter()
        .skip(1)
        .map(|index| cause(*index, "at most one rule without a match may set 'pauseWorkspace'"))
        .collect();
    if let (Some(first), Some((last, _))) = (catch_all.first(), pausing.last())
        && first != last
    {
        let detail = "a rule without a match must be the last one that sets 'pauseWorkspace'";
        causes.push(cause(*first, detail));
    }
    causes
}

/// An empty selector inside a match is a condition like any other, not a missing one.
fn is_catch_all(rule: &ActivityRule) -> bool {
    rule.matches
        .as_ref()
        .is_none_or(|m| m.match_namespace.is_none() && m.match_pod_config.is_none())
}

/// What is allowed and probably not meant.
pub fn warnings(spec: &WorkspaceKindSpec) -> Vec<String> {
    let interval =
        spec.pod_template.activity_probe.as_ref().map_or(3600, |p| p.probe_interval_seconds);
    let rules = spec.activity_rules.iter().enumerate();
    rules
        .filter(|(_, rule)| rule.effect.pause_workspace == Some(true))
        .filter(|(_, rule)| rule.config.seconds_since_active < interval.saturating_mul(2))
        .map(|(index, rule)| {
            format!(
                "spec.activityRules[{index}].config.secondsSinceActive: {} is less than twice the \
                 probe interval of {interval} seconds: workspaces in use may be paused",
                rule.config.seconds_since_active
            )
        })
        .collect()
}
