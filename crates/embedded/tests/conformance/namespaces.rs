//! The life of a namespace.

use serde_json::{Value, json};

use crate::kit::{Kit, Widgets, unique};

#[tokio::test]
async fn some_namespaces_always_exist() {
    let kit = Kit::new().await;
    for name in ["default", "kube-system"] {
        let namespace = kit.get(&format!("/api/v1/namespaces/{name}")).await.ok();
        assert_eq!(namespace["status"]["phase"], "Active");
        assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], name);
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    }
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_is_missing() {
    let kit = Kit::new().await;
    let name = unique("missing");
    let path = format!("/api/v1/namespaces/{name}/configmaps");
    let answer = kit.post(&path, json!({"metadata": {"name": "a"}})).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (404, "NotFound"));
    assert_eq!(message, format!("namespaces {name:?} not found"));
    assert_eq!(answer.details(), json!({"name": name, "kind": "namespaces"}));
    assert_eq!(kit.get(&path).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_and_goes() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    kit.config_map("a", json!({})).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    let path = format!("/api/v1/namespaces/{}", kit.namespace);
    let deleted = kit.delete(&path, json!(null)).await.ok();
    assert_eq!(deleted["kind"], "Namespace");
    assert_eq!(deleted["status"]["phase"], "Terminating");
    kit.until_gone(&path).await;
    assert_eq!(kit.get(&kit.path("configmaps/a")).await.code, 404);
    assert_eq!(kit.get(&widgets.path(&kit, "w")).await.code, 404);
    let again = json!({"metadata": {"name": kit.namespace}});
    kit.post("/api/v1/namespaces", again).await.ok();
    assert_eq!(kit.get(&widgets.path(&kit, "")).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_ends() {
    let kit = Kit::new().await;
    let held =
        kit.config_map("held", json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    let path = format!("/api/v1/namespaces/{}", kit.namespace);
    kit.delete(&path, json!(null)).await.ok();
    let answer = kit.post(&kit.path("configmaps"), json!({"metadata": {"name": "b"}})).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        format!(
            "configmaps \"b\" is forbidden: unable to create new content in namespace {0} because it is being terminated",
            kit.namespace
        )
    );
    assert_eq!(answer.details()["causes"][0]["reason"], "NamespaceTerminating");
    // What is there can still be changed, and the namespace waits for it.
    kit.until(&kit.path("configmaps/held"), |answer| {
        answer.json()["metadata"].get("deletionTimestamp").is_some()
    })
    .await;
    assert_eq!(kit.get(&path).await.ok()["status"]["phase"], "Terminating");
    assert_eq!(held["metadata"]["finalizers"][0], "example.com/hold");
    kit.merge(&kit.path("configmaps/held"), json!({"metadata": {"finalizers": Value::Null}}))
        .await
        .ok();
    kit.until_gone(&path).await;
}

#[tokio::test]
async fn a_namespace_of_a_bad_name() {
    let kit = Kit::new().await;
    let answer = kit.post("/api/v1/namespaces", json!({"metadata": {"name": "a.b"}})).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 422);
    assert!(
        message.contains("metadata.name: Invalid value: \"a.b\": must not contain dots"),
        "{message}"
    );
    let answer = kit.post("/api/v1/namespaces", json!({"metadata": {"name": "A"}})).await;
    let message = answer.failure().2;
    assert!(message.contains("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"), "{message}");
}
