//! The log route: its order of decisions and its bounds.

use std::sync::Arc;

use bytes::Bytes;
use embedded::api::logs::{LogError, LogOptions, LogSource, LogStream};
use futures::{StreamExt, future::BoxFuture, stream};
use http::{StatusCode, header};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::Server;

const PATH: &str = "/api/v1/workspaces/team-a/lab/podtemplate/logs/batch";

/// Gives the same lines over and over and notes what it was asked for.
#[derive(Default)]
struct Lines {
    repeat: usize,
    asked: Mutex<Vec<(String, LogOptions)>>,
}

impl LogSource for Lines {
    fn open<'a>(
        &'a self,
        _: &'a Value,
        container: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        self.asked.lock().push((container.to_owned(), options));
        let line = Bytes::from("2026-01-01T00:00:00Z line\n".repeat(1000));
        let line = if self.repeat == 0 { line.slice(..26) } else { line };
        let lines = stream::iter((0..self.repeat.max(1)).map(move |_| Ok(line.clone())));
        Box::pin(async move { Ok(lines.boxed()) })
    }
}

async fn with_pod(server: &Server, containers: Value) {
    let pod = json!({
        "metadata": {"name": "lab-0"},
        "spec": {"containers": [{"name": "main", "image": "lab:1"}]},
    });
    server.make::<Pod>(Some("team-a"), pod).await;
    set_containers(server, containers).await;
}

async fn set_containers(server: &Server, containers: Value) {
    let api: Api<Pod> = Api::namespaced(server.client.clone(), "team-a");
    let patch = Patch::Merge(json!({"status": {"containerStatuses": containers}}));
    api.patch_status("lab-0", &PatchParams::default(), &patch).await.unwrap();
}

fn container(state: Value) -> Value {
    json!([{
        "name": "main", "image": "lab:1", "imageID": "", "ready": true, "restartCount": 0,
        "state": state,
    }])
}

#[tokio::test]
async fn every_reason_for_no_log_is_told() {
    let server = Server::start().await;
    assert_eq!(server.get(PATH).await.error(), "404 the requested resource could not be found");
    server.make_workspace("lab").await;
    assert_eq!(server.get(PATH).await.error(), "400 workspace pod is not running");
    let pod = json!({"podTemplatePod": {"name": "lab-0", "nodeName": "n"}});
    server.set_status("lab", pod).await;
    assert_eq!(server.get(PATH).await.error(), "400 container has not started yet");
    let pod = json!({"podTemplatePod": {
        "name": "lab-0", "nodeName": "n", "containers": [{"name": "main"}],
    }});
    server.set_status("lab", pod).await;
    let other = server.get(&format!("{PATH}?container=side")).await;
    assert_eq!(other.error(), "400 container not found in workspace pod");
    assert_eq!(server.get(PATH).await.error(), "400 workspace pod is not running");
    with_pod(&server, json!([])).await;
    assert_eq!(server.get(PATH).await.error(), "400 container has not started yet");
    set_containers(&server, container(json!({"waiting": {"reason": "ErrImagePull"}}))).await;
    assert_eq!(server.get(PATH).await.error(), "400 container has not started yet");
    let previous = server.get(&format!("{PATH}?previous=t")).await;
    assert_eq!(previous.error(), "400 no logs found for the previous container instance");
}

async fn running(repeat: usize) -> Option<(Server, Arc<Lines>)> {
    let server = Server::embedded_only("the test writes what the container printed").await?;
    let lines = Arc::new(Lines { repeat, ..Lines::default() });
    server.cluster.as_embedded().set_log_source(lines.clone());
    server.make_workspace("lab").await;
    let pod = json!({"podTemplatePod": {
        "name": "lab-0", "nodeName": "n", "containers": [{"name": "main"}],
    }});
    server.set_status("lab", pod).await;
    with_pod(&server, container(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}))).await;
    Some((server, lines))
}

#[tokio::test]
async fn lines_come_as_plain_text() {
    let Some((server, lines)) = running(0).await else { return };
    let answer =
        server.get(&format!("{PATH}?tailLines=5&container=&sinceTime=2026-01-01T00:00:00Z")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    assert_eq!(answer.header(header::CONTENT_TYPE), "text/plain");
    assert_eq!(answer.text(), "2026-01-01T00:00:00Z line\n");
    let (container, options) = lines.asked.lock().pop().unwrap();
    assert_eq!(container, "main");
    let expected = LogOptions {
        timestamps: true,
        tail_lines: Some(5),
        since_time: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        limit_bytes: Some(100 << 20),
        ..LogOptions::default()
    };
    assert_eq!(options, expected);
}

#[tokio::test]
async fn a_log_ends_at_its_limit() {
    let Some((server, _)) = running(5000).await else { return };
    let answer = server.get(PATH).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body.len(), 100 << 20);
}
