//! Every route of the table against what every route must withstand.

use axum::body::Body;
use http::{Method, StatusCode, header};
use serde_json::json;
use workspaces::dialect::kubeflow::{Options, endpoints};

use crate::harness::{Server, request};

/// What answers without an identity. Nothing may be added.
const OPEN: [&str; 1] = ["/api/v1/healthcheck"];

/// The table with names in place of its parameters.
fn all() -> Vec<(String, Vec<Method>)> {
    let fill = |path: String| path.replace("{namespace}", "team-a").replace("{name}", "lab");
    let all: Vec<_> = endpoints().into_iter().map(|(path, takes)| (fill(path), takes)).collect();
    assert!(all.len() >= 14, "the table has shrunk");
    all
}

#[tokio::test]
async fn nobody_unknown_gets_in() {
    let server = Server::start().await;
    for (path, methods) in all() {
        for method in methods {
            // Broken in every other way too: identity comes first.
            let body = Body::from(vec![b'x'; 5 << 20]);
            let request = request(method.clone(), &path).body(body).unwrap();
            let answer = server.send_as_is(request).await;
            if OPEN.contains(&path.as_str()) {
                assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
                continue;
            }
            let expected = r#"{"error":{"code":"401","message":"authentication is required to access this resource"}}"#;
            assert_eq!(answer.text(), expected, "{method} {path}");
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = Server::start().await;
    for (path, methods) in all() {
        for method in methods.into_iter().filter(|method| *method != Method::POST) {
            if OPEN.contains(&path.as_str()) {
                continue;
            }
            let mut request = request(method.clone(), &path).body(Body::empty()).unwrap();
            let stranger = web::Identity { user: "eve".into(), groups: Vec::new() };
            request.extensions_mut().insert(stranger);
            let answer = server.send_as_is(request).await;
            match path.as_str() {
                "/api/v1/user" => assert_eq!(
                    answer.json(),
                    json!({"data": {"userId": "eve", "clusterAdmin": false}})
                ),
                "/api/v1/namespaces" => assert_eq!(answer.json(), json!({"data": []})),
                _ => assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}"),
            }
        }
    }
}

#[tokio::test]
async fn other_methods_are_named() {
    let server = Server::start().await;
    for (path, takes) in all() {
        let mut allow: Vec<&str> = takes.iter().map(Method::as_str).collect();
        allow.push("OPTIONS");
        allow.sort_unstable();
        let allow = allow.join(", ");
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "BREW"];
        for method in methods.map(|method| Method::from_bytes(method.as_bytes()).unwrap()) {
            if takes.contains(&method) {
                continue;
            }
            let request = request(method.clone(), &path).body(Body::empty()).unwrap();
            let answer = server.send(request).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.header(header::ALLOW), allow, "{method} {path}");
            if method != Method::HEAD {
                let message = format!("the {method} method is not supported for this resource");
                assert_eq!(answer.json()["error"]["message"], json!(message));
            }
        }
        let answer =
            server.send(request(Method::OPTIONS, &path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""), "{path}");
        assert_eq!(answer.header(header::ALLOW), allow, "{path}");
    }
}

#[tokio::test]
async fn bodies_have_a_type_and_a_limit() {
    let server = Server::start().await;
    for (path, takes) in all() {
        if !takes.contains(&Method::POST) {
            continue;
        }
        let answer = server.send(request(Method::POST, &path).body("{}".into()).unwrap()).await;
        assert_eq!(answer.error(), "415 Content-Type header is missing", "{path}");
        let answer = server.post_text(&path, "text/plain", "{}").await;
        let wants = if path.ends_with("kinds") { "application/yaml" } else { "application/json" };
        let message = format!("415 unsupported media type: text/plain, expected: {wants}");
        assert_eq!(answer.error(), message, "{path}");
        let large = vec![b' '; (4 << 20) + 1];
        let answer = server.post_text(&path, wants, large).await;
        assert_eq!(answer.error(), "413 http: request body too large", "{path}");
        let unsized_body =
            futures::stream::iter((0..5).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
        let answer = server.post_text(&path, wants, Body::from_stream(unsized_body)).await;
        assert_eq!(answer.error(), "413 http: request body too large", "{path}");
        let largest = vec![b' '; 4 << 20];
        let answer = server.post_text(&path, wants, largest).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_trailing_slash_leads_to_the_path() {
    let server = Server::start().await;
    for (path, _) in all() {
        for (method, status) in [
            (Method::GET, StatusCode::MOVED_PERMANENTLY),
            (Method::POST, StatusCode::TEMPORARY_REDIRECT),
            (Method::DELETE, StatusCode::TEMPORARY_REDIRECT),
        ] {
            let slash = format!("{path}/?a=b");
            let request = request(method, &slash).body(Body::empty()).unwrap();
            let answer = server.send_as_is(request).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header(header::LOCATION), format!("{path}?a=b"));
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let server = Server::start().await;
    let paths = ["", "/", "/nothing", "/workspaces/a/b/c", "/Workspaces", "/swagger/"];
    for path in paths {
        let answer = server.get(&format!("/api/v1{path}")).await;
        assert_eq!(answer.error(), "404 the requested resource could not be found", "{path}");
    }
}

#[tokio::test]
async fn scripts_of_other_sites_read_answers_only_where_that_is_wanted() {
    let closed = Server::start().await;
    let open = Server::with(Options { any_origin: true, ..Options::default() }).await;
    for path in ["/api/v1/healthcheck", "/api/v1/nothing", "/api/v1/workspaces"] {
        let name = header::ACCESS_CONTROL_ALLOW_ORIGIN;
        assert_eq!(closed.get(path).await.header(name.clone()), "");
        assert_eq!(open.get(path).await.header(name), "*");
    }
}
