//! Options as users choose from them: filtered by what they have chosen so far and where they are.

use http::{Method, StatusCode};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};
use workspaces::model::WorkspaceKind;

use crate::{
    harness::{Server, kind, seen},
    record::Record,
};

const LIST: &str = "/api/v1/workspacekinds/strict/podtemplate/options/listvalues";
const EXPLAIN: &str = "/api/v1/workspacekinds/strict/filterrules/explain";

/// A kind whose options depend on each other and on the namespace.
async fn start() -> Server {
    let server = Server::start().await;
    let mut strict = kind("strict");
    let large = json!({
        "id": "large",
        "spawner": {"displayName": "Large", "labels": [{"key": "size", "value": "l"}]},
        "spec": {},
    });
    let values = &mut strict["spec"]["podTemplate"]["options"]["podConfig"]["values"];
    values.as_array_mut().unwrap().push(large);
    let selector = |json: Value| json!({"selector": json});
    strict["spec"]["filterRules"] = json!([
        {
            "scope": "POD_CONFIG",
            "effect": {"api": {"deny": true, "denyMessage": {"text": "only for new images"}}},
            "match": [
                {"matchPodConfig": selector(json!({"matchLabels": {"size": "l"}}))},
                {"matchImageConfig": selector(json!({"matchExpressions": [
                    {"key": "python", "operator": "DoesNotExist"},
                ]}))},
            ],
        },
        {
            "scope": "POD_CONFIG",
            "effect": {"api": {"hide": true}},
            "match": [
                {"matchPodConfig": selector(json!({"matchLabels": {"size": "l"}}))},
                {"matchNamespace": selector(json!({"matchExpressions": [
                    {"key": "team", "operator": "NotIn", "values": ["gpu"]},
                ]}))},
            ],
        },
        {
            "scope": "IMAGE_CONFIG",
            "effect": {"ui": {"hide": true}},
            "match": [{"matchNamespace": selector(json!({"matchLabels": {"team": "gpu"}}))}],
        },
    ]);
    let kind = server.make::<WorkspaceKind>(None, strict).await;
    let gpu = json!({"metadata": {"name": "team-gpu", "labels": {"team": "gpu"}}});
    let gpu = server.make::<Namespace>(None, gpu).await;
    seen(&server.caches.kinds, &kind).await;
    seen(&server.caches.namespaces, &gpu).await;
    server
}

/// The ids of both lists, with `!` for what is denied and `?` for what is hidden.
fn ids(answer: &Value) -> String {
    let list = |name: &str| {
        let values = answer["data"][name]["values"].as_array();
        let id = |value: &Value| {
            let denied = if value["restrictions"]["deny"] == json!(true) { "!" } else { "" };
            let hidden = if value["hidden"] == json!(true) { "?" } else { "" };
            format!("{}{denied}{hidden}", value["id"].as_str().unwrap())
        };
        values.into_iter().flatten().map(id).collect::<Vec<_>>().join(" ")
    };
    format!("{} | {}", list("imageConfig"), list("podConfig"))
}

#[tokio::test]
async fn a_choice_narrows_the_rest() {
    let server = start().await;
    for (context, expected) in [
        (json!(null), "lab_0? lab_1 | small large"),
        (json!({}), "lab_0? lab_1 | small large"),
        // Chosen: the list holds nothing else, and the other list depends on it.
        (json!({"imageConfig": {"id": "lab_0"}}), "lab_0? | small large!"),
        (json!({"imageConfig": {"id": "lab_1"}}), "lab_1 | small large"),
        (json!({"podConfig": {"id": "large"}}), "lab_0? lab_1 | large"),
        (json!({"namespace": {"name": "team-a"}}), "lab_0? lab_1 | small"),
        (json!({"namespace": {"name": "team-gpu"}}), "lab_0? lab_1? | small large"),
        // What does not exist matches nothing, not even an absence.
        (json!({"namespace": {"name": "nowhere"}}), "lab_0? lab_1 | small large"),
        (
            json!({"namespace": {"name": "team-a"}, "imageConfig": {"id": "lab_0"}}),
            "lab_0? | small large!",
        ),
        (json!({"namespace": {"name": "team-a"}, "podConfig": {"id": "large"}}), "lab_0? lab_1 | "),
    ] {
        let answer = server.post(LIST, &json!({"data": {"context": context}})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
        assert_eq!(ids(&answer.json()), expected, "{context}");
    }
}

#[tokio::test]
async fn whole_answers() {
    let server = start().await;
    let mut said = Record::default();
    let in_gpu = json!({"data": {"context": {"namespace": {"name": "team-gpu"}}}});
    said.add("in a namespace", &server.post(LIST, &in_gpu).await);
    let nothing_left = json!({"data": {"context": {
        "namespace": {"name": "team-a"}, "podConfig": {"id": "large"}, "imageConfig": {"id": "lab_1"},
    }}});
    said.add("nothing left", &server.post(LIST, &nothing_left).await);
    let context = |context: Value| json!({"data": {"context": context}});
    for (case, body) in [
        ("no data", json!({})),
        ("unknown field", context(json!({"team": "a"}))),
        ("not an object", context(json!("team-a"))),
        (
            "empty names",
            context(json!({
                "namespace": {"name": ""}, "imageConfig": {"id": ""}, "podConfig": {"id": null},
            })),
        ),
        ("a bad namespace", context(json!({"namespace": {"name": "Team"}}))),
        ("unknown ids", context(json!({"imageConfig": {"id": "x"}, "podConfig": {"id": "y"}}))),
    ] {
        said.add(case, &server.post(LIST, &body).await);
    }
    let none = LIST.replace("strict", "none");
    said.add("no kind", &server.post(&none, &context(json!({}))).await);
    let bad = LIST.replace("strict", "A_b");
    said.add("not a name", &server.post(&bad, &context(json!({}))).await);
    said.add_stranger(&server, Method::POST, LIST).await;
    assert_snapshot!("option_values", said.text());
}

#[tokio::test]
async fn rules_explain_themselves() {
    let server = start().await;
    let mut said = Record::default();
    said.add("from nowhere", &server.get(EXPLAIN).await);
    let path = format!("{EXPLAIN}?namespace=team-a&imageConfig=lab_0");
    said.add("a namespace and an image", &server.get(&path).await);
    said.add("unknown id", &server.get(&format!("{EXPLAIN}?imageConfig=x")).await);
    said.add("a bad namespace", &server.get(&format!("{EXPLAIN}?namespace=A")).await);
    said.add("no kind", &server.get(&EXPLAIN.replace("strict", "none")).await);
    said.add_stranger(&server, Method::GET, EXPLAIN).await;
    assert_snapshot!("rules_explained", said.text());
}
