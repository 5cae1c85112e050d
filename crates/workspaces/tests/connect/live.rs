//! What the proxy reads from a cluster.

use std::time::Duration;

use cluster::Access;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testcluster::TestCluster;
use web::{Identity, Kind};
use workspaces::{
    Caches,
    connect::{Backend as _, Closed, Live, Outlook, Port, Secrets},
    model::{Workspace, WorkspaceKind},
};

use crate::kit::until;

struct World {
    _cluster: TestCluster,
    client: Client,
    caches: Caches,
    live: Live,
}

fn kind() -> WorkspaceKind {
    let spawner = |id: &str| json!({ "displayName": id });
    serde_json::from_value(json!({
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "WorkspaceKind",
        "metadata": { "name": "lab" },
        "spec": {
            "spawner": {
                "displayName": "Lab",
                "description": "A laboratory",
                "icon": { "url": "https://example.org/icon.svg" },
                "logo": { "url": "https://example.org/logo.svg" },
            },
            "podTemplate": {
                "volumeMounts": { "home": "/home/user" },
                "ports": [
                    { "id": "web", "protocol": "HTTP", "defaultDisplayName": "Web", "httpProxy": {
                        "removePathPrefix": true,
                        "requestHeaders": {
                            "set": { "x-base": "{{ httpPathPrefix \"web\" }}" },
                            "add": { "x-other": "{{ httpPathPrefix \"none\" }}|" },
                            "remove": ["x-gone"],
                        },
                    } },
                    { "id": "plain", "protocol": "HTTP", "defaultDisplayName": "Plain" },
                    { "id": "unused", "protocol": "HTTP", "defaultDisplayName": "Unused" },
                ],
                "options": {
                    "imageConfig": { "spawner": { "default": "one" }, "values": [{
                        "id": "one",
                        "spawner": spawner("One"),
                        "spec": { "image": "example/lab:1", "ports": [
                            { "id": "web", "port": 8888 },
                            { "id": "plain", "port": 9999 },
                        ] },
                    }] },
                    "podConfig": { "spawner": { "default": "small" }, "values": [
                        { "id": "small", "spawner": spawner("Small"), "spec": {} },
                    ] },
                },
            },
        },
    }))
    .unwrap()
}

fn workspace() -> Workspace {
    serde_json::from_value(json!({
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Workspace",
        "metadata": { "name": "name", "namespace": "ns" },
        "spec": { "kind": "lab", "paused": false, "podTemplate": {
            "volumes": { "data": [], "secrets": [] },
            "options": { "imageConfig": "one", "podConfig": "small" },
        } },
    }))
    .unwrap()
}

impl World {
    async fn new() -> Self {
        let cluster = TestCluster::open().await;
        let client = cluster.client();
        cluster::crds::install(&client, workspaces::crds()).await.unwrap();
        cluster.make_namespace("ns").await;
        let post = PostParams::default();
        Api::<WorkspaceKind>::all(client.clone()).create(&post, &kind()).await.unwrap();
        Api::<Workspace>::namespaced(client.clone(), "ns")
            .create(&post, &workspace())
            .await
            .unwrap();
        let caches = Caches::start(&client);
        caches.ready().await;
        let live = Live::new(client.clone(), caches.clone(), Access::Local, Secrets::Own);
        Self { _cluster: cluster, client, caches, live }
    }

    fn port(&self, port: &str) -> Port {
        self.live.find("ns", "name", port).unwrap().port
    }

    fn closed(&self) -> Closed {
        match self.port("web") {
            Port::Closed(closed) => closed,
            other => unreachable!("{other:?}"),
        }
    }

    fn uid(&self) -> String {
        self.live.find("ns", "name", "web").unwrap().uid
    }

    async fn patch(&self, patch: Value) {
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), "ns");
        let changed =
            api.patch("name", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let version = changed.metadata.resource_version.unwrap();
        until("the change is seen", || {
            let seen = self.caches.workspaces.get(Some("ns"), "name");
            seen.and_then(|seen| seen.metadata.resource_version.clone()).as_ref() == Some(&version)
        })
        .await;
    }

    async fn status(&self, state: &str, message: &str, pod: &str) {
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), "ns");
        let counts = json!({
            "activity": { "lastActivity": 0, "lastUpdate": 0 },
            "pauseTime": 0,
            "pendingRestart": false,
            "podTemplateOptions": {
                "imageConfig": { "redirectChain": [] },
                "podConfig": { "redirectChain": [] },
            },
            "podTemplatePod": { "name": pod, "nodeName": "", "containers": [], "initContainers": [] },
            "state": state,
            "stateMessage": message,
        });
        let patch = Patch::Merge(json!({ "status": counts }));
        api.patch_status("name", &PatchParams::default(), &patch).await.unwrap();
        until("the status is seen", || {
            let seen = self.caches.workspaces.get(Some("ns"), "name").unwrap();
            seen.status.as_ref().is_some_and(|status| {
                status.state_message == message && status.pod_template_pod.name == pod
            })
        })
        .await;
    }

    async fn pod(&self, name: &str, of: &str, ready: bool) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "ns");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "notebooks.kubeflow.org/workspace-name": of } },
            "spec": { "containers": [{ "name": "main", "image": "example/lab:1" }] },
        }))
        .unwrap();
        api.create(&PostParams::default(), &pod).await.unwrap();
        let ready = if ready { "True" } else { "False" };
        let status = json!({ "status": {
            "phase": "Running",
            "podIP": "127.5.6.7",
            "conditions": [{ "type": "Ready", "status": ready }],
        } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        until("the pod is seen", || {
            let seen = self.caches.pods.get(Some("ns"), name);
            seen.is_some_and(|pod| {
                pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
            })
        })
        .await;
    }
}

