//! `Hook` objects in a cluster: from a Secret and an object to a notification.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod datasets;
mod operators;
mod receivers;
mod targets;
mod tls;
mod workspaces;

use std::{net::SocketAddr, time::Duration};

use hooks::{
    controller,
    decide::digest::{endpoint, hex},
    decide::signature::Algorithm,
    model::Hook,
    server::{Options, Server},
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use testcluster::TestCluster;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const KEY: &str = "correct-horse-battery-staple-01";
const OTHER: &str = "correct-horse-battery-staple-02";

struct World {
    client: Client,
    server: Server,
    directory: tempfile::TempDir,
    // The last to go.
    _cluster: TestCluster,
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let cluster = TestCluster::open().await;
        let client = cluster.client();
        cluster.make_namespace("apps").await;
        cluster::crds::install(&client, hooks::crds()).await.unwrap();
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            directory: directory.path().join("hooks"),
            certificates: None,
            limits: hooks::receive::Limits::default(),
            controller: controller::Options {
                resync: Duration::from_millis(50),
                ..controller::Options::own_machine()
            },
        };
        let server = Server::start(client.clone(), options).await.unwrap();
        Self { client, server, directory, _cluster: cluster }
    }

    fn hooks(&self) -> Api<Hook> {
        Api::namespaced(self.client.clone(), "apps")
    }

    async fn secret(&self, name: &str, token: &str) {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), "apps");
        let secret = json!({"metadata": {"name": name}, "stringData": {"token": token}});
        let patch = PatchParams::default();
        match secrets.get_opt(name).await.unwrap() {
            None => {
                let secret = serde_json::from_value(secret).unwrap();
                secrets.create(&PostParams::default(), &secret).await.unwrap();
            }
            Some(_) => drop(secrets.patch(name, &patch, &Patch::Merge(secret)).await.unwrap()),
        }
    }

    async fn hook(&self, name: &str, spec: Value) {
        let hook = serde_json::from_value(json!({
            "apiVersion": "quartermaster.io/v1alpha1", "kind": "Hook",
            "metadata": {"name": name}, "spec": spec,
        }));
        self.hooks().create(&PostParams::default(), &hook.unwrap()).await.unwrap();
    }

    /// Waits until the Ready condition has this reason, and gives the hook.
    async fn until(&self, name: &str, reason: &str) -> Hook {
        self.when(name, reason, |hook| {
            let conditions = hook.status.iter().flat_map(|status| &status.conditions);
            conditions.clone().any(|condition| {
                condition.type_ == "Ready"
                    && condition.reason == reason
                    && condition.observed_generation == hook.metadata.generation
            })
        })
        .await
    }

    async fn when(&self, name: &str, what: &str, met: impl Fn(&Hook) -> bool) -> Hook {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let hook = self.hooks().get(name).await.unwrap();
            if met(&hook) {
                return hook;
            }
            assert!(tokio::time::Instant::now() < deadline, "no {what}: {:?}", hook.status);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a push of this branch, signed with this key; gives the status.
    async fn push(&self, key: &str, branch: &str) -> u16 {
        self.push_with(key, branch, "").await
    }

    /// The same with more headers.
    async fn push_with(&self, key: &str, branch: &str, headers: &str) -> u16 {
        let body = format!(
            r#"{{"ref":"refs/heads/{branch}","repository":{{"ssh_url":"git@code.example.com:team/app.git"}}}}"#
        );
        let mac = hex(&Algorithm::Sha256.hmac(key.as_bytes(), &[body.as_bytes()]));
        let headers =
            format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={mac}\r\n{headers}");
        self.post(key, &headers, &body).await
    }

    /// Sends JSON to the path of a key; gives the status.
    async fn post(&self, key: &str, headers: &str, body: &str) -> u16 {
        let request = format!(
            "POST /hook/{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Content-Type: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            endpoint(key.as_bytes(), ""),
            body.len()
        );
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn end(self) {
        self.server.stop().await;
    }
}

/// A daemon that accepts everything and passes on what it was told.
async fn downstream() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    let text = String::from_utf8_lossy(&read).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.to_lowercase();
                    let length = length.split_once("content-length: ").expect("a length").1;
                    let length = length.lines().next().unwrap().parse::<usize>().unwrap();
                    if body.len() >= length {
                        sender.send(body.to_owned()).unwrap();
                        read.clear();
                        let _ =
                            stream.write_all(b"HTTP/1.1 202 A\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    (address, receiver)
}

async fn told(receiver: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(Duration::from_secs(60), receiver.recv()).await.unwrap().unwrap()
}

fn flux(address: SocketAddr) -> Value {
    json!({"source": "GitHub", "secretRef": {"name": "code"},
        "targets": [{"type": "flux-v1", "url": format!("http://{address}/api/flux")}]})
}

#[tokio::test]
async fn a_hook_serves_and_says_so() {
    let world = World::new().await;
    let (address, mut receiver) = downstream().await;
    let journal = world.directory.path().join("hooks");
    assert!(!journal.exists(), "who has no hooks does not pay for their journal");
    world.hook("code", flux(address)).await;
    let hook = world.until("code", "SecretNotFound").await;
    assert!(journal.exists());
    assert_eq!(hook.status.unwrap().webhook_path, None);
    assert_eq!(world.push(KEY, "main").await, 404);

    world.secret("code", KEY).await;
    let hook = world.until("code", "Serving").await;
    let path = format!("/hook/{}", endpoint(KEY.as_bytes(), ""));
    assert_eq!(hook.status.unwrap().webhook_path, Some(path));
    assert_eq!(world.push(KEY, "main").await, 202);
    assert!(told(&mut receiver).await.contains(r#""Branch":"main""#));
    let counted = |hook: &Hook| {
        let deliveries = hook.status.as_ref().and_then(|status| status.deliveries.clone());
        deliveries.is_some_and(|one| one.accepted == 1 && one.last_accepted.is_some())
    };
    world.when("code", "counts", counted).await;
    world.end().await;
}

#[tokio::test]
async fn secrets_rotate_and_hooks_end() {
    let world = World::new().await;
    let (address, _receiver) = downstream().await;
    world.secret("code", KEY).await;
    world.hook("code", flux(address)).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "main").await, 202);
    world.secret("code", OTHER).await;
    let path = format!("/hook/{}", endpoint(OTHER.as_bytes(), ""));
    world
        .when("code", "another path", |hook| {
            hook.status.as_ref().is_some_and(|status| status.webhook_path.as_ref() == Some(&path))
        })
        .await;
    assert_eq!((world.push(KEY, "a").await, world.push(OTHER, "b").await), (404, 202));

    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    world.hooks().patch("code", &PatchParams::default(), &suspend).await.unwrap();
    world.until("code", "Suspended").await;
    assert_eq!(world.push(OTHER, "c").await, 503);

    world.hooks().delete("code", &Default::default()).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while world.push(OTHER, "d").await != 404 {
        assert!(tokio::time::Instant::now() < deadline, "it is still served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_and_harms_nobody_else() {
    let world = World::new().await;
    let (address, _receiver) = downstream().await;
    let journal = world.directory.path().join("hooks");
    std::fs::write(&journal, "in the way").unwrap();
    world.secret("code", KEY).await;
    world.hook("first", flux(address)).await;
    world.until("first", "JournalUnavailable").await;
    assert_eq!(world.push(KEY, "main").await, 503);
    assert!(!world.server.receiver().keeps());

    std::fs::remove_file(&journal).unwrap();
    world.until("first", "Serving").await;
    assert!(world.server.receiver().keeps());
    world.hook("second", flux(address)).await;
    let hook = world.until("second", "PathTaken").await;
    let message = &hook.status.unwrap().conditions[0].message;
    assert!(message.contains("apps/first"), "{message}");

    let with = |change: Value| {
        let mut spec = flux(address);
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        spec
    };
    world.hook("unknown", with(json!({"source": "Hub"}))).await;
    world.hook("open", with(json!({"source": "Generic"}))).await;
    world.hook("twice", with(json!({"targets": [{"type": "log"}, {"type": "log"}]}))).await;
    for name in ["unknown", "open", "twice"] {
        world.until(name, "InvalidSpec").await;
    }
    assert_eq!(world.push(KEY, "main").await, 202);

    // The path is free once its owner is gone.
    world.hooks().delete("first", &Default::default()).await.unwrap();
    world.until("second", "Serving").await;
    world.end().await;
}

/// Makes a kind that only its definition knows, and gives its API.
async fn kind(client: &Client, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap();
    let crd = serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "properties": {"spec":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]},
    }));
    cluster::crds::install(client, vec![crd.unwrap()]).await.unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), "apps", &resource)
}

