use WorkspaceState::{Error, Paused, Pending, Running, Terminating, Unknown};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p-0", "labels": {"controller-revision-hash": "r2"}},
        "spec": {"nodeName": "n", "containers": [{"name": "main"}]},
        "status": status,
    }))
    .unwrap()
}

fn waiting(reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{
        "name": "main", "ready": false, "restartCount": 0, "image": "", "imageID": "",
        "state": {"waiting": {"reason": reason, "message": "why"}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
    }]})
}

fn starting_since(time: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [{
        "name": "main", "ready": false, "restartCount": 0, "image": "", "imageID": "",
        "state": {"running": {"startedAt": time}},
    }]})
}

fn warning(at: i64, message: &str) -> Warning<'_> {
    Warning { at, reason: "Failed", message }
}

fn told(observed: &Observed<'_>) -> (WorkspaceState, String) {
    let verdict = decide(observed);
    (verdict.state, verdict.message)
}

const SEEN: StatefulSetFacts<'_> =
    StatefulSetFacts { generation: 2, observed_generation: 2, update_revision: "r2" };

#[rstest]
#[case::paused(true, vec![], Paused, "Workspace is paused")]
#[case::paused_with_warning(true, vec![warning(1, "w")], Paused, "Workspace is paused")]
#[case::warning(
    false, vec![warning(1, "first"), warning(3, "last"), warning(2, "middle")],
    Error, "Workspace StatefulSet has warning event: last"
)]
#[case::nothing(false, vec![], Unknown, "Workspace is in an unknown state")]
fn without_a_pod(
    #[case] paused: bool,
    #[case] stateful_set_warnings: Vec<Warning<'_>>,
    #[case] state: WorkspaceState,
    #[case] message: &str,
) {
    let observed =
        Observed { paused, stateful_set: Some(SEEN), stateful_set_warnings, ..Observed::default() };
    assert_eq!(told(&observed), (state, message.to_owned()));
}

#[rstest]
#[case::unschedulable(
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"},
    ]}),
    Error, "Workspace Pod is unschedulable: no node"
)]
#[case::gated(
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
    ]}),
    Error, "Workspace Pod is waiting for scheduling gate"
)]
#[case::scheduler(
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "SchedulerError", "message": "m"},
    ]}),
    Error, "Workspace Pod has scheduler error: m"
)]
#[case::unbound(
    json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
    }]}),
    Error,
    "Workspace Pod is unschedulable: 0/1 nodes are available: pod has unbound immediate \
     PersistentVolumeClaims."
)]
#[case::running(
    json!({"phase": "Running", "conditions": [
        {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"},
    ]}),
    Running, "Workspace is running"
)]
#[case::crash(
    waiting("CrashLoopBackOff"),
    Error,
    "Workspace Pod container is not running: CrashLoopBackOff (out of memory)"
)]
#[case::no_image(
    waiting("ErrImageNeverPull"),
    Error,
    "Workspace Pod container is not running: ErrImageNeverPull: why"
)]
#[case::creating(waiting("ContainerCreating"), Pending, "Workspace is pending")]
#[case::pending(json!({"phase": "Pending"}), Pending, "Workspace is pending")]
#[case::not_ready(json!({"phase": "Running"}), Unknown, "Workspace is in an unknown state")]
#[case::ended(json!({"phase": "Failed"}), Unknown, "Workspace is in an unknown state")]
#[case::no_status(json!({}), Unknown, "Workspace is in an unknown state")]
fn with_a_pod(#[case] status: Value, #[case] state: WorkspaceState, #[case] message: &str) {
    for paused in [false, true] {
        let pod = pod(status.clone());
        let observed =
            Observed { paused, pod: Some(&pod), stateful_set: Some(SEEN), ..Observed::default() };
        assert_eq!(told(&observed), (state, message.to_owned()));
    }
}

#[test]
fn a_pending_pod_is_looked_at_again() {
    let pod = pod(json!({"phase": "Pending"}));
    let verdict = decide(&Observed { pod: Some(&pod), ..Observed::default() });
    assert_eq!(verdict.again, Some(Duration::from_secs(15)));
}

#[test]
fn a_pod_that_goes_is_terminating_whatever_else() {
    let mut pod = pod(waiting("CrashLoopBackOff"));
    let time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    pod.metadata.deletion_timestamp = Some(time);
    let observed = Observed { paused: true, pod: Some(&pod), ..Observed::default() };
    assert_eq!(told(&observed).0, Terminating);
}

