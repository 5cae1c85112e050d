//! Garbage collection by owner references.

use serde_json::{Value, json};

use crate::kit::{Kit, Widgets};

fn reference(owner: &Value, kind: &str, blocks: bool) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": kind, "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": false, "blockOwnerDeletion": blocks,
    })
}

fn owned(owners: &[Value]) -> Value {
    json!({"metadata": {"ownerReferences": owners}})
}

async fn owner(kit: &Kit, name: &str) -> (Value, Value) {
    let made = kit.config_map(name, json!({})).await;
    let reference = reference(&made, "ConfigMap", true);
    (made, reference)
}

#[tokio::test]
async fn dependents_go_after_their_owner() {
    let kit = Kit::new().await;
    let (_, reference_to_a) = owner(&kit, "a").await;
    let b = kit.config_map("b", owned(&[reference_to_a])).await;
    kit.config_map("c", owned(&[reference(&b, "ConfigMap", true)])).await;
    kit.delete(&kit.path("configmaps/a"), json!(null)).await.ok();
    kit.until_gone(&kit.path("configmaps/b")).await;
    kit.until_gone(&kit.path("configmaps/c")).await;
}

#[tokio::test]
async fn a_dependent_with_another_owner_stays() {
    let kit = Kit::new().await;
    let (_, a) = owner(&kit, "a").await;
    let (_, b) = owner(&kit, "b").await;
    kit.config_map("c", owned(&[a, b.clone()])).await;
    kit.delete(&kit.path("configmaps/a"), json!(null)).await.ok();
    let left = kit
        .until(&kit.path("configmaps/c"), |answer| {
            answer.json()["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|all| all.len() == 1)
        })
        .await;
    assert_eq!(left.json()["metadata"]["ownerReferences"], json!([b]));
    kit.delete(&kit.path("configmaps/b"), json!(null)).await.ok();
    kit.until_gone(&kit.path("configmaps/c")).await;
}

#[tokio::test]
async fn orphans_are_freed() {
    let kit = Kit::new().await;
    let (_, a) = owner(&kit, "a").await;
    kit.config_map("b", owned(&[a])).await;
    kit.delete(&kit.path("configmaps/a"), json!({"propagationPolicy": "Orphan"})).await.ok();
    kit.until_gone(&kit.path("configmaps/a")).await;
    let freed = kit.get(&kit.path("configmaps/b")).await.ok();
    assert!(freed["metadata"].get("ownerReferences").is_none());
}

#[tokio::test]
async fn an_owner_in_the_foreground_waits_for_its_dependents() {
    let kit = Kit::new().await;
    let (_, a) = owner(&kit, "a").await;
    let mut extra = owned(&[a]);
    extra["metadata"]["finalizers"] = json!(["example.com/hold"]);
    kit.config_map("b", extra).await;
    let path = kit.path("configmaps/a");
    let deleted = kit.delete(&path, json!({"propagationPolicy": "Foreground"})).await.ok();
    assert_eq!(deleted["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    kit.until(&kit.path("configmaps/b"), |answer| {
        answer.json()["metadata"].get("deletionTimestamp").is_some()
    })
    .await;
    assert_eq!(kit.get(&path).await.code, 200);
    kit.merge(&kit.path("configmaps/b"), json!({"metadata": {"finalizers": null}})).await.ok();
    kit.until_gone(&path).await;
}

#[tokio::test]
async fn a_dependent_that_does_not_block_is_not_waited_for() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({})).await;
    let mut extra = owned(&[reference(&made, "ConfigMap", false)]);
    extra["metadata"]["finalizers"] = json!(["example.com/hold"]);
    kit.config_map("b", extra).await;
    kit.delete(&kit.path("configmaps/a"), json!({"propagationPolicy": "Foreground"})).await.ok();
    kit.until_gone(&kit.path("configmaps/a")).await;
    let begun =
        |answer: &crate::kit::Answer| answer.json()["metadata"].get("deletionTimestamp").is_some();
    kit.until(&kit.path("configmaps/b"), begun).await;
}

#[tokio::test]
async fn an_owner_that_never_was_is_an_owner_that_is_gone() {
    let kit = Kit::new().await;
    let (made, _) = owner(&kit, "a").await;
    let mut wrong_uid = reference(&made, "ConfigMap", false);
    wrong_uid["uid"] = "00000000-0000-0000-0000-000000000000".into();
    kit.config_map("b", owned(&[wrong_uid])).await;
    kit.until_gone(&kit.path("configmaps/b")).await;
    assert_eq!(kit.get(&kit.path("configmaps/a")).await.code, 200);
}

#[tokio::test]
async fn custom_resources_own_and_are_owned() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let made =
        kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    kit.config_map("a", owned(&[reference(&made, "Widget", true)])).await;
    let (_, b) = owner(&kit, "b").await;
    let mut widget = widgets.object("x", json!({"size": 1}));
    widget["metadata"]["ownerReferences"] = json!([b]);
    kit.post(&widgets.path(&kit, ""), widget).await.ok();
    kit.delete(&widgets.path(&kit, "w"), json!(null)).await.ok();
    kit.delete(&kit.path("configmaps/b"), json!(null)).await.ok();
    kit.until_gone(&kit.path("configmaps/a")).await;
    kit.until_gone(&widgets.path(&kit, "x")).await;
}

#[tokio::test]
async fn an_owner_of_an_unknown_kind_is_left_to_its_definition() {
    let kit = Kit::new().await;
    let (_, solid) = owner(&kit, "a").await;
    let unknown = json!({
        "apiVersion": "none.example.com/v1", "kind": "Nothing", "name": "n", "uid": "n",
    });
    kit.config_map("b", owned(&[unknown])).await;
    // What is surely collected comes after: by then the other one was looked at.
    kit.config_map("c", owned(&[solid])).await;
    kit.delete(&kit.path("configmaps/a"), json!(null)).await.ok();
    kit.until_gone(&kit.path("configmaps/c")).await;
    kit.get(&kit.path("configmaps/b")).await.ok();
}
