//! What of a core object may not change, with the difference that the server shows.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::Kit;

const OF_POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const OF_CLAIM: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

async fn pod(kit: &Kit) -> String {
    let pod = json!({"metadata": {"name": "a"}, "spec": {
        "automountServiceAccountToken": false, "activeDeadlineSeconds": 100,
        "serviceAccountName": "default", "schedulerName": "nobody",
        "volumes": [{"name": "v", "configMap": {"name": "x", "items": [{"key": "a", "path": "b"}]}}],
        "initContainers": [{"name": "i", "image": "b"}],
        "containers": [{
            "name": "c", "image": "b", "command": ["x"], "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "readinessProbe": {"httpGet": {"port": 80}},
        }],
    }});
    kit.post(&kit.path("pods"), pod).await.ok();
    kit.path("pods/a")
}

async fn claim(kit: &Kit) -> String {
    let claim = json!({"metadata": {"name": "a"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "x",
        "resources": {"requests": {"storage": "1Gi"}},
    }});
    kit.post(&kit.path("persistentvolumeclaims"), claim).await.ok();
    kit.path("persistentvolumeclaims/a")
}

fn set(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

#[rstest]
#[case::command(set("/spec/containers/0/command/0", json!("y")), "    \"Name\": \"c\",\n    \"Image\": \"b\",\n    \"Command\": [\n+    \"y\",\n     \"x\"\n    ],\n    \"Args\": null,\n")]
#[case::several(json!([set("/spec/volumes/0/configMap/name", json!("y")), set("/spec/containers/0/readinessProbe/httpGet/port", json!("http"))]), "")]
#[case::limits(set("/spec/containers/0/resources/limits", json!({"cpu": "1"})), "")]
#[case::volume(set("/spec/volumes/-", json!({"name": "w", "emptyDir": {}})), "")]
#[case::grace(set("/spec/terminationGracePeriodSeconds", json!(1)), "")]
#[case::restarts(set("/spec/restartPolicy", json!("Never")), "")]
#[tokio::test]
async fn of_a_pod(#[case] patch: Value, #[case] difference: &str) {
    let kit = Kit::new().await;
    let path = pod(&kit).await;
    let patch = if patch.is_array() { patch } else { json!([patch]) };
    let (code, reason, message) = kit.json_patch(&path, patch).await.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    let begin = format!("Pod \"a\" is invalid: spec: Forbidden: {OF_POD}\n@@ -");
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.contains(difference), "{message}");
}

#[rstest]
#[case::node(set("/spec/nodeName", json!("n")), "spec: Forbidden: pod updates may not change")]
#[case::more_containers(set("/spec/containers/-", json!({"name": "d", "image": "b"})), "spec.containers: Forbidden: pod updates may not add or remove containers")]
#[case::later_deadline(set("/spec/activeDeadlineSeconds", json!(200)), "spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value")]
#[case::no_deadline(json!({"op": "remove", "path": "/spec/activeDeadlineSeconds"}), "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value")]
#[case::new_gate(set("/spec/schedulingGates", json!([{"name": "a/b"}])), "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a/b'")]
#[tokio::test]
async fn of_a_pod_without_difference(#[case] patch: Value, #[case] problem: &str) {
    let kit = Kit::new().await;
    let path = pod(&kit).await;
    let (code, _, message) = kit.json_patch(&path, json!([patch])).await.failure();
    assert_eq!(code, 422);
    let begin = format!("Pod \"a\" is invalid: {problem}");
    assert!(message.starts_with(&begin), "{message}");
}

#[tokio::test]
async fn images_and_deadlines_of_a_pod_may_change() {
    let kit = Kit::new().await;
    let path = pod(&kit).await;
    let patch = json!([
        set("/spec/containers/0/image", json!("c")),
        set("/spec/activeDeadlineSeconds", json!(50)),
    ]);
    let changed = kit.json_patch(&path, patch).await.ok();
    assert_eq!(changed["spec"]["containers"][0]["image"], "c");
    assert_eq!(changed["spec"]["activeDeadlineSeconds"], 50);
}

#[rstest]
#[case::size(set("/spec/resources/requests/storage", json!("2Gi")), "@@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"1Gi\"\n+   \"storage\": \"2Gi\"\n   }\n  },\n  \"VolumeName\": \"\",\n")]
#[case::smaller(set("/spec/resources/requests/storage", json!("1Mi")), "@@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"1Gi\"\n+   \"storage\": \"1Mi\"\n   }\n  },\n  \"VolumeName\": \"\",\n")]
#[case::modes(set("/spec/accessModes", json!(["ReadOnlyMany"])), "@@ -1,6 +1,6 @@\n {\n  \"AccessModes\": [\n-  \"ReadWriteOnce\"\n+  \"ReadOnlyMany\"\n  ],\n  \"Selector\": null,\n  \"Resources\": {\n")]
#[case::class(set("/spec/storageClassName", json!("y")), "@@ -10,7 +10,7 @@\n   }\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \"x\",\n+ \"StorageClassName\": \"y\",\n  \"VolumeMode\": \"Filesystem\",\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n")]
#[case::sources(json!([set("/spec/selector", json!({"matchLabels": {"a": "b"}})), set("/spec/dataSource", json!({"kind": "PersistentVolumeClaim", "name": "d"}))]), "+ \"DataSourceRef\": {\n+  \"APIGroup\": null,\n+  \"Kind\": \"PersistentVolumeClaim\",\n+  \"Name\": \"d\",\n+  \"Namespace\": null\n+ },\n  \"VolumeAttributesClassName\": null\n }\n")]
#[tokio::test]
async fn of_a_claim(#[case] patch: Value, #[case] difference: &str) {
    let kit = Kit::new().await;
    let path = claim(&kit).await;
    let patch = if patch.is_array() { patch } else { json!([patch]) };
    let (code, _, message) = kit.json_patch(&path, patch).await.failure();
    assert_eq!(code, 422);
    let begin =
        format!("PersistentVolumeClaim \"a\" is invalid: spec: Forbidden: {OF_CLAIM}\n@@ -");
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.contains(difference), "{message}");
}