#[test]
fn an_old_revision_is_pending_and_an_unseen_change_unknown() {
    let pod = pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    let state = |facts: StatefulSetFacts<'_>| {
        told(&Observed { pod: Some(&pod), stateful_set: Some(facts), ..Observed::default() }).0
    };
    assert_eq!(state(SEEN), Running);
    assert_eq!(state(StatefulSetFacts { update_revision: "r3", ..SEEN }), Pending);
    assert_eq!(state(StatefulSetFacts { update_revision: "", ..SEEN }), Running);
    assert_eq!(state(StatefulSetFacts { generation: 3, ..SEEN }), Unknown);
}

#[test]
fn a_new_paused_workspace_is_paused_at_once() {
    let new = StatefulSetFacts { generation: 1, observed_generation: 0, update_revision: "" };
    let mut observed = Observed { paused: true, stateful_set: Some(new), ..Observed::default() };
    assert_eq!(told(&observed).0, Paused);
    observed.paused = false;
    assert_eq!(told(&observed).0, Unknown);
}

#[test]
fn warnings_of_earlier_tries_and_of_probes_do_not_count() {
    let starting = pod(starting_since("2026-01-01T00:00:10Z"));
    let started = 1_767_225_610_000;
    let state = |warnings: Vec<Warning<'_>>| {
        told(&Observed { pod: Some(&starting), pod_warnings: warnings, ..Observed::default() })
    };
    assert_eq!(state(vec![warning(started - 1, "old")]).0, Unknown);
    assert_eq!(
        state(vec![Warning { reason: "Unhealthy", ..warning(started + 1, "probe") }]).0,
        Unknown
    );
    assert_eq!(
        state(vec![warning(started + 1, "new")]),
        (Error, "Workspace Pod has warning event: new".to_owned())
    );
}

#[test]
fn what_kept_a_pod_from_a_node_is_over_when_it_has_one() {
    let state = |scheduled: &str| {
        let pod = pod(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": scheduled},
        ]}));
        let warning = Warning { reason: "FailedScheduling", ..warning(1, "no node") };
        told(&Observed { pod: Some(&pod), pod_warnings: vec![warning], ..Observed::default() }).0
    };
    assert_eq!(state("False"), Error);
    assert_eq!(state("True"), Pending);
}

#[test]
fn a_refusal_by_quota_is_told_with_its_reason() {
    let message = "create Pod p-0 in StatefulSet p failed error: pods \"p-0\" is forbidden: \
                   exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1";
    let warning = Warning { reason: "FailedCreate", ..warning(1, message) };
    let observed = Observed {
        stateful_set: Some(SEEN),
        stateful_set_warnings: vec![warning],
        ..Observed::default()
    };
    let (state, told) = told(&observed);
    assert_eq!(state, Error);
    assert_eq!(told, format!("Workspace StatefulSet has warning event: {message}"));
}

#[test]
fn a_clock_that_jumps_back_does_no_harm() {
    let mut status = WorkspaceStatus::default();
    let running = Verdict::new(Running, "r");
    enter(&mut status, &running, false, 9_000);
    enter(&mut status, &running, false, -5);
    assert_eq!(status.last_running_time, 9_000);
    enter(&mut status, &Verdict::new(Paused, "p"), true, i64::MIN);
    enter(&mut status, &Verdict::new(Paused, "p"), true, i64::MAX);
    assert_eq!(status.pause_time, i64::MIN);
}

#[test]
fn times_follow_the_state() {
    let mut status = WorkspaceStatus::default();
    let running = Verdict::new(Running, "r");
    enter(&mut status, &running, false, 5);
    assert_eq!((status.state, status.last_running_time, status.pause_time), (Running, 5, 0));
    status.activity.last_activity = 6;
    enter(&mut status, &running, false, 7);
    assert_eq!((status.last_running_time, status.activity.last_activity), (5, 6));
    enter(&mut status, &running, true, 8);
    enter(&mut status, &Verdict::new(Paused, "p"), true, 9);
    assert_eq!((status.last_running_time, status.pause_time), (5, 8));
    enter(&mut status, &running, false, 10);
    assert_eq!((status.last_running_time, status.pause_time), (10, 0));
    assert_eq!(status.activity, Activity::default());
}

#[test]
fn facts_about_the_pod() {
    let pod = pod(json!({}));
    let facts = pod_facts(Some(&pod), "ws-lab");
    assert_eq!((&*facts.name, &*facts.node_name), ("p-0", "n"));
    assert_eq!(facts.containers, [ContainerName { name: "main".into() }]);
    let facts = pod_facts(None, "ws-lab");
    assert_eq!((&*facts.name, &*facts.node_name), ("", ""));
    assert_eq!(facts.service_account_name.as_deref(), Some("ws-lab"));
}
