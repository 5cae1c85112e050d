//! What becomes of workspaces whose kind changes under them.

use cluster::controller::{Outcome, Turn};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
    rbac::v1::RoleBinding,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    super::Options,
    kit::{DEADLINE, World, paused, until},
};
use crate::model::{WorkspaceKind, fixtures};

/// Does what the controller of StatefulSets would: says which revision is the newest.
async fn revise(world: &World, revision: &str) -> String {
    let set = world.only::<StatefulSet>().await.name_any();
    let patch = Patch::Merge(json!({"status": {"replicas": 1, "updateRevision": revision}}));
    world.api::<StatefulSet>().patch_status(&set, &PatchParams::default(), &patch).await.unwrap();
    world.observe_stateful_set().await
}

async fn running_pod(world: &World, set: &str, revision: &str) {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    world.pod(set, ready.clone()).await;
    let labels = json!({"metadata": {"labels": {"controller-revision-hash": revision}}});
    let pods = world.api::<Pod>();
    let name = format!("{set}-0");
    let pod = pods.patch(&name, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    let version = pod.resource_version().unwrap();
    let key = cluster::Key::of(&pod.metadata);
    assert!(world.context.caches.pods.wait_for_version(&key, &version, DEADLINE).await);
}

fn policy(policy: Value) -> Value {
    json!({"metadata": {"annotations": {"quartermaster.io/update-policy": policy}}})
}

fn without_probes() -> Value {
    json!({"spec": {"podTemplate": {"probes": null}}})
}

async fn strategy(world: &World) -> String {
    world.only::<StatefulSet>().await.text("/spec/updateStrategy/type").to_owned()
}

/// What a pass told and has not seen come back is not what it knows: it must not take it for told.
#[tokio::test]
async fn a_status_that_is_late_is_not_forgotten() {
    let world = World::new().await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Paused");
    world.sees_writes("lab").await;
    world.wire.hold_workspaces(true);
    let good = json!(world.kind().await.spec.pod_template.options);
    let options = |options| json!({"spec": {"podTemplate": {"options": options}}});
    let bad = good.to_string().replace("img-2", "img-3");
    world.patch_kind(options(serde_json::from_str(&bad).unwrap())).await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Error");
    world.patch_kind(options(good)).await;
    // What it knows says Paused, as it should.
    assert_ne!(world.pass(Turn::Later, "lab").await, Outcome::Done);
    world.wire.hold_workspaces(false);
    until("it is told", || async {
        world.reconcile("lab").await;
        world.told("lab").await.0 == "Paused"
    })
    .await;
}

#[tokio::test]
async fn a_change_waits_for_the_next_restart_if_the_kind_says_so() {
    let world = World::new().await;
    world.patch_kind(policy(json!("OnRestart"))).await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    assert_eq!(strategy(&world).await, "OnDelete");
    let set = revise(&world, "r1").await;
    running_pod(&world, &set, "r1").await;
    world.reconcile("lab").await;
    let pending = || async { world.workspace("lab").await.status.unwrap().pending_restart };
    assert_eq!((world.told("lab").await.0.as_str(), pending().await), ("Running", false));

    world.patch_kind(without_probes()).await;
    world.reconcile("lab").await;
    revise(&world, "r2").await;
    world.reconcile("lab").await;
    assert_eq!((world.told("lab").await.0.as_str(), pending().await), ("Running", true));

    running_pod(&world, &set, "r2").await;
    world.reconcile("lab").await;
    assert_eq!((world.told("lab").await.0.as_str(), pending().await), ("Running", false));

    world.patch_kind(policy(Value::Null)).await;
    world.reconcile("lab").await;
    assert_eq!(strategy(&world).await, "RollingUpdate");
}

#[tokio::test]
async fn another_digest_waits_while_the_workspace_is_used() {
    const NOW: i64 = 1_000_000_000;
    let world = World::with(Options { now: || NOW, ..Options::default() }).await;
    let digest = format!("sha256:{}", "0a".repeat(32));
    let pin =
        |pin: Value| json!({"metadata": {"annotations": {"quartermaster.io/image-digest": pin}}});
    let ours = json!(format!("reg.example.org/nb:2@{digest}"));
    let set = async || {
        let set = world.only::<StatefulSet>().await;
        let image = set.text("/spec/template/spec/containers/0/image").to_owned();
        (image, set.text("/spec/updateStrategy/type").to_owned())
    };
    let is = |image: &str, strategy: &str| (image.to_owned(), strategy.to_owned());
    let option = "reg.example.org/nb:2";
    let pinned = format!("{option}@{digest}");
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    let name = revise(&world, "r1").await;
    running_pod(&world, &name, "r1").await;
    let running = json!([{"name": "main", "image": option, "imageID": "", "ready": true,
        "restartCount": 0, "state": {"running": {"startedAt": "1970-01-12T00:00:00Z"}}}]);
    world.pod(&name, json!({"containerStatuses": running})).await;
    world.reconcile("lab").await;
    assert_eq!(set().await, is(option, "RollingUpdate"));

    // Nobody knows whether it is used.
    world.patch("lab", pin(ours.clone())).await;
    world.reconcile("lab").await;
    assert_eq!(set().await, is(&pinned, "OnDelete"));
    revise(&world, "r2").await;
    world.reconcile("lab").await;
    let pending = async || world.workspace("lab").await.status.unwrap().pending_restart;
    assert_eq!((world.told("lab").await.0.as_str(), pending().await), ("Running", true));
    world.patch("lab", pin(Value::Null)).await;
    world.reconcile("lab").await;
    assert_eq!(set().await, is(option, "RollingUpdate"));
    revise(&world, "r1").await;

    // It was used lately, then it was not.
    for (ago, strategy) in [(60, "OnDelete"), (3600, "RollingUpdate")] {
        let probe = json!({"startTime": NOW - 10, "endTime": NOW, "result": "Success"});
        let activity = json!({"lastActivity": NOW - ago * 1000, "lastProbe": probe});
        world.patch_status("lab", json!({"status": {"activity": activity}})).await;
        world.patch("lab", pin(ours.clone())).await;
        world.reconcile("lab").await;
        assert_eq!(set().await, is(&pinned, strategy), "{ago}");
    }

    // A pin for something else does nothing, and what is none is said to be.
    world.patch("lab", pin(json!(format!("reg.example.org/nb:1@{digest}")))).await;
    world.reconcile("lab").await;
    assert_eq!(set().await, is(option, "RollingUpdate"));
    revise(&world, "r1").await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.1, "Workspace is running");
    world.patch("lab", pin(json!("reg.example.org/nb:3"))).await;
    world.reconcile("lab").await;
    assert_eq!(set().await, is(option, "RollingUpdate"));
    let message = world.told("lab").await.1;
    assert!(message.contains("quartermaster.io/image-digest is ignored"), "{message}");
}

