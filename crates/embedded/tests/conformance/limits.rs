//! LimitRange.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Kit, text};

/// A namespace with limits, and a kit for it.
async fn limited() -> Kit {
    let kit = Kit::new().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {
            "type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "min": {"cpu": "100m"},
            "default": {"cpu": "1"}, "defaultRequest": {"cpu": "200m"},
            "maxLimitRequestRatio": {"cpu": "10"},
        },
        {"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}, "min": {"storage": "1Gi"}},
        {"type": "Pod", "max": {"cpu": "3"}},
    ]}});
    let made = kit.post(&kit.path("limitranges"), range).await.ok();
    assert_eq!(made["spec"]["limits"][0]["default"], json!({"cpu": "1", "memory": "1Gi"}));
    // A real server learns of it a moment later.
    let probe =
        pod("probe", json!([{"name": "a", "image": "b", "resources": {"limits": {"cpu": "9"}}}]));
    kit.until_posted(&kit.path("pods?dryRun=All"), &probe, |answer| answer.code == 403).await;
    kit
}

fn pod(name: &str, containers: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "automountServiceAccountToken": false, "serviceAccountName": "default",
        "schedulerName": "nobody", "containers": containers,
    }})
}

fn container(requests: Value, limits: Value) -> Value {
    json!({"name": "a", "image": "b", "resources": {"requests": requests, "limits": limits}})
}

#[tokio::test]
async fn containers_get_what_they_do_not_ask_for() {
    let kit = limited().await;
    let mut object = pod(
        "p",
        json!([
            {"name": "a", "image": "b"},
            {"name": "c", "image": "b", "resources": {"limits": {"cpu": "500m"}}},
        ]),
    );
    object["spec"]["initContainers"] = json!([{"name": "i", "image": "b"}]);
    let made = kit.post(&kit.path("pods"), object).await.ok();
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(resources["requests"], json!({"cpu": "200m", "memory": "1Gi"}));
    assert_eq!(
        text(&made["metadata"]["annotations"]["kubernetes.io/limit-ranger"]),
        "LimitRanger plugin set: cpu, memory request for container a; cpu, memory limit for container a; memory request for container c; memory limit for container c; cpu, memory request for init container i; cpu, memory limit for init container i"
    );
}

#[rstest]
#[case::too_much(container(json!({}), json!({"cpu": "3"})), "[maximum cpu usage per Container is 2, but limit is 3")]
#[case::too_little(container(json!({"cpu": "50m"}), json!({"cpu": "500m"})), "minimum cpu usage per Container is 100m, but request is 50m")]
#[case::too_wide(container(json!({"cpu": "100m"}), json!({"cpu": "1500m"})), "cpu max limit to request ratio per Container is 10, but provided ratio is 15.000000")]
#[case::too_large(container(json!({}), json!({"memory": "2Gi"})), "maximum memory usage per Container is 1Gi, but limit is 2Gi")]
#[tokio::test]
async fn pods_that_break_a_limit(#[case] container: Value, #[case] problem: &str) {
    let kit = limited().await;
    let answer = kit.post(&kit.path("pods"), pod("p", json!([container]))).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    let problem = problem.trim_start_matches('[');
    assert!(
        message.starts_with("pods \"p\" is forbidden: ") && message.contains(problem),
        "{message}"
    );
}

#[tokio::test]
async fn containers_together_break_the_limit_of_a_pod() {
    let kit = limited().await;
    let mut other = container(json!({}), json!({"cpu": "2"}));
    other["name"] = json!("c");
    let both = json!([container(json!({}), json!({"cpu": "2"})), other]);
    let answer = kit.post(&kit.path("pods"), pod("p", both)).await;
    assert_eq!(
        answer.failure().2,
        "pods \"p\" is forbidden: maximum cpu usage per Pod is 3, but limit is 4"
    );
}

#[rstest]
#[case("3Gi", "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")]
#[case("1Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")]
#[case("1Gi", "")]
#[tokio::test]
async fn claims(#[case] size: &str, #[case] problem: &str) {
    let kit = limited().await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "x",
        "resources": {"requests": {"storage": size}},
    }});
    let answer = kit.post(&kit.path("persistentvolumeclaims?dryRun=All"), claim).await;
    if problem.is_empty() {
        assert_eq!(answer.code, 201, "{}", answer.text);
        return;
    }
    let whole = format!("persistentvolumeclaims \"c\" is forbidden: {problem}");
    assert_eq!(answer.failure(), (403, "Forbidden".to_owned(), whole));
}

#[rstest]
#[case::order(json!([{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "default": {"cpu": "3"}, "defaultRequest": {"cpu": "4"}, "maxLimitRequestRatio": {"cpu": "500m"}}]), 5)]
#[case::types(json!([{"type": "Container"}, {"type": "Container"}, {"type": "Foo"}, {"type": "PersistentVolumeClaim"}]), 3)]
#[case::pods_have_no_defaults(json!([{"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]), 2)]
#[case::names(json!([{"type": "Pod", "max": {"foo": "1", "storage": "1", "a b": "1"}}, {"type": "a/b", "max": {"foo": "1"}}]), 6)]
#[case::ratio(json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}]), 1)]
#[tokio::test]
async fn limits_that_break_a_rule(#[case] limits: Value, #[case] causes: usize) {
    let kit = Kit::new().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": limits}});
    let answer = kit.post(&kit.path("limitranges"), range).await;
    assert_eq!(answer.failure().0, 422);
    assert_eq!(answer.details()["causes"].as_array().unwrap().len(), causes, "{}", answer.text);
}

#[tokio::test]
async fn a_range_as_a_table_and_created_by_replace() {
    let kit = Kit::new().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": []}});
    let path = kit.path("limitranges/l");
    let made = kit.put(&path, range).await;
    assert_eq!(made.code, 201);
    assert_eq!(made.ok()["spec"]["limits"], Value::Null);
    let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let table = kit.send_accepting("GET", &path, accept);
    let table = kit.not_compared("columns are not described here", table).await.ok();
    assert_eq!(table["rows"][0]["cells"][0], "l");
}
