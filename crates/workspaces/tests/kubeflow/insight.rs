//! What is seen of a workspace from outside: events, resources, and the quotas of its namespace.

use http::Method;
use insta::assert_snapshot;
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Event, PersistentVolumeClaim, Pod, ResourceQuota},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    harness::{Fault, SOON, Server, seen, workspace},
    record::Record,
};

const EVENTS: &str = "/api/v1/workspaces/team-a/lab/podtemplate/events";
const RESOURCES: &str = "/api/v1/workspaces/team-a/lab/podtemplate/resources";
const METRICS: &str = "metrics.k8s.io/v1beta1";
const QUOTAS: &str = "/api/v1/quotas/team-a";

fn of_lab() -> Value {
    json!({"notebooks.kubeflow.org/workspace-name": "lab"})
}

fn pod() -> Value {
    let resources = json!({"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}});
    json!({
        "metadata": {"name": "ws-lab-abcde-0", "labels": of_lab()},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [
                {"name": "main", "image": "lab:1", "resources": resources},
                {"name": "side", "image": "side:1"},
            ],
        },
    })
}

fn event(name: &str, (kind, about): (&str, &str), minute: u32, more: Value) -> Value {
    let at = format!("2026-08-01T10:{minute:02}:00Z");
    let mut event = json!({
        "metadata": {"name": name},
        "involvedObject": {"kind": kind, "name": about, "namespace": "team-a"},
        "type": "Warning",
        "reason": "Happened",
        "message": format!("{name} happened"),
        "count": 2,
        "firstTimestamp": "2026-08-01T09:00:00Z",
        "lastTimestamp": at,
    });
    json_patch::merge(&mut event, &more);
    event
}

#[tokio::test]
async fn events_of_all_parts_newest_first() {
    let server = Server::start().await;
    // Its volume is somebody else's business, so that nobody says anything about it.
    let claim = json!({
        "metadata": {"name": "home", "labels": {"notebooks.kubeflow.org/can-mount": "true"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "volumeName": "elsewhere",
        },
    });
    server.make::<PersistentVolumeClaim>(Some("team-a"), claim).await;
    let mut lab = workspace("lab");
    lab["data"]["podTemplate"]["volumes"] = json!({"home": "home"});
    let answer = server.post("/api/v1/workspaces/team-a", &lab).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.show());
    assert_eq!(server.get(EVENTS).await.text(), r#"{"data":[]}"#);
    let set = json!({
        "metadata": {"name": "ws-lab-abcde", "labels": of_lab()},
        "spec": {
            "serviceName": "",
            "replicas": 0,
            "selector": {"matchLabels": {"statefulset": "lab"}},
            "template": {
                "metadata": {"labels": {"statefulset": "lab"}},
                "spec": {"containers": [{"name": "main", "image": "lab:1"}]},
            },
        },
    });
    server.make::<StatefulSet>(Some("team-a"), set).await;
    let new_style = json!({
        "count": null, "firstTimestamp": null, "lastTimestamp": null,
        "eventTime": "2026-08-01T10:20:00.000000Z", "reportingComponent": "test",
        "reportingInstance": "test", "action": "Try",
        "series": {"count": 7, "lastObservedTime": "2026-08-01T10:25:00.000000Z"},
    });
    for event in [
        event("claim", ("PersistentVolumeClaim", "home"), 1, json!({})),
        event("set", ("StatefulSet", "ws-lab-abcde"), 30, json!({})),
        event("pod", ("Pod", "ws-lab-abcde-0"), 10, json!({"type": "Normal"})),
        event("workspace", ("Workspace", "lab"), 5, json!({})),
        event("new-style", ("Pod", "ws-lab-abcde-0"), 0, new_style),
        event("other-claim", ("PersistentVolumeClaim", "other"), 40, json!({})),
        event("other-pod", ("Pod", "ws-lab-x-abcde-0"), 40, json!({})),
        event("same-name", ("Secret", "lab"), 40, json!({})),
    ] {
        server.make::<Event>(Some("team-a"), event).await;
    }
    let mut said = Record::default();
    said.add("all", &server.get(EVENTS).await);
    said.add("the newest", &server.get(&format!("{EVENTS}?limit=1")).await);
    said.add("no number", &server.get(&format!("{EVENTS}?limit=0")).await);
    said.add("no workspace", &server.get(&EVENTS.replace("lab", "none")).await);
    said.add("not a name", &server.get(&EVENTS.replace("lab", "A_b")).await);
    said.add_stranger(&server, Method::GET, EVENTS).await;
    let forbidden = Fault::Status(403, "Forbidden");
    server.faults.set(Method::GET, forbidden);
    said.add("no right of the server's", &server.get(EVENTS).await);
    assert_snapshot!("events", said.text());
}

#[tokio::test]
async fn without_a_metrics_api_it_is_said() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let mut said = Record::default();
    said.add("no metrics API", &server.get(RESOURCES).await);
    said.add("no workspace", &server.get(&RESOURCES.replace("lab", "none")).await);
    said.add("not a name", &server.get(&RESOURCES.replace("lab", "A_b")).await);
    said.add_stranger(&server, Method::GET, RESOURCES).await;
    assert_snapshot!("resources_unknown", said.text());
}

#[tokio::test]
async fn what_is_measured_is_shown() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let metrics = make_metrics_api(&server).await;
    let mut said = Record::default();
    said.add("no pod", &server.get(RESOURCES).await);
    let pod = server.make::<Pod>(Some("team-a"), pod()).await;
    seen(&server.caches.pods, &pod).await;
    said.add("no sample", &server.get(RESOURCES).await);
    let sample = json!({
        "apiVersion": METRICS,
        "kind": "PodMetrics",
        "metadata": {"name": "ws-lab-abcde-0", "namespace": "team-a", "labels": of_lab()},
        "timestamp": "2026-08-01T10:00:00Z",
        "window": "15s",
        "containers": [
            {"name": "main", "usage": {"cpu": "120m", "memory": "300Mi"}},
            {"name": "gone", "usage": {"cpu": "1"}},
        ],
    });
    metrics.create(&PostParams::default(), &sample.into()).await.unwrap();
    said.add("a sample", &server.get(RESOURCES).await);
    server.faults.set(Method::GET, Fault::Status(503, "ServiceUnavailable"));
    said.add("metrics API away", &server.get(RESOURCES).await);
    assert_snapshot!("resources", said.text());
    let definitions: Api<CustomResourceDefinition> = Api::all(server.client.clone());
    definitions.delete("pods.metrics.k8s.io", &DeleteParams::default()).await.unwrap();
    let gone = async {
        while server.client.list_api_group_resources(METRICS).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

/// Stands in for the extension that serves samples: to a client it looks the same.
async fn make_metrics_api(server: &Server) -> Api<cluster::Object> {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {
            "name": "pods.metrics.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/metrics"},
        },
        "spec": {
            "group": "metrics.k8s.io",
            "scope": "Namespaced",
            "names": {"plural": "pods", "kind": "PodMetrics", "listKind": "PodMetricsList"},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    });
    server.make::<CustomResourceDefinition>(None, definition).await;
    let resource = ApiResource {
        group: "metrics.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: METRICS.to_owned(),
        kind: "PodMetrics".to_owned(),
        plural: "pods".to_owned(),
    };
    let api: Api<cluster::Object> =
        Api::namespaced_with(server.client.clone(), "team-a", &resource);
    let served = async {
        while server.client.list_api_group_resources(METRICS).await.is_err()
            || api.list(&Default::default()).await.is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, served).await.unwrap();
    api
}

#[tokio::test]
async fn quotas_of_a_namespace() {
    let server = Server::start().await;
    let mut said = Record::default();
    said.add("none", &server.get(QUOTAS).await);
    let quota = json!({
        "metadata": {"name": "small"},
        "spec": {"hard": {"requests.cpu": "2", "persistentvolumeclaims": "3"}},
    });
    server.make::<ResourceQuota>(Some("team-a"), quota).await;
    let counted = async {
        while server.get(QUOTAS).await.json()["data"][0]["used"] == json!({}) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, counted).await.unwrap();
    said.add("one", &server.get(QUOTAS).await);
    said.add("not a namespace", &server.get("/api/v1/quotas/Team").await);
    said.add_stranger(&server, Method::GET, QUOTAS).await;
    server.faults.set(Method::GET, Fault::Status(403, "Forbidden"));
    said.add("no right of the server's", &server.get(QUOTAS).await);
    assert_snapshot!("quotas", said.text());
}
