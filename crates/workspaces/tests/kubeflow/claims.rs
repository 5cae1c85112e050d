//! Claims and storage classes: what they show, when a claim may go.

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use k8s_openapi::api::{core::v1::Pod, storage::v1::StorageClass};
use serde_json::{Value, json};

use crate::{
    harness::{Server, request, seen, workspace},
    record::Record,
};

const ALL: &str = "/api/v1/persistentvolumeclaims/team-a";

fn claim(name: &str) -> Value {
    json!({"data": {
        "name": name,
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "standard",
        "requests": {"storage": "1024Mi"},
    }})
}

#[tokio::test]
async fn a_claim_that_is_used_stays_unless_it_is_forced() {
    let server = Server::start().await;
    let answer = server.post(ALL, &claim("data")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    // A quantity is shown in the form of Kubernetes.
    assert_eq!(answer.json()["data"]["requests"]["storage"], json!("1Gi"));
    let mut user = workspace("user");
    user["data"]["paused"] = json!(true);
    let mount = json!({"pvcName": "data", "mountPath": "/data"});
    user["data"]["podTemplate"]["volumes"] = json!({"home": "data", "data": [mount]});
    let answer = server.post("/api/v1/workspaces/team-a", &user).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    let pod = server
        .make::<Pod>(
            Some("team-a"),
            json!({
                "metadata": {"name": "foreign"},
                "spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "x"}],
                    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
                },
            }),
        )
        .await;
    seen(&server.caches.pods, &pod).await;
    let mut said = Record::default();
    let one = format!("{ALL}/data");
    said.add("list", &server.get(ALL).await);
    said.add("delete", &server.delete(&one).await);
    said.add("not a boolean", &server.delete(&format!("{one}?force=please")).await);
    said.add("not a name", &server.delete(&format!("{ALL}/A_b")).await);
    said.add("a stranger lists", &stranger(&server, Method::GET, ALL, None).await);
    said.add("a stranger makes", &stranger(&server, Method::POST, ALL, Some(claim("c"))).await);
    said.add("a stranger deletes", &stranger(&server, Method::DELETE, &one, None).await);
    said.add("forced", &server.delete(&format!("{one}?force=true")).await);
    assert_snapshot!("claim_in_use", said.text());
}

async fn stranger(
    server: &Server,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> crate::harness::Answer {
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    let request = request(method, path).header(header::CONTENT_TYPE, "application/json");
    let mut request = request.body(body).unwrap();
    let stranger = web::Identity { user: "eve".into(), groups: Vec::new() };
    request.extensions_mut().insert(stranger);
    server.send_as_is(request).await
}

#[tokio::test]
async fn storage_classes_say_what_they_can_do() {
    let server = Server::start().await;
    let fast = json!({
        "metadata": {
            "name": "fast",
            "labels": {"notebooks.kubeflow.org/can-use": "True"},
            "annotations": {
                "notebooks.kubeflow.org/description": "Fast disks",
                "storageclass.kubernetes.io/is-default-class": "true",
            },
        },
        "provisioner": "disks.example.org",
        "allowVolumeExpansion": true,
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    let fast = server.make::<StorageClass>(None, fast).await;
    seen(&server.caches.storage_classes, &fast).await;
    let path = "/api/v1/storageclasses";
    let mut said = Record::default();
    said.add("all", &server.get(path).await);
    said.add("not a namespace", &server.get(&format!("{path}?namespace=A")).await);
    said.add_stranger(&server, Method::GET, path).await;
    assert_snapshot!("storage_classes_whole", said.text());
    let tag = server.get(path).await.header(header::ETAG).to_owned();
    let known = request(Method::GET, path).header(header::IF_NONE_MATCH, tag);
    let answer = server.send(known.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::NOT_MODIFIED, ""));
}
