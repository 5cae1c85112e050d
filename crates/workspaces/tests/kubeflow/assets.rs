//! Pictures of kinds: from ConfigMaps that are released for it, in a sandbox.

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use workspaces::model::WorkspaceKind;

use crate::{
    harness::{Server, kind, request, seen},
    record::Record,
};

const ICON: &str = "/api/v1/workspacekinds/lab/assets/icon";
const LOGO: &str = "/api/v1/workspacekinds/lab/assets/logo";
const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";

async fn start(labels: serde_json::Value) -> Server {
    let server = Server::start().await;
    server.make::<Namespace>(None, json!({"metadata": {"name": "platform"}})).await;
    let map = json!({"metadata": {"name": "logos", "labels": labels}, "data": {"lab.svg": SVG}});
    server.make::<ConfigMap>(Some("platform"), map).await;
    server
}

fn released() -> serde_json::Value {
    json!({"notebooks.kubeflow.org/image-source": "true"})
}

#[tokio::test]
async fn a_picture_with_a_script_is_served_in_a_sandbox() {
    let server = start(released()).await;
    let mut said = Record::default();
    let first = server.get(LOGO).await;
    said.add("a picture", &first);
    let tag = first.header(header::ETAG);
    let hash = tag.trim_start_matches("W/").trim_matches('"').to_owned();
    let named = server.get(&format!("{LOGO}?sha256={hash}")).await;
    said.add("by its hash", &named);
    let other = server.get(&format!("{LOGO}?sha256=00")).await;
    assert_eq!(other.header(header::CACHE_CONTROL), "no-cache");
    let known = request(Method::GET, LOGO).header(header::IF_NONE_MATCH, tag);
    said.add("known", &server.send(known.body(Body::empty()).unwrap()).await);
    said.add("in a namespace", &server.get(&format!("{LOGO}?namespace=team-a")).await);
    said.add("somewhere else", &server.get(ICON).await);
    said.add("no kind", &server.get(&LOGO.replace("lab", "none")).await);
    said.add("not a name", &server.get(&LOGO.replace("lab", "A_b")).await);
    said.add("not a namespace", &server.get(&format!("{LOGO}?namespace=A")).await);
    said.add_stranger(&server, Method::GET, LOGO).await;
    assert_snapshot!("pictures", said.text());
}

#[tokio::test]
async fn pictures_that_are_not_there() {
    let mut said = Record::default();
    let server = start(json!({"notebooks.kubeflow.org/image-source": "True"})).await;
    said.add("not released", &server.get(LOGO).await);
    let api: Api<ConfigMap> = Api::namespaced(server.client.clone(), "platform");
    let release = Patch::Merge(json!({"metadata": {"labels": released()}}));
    api.patch("logos", &PatchParams::default(), &release).await.unwrap();
    let mut other = kind("other");
    let source = json!({"configMap": {
        "name": "logos", "namespace": "platform", "key": "none.svg", "mediaType": "image/svg+xml",
    }});
    other["spec"]["spawner"]["icon"] = source;
    let other = server.make::<WorkspaceKind>(None, other).await;
    seen(&server.caches.kinds, &other).await;
    said.add("no such key", &server.get(&ICON.replace("lab", "other")).await);
    api.delete("logos", &DeleteParams::default()).await.unwrap();
    said.add("no ConfigMap", &server.get(LOGO).await);
    assert_snapshot!("pictures_missing", said.text());
}

#[tokio::test]
async fn bytes_of_a_picture_may_be_binary() {
    let server = Server::start().await;
    server.make::<Namespace>(None, json!({"metadata": {"name": "platform"}})).await;
    let map = json!({
        "metadata": {"name": "logos", "labels": released()},
        "binaryData": {"lab.svg": "PHN2Zy8+/w=="},
    });
    server.make::<ConfigMap>(Some("platform"), map).await;
    let answer = server.get(LOGO).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"<svg/>\xff"[..]));
}

/// What a list says about a picture can be fetched.
#[tokio::test]
async fn the_address_in_a_list_works() {
    let server = start(released()).await;
    let list = server.get("/api/v1/workspacekinds").await.json();
    let url = list["data"][0]["logo"]["url"].as_str().unwrap();
    let answer = server.get(url).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, SVG));
}
