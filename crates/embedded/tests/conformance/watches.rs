//! Watches.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::kit::{DEADLINE, DEFINITIONS, Kit, Widgets, text};

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn events_after_a_revision_in_order() {
    let kit = Kit::new().await;
    let first = kit.config_map("a", json!({})).await;
    let revision = text(&first["metadata"]["resourceVersion"]);
    let mut watch = kit.watch(&kit.path(&format!("configmaps?resourceVersion={revision}"))).await;
    kit.config_map("b", json!({})).await;
    let changed = kit.merge(&kit.path("configmaps/a"), json!({"data": {"k": "v"}})).await.ok();
    kit.delete(&kit.path("configmaps/b"), json!(null)).await.ok();
    assert_eq!(watch.next_name().await, event("ADDED", "b"));
    assert_eq!(watch.next().await, json!({"type": "MODIFIED", "object": changed}));
    let deleted = watch.next().await;
    assert_eq!(deleted["type"], "DELETED");
    let at: u64 = text(&deleted["object"]["metadata"]["resourceVersion"]).parse().unwrap();
    let before: u64 = text(&changed["metadata"]["resourceVersion"]).parse().unwrap();
    assert!(at > before, "a deletion has a revision of its own");
    // The same again from the same revision.
    let mut again = kit.watch(&kit.path(&format!("configmaps?resourceVersion={revision}"))).await;
    assert_eq!(again.next_name().await, event("ADDED", "b"));
    assert_eq!(again.next_name().await, event("MODIFIED", "a"));
    assert_eq!(again.next_name().await, event("DELETED", "b"));
}

#[tokio::test]
async fn a_watch_without_revision_begins_with_what_is_there() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"metadata": {"labels": {"w": "1"}}})).await;
    for query in ["", "&resourceVersion=0"] {
        let mut watch = kit.watch(&kit.path(&format!("configmaps?labelSelector=w{query}"))).await;
        assert_eq!(watch.next_name().await, event("ADDED", "a"));
    }
}

#[tokio::test]
async fn objects_come_into_and_go_out_of_a_selection() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({})).await;
    let mut watch = kit.watch(&kit.path("configmaps?labelSelector=on%3Dyes")).await;
    let path = kit.path("configmaps/a");
    kit.merge(&path, json!({"metadata": {"labels": {"on": "yes"}}})).await.ok();
    assert_eq!(watch.next_name().await, event("ADDED", "a"));
    kit.merge(&path, json!({"data": {"k": "v"}})).await.ok();
    assert_eq!(watch.next_name().await, event("MODIFIED", "a"));
    kit.merge(&path, json!({"metadata": {"labels": {"on": "no"}}})).await.ok();
    // It is told as it was in the selection.
    let left = watch.next().await;
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"], json!({"on": "yes"}));
    kit.delete(&path, json!(null)).await.ok();
    kit.config_map("b", json!({"metadata": {"labels": {"on": "yes"}}})).await;
    assert_eq!(watch.next_name().await, event("ADDED", "b"));
}

#[tokio::test]
async fn one_object_can_be_watched() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({})).await;
    let revision = text(&made["metadata"]["resourceVersion"]);
    let query = format!("configmaps?fieldSelector=metadata.name%3Da&resourceVersion={revision}");
    let mut watch = kit.watch(&kit.path(&query)).await;
    kit.config_map("b", json!({})).await;
    kit.delete(&kit.path("configmaps/a"), json!(null)).await.ok();
    assert_eq!(watch.next_name().await, event("DELETED", "a"));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"metadata": {"labels": {"w": "1"}}})).await;
    let query = "configmaps?labelSelector=w&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = kit.watch(&kit.path(query)).await;
    assert_eq!(watch.next_name().await, event("ADDED", "a"));
    let bookmark = watch.next().await;
    assert_eq!(bookmark["type"], "BOOKMARK");
    let object = &bookmark["object"];
    assert_eq!(object["kind"], "ConfigMap");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(text(&object["metadata"]["resourceVersion"]).parse::<u64>().is_ok());
    kit.config_map("b", json!({"metadata": {"labels": {"w": "1"}}})).await;
    assert_eq!(watch.next_name().await, event("ADDED", "b"));
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let kit = Kit::new().await;
    let mut watch = kit.watch(&kit.path("configmaps?labelSelector=w&timeoutSeconds=1")).await;
    assert!(watch.try_next().await.is_none());
}

