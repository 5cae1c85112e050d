//! `Receiver` objects of Flux in a cluster: what the notification-controller would do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hooks::{
    decide::{digest::hex, signature::Algorithm},
    receivers::{Options, Receiver, ReceiverStatus, Server},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use testcluster::TestCluster;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The path of the contract's example: token `t0ken`, name `demo`, namespace `apps`.
const DEMO: &str = "/hook/a2c563fd6fb7a6c8439701456e6886027436cbe605a9bd066eb2ceef4843995a";
const TOKEN: &str = "t0ken";
const PUSH: &str = r#"{"ref":"refs/heads/main","repository":{"name":"app"}}"#;

struct World {
    client: Client,
    server: Server,
    options: Options,
    _journal: TempDir,
    // The last to go.
    _cluster: TestCluster,
}

/// A kind that only its definition knows.
pub(crate) fn definition(group: &str, kind: &str, plural: &str) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}}, "schema": {"openAPIV3Schema":
                    {"type": "object", "properties": {"spec": any, "status": any}}}}]},
    })
}

impl World {
    async fn new(own_namespace_only: bool) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let cluster = TestCluster::open().await;
        let client = cluster.client();
        let definitions = [
            definition("notification.toolkit.fluxcd.io", "Receiver", "receivers"),
            definition("source.toolkit.fluxcd.io", "GitRepository", "gitrepositories"),
        ];
        cluster::crds::install(&client, definitions).await.unwrap();
        for name in ["apps", "other"] {
            cluster.make_namespace(name).await;
        }
        let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        options.own_namespace_only = own_namespace_only;
        options.rules.resync = Duration::from_millis(50);
        let journal = tempfile::tempdir().unwrap();
        options.directory = Some(journal.path().to_owned());
        let server = Server::start(client.clone(), options.clone()).await.unwrap();
        Self { client, server, options, _journal: journal, _cluster: cluster }
    }

    /// Ends the server and starts another with its journal.
    async fn restart(self) -> Self {
        let Self { client, server, options, .. } = self;
        server.stop().await;
        let options = Options { meters: Arc::default(), ..options };
        let server = Server::start(client.clone(), options.clone()).await.unwrap();
        Self { client, server, options, ..self }
    }

    /// What is counted, as Prometheus reads it.
    fn counts(&self) -> String {
        let mut registry = Registry::default();
        hooks::admin::register(vec![Arc::clone(self.server.receiver())], &mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    fn receivers(&self) -> Api<Receiver> {
        Api::namespaced(self.client.clone(), "apps")
    }

    fn repositories(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "GitRepository");
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk(&kind))
    }

    async fn repository(&self, namespace: &str, name: &str) {
        let object = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": name, "labels": {"app": name}}, "spec": {"suspend": false}});
        let object = serde_json::from_value(object).unwrap();
        self.repositories(namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    async fn asked(&self, namespace: &str, name: &str) -> Option<String> {
        let object = self.repositories(namespace).get(name).await.unwrap();
        let annotations = object.metadata.annotations.unwrap_or_default();
        annotations.get("reconcile.fluxcd.io/requestedAt").cloned()
    }

    async fn secret(&self) {
        let secret = json!({"metadata": {"name": "token"}, "stringData": {"token": TOKEN}});
        let secret = serde_json::from_value(secret).unwrap();
        let secrets = Api::<Secret>::namespaced(self.client.clone(), "apps");
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }

    async fn receiver(&self, change: Value) {
        let mut spec = json!({"type": "github", "secretRef": {"name": "token"},
            "events": ["push"], "interval": "10m",
            "resources": [{"kind": "GitRepository", "name": "app"}]});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let receiver = json!({"apiVersion": "notification.toolkit.fluxcd.io/v1",
            "kind": "Receiver", "metadata": {"name": "demo"}, "spec": spec});
        let receiver = serde_json::from_value(receiver).unwrap();
        self.receivers().create(&PostParams::default(), &receiver).await.unwrap();
    }

    async fn change(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.receivers().patch("demo", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn when(&self, what: &str, met: impl Fn(&ReceiverStatus) -> bool) -> ReceiverStatus {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.receivers().get("demo").await.unwrap().status.unwrap_or_default();
            if met(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "not {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a condition has this reason.
    async fn until(&self, kind: &str, reason: &str) -> ReceiverStatus {
        self.when(reason, |status| {
            status.conditions.iter().any(|one| one.type_ == kind && one.reason == reason)
        })
        .await
    }

    /// Waits until the answer to a signed push is this one.
    async fn answers(&self, status: u16) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.push(DEMO, TOKEN).await;
            if answer == (status, String::new()) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not {status} but {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn push(&self, path: &str, key: &str) -> (u16, String) {
        let mac = hex(&Algorithm::Sha256.hmac(key.as_bytes(), &[PUSH.as_bytes()]));
        let signature = format!("X-Hub-Signature-256: sha256={mac}\r\n");
        self.send("POST", path, &signature, PUSH.as_bytes()).await
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-GitHub-Event: push\r\n\
             Content-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // Who refuses by the length alone does not read it.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn end(self) {
        self.server.stop().await;
    }
}

#[tokio::test]
async fn objects_are_asked_as_the_controller_asks() {
    let world = World::new(false).await;
    world.repository("apps", "app").await;
    world.receiver(json!({})).await;
    let status = world.until("Ready", "TokenNotFound").await;
    assert_eq!(status.webhook_path, None);
    world.until("Reconciling", "ProgressingWithRetry").await;
    assert_eq!(world.push(DEMO, TOKEN).await.0, 404);

    world.secret().await;
    let status = world.until("Ready", "Succeeded").await;
    assert_eq!(status.webhook_path.as_deref(), Some(DEMO));
    assert_eq!(status.conditions.len(), 1);
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(world.push(DEMO, TOKEN).await, (200, String::new()));
    let first = world.asked("apps", "app").await.unwrap();
    assert_eq!(world.push(&format!("{DEMO}?a=b"), TOKEN).await.0, 200, "queries do not matter");
    let second = world.asked("apps", "app").await.unwrap();
    assert!(second > first, "{first} {second}");

    // Every refusal, without a word, changes nothing.
    let good = hex(&Algorithm::Sha256.hmac(TOKEN.as_bytes(), &[PUSH.as_bytes()]));
    let release = format!("X-Hub-Signature-256: sha256={good}\r\nX-GitHub-Event: release\r\n");
    assert_eq!(world.push(DEMO, "other").await, (400, String::new()));
    assert_eq!(world.send("POST", DEMO, &release, PUSH.as_bytes()).await, (400, String::new()));
    assert_eq!(world.send("GET", DEMO, "", b"").await, (405, String::new()));
    assert_eq!(world.push("/hook/other", TOKEN).await, (404, String::new()));
    let long = vec![b' '; (3 << 20) + 1];
    assert_eq!(world.send("POST", "/hook/other", "", &long).await, (413, String::new()));
    assert_eq!(world.asked("apps", "app").await, Some(second));

    // Somebody's clock is fast: what is asked is later all the same.
    let future = json!({"reconcile.fluxcd.io/requestedAt": "2999-01-01T00:00:00Z"});
    let future = Patch::Merge(json!({"metadata": {"annotations": future}}));
    let repositories = world.repositories("apps");
    repositories.patch("app", &PatchParams::default(), &future).await.unwrap();
    world.answers(200).await;
    let value = world.asked("apps", "app").await.unwrap();
    assert!(value.starts_with("2999-01-01T00:00:00.0000000"), "{value}");

    world.change(json!({"spec": {"suspend": true}})).await;
    world.answers(503).await;
    world.change(json!({"spec": {"suspend": false}})).await;
    world.answers(200).await;
    let annotations = json!({"reconcile.fluxcd.io/requestedAt": "now"});
    world.change(json!({"metadata": {"annotations": annotations}})).await;
    world.when("handled", |one| one.last_handled_reconcile_at.as_deref() == Some("now")).await;

    world.change(json!({"metadata": {"finalizers": ["finalizers.fluxcd.io"]}})).await;
    world.receivers().delete("demo", &Default::default()).await.unwrap();
    world.answers(404).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while world.receivers().get_opt("demo").await.unwrap().is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it is still held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn labels_and_filters_choose() {
    let world = World::new(false).await;
    for name in ["app", "web"] {
        world.repository("apps", name).await;
    }
    world.repository("other", "far").await;
    world.secret().await;
    let all =
        |label: &str| json!({"kind": "GitRepository", "name": "*", "matchLabels": {"app": label}});
    let filtered = json!({"kind": "GitRepository", "name": "web",
        "filter": "req.repository.name == res.metadata.name"});
    let far = json!({"kind": "GitRepository", "name": "far", "namespace": "other"});
    world.receiver(json!({"resources": [all("app"), all("nobody"), filtered, far]})).await;
    world.answers(200).await;
    assert!(world.asked("apps", "app").await.is_some());
    assert!(world.asked("other", "far").await.is_some());
    assert_eq!(world.asked("apps", "web").await, None, "its filter says no");

    // One that is missing is a failure; the others are asked all the same.
    let missing = json!({"kind": "GitRepository", "name": "missing"});
    let web = json!({"kind": "GitRepository", "name": "web"});
    world.change(json!({"spec": {"resources": [missing, web]}})).await;
    world.answers(500).await;
    assert!(world.asked("apps", "web").await.is_some());

    // A filter needs JSON to look at.
    let web = json!({"kind": "GitRepository", "name": "web", "filter": "req.x == 1"});
    world.change(json!({"spec": {"type": "generic", "resources": [web]}})).await;
    world.answers(500).await;
    assert_eq!(world.send("POST", DEMO, "", b"{}").await.0, 500, "there is no x");
    assert_eq!(world.send("POST", DEMO, "", br#"{"x":2}"#).await.0, 200);

    world.change(json!({"spec": {"resourceFilter": "req.x ="}})).await;
    let status = world.until("Stalled", "InvalidCELExpression").await;
    assert_eq!(status.conditions.len(), 2);
    world.answers(503).await;
    world.end().await;
}

#[tokio::test]
async fn other_namespaces_can_be_out_of_reach() {
    let world = World::new(true).await;
    world.repository("apps", "app").await;
    world.repository("other", "far").await;
    world.secret().await;
    let near = json!({"kind": "GitRepository", "name": "app"});
    let far = json!({"kind": "GitRepository", "name": "far", "namespace": "other"});
    world.receiver(json!({"resources": [far, near]})).await;
    world.answers(500).await;
    assert!(world.asked("apps", "app").await.is_some());
    assert_eq!(world.asked("other", "far").await, None);
    world.end().await;
}

#[tokio::test]
async fn what_could_not_be_asked_is_asked_again() {
    let world = World::new(false).await;
    world.secret().await;
    world.repository("apps", "web").await;
    let missing = json!({"kind": "GitRepository", "name": "app",
        "filter": "req.repository.name == res.metadata.name"});
    let there = json!({"kind": "GitRepository", "name": "web"});
    world.receiver(json!({"resources": [missing, there]})).await;
    world.answers(500).await;
    assert!(world.asked("apps", "web").await.is_some(), "the others are asked all the same");
    let counts = world.counts();
    let target = r#"target="Receiver apps/demo: GitRepository apps/"#;
    for line in [
        r#"hook_requests_total{endpoint="Receiver apps/demo",source="Receiver",code="500"} 1"#,
        &format!(r#"hook_notifications_total{{{target}app",result="refused"}} 1"#),
        &format!(r#"hook_notifications_total{{{target}web",result="delivered"}} 1"#),
        &format!(r#"hook_queue_depth{{{target}app"}} 1"#),
    ] {
        assert!(counts.contains(line), "no {line} in {counts}");
    }

    // It is made; nobody sends anything again, and the one who has it in mind is another.
    world.repository("apps", "app").await;
    let world = world.restart().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    while world.asked("apps", "app").await.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "it is not asked: {}", world.counts());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}
