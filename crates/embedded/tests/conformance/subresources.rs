//! Parts of objects that are written by themselves: binding, eviction, scale, finalizers of
//! namespaces; and bodies in YAML.

use serde_json::{Value, json};

use crate::kit::{Kit, Widgets, text, unique};

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}})
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

#[tokio::test]
async fn a_pod_is_bound_to_a_node_once() {
    let kit = Kit::new().await;
    // Another scheduler's pod, so that nobody else binds it.
    let mut object = pod("p");
    object["spec"]["schedulerName"] = "nobody".into();
    kit.post(&kit.path("pods"), object).await.ok();
    let path = kit.path("pods/p/binding");
    let binding =
        |name: &str| json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    let (code, _, message) = kit.post(&path, binding("q")).await.failure();
    assert_eq!(
        (code, message.as_str()),
        (400, "name in URL does not match name in Binding object")
    );
    let answer = kit.post(&path, binding("p")).await;
    assert_eq!((answer.code, answer.json()), (201, success()));
    assert_eq!(kit.get(&kit.path("pods/p")).await.ok()["spec"]["nodeName"], "n");
    let answer = kit.post(&path, binding("p")).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\""
    );
    assert_eq!(answer.details(), json!({"name": "p", "kind": "pods/binding"}));
}

#[tokio::test]
async fn an_eviction_deletes_a_pod() {
    let kit = Kit::new().await;
    let mut object = pod("p");
    object["spec"]["schedulerName"] = "nobody".into();
    kit.post(&kit.path("pods"), object).await.ok();
    let path = kit.path("pods/p/eviction");
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let (code, _, message) = kit.post(&path, eviction("q")).await.failure();
    assert_eq!(
        (code, message.as_str()),
        (400, "name in URL does not match name in Eviction object")
    );
    let answer = kit.post(&path, eviction("p")).await;
    assert_eq!((answer.code, answer.json()), (201, success()));
    kit.until_gone(&kit.path("pods/p")).await;
}

#[tokio::test]
async fn replicas_of_a_set_are_scaled() {
    let kit = Kit::new().await;
    let path = kit.group_path("apps/v1", "statefulsets");
    let set = json!({"metadata": {"name": "s"}, "spec": {
        "replicas": 0, "serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    kit.post(&path, set).await.ok();
    let scale = kit.get(&format!("{path}/s/scale")).await.ok();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(scale["status"], json!({"replicas": 0, "selector": "a=b"}));
    assert_eq!(scale["spec"], json!({}));
    let patch = json!({"spec": {"replicas": -1}});
    let (code, _, message) = kit.merge(&format!("{path}/s/scale"), patch).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "Scale.autoscaling \"s\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
}

#[tokio::test]
async fn a_custom_resource_is_scaled_where_its_definition_says() {
    let kit = Kit::new().await;
    let widgets = Widgets::new();
    let mut definition = widgets.json();
    definition["spec"]["versions"][0]["subresources"]["scale"] =
        json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"});
    kit.post(crate::kit::DEFINITIONS, definition).await.ok();
    widgets.established(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 2}))).await.ok();
    let path = format!("{}/scale", widgets.path(&kit, "w"));
    let mut scale = kit.get(&path).await.ok();
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    scale["spec"]["replicas"] = 3.into();
    kit.put(&path, scale).await.ok();
    assert_eq!(kit.get(&widgets.path(&kit, "w")).await.ok()["spec"]["size"], 3);
}

#[tokio::test]
async fn a_namespace_keeps_its_finalizers_unless_they_are_finalized() {
    let kit = Kit::new().await;
    let name = unique("finalized");
    let namespace =
        json!({"metadata": {"name": name}, "spec": {"finalizers": ["example.com/own"]}});
    let made = kit.post("/api/v1/namespaces", namespace).await.ok();
    assert_eq!(made["spec"]["finalizers"], json!(["example.com/own", "kubernetes"]));
    let path = format!("/api/v1/namespaces/{name}");
    let patch = json!({"spec": {"finalizers": []}, "metadata": {"labels": {"a": "b"}}});
    let patched = kit.merge(&path, patch).await.ok();
    assert_eq!(patched["spec"]["finalizers"], json!(["example.com/own", "kubernetes"]));
    assert_eq!(patched["metadata"]["labels"]["kubernetes.io/metadata.name"], json!(name));
    let mut finalized = kit.get(&path).await.ok();
    finalized["spec"]["finalizers"] = json!(["kubernetes"]);
    let finalized = kit.put(&format!("{path}/finalize"), finalized).await.ok();
    assert_eq!(finalized["spec"]["finalizers"], json!(["kubernetes"]));
    kit.delete(&path, Value::Null).await.ok();
    kit.until_gone(&path).await;
}

#[tokio::test]
async fn a_body_may_be_yaml() {
    let kit = Kit::new().await;
    let body = "metadata:\n  name: yaml\n  labels: {a: b}\ndata:\n  k: v\n";
    let made = kit.send("POST", &kit.path("configmaps"), "application/yaml", body).await.ok();
    assert_eq!(made["data"], json!({"k": "v"}));
    assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
}

#[tokio::test]
async fn repeated_and_unknown_fields_are_warned_of() {
    let kit = Kit::new().await;
    let body = "{\"metadata\":{\"name\":\"a\"},\"data\":{\"x\":\"1\",\"x\":\"2\"},\"foo\":1}";
    let answer = kit.send("POST", &kit.path("configmaps"), "application/json", body).await;
    let warnings: Vec<String> = answer
        .headers
        .get_all("warning")
        .iter()
        .map(|one| one.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        warnings,
        ["299 - \"duplicate field \\\"data.x\\\"\"", "299 - \"unknown field \\\"foo\\\"\""]
    );
    assert_eq!(answer.ok()["data"]["x"], "2");
}

#[tokio::test]
async fn quantities_are_written_in_one_form() {
    let kit = Kit::new().await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {
        "storageClassName": "nobody", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1024Mi"}},
    }});
    let made = kit.post(&kit.path("persistentvolumeclaims"), claim).await.ok();
    assert_eq!(text(&made["spec"]["resources"]["requests"]["storage"]), "1Gi");
}
