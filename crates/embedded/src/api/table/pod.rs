//! The columns of a pod: what `STATUS` says is put together from its phase, its containers and its
//! deletion.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    age,
    builtin::{Cells, cell, items, or_none},
};
use crate::api::kinds::text;

pub(super) fn cells(pod: &Value, now: Timestamp) -> Cells {
    let summary = Summary::of(pod);
    let restarts = match (&summary.last_restart, summary.restarts) {
        (Some(last), count) if count > 0 => {
            format!("{count} ({} ago)", age::since(Some(last), now))
        }
        (_, count) => count.to_string(),
    };
    let ready = format!("{}/{}", summary.ready, summary.containers);
    vec![
        cell(pod, "/metadata/name"),
        ready.into(),
        summary.reason.into(),
        restarts.into(),
        age::since(pod.pointer("/metadata/creationTimestamp"), now).into(),
        or_none(text(pod, "/status/podIPs/0/ip")),
        or_none(text(pod, "/spec/nodeName")),
        or_none(text(pod, "/status/nominatedNodeName")),
        readiness_gates(pod),
    ]
}

/// What a table says of a pod that has ended.
pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

struct Summary<'a> {
    reason: String,
    ready: usize,
    containers: usize,
    restarts: i64,
    last_restart: Option<&'a Value>,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let phase = text(pod, "/status/phase");
        let mut reason = match text(pod, "/status/reason") {
            "" => phase,
            reason => reason,
        };
        if condition(pod, "PodScheduled").any(|one| text(one, "/reason") == "SchedulingGated") {
            reason = "SchedulingGated";
        }
        let sidecars = items(pod, "/spec/initContainers").filter(|one| is_sidecar(one)).count();
        let mut summary = Self {
            reason: reason.to_owned(),
            ready: 0,
            containers: items(pod, "/spec/containers").count() + sidecars,
            restarts: 0,
            last_restart: None,
        };
        let initialized = condition(pod, "Initialized").next();
        let initialized = initialized.is_some_and(|one| text(one, "/status") == "True");
        if !summary.initializing(pod) || initialized {
            summary.restarts = 0;
            summary.last_restart = None;
            let sidecar = |status: &&Value| spec_of(pod, status).is_some_and(is_sidecar);
            for status in items(pod, "/status/initContainerStatuses").filter(sidecar) {
                summary.count_restarts(status);
            }
            summary.running(pod);
        }
        let deleted = pod.pointer("/metadata/deletionTimestamp").is_some();
        if deleted && text(pod, "/status/reason") == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if deleted && !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".into();
        }
        summary
    }

    /// Looks at the init containers; true if one of them is not done.
    fn initializing(&mut self, pod: &'a Value) -> bool {
        let count = items(pod, "/spec/initContainers").count();
        for (index, status) in items(pod, "/status/initContainerStatuses").enumerate() {
            self.count_restarts(status);
            let sidecar = spec_of(pod, status).is_some_and(is_sidecar);
            let ended = status.pointer("/state/terminated");
            let started = status.get("started") == Some(&Value::Bool(true));
            let waiting = text(status, "/state/waiting/reason");
            if ended.is_some_and(|ended| number(ended, "/exitCode") == 0) {
                continue;
            }
            if sidecar && started {
                self.ready += usize::from(status.get("ready") == Some(&Value::Bool(true)));
                continue;
            }
            self.reason = match ended {
                Some(ended) => format!("Init:{}", how_it_ended(ended)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{index}/{count}"),
            };
            return true;
        }
        false
    }

    fn running(&mut self, pod: &'a Value) {
        let mut running = false;
        let statuses: Vec<&Value> = items(pod, "/status/containerStatuses").collect();
        for status in statuses.into_iter().rev() {
            self.count_restarts(status);
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(ended) = status.pointer("/state/terminated") {
                self.reason = how_it_ended(ended);
            } else if status.get("ready") == Some(&Value::Bool(true))
                && status.pointer("/state/running").is_some()
            {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = condition(pod, "Ready").any(|one| text(one, "/status") == "True");
            self.reason = if ready { "Running" } else { "NotReady" }.into();
        }
    }

    fn count_restarts(&mut self, status: &'a Value) {
        self.restarts += number(status, "/restartCount");
        let Some(ended) = status.pointer("/lastState/terminated/finishedAt") else { return };
        let later = |last: &Value| last.as_str() < ended.as_str();
        if self.last_restart.is_none_or(later) {
            self.last_restart = Some(ended);
        }
    }
}

fn how_it_ended(ended: &Value) -> String {
    match (text(ended, "/reason"), number(ended, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(ended, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn condition<'a>(pod: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items(pod, "/status/conditions").filter(move |one| text(one, "/type") == kind)
}

/// An init container that goes on running beside the others.
fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

fn spec_of<'a>(pod: &'a Value, status: &Value) -> Option<&'a Value> {
    let name = text(status, "/name");
    items(pod, "/spec/initContainers").find(|container| text(container, "/name") == name)
}

fn readiness_gates(pod: &Value) -> Value {
    let gates: Vec<&str> =
        items(pod, "/spec/readinessGates").map(|gate| text(gate, "/conditionType")).collect();
    if gates.is_empty() {
        return or_none("");
    }
    let open = gates.iter().filter(|gate| {
        condition(pod, gate).next().is_some_and(|one| text(one, "/status") == "True")
    });
    format!("{}/{}", open.count(), gates.len()).into()
}
