//! Create, get, replace.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::kit::{Kit, Widgets, text};

#[tokio::test]
async fn create_fills_in_the_metadata_of_the_server() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({"data": {"k": "v"}, "metadata": {"uid": "mine"}})).await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["name"], "a");
    assert_eq!(metadata["namespace"], kit.namespace);
    assert_ne!(metadata["uid"], "mine");
    assert_eq!(text(&metadata["uid"]).len(), 36);
    assert!(text(&metadata["resourceVersion"]).parse::<u64>().unwrap() > 0);
    assert!(text(&metadata["creationTimestamp"]).ends_with('Z'));
    assert!(metadata.get("generation").is_none());
    let got = kit.get(&kit.path("configmaps/a")).await.ok();
    assert_eq!(got["metadata"]["resourceVersion"], metadata["resourceVersion"]);
    assert_eq!(got["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn create_answers_201_and_replace_200() {
    let kit = Kit::new().await;
    let path = kit.path("configmaps");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    assert_eq!(kit.post(&path, object.clone()).await.code, 201);
    assert_eq!(kit.put(&kit.path("configmaps/a"), object).await.code, 200);
}

#[tokio::test]
async fn typed_objects_round_trip() {
    let kit = Kit::new().await;
    let api: Api<Secret> = Api::namespaced(kit.client.clone(), &kit.namespace);
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "s", "labels": {"a": "b"}}, "type": "Opaque", "data": {"k": "dg=="},
    }))
    .unwrap();
    let made = api.create(&PostParams::default(), &secret).await.unwrap();
    let mut got = api.get("s").await.unwrap();
    assert_eq!(made, got);
    got.data.get_or_insert_default().insert("l".into(), k8s_openapi::ByteString(b"w".to_vec()));
    let replaced = api.replace("s", &PostParams::default(), &got).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, got.metadata.resource_version);
    assert_eq!(replaced.data, got.data);
}

#[tokio::test]
async fn generated_names_are_unique_and_short_enough() {
    let kit = Kit::new().await;
    let prefix = format!("{}-", "x".repeat(80));
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let object = json!({"metadata": {"generateName": prefix}});
        let made = kit.post(&kit.path("configmaps"), object).await.ok();
        let name = text(&made["metadata"]["name"]);
        assert_eq!(name.len(), 63, "{name}");
        assert_eq!(made["metadata"]["generateName"], prefix);
        names.insert(name);
    }
    assert_eq!(names.len(), 20);
}

#[tokio::test]
async fn dry_run_checks_and_stores_nothing() {
    let kit = Kit::new().await;
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let path = kit.path("configmaps?dryRun=All");
    let made = kit.post(&path, object.clone()).await.ok();
    assert_eq!(made["data"]["k"], "v");
    assert!(made["metadata"].get("resourceVersion").is_none());
    assert_eq!(kit.get(&kit.path("configmaps/a")).await.code, 404);
    let real = kit.post(&kit.path("configmaps"), object.clone()).await.ok();
    assert_eq!(kit.post(&path, object).await.failure().1, "AlreadyExists");
    let patch = json!({"data": {"k": "w"}});
    let patched = kit.merge(&kit.path("configmaps/a?dryRun=All"), patch).await.ok();
    assert_eq!(patched["data"]["k"], "w");
    kit.delete(&kit.path("configmaps/a?dryRun=All"), json!(null)).await.ok();
    let got = kit.get(&kit.path("configmaps/a")).await.ok();
    assert_eq!(got["metadata"]["resourceVersion"], real["metadata"]["resourceVersion"]);
    let (code, reason, _) =
        kit.post(&kit.path("configmaps?dryRun=Some"), json!({})).await.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
}

#[tokio::test]
async fn replace_needs_the_latest_revision() {
    let kit = Kit::new().await;
    let old = kit.config_map("a", json!({"data": {"n": "0"}})).await;
    let path = kit.path("configmaps/a");
    let mut object = old.clone();
    object["data"]["n"] = "1".into();
    kit.put(&path, object.clone()).await.ok();
    let answer = kit.put(&path, object).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(answer.details(), json!({"name": "a", "kind": "configmaps"}));
}

#[tokio::test]
async fn replace_without_a_revision_overwrites_core_kinds_only() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"data": {"n": "0"}})).await;
    let object = json!({"metadata": {"name": "a"}, "data": {"m": "1"}});
    let replaced = kit.put(&kit.path("configmaps/a"), object).await.ok();
    assert_eq!(replaced["data"], json!({"m": "1"}));

    let widgets = Widgets::install(&kit).await;
    let widget = widgets.object("w", json!({"size": 1}));
    kit.post(&widgets.path(&kit, ""), widget.clone()).await.ok();
    let (code, reason, message) = kit.put(&widgets.path(&kit, "w"), widget).await.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert!(
        message.ends_with(
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn replace_that_changes_nothing_keeps_the_revision() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({"data": {"n": "0"}})).await;
    let replaced = kit.put(&kit.path("configmaps/a"), made.clone()).await.ok();
    assert_eq!(replaced, made);
}

