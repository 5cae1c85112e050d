//! JSON patches and merge patches.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Kit, Widgets};

#[tokio::test]
async fn a_merge_patch_changes_adds_and_removes() {
    let kit = Kit::new().await;
    let extra = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "data": {"k": "v", "l": "w"}});
    kit.config_map("a", extra).await;
    let patch =
        json!({"metadata": {"labels": {"a": null, "c": "3"}}, "data": {"k": "x", "l": null}});
    let patched = kit.merge(&kit.path("configmaps/a"), patch.clone()).await.ok();
    assert_eq!(patched["metadata"]["labels"], json!({"b": "2", "c": "3"}));
    assert_eq!(patched["data"], json!({"k": "x"}));
    let again = kit.merge(&kit.path("configmaps/a"), patch).await.ok();
    assert_eq!(again, patched, "a patch that changes nothing keeps the revision");
}

#[tokio::test]
async fn a_patch_can_demand_a_revision() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({})).await;
    let patch = json!({"metadata": {"resourceVersion": "1"}, "data": {"k": "v"}});
    let (code, reason, _) = kit.merge(&kit.path("configmaps/a"), patch).await.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
}

#[tokio::test]
async fn a_json_patch_does_its_operations_in_order() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"data": {"k": "v"}, "metadata": {"annotations": {"m.io/n": "o"}}}))
        .await;
    let patch = json!([
        {"op": "test", "path": "/data/k", "value": "v"},
        {"op": "replace", "path": "/data/k", "value": "w"},
        {"op": "add", "path": "/data/l", "value": "x"},
        {"op": "copy", "from": "/data/l", "path": "/data/c"},
        {"op": "move", "from": "/metadata/annotations/m.io~1n", "path": "/data/moved"},
        {"op": "remove", "path": "/data/l"},
    ]);
    let patched = kit.json_patch(&kit.path("configmaps/a"), patch).await.ok();
    assert_eq!(patched["data"], json!({"k": "w", "c": "x", "moved": "o"}));
}

#[rstest]
#[case::test(json!([{"op": "test", "path": "/data/k", "value": "other"}]))]
#[case::test_of_missing(json!([{"op": "test", "path": "/data/none", "value": "v"}]))]
#[case::remove_of_missing(json!([{"op": "remove", "path": "/data/none"}]))]
#[case::replace_in_missing(json!([{"op": "replace", "path": "/none/k", "value": "v"}]))]
#[case::into_missing(json!([{"op": "add", "path": "/none/k", "value": "v"}]))]
#[tokio::test]
async fn a_json_patch_that_does_not_fit(#[case] patch: Value) {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({"data": {"k": "v"}})).await;
    let answer = kit.json_patch(&kit.path("configmaps/a"), patch).await;
    assert_eq!(
        answer.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "the server rejected our request due to an error in our request",
            "reason": "Invalid", "details": {}, "code": 422,
        })
    );
    assert_eq!(kit.get(&kit.path("configmaps/a")).await.ok(), made);
}

#[tokio::test]
async fn an_unknown_operation() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({})).await;
    let patch = json!([{"op": "leap", "path": "/a"}]);
    let answer = kit.json_patch(&kit.path("configmaps/a"), patch).await;
    let message = "the server rejected our request due to an error in our request";
    assert_eq!(answer.failure(), (422, "Invalid".into(), message.into()));
}

#[tokio::test]
async fn replace_adds_a_member_that_is_missing() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"data": {"k": "v"}})).await;
    let patch = json!([{"op": "replace", "path": "/data/none", "value": "w"}]);
    let patched = kit.json_patch(&kit.path("configmaps/a"), patch).await.ok();
    assert_eq!(patched["data"], json!({"k": "v", "none": "w"}));
}

#[rstest]
#[case::merge_text("application/merge-patch+json", "x")]
#[case::merge_list("application/merge-patch+json", "[]")]
#[case::json_text("application/json-patch+json", "x")]
#[case::json_object("application/json-patch+json", "{}")]
#[tokio::test]
async fn patches_that_cannot_be_read(#[case] media_type: &str, #[case] body: &str) {
    let kit = Kit::new().await;
    kit.config_map("a", json!({})).await;
    let answer = kit.send("PATCH", &kit.path("configmaps/a"), media_type, body).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (400, "BadRequest"), "{message}");
}

#[tokio::test]
async fn a_patch_that_breaks_the_object() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    let path = widgets.path(&kit, "w");
    let answer = kit.merge(&path, json!({"spec": {"size": 0}})).await;
    assert_eq!(answer.failure().1, "Invalid");
    assert_eq!(answer.details()["causes"][0]["field"], "spec.size");
    let answer = kit.json_patch(&path, json!([{"op": "remove", "path": "/metadata"}])).await;
    assert!(matches!(answer.code, 400 | 422), "{}", answer.text);
    let answer = kit.merge(&path, json!({"metadata": {"name": "other"}})).await;
    assert!(matches!(answer.code, 400 | 422), "{}", answer.text);
}

#[tokio::test]
async fn the_status_is_patched_by_itself() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    let patch = json!({"status": {"ready": true}, "spec": {"size": 5}});
    let patched = kit.merge(&widgets.path(&kit, "w/status"), patch.clone()).await.ok();
    assert_eq!((&patched["status"]["ready"], &patched["spec"]["size"]), (&json!(true), &json!(1)));
    let patch = json!([
        {"op": "test", "path": "/status/ready", "value": true},
        {"op": "replace", "path": "/status/ready", "value": false},
    ]);
    let patched = kit.json_patch(&widgets.path(&kit, "w/status"), patch).await.ok();
    assert_eq!(patched["status"]["ready"], false);
    let wrong = json!({"status": {"ready": "yes"}});
    assert_eq!(kit.merge(&widgets.path(&kit, "w/status"), wrong).await.failure().0, 422);
}

#[tokio::test]
async fn strategic_merge_of_a_custom_resource() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    let media_type = "application/strategic-merge-patch+json";
    let answer = kit.send("PATCH", &widgets.path(&kit, "w"), media_type, "{}").await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"));
    assert!(message.starts_with("the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json"), "{message}");
}
