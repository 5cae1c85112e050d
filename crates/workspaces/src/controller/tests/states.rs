//! What users are told when something is not as it should be.

use cluster::{Key, controller::Outcome};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Event, Secret, Service, ServiceAccount},
};
use kube::Resource;
use serde_json::{Value, json};

use super::{
    super::Options,
    kit::{DEADLINE, NAMESPACE, World, paused, until},
};
use crate::model::{Workspace, fixtures};

#[tokio::test]
async fn an_unknown_kind_is_an_error_until_it_comes() {
    let world = World::new().await;
    let mut workspace = paused("lab");
    workspace.spec.kind = "nope".into();
    world.create(workspace).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Done);
    assert_eq!(
        world.told("lab").await,
        ("Error".into(), "Workspace references unknown WorkspaceKind: nope".into())
    );
    let event = world.only::<Event>().await;
    assert_eq!((event.text("/type"), event.text("/reason")), ("Warning", "Error"));
    world.wire.writes();
    world.reconcile("lab").await;
    assert_eq!(world.wire.writes(), [""; 0]);
}

#[tokio::test]
async fn unknown_options_are_errors() {
    let world = World::new().await;
    let mut workspace = paused("lab");
    workspace.spec.pod_template.options.image_config = "nope".into();
    world.create(workspace).await;
    world.reconcile("lab").await;
    assert_eq!(
        world.told("lab").await.1,
        "Workspace has invalid imageConfig: imageConfig with id \"nope\" not found in workspace \
         kind \"notebook\""
    );
    assert!(world.all::<StatefulSet>().await.is_empty());
}

#[tokio::test]
async fn redirects_are_told_and_not_applied() {
    let world = World::new().await;
    let mut workspace = paused("lab");
    workspace.spec.pod_template.options.image_config = "img-1".into();
    world.create(workspace).await;
    world.reconcile("lab").await;
    let status = world.workspace("lab").await.status.unwrap();
    assert!(status.pending_restart);
    assert_eq!(
        serde_json::to_value(&status.pod_template_options).unwrap(),
        json!({
            "imageConfig": {
                "desired": "img-2", "redirectChain": [{"source": "img-1", "target": "img-2"}],
            },
            "podConfig": {"desired": "small"},
        })
    );
    let set = world.only::<StatefulSet>().await;
    assert_eq!(set.text("/spec/template/spec/containers/0/image"), "reg.example.org/nb:1");
}

#[tokio::test]
async fn a_foreign_service_account_is_never_taken_over() {
    let world = World::new().await;
    world
        .post::<ServiceAccount>(json!({"metadata": {"name": "ws-lab", "labels": {"a": "b"}}}))
        .await;
    world.create(paused("lab")).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Retry);
    let (state, message) = world.told("lab").await;
    assert_eq!(state, "Error");
    assert!(
        message.contains("ServiceAccount \"ws-lab\"") && message.contains("not owned"),
        "{message}"
    );
    let account = world.only::<ServiceAccount>().await;
    assert_eq!(account.value()["metadata"]["labels"], json!({"a": "b"}));
    assert!(world.all::<StatefulSet>().await.is_empty());

    world.delete::<ServiceAccount>("ws-lab").await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Paused");
}

#[tokio::test]
async fn a_foreign_connect_secret_is_never_taken_over() {
    let world = World::with(Options { connect_secret: true, ..Options::default() }).await;
    world.post::<Secret>(json!({"metadata": {"name": "ws-lab-connect"}})).await;
    world.create(fixtures::workspace("lab")).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Retry);
    let (state, message) = world.told("lab").await;
    assert_eq!(state, "Error");
    assert!(message.contains("Secret \"ws-lab-connect\""), "{message}");
    assert_eq!(world.only::<Secret>().await.value().get("data"), None);
}

#[tokio::test]
async fn other_names_are_found_when_generated_ones_are_taken() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    let uid = world.workspace("lab").await.metadata.uid.unwrap();
    let taken = crate::decide::naming::service("lab", &uid, 0);
    world
        .post::<Service>(json!({"metadata": {"name": taken}, "spec": {"ports": [{"port": 1}]}}))
        .await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Paused");
    assert_eq!(world.all::<Service>().await.len(), 2);
    world.wire.writes();
    world.reconcile("lab").await;
    assert_eq!(world.wire.writes(), [""; 0]);
}

