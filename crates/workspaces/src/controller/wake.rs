//! Which change wakes which reconcile.

use std::sync::Arc;

use cluster::{Cache, Change, Key};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use tokio::task::JoinSet;

use super::{Context, children::Child, children::WarningEvent, routes};
use crate::model::{Asset, Workspace, WorkspaceKind, annotation, label};

/// Starts a task per watch; they end when the set is dropped.
pub(super) fn start(context: &Arc<Context>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let caches = &context.caches;
    follow(&mut tasks, context, &caches.workspaces, workspace_changed);
    follow(&mut tasks, context, &caches.kinds, kind_changed);
    follow(&mut tasks, context, &caches.pods, |context, _, old, new| {
        for pod in [old, new].into_iter().flatten() {
            let labels = pod.metadata.labels.as_ref();
            if let Some(workspace) = labels.and_then(|labels| labels.get(label::WORKSPACE_NAME)) {
                let namespace = pod.metadata.namespace.as_deref();
                context.workspace_queue.add(Key::new(namespace, workspace));
            }
        }
    });
    follow(&mut tasks, context, &caches.namespaces, |context, key, old, new| {
        let labels = |namespace: Option<&Namespace>| namespace.map(|n| n.metadata.labels.clone());
        // Activity rules look at them.
        if old.is_some() && new.is_some() && labels(old) != labels(new) {
            for workspace in context.caches.workspaces.list(Some(key.name())) {
                context.workspace_queue.add(Key::of(&workspace.metadata));
            }
        }
    });
    for children in context.children.all() {
        follow_children(&mut tasks, context, children);
    }
    routes::follow(&mut tasks, context);
    follow(&mut tasks, context, &context.children.warnings, |context, _, _, new| {
        if let Some(warning) = new {
            warned(context, warning);
        }
    });
    follow(&mut tasks, context, &context.children.pictures, |context, key, _, _| {
        for kind in context.caches.kinds.list(None) {
            let spawner = &kind.spec.spawner;
            if [&spawner.icon, &spawner.logo].into_iter().any(|asset| is_from(asset, key)) {
                context.kind_queue.add(Key::of(&kind.metadata));
            }
        }
    });
    everything(context);
    tasks
}

/// Wakes the workspaces whose objects change.
pub(super) fn follow_children(
    tasks: &mut JoinSet<()>,
    context: &Arc<Context>,
    children: &Cache<Child>,
) {
    follow(tasks, context, children, |context, _, old, new| {
        for child in [old, new].into_iter().flatten() {
            wake_owner(context, child);
        }
    });
}

/// Subscribes before the first look at everything, so that nothing falls between.
fn follow<T: Send + Sync + 'static>(
    tasks: &mut JoinSet<()>,
    context: &Arc<Context>,
    cache: &Cache<T>,
    changed: impl Fn(&Context, &Key, Option<&T>, Option<&T>) + Send + 'static,
) {
    let mut changes = cache.subscribe();
    let context = context.clone();
    tasks.spawn(async move {
        while let Some(change) = changes.next().await {
            match change {
                Change::Object { key, old, new } => {
                    changed(&context, &key, old.as_deref(), new.as_deref());
                }
                Change::Resync => everything(&context),
            }
        }
    });
}

/// Wakes all workspaces and kinds.
pub(super) fn everything(context: &Context) {
    context.caches.workspaces.keys().into_iter().for_each(|key| context.workspace_queue.add(key));
    context.caches.kinds.keys().into_iter().for_each(|key| context.kind_queue.add(key));
}

fn workspace_changed(
    context: &Context,
    key: &Key,
    old: Option<&Workspace>,
    new: Option<&Workspace>,
) {
    let is_same = |old: &Workspace, new: &Workspace| {
        old.metadata.uid == new.metadata.uid
            && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
            && old.spec == new.spec
            && [annotation::KEEP_ALIVE, annotation::IMAGE_DIGEST]
                .iter()
                .all(|key| old.annotations().get(*key) == new.annotations().get(*key))
    };
    if let (Some(old), Some(new)) = (old, new)
        && is_same(old, new)
    {
        // Only status or metadata: most likely written by ourselves.
        return;
    }
    context.workspace_queue.add(key.clone());
    for workspace in [old, new].into_iter().flatten() {
        context.kind_queue.add_after(Key::new(None, &workspace.spec.kind), context.kind_delay());
    }
}

fn kind_changed(
    context: &Context,
    key: &Key,
    old: Option<&WorkspaceKind>,
    new: Option<&WorkspaceKind>,
) {
    let is_counted = matches!((old, new), (Some(old), Some(new))
        if old.metadata.generation == new.metadata.generation
            && old.metadata.finalizers == new.metadata.finalizers
            && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
            && old.spec == new.spec);
    match is_counted {
        // Most likely by ourselves; if not, it is put right with the next counts.
        true => context.kind_queue.add_after(key.clone(), context.kind_delay()),
        false => context.kind_queue.add(key.clone()),
    }
    let policy = |kind: &WorkspaceKind| {
        let annotations = kind.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(annotation::UPDATE_POLICY)).cloned()
    };
    let is_same = matches!((old, new), (Some(old), Some(new))
        if old.spec == new.spec && policy(old) == policy(new));
    if !is_same {
        for workspace in context.caches.workspaces.indexed(key.name()) {
            context.workspace_queue.add(Key::of(&workspace.metadata));
        }
    }
}

fn wake_owner(context: &Context, child: &Child) {
    context.workspace_queue.add(Key::new(Some(&child.namespace), &child.workspace));
}

fn warned(context: &Context, warning: &WarningEvent) {
    let (namespace, name) = (Some(&*warning.namespace), &*warning.name);
    if &*warning.kind == "StatefulSet" {
        if let Some(child) = context.children.stateful_sets.get(namespace, name) {
            wake_owner(context, &child);
        }
        return;
    }
    let Some(pod) = context.caches.pods.get(namespace, name) else { return };
    let labels = pod.metadata.labels.as_ref();
    if let Some(workspace) = labels.and_then(|labels| labels.get(label::WORKSPACE_NAME)) {
        context.workspace_queue.add(Key::new(namespace, workspace));
    }
}

fn is_from(asset: &Asset, key: &Key) -> bool {
    asset.config_map.as_ref().is_some_and(|map| {
        Some(map.namespace.as_str()) == key.namespace() && map.name == key.name()
    })
}
