//! RoleBindings.

use cluster::Key;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::kit::{DEADLINE, World, paused};
use crate::model::WorkspaceKind;

async fn set_roles(world: &World, roles: &[&str]) {
    let roles: Vec<_> = roles.iter().map(|role| json!({"name": role})).collect();
    let patch = json!({"spec": {"podTemplate": {"serviceAccount": {"clusterRoles": roles}}}});
    let api = Api::<WorkspaceKind>::all(world.client.clone());
    let patch = Patch::Merge(patch);
    let kind = api.patch("notebook", &PatchParams::default(), &patch).await.unwrap();
    let version = kind.resource_version().unwrap();
    let key = Key::of(&kind.metadata);
    assert!(world.context.caches.kinds.wait_for_version(&key, &version, DEADLINE).await);
}

async fn bound(world: &World) -> Vec<String> {
    let mut roles: Vec<_> = world
        .all::<RoleBinding>()
        .await
        .iter()
        .map(|binding| binding.text("/roleRef/name").to_owned())
        .collect();
    roles.sort();
    roles
}

#[tokio::test]
async fn roles_are_bound_and_unbound() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    set_roles(&world, &["view", "custom:role"]).await;
    world.reconcile("lab").await;
    assert_eq!(bound(&world).await, ["custom:role", "view"]);
    let binding = world.all::<RoleBinding>().await.remove(0);
    assert_eq!(
        binding.value()["subjects"],
        json!([{"kind": "ServiceAccount", "name": "ws-lab", "namespace": "team-a"}])
    );
    world.wire.writes();
    world.reconcile("lab").await;
    assert_eq!(world.wire.writes(), [""; 0]);

    set_roles(&world, &["edit", "view"]).await;
    world.reconcile("lab").await;
    assert_eq!(bound(&world).await, ["edit", "view"]);
    assert_eq!(world.wire.writes().len(), 2, "one deleted, one made");
    set_roles(&world, &[]).await;
    world.reconcile("lab").await;
    assert_eq!(bound(&world).await, [""; 0]);
    assert_eq!(world.told("lab").await.0, "Paused");
}
