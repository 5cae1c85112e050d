//! What somebody sends who wants to break the routes of workspaces, and a cluster that fails them.

use std::fmt::Write;

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use serde_json::json;

use crate::{
    edits::put,
    harness::{Answer, Fault, Server, request, workspace},
};

const PATH: &str = "/api/v1/workspaces/team-a/lab";

async fn send(server: &Server, method: Method, path: &str, body: impl Into<Body>) -> Answer {
    let request = request(method, path).header(header::CONTENT_TYPE, "application/json");
    server.send(request.body(body.into()).unwrap()).await
}

/// Every route with a body.
const BODIES: [(Method, &str); 6] = [
    (Method::POST, "/api/v1/workspaces/team-a"),
    (Method::PUT, PATH),
    (Method::POST, "/api/v1/workspaces/team-a/lab/actions/pause"),
    (Method::POST, "/api/v1/workspaces/team-a/lab/actions/restart"),
    (Method::POST, "/api/v1/workspaces/team-a/lab/actions/keepalive"),
    (Method::POST, "/api/v1/workspaces/team-a/actions/pause"),
];

#[tokio::test]
async fn bodies_that_try_to_hurt() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let deep = format!(r#"{{"data":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", r#"{"data":"#.repeat(100_000), "}".repeat(100_000));
    let many = format!(r#"{{"data":[{}1]}}"#, "1,".repeat(10_000));
    let mut broken = br#"{"data":{"paused":""#.to_vec();
    broken.extend_from_slice(&[0xff, 0xfe, b'"', b'}', b'}']);
    let bodies: [(&str, Vec<u8>); 6] = [
        ("deep lists", deep.into()),
        ("deep objects", objects.into()),
        ("a long list", many.into()),
        ("no UTF-8", broken),
        ("a huge number", br#"{"data":{"paused":1e999}}"#.to_vec()),
        ("a null byte", b"{\"data\":\0}".to_vec()),
    ];
    for (method, path) in BODIES {
        for (case, body) in &bodies {
            let answer = send(&server, method.clone(), path, body.clone()).await;
            let shown = answer.show();
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}: {method} {path}: {shown}");
            assert!(answer.body.len() < 2000, "{case}: {method} {path}");
        }
    }
}

/// The last of equal keys wins, wherever they are.
#[tokio::test]
async fn keys_that_come_twice() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let pause = "/api/v1/workspaces/team-a/lab/actions/pause";
    let body = r#"{"data":{"paused":false,"paused":true}}"#;
    let answer = send(&server, Method::POST, pause, body).await;
    assert_eq!(answer.json(), json!({"data": {"paused": true}}), "{}", answer.show());
    let mut view = server.get(PATH).await.json();
    view["data"]["displayName"] = json!("LAST");
    let twice =
        view.to_string().replace(r#""displayName""#, r#""displayName":"first","displayName""#);
    let answer = send(&server, Method::PUT, PATH, twice).await;
    assert_eq!(answer.json()["data"]["displayName"], json!("LAST"), "{}", answer.show());
    let whole = format!(r#"{{"data":{{}},{}"#, &answer.text()[1..]);
    assert_eq!(send(&server, Method::PUT, PATH, whole).await.status, StatusCode::OK);
}

/// No name becomes a header, a path or a query of its own.
#[tokio::test]
async fn names_that_are_more_than_names() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    for name in [
        "a\r\nset-cookie: b=c",
        "a\nb",
        "../lab",
        "lab/status",
        "lab?dryRun=All",
        "lab%00",
        "\u{202e}bal",
        "a b",
        "\"a\"",
    ] {
        let mut new = workspace(name);
        let answer = server.post("/api/v1/workspaces/team-a", &new).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}: {}", answer.show());
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
        assert!(!answer.headers.contains_key(header::LOCATION));
        new["data"]["name"] = json!("new");
        for field in ["kind", "displayName"] {
            let mut new = new.clone();
            new["data"][field] = json!(name);
            let answer = server.post("/api/v1/workspaces/team-a", &new).await;
            let fine = field == "displayName" && answer.status == StatusCode::CREATED;
            assert!(fine || answer.status == StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.show());
            server.delete("/api/v1/workspaces/team-a/new").await;
        }
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/api/v1/workspaces/team-a/{encoded}"),
            format!("/api/v1/workspaces/{encoded}/lab"),
            format!("/api/v1/workspaces/{encoded}"),
            format!("{PATH}/podtemplate/logs/stream?container={encoded}"),
            format!("/api/v1/workspaces/team-a/{encoded}/actions/pause"),
        ] {
            let method = if path.ends_with("pause") { Method::POST } else { Method::GET };
            let answer = send(&server, method, &path, r#"{"data":{"paused":true}}"#).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
            assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path}");
        }
    }
}

#[tokio::test]
async fn every_fault_of_the_cluster_has_an_answer() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let running =
        json!({"state": "Running", "podTemplatePod": {"name": "ws-lab-0", "nodeName": "n"}});
    server.set_status("lab", running).await;
    let view = server.get(PATH).await.json();
    let mut said = String::new();
    for (case, fault) in [
        ("conflict", Fault::Status(409, "Conflict")),
        ("gone", Fault::Status(410, "Gone")),
        ("too many requests", Fault::Status(429, "TooManyRequests")),
        ("forbidden", Fault::Status(403, "Forbidden")),
        ("broken", Fault::Status(500, "InternalError")),
        ("unavailable", Fault::Status(503, "ServiceUnavailable")),
        ("disk full", Fault::Status(507, "")),
        ("timeout", Fault::Timeout),
        ("torn", Fault::Torn),
    ] {
        let _ = writeln!(said, "{case}");
        for method in [Method::GET, Method::PUT] {
            server.faults.set(method.clone(), fault.clone());
            let answer = put(&server, PATH, &view).await;
            let retry = answer.headers.contains_key(header::RETRY_AFTER);
            let _ = writeln!(said, "  update, {method}: {} (retry: {retry})", answer.error());
        }
        server.faults.set(Method::GET, fault.clone());
        let answer =
            send(&server, Method::POST, &format!("{PATH}/actions/restart"), r#"{"data":{}}"#).await;
        let _ = writeln!(said, "  restart: {}", answer.error());
        server.faults.set(Method::PATCH, fault);
        let body = r#"{"data":{"paused":true}}"#;
        let all = "/api/v1/workspaces/team-a/actions/pause";
        let answer = send(&server, Method::POST, all, body).await;
        let _ = writeln!(said, "  pause all: {} {}", answer.status, answer.text());
    }
    server.faults.set_times(Method::GET, Fault::Timeout, 0);
    assert_snapshot!(said);
    assert_eq!(server.get(PATH).await.json(), view, "nothing was changed");
}
