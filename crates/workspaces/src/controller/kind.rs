//! The reconcile of one kind: who uses it, and what became of its pictures.

use cluster::{Key, controller::Outcome, error};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{Context, OUTDATED_AGAIN};
use crate::{
    decide::{kind::Usage, options::OptionValue},
    model::{
        Asset, AssetConfigMap, AssetConfigMapStatus, AssetErrorType, AssetStatus, KIND_PROTECTION,
        KindOptionsStatus, OptionCount, WorkspaceKind, WorkspaceKindStatus,
    },
};

/// Brings finalizer and status of a kind in line.
pub(super) async fn reconcile(context: &Context, key: &Key) -> Outcome {
    match update(context, key).await {
        Ok(()) => Outcome::Done,
        Err(source) if error::is_not_found(&source) => Outcome::Done,
        Err(source) if error::is_conflict(&source) => OUTDATED_AGAIN,
        Err(source) => {
            tracing::warn!(kind = %key, error = %source, "cannot write the kind");
            Outcome::Retry
        }
    }
}

async fn update(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let name = key.name();
    let lock = context.kind_lock(name);
    let _only_writer = lock.lock().await;
    let Some(cached) = context.caches.kinds.get(None, name) else {
        context.kinds.lock().remove(name);
        return Ok(());
    };
    let api = Api::<WorkspaceKind>::all(context.client.clone());
    let workspaces = context.caches.workspaces.indexed(name);
    let usage = Usage::of(name, workspaces.iter().map(AsRef::as_ref));
    let mut kind = WorkspaceKind::clone(&cached);
    let mut version = None;
    if let Some(finalizers) = wanted_finalizers(&kind, usage.total > 0) {
        let patch = json!({"metadata": {
            "resourceVersion": kind.metadata.resource_version, "finalizers": finalizers,
        }});
        kind = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        context.options.metrics.wrote("WorkspaceKind", "patch");
        version.clone_from(&kind.metadata.resource_version);
    }
    let status = status(context, &kind, &usage);
    // Without its last finalizer a kind that was deleted is gone by now.
    let going = kind.metadata.deletion_timestamp.is_some() && usage.total == 0;
    if !going && kind.status.as_ref() != Some(&status) {
        kind.status = Some(status);
        let written = api.replace_status(name, &PostParams::default(), &kind).await?;
        context.options.metrics.wrote("WorkspaceKind", "status");
        version = written.metadata.resource_version;
    }
    if let Some(version) = version {
        let seen = super::workspace::WAIT_TO_SEE;
        context.caches.kinds.wait_for_version(key, &version, seen).await;
    }
    Ok(())
}

/// The finalizers that a kind should have; none if it has them.
fn wanted_finalizers(kind: &WorkspaceKind, used: bool) -> Option<Vec<String>> {
    let mut finalizers = kind.metadata.finalizers.clone().unwrap_or_default();
    let protected = finalizers.iter().any(|name| name == KIND_PROTECTION);
    match (used, protected) {
        (true, false) if kind.metadata.deletion_timestamp.is_none() => {
            finalizers.push(KIND_PROTECTION.to_owned());
        }
        (false, true) => finalizers.retain(|name| name != KIND_PROTECTION),
        _ => return None,
    }
    Some(finalizers)
}

fn status(context: &Context, kind: &WorkspaceKind, usage: &Usage) -> WorkspaceKindStatus {
    let options = &kind.spec.pod_template.options;
    let spawner = &kind.spec.spawner;
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let counts = |ids: Vec<&str>, used: &std::collections::BTreeMap<String, usize>| {
        let entry = |id: &str| OptionCount {
            id: id.to_owned(),
            workspaces: count(used.get(id).copied().unwrap_or(0)),
        };
        ids.into_iter().map(entry).collect()
    };
    WorkspaceKindStatus {
        workspaces: count(usage.total),
        pod_template_options: KindOptionsStatus {
            image_config: counts(ids(&options.image_config.values), &usage.image),
            pod_config: counts(ids(&options.pod_config.values), &usage.pod),
        },
        spawner_icon: asset(context, &spawner.icon),
        spawner_logo: asset(context, &spawner.logo),
    }
}

fn ids<V: OptionValue>(values: &[V]) -> Vec<&str> {
    values.iter().map(OptionValue::id).collect()
}

fn asset(context: &Context, asset: &Asset) -> AssetStatus {
    let Some(source) = &asset.config_map else { return AssetStatus::default() };
    let AssetConfigMap { namespace, name, key, .. } = source;
    let failed = |kind, message| AssetStatus {
        sha256: None,
        config_map: Some(AssetConfigMapStatus {
            error_type: Some(kind),
            error_message: Some(message),
        }),
    };
    // Only labelled ConfigMaps are in the cache, so an unlabelled one is as good as none.
    let Some(pictures) = context.children.pictures.get(Some(namespace), name) else {
        let message = format!(
            "ConfigMap {namespace}/{name} not found, or without label {}=true",
            crate::model::label::IMAGE_SOURCE
        );
        return failed(AssetErrorType::NotFound, message);
    };
    match pictures.sha256(key) {
        Ok(Some(hash)) => AssetStatus { sha256: Some(hash.to_owned()), config_map: None },
        Ok(None) => {
            let message = format!("key {key:?} not found in ConfigMap {namespace}/{name}");
            failed(AssetErrorType::KeyNotFound, message)
        }
        Err(why) => {
            let message = format!("ConfigMap {namespace}/{name} cannot be read: {why}");
            failed(AssetErrorType::Other, message)
        }
    }
}
