//! What is special about the embedded API: what it does not serve, its limits, restarts, logs.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use embedded::{
    Cluster, Options,
    api::logs::{LogError, LogOptions, LogSource, LogStream},
};
use futures::{AsyncBufReadExt, StreamExt, future::BoxFuture};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api,
    api::{LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    client::Body,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

async fn open(directory: &Path) -> Cluster {
    Cluster::open(Options::new(directory)).await.unwrap()
}

async fn send(
    cluster: &Cluster,
    method: &str,
    path: &str,
    media_type: &str,
    body: impl Into<Vec<u8>>,
) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    let response =
        cluster.client().send(request.body(Body::from(body.into())).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.unwrap();
    (code, String::from_utf8_lossy(&body).into_owned())
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[rstest]
#[case::apply(
    "PATCH",
    "application/apply-patch+yaml",
    "server-side apply is not served here: use `kubectl apply` without --server-side for custom resources, `kubectl create` and `kubectl replace` for others (POST, PUT, application/merge-patch+json, application/json-patch+json)"
)]
#[case::strategic(
    "PATCH",
    "application/strategic-merge-patch+json",
    "strategic merge patch is not served here: use `kubectl replace -f FILE`, or `kubectl patch` with --type=merge (application/merge-patch+json) or --type=json (application/json-patch+json)"
)]
#[tokio::test]
async fn what_is_not_served_says_what_to_use(
    #[case] method: &str,
    #[case] media_type: &str,
    #[case] message: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let (code, body) = send(&cluster, method, path, media_type, "{}").await;
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &status["reason"]), (501, &json!("NotImplemented")));
    assert_eq!(status["message"], message);
}

#[tokio::test]
async fn a_cluster_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let made = api.create(&PostParams::default(), &config_map("a")).await.unwrap();
    api.create(&PostParams::default(), &config_map("b")).await.unwrap();
    let definition = json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made_definition =
        send(&cluster, "POST", path, "application/json", definition.to_string()).await;
    assert_eq!(made_definition.0, 201, "{}", made_definition.1);
    cluster.shutdown().await;

    let cluster = open(directory.path()).await;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    assert_eq!(api.get("a").await.unwrap(), made);
    let things = "/apis/example.com/v1/namespaces/default/things";
    assert_eq!(send(&cluster, "GET", things, "", "").await.0, 200);
    // A watch from before the restart misses nothing.
    let revision = made.metadata.resource_version.unwrap();
    let events = api.watch(&WatchParams::default(), &revision).await.unwrap();
    let mut events = Box::pin(events);
    match tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap() {
        Some(Ok(WatchEvent::Added(object))) => {
            assert_eq!(object.metadata.name.as_deref(), Some("b"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deletion_that_a_restart_interrupts_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let make = async |path: &str, object: Value| {
        let (code, body) =
            send(&cluster, "POST", path, "application/json", object.to_string()).await;
        assert_eq!(code, 201, "{body}");
    };
    make("/api/v1/namespaces", json!({"metadata": {"name": "ending"}})).await;
    make(
        "/api/v1/namespaces/ending/configmaps",
        json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}),
    )
    .await;
    send(&cluster, "DELETE", "/api/v1/namespaces/ending", "", "").await;
    cluster.shutdown().await;

    let cluster = open(directory.path()).await;
    let held = "/api/v1/namespaces/ending/configmaps/held";
    let patch = "{\"metadata\":{\"finalizers\":null}}";
    send(&cluster, "PATCH", held, "application/merge-patch+json", patch).await;
    let gone = async {
        while send(&cluster, "GET", "/api/v1/namespaces/ending", "", "").await.0 != 404 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_watches_and_refuses_writes() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let request = Request::get("/api/v1/configmaps?watch=true&resourceVersion=1");
    let lines = cluster.client().request_stream(request.body(vec![]).unwrap()).await.unwrap();
    let mut lines = Box::pin(lines.lines());
    cluster.shutdown().await;
    let end = tokio::time::timeout(Duration::from_secs(10), lines.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
    let path = "/api/v1/namespaces/default/configmaps";
    let body = json!({"metadata": {"name": "a"}}).to_string();
    assert_eq!(send(&cluster, "POST", path, "application/json", body).await.0, 503);
    assert_eq!(send(&cluster, "GET", path, "", "").await.0, 200, "reads go on");
}

#[tokio::test]
async fn a_full_disk_is_told_as_507() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    cluster.store().set_max_file_bytes(0);
    let path = "/api/v1/namespaces/default/configmaps";
    let refused = async {
        for n in 0.. {
            let object =
                json!({"metadata": {"name": format!("c{n}")}, "data": {"k": "x".repeat(500_000)}});
            let (code, body) =
                send(&cluster, "POST", path, "application/json", object.to_string()).await;
            if code != 201 {
                return (n, code, body);
            }
        }
        unreachable!("there is always another number")
    };
    let (n, code, body) = refused.await;
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &status["reason"]), (507, &json!("InsufficientStorage")), "{body}");
    assert_eq!(send(&cluster, "GET", &format!("{path}/c{n}"), "", "").await.0, 404);
    cluster.store().set_max_file_bytes(u64::MAX);
    let object = json!({"metadata": {"name": format!("c{n}")}}).to_string();
    assert_eq!(send(&cluster, "POST", path, "application/json", object).await.0, 201);
}

struct Source;

impl LogSource for Source {
    fn open<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        Box::pin(async move {
            if options.previous {
                return Err(LogError::BadRequest("previous terminated container not found".into()));
            }
            let name = pod["metadata"]["name"].as_str().unwrap();
            let text = format!("{name}/{container} {:?}\n", options.tail_lines);
            let stream = futures::stream::iter([Ok(Bytes::from(text)), Ok(Bytes::from("end\n"))]);
            Ok(stream.boxed() as LogStream)
        })
    }
}

