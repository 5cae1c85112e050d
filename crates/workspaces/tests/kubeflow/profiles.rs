//! The two generations of the contract: every row in which they differ, and that both are served
//! side by side.

use axum::body::Body;
use http::{HeaderName, Method, StatusCode, header};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};
use workspaces::dialect::kubeflow::{Options, Profile};

use crate::harness::{Answer, Server, request, seen, workspace};

const PATH: &str = "/api/v1/workspaces/team-a/lab";
static SELECTED: HeaderName = HeaderName::from_static("x-api-profile");

async fn old(server: &Server, method: Method, path: &str, body: Value) -> Answer {
    ask(server, method, path, body, "2025-07").await
}

async fn ask(server: &Server, method: Method, path: &str, body: Value, profile: &str) -> Answer {
    let request = request(method, path)
        .header(&SELECTED, profile)
        .header(header::CONTENT_TYPE, "application/json");
    server.send(request.body(Body::from(body.to_string())).unwrap()).await
}

fn paused(paused: bool) -> Value {
    json!({"data": {"paused": paused}})
}

#[tokio::test]
async fn a_header_selects_and_the_answer_says_so() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    for profile in ["2025-07", "2026-08"] {
        let answer = ask(&server, Method::GET, PATH, Value::Null, profile).await;
        assert_eq!(answer.header(SELECTED.clone()), profile);
        assert_eq!(answer.json()["data"].get("revision").is_some(), profile == "2026-08");
    }
    assert_eq!(server.get(PATH).await.header(SELECTED.clone()), "");
    let answer = ask(&server, Method::GET, PATH, Value::Null, "2024-01").await;
    assert_eq!(
        answer.error(),
        r#"400 unknown API profile "2024-01": there are 2025-07 and 2026-08"#
    );
}

#[tokio::test]
async fn a_server_has_a_default() {
    let options = Options { default_profile: Profile::V2025_07, ..Options::default() };
    let server = Server::with(options).await;
    server.make_workspace("lab").await;
    assert_eq!(server.get(PATH).await.json()["data"]["deferUpdates"], json!(false));
    let newer = ask(&server, Method::GET, PATH, Value::Null, "2026-08").await;
    assert!(newer.json()["data"]["revision"].is_string(), "{}", newer.show());
}

/// The older generation answered 422 without a cause.
#[tokio::test]
async fn the_wrong_state_for_a_pause() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let path = format!("{PATH}/actions/pause");
    assert_snapshot!(
        "old_start_what_runs",
        old(&server, Method::POST, &path, paused(false)).await.show()
    );
    assert_snapshot!("old_paused", old(&server, Method::POST, &path, paused(true)).await.show());
    let twice = old(&server, Method::POST, &path, paused(true)).await;
    let said = "422 workspace is in an invalid state for this operation";
    assert_eq!((twice.error().as_str(), &twice.json()["error"]["cause"]), (said, &json!({})));
    server.set_status("lab", json!({"state": "Terminating"})).await;
    assert_eq!(old(&server, Method::POST, &path, paused(false)).await.error(), said);
    server.set_status("lab", json!({"state": "Paused"})).await;
    let started = old(&server, Method::POST, &path, json!({"data": {}})).await;
    assert_eq!((started.status, started.json()), (StatusCode::OK, paused(false)));
    let missing = "/api/v1/workspaces/team-a/none/actions/pause";
    let answer = old(&server, Method::POST, missing, paused(true)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_strict_server_wants_the_word_in_both() {
    let server = Server::with(Options { strict_pause_body: true, ..Options::default() }).await;
    server.make_workspace("lab").await;
    let path = format!("{PATH}/actions/pause");
    for profile in ["2025-07", "2026-08"] {
        let answer = ask(&server, Method::POST, &path, json!({"data": {}}), profile).await;
        assert_eq!(
            answer.error(),
            "422 request body was invalid\nINTERNAL FieldValueRequired data.paused: Required value"
        );
    }
}

#[tokio::test]
async fn a_new_workspace_reads_back_what_means_nothing() {
    let server = Server::start().await;
    let mut new = workspace("lab");
    let path = "/api/v1/workspaces/team-a";
    let answer = old(&server, Method::POST, path, new.clone()).await;
    assert_snapshot!("old_created", answer.show());
    new["data"]["name"] = json!("lab-2");
    new["data"]["deferUpdates"] = json!(true);
    let answer = old(&server, Method::POST, path, new.clone()).await;
    assert_eq!(answer.json()["data"]["deferUpdates"], json!(true));
    let stored = server.caches.workspaces.get(Some("team-a"), "lab-2").unwrap();
    assert!(!json!(*stored).to_string().contains("deferUpdates"));
    new["data"]["name"] = json!("lab-3");
    let answer = server.post(path, &new).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.json()["data"].get("deferUpdates"), None);
}

#[tokio::test]
async fn lists_and_single_workspaces_have_the_older_shape() {
    let server = Server::start().await;
    let claim = json!({
        "metadata": {"name": "home", "labels": {"notebooks.kubeflow.org/can-mount": "true"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let claim = server.make::<PersistentVolumeClaim>(Some("team-a"), claim).await;
    seen(&server.caches.pvcs, &claim).await;
    let mut new = workspace("lab");
    new["data"]["displayName"] = json!("Not shown");
    new["data"]["podTemplate"]["options"]["imageConfig"] = json!("lab_0");
    new["data"]["podTemplate"]["podMetadata"] = json!({"labels": {"a": "b"}});
    new["data"]["podTemplate"]["volumes"] = json!({
        "home": "home",
        "data": [{"pvcName": "home", "mountPath": "/data", "readOnly": true}],
    });
    let made = server.post("/api/v1/workspaces/team-a", &new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.show());
    server.make_workspace("least").await;
    server.set_status("lab", crate::story::running()).await;
    let all = old(&server, Method::GET, "/api/v1/workspaces", Value::Null).await;
    assert_snapshot!("old_list", all.show());
    let some = old(&server, Method::GET, "/api/v1/workspaces/team-a", Value::Null).await;
    assert_eq!(some.json(), all.json());
    let one = old(&server, Method::GET, PATH, Value::Null).await;
    assert_eq!(one.json()["data"], all.json()["data"][0]);
    let slim = server.get("/api/v1/workspaces").await;
    assert_eq!(slim.json()["data"][0]["displayName"], json!("Not shown"));
    assert_ne!(slim.header(header::ETAG), all.header(header::ETAG));
    let full = server.get("/api/v1/workspaces?view=full").await;
    assert_snapshot!("full_list", full.show());
    let other = server.get("/api/v1/workspaces?view=everything").await;
    assert_snapshot!("unknown_view", other.show());
}

/// What the older generation announced and never had is there in both.
#[tokio::test]
async fn newer_routes_are_served_to_older_clients() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let body = server.get(PATH).await.json();
    let answer = old(&server, Method::PUT, PATH, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let answer = old(&server, Method::PATCH, PATH, Value::Null).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let answer = old(&server, Method::GET, "/api/v1/workspaces/Team", Value::Null).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}
