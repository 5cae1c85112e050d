//! Many workspaces, several controllers, watches that break.

use std::{collections::HashMap, time::Instant};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Service, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{PostParams, ResourceExt},
};
use prometheus_client::{encoding::text, registry::Registry};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    super::{KIND_DELAY, Metrics, Options, run},
    kit::{NAMESPACE, Wire, World, paused, until},
};
use crate::{
    Caches,
    model::{Workspace, fixtures},
};

/// A controller that runs beside the test, with its own way to the API.
struct Running {
    wire: Wire,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(api: &Client) -> Self {
        let wire = Wire::default();
        let client = wire.client(api);
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let stop = CancellationToken::new();
        let options = Options { now: || 1_000, metrics, ..Options::default() };
        let caches = Caches::start(&client);
        let task = tokio::spawn(run(client, caches, options, stop.clone()));
        Self { wire, registry, stop, task }
    }

    /// The value of a metric with those labels.
    fn count(&self, metric: &str) -> usize {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(metric));
        line.map_or(0, |count| count.trim().parse().unwrap())
    }

    /// Waits until a metric has that value, for as long as it grows.
    async fn counts(&self, what: &str, metric: &str, wanted: usize) {
        let mut counted = self.count(metric);
        while counted < wanted {
            until(what, || async { self.count(metric) > counted }).await;
            counted = self.count(metric);
        }
        assert_eq!(counted, wanted, "{what}");
    }

    async fn stop(self) -> Wire {
        self.stop.cancel();
        self.task.await.unwrap();
        self.wire
    }
}

const RECONCILED: &str =
    "controller_reconcile_seconds_count{controller=\"workspaces\",next=\"done\"}";

/// A controller that starts on settled workspaces looks at each and writes nothing.
async fn assert_settled(world: &World, count: usize) {
    let another = Running::start(&world.client);
    until("all are looked at", || async { another.count(RECONCILED) >= count }).await;
    assert_eq!(another.stop().await.writes(), [""; 0]);
}

