//! StatefulSets, claims, Services and Jobs.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::kit::{Place, content, eventually};

async fn claim(place: &Place) {
    place
        .create::<PersistentVolumeClaim>(json!({
            "metadata": {"name": "home"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .await;
}

fn set(script: &str) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "serviceName": "", "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
                    "containers": [{
                        "name": "main", "image": "test/shell", "args": [script],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "volumeMounts": [{"name": "home", "mountPath": "/home/jovyan"}],
                    }],
                },
            },
        },
    })
}

async fn scale(place: &Place, replicas: i32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    place.api::<StatefulSet>().patch("web", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_keeps_the_files() {
    let place = Place::new().await;
    claim(&place).await;
    place
        .create::<StatefulSet>(set(
            "echo run >> /home/jovyan/runs; pwd >> /home/jovyan/runs; exec sleep 600",
        ))
        .await;
    place.until_running("web-0").await;
    let home = place.files().join("volumes/default/home");
    let runs = home.join("runs");
    let line = format!("run\n{}", home.display());
    eventually("the first run", async || content(&runs).await == line).await;
    place
        .until("web", "counted", |set: &StatefulSet| {
            set.status.as_ref().is_some_and(|status| {
                status.ready_replicas == Some(1)
                    && status.current_revision == status.update_revision
            })
        })
        .await;
    scale(&place, 0).await;
    place.until_gone::<Pod>("web-0").await;
    assert_eq!(content(&runs).await, line);
    scale(&place, 1).await;
    place.until_running("web-0").await;
    eventually("the second run", async || content(&runs).await == format!("{line}\n{line}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_cluster_is_not_written_to() {
    let mut place = Place::new().await;
    claim(&place).await;
    place.create::<StatefulSet>(set("exec sleep 600")).await;
    place
        .create::<Service>(json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        }))
        .await;
    place.until_running("web-0").await;
    let version = place.until_settled().await;
    place.start_node(&["test/shell"]).await;
    assert_eq!(place.until_settled().await, version, "the next node wrote something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_template_replaces_the_pod() {
    let place = Place::new().await;
    claim(&place).await;
    place.create::<StatefulSet>(set("exec sleep 600")).await;
    let old = place.until_running("web-0").await;
    let changed = set("exec sleep 601");
    let patch = Patch::Merge(json!({"spec": {"template": changed["spec"]["template"]}}));
    place.api::<StatefulSet>().patch("web", &PatchParams::default(), &patch).await.unwrap();
    place
        .until("web-0", "replaced and ready", |pod: &Pod| {
            pod.uid() != old.uid() && crate::kit::is_ready(pod)
        })
        .await;
    place
        .until("web", "up to date", |set: &StatefulSet| {
            set.status.as_ref().is_some_and(|status| {
                status.updated_replicas == Some(1)
                    && status.current_revision == status.update_revision
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_shows_where_its_pods_are() {
    let place = Place::new().await;
    claim(&place).await;
    place
        .create::<Service>(json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        }))
        .await;
    place.create::<StatefulSet>(set("exec sleep 600")).await;
    let pod = place.until_running("web-0").await;
    let address = pod.status.unwrap().pod_ip.unwrap();
    let slices = place.api::<EndpointSlice>();
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    eventually("the pod is in the slice", async || {
        let list = slices.list(&of_web).await.unwrap();
        let [slice] = list.items.as_slice() else { return false };
        let port = slice.ports.as_ref().and_then(|ports| ports.first()?.port);
        slice.endpoints.first().is_some_and(|endpoint| {
            endpoint.addresses == [address.clone()]
                && endpoint.conditions.as_ref().and_then(|conditions| conditions.ready)
                    == Some(true)
        }) && port == Some(8080)
    })
    .await;
    scale(&place, 0).await;
    eventually("the slice is empty", async || {
        let list = slices.list(&of_web).await.unwrap();
        list.items.iter().all(|slice| slice.endpoints.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_goes_when_nobody_uses_it() {
    let place = Place::new().await;
    claim(&place).await;
    place.create::<StatefulSet>(set("echo x > /home/jovyan/file; exec sleep 600")).await;
    place.until_running("web-0").await;
    let home = place.files().join("volumes/default/home");
    content(&home.join("file")).await;
    place.api::<PersistentVolumeClaim>().delete("home", &DeleteParams::default()).await.unwrap();
    place.until_settled().await;
    assert!(home.join("file").exists(), "a claim in use was taken away");
    scale(&place, 0).await;
    place.until_gone::<PersistentVolumeClaim>("home").await;
    let volumes: Api<PersistentVolume> = Api::all(place.client.clone());
    eventually("the volume is gone", async || {
        volumes.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    assert!(!home.exists());
    claim(&place).await;
    scale(&place, 1).await;
    place.until_running("web-0").await;
}

fn job(script: &str, limit: i32) -> Value {
    json!({
        "metadata": {"name": "job"},
        "spec": {"backoffLimit": limit, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "test/shell", "args": [script]}],
        }}},
    })
}

fn has_condition(job: &Job, name: &str) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.clone());
    conditions.unwrap_or_default().iter().any(|known| known.type_ == name && known.status == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_completes() {
    let place = Place::new().await;
    place.create::<Job>(job("exit 0", 0)).await;
    let done = place.until("job", "complete", |job: &Job| has_condition(job, "Complete")).await;
    let status = done.status.unwrap();
    assert_eq!((status.succeeded, status.active), (Some(1), None));
    assert!(status.completion_time.is_some());
    let version = place.until_settled().await;
    assert_eq!(place.until_settled().await, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gives_up() {
    let place = Place::new().await;
    place.create::<Job>(job("exit 1", 0)).await;
    let failed = place.until("job", "failed", |job: &Job| has_condition(job, "Failed")).await;
    let conditions = failed.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|known| known.reason.as_deref() == Some("BackoffLimitExceeded")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_a_deadline_and_leaves_after_its_time() {
    let place = Place::new().await;
    let mut late = job("exec sleep 600", 0);
    late["spec"]["activeDeadlineSeconds"] = json!(1);
    late["spec"]["ttlSecondsAfterFinished"] = json!(1);
    place.create::<Job>(late).await;
    place.until("job", "late", |job: &Job| has_condition(job, "Failed")).await;
    place.until_gone::<Job>("job").await;
    eventually("its pods are gone", async || {
        place.api::<Pod>().list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    let mut files = std::fs::read_dir(place.files().join("pods")).unwrap();
    assert!(files.next().is_none(), "files are left");
}