#[tokio::test]
async fn a_stateful_set_of_somebody_else_is_never_taken_over() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    let uid = world.workspace("lab").await.metadata.uid.unwrap();
    let map: ConfigMap = world.post(json!({"metadata": {"name": "somebody"}})).await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "somebody", "uid": map.metadata.uid,
        "controller": true,
    });
    // One that only refers to the workspace is not its own either.
    let referred = json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace", "name": "lab", "uid": uid,
    });
    let mut before = Vec::new();
    for (attempt, owners) in [(0, json!([theirs])), (1, json!([theirs, referred]))] {
        let name = crate::decide::naming::stateful_set("lab", &uid, attempt);
        let template = json!({
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "main", "image": "theirs:1"}]},
        });
        let set: StatefulSet = world
            .post(json!({
                "metadata": {"name": name, "ownerReferences": owners},
                "spec": {"replicas": 0, "serviceName": "x", "template": template,
                         "selector": {"matchLabels": {"a": "b"}}},
            }))
            .await;
        before.push((name, set.metadata.owner_references, set.spec));
    }
    world.reconcile("lab").await;
    let api = world.api::<StatefulSet>();
    for (name, owners, spec) in before {
        let now = api.get(&name).await.unwrap();
        assert_eq!((now.metadata.owner_references, now.spec), (owners, spec), "{name}");
    }
    let sets = world.all::<StatefulSet>().await;
    assert_eq!(sets.len(), 3, "one of its own: {sets:?}");
    world.wire.writes();
    world.reconcile("lab").await;
    assert_eq!(world.wire.writes(), [""; 0]);
}

/// Objects that the workspace owns beside those that the controller made.
async fn add_second<K>(world: &World, value: Value)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let workspace = world.workspace("lab").await;
    let mut value = value;
    value["metadata"] = json!({"name": "a-second", "ownerReferences": [{
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace", "name": "lab",
        "uid": workspace.metadata.uid, "controller": true,
    }]});
    world.post::<K>(value).await;
    let key = Key::new(Some(NAMESPACE), "a-second");
    until("the caches see it", || async {
        let mut caches = world.context.children.all();
        caches.any(|cache| cache.get(key.namespace(), key.name()).is_some())
    })
    .await;
}

#[tokio::test]
async fn several_owned_objects_are_an_error_that_names_them() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    add_second::<Service>(&world, json!({"spec": {"ports": [{"port": 1}]}})).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Done);
    let (state, message) = world.told("lab").await;
    assert_eq!(state, "Error");
    assert!(
        message.starts_with("Workspace owns multiple Services: a-second, ws-lab-"),
        "{message}"
    );
    assert_eq!(world.all::<Service>().await.len(), 2, "nothing is deleted");
}

#[tokio::test]
async fn several_owned_service_accounts_are_an_error_too() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    add_second::<ServiceAccount>(&world, json!({})).await;
    world.reconcile("lab").await;
    assert_eq!(
        world.told("lab").await,
        ("Error".into(), "Workspace owns multiple ServiceAccounts: a-second, ws-lab".into())
    );
}

/// Makes a Warning event, and waits until it is known.
async fn warn(world: &World, name: &str, about: &Value, message: &str, at: &str) {
    world
        .post::<Event>(json!({
            "metadata": {"name": name}, "type": "Warning", "reason": "Failed",
            "message": message, "lastTimestamp": at, "involvedObject": about,
        }))
        .await;
    let warnings = &world.context.children.warnings;
    assert!(warnings.wait_for(&Key::new(Some(NAMESPACE), name), DEADLINE, |w| w.is_some()).await);
}

