//! Changing a workspace: the editable view goes back as it came, changed, and only on top of what
//! its editor has seen.

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use workspaces::{
    dialect::kubeflow::Options,
    model::{Workspace, WorkspaceKind},
};

use crate::harness::{Answer, Fault, Server, kind, request, seen, workspace};

const PATH: &str = "/api/v1/workspaces/team-a/lab";

pub(crate) async fn put(server: &Server, path: &str, body: &Value) -> Answer {
    let request = request(Method::PUT, path).header(header::CONTENT_TYPE, "application/json");
    server.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// The editable view of `lab`.
async fn view(server: &Server) -> Value {
    server.get(PATH).await.json()
}

/// A claim of `team-a`, released for mounting or not.
async fn claim(server: &Server, name: &str, released: bool) -> PersistentVolumeClaim {
    let label = json!({"notebooks.kubeflow.org/can-mount": released.to_string()});
    let claim = json!({
        "metadata": {"name": name, "labels": label},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let claim = server.make(Some("team-a"), claim).await;
    seen(&server.caches.pvcs, &claim).await;
    claim
}

async fn secret(server: &Server, name: &str) {
    let label = json!({"notebooks.kubeflow.org/can-mount": "true"});
    let secret = json!({"metadata": {"name": name, "labels": label}});
    server.make::<Secret>(Some("team-a"), secret).await;
}

#[tokio::test]
async fn what_was_read_can_be_changed_and_sent_back() {
    let server = Server::start().await;
    claim(&server, "home", true).await;
    claim(&server, "more", true).await;
    secret(&server, "keys").await;
    let mut new = workspace("lab");
    new["data"]["displayName"] = json!("Before");
    new["data"]["podTemplate"]["podMetadata"] = json!({"labels": {"a": "b"}});
    new["data"]["podTemplate"]["volumes"] = json!({"home": "home"});
    let made = server.post("/api/v1/workspaces/team-a", &new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.show());
    let first = server.get(PATH).await;
    assert_snapshot!("edit_view", first.show());

    let mut changed = first.json();
    let data = &mut changed["data"];
    data["paused"] = json!(true);
    data["podTemplate"]["podMetadata"]["annotations"] = json!({"c": "d"});
    data["podTemplate"]["volumes"] = json!({
        "data": [{"pvcName": "more", "mountPath": "/data", "readOnly": true}],
        "secrets": [{"secretName": "keys", "mountPath": "/keys"}],
    });
    data["podTemplate"]["options"]["imageConfig"] = json!("lab_0");
    let second = put(&server, PATH, &changed).await;
    assert_snapshot!("edited", second.show());
    assert_ne!(second.json()["data"]["revision"], first.json()["data"]["revision"]);
    assert_eq!(server.get(PATH).await.json(), second.json(), "what is written can be read");

    let mut third = second.json();
    let data = third["data"].as_object_mut().unwrap();
    data.remove("displayName");
    data["podTemplate"].as_object_mut().unwrap().retain(|key, _| key == "options");
    assert_snapshot!("edited_to_the_least", put(&server, PATH, &third).await.show());
}

#[tokio::test]
async fn a_change_names_who_made_it() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let made = server.caches.workspaces.get(Some("team-a"), "lab").unwrap();
    let annotations = made.metadata.annotations.clone().unwrap();
    assert_eq!(
        json!(annotations),
        json!({
            "notebooks.kubeflow.org/created-by": "local",
            "notebooks.kubeflow.org/updated-by": "local",
        })
    );
    let body = view(&server).await;
    let mut request = request(Method::PUT, PATH)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let owner = web::Identity::local();
    request.extensions_mut().insert(owner);
    assert_eq!(server.send_as_is(request).await.status, StatusCode::OK);
    let item = &server.get("/api/v1/workspaces").await.json()["data"][0];
    assert_eq!(item["audit"]["updatedBy"], json!("local"));
    let at: jiff::Timestamp = item["audit"]["updatedAt"].as_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now() - at).get_seconds().abs() < 60, "{at}");
    // Only the spec makes a revision.
    assert_eq!(view(&server).await["data"]["revision"], body["data"]["revision"]);
}

