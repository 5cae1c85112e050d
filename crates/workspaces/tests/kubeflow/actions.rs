//! Pause, start and restart, of one workspace and of all of a namespace.

use http::{Method, StatusCode};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use workspaces::model::Workspace;

use crate::harness::{Fault, Server, seen};

const ALL: &str = "/api/v1/workspaces/team-a/actions/pause";
const PAUSE: &str = "/api/v1/workspaces/team-a/lab/actions/pause";
const KEEP: &str = "/api/v1/workspaces/team-a/lab/actions/keepalive";
const RESTART: &str = "/api/v1/workspaces/team-a/lab/actions/restart";

fn paused(paused: bool) -> Value {
    json!({"data": {"paused": paused}})
}

/// The annotations of `lab` in the cluster.
async fn annotations(server: &Server) -> Value {
    let api: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
    json!(api.get("lab").await.unwrap().metadata.annotations)
}

#[tokio::test]
async fn a_pause_names_who_paused() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    assert_eq!(server.post(PAUSE, &paused(true)).await.status, StatusCode::OK);
    let noted = annotations(&server).await;
    assert_eq!(noted["notebooks.kubeflow.org/updated-by"], json!("local"));
    assert!(noted["notebooks.kubeflow.org/updated-at"].is_string(), "{noted}");
    assert_eq!(noted["notebooks.kubeflow.org/created-by"], json!("local"));
}

/// A workspace of kubectl has no annotations to add to, or has some that the cache does not know
/// yet; neither may get lost.
#[tokio::test]
async fn a_pause_keeps_the_annotations_of_others() {
    let server = Server::start().await;
    let bare = json!({
        "metadata": {"name": "lab"},
        "spec": {
            "kind": "lab",
            "podTemplate": {
                "volumes": {},
                "options": {"imageConfig": "lab_1", "podConfig": "small"},
            },
        },
    });
    let made = server.make::<Workspace>(Some("team-a"), bare).await;
    seen(&server.caches.workspaces, &made).await;
    assert_eq!(server.post(PAUSE, &paused(true)).await.status, StatusCode::OK);
    assert_eq!(annotations(&server).await.as_object().unwrap().len(), 2);

    let api: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
    let without = Patch::Merge(json!({"metadata": {"annotations": null}}));
    let written = api.patch("lab", &PatchParams::default(), &without).await.unwrap();
    seen(&server.caches.workspaces, &written).await;
    server.set_status("lab", json!({"state": "Paused"})).await;
    let with = Patch::Merge(json!({"metadata": {"annotations": {"mine": "kept"}}}));
    api.patch("lab", &PatchParams::default(), &with).await.unwrap();
    let answer = server.post(PAUSE, &paused(false)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let noted = annotations(&server).await;
    assert_eq!(noted["mine"], json!("kept"));
    assert_eq!(noted.as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn the_state_that_is_there_already_can_be_asked_for() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let again = format!("{PAUSE}?idempotent=true");
    for (path, wanted, status) in [
        (again.as_str(), false, StatusCode::OK),
        (PAUSE, true, StatusCode::OK),
        (PAUSE, true, StatusCode::CONFLICT),
        (again.as_str(), true, StatusCode::OK),
        // It has not come to rest: not what is asked for.
        (again.as_str(), false, StatusCode::CONFLICT),
    ] {
        let answer = server.post(path, &paused(wanted)).await;
        assert_eq!(answer.status, status, "{path} {wanted}: {}", answer.show());
        if status == StatusCode::OK {
            assert_eq!(answer.json(), paused(wanted));
        }
    }
    let answer = server.post(&format!("{PAUSE}?idempotent=maybe"), &paused(true)).await;
    assert_snapshot!("idempotent_maybe", answer.show());
}

#[tokio::test]
async fn a_namespace_is_paused_and_started_at_once() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.make_workspace(name).await;
    }
    let one = "/api/v1/workspaces/team-a/b/actions/pause";
    assert_eq!(server.post(one, &paused(true)).await.status, StatusCode::OK);
    assert_snapshot!("all_paused", server.post(ALL, &paused(true)).await.show());
    let list = server.get("/api/v1/workspaces/team-a").await.json();
    assert!(list["data"].as_array().unwrap().iter().all(|item| item["paused"] == true));
    server.set_status("a", json!({"state": "Paused"})).await;
    server.set_status("b", json!({"state": "Terminating"})).await;
    server.set_status("c", json!({"state": "Paused"})).await;
    assert_snapshot!("all_started", server.post(ALL, &paused(false)).await.show());
    server.faults.set_times(Method::PATCH, Fault::Status(500, "InternalError"), 2);
    assert_snapshot!("some_not_paused", server.post(ALL, &paused(true)).await.show());
    let nowhere = server.post("/api/v1/workspaces/nowhere/actions/pause", &paused(true)).await;
    assert_eq!(nowhere.json(), json!({"data": []}));
}

