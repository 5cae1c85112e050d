//! Pods on their own.

use std::time::{Duration, Instant};

use embedded::store::{Action, Draft, Expect, Write};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, LogParams};
use serde_json::json;

use crate::kit::{Place, content, directory, eventually, is_running};

fn waiting_reason(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
    statuses.unwrap_or_default().first().map_or(0, |status| status.restart_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_is_deleted() {
    let place = Place::new().await;
    let pod =
        place.shell("one", "Always", "echo $$$$ > $HOME/pid; echo $POD_IP; exec sleep 600").await;
    let running = place.until_running("one").await;
    let status = running.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(status.pod_ip.unwrap().starts_with("127."));
    assert_eq!(running.spec.unwrap().node_name.as_deref(), Some("localhost"));
    let files = directory(&place, &pod);
    let pid = content(&files.join("home/pid")).await;
    assert!(is_running(&pid));
    place.until_event("one", "Started").await;
    place.until_event("one", "Scheduled").await;

    place.api::<Pod>().delete("one", &DeleteParams::default()).await.unwrap();
    place.until_gone::<Pod>("one").await;
    assert!(!is_running(&pid) && !files.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_image_waits_and_says_what_to_do() {
    let mut place = Place::new().await;
    place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {"containers": [
                {"name": "main", "image": "example.org/unknown:1", "args": ["exec sleep 600"]},
            ]},
        }))
        .await;
    let pod = place
        .until("one", "waiting", |pod: &Pod| {
            waiting_reason(pod).as_deref() == Some("ErrImageNeverPull")
        })
        .await;
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));
    let message = place.until_event("one", "ErrImageNeverPull").await;
    assert!(message.contains("example.org/unknown:1") && message.contains("images"), "{message}");

    place.start_node(&["example.org/*"]).await;
    place.until_running("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_backs_off() {
    let place = Place::new().await;
    place.shell("one", "Always", "echo run; exit 3").await;
    let pod = place
        .until("one", "in a crash loop", |pod: &Pod| {
            restarts(pod) >= 2 && waiting_reason(pod).as_deref() == Some("CrashLoopBackOff")
        })
        .await;
    let status = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    place.until_event("one", "BackOff").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_may_end_ends() {
    let place = Place::new().await;
    place.shell("good", "Never", "exit 0").await;
    place.shell("bad", "Never", "exit 1").await;
    let phase = |wanted: &'static str| {
        move |pod: &Pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted)
        }
    };
    place.until("good", "succeeded", phase("Succeeded")).await;
    place.until("bad", "failed", phase("Failed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ignores_the_end_is_killed_with_all_it_started() {
    let place = Place::new().await;
    let script = "trap '' TERM; echo $$$$ > $HOME/pid; \
                  setsid sh -c 'trap \"\" TERM; echo $$$$ > $HOME/child; while :; do sleep 1; done' & \
                  while :; do sleep 0.1; done";
    let pod = place.shell("one", "Always", script).await;
    let files = directory(&place, &pod);
    let pid = content(&files.join("home/pid")).await;
    let child = content(&files.join("home/child")).await;
    let start = Instant::now();
    place.api::<Pod>().delete("one", &DeleteParams::default()).await.unwrap();
    place.until_gone::<Pod>("one").await;
    assert!(start.elapsed() >= Duration::from_millis(800), "the grace was not kept");
    assert!(!is_running(&pid) && !is_running(&child));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_outlives_its_node() {
    let mut place = Place::new().await;
    let pod = place.shell("kept", "Always", "echo $$$$ > $HOME/pid; exec sleep 600").await;
    let gone = place.shell("gone", "Always", "echo $$$$ > $HOME/pid; exec sleep 600").await;
    let ended = place
        .shell(
            "ended",
            "Never",
            "echo $$$$ > $HOME/pid; while [ ! -e $HOME/end ]; do sleep 0.05; done; exit 7",
        )
        .await;
    place.until_running("kept").await;
    let pid = content(&directory(&place, &pod).join("home/pid")).await;
    let other = content(&directory(&place, &gone).join("home/pid")).await;
    let third = content(&directory(&place, &ended).join("home/pid")).await;
    place.until_settled().await;

    place.node = None;
    let now = DeleteParams::default().grace_period(0);
    place.api::<Pod>().delete("gone", &now).await.unwrap();
    std::fs::write(directory(&place, &ended).join("home/end"), "").unwrap();
    eventually("the program ended", async || !is_running(&third)).await;
    assert!(is_running(&pid) && is_running(&other));

    place.start_node(&["test/shell"]).await;
    eventually("the stray is killed", async || !is_running(&other)).await;
    eventually("its directory is gone", async || !directory(&place, &gone).exists()).await;
    assert!(is_running(&pid));
    let ended = place
        .until("ended", "failed", |pod: &Pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed")
        })
        .await;
    let state = ended.status.unwrap().container_statuses.unwrap().remove(0).state.unwrap();
    assert_eq!(state.terminated.unwrap().exit_code, 7);
    let kept = place.until_running("kept").await;
    assert_eq!((restarts(&kept), kept.uid()), (0, pod.uid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_ends_its_pods_and_runs_them_again() {
    let mut place = Place::new().await;
    let pod = place.shell("one", "Never", "echo $$$$ >> $HOME/pids; exec sleep 600").await;
    place.until_running("one").await;
    let pids = directory(&place, &pod).join("home/pids");
    let first = content(&pids).await;
    place.node.take().unwrap().shutdown(Duration::from_secs(5)).await;
    assert!(!is_running(&first));
    let stopped = place.api::<Pod>().get("one").await.unwrap();
    assert!(!crate::kit::is_ready(&stopped));

    place.start_node(&["test/shell"]).await;
    place.until_running("one").await;
    // It runs; its first line may take a moment longer.
    let started = async || content(&pids).await.lines().count();
    eventually("it was started again", async || started().await >= 2).await;
    assert_eq!(started().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_have_the_same_port_to_themselves() {
    let place = Place::new().await;
    let server = |name: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "main", "image": "test/shell",
                "args": ["exec python3 -m http.server --bind $(POD_IP) 18080"],
                "ports": [{"name": "http", "containerPort": 18080}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
            }]},
        })
    };
    place.create::<Pod>(server("one")).await;
    place.create::<Pod>(server("two")).await;
    let one = place.until_running("one").await.status.unwrap().pod_ip;
    let two = place.until_running("two").await.status.unwrap().pod_ip;
    assert_ne!(one, two);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_environment_and_the_files() {
    let place = Place::new().await;
    let pod = place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {
                "restartPolicy": "Never",
                "volumes": [{"name": "keys", "secret": {"secretName": "token", "defaultMode": 0o400}}],
                "containers": [{
                    "name": "main", "image": "test/shell",
                    "args": ["cat /etc/keys/key > $HOME/out; stat -c %a /etc/keys/key >> $HOME/out; echo $TOKEN >> $HOME/out"],
                    "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}}],
                    "volumeMounts": [{"name": "keys", "mountPath": "/etc/keys"}],
                }],
            },
        }))
        .await;
    place.until_event("one", "FailedMount").await;
    place
        .create::<Secret>(json!({"metadata": {"name": "token"}, "data": {"key": "b3Blbgo="}}))
        .await;
    place
        .until("one", "done", |pod: &Pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
        })
        .await;
    assert_eq!(content(&directory(&place, &pod).join("home/out")).await, "open\n400\nopen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_container_is_restarted_by_its_liveness_probe() {
    let place = Place::new().await;
    let pod = place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "main", "image": "test/shell", "args": ["touch $HOME/alive; exec sleep 600"],
                "livenessProbe": {
                    "exec": {"command": ["sh", "-c", "test -e $HOME/alive"]},
                    "periodSeconds": 1, "failureThreshold": 1,
                },
            }]},
        }))
        .await;
    place.until_running("one").await;
    let alive = directory(&place, &pod).join("home/alive");
    eventually("it is alive", async || alive.exists()).await;
    std::fs::remove_file(alive).unwrap();
    place.until("one", "restarted", |pod: &Pod| restarts(pod) == 1).await;
    place.until_event("one", "Unhealthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_no_node_says_so() {
    let place = Place::new().await;
    place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {
                "nodeSelector": {"gpu": "yes"},
                "containers": [{"name": "main", "image": "test/shell", "args": ["exit 0"]}],
            },
        }))
        .await;
    place.until_event("one", "FailedScheduling").await;
    let pod = place.api::<Pod>().get("one").await.unwrap();
    let condition = pod.status.unwrap().conditions.unwrap().remove(0);
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_deref()),
        ("PodScheduled", Some("Unschedulable"))
    );
    place.api::<Pod>().delete("one", &DeleteParams::default()).await.unwrap();
    place.until_gone::<Pod>("one").await;
}

