//! Every route of the table against what every route must withstand.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Method, StatusCode, header};
use serde_json::json;
use workspaces::dialect::kubeflow::{Endpoint, OPENAPI, endpoints};

use crate::harness::{Server, request};

/// What answers without an identity. Nothing may be added.
const OPEN: [&str; 1] = ["getHealthcheck"];

/// The table with names in place of its parameters.
fn all() -> Vec<Endpoint> {
    let fill = |path: String| path.replace("{namespace}", "team-a").replace("{name}", "lab");
    let all: Vec<_> = endpoints()
        .into_iter()
        .map(|endpoint| Endpoint { path: fill(endpoint.path), ..endpoint })
        .collect();
    assert!(all.len() >= CONTRACT.len(), "the table has shrunk");
    all
}

/// The operations of the contract (§13).
const CONTRACT: [(&str, &str, &str); 29] = [
    ("GET", "/healthcheck", "getHealthcheck"),
    ("GET", "/namespaces", "listNamespaces"),
    ("GET", "/workspaces", "listAllWorkspaces"),
    ("GET", "/workspaces/{namespace}", "listWorkspacesByNamespace"),
    ("POST", "/workspaces/{namespace}", "createWorkspace"),
    ("GET", "/workspaces/{namespace}/{name}", "getWorkspace"),
    ("PUT", "/workspaces/{namespace}/{name}", "updateWorkspace"),
    ("DELETE", "/workspaces/{namespace}/{name}", "deleteWorkspace"),
    ("POST", "/workspaces/{namespace}/{name}/actions/pause", "updateWorkspacePauseState"),
    ("GET", "/workspaces/{namespace}/{name}/podtemplate/details", "getWorkspacePodTemplateDetails"),
    (
        "GET",
        "/workspaces/{namespace}/{name}/podtemplate/logs/batch",
        "getWorkspacePodTemplateLogsBatch",
    ),
    (
        "GET",
        "/workspaces/{namespace}/{name}/podtemplate/resources",
        "getWorkspacePodTemplateResources",
    ),
    ("GET", "/workspacekinds", "listWorkspaceKinds"),
    ("POST", "/workspacekinds", "createWorkspaceKind"),
    ("GET", "/workspacekinds/{name}", "getWorkspaceKind"),
    ("PUT", "/workspacekinds/{name}", "updateWorkspaceKind"),
    ("DELETE", "/workspacekinds/{name}", "deleteWorkspaceKind"),
    (
        "POST",
        "/workspacekinds/{name}/podtemplate/options/listvalues",
        "podTemplateOptionsListValues",
    ),
    ("GET", "/workspacekinds/{name}/assets/icon", "getWorkspaceKindIcon"),
    ("GET", "/workspacekinds/{name}/assets/logo", "getWorkspaceKindLogo"),
    ("GET", "/storageclasses", "listStorageClasses"),
    ("GET", "/persistentvolumeclaims/{namespace}", "listPVCs"),
    ("POST", "/persistentvolumeclaims/{namespace}", "createPVC"),
    ("DELETE", "/persistentvolumeclaims/{namespace}/{name}", "deletePVC"),
    ("GET", "/secrets/{namespace}", "listSecrets"),
    ("POST", "/secrets/{namespace}", "createSecret"),
    ("GET", "/secrets/{namespace}/{name}", "getSecret"),
    ("PUT", "/secrets/{namespace}/{name}", "updateSecret"),
    ("DELETE", "/secrets/{namespace}/{name}", "deleteSecret"),
];

#[test]
fn every_operation_of_the_contract_is_there() {
    for (method, path, id) in CONTRACT {
        let known = endpoints().into_iter().find(|known| known.id == id);
        let known = known.map(|known| (known.method.to_string(), known.path));
        assert_eq!(known, Some((method.to_owned(), format!("/api/v1{path}"))), "{id}");
    }
}

/// Each path with its methods.
fn paths() -> BTreeMap<String, Vec<Method>> {
    let mut paths: BTreeMap<String, Vec<Method>> = BTreeMap::new();
    for endpoint in all() {
        paths.entry(endpoint.path).or_default().push(endpoint.method);
    }
    paths
}

