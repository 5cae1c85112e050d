//! WorkspaceKinds: edited, guarded by their revision, shown in both generations of the contract.

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{
    harness::{Fault, Server, kind, request, workspace},
    record::{Record, get_old, put, put_text, send_with},
};

const LAB: &str = "/api/v1/workspacekinds/lab";

async fn edited(server: &Server, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = server.get(LAB).await.json();
    change(&mut body["data"]);
    body
}

#[tokio::test]
async fn what_is_read_can_be_written_back() {
    let server = Server::start().await;
    let read = server.get(LAB).await;
    let written = put(&server, LAB, &read.json()).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.show());
    assert_eq!(written.json(), read.json());
    assert_eq!(written.header(header::ETAG), read.header(header::ETAG));
    let again = put(&server, LAB, &written.json()).await;
    assert_eq!(again.json(), read.json());
}

#[tokio::test]
async fn an_admin_edits_a_kind() {
    let server = Server::start().await;
    let body = edited(&server, |data| {
        data["spawner"]["displayName"] = json!("Laboratory");
        data["podTemplate"]["podMetadata"] = json!({"annotations": {"a": "b"}});
        data["activityRules"] = Value::Null;
    })
    .await;
    let answer = put(&server, LAB, &body).await;
    assert_snapshot!("kind_edited", answer.show());
    assert_ne!(answer.json()["data"]["revision"], body["data"]["revision"]);
    assert_eq!(server.get(LAB).await.json(), answer.json());
    let stored = server.caches.kinds.get(None, "lab").unwrap();
    let annotations = stored.metadata.annotations.clone().unwrap();
    let key = |key: &str| annotations.get(&format!("notebooks.kubeflow.org/{key}")).cloned();
    assert_eq!(key("updated-by").as_deref(), Some("local"));
    assert!(key("updated-at").unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(stored.spec.activity_rules, []);
}

#[tokio::test]
async fn filter_rules_stay_unless_they_are_mentioned() {
    let server = Server::start().await;
    let rules = json!([{
        "scope": "POD_CONFIG",
        "effect": {"ui": {"hide": true}},
        "match": [{"matchNamespace": {"selector": {}}}],
    }]);
    let body = edited(&server, |data| data["filterRules"] = rules.clone()).await;
    let answer = put(&server, LAB, &body).await;
    assert_eq!(answer.json()["data"]["filterRules"], rules, "{}", answer.show());
    let body =
        edited(&server, |data| drop(data.as_object_mut().unwrap().remove("filterRules"))).await;
    let answer = put(&server, LAB, &body).await;
    assert_eq!(answer.json()["data"]["filterRules"], rules, "{}", answer.show());
    for nothing in [json!(null), json!([])] {
        let body = edited(&server, |data| data["filterRules"] = rules.clone()).await;
        assert_eq!(put(&server, LAB, &body).await.status, StatusCode::OK);
        let body = edited(&server, |data| data["filterRules"] = nothing).await;
        let answer = put(&server, LAB, &body).await;
        assert_eq!(answer.json()["data"].get("filterRules"), None, "{}", answer.show());
    }
}

#[tokio::test]
async fn edits_that_are_refused() {
    let server = Server::start().await;
    server.make_workspace("user").await;
    let mut said = Record::default();
    let old = edited(&server, |_| {}).await;
    let fresh = edited(&server, |data| data["spawner"]["displayName"] = json!("Other")).await;
    let fresh = put(&server, LAB, &fresh).await.json();
    said.add("an old revision", &put(&server, LAB, &old).await);
    let with = |change: fn(&mut Value)| {
        let mut body = fresh.clone();
        change(&mut body["data"]);
        body
    };
    for (case, body) in [
        ("no data", json!({})),
        ("no revision", with(|data| data["revision"] = json!(""))),
        ("only a revision", json!({"data": {"revision": fresh["data"]["revision"]}})),
        ("unknown field", with(|data| data["name"] = json!("lab"))),
        (
            "unknown field deep down",
            with(|data| {
                data["podTemplate"]["options"]["podConfig"]["values"][0]["spawner"]["colour"] =
                    json!(1);
            }),
        ),
        ("wrong type", with(|data| data["spawner"]["hidden"] = json!("maybe"))),
        (
            "a word that is not allowed",
            with(|data| {
                data["podTemplate"]["ports"][0]["protocol"] = json!("TCP");
            }),
        ),
        (
            "a field missing",
            with(|data| {
                drop(data["spawner"].as_object_mut().unwrap().remove("displayName"));
            }),
        ),
        ("against the schema", with(|data| data["spawner"]["displayName"] = json!("x"))),
        ("another home", with(|data| data["podTemplate"]["volumeMounts"]["home"] = json!("/h"))),
        (
            "against the rules",
            with(|data| {
                let options = &mut data["podTemplate"]["options"];
                options["podConfig"]["spawner"]["default"] = json!("none");
                options["imageConfig"]["values"][0]["redirect"]["to"] = json!("lab_0");
            }),
        ),
        (
            "an option in use",
            with(|data| {
                let value = &mut data["podTemplate"]["options"]["imageConfig"]["values"][1];
                value["spec"]["image"] = json!("lab:2");
            }),
        ),
        (
            "a filter rule without effect",
            with(|data| {
                data["filterRules"] = json!([{
                    "scope": "WORKSPACE_KIND",
                    "effect": {"ui": {"hide": false}},
                    "match": [{"matchPodConfig": {"selector": {}}}],
                }]);
            }),
        ),
    ] {
        said.add(case, &put(&server, LAB, &body).await);
    }
    said.add("not JSON", &put_text(&server, LAB, "data: {}".to_owned()).await);
    said.add("no kind", &put(&server, "/api/v1/workspacekinds/none", &fresh).await);
    said.add("not a name", &put(&server, "/api/v1/workspacekinds/A_b", &fresh).await);
    let plain = request(Method::PUT, LAB).header(header::CONTENT_TYPE, "application/yaml");
    said.add("YAML", &server.send(plain.body(Body::from("data: {}")).unwrap()).await);
    said.add_stranger(&server, Method::PUT, LAB).await;
    let outdated = (header::IF_MATCH, "\"other\"");
    said.add("another version", &send_with(&server, Method::PUT, LAB, outdated, &fresh).await);
    assert_eq!(server.get(LAB).await.json(), fresh, "something was written");
    assert_snapshot!("kind_edits_refused", said.text());
}

/// The status and the finalizer of a kind change all the time; that is no conflict of the caller's.
#[tokio::test]
async fn a_kind_that_others_write_to_can_be_edited() {
    let server = Server::start().await;
    let body = edited(&server, |data| data["spawner"]["hidden"] = json!(true)).await;
    server.faults.set_times(Method::PUT, Fault::Status(409, "Conflict"), 2);
    let answer = put(&server, LAB, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    server.faults.set(Method::PUT, Fault::Status(409, "Conflict"));
    let body = edited(&server, |_| {}).await;
    assert_snapshot!("kind_always_in_conflict", put(&server, LAB, &body).await.show());
}

#[tokio::test]
async fn a_version_guards_edits_and_ends() {
    let server = Server::start().await;
    let first = server.get(LAB).await;
    let tag = first.header(header::ETAG).to_owned();
    let same = (header::IF_MATCH, tag.as_str());
    let mut body = first.json();
    body["data"]["spawner"]["hidden"] = json!(true);
    let answer = send_with(&server, Method::PUT, LAB, same.clone(), &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let answer = send_with(&server, Method::DELETE, LAB, same, &json!({})).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{}", answer.show());
    let any = (header::IF_MATCH, "*");
    let answer = send_with(&server, Method::DELETE, LAB, any, &json!({})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.show());
}

#[tokio::test]
async fn the_list_of_kinds_is_sent_once() {
    let server = Server::start().await;
    let path = "/api/v1/workspacekinds";
    let first = server.get(path).await;
    let tag = first.header(header::ETAG).to_owned();
    let known = || request(Method::GET, path).header(header::IF_NONE_MATCH, &tag);
    let again = server.send(known().body(Body::empty()).unwrap()).await;
    assert_eq!((again.status, again.text()), (StatusCode::NOT_MODIFIED, ""));
    let body = edited(&server, |data| data["spawner"]["hidden"] = json!(true)).await;
    assert_eq!(put(&server, LAB, &body).await.status, StatusCode::OK);
    let changed = server.send(known().body(Body::empty()).unwrap()).await;
    assert_eq!(changed.status, StatusCode::OK);
}

#[tokio::test]
async fn the_older_generation_sees_other_shapes() {
    let server = Server::start().await;
    let mut said = Record::default();
    said.add("list", &get_old(&server, "/api/v1/workspacekinds").await);
    said.add("get", &get_old(&server, LAB).await);
    let create = |body: String| {
        let request = request(Method::POST, "/api/v1/workspacekinds")
            .header(header::CONTENT_TYPE, "application/yaml")
            .header("x-api-profile", "2025-07");
        server.send(request.body(Body::from(body)).unwrap())
    };
    let mut unknown = kind("new");
    unknown["spec"]["spawner"]["colour"] = json!("red");
    said.add("a field that is not known", &create(unknown.to_string()).await);
    said.add("create", &create(kind("new").to_string()).await);
    assert_snapshot!("kinds_of_2025_07", said.text());
}

/// What a workspace has it keeps; the rules hold for what it changes to.
#[tokio::test]
async fn hidden_kinds_are_told_by_namespace() {
    let server = Server::start().await;
    let body = edited(&server, |data| {
        data["filterRules"] = json!([{
            "scope": "WORKSPACE_KIND",
            "effect": {"ui": {"hide": true}, "api": {
                "deny": true,
                "denyMessage": {"text": "not for this team"},
            }},
            "match": [{"matchNamespace": {"selector": {
                "matchLabels": {"kubernetes.io/metadata.name": "team-a"},
            }}}],
        }]);
    })
    .await;
    assert_eq!(put(&server, LAB, &body).await.status, StatusCode::OK);
    let shown = |list: Value| {
        let item = &list["data"][0];
        json!({"hidden": item["hidden"], "restrictions": item["restrictions"]})
    };
    let path = "/api/v1/workspacekinds";
    let open = json!({"hidden": false, "restrictions": {"deny": false}});
    assert_eq!(shown(server.get(path).await.json()), open);
    let nowhere = server.get(&format!("{path}?namespaceFilter=nowhere")).await.json();
    assert_eq!(shown(nowhere), open);
    let closed = json!({
        "hidden": true,
        "restrictions": {"deny": true, "denyMessage": {"text": "not for this team"}},
    });
    let here = server.get(&format!("{path}?namespaceFilter=team-a")).await.json();
    assert_eq!(shown(here), closed);
    let answer = server.post("/api/v1/workspaces/team-a", &workspace("w")).await;
    assert_snapshot!("kind_denied", answer.show());
}
