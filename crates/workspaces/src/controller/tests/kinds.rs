//! The status and the finalizer of kinds.

use cluster::Key;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    super::children::Pictures,
    kit::{DEADLINE, NAMESPACE, World, paused},
};
use crate::model::{KIND_PROTECTION, Workspace, WorkspaceKind};

async fn status(world: &World) -> Value {
    serde_json::to_value(world.kind().await.status.unwrap()).unwrap()
}

async fn finalizers(world: &World) -> Vec<String> {
    world.kind().await.metadata.finalizers.unwrap_or_default()
}

#[tokio::test]
async fn counts_and_protection_follow_the_workspaces() {
    let world = World::new().await;
    world.reconcile_kind().await;
    assert_eq!(
        status(&world).await,
        json!({
            "workspaces": 0,
            "podTemplateOptions": {
                "imageConfig": [{"id": "img-1", "workspaces": 0}, {"id": "img-2", "workspaces": 0}],
                "podConfig": [{"id": "small", "workspaces": 0}],
            },
            "spawnerIcon": {}, "spawnerLogo": {},
        })
    );
    world.create(paused("a")).await;
    world.create(paused("b")).await;
    world.reconcile("a").await;
    assert_eq!(finalizers(&world).await, [KIND_PROTECTION]);
    world.reconcile_kind().await;
    let counted = status(&world).await;
    assert_eq!(counted["workspaces"], 2);
    assert_eq!(counted["podTemplateOptions"]["imageConfig"][1]["workspaces"], 2);

    world.wire.writes();
    world.reconcile_kind().await;
    assert_eq!(world.wire.writes(), [""; 0]);

    for name in ["a", "b"] {
        world.delete::<Workspace>(name).await;
        let key = Key::new(Some(NAMESPACE), name);
        world.context.caches.workspaces.wait_for(&key, DEADLINE, |w| w.is_none()).await;
    }
    world.reconcile_kind().await;
    assert!(finalizers(&world).await.is_empty());
    assert_eq!(status(&world).await["workspaces"], 0);
}

/// A server of others may store what cannot be read.
#[test]
fn pictures_that_cannot_be_read_say_why() {
    let unreadable = Pictures::of(&json!({"binaryData": {"a.svg": 5}}));
    assert!(unreadable.sha256("a.svg").unwrap_err().contains("invalid type"), "{unreadable:?}");
}

#[tokio::test]
async fn pictures_are_hashed_and_their_faults_told() {
    let world = World::new().await;
    let kinds = Api::<WorkspaceKind>::all(world.client.clone());
    let source = |key: &str| {
        json!({"url": null, "configMap": {
            "namespace": NAMESPACE, "name": "pictures", "key": key, "mediaType": "image/svg+xml",
        }})
    };
    let patch = json!({"spec": {"spawner": {"icon": source("a.svg"), "logo": source("b.svg")}}});
    let patch = Patch::Merge(patch);
    let kind = kinds.patch("notebook", &PatchParams::default(), &patch).await.unwrap();
    let version = kind.metadata.resource_version.clone().unwrap();
    let key = Key::of(&kind.metadata);
    world.context.caches.kinds.wait_for_version(&key, &version, DEADLINE).await;

    world.reconcile_kind().await;
    assert_eq!(status(&world).await["spawnerIcon"]["configMap"]["errorType"], "NotFound");

    world
        .post::<ConfigMap>(json!({
            "metadata": {
                "name": "pictures", "labels": {"notebooks.kubeflow.org/image-source": "true"},
            },
            "data": {"a.svg": "abc"},
        }))
        .await;
    let key = Key::new(Some(NAMESPACE), "pictures");
    world.context.children.pictures.wait_for(&key, DEADLINE, |p| p.is_some()).await;
    world.reconcile_kind().await;
    let status = status(&world).await;
    assert_eq!(
        status["spawnerIcon"],
        json!({"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"})
    );
    assert_eq!(status["spawnerLogo"]["configMap"]["errorType"], "KeyNotFound");
}
