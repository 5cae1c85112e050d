//! The log route: its order of decisions and its bounds.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use embedded::api::logs::{LogError, LogOptions, LogSource, LogStream};
use futures::{SinkExt, StreamExt, future::BoxFuture, stream};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{SOON, Server, request};

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

const STREAM: &str = "/api/v1/workspaces/team-a/lab/podtemplate/logs/stream";

/// Gives what a test sends, as it is sent.
struct Channel(Mutex<Option<futures::channel::mpsc::Receiver<Bytes>>>, Mutex<Vec<LogOptions>>);

impl LogSource for Channel {
    fn open<'a>(
        &'a self,
        _: &'a Value,
        _: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        self.1.lock().push(options);
        let lines = self.0.lock().take().unwrap().map(Ok);
        Box::pin(async move { Ok(lines.boxed()) })
    }
}

/// A running workspace whose log a test writes.
async fn talking() -> Option<(Server, futures::channel::mpsc::Sender<Bytes>, Arc<Channel>)> {
    let (server, _) = running(0).await?;
    let (sender, receiver) = futures::channel::mpsc::channel(4);
    let channel = Arc::new(Channel(Mutex::new(Some(receiver)), Mutex::default()));
    server.cluster.as_embedded().set_log_source(channel.clone());
    Some((server, sender, channel))
}

async fn followed(server: &Server, query: &str, headers: &[(&str, &str)]) -> http::Response<Body> {
    let mut request = request(Method::GET, &format!("{STREAM}?{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = server.stream(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    response
}

/// The next piece of a body, as text.
async fn piece(body: &mut Body) -> String {
    let frame = tokio::time::timeout(SOON, body.frame()).await.unwrap().unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_log_is_followed_line_by_line() {
    let Some((server, mut log, channel)) = talking().await else { return };
    let response = followed(&server, "tailLines=5", &[("accept-encoding", "gzip")]).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain");
    let mut body = response.into_body();
    for line in ["2026-01-01T00:00:00Z one\n", "2026-01-01T00:00:01Z two\n"] {
        log.send(Bytes::from(line)).await.unwrap();
        assert_eq!(piece(&mut body).await, line);
    }
    drop(log);
    assert!(tokio::time::timeout(SOON, body.frame()).await.unwrap().is_none());
    let asked = channel.1.lock().pop().unwrap();
    let expected =
        LogOptions { timestamps: true, follow: true, tail_lines: Some(5), ..LogOptions::default() };
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn lines_are_events_for_who_wants_events() {
    let Some((server, mut log, channel)) = talking().await else { return };
    let accept = ("accept", "text/event-stream");
    let seen = ("last-event-id", "2026-01-01T00:00:00.5Z");
    let response = followed(&server, "follow=false", &[accept, seen]).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    log.send(Bytes::from("2026-01-01T00:00:00Z seen\n2026-01-01T00:00:01Z ne")).await.unwrap();
    log.send(Bytes::from(&b"w\r\nno time\n\xff\n"[..])).await.unwrap();
    drop(log);
    let mut text = String::new();
    while let Some(frame) = tokio::time::timeout(SOON, body.frame()).await.unwrap() {
        text += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
    }
    assert_eq!(
        text,
        "id: 2026-01-01T00:00:01Z\ndata: 2026-01-01T00:00:01Z new\n\n\
         data: no time\n\ndata: \u{fffd}\n\n"
    );
    let asked = channel.1.lock().pop().unwrap();
    assert!(!asked.follow);
    assert_eq!(asked.since_time, Some("2026-01-01T00:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn a_line_without_an_end_comes_in_pieces() {
    let Some((server, mut log, _)) = talking().await else { return };
    let response = followed(&server, "", &[("accept", "text/event-stream")]).await;
    let mut body = response.into_body();
    log.send(Bytes::from("x".repeat(40_000))).await.unwrap();
    drop(log);
    let mut total = 0;
    while let Some(frame) = tokio::time::timeout(SOON, body.frame()).await.unwrap() {
        let length = frame.unwrap().data_ref().unwrap().len();
        assert!(length < 17_000, "{length}");
        total += length - "data: \n\n".len();
    }
    assert_eq!(total, 40_000);
}

#[tokio::test]
async fn more_lines_than_anybody_gets_are_cut() {
    let Some((server, lines)) = running(0).await else { return };
    for path in [PATH, STREAM] {
        let answer = server.get(&format!("{path}?tailLines=100001&follow=false")).await;
        assert_eq!(answer.header(http::HeaderName::from_static("x-log-truncated")), "true");
        assert_eq!(lines.asked.lock().pop().unwrap().1.tail_lines, Some(100_000));
        let answer = server.get(&format!("{path}?tailLines=100000&follow=false")).await;
        assert_eq!(answer.header(http::HeaderName::from_static("x-log-truncated")), "");
    }
    let answer = server.get(&format!("{STREAM}?follow=perhaps")).await;
    assert_eq!(
        answer.error(),
        "422 query parameters were invalid\nINTERNAL FieldValueInvalid follow: Invalid value: \"perhaps\": must be a boolean"
    );
}

/// A client that reads a hundred mebibytes slowly is read for slowly.
#[tokio::test]
async fn a_slow_reader_makes_nobody_hurry() {
    for path in [PATH, STREAM] {
        let Some((server, _)) = running(0).await else { return };
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        server.cluster.as_embedded().set_log_source(Arc::new(Endless(taken.clone())));
        let request = request(Method::GET, path).body(Body::empty()).unwrap();
        let mut body = server.stream(request).await.into_body();
        let mut read = 0;
        while read < 1 << 20 {
            read += piece(&mut body).await.len();
        }
        let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
        assert!(taken < 3 << 20, "{path}: {taken} bytes taken for {read} bytes read");
    }
}

/// Never ends, and counts what is taken from it.
struct Endless(Arc<std::sync::atomic::AtomicUsize>);

impl LogSource for Endless {
    fn open<'a>(
        &'a self,
        _: &'a Value,
        _: &'a str,
        _: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        let taken = self.0.clone();
        let line = Bytes::from("2026-01-01T00:00:00Z line\n".repeat(100));
        let lines = stream::repeat_with(move || {
            taken.fetch_add(line.len(), std::sync::atomic::Ordering::Relaxed);
            Ok(line.clone())
        });
        Box::pin(async move { Ok(lines.boxed()) })
    }
}