#[tokio::test]
async fn a_revision_of_long_ago_is_told_as_an_event() {
    let Some(kit) = Kit::embedded_only("a real server forgets only after minutes").await else {
        return;
    };
    let made = kit.config_map("a", json!({})).await;
    let revision = text(&made["metadata"]["resourceVersion"]);
    // More events than any history keeps.
    for round in 0..36 {
        let changes = (0..60).map(|n| {
            let (kit, path) = (&kit, kit.path(&format!("configmaps/c{n}")));
            let object = json!({"metadata": {"name": format!("c{n}")}, "data": {"round": round.to_string()}});
            async move {
                match round {
                    0 => kit.config_map(&format!("c{n}"), object).await,
                    _ => kit.put(&path, object).await.ok(),
                }
            }
        });
        kit.not_compared("writers at once, in any order", futures::future::join_all(changes)).await;
    }
    let mut watch = kit.watch(&kit.path(&format!("configmaps?resourceVersion={revision}"))).await;
    let expired = watch.next().await;
    assert_eq!(expired["type"], "ERROR");
    let status = &expired["object"];
    assert_eq!(status["kind"], "Status");
    assert_eq!(status["code"], 410);
    assert_eq!(status["reason"], "Expired");
    assert!(text(&status["message"]).starts_with("too old resource version: "), "{status}");
    assert!(watch.try_next().await.is_none());
    let exact = format!("configmaps?resourceVersion={revision}&resourceVersionMatch=Exact");
    let answer = kit.get(&kit.path(&exact)).await;
    assert_eq!((answer.failure().0, answer.failure().1.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn a_watch_ends_with_its_definition() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("w", json!({"size": 1}))).await.ok();
    let mut watch = kit.watch(&widgets.path(&kit, "")).await;
    assert_eq!(watch.next_name().await, event("ADDED", "w"));
    kit.delete(&format!("{DEFINITIONS}/{}", widgets.definition), json!(null)).await.ok();
    assert_eq!(watch.next_name().await, event("DELETED", "w"));
    assert!(watch.try_next().await.is_none());
}

#[tokio::test]
async fn the_watcher_of_kube_follows() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"metadata": {"labels": {"w": "1"}}})).await;
    for strategy in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let api: Api<ConfigMap> = Api::namespaced(kit.client.clone(), &kit.namespace);
        let stream = watcher(api, strategy.labels("w")).applied_objects();
        let mut stream = Box::pin(stream);
        let mut next = async || {
            let next = tokio::time::timeout(DEADLINE, stream.try_next()).await;
            next.unwrap().unwrap().unwrap().metadata.name.unwrap()
        };
        assert_eq!(next().await, "a");
        kit.config_map("b", json!({"metadata": {"labels": {"w": "1"}}})).await;
        assert_eq!(next().await, "b");
        kit.delete(&kit.path("configmaps/b"), json!(null)).await.ok();
    }
}

#[tokio::test]
async fn many_watches_all_see_everything() {
    let kit = Kit::new().await;
    let list = kit.get(&kit.path("configmaps")).await.ok();
    let revision = text(&list["metadata"]["resourceVersion"]);
    let path = kit.path(&format!("configmaps?resourceVersion={revision}"));
    let watches = futures::stream::iter(0..32).then(|_| kit.watch(&path)).collect::<Vec<_>>().await;
    let readers = watches.into_iter().map(|mut watch| async move {
        let mut names = Vec::new();
        for _ in 0..50 {
            names.push(watch.next_name().await.1);
        }
        names
    });
    let writer = async {
        for n in 0..50 {
            kit.config_map(&format!("c{n}"), json!({})).await;
        }
    };
    let work = futures::future::join(writer, futures::future::join_all(readers));
    let (_, seen) = kit.not_compared("readers at once, in any order", work).await;
    let expected: Vec<_> = (0..50).map(|n| format!("c{n}")).collect();
    assert!(seen.iter().all(|names| *names == expected));
}
