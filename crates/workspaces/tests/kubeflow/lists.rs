//! Lists: current after every write, the same in every form, cheap to ask for again.

use std::io::Read;

use axum::body::Body;
use http::{Method, StatusCode, header};
use serde_json::json;
use workspaces::model::{Workspace, WorkspaceKind};

use crate::harness::{Answer, Server, request};

async fn get_with(server: &Server, path: &str, name: header::HeaderName, value: &str) -> Answer {
    server.send(request(Method::GET, path).header(name, value).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn what_is_written_can_be_read_at_once() {
    let server = Server::start().await;
    for number in 0..20 {
        let name = format!("w{number:02}");
        server.make_workspace(&name).await;
        let all = server.get("/api/v1/workspaces").await.json();
        assert_eq!(all["data"].as_array().unwrap().len(), number + 1);
        let path = format!("/api/v1/workspaces/team-a/{name}");
        assert_eq!(server.get(&path).await.status, StatusCode::OK);
    }
    for number in 0..20 {
        let path = format!("/api/v1/workspaces/team-a/w{number:02}");
        assert_eq!(server.delete(&path).await.status, StatusCode::NO_CONTENT);
        let namespace = server.get("/api/v1/workspaces/team-a").await.json();
        assert_eq!(namespace["data"].as_array().unwrap().len(), 19 - number);
    }
}

#[tokio::test]
async fn a_changed_kind_changes_its_workspaces() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let first = server.get("/api/v1/workspaces").await.json();
    assert_eq!(first["data"][0]["services"][0]["httpService"]["displayName"], json!("JupyterLab"));
    let api: kube::Api<WorkspaceKind> = kube::Api::all(server.client.clone());
    api.delete("lab", &kube::api::DeleteParams::default()).await.unwrap();
    let key = cluster::Key::new(None, "lab");
    assert!(server.caches.kinds.wait_for(&key, crate::harness::SOON, |kind| kind.is_none()).await);
    let answer = server.get("/api/v1/workspaces").await;
    insta::assert_snapshot!("workspace_without_kind", answer.show());
}

#[tokio::test]
async fn compressed_forms_hold_the_same() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.make_workspace(name).await;
    }
    for path in ["/api/v1/workspaces", "/api/v1/workspaces/team-a", "/api/v1/workspacekinds"] {
        let plain = server.get(path).await;
        assert!(plain.headers.get(header::CONTENT_ENCODING).is_none());
        let gzip = get_with(&server, path, header::ACCEPT_ENCODING, "gzip").await;
        assert_eq!(gzip.header(header::CONTENT_ENCODING), "gzip", "{path}");
        assert_eq!(gzip.header(header::VARY), "accept-encoding");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain.body);
        let zstd = get_with(&server, path, header::ACCEPT_ENCODING, "gzip, zstd, br").await;
        assert_eq!(zstd.header(header::CONTENT_ENCODING), "zstd", "{path}");
        assert_eq!(zstd::decode_all(&zstd.body[..]).unwrap(), plain.body);
        let refused = "zstd;q=0, gzip;q=0, identity;q=0, *;q=0";
        let any = get_with(&server, path, header::ACCEPT_ENCODING, refused).await;
        assert_eq!((any.status, any.body), (StatusCode::OK, plain.body));
    }
    let small = get_with(&server, "/api/v1/namespaces", header::ACCEPT_ENCODING, "zstd").await;
    assert!(small.headers.get(header::CONTENT_ENCODING).is_none());
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    for path in ["/api/v1/workspaces", "/api/v1/workspaces/team-a", "/api/v1/workspaces/team-a/lab"]
    {
        let first = server.get(path).await;
        let tag = first.header(header::ETAG).to_owned();
        let again = get_with(&server, path, header::IF_NONE_MATCH, &tag).await;
        assert_eq!((again.status, again.text()), (StatusCode::NOT_MODIFIED, ""), "{path}");
        assert_eq!(again.header(header::ETAG), tag);
        let pause = "/api/v1/workspaces/team-a/lab/actions/pause";
        let paused = !first.text().contains(r#""paused":true"#);
        server.set_status("lab", json!({"state": "Paused"})).await;
        let answer = server.post(pause, &json!({"data": {"paused": paused}})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
        let changed = get_with(&server, path, header::IF_NONE_MATCH, &tag).await;
        assert_eq!(changed.status, StatusCode::OK, "{path}");
    }
}

/// More changes at once than a task may take in one go.
#[tokio::test]
async fn a_burst_of_changes_is_taken_in_whole() {
    let server = Server::start().await;
    for number in 0..300 {
        let mut object = json!({"metadata": {"name": format!("w{number}")}});
        object["spec"] = json!({
            "kind": "lab",
            "podTemplate": {
                "volumes": {},
                "options": {"imageConfig": "lab_1", "podConfig": "small"},
            },
        });
        server.make::<Workspace>(Some("team-a"), object).await;
    }
    let count = || server.caches.workspaces.len();
    until(|| count() == 300).await;
    let list = server.get("/api/v1/workspaces").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 300);
    let api: kube::Api<Workspace> = kube::Api::namespaced(server.client.clone(), "team-a");
    api.delete_collection(&Default::default(), &Default::default()).await.unwrap();
    until(|| count() == 0).await;
    let list = server.get("/api/v1/workspaces").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 0);
}

async fn until(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::harness::SOON, wait).await.unwrap();
}

/// Writers and readers at the same time: every list is whole and no older than what its reader
/// wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_are_whole_while_others_write() {
    let server = std::sync::Arc::new(Server::start().await);
    let writers = (0..4).map(|writer| {
        let server = server.clone();
        tokio::spawn(async move {
            for number in 0..15 {
                let name = format!("w{writer}-{number}");
                server.make_workspace(&name).await;
                let list = server.get("/api/v1/workspaces/team-a").await.json();
                let names = list["data"].as_array().unwrap().iter();
                assert!(names.map(|item| item["name"].as_str().unwrap()).any(|item| item == name));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let list = server.get("/api/v1/workspaces").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 60);
}
