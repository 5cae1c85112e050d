//! The state of a workspace: from what is seen to what is told.

mod pod;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use self::pod::PodView;
use crate::model::{Activity, ContainerName, PodTemplatePod, WorkspaceState, WorkspaceStatus};

/// A pending pod is looked at again after this time, even if nothing changes.
const PENDING_AGAIN: Duration = Duration::from_secs(15);
const UNKNOWN: &str = "Workspace is in an unknown state";

/// What the state depends on.
#[derive(Debug, Default)]
pub struct Observed<'a> {
    /// Whether the workspace is to be paused.
    pub paused: bool,
    /// Its StatefulSet.
    pub stateful_set: Option<StatefulSetFacts<'a>>,
    /// Its pod.
    pub pod: Option<&'a Pod>,
    /// Warning events about the StatefulSet.
    pub stateful_set_warnings: Vec<Warning<'a>>,
    /// Warning events about the pod.
    pub pod_warnings: Vec<Warning<'a>>,
}

/// What the state depends on in a StatefulSet.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatefulSetFacts<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// `status.updateRevision`; empty if unknown.
    pub update_revision: &'a str,
}

impl StatefulSetFacts<'_> {
    /// Whether its controller has still to act on it. One that was made paused has nothing to act
    /// on.
    fn is_behind(&self, paused: bool) -> bool {
        self.observed_generation != self.generation && !(paused && self.generation <= 1)
    }
}

/// A Warning event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warning<'a> {
    /// When it was last seen, in ms since 1970.
    pub at: i64,
    /// For machines.
    pub reason: &'a str,
    /// For humans.
    pub message: &'a str,
}

/// A state, in words, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: WorkspaceState,
    /// About the state, for humans.
    pub message: String,
    /// When to look again even if nothing changes.
    pub again: Option<Duration>,
}

impl Verdict {
    /// A state with its words.
    pub fn new(state: WorkspaceState, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), again: None }
    }

    /// It cannot run until somebody acts.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(WorkspaceState::Error, message)
    }
}

/// The state of a workspace whose objects could all be made; the first rule that fits decides.
pub fn decide(observed: &Observed<'_>) -> Verdict {
    let stateful_set = observed.stateful_set.unwrap_or_default();
    if observed.stateful_set.is_some()
        && stateful_set.is_behind(observed.paused && observed.pod.is_none())
    {
        return Verdict::new(WorkspaceState::Unknown, UNKNOWN);
    }
    match observed.pod {
        None => without_pod(observed),
        Some(pod) => with_pod(&PodView::new(pod), &stateful_set, &observed.pod_warnings),
    }
}

fn without_pod(observed: &Observed<'_>) -> Verdict {
    if observed.paused {
        return Verdict::new(WorkspaceState::Paused, "Workspace is paused");
    }
    match latest(observed.stateful_set_warnings.iter()) {
        Some(warning) => {
            Verdict::error(format!("Workspace StatefulSet has warning event: {}", warning.message))
        }
        None => Verdict::new(WorkspaceState::Unknown, UNKNOWN),
    }
}

fn with_pod(
    pod: &PodView<'_>,
    stateful_set: &StatefulSetFacts<'_>,
    warnings: &[Warning<'_>],
) -> Verdict {
    let pending = Verdict {
        again: Some(PENDING_AGAIN),
        ..Verdict::new(WorkspaceState::Pending, "Workspace is pending")
    };
    if pod.is_terminating() {
        return Verdict::new(WorkspaceState::Terminating, "Workspace is terminating");
    }
    if pod.is_outdated(stateful_set.update_revision) {
        return pending;
    }
    if let Some(message) = pod.scheduling_problem() {
        return Verdict::error(message);
    }
    if pod.phase() == "Running" && pod.is_ready() {
        return Verdict::new(WorkspaceState::Running, "Workspace is running");
    }
    if let Some(message) = pod.back_off() {
        return Verdict::error(message);
    }
    // What is older than the running container was about an earlier try. A failed probe says that
    // the program is not up yet; if it never comes up, restarts and their back-off tell.
    // What kept the pod from being scheduled is over when it is.
    let started = pod.main_started();
    let current = warnings.iter().filter(|warning| match warning.reason {
        "Unhealthy" => false,
        "FailedScheduling" if pod.is_scheduled() => false,
        _ => started.is_none_or(|started| warning.at >= started),
    });
    if let Some(warning) = latest(current) {
        return Verdict::error(format!("Workspace Pod has warning event: {}", warning.message));
    }
    if let Some(message) = pod.start_problem() {
        return Verdict::error(message);
    }
    match pod.phase() {
        "Pending" => pending,
        _ => Verdict::new(WorkspaceState::Unknown, UNKNOWN),
    }
}

fn latest<'a, 'w: 'a>(warnings: impl Iterator<Item = &'a Warning<'w>>) -> Option<&'a Warning<'w>> {
    warnings.max_by_key(|warning| warning.at)
}

/// Whether a pod was made from another template than the newest one; never if that is unknown.
pub fn is_outdated(pod: &Pod, update_revision: &str) -> bool {
    PodView::new(pod).is_outdated(update_revision)
}

/// The image that runs, if one does and is to go on.
pub fn running_image(pod: &Pod) -> Option<&str> {
    let pod = PodView::new(pod);
    pod.running_image().filter(|_| !pod.is_terminating())
}

/// What the pod is, for the status; empty names without one.
pub fn pod_facts(pod: Option<&Pod>, service_account: &str) -> PodTemplatePod {
    let spec = pod.and_then(|pod| pod.spec.as_ref());
    let names = |containers: &[k8s_openapi::api::core::v1::Container]| {
        containers.iter().map(|c| ContainerName { name: c.name.clone() }).collect()
    };
    PodTemplatePod {
        name: pod.and_then(|pod| pod.metadata.name.clone()).unwrap_or_default(),
        node_name: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        service_account_name: Some(service_account.to_owned()),
        containers: spec.map(|spec| names(&spec.containers)).unwrap_or_default(),
        init_containers: spec
            .and_then(|spec| spec.init_containers.as_deref())
            .map(names)
            .unwrap_or_default(),
    }
}

/// Puts state and times into the status; `now` is in ms since 1970.
pub fn enter(status: &mut WorkspaceStatus, verdict: &Verdict, paused: bool, now: i64) {
    let running = verdict.state == WorkspaceState::Running;
    if running && (status.state != WorkspaceState::Running || status.last_running_time == 0) {
        status.last_running_time = now;
        status.activity = Activity::default();
    }
    if !paused {
        status.pause_time = 0;
    } else if status.pause_time == 0 {
        status.pause_time = now;
    }
    status.state = verdict.state;
    status.state_message.clone_from(&verdict.message);
}

#[cfg(test)]
mod tests;
