//! Secrets: their keys are shown, their values never leave.

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Fault, Server, request, workspace},
    record::{Record, put, put_text, send_with},
};

const ALL: &str = "/api/v1/secrets/team-a";
const ONE: &str = "/api/v1/secrets/team-a/keys";
/// `hunter2`, which no answer may hold.
const VALUE: &str = "aHVudGVyMg==";

fn new(name: &str) -> Value {
    json!({"data": {
        "name": name,
        "contents": {"user": {"base64": "bWU="}, "password": {"base64": VALUE}, "later": {}},
    }})
}

async fn stored(server: &Server, name: &str) -> Value {
    let api: Api<Secret> = Api::namespaced(server.client.clone(), "team-a");
    serde_json::to_value(api.get(name).await.unwrap()).unwrap()
}

fn silent(answer: &Answer) {
    let text = answer.show();
    assert!(!text.contains(VALUE) && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_secret_from_its_creation_to_its_end() {
    let server = Server::start().await;
    let mut said = Record::default();
    let mut add = |case: &str, answer: Answer| {
        silent(&answer);
        said.add(case, &answer);
    };
    add("nothing yet", server.get(ALL).await);
    add("create", server.post(ALL, &new("keys")).await);
    let made = stored(&server, "keys").await;
    assert_eq!(made["data"], json!({"user": "bWU=", "password": VALUE}));
    assert_eq!(
        made["metadata"]["labels"],
        json!({
            "notebooks.kubeflow.org/can-mount": "true",
            "notebooks.kubeflow.org/can-update": "true",
        })
    );
    let mut user = workspace("user");
    user["data"]["podTemplate"]["volumes"] = json!({"secrets": [
        {"secretName": "keys", "mountPath": "/one"},
        {"secretName": "keys", "mountPath": "/two"},
    ]});
    let answer = server.post("/api/v1/workspaces/team-a", &user).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    add("list", server.get(ALL).await);
    add("get", server.get(ONE).await);
    let change =
        json!({"data": {"contents": {"password": {}, "token": {"base64": "dA=="}, "no": {}}}});
    add("update", put(&server, ONE, &change).await);
    let changed = stored(&server, "keys").await;
    assert_eq!(changed["data"], json!({"password": VALUE, "token": "dA=="}));
    add("list after the update", server.get(ALL).await);
    add("delete", server.delete(ONE).await);
    add("gone", server.get(ONE).await);
    assert_snapshot!("secret", said.text());
}

#[tokio::test]
async fn types_and_immutable_secrets() {
    let server = Server::start().await;
    let mut said = Record::default();
    let mut tls = new("keys");
    tls["data"]["type"] = json!("kubernetes.io/tls");
    said.add("a type that wants other keys", &server.post(ALL, &tls).await);
    let mut fixed = new("keys");
    fixed["data"]["type"] = json!("example.org/login");
    fixed["data"]["immutable"] = json!(true);
    said.add("create", &server.post(ALL, &fixed).await);
    let change = json!({"data": {
        "type": "example.org/other", "immutable": true, "contents": {"user": {"base64": "eW91"}},
    }});
    said.add("change of type and value", &put(&server, ONE, &change).await);
    let thaw = json!({"data": {"contents": {"user": {}, "password": {}}}});
    said.add("not immutable any more", &put(&server, ONE, &thaw).await);
    let same = json!({"data": {"immutable": true, "contents": {"user": {}, "password": {}}}});
    said.add("the same", &put(&server, ONE, &same).await);
    assert_snapshot!("secrets_immutable", said.text());
}

#[tokio::test]
async fn what_is_refused() {
    let server = Server::start().await;
    let locked = json!({"metadata": {"name": "locked"}, "data": {"a": VALUE}});
    server.make::<Secret>(Some("team-a"), locked).await;
    assert_eq!(server.post(ALL, &new("keys")).await.status, StatusCode::CREATED);
    let mut said = Record::default();
    let contents = |contents: Value| json!({"data": {"name": "new", "contents": contents}});
    for (case, body) in [
        ("exists", new("keys")),
        ("nothing", json!({"data": {}})),
        ("no data", json!({})),
        ("a bad name", new("A_b")),
        ("a header in the name", new("a\r\nx-evil: 1")),
        ("bad keys", contents(json!({"a b": {}, "": {}, "..": {}}))),
        (
            "not base64",
            contents(json!({"a": {"base64": "hunter2!"}, "b": {"base64": "aHVudGVyMg"}})),
        ),
        ("a value of another type", contents(json!({"a": {"base64": 7}}))),
        ("a bare value", contents(json!({"a": VALUE}))),
        ("a list of values", contents(json!([VALUE]))),
        ("unknown field", contents(json!({"a": {"plain": "hunter2"}}))),
    ] {
        let answer = server.post(ALL, &body).await;
        silent(&answer);
        said.add(case, &answer);
    }
    let nowhere = "/api/v1/secrets/nowhere";
    said.add("no namespace", &server.post(nowhere, &new("keys")).await);
    said.add("not a namespace", &server.get("/api/v1/secrets/Team").await);
    said.add("not a boolean", &server.get(&format!("{ALL}?all=maybe")).await);
    let change = json!({"data": {"contents": {}}});
    said.add("change without can-update", &put(&server, &format!("{ALL}/locked"), &change).await);
    said.add("delete without can-update", &server.delete(&format!("{ALL}/locked")).await);
    said.add("change of nothing", &put(&server, &format!("{ALL}/none"), &change).await);
    said.add("delete of nothing", &server.delete(&format!("{ALL}/none")).await);
    said.add("not a name", &put(&server, &format!("{ALL}/A_b"), &change).await);
    said.add("cut off", &put_text(&server, ONE, r#"{"data":{"contents":"#.to_owned()).await);
    let renamed = json!({"data": {"name": "other"}});
    said.add("another name", &put(&server, ONE, &renamed).await);
    let other = (header::IF_MATCH, "\"other\"");
    said.add("another version", &send_with(&server, Method::PUT, ONE, other, &change).await);
    for (method, path) in [
        (Method::GET, ALL),
        (Method::POST, ALL),
        (Method::GET, ONE),
        (Method::PUT, ONE),
        (Method::DELETE, ONE),
    ] {
        said.add_stranger_with(&server, method, path, &new("new")).await;
    }
    assert_snapshot!("secrets_refused", said.text());
}

#[tokio::test]
async fn secrets_of_machines_are_shown_on_demand() {
    let server = Server::start().await;
    let release = json!({"metadata": {"name": "release"}, "type": "helm.sh/release.v1"});
    server.make::<Secret>(Some("team-a"), release).await;
    server.make_workspace("lab").await;
    let uid = server.caches.workspaces.get(Some("team-a"), "lab").unwrap().metadata.uid.clone();
    let owned = json!({"metadata": {"name": "ws-lab-connect", "ownerReferences": [{
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace", "name": "lab", "uid": uid,
        "controller": true,
    }]}});
    server.make::<Secret>(Some("team-a"), owned).await;
    server.make::<Secret>(Some("team-a"), json!({"metadata": {"name": "own"}})).await;
    let names = |answer: Answer| -> Vec<String> {
        let json = answer.json();
        let items = json["data"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(server.get(ALL).await), ["own"]);
    let all = names(server.get(&format!("{ALL}?all=true")).await);
    for name in ["own", "release", "ws-lab-connect"] {
        assert!(all.iter().any(|known| known == name), "{all:?}");
    }
}

#[tokio::test]
async fn a_secret_that_others_write_to_can_be_changed() {
    let server = Server::start().await;
    assert_eq!(server.post(ALL, &new("keys")).await.status, StatusCode::CREATED);
    let change = json!({"data": {"contents": {"user": {}}}});
    server.faults.set_times(Method::PUT, Fault::Status(409, "Conflict"), 2);
    assert_eq!(put(&server, ONE, &change).await.status, StatusCode::OK);
    server.faults.set(Method::PUT, Fault::Status(409, "Conflict"));
    assert_snapshot!("secret_always_in_conflict", put(&server, ONE, &change).await.show());
    server.faults.set_times(Method::DELETE, Fault::Status(409, "Conflict"), 2);
    assert_eq!(server.delete(ONE).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_known_secret_is_not_sent_again() {
    let server = Server::start().await;
    assert_eq!(server.post(ALL, &new("keys")).await.status, StatusCode::CREATED);
    for path in [ALL, ONE] {
        let tag = server.get(path).await.header(header::ETAG).to_owned();
        let known = request(Method::GET, path).header(header::IF_NONE_MATCH, &tag);
        let answer = server.send(known.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::NOT_MODIFIED, ""));
        let change = json!({"data": {"contents": {"user": {"base64": "bWU="}}}});
        let same = (header::IF_MATCH, server.get(ONE).await.header(header::ETAG).to_owned());
        let same = (same.0, same.1.as_str());
        let changed = send_with(&server, Method::PUT, ONE, same, &change).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.show());
    }
}
