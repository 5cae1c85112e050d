//! A thousand watchers that never read cost next to nothing. Alone in its program, because it
//! measures the process.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use http::{Method, StatusCode};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use workspaces::model::Workspace;

#[path = "kubeflow/document.rs"]
mod document;
#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "kubeflow/harness.rs"]
mod harness;

use harness::{SOON, Server, request, seen};

const MIB: u64 = 1 << 20;
const WATCHERS: usize = 1_000;

/// Resident memory of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// A connection whose client has asked for a watch and read the first bytes of the answer.
async fn watcher(server: &std::sync::Arc<Server>) -> DuplexStream {
    let (mut client, far) = duplex(4096);
    let server = server.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.stream(request.map(Body::new)).await) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(far), service);
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let head = "GET /api/v1/workspaces?watch=true HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 15];
    client.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    client
}

#[tokio::test]
async fn watchers_that_never_read_take_no_memory() {
    let server = std::sync::Arc::new(Server::start().await);
    for number in 0..300 {
        server.make_workspace(&format!("w{number:03}")).await;
    }
    // One of each, so that what is made once is there.
    let first = watcher(&server).await;
    let api: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
    let rename = async |number: usize| {
        let name = format!("w{:03}", number % 300);
        let patch = Patch::Merge(json!({"spec": {"displayName": format!("Name {number}")}}));
        let renamed = api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
        // Changes that are seen together count as one.
        seen(&server.caches.workspaces, &renamed).await;
        let list = request(Method::GET, "/api/v1/workspaces").body(Body::empty()).unwrap();
        assert_eq!(server.send(list).await.status, StatusCode::OK);
    };
    for number in 0..1_100 {
        rename(number).await;
    }
    let before = resident();
    let mut watchers = vec![first];
    while watchers.len() < WATCHERS {
        watchers.push(watcher(&server).await);
        if watchers.len().is_multiple_of(4) {
            rename(watchers.len()).await;
        }
    }
    let opened = resident();
    for number in 0..1_100 {
        rename(number).await;
    }
    let after = resident();
    let grown = |from: u64, to: u64| to.saturating_sub(from) / MIB;
    let (each, more) = (grown(before, opened), grown(opened, after));
    assert!(each < 64, "{WATCHERS} watchers took {each} MiB");
    assert!(more < 16, "and {more} MiB more while they did not read");
    // Whoever reads on is told that too much has happened.
    let mut late = watchers.pop().unwrap();
    let mut text = Vec::new();
    let told = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&text).contains("too far behind") {
            let read = late.read(&mut piece).await.unwrap();
            assert!(read > 0, "ended without a word");
            text.extend_from_slice(&piece[..read]);
        }
    };
    tokio::time::timeout(SOON.max(Duration::from_secs(30)), told).await.unwrap();
}
