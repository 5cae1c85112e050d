//! Lists that go on as server-sent events.

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::{Method, header};
use insta::assert_snapshot;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use workspaces::model::Workspace;

use crate::harness::{SOON, Server, request, seen};

const ALL: &str = "/api/v1/workspaces?watch=true";

/// A client that reads event by event.
struct Events {
    body: BodyDataStream,
    text: String,
    last_id: String,
}

impl Events {
    async fn open(server: &Server, path: &str, last_id: &str) -> Self {
        let request = request(Method::GET, path)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::ACCEPT_ENCODING, "gzip, zstd")
            .header("last-event-id", last_id);
        let response = server.stream(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        let body = response.into_body().into_data_stream();
        Self { body, text: String::new(), last_id: last_id.to_owned() }
    }

    /// The next event with data; none at the end.
    async fn next(&mut self) -> Option<Value> {
        // Not per piece: comments keep a stream alive on which nothing happens.
        let end = tokio::time::Instant::now() + SOON;
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let mut data = None;
                for line in event.lines() {
                    match line.split_once(": ").unwrap_or((line, "")) {
                        ("id", id) => self.last_id = id.to_owned(),
                        ("data", text) => data = Some(serde_json::from_str(text).unwrap()),
                        _ => {}
                    }
                }
                if data.is_some() {
                    return data;
                }
            }
            let piece = tokio::time::timeout_at(end, self.body.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// Type and name of the next events.
    async fn some(&mut self, count: usize) -> Vec<String> {
        let mut some = Vec::new();
        for _ in 0..count {
            let event = self.next().await.unwrap();
            let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            some.push(format!("{} {}", word(&event["type"]), word(&event["object"]["name"])));
        }
        some
    }
}

async fn rename(server: &Server, name: &str, display: &str) {
    let api: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
    let patch = Patch::Merge(json!({"spec": {"displayName": display}}));
    let renamed = api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    // Changes that are seen together count as one.
    seen(&server.caches.workspaces, &renamed).await;
}

#[tokio::test]
async fn everything_first_and_then_what_changes() {
    let server = Server::start().await;
    for number in 0..40 {
        server.make_workspace(&format!("w{number:02}")).await;
    }
    let mut events = Events::open(&server, ALL, "").await;
    let list = server.get("/api/v1/workspaces").await.json();
    for item in list["data"].as_array().unwrap() {
        assert_eq!(events.next().await.unwrap(), json!({"type": "ADDED", "object": item}));
    }
    server.make_workspace("new").await;
    assert_eq!(events.some(1).await, ["ADDED new"]);
    rename(&server, "new", "Newer").await;
    let changed = events.next().await.unwrap();
    assert_eq!(changed["type"], json!("MODIFIED"));
    assert_eq!(changed["object"]["displayName"], json!("Newer"));
    server.delete("/api/v1/workspaces/team-a/new").await;
    assert_eq!(events.some(1).await, ["DELETED new"]);
}

#[tokio::test]
async fn a_filter_makes_comings_and_goings_of_changes() {
    let server = Server::start().await;
    server.make_workspace("one").await;
    server.make_workspace("two").await;
    rename(&server, "one", "Wanted").await;
    let mut events = Events::open(&server, &format!("{ALL}&nameContains=wanted"), "").await;
    assert_eq!(events.some(1).await, ["ADDED one"]);
    rename(&server, "two", "Wanted as well").await;
    assert_eq!(events.some(1).await, ["ADDED two"]);
    rename(&server, "one", "Gone").await;
    assert_eq!(events.some(1).await, ["DELETED one"]);
    rename(&server, "one", "Still gone").await;
    rename(&server, "two", "Wanted again").await;
    assert_eq!(events.some(1).await, ["MODIFIED two"]);
}

#[tokio::test]
async fn a_watch_goes_on_where_another_ended() {
    let server = Server::start().await;
    server.make_workspace("one").await;
    let mut events = Events::open(&server, "/api/v1/workspaces/team-a?watch=1", "").await;
    assert_eq!(events.some(1).await, ["ADDED one"]);
    server.make_workspace("two").await;
    assert_eq!(events.some(1).await, ["ADDED two"]);
    let last_id = events.last_id.clone();
    assert!(!last_id.is_empty());
    drop(events);
    rename(&server, "one", "Renamed").await;
    server.delete("/api/v1/workspaces/team-a/two").await;
    let _ = server.get("/api/v1/workspaces").await;
    let mut events = Events::open(&server, "/api/v1/workspaces/team-a?watch=1", &last_id).await;
    assert_eq!(events.some(2).await, ["MODIFIED one", "DELETED two"]);
    // The id of another process, or nonsense, starts over and says so.
    for id in ["1-1", "x", "-"] {
        let mut events = Events::open(&server, ALL, id).await;
        let first = events.next().await.unwrap();
        assert_eq!(first["type"], json!("ERROR"));
        assert_eq!(events.last_id, "");
        assert_eq!(events.some(1).await, ["ADDED one"]);
    }
    let answer = Events::open(&server, ALL, "1-1").await.next().await.unwrap();
    assert_snapshot!("watch_starts_over", serde_json::to_string_pretty(&answer).unwrap());
}

/// Events of other namespaces are not for this watcher, nor are they waited for.
#[tokio::test]
async fn a_namespace_is_watched_alone() {
    let server = Server::start().await;
    let namespace = json!({"metadata": {"name": "a-before"}});
    server.make::<k8s_openapi::api::core::v1::Namespace>(None, namespace).await;
    let elsewhere = "/api/v1/workspaces/a-before";
    for number in 0..20 {
        let body = crate::harness::workspace(&format!("x{number:02}"));
        assert_eq!(server.post(elsewhere, &body).await.status.as_u16(), 201);
    }
    server.make_workspace("mine").await;
    let mut events = Events::open(&server, "/api/v1/workspaces/team-a?watch=t", "").await;
    assert_eq!(events.some(1).await, ["ADDED mine"]);
    server.post(elsewhere, &crate::harness::workspace("y")).await;
    rename(&server, "mine", "Renamed").await;
    assert_eq!(events.some(1).await, ["MODIFIED mine"]);
    let mut empty = Events::open(&server, "/api/v1/workspaces/none?watch=t", "").await;
    server.make_workspace("more").await;
    assert_eq!(events.some(1).await, ["ADDED more"]);
    let nothing = tokio::time::timeout(std::time::Duration::ZERO, empty.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

/// A client that does not read while more happens than is kept is told to start over, and ended.
#[tokio::test]
async fn a_watcher_that_lags_is_ended() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let mut slow = Events::open(&server, ALL, "").await;
    assert_eq!(slow.some(1).await, ["ADDED lab"]);
    for number in 0..1100 {
        rename(&server, "lab", &format!("Name {number}")).await;
        // A reader brings the lists in step, so that each change counts.
        server.get("/api/v1/workspaces").await;
    }
    let mut last = Value::Null;
    while let Some(event) = slow.next().await {
        last = event;
    }
    assert_eq!(last["type"], json!("ERROR"), "{last}");
    assert_eq!(slow.last_id, "");
}

#[tokio::test]
async fn only_who_accepts_events_gets_them() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let answer = server.get(ALL).await;
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 1);
}

/// Both generations and the full view can be watched.
#[tokio::test]
async fn watches_have_shapes() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let mut full = Events::open(&server, &format!("{ALL}&view=full"), "").await;
    let event = full.next().await.unwrap();
    assert_eq!(event["object"]["podTemplate"]["volumes"], json!({"data": []}));
    let mut slim = Events::open(&server, ALL, "").await;
    let event = slim.next().await.unwrap();
    assert!(event["object"]["podTemplate"].get("volumes").is_none());
    rename(&server, "lab", "Renamed").await;
    assert_eq!(full.some(1).await, ["MODIFIED lab"]);
    assert_eq!(slim.some(1).await, ["MODIFIED lab"]);
}
