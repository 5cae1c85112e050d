mod activity;
mod changes;
mod crowd;
mod faults;
mod kinds;
mod kit;
mod roles;
mod routes;
mod running;
mod states;
mod turns;

use cluster::controller::Outcome;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Event, Secret, Service, ServiceAccount},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use self::kit::{NAMESPACE, World, paused};
use super::Options;
use crate::model::fixtures;

/// Leaves out what differs from run to run.
fn steady(object: &cluster::Object) -> Value {
    let mut value = object.value().clone();
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(key);
        }
    }
    let meta = value["metadata"].as_object_mut().unwrap();
    for key in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        meta.remove(key);
    }
    meta["ownerReferences"][0]["uid"] = json!("[uid]");
    meta["annotations"][cluster::apply::APPLIED] = json!("[hash]");
    let name = meta["name"].as_str().unwrap();
    if let Some((prefix, _)) = name.rsplit_once('-').filter(|_| name != "ws-lab") {
        meta["name"] = json!(format!("{prefix}-[suffix]"));
    }
    value
}

fn full_workspace() -> crate::model::Workspace {
    let mut workspace = fixtures::workspace("lab");
    workspace.spec.pod_template.volumes = serde_json::from_value(json!({
        "home": "lab-home",
        "data": [
            {"pvcName": "shared", "mountPath": "/data", "readOnly": true},
            {"pvcName": "shared", "mountPath": "/home/user"},
        ],
        "secrets": [{"secretName": "s3", "mountPath": "/secrets/s3", "defaultMode": 256}],
    }))
    .unwrap();
    workspace.spec.pod_template.pod_metadata = serde_json::from_value(json!({
        "labels": {"from": "workspace", "statefulset": "forged"},
    }))
    .unwrap();
    workspace
}

#[tokio::test]
async fn the_objects_are_as_the_contract_says() {
    let options = Options { connect_secret: true, now: || 1_000, ..Options::default() };
    let world = World::with(options).await;
    world.create(full_workspace()).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Done);
    insta::assert_json_snapshot!("service_account", steady(&world.only::<ServiceAccount>().await));
    insta::assert_json_snapshot!("stateful_set", steady(&world.only::<StatefulSet>().await));
    insta::assert_json_snapshot!("service", steady(&world.only::<Service>().await));
    let secret = world.only::<Secret>().await;
    assert_eq!(secret.text("/metadata/name"), "ws-lab-connect");
    assert_eq!(secret.text("/data/token").len(), 88, "64 digits in base64");
    let status = world.workspace("lab").await.status.unwrap();
    insta::assert_json_snapshot!("status", status);
}

#[tokio::test]
async fn a_paused_workspace_takes_four_writes_and_then_none() {
    let options = Options { connect_secret: true, now: || 1_000, ..Options::default() };
    let world = World::with(options).await;
    world.reconcile_kind().await;
    world.create(paused("first")).await;
    world.reconcile("first").await;
    world.wire.writes();
    world.create(paused("lab")).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Done);
    let mut writes = world.wire.writes();
    // Beside each other, before the status.
    writes[..3].sort();
    assert_eq!(
        writes,
        [
            "POST /v1/namespaces/team-a/serviceaccounts",
            "POST /v1/namespaces/team-a/services",
            "POST s/apps/v1/namespaces/team-a/statefulsets",
            "PUT s/kubeflow.org/v1beta1/namespaces/team-a/workspaces/lab/status",
        ]
    );
    assert_eq!(world.told("lab").await, ("Paused".into(), "Workspace is paused".into()));
    for _ in 0..2 {
        assert_eq!(world.reconcile("lab").await, Outcome::Done);
    }
    assert_eq!(world.wire.writes(), [""; 0]);
}

#[tokio::test]
async fn a_running_workspace_settles_too() {
    let options = Options { connect_secret: true, now: || 1_000, ..Options::default() };
    let world = World::with(options).await;
    world.create(full_workspace()).await;
    world.reconcile("lab").await;
    let set = world.observe_stateful_set().await;
    world
        .pod(&set, json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))
        .await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Running");
    world.wire.writes();
    for _ in 0..2 {
        assert_eq!(world.reconcile("lab").await, Outcome::Done);
    }
    assert_eq!(world.wire.writes(), [""; 0]);
}

