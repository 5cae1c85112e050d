//! RoleBindings, on an API that has them.

use cluster::Key;
use k8s_openapi::{
    api::rbac::v1::RoleBinding,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    super::Options,
    kit::{DEADLINE, World, paused},
};
use crate::model::{WorkspaceKind, fixtures};

/// Enough of the kind to keep its objects.
fn definition() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {
            "name": "rolebindings.rbac.authorization.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "rbac.authorization.k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "RoleBinding", "plural": "rolebindings", "singular": "rolebinding"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    }))
    .unwrap()
}

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
    let mut definitions = crate::crds();
    definitions.push(definition());
    let world = World::prepared(Options::default(), fixtures::kind(), definitions).await;
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
