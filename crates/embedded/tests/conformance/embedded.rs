//! Objects inside of custom resources, and answers in YAML.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{DEFINITIONS, Kit, Widgets};

/// Widgets that hold a `pod` of any form, a `tight` object, and a `list` of objects.
async fn install(kit: &Kit) -> Widgets {
    let widgets = Widgets::new();
    let any = json!({
        "type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true,
    });
    let mut definition = widgets.json();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({
        "type": "object", "properties": {
            "pod": any, "list": {"type": "array", "items": any},
            "tight": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                "spec": {"type": "object", "properties": {"a": {"type": "string", "default": "b"}}},
            }},
        },
    });
    kit.post(DEFINITIONS, definition).await.ok();
    widgets.established(kit).await;
    widgets
}

#[tokio::test]
async fn metadata_inside_is_pruned() {
    let kit = Kit::new().await;
    let widgets = install(&kit).await;
    let object = widgets.object("a", json!({
        "pod": {
            "apiVersion": "v1", "kind": "Pod", "spec": {"q": 1},
            "metadata": {"name": "x", "foo": "bar", "labels": {"a": "b"}, "creationTimestamp": null},
        },
        "tight": {"apiVersion": "v1", "kind": "X", "spec": {"b": "c"}, "extra": 1},
        "list": [{"apiVersion": "v1", "kind": "X", "metadata": {"foo": 1, "name": "y"}}],
    }));
    let path = widgets.path(&kit, "");
    let made = kit.post(&path, object.clone()).await.ok();
    assert_eq!(made["spec"]["pod"]["metadata"], json!({"name": "x", "labels": {"a": "b"}}));
    assert_eq!(made["spec"]["tight"], json!({"apiVersion": "v1", "kind": "X", "spec": {"a": "b"}}));
    assert_eq!(made["spec"]["list"][0]["metadata"], json!({"name": "y"}));
    let strict = kit.post(&format!("{path}?fieldValidation=Strict"), object).await;
    let message = strict.failure().2;
    assert!(message.contains("unknown field \"spec.pod.metadata.foo\""), "{message}");
}

#[rstest]
#[case::no_kind(json!({"pod": {"metadata": {}}}), "spec.pod.kind: Required value")]
#[case::names(json!({"pod": {"apiVersion": "v1", "kind": "P", "metadata": {"name": "A/b", "labels": {"a b": "c d"}, "finalizers": ["a/b/c"], "namespace": "X_"}}}), "spec.pod.metadata.labels")]
#[case::forms(json!({"pod": {"apiVersion": "a/b/c", "kind": "_x"}}), "spec.pod.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c")]
#[case::empty(json!({"list": [{"kind": "", "apiVersion": "", "metadata": {"generateName": "a/"}}]}), "spec.list[0].kind: Invalid value: \"\": must not be empty")]
#[tokio::test]
async fn objects_inside_that_break_a_rule(#[case] spec: Value, #[case] problem: &str) {
    let kit = Kit::new().await;
    let widgets = install(&kit).await;
    let answer = kit.post(&widgets.path(&kit, ""), widgets.object("a", spec)).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 422);
    assert!(message.contains(problem), "{message}");
}

#[rstest]
#[case::number(json!({"pod": {"apiVersion": 1, "kind": "X"}}))]
#[case::label(json!({"pod": {"apiVersion": "v1", "kind": "X", "metadata": {"labels": {"a": 1}}}}))]
#[case::text(json!({"pod": {"apiVersion": "v1", "kind": "X", "metadata": "x"}}))]
#[tokio::test]
async fn objects_inside_that_cannot_be_read(#[case] spec: Value) {
    let kit = Kit::new().await;
    let widgets = install(&kit).await;
    let answer = kit.post(&widgets.path(&kit, ""), widgets.object("a", spec)).await;
    assert!((400..500).contains(&answer.code), "{}", answer.text);
}

#[tokio::test]
async fn answers_may_be_in_yaml() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"data": {"k": "v: w", "n": "1"}})).await;
    for (path, code) in
        [("configmaps/a", 200), ("configmaps?labelSelector=x", 200), ("configmaps/b", 404)]
    {
        let path = kit.path(path);
        let yaml = kit.not_compared(
            "how YAML is written",
            kit.send_accepting("GET", &path, "application/yaml"),
        );
        let yaml = yaml.await;
        assert_eq!(
            (yaml.code, yaml.headers["content-type"].to_str().unwrap()),
            (code, "application/yaml")
        );
        let read: Value = serde_saphyr::from_str(&yaml.text).unwrap();
        let mut plain = kit.not_compared("the same in JSON", kit.get(&path)).await.json();
        let mut read = read;
        for value in [&mut plain, &mut read] {
            json_patch::merge(value, &json!({"metadata": {"resourceVersion": null}}));
        }
        assert_eq!(read, plain);
    }
    let path = kit.path("configmaps/a");
    let first = kit.send_accepting("GET", &path, "application/json, application/yaml").await;
    assert_eq!(first.headers["content-type"], "application/json");
}
