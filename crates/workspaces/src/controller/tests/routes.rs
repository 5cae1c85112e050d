//! Objects for gateways: only of kinds that are wanted and that the API serves.

use kube::core::ApiResource;
use rstest::rstest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        GatewayApi, Istio, Options,
        routes::{http_routes, virtual_services},
        run,
    },
    kit::{World, define, paused, until},
    steady,
};
use crate::Caches;

fn both() -> Options {
    Options {
        istio: Some(Istio { gateway: "mesh/front".to_owned(), ..Istio::default() }),
        gateway_api: Some(GatewayApi {
            gateway: "edge/front".to_owned(),
            hosts: vec!["ws.example.org".to_owned()],
        }),
        discover_every: std::time::Duration::from_millis(20),
        now: || 1_000,
        ..Options::default()
    }
}

fn kinds() -> [ApiResource; 2] {
    [virtual_services(), http_routes()]
}

/// The ports of the kind, with what becomes of requests.
fn ports() -> Value {
    json!({"spec": {"podTemplate": {"ports": [
        {"id": "web", "protocol": "HTTP", "defaultDisplayName": "Notebook", "httpProxy": {
            "removePathPrefix": true,
            "requestHeaders": {
                "set": {"X-Base": "{{ httpPathPrefix \"web\" }}"},
                "add": {"X-More": "1"},
                "remove": ["X-Less"],
            },
        }},
        {"id": "api", "protocol": "HTTP", "defaultDisplayName": "API"},
    ]}}})
}

#[tokio::test]
async fn routes_are_as_the_contract_says() {
    let world = World::with_kinds(both(), &kinds()).await;
    world.patch_kind(ports()).await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Paused");
    for (name, kind) in [("virtual_service", virtual_services()), ("http_route", http_routes())] {
        let made = world.all_of(&kind).await;
        assert_eq!(made.len(), 1, "{made:?}");
        let mut value = steady(&made[0]);
        // The end of the Service's name is made of chance.
        let text = value.to_string();
        let service = world.only::<k8s_openapi::api::core::v1::Service>().await;
        let service = service.text("/metadata/name");
        assert!(text.contains(service), "{text}");
        value = serde_json::from_str(&text.replace(service, "[service]")).unwrap();
        insta::assert_json_snapshot!(name, value);
    }
    world.wire.writes();
    world.reconcile("lab").await;
    assert_eq!(world.wire.writes(), [""; 0]);
}

#[tokio::test]
async fn a_port_that_the_kind_does_not_know_has_no_route() {
    let world = World::with_kinds(both(), &kinds()).await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    for kind in kinds() {
        assert_eq!(world.all_of(&kind).await.len(), 1);
    }
    let only_api = json!([{"id": "api", "protocol": "HTTP", "defaultDisplayName": "API"}]);
    world.patch_kind(json!({"spec": {"podTemplate": {"ports": only_api}}})).await;
    world.reconcile("lab").await;
    for kind in kinds() {
        assert!(world.all_of(&kind).await.is_empty(), "{kind:?}");
    }
    assert_eq!(world.told("lab").await.0, "Paused");
}

#[tokio::test]
async fn names_that_others_have_are_left_to_them() {
    let world = World::with_kinds(both(), &kinds()).await;
    world.create(paused("lab")).await;
    let uid = world.workspace("lab").await.metadata.uid.unwrap();
    let name = crate::decide::naming::virtual_service("lab", &uid, 0);
    let kind = virtual_services();
    let api = cluster::apply::api(&world.client, &kind, super::NAMESPACE);
    let theirs = json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name},
        "spec": {"theirs": true},
    });
    api.create(&kube::api::PostParams::default(), &theirs.into()).await.unwrap();
    world.reconcile("lab").await;
    assert_eq!(world.told("lab").await.0, "Paused");
    let all = world.all_of(&kind).await;
    assert_eq!(all.len(), 2);
    let theirs = all.iter().find(|object| object.text("/metadata/name") == name).unwrap();
    assert_eq!(theirs.value()["spec"], json!({"theirs": true}));
}

#[rstest]
#[case::istio(virtual_services())]
#[case::gateway_api(http_routes())]
#[tokio::test]
async fn routes_come_and_go_with_their_kind(#[case] kind: ApiResource) {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let caches = Caches::start(&world.client);
    let controller = tokio::spawn(run(world.client.clone(), caches, both(), stop.clone()));
    world.create(paused("lab")).await;
    until("it works without", || async { world.told("lab").await.0 == "Paused" }).await;
    for _ in 0..2 {
        define(&world.client, &kind, true).await;
        until("each has a route", || async {
            world.all_of(&kind).await.len() == world.count_workspaces().await
        })
        .await;
        define(&world.client, &kind, false).await;
        world.create(paused(&format!("more-{}", world.count_workspaces().await))).await;
        until("others work without", || async { world.all_in_state("Paused").await }).await;
    }
    stop.cancel();
    controller.await.unwrap();
}

#[tokio::test]
async fn what_is_switched_off_is_removed() {
    let world = World::with_kinds(both(), &kinds()).await;
    world.create(paused("lab")).await;
    world.reconcile("lab").await;
    let kind = virtual_services();
    let api = cluster::apply::api(&world.client, &kind, super::NAMESPACE);
    let theirs = json!({
        "apiVersion": kind.api_version, "kind": kind.kind,
        "metadata": {
            "name": "theirs", "labels": {"notebooks.kubeflow.org/workspace-name": "lab"},
        },
    });
    api.create(&kube::api::PostParams::default(), &theirs.into()).await.unwrap();
    let stop = CancellationToken::new();
    let caches = Caches::start(&world.client);
    let options = Options { istio: None, ..both() };
    let controller = tokio::spawn(run(world.client.clone(), caches, options, stop.clone()));
    until("ours is gone", || async { world.all_of(&kind).await.len() == 1 }).await;
    assert_eq!(world.all_of(&kind).await[0].text("/metadata/name"), "theirs");
    assert_eq!(world.all_of(&http_routes()).await.len(), 1);
    stop.cancel();
    controller.await.unwrap();
}
