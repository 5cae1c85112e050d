//! What wakes a workspace and is no news, and what can wait.

use cluster::controller::{Outcome, Turn};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Service, ServiceAccount},
};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    super::memory,
    kit::{NAMESPACE, World, paused, until},
};
use crate::decide::naming;

/// A pass when nothing but the workspace's own objects has woken it.
async fn turn(world: &World) -> (Outcome, Vec<String>) {
    let outcome = world.reconcile_in(Turn::Now, "lab").await;
    (outcome, world.wire.writes())
}

fn mends_stateful_set(writes: &[String]) -> bool {
    writes.iter().any(|write| write.starts_with("PUT ") && write.contains("/statefulsets/"))
}

#[tokio::test]
async fn what_a_new_one_that_is_paused_does_not_need_waits() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    // It protects the kind, which would be news.
    world.reconcile_kind().await;
    world.wire.writes();
    let (outcome, writes) = turn(&world).await;
    assert_eq!(outcome, Outcome::Later);
    assert_eq!(writes.len(), 2, "StatefulSet and status: {writes:?}");
    assert!(writes[0].ends_with("/statefulsets"), "{writes:?}");
    assert_eq!(world.told("lab").await.0, "Paused");
    // Its own objects come back; it goes on waiting.
    assert_eq!(turn(&world).await, (Outcome::Later, Vec::new()));
    assert_eq!(world.reconcile_in(Turn::Later, "lab").await, Outcome::Done);
    let mut writes = world.wire.writes();
    writes.sort();
    let rest = ["serviceaccounts", "services"];
    assert_eq!(writes, rest.map(|kind| format!("POST /v1/namespaces/{NAMESPACE}/{kind}")));
    assert_eq!(turn(&world).await, (Outcome::Done, Vec::new()));
    world.only::<Service>().await;
    world.only::<ServiceAccount>().await;
}

#[tokio::test]
async fn nothing_of_one_that_is_started_waits() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    world.reconcile_kind().await;
    assert_eq!(turn(&world).await.0, Outcome::Later);
    // Before its turn to wait is over.
    world.patch("lab", json!({"spec": {"paused": false}})).await;
    let (_, writes) = turn(&world).await;
    let place = |end: &str| writes.iter().position(|write| write.contains(end));
    assert!(place("/services").is_some(), "{writes:?}");
    let (account, set) = (place("/serviceaccounts").unwrap(), place("/statefulsets/").unwrap());
    assert!(account < set, "a pod needs it: {writes:?}");
}

/// What has waited is refused when its turn comes: that is told, and tried again.
async fn is_told_and_tried_again(world: &World, message: &str) {
    assert_eq!(turn(world).await.0, Outcome::Later);
    assert_eq!(world.reconcile_in(Turn::Later, "lab").await, Outcome::Retry);
    let told = world.told("lab").await;
    assert_eq!(told.0, "Error");
    assert!(told.1.starts_with(message), "{}", told.1);
    // It is not put off once more: that would look like a success.
    assert_eq!(turn(world).await.0, Outcome::Retry);
    assert_eq!(world.told("lab").await, told);
}

/// No pod was made meanwhile.
#[tokio::test]
async fn an_account_that_is_refused_is_told_and_tried_again() {
    let world = World::new().await;
    let name = naming::service_account("lab");
    world.post::<ServiceAccount>(json!({"metadata": {"name": name}})).await;
    world.create(paused("lab")).await;
    is_told_and_tried_again(&world, "Workspace cannot use ServiceAccount").await;
    world.delete::<ServiceAccount>(&name).await;
    assert_eq!(turn(&world).await.0, Outcome::Done);
    assert_eq!(world.told("lab").await.0, "Paused");
}

#[tokio::test]
async fn a_way_that_is_refused_is_told_and_tried_again() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    let uid = world.workspace("lab").await.uid().unwrap();
    let taken: Vec<_> = (0..3).map(|attempt| naming::service("lab", &uid, attempt)).collect();
    for name in &taken {
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        world.post::<Service>(service).await;
    }
    is_told_and_tried_again(&world, "Workspace cannot use Service").await;
    for name in &taken {
        world.delete::<Service>(name).await;
    }
    assert_eq!(turn(&world).await.0, Outcome::Done);
    world.only::<Service>().await;
    assert_eq!(world.told("lab").await.0, "Paused");
}

#[tokio::test]
async fn what_others_do_is_news() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    // It protects the kind, which would be news.
    world.reconcile_kind().await;
    world.reconcile("lab").await;
    turn(&world).await;
    assert_eq!(turn(&world).await, (Outcome::Done, Vec::new()));

    let set = world.only::<StatefulSet>().await.text("/metadata/name").to_owned();
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let api = world.api::<StatefulSet>();
    let changed = api.patch(&set, &PatchParams::default(), &patch).await.unwrap();
    world.sees(&world.context.children.stateful_sets, &changed).await;
    assert!(mends_stateful_set(&turn(&world).await.1));
    assert_eq!(turn(&world).await, (Outcome::Done, Vec::new()));

    world.delete::<Service>(world.only::<Service>().await.text("/metadata/name")).await;
    until("it is made anew", || async { !turn(&world).await.1.is_empty() }).await;
    assert_eq!(turn(&world).await, (Outcome::Done, Vec::new()));

    world
        .patch_kind(json!({"spec": {"podTemplate": {"podMetadata": {"labels": {"a": "b"}}}}}))
        .await;
    assert!(mends_stateful_set(&turn(&world).await.1), "it follows the kind");
    assert_eq!(turn(&world).await, (Outcome::Done, Vec::new()));

    world.patch("lab", json!({"spec": {"paused": false}})).await;
    assert_ne!(turn(&world).await.1, Vec::<String>::new(), "it is started");
    turn(&world).await;
    let pod = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let set = world.observe_stateful_set().await;
    world.pod(&set, pod).await;
    let writes = turn(&world).await.1;
    assert!(writes.iter().any(|write| write.ends_with("/lab/status")), "{writes:?}");
}

/// Somebody changes what was just written before the pass is over that wrote it.
#[tokio::test]
async fn what_others_make_of_a_write_is_news() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    // It protects the kind, which would be news.
    world.reconcile_kind().await;
    assert_eq!(world.reconcile_in(Turn::Later, "lab").await, Outcome::Done);
    let set = world.only::<StatefulSet>().await.text("/metadata/name").to_owned();
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let api = world.api::<StatefulSet>();
    let changed = api.patch(&set, &PatchParams::default(), &patch).await.unwrap();
    world.sees(&world.context.children.stateful_sets, &changed).await;
    world.wire.writes();
    assert!(mends_stateful_set(&turn(&world).await.1));
    assert_eq!(world.only::<StatefulSet>().await.value()["spec"]["replicas"], 0);
}

/// An object that is gone before any watch has shown it wakes nobody.
#[tokio::test]
async fn what_never_comes_back_is_looked_for() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    let queue = &world.context.workspace_queue;
    assert!(!queue.is_idle(memory::LOST_AFTER), "a look is planned");
}
