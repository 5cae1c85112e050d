//! The whole controller: changes wake it.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Secret, Service, ServiceAccount},
};
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Options, run},
    kit::{World, paused, until},
};
use crate::{
    Caches,
    model::{KIND_PROTECTION, Workspace, annotation::IMAGE_DIGEST, fixtures},
};

#[tokio::test]
async fn a_story_from_create_to_delete() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let caches = Caches::start(&world.client);
    let options = Options { now: || 1_000, ..Options::default() };
    let controller = tokio::spawn(run(world.client.clone(), caches, options, stop.clone()));
    let state = |wanted: &'static str| {
        let world = &world;
        until(wanted, move || async move { world.told("lab").await.0 == wanted })
    };

    world.create(paused("lab")).await;
    state("Paused").await;
    until("the kind counts it", || async {
        world.kind().await.status.is_some_and(|status| status.workspaces == 1)
    })
    .await;
    let pinned = format!("reg.example.org/nb:2@sha256:{}", "0a".repeat(32));
    world.patch("lab", json!({"metadata": {"annotations": {IMAGE_DIGEST: pinned}}})).await;
    until("it is pinned", || async {
        let set = world.only::<StatefulSet>().await;
        set.text("/spec/template/spec/containers/0/image") == pinned
    })
    .await;
    world.patch("lab", json!({"spec": {"paused": false}})).await;
    state("Unknown").await;
    until("it is started", || async {
        world.only::<StatefulSet>().await.value()["spec"]["replicas"] == 1
    })
    .await;
    let set = world.observe_stateful_set().await;
    world.pod(&set, json!({"phase": "Pending"})).await;
    state("Pending").await;
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    world.pod(&set, ready).await;
    state("Running").await;

    // What others delete comes back.
    until("it has a Service", || async { world.all::<Service>().await.len() == 1 }).await;
    world.delete::<Service>(world.only::<Service>().await.text("/metadata/name")).await;
    until("the Service is back", || async { world.all::<Service>().await.len() == 1 }).await;

    world.delete::<Workspace>("lab").await;
    until("its objects are gone", || async {
        world.all::<StatefulSet>().await.is_empty()
            && world.all::<Service>().await.is_empty()
            && world.all::<ServiceAccount>().await.is_empty()
    })
    .await;
    until("the kind is free", || async {
        let finalizers = world.kind().await.metadata.finalizers.unwrap_or_default();
        !finalizers.iter().any(|name| name == KIND_PROTECTION)
    })
    .await;
    stop.cancel();
    controller.await.unwrap();
}

#[tokio::test]
async fn a_kind_that_comes_later_makes_its_workspaces_run() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let caches = Caches::start(&world.client);
    let controller =
        tokio::spawn(run(world.client.clone(), caches, Options::default(), stop.clone()));
    let mut workspace = paused("lab");
    workspace.spec.kind = "later".into();
    world.create(workspace).await;
    until("the error", || async { world.told("lab").await.0 == "Error" }).await;
    let mut kind = fixtures::kind();
    kind.metadata.name = Some("later".into());
    Api::all(world.client.clone()).create(&PostParams::default(), &kind).await.unwrap();
    until("the pause", || async { world.told("lab").await.0 == "Paused" }).await;
    stop.cancel();
    controller.await.unwrap();
}

#[tokio::test]
async fn a_name_that_others_give_free_is_taken() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let caches = Caches::start(&world.client);
    let options = Options { connect_secret: true, ..Options::default() };
    let controller = tokio::spawn(run(world.client.clone(), caches, options, stop.clone()));
    world.post::<ServiceAccount>(json!({"metadata": {"name": "ws-lab"}})).await;
    world.post::<Secret>(json!({"metadata": {"name": "ws-lab-connect"}})).await;
    world.create(fixtures::workspace("lab")).await;
    let told = |words: &'static str| {
        let world = &world;
        until(words, move || async move { world.told("lab").await.1.contains(words) })
    };
    told("ServiceAccount \"ws-lab\"").await;
    world.delete::<ServiceAccount>("ws-lab").await;
    told("Secret \"ws-lab-connect\"").await;
    world.delete::<Secret>("ws-lab-connect").await;
    until("it is made", || async { !world.all::<StatefulSet>().await.is_empty() }).await;
    stop.cancel();
    controller.await.unwrap();
}

#[tokio::test]
async fn many_workspaces_get_their_objects() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let caches = Caches::start(&world.client);
    let controller =
        tokio::spawn(run(world.client.clone(), caches, Options::default(), stop.clone()));
    for number in 0..40 {
        world.create(paused(&format!("ws-{number}"))).await;
    }
    until("all are paused", || async {
        world.all::<Workspace>().await.iter().all(|ws| ws.text("/status/state") == "Paused")
    })
    .await;
    assert_eq!(world.all::<StatefulSet>().await.len(), 40);
    // What leads to a paused one comes when nothing else waits: after its state, perhaps.
    until("all have a Service", || async { world.all::<Service>().await.len() == 40 }).await;
    stop.cancel();
    controller.await.unwrap();
}
