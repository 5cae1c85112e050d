//! Lists: selectors, pages, revisions.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::ListParams};
use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Kit, Widgets, text};

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| text(&item["metadata"]["name"])).collect()
}

#[tokio::test]
async fn a_list_has_its_kind_and_revision() {
    let kit = Kit::new().await;
    let list = kit.get(&kit.path("configmaps")).await.ok();
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["apiVersion"], "v1");
    assert_eq!(list["items"], json!([]));
    let before: u64 = text(&list["metadata"]["resourceVersion"]).parse().unwrap();
    kit.config_map("b", json!({})).await;
    kit.config_map("a", json!({})).await;
    let list = kit.get(&kit.path("configmaps")).await.ok();
    assert_eq!(names(&list), ["a", "b"]);
    assert!(text(&list["metadata"]["resourceVersion"]).parse::<u64>().unwrap() > before);
    let everywhere = kit.get("/api/v1/configmaps");
    let all = kit.not_compared("the objects of other cases", everywhere).await.ok();
    let ours = all["items"].as_array().unwrap().iter();
    let ours = ours.filter(|item| item["metadata"]["namespace"] == kit.namespace).count();
    assert_eq!(ours, 2);
}

#[rstest]
#[case("app=web", &["a", "b"])]
#[case("app==web,tier=1", &["a"])]
#[case("app!=web", &["c", "d"])]
#[case("app in (web,db)", &["a", "b", "c"])]
#[case("app notin (web,db)", &["d"])]
#[case("tier", &["a", "b"])]
#[case("!app", &["d"])]
#[case("tier>1", &["b"])]
#[tokio::test]
async fn label_selectors(#[case] selector: &str, #[case] expected: &[&str]) {
    let kit = Kit::new().await;
    let all = [
        ("a", json!({"app": "web", "tier": "1"})),
        ("b", json!({"app": "web", "tier": "2"})),
        ("c", json!({"app": "db"})),
        ("d", json!({})),
    ];
    for (name, labels) in all {
        kit.config_map(name, json!({"metadata": {"labels": labels}})).await;
    }
    let api: Api<ConfigMap> = Api::namespaced(kit.client.clone(), &kit.namespace);
    let list = api.list(&ListParams::default().labels(selector)).await.unwrap();
    let found: Vec<_> = list.items.iter().map(|one| one.metadata.name.clone().unwrap()).collect();
    let found: Vec<_> =
        found.iter().map(String::as_str).filter(|name| *name != "kube-root-ca.crt").collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn field_selectors() {
    let kit = Kit::new().await;
    for (name, node) in [("p", Some("n1")), ("q", Some("n2")), ("r", None)] {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        if let Some(node) = node {
            pod["spec"]["nodeName"] = node.into();
        }
        kit.post(&kit.path("pods"), pod).await.ok();
    }
    let api: Api<Pod> = Api::namespaced(kit.client.clone(), &kit.namespace);
    let list = async |selector: &str| -> BTreeSet<String> {
        let list = api.list(&ListParams::default().fields(selector)).await.unwrap();
        list.items.into_iter().map(|pod| pod.metadata.name.unwrap()).collect()
    };
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(list("spec.nodeName=n1").await, set(&["p"]));
    assert_eq!(list("spec.nodeName!=n1").await, set(&["q", "r"]));
    assert_eq!(list("spec.nodeName=").await, set(&["r"]));
    assert_eq!(list("metadata.name=q").await, set(&["q"]));
    assert_eq!(list("status.phase=Pending,metadata.name!=q").await, set(&["p", "r"]));
    let status = json!({"status": {"phase": "Running"}});
    kit.merge(&kit.path("pods/p/status"), status).await.ok();
    assert_eq!(list("status.phase=Running").await, set(&["p"]));
    let namespace = format!("metadata.namespace={}", kit.namespace);
    assert_eq!(list(&namespace).await, set(&["p", "q", "r"]));

    let unknown = kit.get(&kit.path("pods?fieldSelector=spec.nothing%3Da")).await;
    assert_eq!(unknown.failure().2, "field label not supported: spec.nothing");
    let unknown = kit.get(&kit.path("configmaps?fieldSelector=spec.nothing%3Da")).await;
    assert_eq!(
        unknown.failure().2,
        "\"spec.nothing\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}

#[tokio::test]
async fn events_by_the_object_they_are_about() {
    let kit = Kit::new().await;
    for (name, about) in [("e1", "p"), ("e2", "q")] {
        let event = json!({
            "metadata": {"name": name}, "reason": "Started", "type": "Normal", "message": "m",
            "involvedObject": {"kind": "Pod", "namespace": kit.namespace, "name": about, "uid": about},
        });
        kit.post(&kit.path("events"), event).await.ok();
    }
    let query = "events?fieldSelector=involvedObject.name%3Dq%2Ctype%3DNormal%2Creason%3DStarted";
    assert_eq!(names(&kit.get(&kit.path(query)).await.ok()), ["e2"]);
}

#[tokio::test]
async fn pages_show_one_moment() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let path = widgets.path(&kit, "");
    for n in 0..7 {
        kit.post(&path, widgets.object(&format!("w{n}"), json!({"size": 1}))).await.ok();
    }
    let first = kit.get(&format!("{path}?limit=3")).await.ok();
    assert_eq!(names(&first), ["w0", "w1", "w2"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    let token = text(&first["metadata"]["continue"]);

    kit.delete(&widgets.path(&kit, "w4"), json!(null)).await.ok();
    kit.post(&path, widgets.object("w5a", json!({"size": 1}))).await.ok();
    kit.merge(&widgets.path(&kit, "w3"), json!({"spec": {"size": 9}})).await.ok();

    let second = kit.get(&format!("{path}?limit=3&continue={token}")).await.ok();
    assert_eq!(names(&second), ["w3", "w4", "w5"]);
    assert_eq!(second["items"][0]["spec"]["size"], 1);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = text(&second["metadata"]["continue"]);
    let third = kit.get(&format!("{path}?limit=3&continue={token}")).await.ok();
    assert_eq!(names(&third), ["w6"]);
    assert_eq!(text(&third["metadata"]["continue"]), "");
    assert_eq!(names(&kit.get(&path).await.ok()), ["w0", "w1", "w2", "w3", "w5", "w5a", "w6"]);
}

#[tokio::test]
async fn a_list_at_a_revision() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({"data": {"n": "1"}})).await;
    let revision = text(&made["metadata"]["resourceVersion"]);
    kit.merge(&kit.path("configmaps/a"), json!({"data": {"n": "2"}})).await.ok();
    kit.config_map("b", json!({})).await;
    let exact = format!("configmaps?resourceVersion={revision}&resourceVersionMatch=Exact");
    let list = kit.get(&kit.path(&exact)).await.ok();
    let items = list["items"].as_array().unwrap();
    let a = items.iter().find(|item| item["metadata"]["name"] == "a").unwrap();
    assert_eq!(a["data"]["n"], "1");
    assert!(!names(&list).contains(&"b".to_owned()));
    assert_eq!(list["metadata"]["resourceVersion"], revision);
    let newer = format!("configmaps?resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
    assert!(names(&kit.get(&kit.path(&newer)).await.ok()).contains(&"b".to_owned()));
    assert!(
        names(&kit.get(&kit.path("configmaps?resourceVersion=0")).await.ok())
            .contains(&"b".to_owned())
    );
}

#[tokio::test]
async fn a_revision_that_is_not_there_yet() {
    let kit = Kit::new().await;
    let answer = kit.get(&kit.path("configmaps?resourceVersion=99999999999")).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (504, "Timeout"));
    assert!(
        message.starts_with("Timeout: Too large resource version: 99999999999, current: "),
        "{message}"
    );
    let details = answer.details();
    assert_eq!(details["retryAfterSeconds"], 1);
    assert_eq!(details["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn options_that_contradict() {
    let kit = Kit::new().await;
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Some",
        "sendInitialEvents=true",
        "watch=true&sendInitialEvents=true",
        "watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ] {
        let answer = kit.get(&kit.path(&format!("configmaps?{query}"))).await;
        let (code, reason, message) = answer.failure();
        assert_eq!((code, reason.as_str()), (422, "Invalid"), "{query}: {message}");
        assert_eq!(answer.details()["kind"], "ListOptions");
    }
}

#[tokio::test]
async fn delete_collection_takes_what_is_selected() {
    let kit = Kit::new().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        kit.config_map(name, json!({"metadata": {"labels": {"app": app}}})).await;
    }
    let path = kit.path("configmaps?labelSelector=app%3Dx");
    let deleted = kit.delete(&path, json!(null)).await.ok();
    assert_eq!(deleted["kind"], "ConfigMapList");
    assert_eq!(names(&deleted), ["a", "b"]);
    let left = names(&kit.get(&kit.path("configmaps?labelSelector=app")).await.ok());
    assert_eq!(left, ["c"]);
}

#[tokio::test]
async fn only_the_metadata_of_objects() {
    let kit = Kit::new().await;
    let made =
        kit.config_map("a", json!({"metadata": {"labels": {"w": "1"}}, "data": {"k": "v"}})).await;
    let api: Api<ConfigMap> = Api::namespaced(kit.client.clone(), &kit.namespace);
    let got = api.get_metadata("a").await.unwrap();
    assert_eq!(got.types.unwrap().kind, "PartialObjectMetadata");
    assert_eq!(json!(got.metadata.uid), made["metadata"]["uid"]);
    let list = api.list_metadata(&ListParams::default().labels("w")).await.unwrap();
    assert_eq!(list.types.kind, "PartialObjectMetadataList");
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("a"));
    let answer = kit
        .send_accepting(
            "GET",
            &kit.path("configmaps/a"),
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        )
        .await
        .ok();
    assert!(answer.get("data").is_none());
    let answer = kit.send_accepting("GET", &kit.path("configmaps/a"), "text/csv").await;
    assert_eq!((answer.failure().0, answer.failure().1.as_str()), (406, "NotAcceptable"));
}