#[tokio::test]
async fn changes_that_cannot_be() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    claim(&server, "locked", false).await;
    let good = view(&server).await;
    let with = |change: fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body["data"]);
        body
    };
    let mut said = String::new();
    for (case, body) in [
        ("no data", json!({})),
        ("nothing", json!({"data": {}})),
        ("a name", with(|data| data["name"] = json!("lab"))),
        ("a kind", with(|data| data["kind"] = json!("lab"))),
        ("a field of the older generation", with(|data| data["deferUpdates"] = json!(true))),
        ("no revision", with(|data| data["revision"] = json!(""))),
        ("another revision", with(|data| data["revision"] = json!("0".repeat(64)))),
        ("empty home", with(|data| data["podTemplate"]["volumes"]["home"] = json!(""))),
        (
            "mounts that are not there",
            with(|data| {
                data["podTemplate"]["volumes"] = json!({
                    "home": "none",
                    "data": [{"pvcName": "locked", "mountPath": "/d"}],
                    "secrets": [{"secretName": "gone", "mountPath": "/s"}],
                });
            }),
        ),
        (
            "unknown options",
            with(|data| {
                data["podTemplate"]["options"] = json!({"imageConfig": "x", "podConfig": "y"});
            }),
        ),
        ("display name too long", with(|data| data["displayName"] = json!("x".repeat(129)))),
        (
            "one mount path twice",
            with(|data| {
                let volume = json!({"pvcName": "home", "mountPath": "/d"});
                data["podTemplate"]["volumes"]["data"] = json!([volume, volume]);
            }),
        ),
    ] {
        if case == "one mount path twice" {
            claim(&server, "home", true).await;
        }
        said += &format!("{case}\n{}\n\n", put(&server, PATH, &body).await.error());
    }
    let nowhere = put(&server, "/api/v1/workspaces/team-a/none", &good).await;
    said += &format!("a workspace that does not exist\n{}\n", nowhere.error());
    assert_snapshot!(said);
    assert_eq!(view(&server).await, good, "nothing was changed");
}

/// Two editors: the second one is told, and the change of the first one stays.
#[tokio::test]
async fn the_first_of_two_changes_wins() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let both = view(&server).await;
    let (mut one, mut two) = (both.clone(), both);
    one["data"]["displayName"] = json!("One");
    two["data"]["displayName"] = json!("Two");
    assert_eq!(put(&server, PATH, &one).await.status, StatusCode::OK);
    assert_snapshot!("edited_too_late", put(&server, PATH, &two).await.show());
    assert_eq!(view(&server).await["data"]["displayName"], json!("One"));
}

/// A status that is written between reading and writing is no conflict of the caller's.
#[tokio::test]
async fn writes_of_others_to_the_status_do_not_count() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let body = view(&server).await;
    server.set_status("lab", json!({"state": "Running"})).await;
    server.faults.set_times(Method::PUT, Fault::Status(409, "Conflict"), 4);
    assert_eq!(put(&server, PATH, &body).await.status, StatusCode::OK);
    server.faults.set(Method::PUT, Fault::Status(409, "Conflict"));
    assert_snapshot!("edited_in_vain", put(&server, PATH, &view(&server).await).await.show());
}