#[tokio::test]
async fn a_claim_is_bound_once() {
    let kit = Kit::new().await;
    let path = claim(&kit).await;
    let name = |name: &str| json!({"spec": {"volumeName": name}});
    kit.merge(&path, name("v")).await.ok();
    assert_eq!(kit.merge(&path, name("w")).await.code, 422);
}

#[rstest]
#[case("configmaps", json!({}))]
#[case("secrets", json!({}))]
#[case("services", json!({"spec": {"ports": [{"port": 80}]}}))]
#[case("serviceaccounts", json!({}))]
#[case("resourcequotas", json!({}))]
#[case("persistentvolumeclaims", json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}))]
#[case("/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles", json!({}))]
#[case("/apis/coordination.k8s.io/v1/namespaces/NS/leases", json!({}))]
#[tokio::test]
async fn metadata_is_looked_at_once_more(#[case] resource: &str, #[case] object: Value) {
    let kit = Kit::new().await;
    let path = match resource.starts_with('/') {
        true => resource.replace("NS", &kit.namespace),
        false => kit.path(resource),
    };
    let mut made = object;
    made["metadata"] = json!({"name": "a"});
    kit.post(&path, made).await.ok();
    let patch = json!({"metadata": {
        "labels": {"a b": "c d"}, "annotations": {"a b": "c"}, "finalizers": ["x"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "b", "uid": ""}],
    }});
    let answer = kit.merge(&format!("{path}/a"), patch).await;
    assert_eq!(answer.failure().0, 422);
    let causes = answer.details()["causes"].clone();
    let of = |field: &str| {
        let all = causes.as_array().unwrap().iter();
        all.filter(|cause| cause["field"] == field).count()
    };
    assert!(of("metadata.annotations") >= 3, "{causes}");
}

#[rstest]
#[case::unknown_resource("GET", "/apis/batch/v1/foos", 404, "NotFound")]
#[case::unknown_version("GET", "/apis/batch/v2/jobs", 404, "NotFound")]
#[case::core_resource("GET", "/api/v1/foos", 404, "NotFound")]
#[tokio::test]
async fn built_in_groups_answer_with_a_status(
    #[case] method: &str,
    #[case] path: &str,
    #[case] code: u16,
    #[case] reason: &str,
) {
    let kit = Kit::new().await;
    let answer = kit.send(method, path, "", "").await;
    let message = "the server could not find the requested resource".to_owned();
    assert_eq!(answer.failure(), (code, reason.to_owned(), message));
}

#[tokio::test]
async fn other_groups_answer_with_a_page() {
    let kit = Kit::new().await;
    let widgets = crate::kit::Widgets::install(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("a", json!({"size": 1}))).await.ok();
    let group = format!("/apis/{}", widgets.group);
    let page = |path: String| {
        let kit = &kit;
        async move {
            let answer = kit.get(&path).await;
            assert_eq!(
                (answer.code, answer.text.as_str()),
                (404, "404 page not found\n"),
                "{path}"
            );
        }
    };
    page("/apis/nobody.example.com/v1/things".into()).await;
    page(format!("{group}/v1/foos")).await;
    page(format!("{group}/v2/widgets")).await;
    page(format!("{group}/v1/widgets/a")).await;
    let answer =
        kit.post(&format!("{group}/v1/widgets"), widgets.object("b", json!({"size": 1}))).await;
    assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"));
    let answer = kit.get(&format!("{}/foo", widgets.path(&kit, "a"))).await;
    assert_eq!(answer.failure().2, format!("widgets.{} \"a\" not found", widgets.group));
}

#[tokio::test]
async fn a_pod_that_goes_is_told_of_twice() {
    let kit = Kit::new().await;
    pod(&kit).await;
    let mut watch = kit.watch(&kit.path("pods")).await;
    assert_eq!(watch.next_name().await.0, "ADDED");
    let gone = kit.delete(&kit.path("pods/a"), Value::Null).await.ok();
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(gone["metadata"]["generation"], 2);
    assert_eq!(watch.next_name().await.0, "MODIFIED");
    assert_eq!(watch.next_name().await.0, "DELETED");
}

#[tokio::test]
async fn a_binding_is_for_one_pod() {
    let kit = Kit::new().await;
    let path = format!("{}/binding", pod(&kit).await);
    let uid = "00000000-0000-0000-0000-000000000001";
    let binding = json!({"metadata": {"name": "a", "uid": uid}, "target": {"name": "n"}});
    let answer = kit.post(&path, binding).await;
    assert_eq!(answer.failure().0, 409);
}

#[tokio::test]
async fn an_immutable_secret_keeps_its_data() {
    let kit = Kit::new().await;
    let secret = json!({"metadata": {"name": "a"}, "immutable": true, "data": {"k": "dg=="}});
    kit.post(&kit.path("secrets"), secret).await.ok();
    let patch = json!({"data": {"k": "dw=="}});
    let answer = kit.merge(&kit.path("secrets/a"), patch).await;
    assert_eq!(
        answer.failure().2,
        "Secret \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
    );
}