/// A deletion tells the pod to go and then removes it; this is what a crash between the two leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_node_goes_even_if_a_crash_cut_its_deletion_off() {
    let place = Place::new().await;
    place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {
                "schedulerName": "nobody",
                "containers": [{"name": "main", "image": "test/shell", "args": ["exit 0"]}],
            },
        }))
        .await;
    let store = place.cluster.store();
    let entry = store.get("pods", "default/one").unwrap();
    let mut object = entry.object();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
    object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    let told_to_go = Write {
        resource: "pods".into(),
        key: "default/one".into(),
        expect: Expect::Revision(entry.revision()),
        requires: None,
        action: Action::Put,
        draft: Draft::new(&object),
    };
    store.write(told_to_go).await.unwrap();
    place.until_gone::<Pod>("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_come_first() {
    let place = Place::new().await;
    let pod = place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {
                "restartPolicy": "Never",
                "volumes": [{"name": "work", "emptyDir": {}}],
                "initContainers": [
                    {"name": "a", "image": "test/shell", "args": ["echo a > /work/out"],
                     "volumeMounts": [{"name": "work", "mountPath": "/work"}]},
                    {"name": "b", "image": "test/shell", "args": ["echo b >> /work/out"],
                     "volumeMounts": [{"name": "work", "mountPath": "/work"}]},
                ],
                "containers": [{"name": "main", "image": "test/shell", "args": ["cat /work/out > $HOME/out"],
                     "volumeMounts": [{"name": "work", "mountPath": "/work"}]}],
            },
        }))
        .await;
    assert_eq!(content(&directory(&place, &pod).join("home/out")).await, "a\nb");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_over_the_api() {
    let place = Place::new().await;
    place.shell("one", "Never", "echo first; echo second >&2; exit 0").await;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    place.until("one", "done", |pod: &Pod| phase(pod).as_deref() == Some("Succeeded")).await;
    let all = place.api::<Pod>().logs("one", &LogParams::default()).await.unwrap();
    assert_eq!(all, "first\nsecond\n");
    let last = LogParams { tail_lines: Some(1), follow: true, ..LogParams::default() };
    assert_eq!(place.api::<Pod>().logs("one", &last).await.unwrap(), "second\n");
    let other = LogParams { previous: true, ..LogParams::default() };
    assert!(place.api::<Pod>().logs("one", &other).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_shim_leaves_is_killed() {
    let place = Place::new().await;
    let pod = place.shell("one", "Always", "echo $$$$ > $HOME/pid; exec sleep 600").await;
    place.until_running("one").await;
    let files = directory(&place, &pod);
    let pid = content(&files.join("home/pid")).await;
    let started = std::fs::read(files.join("containers/main/0/started.json")).unwrap();
    let started: serde_json::Value = serde_json::from_slice(&started).unwrap();
    let shim = started["shim"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let shim = shim.and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    eventually("what it left is killed", async || !is_running(&pid)).await;
    let pod = place.until("one", "restarted", |pod: &Pod| restarts(pod) == 1).await;
    let status = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_of_an_image_is_there_without_a_mount() {
    let place = Place::new().await;
    let pod = place
        .create::<Pod>(json!({
            "metadata": {"name": "one"},
            "spec": {"restartPolicy": "Never", "containers": [{
                "name": "main", "image": "test/shell", "args": ["echo ok > /home/of-an-image/out"],
                "env": [{"name": "HOME", "value": "/home/of-an-image"}],
            }]},
        }))
        .await;
    assert_eq!(content(&directory(&place, &pod).join("home/out")).await, "ok");
}