#[tokio::test]
async fn logs_come_from_their_source() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let api: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = |name: &str, containers: &[&str]| -> Pod {
        let containers: Vec<Value> =
            containers.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"containers": containers},
        }))
        .unwrap()
    };
    api.create(&PostParams::default(), &pod("one", &["main"])).await.unwrap();
    api.create(&PostParams::default(), &pod("two", &["main", "side"])).await.unwrap();
    let path = "/api/v1/namespaces/default/pods/one/log";
    assert_eq!(send(&cluster, "GET", path, "", "").await.0, 503, "nobody has logs yet");

    cluster.set_log_source(Arc::new(Source));
    let options = LogParams { tail_lines: Some(3), ..LogParams::default() };
    assert_eq!(api.logs("one", &options).await.unwrap(), "one/main Some(3)\nend\n");
    let options = LogParams { container: Some("side".into()), ..LogParams::default() };
    assert_eq!(api.logs("two", &options).await.unwrap(), "two/side None\nend\n");
    let message = async |path: &str| {
        let (code, body) = send(&cluster, "GET", path, "", "").await;
        (code, serde_json::from_str::<Value>(&body).unwrap()["message"].clone())
    };
    let two = "/api/v1/namespaces/default/pods/two/log";
    assert_eq!(
        message(two).await,
        (400, json!("a container name must be specified for pod two, choose one of: [main side]"))
    );
    assert_eq!(
        message(&format!("{two}?container=none")).await,
        (400, json!("container none is not valid for pod two"))
    );
    assert_eq!(
        message(&format!("{path}?previous=true")).await,
        (400, json!("previous terminated container not found"))
    );
    assert_eq!(message("/api/v1/namespaces/default/pods/none/log").await.0, 404);
}

#[tokio::test]
async fn a_patch_through_the_typed_client() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    api.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap()["k"], "v");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/.]{0,6}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("status"),
        Just("name"),
        Just("labels"),
        Just("finalizers"),
        Just("ownerReferences"),
        Just("uid"),
        Just("resourceVersion"),
        Just("kind"),
        Just("apiVersion"),
        Just("containers"),
        Just("op"),
        Just("path"),
        Just("names"),
        Just("versions"),
        Just("schema"),
        Just("group"),
        Just("data"),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// No request makes the API panic or answer something that is no HTTP.
#[test]
fn any_request_is_answered() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cluster = runtime.block_on(open(directory.path()));
    let path = prop_oneof![
        "/[a-z0-9/%.?=&]{0,30}",
        "/api/v1/namespaces/default/(configmaps|pods|secrets|services|events|persistentvolumeclaims)(/[a-c])?(/status|/log)?",
        "/apis/apps/v1/namespaces/default/statefulsets(/[a-c])?(/status)?",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions(/[a-c])?",
        "/api/v1/(namespaces|nodes|persistentvolumes)(/[a-c])?",
    ];
    let query = prop_oneof![
        Just(String::new()),
        "\\?(labelSelector|fieldSelector|limit|continue|resourceVersion|dryRun|fieldValidation|gracePeriodSeconds)=[a-zA-Z0-9%=,()!]{0,8}",
    ];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("PATCH"), Just("DELETE")];
    let media_type = prop_oneof![
        3 => Just("application/json"), 2 => Just("application/merge-patch+json"),
        2 => Just("application/json-patch+json"), 1 => Just("text/plain"),
    ];
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() };
    proptest!(config, |(method in method, path in path, query in query, media_type in media_type, body in json_value())| {
        let uri = format!("{path}{query}");
        prop_assume!(uri.parse::<http::Uri>().is_ok());
        let (code, answer) = runtime.block_on(send(&cluster, method, &uri, media_type, body.to_string()));
        // Delete options that cannot be read are 500 without a reason on a real server as well.
        let is_known = matches!(code, 501 | 503 | 504)
            || (code == 500 && method == "DELETE" && !answer.contains("\"reason\""));
        prop_assert!(code < 500 || is_known, "{method} {uri} {body}: {code}");
    });
}

/// The end of a definition is worked on by whoever deletes it and by garbage collection at once:
/// whichever takes note of it last, the kind must be gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kind_goes_with_its_definition_however_its_end_falls() {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let names: Vec<String> = (0..24).map(|number| format!("things{number}")).collect();
    for _ in 0..4 {
        let ends = names.iter().map(|plural| {
            let cluster = &cluster;
            async move {
                let kind = format!("T{plural}");
                let definition = json!({
                    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                    "metadata": {"name": format!("{plural}.example.com")},
                    "spec": {
                        "group": "example.com", "scope": "Namespaced",
                        "names": {"kind": kind, "plural": plural},
                        "versions": [{
                            "name": "v1", "served": true, "storage": true,
                            "schema": {"openAPIV3Schema": {"type": "object"}},
                        }],
                    },
                });
                let json = "application/json";
                let made = send(cluster, "POST", DEFINITIONS, json, definition.to_string()).await;
                assert_eq!(made.0, 201, "{}", made.1);
                let path = format!("{DEFINITIONS}/{plural}.example.com");
                let end = std::time::Instant::now() + Duration::from_secs(30);
                // Asked again and again, like somebody who waits for its end.
                while send(cluster, "DELETE", &path, json, "").await.0 != 404 {
                    assert!(std::time::Instant::now() < end, "{plural} does not end");
                }
            }
        });
        futures::future::join_all(ends).await;
        for plural in &names {
            let path = format!("/apis/example.com/v1/namespaces/default/{plural}");
            let listed = send(&cluster, "GET", &path, "application/json", "").await;
            assert_eq!(listed.0, 404, "{plural}: {}", listed.1);
        }
    }
}