/// Workspaces may be called like parts of paths.
#[tokio::test]
async fn a_workspace_called_actions_is_a_workspace() {
    let server = Server::start().await;
    for name in ["actions", "pause", "podtemplate"] {
        server.make_workspace(name).await;
        let path = format!("/api/v1/workspaces/team-a/{name}");
        assert_eq!(server.get(&path).await.status, StatusCode::OK, "{name}");
        let answer = server.post(&format!("{path}/actions/pause"), &paused(true)).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.show());
        let details = server.get(&format!("{path}/podtemplate/details")).await;
        assert_eq!(details.status, StatusCode::OK, "{name}");
        assert_eq!(server.delete(&path).await.status, StatusCode::NO_CONTENT, "{name}");
    }
}

async fn pod(server: &Server, owner: &str) {
    let pod = json!({
        "metadata": {"name": "ws-lab-0", "labels": {"notebooks.kubeflow.org/workspace-name": owner}},
        "spec": {"containers": [{"name": "main", "image": "lab:1"}]},
    });
    server.make::<Pod>(Some("team-a"), pod).await;
}

#[tokio::test]
async fn a_restart_replaces_the_pod_of_what_runs() {
    let server = Server::start().await;
    let body = json!({"data": {}});
    assert_eq!(server.post(RESTART, &body).await.status, StatusCode::NOT_FOUND);
    server.make_workspace("lab").await;
    assert_snapshot!("restart_without_a_status", server.post(RESTART, &body).await.show());
    let running = json!({
        "state": "Running",
        "podTemplatePod": {"name": "ws-lab-0", "nodeName": "n"},
    });
    for state in ["Pending", "Terminating", "Paused", "Unknown"] {
        let mut status = running.clone();
        status["state"] = json!(state);
        server.set_status("lab", status).await;
        let answer = server.post(RESTART, &body).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{state}: {}", answer.show());
    }
    server.set_status("lab", running).await;
    assert_snapshot!("restarted_without_a_pod", server.post(RESTART, &body).await.show());
    pod(&server, "lab").await;
    let answer = server.post(RESTART, &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.show());
    let pods: Api<Pod> = Api::namespaced(server.client.clone(), "team-a");
    let now = pods.get_opt("ws-lab-0").await.unwrap();
    assert!(now.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
    assert_eq!(server.get("/api/v1/workspaces").await.json()["data"][0]["paused"], json!(false));
    let answer = server.post(RESTART, &json!({"data": {"paused": true}})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.show());
}

/// A status that names somebody else's pod does not end it.
#[tokio::test]
async fn a_restart_leaves_the_pods_of_others_alone() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    pod(&server, "other").await;
    let status = json!({"state": "Error", "podTemplatePod": {"name": "ws-lab-0", "nodeName": "n"}});
    server.set_status("lab", status).await;
    let answer = server.post(RESTART, &json!({"data": {}})).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.show());
    let pods: Api<Pod> = Api::namespaced(server.client.clone(), "team-a");
    assert!(pods.get("ws-lab-0").await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn somebody_keeps_a_workspace_from_being_paused() {
    let server = Server::start().await;
    let body = json!({"data": {}});
    assert_eq!(server.post(KEEP, &body).await.status, StatusCode::NOT_FOUND);
    let answer = async |path: &str| server.get(path).await.json()["data"]["culling"].clone();
    let details = "/api/v1/workspaces/team-a/lab/podtemplate/details";
    server.make_workspace("lab").await;
    let now = jiff::Timestamp::now().as_millisecond();
    let active = now - 7_000_000;
    let status = json!({"state": "Running", "lastRunningTime": 1, "activity": {
        "lastActivity": active, "lastUpdate": active,
        "rules": {"pauseWorkspace": {"eligibleAfter": active + 7_200_000}},
    }});
    server.set_status("lab", status).await;

    // The kind pauses what nobody used for two hours.
    let culling = answer(details).await;
    assert_eq!(culling["pauseAfter"], json!(active + 7_200_000));
    assert_eq!(culling["warnAfter"], json!(active + 6_600_000));
    assert!((0..=200).contains(&culling["secondsUntilPause"].as_i64().unwrap()), "{culling}");

    let kept = server.post(KEEP, &body).await;
    assert_eq!(kept.status, StatusCode::OK, "{}", kept.show());
    let kept = kept.json()["data"].clone();
    assert_eq!(kept["culling"]["secondsUntilPause"], json!(7200), "{kept}");
    assert_eq!(answer(details).await["pauseAfter"], kept["culling"]["pauseAfter"]);
    assert!(annotations(&server).await["quartermaster.io/keep-alive"].is_string());

    assert_eq!(server.post(PAUSE, &paused(true)).await.status, StatusCode::OK);
    let refused = server.post(KEEP, &body).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.show());
}