#[tokio::test]
async fn replace_cannot_change_what_the_server_decides() {
    let kit = Kit::new().await;
    let made = kit.config_map("a", json!({})).await;
    let mut object = made.clone();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    object["metadata"]["labels"] = json!({"a": "b"});
    let replaced = kit.put(&kit.path("configmaps/a"), object).await.ok();
    assert_eq!(replaced["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
    let mut object = replaced.clone();
    object["metadata"]["uid"] = "other".into();
    let (code, reason, message) = kit.put(&kit.path("configmaps/a"), object).await.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("Precondition failed: UID in precondition: other"), "{message}");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let mut widget = widgets.object("w", json!({"size": 1}));
    widget["status"] = json!({"ready": true});
    let mut made = kit.post(&widgets.path(&kit, ""), widget).await.ok();
    assert!(made.get("status").is_none());
    assert_eq!(made["metadata"]["generation"], 1);

    made["spec"]["size"] = 2.into();
    made["status"] = json!({"ready": true});
    made["metadata"]["labels"] = json!({"a": "b"});
    let status = kit.put(&widgets.path(&kit, "w/status"), made.clone()).await.ok();
    assert_eq!(status["status"], json!({"ready": true}));
    assert_eq!(status["spec"]["size"], 1);
    assert_eq!(status["metadata"]["generation"], 1);
    assert!(status["metadata"].get("labels").is_none());

    made["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    made["status"] = json!({"ready": false});
    let main = kit.put(&widgets.path(&kit, "w"), made).await.ok();
    assert_eq!(main["status"], json!({"ready": true}));
    assert_eq!(main["spec"]["size"], 2);
    assert_eq!(main["metadata"]["generation"], 2);
    assert_eq!(main["metadata"]["labels"], json!({"a": "b"}));

    let labelled = json!({"metadata": {"labels": {"c": "d"}}});
    let labelled = kit.merge(&widgets.path(&kit, "w"), labelled).await.ok();
    assert_eq!(labelled["metadata"]["generation"], 2);
    assert_eq!(kit.get(&widgets.path(&kit, "w/status")).await.ok(), labelled);
}

#[tokio::test]
async fn built_in_kinds_have_a_status_of_their_own() {
    let kit = Kit::new().await;
    // Nobody else writes the status of a pod that no scheduler takes.
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running"},
    });
    let made = kit.post(&kit.path("pods"), pod).await.ok();
    assert_eq!(made["status"]["phase"], "Pending");
    let running = json!({"status": {"phase": "Running"}});
    let running = kit.merge(&kit.path("pods/p/status"), running).await.ok();
    assert_eq!(running["status"]["phase"], "Running");
    let failed = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}});
    let main = kit.merge(&kit.path("pods/p"), failed).await.ok();
    assert_eq!(main["status"]["phase"], "Running");
}

#[tokio::test]
async fn a_lease_is_created_by_replacing_it() {
    let kit = Kit::new().await;
    let path = kit.group_path("coordination.k8s.io/v1", "leases/l");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "me"},
    });
    let answer = kit.put(&path, lease).await;
    assert_eq!(answer.code, 201);
    assert_eq!(kit.get(&path).await.ok()["spec"]["holderIdentity"], "me");
}

#[tokio::test]
async fn many_writers_of_one_object_lose_nothing() {
    let kit = Kit::new().await;
    kit.config_map("a", json!({"data": {"first": ""}})).await;
    let path = kit.path("configmaps/a");
    let patches = (0..64).map(|n| {
        let (kit, path) = (&kit, &path);
        async move {
            let mut data = serde_json::Map::new();
            data.insert(format!("k{n}"), "v".into());
            kit.merge(path, json!({"data": data})).await.ok()
        }
    });
    kit.not_compared("writers at once, in any order", futures::future::join_all(patches)).await;
    let api: Api<ConfigMap> = Api::namespaced(kit.client.clone(), &kit.namespace);
    assert_eq!(api.get("a").await.unwrap().data.unwrap().len(), 65);
}

#[tokio::test]
async fn what_cannot_change_does_not() {
    let kit = Kit::new().await;
    let claim = json!({
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    kit.post(&kit.path("persistentvolumeclaims"), claim).await.ok();
    let patch = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    let answer = kit.merge(&kit.path("persistentvolumeclaims/c"), patch).await;
    assert_eq!(answer.failure().1, "Invalid");
    assert_eq!(answer.details()["causes"][0]["reason"], "FieldValueForbidden");
    kit.config_map("fixed", json!({"immutable": true, "data": {"k": "v"}})).await;
    let answer = kit.merge(&kit.path("configmaps/fixed"), json!({"data": {"k": "w"}})).await;
    assert_eq!(answer.failure().0, 422);
    kit.merge(&kit.path("configmaps/fixed"), json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .ok();
}

#[tokio::test]
async fn text_of_a_secret_becomes_data() {
    let kit = Kit::new().await;
    let secret =
        json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}, "data": {"l": "dw=="}});
    let made = kit.post(&kit.path("secrets"), secret).await.ok();
    assert_eq!(made["data"], json!({"k": "dg==", "l": "dw=="}));
    assert_eq!(made["type"], "Opaque");
    assert!(made.get("stringData").is_none());
}