/// Events stay for an hour, whatever was done about them.
#[tokio::test]
async fn what_was_wrong_before_a_pause_is_not_told_after_it() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    world.observe_stateful_set().await;
    let set = world.only::<StatefulSet>().await;
    let about = json!({
        "kind": "StatefulSet", "namespace": NAMESPACE, "name": set.text("/metadata/name"),
        "uid": set.uid(),
    });
    warn(&world, "old", &about, "no quota", "2026-01-01T00:00:00Z").await;
    world.reconcile("lab").await;
    let warned = |what: &str| format!("Workspace StatefulSet has warning event: {what}");
    assert_eq!(world.told("lab").await, ("Error".into(), warned("no quota")));
    for (is_paused, state) in [(true, "Paused"), (false, "Unknown")] {
        world.patch("lab", json!({"spec": {"paused": is_paused}})).await;
        for _ in 0..2 {
            world.reconcile("lab").await;
            world.observe_stateful_set().await;
        }
        world.reconcile("lab").await;
        assert_eq!(world.told("lab").await.0, state);
    }
    warn(&world, "new", &about, "still no quota", "2026-01-01T00:30:00Z").await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await, ("Error".into(), warned("still no quota")));
}

#[tokio::test]
async fn the_pod_and_its_warnings_make_the_state() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Unknown");
    let set = world.observe_stateful_set().await;
    let pod = world.pod(&set, json!({"phase": "Pending"})).await;
    let outcome = world.reconcile("lab").await;
    assert_eq!(outcome, Outcome::After(std::time::Duration::from_secs(15)));
    assert_eq!(world.told("lab").await.0, "Pending");
    let status = world.workspace("lab").await.status.unwrap();
    assert_eq!(status.pod_template_pod.name, format!("{set}-0"));
    assert_eq!(status.pod_template_pod.node_name, "n");

    let uid = pod.metadata.uid.clone().unwrap();
    let about = json!({
        "kind": "Pod", "namespace": NAMESPACE, "name": format!("{set}-0"), "uid": uid,
    });
    warn(&world, "w", &about, "no program for image \"i\"", "2026-01-01T00:00:00Z").await;
    world.reconcile("lab").await;
    assert_eq!(
        world.told("lab").await,
        ("Error".into(), "Workspace Pod has warning event: no program for image \"i\"".into())
    );

    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    world.pod(&set, ready).await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Running");
    assert_eq!(world.workspace("lab").await.status.unwrap().last_running_time, 1_000);
}

#[tokio::test]
async fn a_pod_of_somebody_else_is_not_ours() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    let set = world.observe_stateful_set().await;
    let name = format!("{set}-0");
    world
        .post::<k8s_openapi::api::core::v1::Pod>(json!({
            "metadata": {"name": name, "labels": {"notebooks.kubeflow.org/workspace-name": "lab"}},
            "spec": {"containers": [{"name": "main", "image": "i"}]},
        }))
        .await;
    let key = Key::new(Some(NAMESPACE), &name);
    assert!(world.context.caches.pods.wait_for(&key, DEADLINE, |pod| pod.is_some()).await);
    world.reconcile("lab").await;
    let status = world.workspace("lab").await.status.unwrap();
    assert_eq!(status.pod_template_pod.name, "");
}

#[tokio::test]
async fn a_workspace_that_goes_takes_its_objects_along() {
    let world = World::with(Options { connect_secret: true, ..Options::default() }).await;
    world.post::<ConfigMap>(json!({"metadata": {"name": "mine"}})).await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    world.delete::<Workspace>("lab").await;
    until("the objects are collected", || async {
        world.all::<StatefulSet>().await.is_empty()
            && world.all::<Service>().await.is_empty()
            && world.all::<ServiceAccount>().await.is_empty()
            && world.all::<Secret>().await.is_empty()
    })
    .await;
    let workspaces = &world.context.caches.workspaces;
    workspaces.wait_for(&Key::new(Some(NAMESPACE), "lab"), DEADLINE, |w| w.is_none()).await;
    assert_eq!(world.reconcile("lab").await, Outcome::Done);
    assert!(world.all::<StatefulSet>().await.is_empty(), "nothing comes back");
    assert!(world.all::<ConfigMap>().await.iter().any(|map| map.text("/metadata/name") == "mine"));
}