#[tokio::test]
async fn a_ready_pod_of_the_workspace_is_the_target() {
    let world = World::new().await;
    assert_eq!(world.closed().outlook, Outlook::Coming);
    world.pod("ws-name-abc-0", "name", true).await;
    assert!(matches!(world.port("web"), Port::Closed(_)), "not before the controller says so");
    world.status("Running", "Workspace is running", "ws-name-abc-0").await;
    let Port::Open(target) = world.port("web") else { unreachable!() };
    assert_eq!(target.address.to_string(), "127.5.6.7:8888");
    assert!(target.remove_prefix);
    assert_eq!(target.headers.set["x-base"], "/workspace/connect/ns/name/web/");
    assert_eq!(target.headers.add["x-other"], "|");
    assert_eq!(target.headers.remove, ["x-gone"]);
    let Port::Open(plain) = world.port("plain") else { unreachable!() };
    assert_eq!(plain.address.to_string(), "127.5.6.7:9999");
    assert!(!plain.remove_prefix);
    assert_eq!(plain.headers, Default::default());
    for port in ["unused", "none", ""] {
        assert!(matches!(world.port(port), Port::Unknown), "{port}");
    }
    assert!(world.live.find("ns", "other", "web").is_none());
    assert!(world.live.find("default", "name", "web").is_none());
}

#[tokio::test]
async fn pods_that_are_not_ready_or_of_another_workspace_are_no_target() {
    let world = World::new().await;
    world.pod("mine-0", "name", false).await;
    world.status("Running", "Workspace is running", "mine-0").await;
    let closed = world.closed();
    assert_eq!((closed.state.as_str(), closed.outlook), ("Pending", Outlook::Coming));
    world.pod("foreign-0", "another", true).await;
    world.status("Running", "Workspace still runs", "foreign-0").await;
    assert_eq!(world.closed().outlook, Outlook::Coming);
}

#[tokio::test]
async fn a_paused_workspace_is_closed_at_once_and_says_so() {
    let world = World::new().await;
    world.pod("mine-0", "name", true).await;
    world.status("Running", "Workspace is running", "mine-0").await;
    world.patch(json!({ "spec": { "paused": true } })).await;
    let closed = world.closed();
    assert_eq!((closed.state.as_str(), closed.outlook), ("Terminating", Outlook::Paused));
    world.status("Paused", "Workspace is paused", "").await;
    let closed = world.closed();
    assert_eq!((closed.state.as_str(), closed.outlook), ("Paused", Outlook::Paused));
    assert_eq!(closed.message, "Workspace is paused");
    world.patch(json!({ "spec": { "paused": false } })).await;
    let closed = world.closed();
    assert_eq!((closed.state.as_str(), closed.outlook), ("Pending", Outlook::Coming));
    world.status("Error", "no table knows the image", "").await;
    let closed = world.closed();
    assert_eq!((closed.state.as_str(), closed.outlook), ("Error", Outlook::Broken));
    assert_eq!(closed.message, "no table knows the image");
}

#[tokio::test]
async fn the_secret_must_belong_to_this_workspace() {
    let world = World::new().await;
    let uid = world.uid();
    let read = async || {
        let secret = world.live.secret("ns", "name", &uid).await.unwrap();
        secret.map(|secret| secret.expose_secret().to_owned())
    };
    assert_eq!(read().await, None);
    let api: Api<Secret> = Api::namespaced(world.client.clone(), "ns");
    let make = |uid: &str| -> Secret {
        serde_json::from_value(json!({
            "metadata": { "name": "ws-name-connect", "ownerReferences": [{
                "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace", "name": "name",
                "uid": uid, "controller": true,
            }] },
            "data": { "token": "czNjcmV0" },
        }))
        .unwrap()
    };
    let foreign = make("00000000-0000-0000-0000-000000000000");
    if api.create(&PostParams::default(), &foreign).await.is_ok() {
        assert_eq!(read().await, None);
        // The garbage collection may be quicker.
        let _ = api.delete("ws-name-connect", &DeleteParams::default()).await;
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        while api.get_opt("ws-name-connect").await.unwrap().is_some() {
            assert!(tokio::time::Instant::now() < end);
            tokio::task::yield_now().await;
        }
    }
    api.create(&PostParams::default(), &make(&uid)).await.unwrap();
    assert_eq!(read().await.as_deref(), Some("s3cret"));
    api.delete("ws-name-connect", &DeleteParams::default()).await.unwrap();
    assert_eq!(read().await.as_deref(), Some("s3cret"), "remembered by the uid");
    assert!(world.live.secret("ns", "name", "another").await.unwrap().is_none());
}

#[tokio::test]
async fn only_those_who_may_update_may_connect() {
    let world = World::new().await;
    assert!(world.live.authorise(&Identity::local(), "ns", "name").await.is_ok());
    let stranger = Identity { user: "eve".to_owned(), groups: Vec::new() };
    let error = world.live.authorise(&stranger, "ns", "name").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
}