/// Each workspace owns one of each.
async fn assert_one_each(world: &World, count: usize) {
    for all in [
        world.all::<ServiceAccount>().await,
        world.all::<StatefulSet>().await,
        world.all::<Service>().await,
    ] {
        let mut owned: HashMap<String, usize> = HashMap::new();
        for object in &all {
            *owned.entry(object.controller_uid().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(owned.len(), count);
        assert!(owned.values().all(|count| *count == 1), "{owned:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_take_four_writes_each() {
    const COUNT: usize = 1_000;
    let world = World::new().await;
    let controller = Running::start(&world.client);
    let begin = Instant::now();
    let all = (0..COUNT).map(|number| paused(&format!("lab-{number}")));
    world.create_all(all).await;
    // Asking the API would keep it from its work.
    let paused = "workspaces{kind=\"notebook\",state=\"Paused\"}";
    controller.counts("all are paused", paused, COUNT).await;
    assert!(world.all_in_state("Paused").await);
    // What leads to a new one that is paused comes last.
    let services = "controller_writes_total{kind=\"Service\",verb=\"create\"}";
    controller.counts("all have Services", services, COUNT).await;
    until("the kind counts them", || async {
        world.kind().await.status.is_some_and(|status| status.workspaces == 1_000)
    })
    .await;
    let took = begin.elapsed();
    assert_one_each(&world, COUNT).await;
    let writes = controller.stop().await.writes();
    let of_workspaces =
        writes.iter().filter(|write| !write.contains("/workspacekinds/")).collect::<Vec<_>>();
    assert_eq!(of_workspaces.len(), 4 * COUNT, "{:?}", of_workspaces.last());
    // However long that took: the kind does not follow each of them, but what is new after a time.
    let of_kinds = writes.len() - of_workspaces.len();
    let steps = took.as_millis() / KIND_DELAY.as_millis();
    assert!((of_kinds as u128) < steps + 10, "{of_kinds} writes of the kind in {took:?}");
    assert_settled(&world, COUNT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_at_once_agree() {
    const COUNT: usize = 30;
    let world = World::new().await;
    let both = [Running::start(&world.client), Running::start(&world.client)];
    world.create_all((0..COUNT).map(|number| paused(&format!("lab-{number}")))).await;
    until("all are paused", || world.all_in_state("Paused")).await;
    for number in 0..COUNT {
        let patch = json!({"spec": {"paused": false}});
        world.patch(&format!("lab-{number}"), patch).await;
    }
    until("all are started", || async {
        let sets = world.all::<StatefulSet>().await;
        sets.iter().all(|set| set.value()["spec"]["replicas"] == 1)
    })
    .await;
    until("and say so", || world.all_in_state("Unknown")).await;
    until("the kind counts them", || async {
        world.kind().await.status.is_some_and(|status| status.workspaces == 30)
    })
    .await;
    assert_one_each(&world, COUNT).await;
    for controller in both {
        controller.stop().await;
    }
    assert_settled(&world, COUNT).await;
}

#[tokio::test]
async fn watches_that_break_or_expire_miss_nothing() {
    let world = World::new().await;
    let controller = Running::start(&world.client);
    world.create(paused("lab-0")).await;
    until("it works", || async { world.all::<Service>().await.len() == 1 }).await;
    for (round, expired) in [0, 1, 2, 30].into_iter().enumerate() {
        controller.wire.cut_watches(expired);
        world.create(paused(&format!("lab-{}", round + 1))).await;
        world.patch("lab-0", json!({"spec": {"paused": round % 2 == 1}})).await;
        // While nobody watches, somebody deletes what is ours.
        let service = world.all::<Service>().await.remove(0);
        world.delete::<Service>(&service.name_any()).await;
        until("all have their objects", || async {
            world.all::<Service>().await.len() == round + 2
                && world.all::<StatefulSet>().await.len() == round + 2
        })
        .await;
        let wanted = if round % 2 == 1 { 0 } else { 1 };
        until("the change is seen", || async {
            world.all::<StatefulSet>().await.iter().any(|set| {
                set.name_any().starts_with("ws-lab-0-") && set.value()["spec"]["replicas"] == wanted
            })
        })
        .await;
    }
    controller.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_or_made_stops_nobody_else() {
    let world = World::new().await;
    let controller = Running::start(&world.client);
    let mut broken = fixtures::kind();
    broken.metadata.name = Some("broken".to_owned());
    broken.spec.pod_template.extra_env =
        serde_json::from_value(json!([{"name": "A", "value": "{{ nothing }}"}])).unwrap();
    Api::all(world.client.clone()).create(&PostParams::default(), &broken).await.unwrap();
    let mut bad = paused("bad");
    bad.spec.kind = "broken".to_owned();
    world.create(bad).await;
    let mut bad = paused("bad-label");
    bad.spec.pod_template.pod_metadata =
        serde_json::from_value(json!({"labels": {"not a label": "x"}})).unwrap();
    world.create(bad).await;
    world.create(paused("good")).await;
    until("the good one is paused", || async { world.told("good").await.0 == "Paused" }).await;
    for name in ["bad", "bad-label"] {
        until("the bad ones say why", || async {
            let (state, message) = world.told(name).await;
            state == "Error" && message.starts_with("Workspace failed to generate StatefulSet")
        })
        .await;
    }
    controller.stop().await;
}

/// Definitions of others may let through what ours would refuse.
#[tokio::test]
async fn a_workspace_that_cannot_be_read_is_left_out() {
    let world = World::new().await;
    let crds = Api::<cluster::Object>::all_with(
        world.client.clone(),
        &kube::core::ApiResource::erase::<
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        >(&()),
    );
    let name = "workspaces.kubeflow.org";
    let mut definition = crds.get(name).await.unwrap().into_value();
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    definition["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": any});
    crds.replace(name, &PostParams::default(), &definition.into()).await.unwrap();
    let controller = Running::start(&world.client);
    let resource = kube::core::ApiResource::erase::<Workspace>(&());
    let api = cluster::apply::api(&world.client, &resource, NAMESPACE);
    let bad = json!({
        "apiVersion": resource.api_version, "kind": "Workspace",
        "metadata": {"name": "bad"}, "spec": {"kind": 5, "podTemplate": []},
    });
    // The new definition may take a moment to count.
    until("it is taken", || async {
        api.create(&PostParams::default(), &bad.clone().into()).await.is_ok()
    })
    .await;
    world.create(paused("good")).await;
    until("the good one is paused", || async {
        let resource = kube::core::ApiResource::erase::<Workspace>(&());
        let api = cluster::apply::api(&world.client, &resource, NAMESPACE);
        api.get("good").await.unwrap().text("/status/state") == "Paused"
    })
    .await;
    controller.stop().await;
    api.delete("bad", &Default::default()).await.unwrap();
    cluster::crds::install(&world.client, crate::crds()).await.unwrap();
}

#[tokio::test]
async fn what_is_counted_can_be_read() {
    let world = World::new().await;
    let controller = Running::start(&world.client);
    world.create(paused("lab")).await;
    let mut lost = paused("lost");
    lost.spec.kind = "made-up".to_owned();
    world.create(lost).await;
    until("both are told", || async {
        world.told("lab").await.0 == "Paused" && world.told("lost").await.0 == "Error"
    })
    .await;
    for (metric, at_least) in [
        (RECONCILED, 2),
        ("controller_step_seconds_count{step=\"stateful_set\",outcome=\"done\"}", 1),
        ("controller_writes_total{kind=\"StatefulSet\",verb=\"create\"}", 1),
        ("controller_writes_total{kind=\"Workspace\",verb=\"status\"}", 2),
        ("workspaces{kind=\"notebook\",state=\"Paused\"}", 1),
        ("workspaces{kind=\"\",state=\"Error\"}", 1),
    ] {
        until(metric, || async { controller.count(metric) >= at_least }).await;
    }
    controller.stop().await;
}
