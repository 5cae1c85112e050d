//! Every route as a client meets it, whole answers snapshotted.

use http::StatusCode;
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use serde_json::json;
use workspaces::{dialect::kubeflow::Options, model::WorkspaceKind};

use crate::harness::{Server, kind, workspace};

#[tokio::test]
async fn health_user_and_namespaces() {
    let server = Server::start().await;
    assert_snapshot!("healthcheck", server.get("/api/v1/healthcheck").await.show());
    assert_snapshot!("user", server.get("/api/v1/user").await.show());
    assert_snapshot!("namespaces", server.get("/api/v1/namespaces").await.show());
    assert_snapshot!(
        "storage_classes",
        server.get("/api/v1/storageclasses?namespace=team-a").await.show()
    );
}

#[tokio::test]
async fn a_workspace_from_its_creation_to_its_end() {
    let server = Server::start().await;
    let claim = json!({"data": {
        "name": "home",
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "standard",
        "requests": {"storage": "1Gi"},
    }});
    let path = "/api/v1/persistentvolumeclaims/team-a";
    assert_snapshot!("claim_created", server.post(path, &claim).await.show());
    let mut new = workspace("lab-1");
    new["data"]["displayName"] = json!("Data lab");
    new["data"]["deferUpdates"] = json!(true);
    new["data"]["podTemplate"]["podMetadata"] = json!({"labels": {"a": "b"}});
    new["data"]["podTemplate"]["volumes"] = json!({"home": "home", "data": [{"pvcName": "home", "mountPath": "/data", "readOnly": true}]});
    let path = "/api/v1/workspaces/team-a";
    assert_snapshot!("workspace_created", server.post(path, &new).await.show());
    assert_snapshot!("workspace_list_new", server.get(path).await.show());
    assert_snapshot!("claims", server.get("/api/v1/persistentvolumeclaims/team-a").await.show());
    server.set_status("lab-1", running()).await;
    assert_snapshot!("workspace_list_running", server.get("/api/v1/workspaces").await.show());
    let path = "/api/v1/workspaces/team-a/lab-1";
    assert_snapshot!("workspace", server.get(path).await.show());
    let details = server.get(&format!("{path}/podtemplate/details")).await;
    assert_snapshot!("workspace_details", details.show());
    assert_snapshot!("workspace_deleted", server.delete(path).await.show());
    assert_snapshot!("workspace_gone", server.get(path).await.show());
    assert_eq!(server.get("/api/v1/workspaces").await.text(), r#"{"data":[]}"#);
    let claim = "/api/v1/persistentvolumeclaims/team-a/home";
    assert_eq!(server.delete(claim).await.status, StatusCode::NO_CONTENT);
}

/// A status as the controller writes it: the chosen image redirects elsewhere.
pub(crate) fn running() -> serde_json::Value {
    json!({
        "state": "Running",
        "stateMessage": "Workspace is running",
        "lastRunningTime": 1_700_000_000_000_i64,
        "pendingRestart": true,
        "podTemplateOptions": {
            "imageConfig": {
                "desired": "lab_1",
                "redirectChain": [{"source": "lab_0", "target": "lab_1"}],
            },
        },
        "podTemplatePod": {
            "name": "ws-lab-1-x-0",
            "nodeName": "local",
            "containers": [{"name": "main"}],
        },
        "activity": {
            "lastActivity": 1_700_000_001_000_i64,
            "lastUpdate": 1_700_000_002_000_i64,
            "lastProbe": {
                "startTime": 1_700_000_001_500_i64,
                "endTime": 1_700_000_002_000_i64,
                "result": "Success",
                "message": "Jupyter probe succeeded",
            },
            "rules": {"pauseWorkspace": {"eligibleAfter": 1_700_007_201_000_i64}},
        },
    })
}

#[tokio::test]
async fn pause_and_start_only_from_the_right_state() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let path = "/api/v1/workspaces/team-a/lab/actions/pause";
    let (pause, start) = (json!({"data": {"paused": true}}), json!({"data": {"paused": false}}));
    assert_snapshot!("start_what_runs", server.post(path, &start).await.show());
    assert_snapshot!("paused", server.post(path, &pause).await.show());
    let answer = server.get("/api/v1/workspaces").await;
    assert_eq!(answer.json()["data"][0]["paused"], json!(true));
    assert_snapshot!("paused_twice", server.post(path, &pause).await.show());
    server.set_status("lab", json!({"state": "Terminating"})).await;
    assert_snapshot!("start_while_it_ends", server.post(path, &start).await.show());
    server.set_status("lab", json!({"state": "Paused"})).await;
    let answer = server.post(path, &json!({"data": {}})).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, r#"{"data":{"paused":false}}"#));
    let missing = "/api/v1/workspaces/team-a/none/actions/pause";
    assert_eq!(server.post(missing, &pause).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_kind_from_its_creation_to_its_end() {
    let server = Server::start().await;
    let yaml = r#"
apiVersion: kubeflow.org/v1beta1
kind: WorkspaceKind
metadata:
  name: tiny
  uid: forged
  finalizers: [forged]
  labels: {a: b}
  annotations:
    c: d
    notebooks.kubeflow.org/updated-at: "2000-01-01T00:00:00Z"
spec:
  spawner:
    displayName: Tiny
    description: Smallest of all
    icon: {url: icon}
    logo: {url: logo}
  podTemplate:
    volumeMounts: {home: /home/user}
    ports: [{id: web, protocol: HTTP, defaultDisplayName: Web}]
    options:
      imageConfig:
        spawner: {default: one}
        values:
        - {id: one, spawner: {displayName: One}, spec: {image: "one:1", ports: [{id: web, port: 80}]}}
      podConfig:
        spawner: {default: small}
        values: [{id: small, spawner: {displayName: Small}, spec: {}}]
status: {workspaces: 7}
"#;
    let answer = server.post_text("/api/v1/workspacekinds", "application/yaml", yaml).await;
    assert_snapshot!("kind_created", answer.show());
    let stored = server.caches.kinds.get(None, "tiny").unwrap();
    assert_eq!(stored.metadata.finalizers, None);
    assert_eq!(
        serde_json::to_value(&stored.metadata.annotations).unwrap(),
        json!({
            "c": "d",
            "notebooks.kubeflow.org/created-by": "local",
            "notebooks.kubeflow.org/updated-by": "local",
        })
    );
    assert_snapshot!("kinds", server.get("/api/v1/workspacekinds").await.show());
    assert_snapshot!("kind", server.get("/api/v1/workspacekinds/lab").await.show());
    let again = server.post_text("/api/v1/workspacekinds", "text/yaml", yaml).await;
    assert_snapshot!("kind_exists", again.show());
    let path = "/api/v1/workspacekinds/tiny";
    assert_eq!(server.delete(path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_kind_in_use_stays() {
    let server = Server::start().await;
    server.make_workspace("one").await;
    server.make_workspace("two").await;
    assert_snapshot!("kind_in_use", server.delete("/api/v1/workspacekinds/lab").await.show());
}

#[tokio::test]
async fn filter_rules_hide_and_deny() {
    let server = Server::start().await;
    let mut strict = kind("strict");
    strict["spec"]["filterRules"] = json!([
        {
            "scope": "IMAGE_CONFIG",
            "effect": {"api": {"deny": true, "denyMessage": {"text": "too new"}}},
            "match": [{"matchImageConfig": {"selector": {"matchLabels": {"python": "3.13"}}}}],
        },
        {
            "scope": "WORKSPACE_KIND",
            "effect": {"api": {"hide": true}},
            "match": [{"matchNamespace": {"selector": {}}}],
        },
    ]);
    let yaml = strict.to_string();
    let answer = server.post_text("/api/v1/workspacekinds", "application/json", yaml).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    let names = |answer: &crate::harness::Answer| -> Vec<String> {
        let json = answer.json();
        let items = json["data"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = server.get("/api/v1/workspacekinds").await;
    assert_eq!(names(&all), ["lab", "strict"]);
    let image = &all.json()["data"][1]["podTemplate"]["options"]["imageConfig"]["values"][1];
    assert_eq!(image["restrictions"], json!({"deny": true, "denyMessage": {"text": "too new"}}));
    let filtered = server.get("/api/v1/workspacekinds?namespaceFilter=team-a").await;
    assert_eq!(names(&filtered), ["lab"]);
    let mut new = workspace("w");
    new["data"]["kind"] = json!("strict");
    let answer = server.post("/api/v1/workspaces/team-a", &new).await;
    assert_snapshot!("denied_by_a_rule", answer.error());
}

#[tokio::test]
async fn what_others_made_a_moment_ago_counts() {
    let server = Server::start().await;
    let yes = json!({"notebooks.kubeflow.org/can-mount": "true"});
    let claim = json!({
        "metadata": {"name": "theirs", "labels": yes},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    server.make::<Namespace>(None, json!({"metadata": {"name": "young"}})).await;
    server.make::<PersistentVolumeClaim>(Some("young"), claim).await;
    server.make::<WorkspaceKind>(None, kind("fresh")).await;
    let mut new = workspace("w");
    new["data"]["kind"] = json!("fresh");
    new["data"]["podTemplate"]["volumes"] = json!({"home": "theirs"});
    let answer = server.post("/api/v1/workspaces/young", &new).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
}

#[tokio::test]
async fn choices_of_the_contract() {
    let options = Options {
        proxy_url_prefix: "/workspaces/".to_owned(),
        strict_pause_body: true,
        ..Options::default()
    };
    let server = Server::with(options).await;
    server.make_workspace("lab").await;
    let logo = "/workspaces/api/v1/workspacekinds/lab/assets/logo";
    let list = server.get("/api/v1/workspaces").await.json();
    assert_eq!(list["data"][0]["workspaceKind"]["logo"]["url"], json!(logo));
    let kinds = server.get("/api/v1/workspacekinds").await.json();
    assert_eq!(kinds["data"][0]["logo"]["url"], json!(logo));
    let pause = "/api/v1/workspaces/team-a/lab/actions/pause";
    let answer = server.post(pause, &json!({"data": {}})).await;
    assert_eq!(
        answer.error(),
        "422 request body was invalid\nINTERNAL FieldValueRequired data.paused: Required value"
    );
}