#[tokio::test]
async fn flux_objects_are_found_and_annotated() {
    let world = World::new().await;
    let version = "source.toolkit.fluxcd.io/v1";
    let api = kind(&world.client, version, "GitRepository", "gitrepositories").await;
    for (name, url, branch, suspend) in [
        ("main", "https://code.example.com/team/app", "main", false),
        ("dev", "https://code.example.com/team/app", "dev", false),
        ("other", "https://code.example.com/team/other", "main", false),
        ("suspended", "https://code.example.com/team/app", "main", true),
    ] {
        let object = serde_json::from_value(json!({
            "apiVersion": version, "kind": "GitRepository", "metadata": {"name": name},
            "spec": {"url": url, "ref": {"branch": branch}, "suspend": suspend},
        }));
        api.create(&PostParams::default(), &object.unwrap()).await.unwrap();
    }
    world.secret("code", KEY).await;
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"},
        "delivery": {"ack": "downstream"}, "targets": [{"type": "flux-v2", "auto": true}]});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;

    let asked = async |name: &str| {
        let object = api.get(name).await.unwrap();
        let annotations = object.metadata.annotations.unwrap_or_default();
        annotations.get("reconcile.fluxcd.io/requestedAt").cloned()
    };
    assert_eq!(world.push(KEY, "main").await, 200);
    let first = asked("main").await.unwrap();
    for name in ["dev", "other", "suspended"] {
        assert_eq!(asked(name).await, None, "{name}");
    }
    assert_eq!(world.push(KEY, "dev").await, 200);
    assert!(asked("dev").await.is_some());
    assert_eq!(asked("main").await, Some(first));
    world.end().await;
}

