//! Which kinds are accepted, and when one may change or go.

mod activity;
mod lists;

use std::collections::BTreeMap;

use cluster::Key;
use serde_json::Value;
use web::{Cause, Origin};

pub use self::activity::warnings;
use super::{names, options::OptionValue, template::Template, workspace::check_pod_metadata};
use crate::model::{KIND_PROTECTION, KindPodTemplate, Workspace, WorkspaceKind, WorkspaceKindSpec};

/// How many of the workspaces that stand in the way are named.
const NAMED: usize = 20;

/// How many workspaces use each option of a kind, by chosen id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// All workspaces of the kind.
    pub total: usize,
    /// By `imageConfig`.
    pub image: BTreeMap<String, usize>,
    /// By `podConfig`.
    pub pod: BTreeMap<String, usize>,
}

impl Usage {
    /// Counts the workspaces of this kind among all of them.
    pub fn of<'a>(kind: &str, workspaces: impl IntoIterator<Item = &'a Workspace>) -> Self {
        let mut usage = Self::default();
        for workspace in workspaces.into_iter().filter(|workspace| workspace.spec.kind == kind) {
            let options = &workspace.spec.pod_template.options;
            usage.add(&options.image_config, &options.pod_config);
        }
        usage
    }

    /// Counts one more workspace with these options.
    pub fn add(&mut self, image: &str, pod: &str) {
        self.total += 1;
        for (counts, id) in [(&mut self.image, image), (&mut self.pod, pod)] {
            match counts.get_mut(id) {
                Some(count) => *count += 1,
                None => _ = counts.insert(id.to_owned(), 1),
            }
        }
    }
}

/// Rules for a new kind.
pub fn create(kind: &WorkspaceKind) -> Vec<Cause> {
    let spec = &kind.spec;
    let options = &spec.pod_template.options;
    let mut causes = check_pod_metadata(spec.pod_template.pod_metadata.as_ref());
    causes.extend(check_env(&spec.pod_template));
    causes.extend(check_headers(&spec.pod_template));
    causes.extend(lists::check_filter_rules(spec));
    causes.extend(activity::check_probe(spec));
    causes.extend(check_defaults(spec));
    causes.extend(lists::check_image_ports(spec, |_| true));
    causes.extend(lists::check_redirects(&options.image_config.values));
    causes.extend(lists::check_redirects(&options.pod_config.values));
    causes.extend(activity::check_rules(spec));
    causes
}

/// Rules for a changed kind: only what changed is checked. `usage` is asked only if an option that
/// may be in use changes.
pub fn update(
    old: &WorkspaceKind,
    new: &WorkspaceKind,
    usage: impl FnOnce() -> Usage,
) -> Vec<Cause> {
    let (old, new) = (&old.spec, &new.spec);
    let (old_pod, new_pod) = (&old.pod_template, &new.pod_template);
    let ports = old_pod.ports != new_pod.ports;
    let probe = old_pod.activity_probe != new_pod.activity_probe;
    let mut causes = Vec::new();
    if old_pod.pod_metadata != new_pod.pod_metadata {
        causes.extend(check_pod_metadata(new_pod.pod_metadata.as_ref()));
    }
    if old_pod.extra_env != new_pod.extra_env {
        causes.extend(check_env(new_pod));
    }
    if ports {
        causes.extend(check_headers(new_pod));
    }
    if old.filter_rules != new.filter_rules {
        causes.extend(lists::check_filter_rules(new));
    }
    if probe || ports {
        causes.extend(activity::check_probe(new));
    }
    causes.extend(check_defaults(new));
    let old_images = &old_pod.options.image_config.values;
    causes.extend(lists::check_image_ports(new, |value| {
        ports || !old_images.iter().any(|old| old.id == value.id && old.spec == value.spec)
    }));
    let new_images = &new_pod.options.image_config.values;
    let (old_pods, new_pods) =
        (&old_pod.options.pod_config.values, &new_pod.options.pod_config.values);
    if lists::redirects_changed(old_images, new_images) {
        causes.extend(lists::check_redirects(new_images));
    }
    if lists::redirects_changed(old_pods, new_pods) {
        causes.extend(lists::check_redirects(new_pods));
    }
    causes.extend(check_usage(old, new, usage));
    if probe || old.activity_rules != new.activity_rules {
        causes.extend(activity::check_rules(new));
    }
    causes
}