#[tokio::test]
async fn otherwise_a_change_restarts_what_runs() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    assert_eq!(strategy(&world).await, "RollingUpdate");
    let set = revise(&world, "r1").await;
    running_pod(&world, &set, "r1").await;
    world.patch_kind(without_probes()).await;
    world.reconcile("lab").await;
    revise(&world, "r2").await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Pending");
    assert!(!world.workspace("lab").await.status.unwrap().pending_restart);
}

#[tokio::test]
async fn what_runs_goes_on_when_its_options_or_its_kind_disappear() {
    let world = World::new().await;
    world.create(fixtures::workspace("lab")).await;
    world.reconcile("lab").await;
    let before = world.only::<StatefulSet>().await.value()["spec"].clone();
    let values = |id: &str| {
        json!({"spec": {"podTemplate": {"options": {"imageConfig": {"values": [{
            "id": id, "spawner": {"displayName": "Image"},
            "spec": {
                "image": "reg.example.org/nb:2", "ports": [{"id": "web", "port": 8888}],
            },
        }]}}}}})
    };
    world.patch_kind(values("another")).await;
    world.reconcile("lab").await;
    let (state, message) = world.told("lab").await;
    assert_eq!(state, "Error");
    assert!(message.contains("imageConfig with id \"img-2\" not found"), "{message}");
    assert_eq!(world.only::<StatefulSet>().await.value()["spec"], before);
    world.wire.writes();
    world.reconcile("lab").await;
    assert_eq!(world.wire.writes(), [""; 0]);

    world.patch_kind(values("img-2")).await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Unknown");

    world.patch_kind(json!({"metadata": {"finalizers": null}})).await;
    let kinds = Api::<WorkspaceKind>::all(world.client.clone());
    kinds.delete("notebook", &Default::default()).await.unwrap();
    let key = cluster::Key::new(None, "notebook");
    assert!(world.context.caches.kinds.wait_for(&key, DEADLINE, |kind| kind.is_none()).await);
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.1, "Workspace references unknown WorkspaceKind: notebook");
    assert_eq!(world.only::<StatefulSet>().await.value()["spec"], before);
}

#[tokio::test]
async fn a_foreign_role_binding_is_never_taken_over() {
    let world = World::new().await;
    let roles = json!({"clusterRoles": [{"name": "view"}]});
    world.patch_kind(json!({"spec": {"podTemplate": {"serviceAccount": roles}}})).await;
    let name = crate::decide::naming::role_binding("lab", "view");
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"});
    world.post::<RoleBinding>(json!({"metadata": {"name": name}, "roleRef": role})).await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    let (state, message) = world.told("lab").await;
    assert_eq!(state, "Error");
    assert!(message.contains("RoleBinding") && message.contains("not owned"), "{message}");
    assert_eq!(world.only::<RoleBinding>().await.text("/roleRef/name"), "x");
}

/// More than a ConfigMap holds: nobody can store it, and the kind says that it is not there.
#[tokio::test]
async fn a_picture_of_two_mebibytes_is_not_taken() {
    let world = World::new().await;
    let source = json!({"url": null, "configMap": {
        "namespace": "team-a", "name": "pictures", "key": "a.svg", "mediaType": "image/svg+xml",
    }});
    world.patch_kind(json!({"spec": {"spawner": {"icon": source}}})).await;
    let map = |size: usize| -> ConfigMap {
        serde_json::from_value(json!({
            "metadata": {
                "name": "pictures", "labels": {"notebooks.kubeflow.org/image-source": "true"},
            },
            "data": {"a.svg": "x".repeat(size)},
        }))
        .unwrap()
    };
    let maps = world.api::<ConfigMap>();
    let refused = maps.create(&PostParams::default(), &map(2 << 20)).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code, 422, "{status:?}");
    world.reconcile_kind().await;
    let icon = || async { world.kind().await.status.unwrap().spawner_icon };
    assert!(icon().await.config_map.is_some());
    // The largest that fits is hashed.
    maps.create(&PostParams::default(), &map((1 << 20) - 5)).await.unwrap();
    let key = cluster::Key::new(Some("team-a"), "pictures");
    world.context.children.pictures.wait_for(&key, DEADLINE, |map| map.is_some()).await;
    world.reconcile_kind().await;
    assert_eq!(icon().await.sha256.map(|hash| hash.len()), Some(64));
}
