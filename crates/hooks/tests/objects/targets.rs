//! Targets that ask others than the cluster, or wait for what it does.

use std::time::Duration;

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::{KEY, World, receivers::definition};

/// A service that answers 200 to everything, and the heads of what it was asked.
async fn service() -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    continue;
                }
                break;
            }
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer).await;
            let _ = sender.send(String::from_utf8_lossy(&read).to_lowercase());
        }
    });
    (format!("http://{address}"), receiver)
}

/// Repositories as Flux has them.
async fn repositories(world: &World) -> Api<DynamicObject> {
    let kind = definition("source.toolkit.fluxcd.io", "GitRepository", "gitrepositories");
    cluster::crds::install(&world.client, [kind]).await.unwrap();
    let kind = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "GitRepository");
    Api::namespaced_with(world.client.clone(), "apps", &ApiResource::from_gvk(&kind))
}

/// Makes the repository `app`.
async fn make(repositories: &Api<DynamicObject>, annotations: Value) {
    let object = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "app", "annotations": annotations}, "spec": {}});
    let object = serde_json::from_value(object).unwrap();
    repositories.create(&PostParams::default(), &object).await.unwrap();
}

async fn asked(receiver: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(Duration::from_secs(60), receiver.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn services_get_the_trace_and_argo_cd_its_refresh() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let world = World::new().await;
    let (service_url, mut told) = service().await;
    let (argo_url, mut refreshed) = service().await;
    world.secret("code", KEY).await;
    let applications = json!([{"kind": "Application", "name": "shop"}]);
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"}, "targets": [
        {"type": "http", "url": service_url},
        {"type": "argocd", "url": format!("{argo_url}/cd"), "action": "hard",
            "secretRef": {"name": "code"}, "resources": applications}]});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    let trace = format!("traceparent: {TRACE}\r\n");
    assert_eq!(world.push_with(KEY, "main", &trace).await, 202);
    let head = asked(&mut told).await;
    assert!(head.contains(&format!("\r\n{trace}")), "{head}");
    let head = asked(&mut refreshed).await;
    assert!(head.starts_with("get /cd/api/v1/applications/shop?refresh=hard "), "{head}");
    assert!(head.contains(&format!("authorization: bearer {KEY}\r\n")), "{head}");
    world.end().await;
}

#[tokio::test]
async fn flux_is_waited_for_until_it_has_seen_the_request() {
    let world = World::new().await;
    let api = repositories(&world).await;
    make(&api, json!({})).await;
    world.secret("code", KEY).await;
    let resources = json!([{"kind": "GitRepository", "name": "app"}]);
    let wait = |name: &str, wait: &str| {
        json!({"name": name, "type": "flux-v2", "resources": resources, "waitHandled": wait,
            "filter": {"branches": [name]}})
    };
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"},
        "delivery": {"ack": "downstream", "inlineTimeout": "5m"},
        "targets": [wait("never", "300ms"), wait("main", "5m")]});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "never").await, 500, "nobody has seen it");

    let before = requested(&api).await;
    let flux = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let now = loop {
            let now = requested(&api).await;
            if now != before {
                break now;
            }
            assert!(tokio::time::Instant::now() < deadline, "it was not asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let seen = Patch::Merge(json!({"status": {"lastHandledReconcileAt": now}}));
        api.patch_status("app", &PatchParams::default(), &seen).await.unwrap();
    };
    let (status, ()) = tokio::join!(world.push(KEY, "main"), flux);
    assert_eq!(status, 200);
    world.end().await;
}

#[tokio::test]
async fn a_repeat_goes_on_where_the_first_request_failed() {
    let world = World::new().await;
    let api = repositories(&world).await;
    let (url, mut told) = service().await;
    world.secret("code", KEY).await;
    let resources = json!([{"kind": "GitRepository", "name": "app"}]);
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"},
        "delivery": {"ack": "downstream"}, "targets": [
            {"type": "http", "url": url}, {"type": "flux-v2", "resources": resources}]});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "main").await, 500, "there is no such object");
    asked(&mut told).await;
    make(&api, json!({})).await;
    assert_eq!(world.push(KEY, "main").await, 200);
    assert!(requested(&api).await.is_some());
    assert!(told.try_recv().is_err(), "it was told before");
    assert_eq!(world.push(KEY, "main").await, 409);
    world.end().await;
}

#[tokio::test]
async fn requests_never_move_backwards() {
    const FUTURE: &str = "2999-01-01T00:00:00Z";
    let world = World::new().await;
    let api = repositories(&world).await;
    make(&api, json!({"reconcile.fluxcd.io/requestedAt": FUTURE})).await;
    let seen = Patch::Merge(json!({"status": {"lastHandledReconcileAt": FUTURE}}));
    api.patch_status("app", &PatchParams::default(), &seen).await.unwrap();
    world.secret("code", KEY).await;
    let resources = json!([{"kind": "GitRepository", "name": "app"}]);
    let spec = json!({"source": "GitHub", "secretRef": {"name": "code"},
        "delivery": {"ack": "downstream"},
        "targets": [{"type": "flux-v2", "resources": resources, "waitHandled": "300ms"}]});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "main").await, 500, "what was seen was asked before");
    let value = requested(&api).await.unwrap();
    assert!(value.starts_with("2999-01-01T00:00:00.0000000"), "{value}");
    world.end().await;
}

async fn requested(api: &Api<DynamicObject>) -> Option<String> {
    let annotations = api.get("app").await.unwrap().metadata.annotations.unwrap_or_default();
    annotations.get("reconcile.fluxcd.io/requestedAt").cloned()
}
