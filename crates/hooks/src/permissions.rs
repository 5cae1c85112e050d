//! What hooks need to be allowed in the cluster.

use cluster::permissions::{Rule, WATCH};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::core::{ApiResource, GroupVersionKind};

use crate::{
    model::{Hook, HookTarget, TargetAction, TargetKind},
    targets::cluster::{self as objects, Auto},
};

/// To serve `Hook` objects.
pub const SERVING: &[Rule] = &[
    Rule::new("quartermaster.io", &["hooks"], WATCH),
    Rule::new("quartermaster.io", &["hooks/status"], &["patch"]),
    Rule::new("quartermaster.io", &["hooks"], &["patch"])
        .or_else("hooks cannot be paused through the API"),
    Rule::new("", &["secrets"], &["get"]),
];

/// To serve the `Receiver` objects of Flux, and to ask its objects to reconcile.
pub const RECEIVERS: &[Rule] = &[
    Rule::new("notification.toolkit.fluxcd.io", &["receivers"], WATCH),
    Rule::new("notification.toolkit.fluxcd.io", &["receivers/status"], &["patch"]),
    Rule::new("notification.toolkit.fluxcd.io", &["receivers"], &["patch"])
        .or_else("receivers that the notification-controller held stay when they are deleted"),
    Rule::new("", &["secrets"], &["get"]),
    Rule::new(
        "source.toolkit.fluxcd.io",
        &[
            "buckets",
            "externalartifacts",
            "gitrepositories",
            "helmcharts",
            "helmrepositories",
            "ocirepositories",
        ],
        ASK,
    )
    .or_else("sources cannot be asked to reconcile"),
    Rule::new(
        "image.toolkit.fluxcd.io",
        &["imagepolicies", "imagerepositories", "imageupdateautomations"],
        ASK,
    )
    .or_else("images cannot be asked to reconcile"),
    Rule::new("kustomize.toolkit.fluxcd.io", &["kustomizations"], ASK)
        .or_else("Kustomizations cannot be asked to reconcile"),
    Rule::new("helm.toolkit.fluxcd.io", &["helmreleases"], ASK)
        .or_else("HelmReleases cannot be asked to reconcile"),
    Rule::new("source.extensions.fluxcd.io", &["artifactgenerators"], ASK)
        .or_else("ArtifactGenerators cannot be asked to reconcile"),
];

/// Verbs on objects that are asked to reconcile.
const ASK: &[&str] = &["get", "list", "patch"];

/// To tell the targets of these hooks. Targets that cannot be made need nothing.
pub fn of_targets(hooks: &[Hook]) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for hook in hooks {
        let namespace = hook.metadata.namespace.as_deref().unwrap_or_default();
        for rule in hook.spec.targets.iter().flat_map(|target| of_target(namespace, target)) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules.sort_by(|a, b| (&a.api_groups, &a.resources).cmp(&(&b.api_groups, &b.resources)));
    rules
}

fn of_target(namespace: &str, target: &HookTarget) -> Vec<PolicyRule> {
    let auto = Auto::of(target.kind).filter(|_| target.auto);
    match target.kind {
        TargetKind::DatasetRefresh => {
            let volumes = GroupVersionKind::gvk("", "v1", "PersistentVolumeClaim");
            let find = if target.name_template.is_some() { "get" } else { "list" };
            return vec![rule(&volumes, &[find, "patch"])];
        }
        // It is asked over HTTP.
        TargetKind::ArgoCd if target.url.is_some() => return Vec::new(),
        TargetKind::FluxV2
        | TargetKind::ArgoCd
        | TargetKind::Workspace
        | TargetKind::Kubernetes => {}
        _ => return Vec::new(),
    }
    let Ok(selection) = objects::selection(namespace, &target.resources, auto) else {
        return Vec::new();
    };
    let verbs: &[&str] = match target.action {
        Some(TargetAction::Restart | TargetAction::Run) => &["get", "list"],
        _ => &["get", "list", "patch"],
    };
    let mut rules: Vec<_> = selection.kinds().iter().map(|kind| rule(kind, verbs)).collect();
    let update = target.action == Some(TargetAction::Update);
    if auto == Some(Auto::Workspaces) || update && target.kind == TargetKind::Workspace {
        rules.push(rule(&objects::workspace_kinds(), &["get"]));
    }
    match target.action {
        Some(TargetAction::Restart) => {
            rules.push(rule(&GroupVersionKind::gvk("", "v1", "Pod"), &["delete", "list"]));
        }
        Some(TargetAction::Run) => {
            rules.push(rule(&GroupVersionKind::gvk("batch", "v1", "Job"), &["create"]));
        }
        _ => {}
    }
    rules
}

fn rule(kind: &GroupVersionKind, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![kind.group.clone()]),
        resources: Some(vec![ApiResource::from_gvk(kind).plural]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_need_what_they_do_and_nothing_else() {
        let hook = |targets: serde_json::Value| {
            let spec = json!({"source": "GitHub", "secretRef": {"name": "s"}, "targets": targets});
            let mut hook = Hook::new("h", serde_json::from_value(spec).unwrap());
            hook.metadata.namespace = Some("apps".to_owned());
            hook
        };
        let hooks = [
            hook(json!([{"type": "log"}, {"type": "argocd", "auto": true}])),
            hook(json!([{"type": "argocd", "auto": true}])),
            hook(json!([{"type": "argocd", "url": "https://argo.example.com",
                "resources": [{"kind": "Secret", "apiVersion": "v1", "name": "a"}]}])),
            hook(json!([{"type": "workspace", "action": "restart",
                "resources": [{"kind": "Workspace", "name": "a"}]}])),
            hook(json!([{"type": "workspace", "action": "update",
                "resources": [{"kind": "Workspace", "name": "a"}]}])),
            hook(json!([{"type": "kubernetes", "action": "run",
                "resources": [{"kind": "CronJob", "name": "a"}]}])),
            hook(json!([{"type": "flux-v2"}, {"type": "dataset-refresh"}])),
        ];
        let text: Vec<String> = of_targets(&hooks)
            .into_iter()
            .map(|rule| {
                let group = &rule.api_groups.unwrap()[0];
                format!("{} {group} {}", rule.resources.unwrap()[0], rule.verbs.join(","))
            })
            .collect();
        assert_eq!(
            text,
            [
                "persistentvolumeclaims  list,patch",
                "pods  delete,list",
                "applications argoproj.io get,list,patch",
                "cronjobs batch get,list",
                "jobs batch create",
                "workspacekinds kubeflow.org get",
                "workspaces kubeflow.org get,list",
                "workspaces kubeflow.org get,list,patch",
            ]
        );
    }
}