#[tokio::test]
async fn what_waits_for_one_target_together_is_told_of_all() {
    let world = World::new().await;
    let version = "source.toolkit.fluxcd.io/v1";
    let api = kind(&world.client, version, "GitRepository", "gitrepositories").await;
    for name in ["main", "dev"] {
        let object = serde_json::from_value(json!({
            "apiVersion": version, "kind": "GitRepository", "metadata": {"name": name},
            "spec": {"url": "https://code.example.com/team/app", "ref": {"branch": name}},
        }));
        api.create(&PostParams::default(), &object.unwrap()).await.unwrap();
    }
    world.secret("code", KEY).await;
    let resources = json!([{"kind": "GitRepository", "name": "main"}]);
    let pushed = json!({"key": "example.com/pushed", "value": "{branch}"});
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"},
        "suspend": true, "buffer": true, "targets": [{"type": "flux-v2", "auto": true},
            {"type": "kubernetes", "resources": resources, "annotation": pushed}]});
    world.hook("code", spec).await;
    world.until("code", "Buffering").await;
    for branch in ["main", "dev", "main", "last"] {
        assert_eq!(world.push(KEY, branch).await, 202);
    }
    let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
    world.hooks().patch("code", &PatchParams::default(), &resume).await.unwrap();
    let has = async |name: &str, key: &str, value: &str| {
        let annotations = api.get(name).await.unwrap().metadata.annotations.unwrap_or_default();
        annotations.get(key).is_some_and(|known| value.is_empty() || known == value)
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    for (name, key, value) in [
        ("main", "reconcile.fluxcd.io/requestedAt", ""),
        ("dev", "reconcile.fluxcd.io/requestedAt", ""),
        ("main", "example.com/pushed", "last"),
    ] {
        while !has(name, key, value).await {
            assert!(tokio::time::Instant::now() < deadline, "{name} has no {key} {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    world.end().await;
}

#[tokio::test]
async fn expressions_choose_what_is_told() {
    let world = World::new().await;
    let (address, mut receiver) = downstream().await;
    world.secret("code", KEY).await;
    let mut spec = flux(address);
    spec["delivery"] = json!({"ack": "downstream"});
    spec["filter"] = json!({"cel":
        "event.branch == 'main' || event.branch.startsWith('release/') && req.missing == 1"});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "other").await, 200, "false: success, and nothing is told");
    assert_eq!(world.push(KEY, "main").await, 200);
    assert!(told(&mut receiver).await.contains(r#""Branch":"main""#));
    assert_eq!(world.push(KEY, "release/1").await, 500, "the expression fails");

    world.secret("cloud", OTHER).await;
    let mut spec = flux(address);
    (spec["source"], spec["secretRef"]) = ("GitLab".into(), json!({"name": "cloud"}));
    spec["delivery"] = json!({"ack": "downstream"});
    spec["filter"] = json!({"cel": "req.ref == 'refs/heads/main' && event.id == null \
        && event.deliveryId == 'd-1' && event.receivedAt.startsWith('20')"});
    world.hook("cloud", spec).await;
    world.until("cloud", "Serving").await;
    let headers =
        format!("X-Gitlab-Token: {OTHER}\r\nX-Gitlab-Event: Push Hook\r\nIdempotency-Key: d-1\r\n");
    let project = r#""project":{"git_ssh_url":"git@code.example.com:team/other.git"}"#;
    let body = format!(r#"{{"ref":"refs/heads/main",{project}}}}}"#);
    assert_eq!(world.post(OTHER, &headers, &body).await, 200, "what follows is ignored");
    assert!(told(&mut receiver).await.contains("team/other.git"));
    world.end().await;
}

#[tokio::test]
async fn workspaces_are_restarted_and_paused() {
    let world = World::new().await;
    let version = "kubeflow.org/v1beta1";
    let api = kind(&world.client, version, "Workspace", "workspaces").await;
    let object = json!({"apiVersion": version, "kind": "Workspace",
        "metadata": {"name": "notes"}, "spec": {"paused": false}});
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let pods = Api::<Pod>::namespaced(world.client.clone(), "apps");
    let pod = json!({"metadata": {"name": "notes-0",
        "labels": {"notebooks.kubeflow.org/workspace-name": "notes"}},
        "spec": {"containers": [{"name": "main", "image": "x"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();

    world.secret("code", KEY).await;
    let resources = json!([{"kind": "Workspace", "name": "notes"}]);
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"},
        "delivery": {"ack": "downstream"}, "targets": [
            {"type": "workspace", "action": "restart", "resources": resources,
                "filter": {"branches": ["restart"]}},
            {"name": "pause", "type": "workspace", "action": "pause", "resources": resources,
                "filter": {"branches": ["pause"]}}]});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "restart").await, 200);
    let pod = pods.get_opt("notes-0").await.unwrap();
    assert!(pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
    let paused = async || api.get("notes").await.unwrap().data["spec"]["paused"].clone();
    assert_eq!(paused().await, json!(false));
    assert_eq!(world.push(KEY, "pause").await, 200);
    assert_eq!(paused().await, json!(true));
    assert_eq!(world.push(KEY, "pause").await, 409, "what has side effects is not repeated");
    world.end().await;
}