/// Read from a cache that is behind, a revision is still compared with what there is.
#[tokio::test]
async fn a_revision_that_the_cache_does_not_know_yet_is_good() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let api: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
    let patch = Patch::Merge(json!({"spec": {"displayName": "Behind the server's back"}}));
    let written = api.patch("lab", &PatchParams::default(), &patch).await.unwrap();
    let mut body = view(&server).await;
    let text =
        format!("{}:lab:{}", written.metadata.uid.unwrap(), written.metadata.generation.unwrap());
    body["data"]["revision"] = json!(sha256(&text));
    let answer = put(&server, PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A claim that loses its label, or goes, stops nobody from renaming what mounts it.
#[tokio::test]
async fn what_stays_is_not_checked_again() {
    let server = Server::start().await;
    claim(&server, "home", true).await;
    let mut new = workspace("lab");
    new["data"]["podTemplate"]["volumes"] = json!({"home": "home"});
    server.post("/api/v1/workspaces/team-a", &new).await;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(server.client.clone(), "team-a");
    let patch = json!({"metadata": {"labels": {"notebooks.kubeflow.org/can-mount": null}}});
    let written = api.patch("home", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    seen(&server.caches.pvcs, &written).await;
    let mut body = view(&server).await;
    body["data"]["displayName"] = json!("Renamed");
    let answer = put(&server, PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    // Mounting it a second time is a new wish.
    let mut body = answer.json();
    body["data"]["podTemplate"]["volumes"]["data"] =
        json!([{"pvcName": "home", "mountPath": "/again"}]);
    assert_eq!(put(&server, PATH, &body).await.status, StatusCode::OK);
    // A new workspace may not have it.
    let mut other = workspace("other");
    other["data"]["podTemplate"]["volumes"] = json!({"home": "home"});
    let answer = server.post("/api/v1/workspaces/team-a", &other).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    drop(server);
    let lax = Server::with(Options { require_can_mount: false, ..Options::default() }).await;
    claim(&lax, "home", false).await;
    let answer = lax.post("/api/v1/workspaces/team-a", &other).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    other["data"]["podTemplate"]["volumes"] = json!({"home": "none"});
    let answer = lax.post("/api/v1/workspaces/team-a", &other).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "what is not there stays refused");
}

#[tokio::test]
async fn filter_rules_hold_for_changed_options_only() {
    let server = Server::start().await;
    let mut strict = kind("strict");
    let deny = |text: &str| json!({"api": {"deny": true, "denyMessage": {"text": text}}});
    let python = json!({"matchImageConfig": {"selector": {"matchLabels": {"python": "3.13"}}}});
    let made = server.make::<WorkspaceKind>(None, strict.clone()).await;
    seen(&server.caches.kinds, &made).await;
    let mut new = workspace("lab");
    new["data"]["kind"] = json!("strict");
    server.post("/api/v1/workspaces/team-a", &new).await;
    // The rule comes later: what runs stays, and can be changed otherwise.
    strict["spec"]["filterRules"] = json!([
        {"scope": "IMAGE_CONFIG", "effect": deny("too new"), "match": [python]},
        {"scope": "WORKSPACE_KIND", "effect": deny("gone"), "match": [{"matchNamespace": {"selector": {}}}]},
    ]);
    let api: Api<WorkspaceKind> = Api::all(server.client.clone());
    let patch = Patch::Merge(json!({"spec": {"filterRules": strict["spec"]["filterRules"]}}));
    let written = api.patch("strict", &PatchParams::default(), &patch).await.unwrap();
    seen(&server.caches.kinds, &written).await;
    let mut body = view(&server).await;
    body["data"]["displayName"] = json!("Still here");
    let answer = put(&server, PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let mut body = answer.json();
    body["data"]["podTemplate"]["options"]["imageConfig"] = json!("lab_0");
    let answer = put(&server, PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let mut body = answer.json();
    body["data"]["podTemplate"]["options"]["imageConfig"] = json!("lab_1");
    assert_snapshot!("edited_to_what_a_rule_denies", put(&server, PATH, &body).await.show());
    new["data"]["name"] = json!("second");
    let answer = server.post("/api/v1/workspaces/team-a", &new).await;
    assert_snapshot!("made_with_what_rules_deny", answer.show());
}

#[tokio::test]
async fn writes_can_insist_on_a_revision() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let tag = server.get(PATH).await.header(header::ETAG).to_owned();
    let send = async |method: Method, path: &str, tag: &str, body: Value| {
        let request = request(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::IF_MATCH, tag);
        server.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let pause = format!("{PATH}/actions/pause");
    let restart = format!("{PATH}/actions/restart");
    let body = view(&server).await;
    let paused = json!({"data": {"paused": true}});
    for (method, path, body) in [
        (Method::PUT, PATH, body.clone()),
        (Method::DELETE, PATH, Value::Null),
        (Method::POST, pause.as_str(), paused.clone()),
        (Method::POST, restart.as_str(), json!({"data": {}})),
    ] {
        let answer = send(method.clone(), path, r#""0000""#, body).await;
        assert_eq!(
            answer.error(),
            "412 the object has another revision than If-Match asks for",
            "{method} {path}"
        );
    }
    let answer = send(Method::POST, &pause, &tag, paused).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let answer = send(Method::PUT, PATH, &tag, body).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "a pause makes a revision");
    let tag = server.get(PATH).await.header(header::ETAG).to_owned();
    let answer = send(Method::PUT, PATH, &tag, view(&server).await).await;
    assert_eq!((answer.status, answer.header(header::ETAG)), (StatusCode::OK, tag.as_str()));
    let answer = send(Method::DELETE, PATH, &tag, Value::Null).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.show());
}

/// More than anybody mounts is refused before the cluster is asked about each.
#[tokio::test]
async fn ten_thousand_mounts_are_too_many() {
    let server = Server::start().await;
    let mut new = workspace("lab");
    let volumes: Vec<_> =
        (0..10_000).map(|n| json!({"pvcName": "a", "mountPath": format!("/{n}")})).collect();
    let secrets: Vec<_> =
        (0..10_000).map(|n| json!({"secretName": format!("s{n}"), "mountPath": "/s"})).collect();
    new["data"]["podTemplate"]["volumes"] = json!({"data": volumes, "secrets": secrets});
    let answer = server.post("/api/v1/workspaces/team-a", &new).await;
    assert_snapshot!("too_many_mounts", answer.show());
    let labels: serde_json::Map<_, _> =
        (0..100_000).map(|n| (format!("-{n}"), json!("-"))).collect();
    new["data"]["podTemplate"] = json!({"podMetadata": {"labels": labels}});
    let answer = server.post("/api/v1/workspaces/team-a", &new).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.body.len() < 100_000, "{} bytes of answer", answer.body.len());
}

/// The same verdict as the real thing, and nothing happens.
#[tokio::test]
async fn writes_can_be_asked_about() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let create = "/api/v1/workspaces/team-a?dryRun=All";
    assert_snapshot!("asked_about_a_new_one", server.post(create, &workspace("new")).await.show());
    assert_eq!(server.post(create, &workspace("lab")).await.status, StatusCode::CONFLICT);
    let mut wrong = workspace("new");
    wrong["data"]["podTemplate"]["options"]["imageConfig"] = json!("none");
    assert_eq!(server.post(create, &wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(server.get("/api/v1/workspaces/team-a/new").await.status, StatusCode::NOT_FOUND);
    let before = view(&server).await;
    let mut body = before.clone();
    body["data"]["displayName"] = json!("Changed");
    let answer = put(&server, &format!("{PATH}?dryRun=true"), &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    assert_eq!(answer.json()["data"]["displayName"], json!("Changed"));
    assert_eq!(view(&server).await, before);
    let said = "422 query parameters were invalid\nINTERNAL FieldValueInvalid dryRun: Invalid value: \"some\": must be All or a boolean";
    let answer = server.post("/api/v1/workspaces/team-a?dryRun=some", &workspace("new")).await;
    assert_eq!(answer.error(), said);
    assert_eq!(put(&server, &format!("{PATH}?dryRun=some"), &body).await.error(), said);
}