#[tokio::test]
async fn nobody_unknown_gets_in() {
    let server = Server::start().await;
    for Endpoint { path, method, id, open, .. } in all() {
        assert_eq!(open, OPEN.contains(&id), "{id}");
        // Broken in every other way too: identity comes first.
        let body = Body::from(vec![b'x'; 5 << 20]);
        let request = request(method.clone(), &path).body(body).unwrap();
        let answer = server.send_as_is(request).await;
        if open {
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
            continue;
        }
        let expected = r#"{"error":{"code":"401","message":"authentication is required to access this resource"}}"#;
        assert_eq!(answer.text(), expected, "{method} {path}");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = Server::start().await;
    for Endpoint { path, method, id, open, .. } in all() {
        if open || method == Method::POST {
            continue;
        }
        let mut request = request(method.clone(), &path).body(Body::empty()).unwrap();
        let stranger = web::Identity { user: "eve".into(), groups: Vec::new() };
        request.extensions_mut().insert(stranger);
        let answer = server.send_as_is(request).await;
        match id {
            "getUser" => {
                assert_eq!(answer.json(), json!({"data": {"userId": "eve", "clusterAdmin": false}}))
            }
            "listNamespaces" => assert_eq!(answer.json(), json!({"data": []})),
            _ => assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}"),
        }
    }
}

#[tokio::test]
async fn other_methods_are_named() {
    let server = Server::start().await;
    for (path, takes) in paths() {
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
async fn documents_are_for_reading() {
    let server = Server::start().await;
    for path in OPENAPI {
        for (method, status) in [
            (Method::GET, StatusCode::OK),
            (Method::HEAD, StatusCode::OK),
            (Method::POST, StatusCode::METHOD_NOT_ALLOWED),
            (Method::DELETE, StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let request = request(method.clone(), path).body(Body::empty()).unwrap();
            let answer = server.send(request).await;
            assert_eq!(answer.status, status, "{method} {path}");
            let allow = if status == StatusCode::OK { "" } else { "GET, HEAD" };
            assert_eq!(answer.header(header::ALLOW), allow, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn bodies_have_a_type_and_a_limit() {
    let server = Server::start().await;
    for Endpoint { path, method, body, .. } in all() {
        let Some(wants) = body else { continue };
        let send = async |media_type: &str, body: Body| {
            let request = request(method.clone(), &path).header(header::CONTENT_TYPE, media_type);
            server.send(request.body(body).unwrap()).await.error()
        };
        let answer = server.send(request(method.clone(), &path).body("{}".into()).unwrap()).await;
        assert_eq!(answer.error(), "415 Content-Type header is missing", "{path}");
        let message = format!("415 unsupported media type: text/plain, expected: {wants}");
        assert_eq!(send("text/plain", "{}".into()).await, message, "{path}");
        let large = vec![b' '; (4 << 20) + 1];
        let too_large = "413 http: request body too large";
        assert_eq!(send(wants, large.into()).await, too_large, "{path}");
        let unsized_body =
            futures::stream::iter((0..5).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
        assert_eq!(send(wants, Body::from_stream(unsized_body)).await, too_large, "{path}");
        let largest = send(wants, vec![b' '; 4 << 20].into()).await;
        assert!(largest.starts_with("400 "), "{path}: {largest}");
    }
}

#[tokio::test]
async fn a_trailing_slash_leads_to_the_path() {
    let server = Server::start().await;
    for path in paths().into_keys() {
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
async fn every_route_is_also_below_the_prefixes_of_the_stock_clients() {
    let server = Server::start().await;
    for prefix in ["/workspaces", "/workspaces/backend"] {
        for Endpoint { path, method, .. } in all() {
            if method != Method::GET {
                continue;
            }
            let plain = server.get(&path).await;
            let prefixed = server.get(&format!("{prefix}{path}")).await;
            assert_eq!(prefixed.status, plain.status, "{prefix}{path}");
            assert_eq!(prefixed.body, plain.body, "{prefix}{path}");
            let slash = server.get(&format!("{prefix}{path}/")).await;
            assert_eq!(slash.header(header::LOCATION), format!("{prefix}{path}"));
        }
        let nothing = server.get(&format!("{prefix}/api/v1/nothing")).await;
        assert_eq!(nothing.error(), "404 the requested resource could not be found");
    }
}
