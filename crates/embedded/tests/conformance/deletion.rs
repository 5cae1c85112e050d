//! Deletion: answers, preconditions, finalizers, grace.

use serde_json::{Value, json};

use crate::kit::{Kit, Widgets, text};

#[tokio::test]
async fn a_deletion_answers_with_a_status() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({})).await;
    let deleted = kit.delete(&kit.path("configmaps/a"), json!(null)).await.ok();
    assert_eq!(
        deleted,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]},
        })
    );
    assert_eq!(kit.delete(&kit.path("configmaps/a"), json!(null)).await.failure().0, 404);
    let widgets = Widgets::install(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    let deleted = kit.delete(&widgets.path(&kit, "w"), json!(null)).await.ok();
    assert_eq!(deleted["details"]["group"], widgets.group);
}

#[tokio::test]
async fn some_kinds_answer_with_the_object() {
    let kit = Kit::new().await;
    kit.post(&kit.path("serviceaccounts"), json!({"metadata": {"name": "s"}})).await.ok();
    let deleted = kit.delete(&kit.path("serviceaccounts/s"), json!(null)).await.ok();
    assert_eq!(
        (&deleted["kind"], &deleted["metadata"]["name"]),
        (&json!("ServiceAccount"), &json!("s"))
    );
}

#[tokio::test]
async fn preconditions() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({})).await;
    let path = kit.path("configmaps/a");
    let options = json!({"preconditions": {"uid": "other"}});
    let answer = kit.delete(&path, options).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    let uid = text(&made["metadata"]["uid"]);
    assert!(message.ends_with(&format!("the UID in the precondition (other) does not match the UID in record ({uid}). The object might have been deleted and then recreated")), "{message}");
    let options = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(kit.delete(&path, options).await.failure().1, "Conflict");
    let options = json!({"preconditions": {
        "uid": uid, "resourceVersion": made["metadata"]["resourceVersion"],
    }});
    kit.delete(&path, options).await.ok();
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let mut widget = widgets.object("w", json!({"size": 1}));
    widget["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    kit.post(&widgets.path(&kit, ""), widget).await.ok();
    let path = widgets.path(&kit, "w");
    let deleted = kit.delete(&path, json!(null)).await.ok();
    assert_eq!(deleted["kind"], "Widget");
    let metadata = &deleted["metadata"];
    assert!(text(&metadata["deletionTimestamp"]).ends_with('Z'));
    assert_eq!(metadata["deletionGracePeriodSeconds"], 0);
    assert_eq!(metadata["generation"], 2);
    let again = kit.delete(&path, json!(null)).await.ok();
    assert_eq!(again["metadata"]["resourceVersion"], metadata["resourceVersion"]);

    let patch = json!({"metadata": {"finalizers": ["example.com/a", "example.com/c"]}});
    let (code, _, message) = kit.merge(&path, patch).await.failure();
    assert_eq!(code, 422);
    assert!(message.contains("metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/c\"}"), "{message}");

    let patch = json!({"metadata": {"finalizers": ["example.com/a"]}});
    let left = kit.merge(&path, patch).await.ok();
    assert_eq!(left["metadata"]["finalizers"], json!(["example.com/a"]));
    let last = kit.merge(&path, json!({"metadata": {"finalizers": Value::Null}})).await.ok();
    assert_eq!(last["metadata"]["name"], "w");
    assert_eq!(kit.get(&path).await.code, 404);
}

fn pod(name: &str, node: &str, grace: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"schedulerName": "nobody",
            "containers": [{"name": "c", "image": "i"}],
            "nodeName": node, "terminationGracePeriodSeconds": grace,
        },
    })
}

#[tokio::test]
async fn a_pod_that_runs_gets_its_grace() {
    let kit = Kit::new().await;
    kit.post(&kit.path("pods"), pod("p", "n1", json!(40))).await.ok();
    let path = kit.path("pods/p");
    let deleted = kit.delete(&path, json!(null)).await.ok();
    assert_eq!(deleted["kind"], "Pod");
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 40);
    let end: jiff::Timestamp = text(&deleted["metadata"]["deletionTimestamp"]).parse().unwrap();
    assert!(end > jiff::Timestamp::now(), "the time stamp is when the grace ends");

    // Longer, or the same again: nothing changes. Shorter: it does.
    let same = kit.delete(&path, json!({"gracePeriodSeconds": 60})).await.ok();
    assert_eq!(same["metadata"]["resourceVersion"], deleted["metadata"]["resourceVersion"]);
    let shorter = kit.delete(&path, json!({"gracePeriodSeconds": 20})).await.ok();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 20);
    let sooner: jiff::Timestamp = text(&shorter["metadata"]["deletionTimestamp"]).parse().unwrap();
    assert!(sooner < end);

    kit.delete(&path, json!({"gracePeriodSeconds": 0})).await.ok();
    assert_eq!(kit.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_pod_without_a_node_goes_at_once() {
    let kit = Kit::new().await;
    kit.post(&kit.path("pods"), pod("p", "", json!(40))).await.ok();
    kit.delete(&kit.path("pods/p"), json!(null)).await.ok();
    assert_eq!(kit.get(&kit.path("pods/p")).await.code, 404);
}

#[tokio::test]
async fn a_pod_that_ended_goes_at_once() {
    let kit = Kit::new().await;
    kit.post(&kit.path("pods"), pod("p", "n1", json!(40))).await.ok();
    kit.merge(&kit.path("pods/p/status"), json!({"status": {"phase": "Succeeded"}})).await.ok();
    kit.delete(&kit.path("pods/p"), json!(null)).await.ok();
    assert_eq!(kit.get(&kit.path("pods/p")).await.code, 404);
}

#[tokio::test]
async fn options_that_make_no_sense() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({})).await;
    let path = kit.path("configmaps/a");
    for (options, code) in [
        (json!({"propagationPolicy": "Sideways"}), 422),
        (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), 422),
        (json!({"gracePeriodSeconds": "x"}), 500),
        (json!({"preconditions": {"uid": 1}}), 500),
        (json!([]), 500),
    ] {
        let answer = kit.delete(&path, options.clone()).await;
        assert_eq!(answer.code, code, "{options} {}", answer.text);
    }
    kit.get(&path).await.ok();
}