#[tokio::test]
async fn changes_of_others_are_mended_and_their_labels_kept() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    let name = world.only::<StatefulSet>().await.text("/metadata/name").to_owned();
    let patch = json!({
        "metadata": {"labels": {"theirs": "x", "notebooks.kubeflow.org/workspace-name": "y"}},
        "spec": {"replicas": 3, "minReadySeconds": 5},
    });
    let changed = world
        .api::<StatefulSet>()
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    let key = cluster::Key::of(&changed.metadata);
    let version = changed.metadata.resource_version.unwrap();
    world.context.children.stateful_sets.wait_for_version(&key, &version, kit::DEADLINE).await;
    world.wire.writes();
    world.reconcile("lab").await;
    let set = world.only::<StatefulSet>().await;
    assert_eq!(set.value()["spec"]["replicas"], 1);
    assert_eq!(set.value()["spec"]["minReadySeconds"], 5, "not ours");
    assert_eq!(set.text("/metadata/labels/theirs"), "x");
    assert_eq!(set.text("/metadata/labels/notebooks.kubeflow.org~1workspace-name"), "lab");
    let puts = |writes: Vec<String>| writes.iter().filter(|w| w.contains("statefulsets")).count();
    assert_eq!(puts(world.wire.writes()), 1);
    world.reconcile("lab").await;
    assert_eq!(puts(world.wire.writes()), 0);
}

#[tokio::test]
async fn pause_and_start_change_the_replicas() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    let replicas =
        || async { world.only::<StatefulSet>().await.value()["spec"]["replicas"].clone() };
    world.reconcile("lab").await;
    assert_eq!(replicas().await, 1);
    world.patch("lab", json!({"spec": {"paused": true}})).await;
    world.reconcile("lab").await;
    assert_eq!(replicas().await, 0);
    let set = world.observe_stateful_set().await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Paused");
    assert_eq!(world.workspace("lab").await.status.unwrap().pause_time, 1_000);
    world.patch("lab", json!({"spec": {"paused": false}})).await;
    world.reconcile("lab").await;
    assert_eq!(replicas().await, 1);
    assert_eq!(world.observe_stateful_set().await, set, "it is the same StatefulSet");
    assert_eq!(world.workspace("lab").await.status.unwrap().pause_time, 0);
}

#[tokio::test]
async fn a_field_that_the_kind_drops_goes_from_the_pod() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    let kinds = kube::Api::<crate::model::WorkspaceKind>::all(world.client.clone());
    let patch = json!({"spec": {"podTemplate": {"probes": null}}});
    let kind =
        kinds.patch("notebook", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let version = kind.metadata.resource_version.clone().unwrap();
    let key = cluster::Key::of(&kind.metadata);
    world.context.caches.kinds.wait_for_version(&key, &version, kit::DEADLINE).await;
    world.reconcile("lab").await;
    let set = world.only::<StatefulSet>().await;
    let container = &set.value()["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container.get("readinessProbe"), None);
}

#[tokio::test]
async fn each_change_of_state_is_told_once() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    assert!(world.all::<Event>().await.is_empty(), "the first state is no change");
    world.patch("lab", json!({"spec": {"paused": false}})).await;
    for _ in 0..3 {
        world.reconcile("lab").await;
    }
    let event = world.only::<Event>().await;
    assert_eq!(event.text("/reason"), "Unknown");
    assert_eq!(event.text("/type"), "Normal");
    assert_eq!(event.text("/involvedObject/name"), "lab");
    assert_eq!(event.text("/metadata/namespace"), NAMESPACE);
}

/// An error that becomes another one is told as well, but not without end.
#[tokio::test]
async fn each_other_error_is_told_once_and_not_for_ever() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    let choose = async |image: &str| {
        let options = json!({"podTemplate": {"options": {"imageConfig": image}}});
        world.patch("lab", json!({"spec": options})).await;
        for _ in 0..2 {
            world.reconcile("lab").await;
        }
    };
    choose("nope-1").await;
    assert_eq!(world.only::<Event>().await.text("/reason"), "Error");
    choose("nope-2").await;
    let told = world.all::<Event>().await;
    let messages: Vec<_> = told.iter().map(|event| event.text("/message")).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages.iter().any(|message| message.contains("nope-2")), "{messages:?}");
    for round in 0..30 {
        choose(&format!("nope-{round}")).await;
    }
    assert_eq!(world.all::<Event>().await.len(), 25);
}
