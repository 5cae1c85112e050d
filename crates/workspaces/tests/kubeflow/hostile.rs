//! Bodies that try to hurt, on every route that takes one beside those of workspaces.

use axum::body::Body;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Server, kind, request},
    record::put,
};

const KIND: &str = "/api/v1/workspacekinds/lab";
const VALUES: &str = "/api/v1/workspacekinds/lab/podtemplate/options/listvalues";
const SECRETS: &str = "/api/v1/secrets/team-a";
const SECRET: &str = "/api/v1/secrets/team-a/keys";
const CLAIMS: &str = "/api/v1/persistentvolumeclaims/team-a";

const ROUTES: [(Method, &str, &str); 5] = [
    (Method::PUT, KIND, "spawner"),
    (Method::POST, VALUES, "context"),
    (Method::POST, SECRETS, "contents"),
    (Method::PUT, SECRET, "contents"),
    (Method::POST, CLAIMS, "requests"),
];

async fn start() -> Server {
    let server = Server::start().await;
    let keys = json!({"data": {"name": "keys"}});
    assert_eq!(server.post(SECRETS, &keys).await.status, StatusCode::CREATED);
    server
}

async fn send(server: &Server, method: &Method, path: &str, body: impl Into<Body>) -> Answer {
    let request = request(method.clone(), path).header(header::CONTENT_TYPE, "application/json");
    server.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let server = start().await;
    for (method, path, field) in ROUTES {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut broken = format!(r#"{{"data":{{"{field}":""#).into_bytes();
        broken.extend_from_slice(&[0xff, 0xfe]);
        broken.extend_from_slice(br#""}}"#);
        for (case, body) in [
            ("deep", format!(r#"{{"data":{{"{field}":{deep}}}}}"#).into_bytes()),
            ("not UTF-8", broken),
            ("two documents", br#"{"data":{}} {"data":{}}"#.to_vec()),
            ("a number out of range", format!(r#"{{"data":{{"{field}":1e999}}}}"#).into_bytes()),
            ("a list", format!(r#"{{"data":{{"{field}":[{}1]}}}}"#, "1,".repeat(10_000)).into()),
            ("nothing", b" \n".to_vec()),
        ] {
            let answer = send(&server, &method, path, body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}: {}", answer.show());
            assert!(answer.body.len() < 1000, "{case}: {}", answer.show());
        }
    }
}

#[tokio::test]
async fn the_last_of_equal_keys_wins() {
    let server = start().await;
    let twice = r#"{"data":{"name":"A","name":"twice","name":"thrice",
        "contents":{"a":{"base64":"!"},"a":{"base64":"YQ==","base64":"Yg=="}}}}"#;
    let answer = send(&server, &Method::POST, SECRETS, twice).await;
    assert_eq!(answer.json()["data"]["name"], json!("thrice"), "{}", answer.show());
    let twice = r#"{"data":{"context":{"imageConfig":{"id":"no"},"imageConfig":{"id":"lab_1"}}}}"#;
    let answer = send(&server, &Method::POST, VALUES, twice).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let kind = server.get(KIND).await.text().to_owned();
    let twice = kind.replacen(r#"{"data":{"#, r#"{"data":{"revision":"no","spawner":1,"#, 1);
    let answer = send(&server, &Method::PUT, KIND, twice).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
}

#[tokio::test]
async fn ten_thousand_of_everything() {
    let server = start().await;
    let many = |item: fn(usize) -> (String, Value)| (0..10_000).map(item).collect::<Value>();
    let good = many(|n| (format!("key{n}"), json!({"base64": "YQ=="})));
    let answer = server.post(SECRETS, &json!({"data": {"name": "good", "contents": good}})).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let bad = many(|n| (format!("key {n}"), json!({"base64": "!"})));
    let answer = server.post(SECRETS, &json!({"data": {"name": "bad", "contents": bad}})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.body.len() < 50_000, "{}", answer.body.len());
    let claim = json!({"data": {
        "name": "c", "accessModes": vec!["x"; 10_000], "storageClassName": "standard",
        "requests": {"storage": "1Gi"},
    }});
    let answer = server.post(CLAIMS, &claim).await;
    assert_eq!(
        answer.error(),
        "422 request body was invalid\nINTERNAL FieldValueTooMany data.accessModes: Too many: \
         10000: must have at most 16 items"
    );
    let mut edited = server.get(KIND).await.json();
    let unknown = many(|n| (format!("unknown{n}"), json!(n)));
    edited["data"]["spawner"]["unknown"] = unknown;
    let answer = put(&server, KIND, &edited).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
}

/// Each option is judged by each rule, and redirects are followed: none of it may take for ever.
#[tokio::test]
async fn a_kind_with_thousands_of_options() {
    let server = start().await;
    let mut edited = server.get(KIND).await.json();
    let values = &mut edited["data"]["podTemplate"]["options"]["podConfig"]["values"];
    let option = |n: usize| {
        let to = format!("option{}", (n + 1).min(4999));
        let redirect = if n < 4999 { json!({"to": to}) } else { Value::Null };
        let mut option = json!({
            "id": format!("option{n}"), "spawner": {"displayName": "Option"}, "spec": {},
        });
        if !redirect.is_null() {
            option["redirect"] = redirect;
        }
        option
    };
    values.as_array_mut().unwrap().extend((0..5000).map(option));
    let answer = put(&server, KIND, &edited).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.error());
    let answer = server.post(VALUES, &json!({"data": {}})).await;
    let listed = answer.json()["data"]["podConfig"]["values"].as_array().unwrap().len();
    assert_eq!(listed, 5001);
    let answer = put(&server, KIND, &server.get(KIND).await.json()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn names_hold_no_headers() {
    let server = start().await;
    for name in ["a\r\nx-evil: 1", "a\u{0}", "a/../b", "A", "a\u{202e}b"] {
        let secret = server.post(SECRETS, &json!({"data": {"name": name}})).await;
        let claim = server.post(CLAIMS, &json!({"data": {"name": name}})).await;
        let mut manifest = kind("k");
        manifest["metadata"]["name"] = json!(name);
        let kinds = "/api/v1/workspacekinds";
        let kind = server.post_text(kinds, "application/yaml", manifest.to_string()).await;
        for answer in [secret, claim, kind] {
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.show());
            assert!(answer.headers.get("x-evil").is_none());
        }
    }
}