/// Why a kind cannot be deleted: workspaces use it, or did until a moment ago.
pub fn delete(kind: &WorkspaceKind, users: &[Key]) -> Vec<Cause> {
    let cause = |message: String| Cause {
        origin: Origin::Kubernetes,
        reason: String::new(),
        field: String::new(),
        message,
    };
    if !users.is_empty() {
        let count = format!("WorkspaceKind is used by {} workspace(s)", users.len());
        let named = users.iter().take(NAMED).map(|user| format!("used by workspace {user}"));
        return std::iter::once(count).chain(named).map(cause).collect();
    }
    let finalizers = kind.metadata.finalizers.as_deref().unwrap_or_default();
    if finalizers.iter().any(|finalizer| finalizer == KIND_PROTECTION) {
        return vec![cause("WorkspaceKind has protection finalizer set".to_owned())];
    }
    Vec::new()
}

fn check_env(template: &KindPodTemplate) -> Vec<Cause> {
    let mut causes = Vec::new();
    for env in &template.extra_env {
        let name = env.text("name").unwrap_or_default();
        if let Some(value) = env.text("value") {
            let field = format!("spec.podTemplate.extraEnv[{name}].value");
            causes.extend(check_template(&field, value));
        }
    }
    causes
}

fn check_headers(template: &KindPodTemplate) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, port) in template.ports.iter().enumerate() {
        let headers = port.http_proxy.as_ref().and_then(|proxy| proxy.request_headers.as_ref());
        let Some(headers) = headers else { continue };
        let field = format!("spec.podTemplate.ports[{index}].httpProxy.requestHeaders");
        for (name, map) in [("set", &headers.set), ("add", &headers.add)] {
            for (key, value) in map {
                causes.extend(check_template(&format!("{field}.{name}[{key}]"), value));
            }
        }
    }
    causes
}

fn check_template(field: &str, value: &str) -> Option<Cause> {
    let error = Template::parse(value).err()?;
    Some(names::invalid(field, value, &error.to_string()))
}

fn check_defaults(spec: &WorkspaceKindSpec) -> Vec<Cause> {
    let options = &spec.pod_template.options;
    let mut causes = Vec::new();
    let image = &options.image_config;
    causes.extend(check_default(&image.values, &image.spawner.default));
    let pod = &options.pod_config;
    causes.extend(check_default(&pod.values, &pod.spawner.default));
    causes
}

fn check_default<V: OptionValue>(values: &[V], default: &str) -> Option<Cause> {
    if values.iter().any(|value| value.id() == default) {
        return None;
    }
    let field = format!("spec.podTemplate.options.{}.spawner.default", V::LIST);
    let detail = format!("default {} {default:?} not found", V::LIST);
    Some(names::invalid(&field, default, &detail))
}

fn check_usage(
    old: &WorkspaceKindSpec,
    new: &WorkspaceKindSpec,
    usage: impl FnOnce() -> Usage,
) -> Vec<Cause> {
    let (old, new) = (&old.pod_template.options, &new.pod_template.options);
    let images = lists::touched(&old.image_config.values, &new.image_config.values);
    let pods = lists::touched(&old.pod_config.values, &new.pod_config.values);
    if images.is_empty() && pods.is_empty() {
        return Vec::new();
    }
    let usage = usage();
    let mut causes = Vec::new();
    for (list, touched, used) in
        [("imageConfig", images, &usage.image), ("podConfig", pods, &usage.pod)]
    {
        for (id, what) in touched {
            if let Some(count) = used.get(id) {
                let field = format!("spec.podTemplate.options.{list}.values[{id}]");
                let message = format!(
                    "Invalid value: {id:?}: {list} {id:?} is used by {count} workspace(s) and \
                     cannot be {what}"
                );
                causes.push(Cause::internal(names::INVALID, field, message));
            }
        }
    }
    causes
}

/// Whether two specs mean the same: quantities compare by amount, nothing equals empty.
fn same(old: &Value, new: &Value) -> bool {
    cluster::apply::covers(old, new) && cluster::apply::covers(new, old)
}

#[cfg(test)]
mod tests;
