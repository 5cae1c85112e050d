//! The routes as a client sees them, on a real directory.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs, os::unix::fs::symlink, path::Path};

use axum::{Router, body::Body};
use files::{Limits, Options, Token, router};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

const BASE: &str = "/workspace/connect/default/box/files/";

fn browser(root: &Path, limits: Limits) -> Router {
    let token = Token::new("sesame".to_owned());
    router(Options { root: root.into(), base_path: BASE.into(), token, limits }).unwrap()
}

async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.unwrap()
}

async fn ask(
    app: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, Vec<u8>) {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{BASE}{path}"))
        .header("authorization", "Bearer sesame");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = send(app, request.body(body.into()).unwrap()).await;
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn names(app: &Router, folder: &str) -> Vec<String> {
    let (status, body) = ask(app, "GET", &format!("api/list/{folder}"), &[], "").await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let entries = body["entries"].as_array().unwrap();
    entries.iter().map(|entry| format!("{} {}", entry["kind"], entry["href"])).collect()
}

#[tokio::test]
async fn a_file_is_stored_listed_read_renamed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let app = browser(dir.path(), Limits::default());
    let json_type = [("content-type", "application/json")];

    assert_eq!(ask(&app, "POST", "api/folders/a%20b", &[], "").await.0, StatusCode::CREATED);
    assert_eq!(ask(&app, "POST", "api/folders/a%20b", &[], "").await.0, StatusCode::CONFLICT);
    let stored = ask(&app, "PUT", "api/files/a%20b/hello.txt", &[], "hello there").await;
    assert_eq!(stored.0, StatusCode::CREATED, "{}", String::from_utf8_lossy(&stored.1));
    assert_eq!(names(&app, "").await, ["\"folder\" \"a%20b\""]);
    assert_eq!(names(&app, "a%20b").await, ["\"file\" \"hello.txt\""]);

    let (status, body) = ask(&app, "GET", "api/files/a%20b/hello.txt", &[], "").await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, b"hello there".as_slice()));
    let part = [("range", "bytes=6-8")];
    let (status, body) = ask(&app, "GET", "api/files/a%20b/hello.txt", &part, "").await;
    assert_eq!((status, body.as_slice()), (StatusCode::PARTIAL_CONTENT, b"the".as_slice()));

    let keep = [("if-none-match", "*")];
    let refused = ask(&app, "PUT", "api/files/a%20b/hello.txt", &keep, "other").await;
    assert_eq!(refused.0, StatusCode::CONFLICT);
    let names_of_move = json!({"from": "a%20b/hello.txt", "to": "moved.txt"}).to_string();
    let moved = ask(&app, "POST", "api/rename", &json_type, names_of_move.clone()).await;
    assert_eq!(moved.0, StatusCode::NO_CONTENT);
    let again = ask(&app, "POST", "api/rename", &json_type, names_of_move).await;
    assert_eq!(again.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&app, "PUT", "api/files/a%20b/x", &[], "x").await.0, StatusCode::CREATED);
    assert_eq!(ask(&app, "DELETE", "api/files/a%20b", &[], "").await.0, StatusCode::CONFLICT);
    let all = ask(&app, "DELETE", "api/files/a%20b?recursive", &[], "").await;
    assert_eq!(all.0, StatusCode::NO_CONTENT);
    assert_eq!(names(&app, "").await, ["\"file\" \"moved.txt\""]);
    assert_eq!(fs::read_to_string(dir.path().join("moved.txt")).unwrap(), "hello there");
}

#[tokio::test]
async fn nothing_outside_the_root_can_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir_all(root.join("in")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(root.join("in/plain"), "plain").unwrap();
    symlink(&outside, root.join("out")).unwrap();
    symlink("../outside", root.join("up")).unwrap();
    symlink("in", root.join("inner")).unwrap();
    let app = browser(&root, Limits::default());

    for path in [
        "../outside/secret",
        "%2e%2e/outside/secret",
        "..%2foutside/secret",
        "in/../../outside/secret",
        "out/secret",
        "up/secret",
        "out",
        "a%00b",
    ] {
        for (method, route) in [
            ("GET", "files"),
            ("PUT", "files"),
            ("DELETE", "files"),
            ("POST", "folders"),
            ("GET", "list"),
        ] {
            if path == "out" && matches!(method, "DELETE" | "PUT") {
                continue; // change the link itself, which is inside
            }
            let path = format!("api/{route}/{path}");
            let (status, _) = ask(&app, method, &path, &[], "x").await;
            assert!(status.is_client_error(), "{method} {path}: {status}");
        }
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);

    let (status, body) = ask(&app, "GET", "api/files/inner/plain", &[], "").await;
    assert_eq!(
        (status, body.as_slice()),
        (StatusCode::OK, b"plain".as_slice()),
        "a link inside works"
    );
    assert_eq!(
        ask(&app, "DELETE", "api/files/out?recursive", &[], "").await.0,
        StatusCode::NO_CONTENT
    );
    assert!(outside.join("secret").exists(), "deleting a link leaves its target");
}

#[tokio::test]
async fn only_holders_of_the_secret_get_in() {
    let dir = tempfile::tempdir().unwrap();
    let app = browser(dir.path(), Limits::default());
    for header in [None, Some("Bearer wrong"), Some("sesame"), Some("Bearer ")] {
        let mut request = Request::builder().uri(format!("{BASE}api/list/"));
        if let Some(value) = header {
            request = request.header("authorization", value);
        }
        let response = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header:?}");
    }
    let probe = Request::get(format!("{BASE}healthz")).body(Body::empty()).unwrap();
    assert_eq!(send(&app, probe).await.status(), StatusCode::NO_CONTENT);
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(ask(&app, "PUT", "api/files/x", &foreign, "x").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let app = browser(dir.path(), Limits { upload_bytes: 10, entries: 2 });
    assert_eq!(
        ask(&app, "PUT", "api/files/a", &[], "12345678901").await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let announced = [("content-length", "11")];
    assert_eq!(
        ask(&app, "PUT", "api/files/a", &announced, "").await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let broken = futures::stream::iter([Ok("123"), Err(std::io::Error::other("gone"))]);
    let torn = ask(&app, "PUT", "api/files/a", &[], Body::from_stream(broken)).await;
    assert_eq!(torn.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&app, "PUT", "api/files/no/a", &[], "1").await.0, StatusCode::NOT_FOUND);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let (_, body) = ask(&app, "GET", "api/list/", &[], "").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((body["entries"].as_array().unwrap().len(), &body["truncated"]), (2, &json!(true)));
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_a_stored_page_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("evil.html"), "<script>alert(1)</script>").unwrap();
    let app = browser(dir.path(), Limits::default());
    let (status, page) = ask(&app, "GET", "", &[], "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!String::from_utf8(page).unwrap().contains("http"), "no address of another site");
    let request = Request::get(format!("{BASE}api/files/evil.html"))
        .header("authorization", "Bearer sesame")
        .body(Body::empty())
        .unwrap();
    let response = send(&app, request).await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("sandbox;"), "{policy}");
    let bare = Request::get(BASE.trim_end_matches('/')).body(Body::empty()).unwrap();
    assert_eq!(send(&app, bare).await.status(), StatusCode::PERMANENT_REDIRECT);
}
