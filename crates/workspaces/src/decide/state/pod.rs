//! The parts of a pod that the state of its workspace depends on.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus, Pod, PodCondition};

const MAIN: &str = "main";

/// A pod as the state rules see it.
pub(super) struct PodView<'a>(&'a Pod);

impl<'a> PodView<'a> {
    pub(super) fn new(pod: &'a Pod) -> Self {
        Self(pod)
    }

    pub(super) fn is_terminating(&self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }

    /// Whether it was made from another template than that revision; never if that is unknown.
    pub(super) fn is_outdated(&self, update_revision: &str) -> bool {
        let labels = self.0.metadata.labels.as_ref();
        let made_from = labels.and_then(|labels| labels.get("controller-revision-hash"));
        !update_revision.is_empty() && made_from.map_or("", String::as_str) != update_revision
    }

    pub(super) fn is_scheduled(&self) -> bool {
        self.condition("PodScheduled").is_some_and(|condition| condition.status == "True")
    }

    pub(super) fn phase(&self) -> &'a str {
        self.0.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|condition| condition.status == "True")
    }

    /// Why no node takes it, in words.
    pub(super) fn scheduling_problem(&self) -> Option<String> {
        let condition = self.condition("PodScheduled").filter(|c| c.status != "True")?;
        let problem = match condition.reason.as_deref()? {
            "Unschedulable" => "Workspace Pod is unschedulable",
            "SchedulingGated" => "Workspace Pod is waiting for scheduling gate",
            "SchedulerError" => "Workspace Pod has scheduler error",
            _ => return None,
        };
        Some(with(problem, condition.message.as_deref()))
    }

    /// Why the container is started again only after a pause, in words.
    pub(super) fn back_off(&self) -> Option<String> {
        let waiting = self.waiting()?;
        let reason = waiting.reason.as_deref()?;
        if !matches!(reason, "CrashLoopBackOff" | "ImagePullBackOff") {
            return None;
        }
        let out_of_memory = if self.died_of_memory() { " (out of memory)" } else { "" };
        Some(format!("Workspace Pod container is not running: {reason}{out_of_memory}"))
    }

    /// Why the container cannot start at all, in words.
    pub(super) fn start_problem(&self) -> Option<String> {
        let waiting = self.waiting()?;
        let reason = waiting.reason.as_deref()?;
        let stuck = matches!(
            reason,
            "ErrImagePull"
                | "ErrImageNeverPull"
                | "InvalidImageName"
                | "CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError"
        );
        let text = || {
            let problem = format!("Workspace Pod container is not running: {reason}");
            with(&problem, waiting.message.as_deref())
        };
        stuck.then(text)
    }

    /// When the container was started, in ms since 1970.
    pub(super) fn main_started(&self) -> Option<i64> {
        let running = self.main()?.state.as_ref()?.running.as_ref()?;
        Some(running.started_at.as_ref()?.0.as_millisecond())
    }

    /// The image of the container, if that runs.
    pub(super) fn running_image(&self) -> Option<&'a str> {
        self.main()?.state.as_ref()?.running.as_ref()?;
        let containers = self.0.spec.as_ref()?.containers.iter();
        containers.filter(|container| container.name == MAIN).find_map(|main| main.image.as_deref())
    }

    fn died_of_memory(&self) -> bool {
        let last = self.main().and_then(|main| main.last_state.as_ref());
        let ended = last.and_then(|last| last.terminated.as_ref());
        ended.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"))
    }

    fn waiting(&self) -> Option<&'a ContainerStateWaiting> {
        self.main()?.state.as_ref()?.waiting.as_ref()
    }

    fn main(&self) -> Option<&'a ContainerStatus> {
        let statuses = self.0.status.as_ref()?.container_statuses.as_deref()?;
        statuses.iter().find(|status| status.name == MAIN)
    }

    fn condition(&self, kind: &str) -> Option<&'a PodCondition> {
        let conditions = self.0.status.as_ref()?.conditions.as_deref()?;
        conditions.iter().find(|condition| condition.type_ == kind)
    }
}

fn with(problem: &str, detail: Option<&str>) -> String {
    match detail {
        Some(detail) if !detail.is_empty() => format!("{problem}: {detail}"),
        _ => problem.to_owned(),
    }
}
