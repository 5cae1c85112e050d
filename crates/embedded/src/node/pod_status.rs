//! The status of a pod, computed from what its containers do. Pure.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::HOST_ADDRESS;
use super::events::seconds;

/// What a container does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Doing {
    Waiting(Waiting),
    Running { since: Timestamp },
    Ended(Box<ContainerStateTerminated>),
}

/// Why a container does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
}

impl Waiting {
    pub(crate) fn new(reason: &str, message: Option<String>) -> Self {
        Self { reason: reason.to_owned(), message }
    }
}

/// One container, as the status tells of it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) container_id: Option<String>,
    pub(crate) doing: Doing,
    pub(crate) last: Option<ContainerStateTerminated>,
    pub(crate) restarts: u32,
    pub(crate) started: bool,
    pub(crate) ready: bool,
}

impl View {
    fn succeeded(&self) -> bool {
        matches!(&self.doing, Doing::Ended(end) if end.exit_code == 0)
    }

    fn is_waiting_first(&self) -> bool {
        matches!(self.doing, Doing::Waiting(_)) && self.last.is_none()
    }

    fn is_running(&self) -> bool {
        matches!(self.doing, Doing::Running { .. })
    }

    fn status(&self) -> ContainerStatus {
        let state = match &self.doing {
            Doing::Waiting(waiting) => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some(waiting.reason.clone()),
                    message: waiting.message.clone(),
                }),
                ..ContainerState::default()
            },
            Doing::Running { since } => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(seconds(*since))) }),
                ..ContainerState::default()
            },
            Doing::Ended(end) => {
                ContainerState { terminated: Some((**end).clone()), ..ContainerState::default() }
            }
        };
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            container_id: self.container_id.clone(),
            state: Some(state),
            last_state: self
                .last
                .clone()
                .map(|last| ContainerState { terminated: Some(last), ..ContainerState::default() }),
            restart_count: i32::try_from(self.restarts).unwrap_or(i32::MAX),
            ready: self.ready,
            started: Some(self.started),
            ..ContainerStatus::default()
        }
    }
}

/// All that a pod's status says.
pub(crate) struct Picture<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) start_time: Timestamp,
    pub(crate) init: &'a [View],
    pub(crate) main: &'a [View],
    pub(crate) now: Timestamp,
}

impl Picture<'_> {
    /// The whole status. What others have written into it stays.
    pub(crate) fn status(&self) -> PodStatus {
        let before = self.pod.status.clone().unwrap_or_default();
        let phase = self.phase(before.phase.as_deref());
        let statuses = |views: &[View]| {
            (!views.is_empty()).then(|| views.iter().map(View::status).collect::<Vec<_>>())
        };
        let address = self.address.to_string();
        let host = HOST_ADDRESS.to_string();
        PodStatus {
            conditions: Some(self.conditions(phase, before.conditions.as_deref())),
            phase: Some(phase.to_owned()),
            pod_ip: Some(address.clone()),
            pod_ips: Some(vec![PodIP { ip: address }]),
            host_ip: Some(host.clone()),
            host_ips: Some(vec![HostIP { ip: host }]),
            start_time: before.start_time.clone().or(Some(Time(seconds(self.start_time)))),
            init_container_statuses: statuses(self.init),
            container_statuses: statuses(self.main),
            ..before
        }
    }

    fn restart_policy(&self) -> &str {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        policy.unwrap_or("Always")
    }

    fn phase(&self, before: Option<&str>) -> &'static str {
        match before {
            Some("Succeeded") => return "Succeeded",
            Some("Failed") => return "Failed",
            _ => {}
        }
        let policy = self.restart_policy();
        let failed_init = self
            .init
            .iter()
            .any(|view| matches!(&view.doing, Doing::Ended(end) if end.exit_code != 0));
        if failed_init && policy == "Never" {
            return "Failed";
        }
        if !self.initialized() || self.main.iter().any(View::is_waiting_first) {
            return "Pending";
        }
        if self.main.iter().any(View::is_running) || policy == "Always" {
            return "Running";
        }
        let all_ended = self.main.iter().all(|view| matches!(view.doing, Doing::Ended(_)));
        match (all_ended, self.main.iter().all(View::succeeded), policy) {
            (true, true, _) => "Succeeded",
            (true, false, "Never") => "Failed",
            _ => "Running",
        }
    }

    fn initialized(&self) -> bool {
        self.init.iter().all(View::succeeded)
    }

    fn conditions(&self, phase: &str, before: Option<&[PodCondition]>) -> Vec<PodCondition> {
        let names = |views: &[View], good: fn(&View) -> bool| {
            let names = views.iter().filter(|view| !good(view)).map(|view| view.name.as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let incomplete = names(self.init, View::succeeded);
        let unready = names(self.main, |view| view.ready);
        let initialized = if incomplete.is_empty() {
            Verdict::TRUE
        } else {
            let message = format!("containers with incomplete status: [{incomplete}]");
            Verdict::not("ContainersNotInitialized", Some(message))
        };
        let ready = match phase {
            "Succeeded" => Verdict::not("PodCompleted", None),
            "Failed" => Verdict::not("PodFailed", None),
            _ if unready.is_empty() && incomplete.is_empty() => Verdict::TRUE,
            _ => {
                let message = format!("containers with unready status: [{unready}]");
                Verdict::not("ContainersNotReady", Some(message))
            }
        };
        let ours = [
            ("Initialized", initialized),
            ("Ready", ready.clone()),
            ("ContainersReady", ready),
            ("PodScheduled", Verdict::TRUE),
        ];
        let mut conditions: Vec<_> = before
            .unwrap_or_default()
            .iter()
            .filter(|known| ours.iter().all(|(name, _)| *name != known.type_))
            .cloned()
            .collect();
        for (name, verdict) in ours {
            conditions.push(verdict.condition(name, before.unwrap_or_default(), self.now));
        }
        conditions
    }
}

/// The value of a condition.
#[derive(Clone)]
pub(crate) struct Verdict {
    good: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const TRUE: Self = Self { good: true, reason: None, message: None };

    pub(crate) fn not(reason: &'static str, message: Option<String>) -> Self {
        Self { good: false, reason: Some(reason), message }
    }

    /// The condition; its time is that of the last change from true to false or back.
    pub(crate) fn condition(
        &self,
        name: &str,
        before: &[PodCondition],
        now: Timestamp,
    ) -> PodCondition {
        let status = if self.good { "True" } else { "False" };
        let known = before.iter().find(|known| known.type_ == name);
        let since = known.filter(|known| known.status == status);
        PodCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: self.reason.map(str::to_owned),
            message: self.message.clone(),
            last_transition_time: since
                .and_then(|known| known.last_transition_time.clone())
                .or_else(|| Some(Time(seconds(now)))),
            ..PodCondition::default()
        }
    }
}

/// Whether nothing of the pod will ever run again.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the pod says that it is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|known| known.type_ == "Ready" && known.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(doing: Doing, restarted: bool) -> View {
        let ready = matches!(doing, Doing::Running { .. });
        View {
            name: "main".into(),
            image: "image".into(),
            image_id: String::new(),
            container_id: None,
            doing,
            last: restarted.then(ContainerStateTerminated::default),
            restarts: 0,
            started: ready,
            ready,
        }
    }

    fn ended(exit_code: i32) -> Doing {
        Doing::Ended(Box::new(ContainerStateTerminated { exit_code, ..Default::default() }))
    }

    fn waiting() -> Doing {
        Doing::Waiting(Waiting::new("CrashLoopBackOff", None))
    }

    fn running() -> Doing {
        Doing::Running { since: Timestamp::UNIX_EPOCH }
    }

    fn status(policy: &str, init: &[View], main: &[View], before: PodStatus) -> PodStatus {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {"restartPolicy": policy, "containers": []},
        }))
        .unwrap();
        pod.status = Some(before);
        let (address, now) = (Ipv4Addr::new(127, 64, 0, 1), Timestamp::now());
        Picture { pod: &pod, address, start_time: now, init, main, now }.status()
    }

    #[rstest::rstest]
    #[case("Always", waiting(), false, "Pending")]
    #[case("Always", waiting(), true, "Running")]
    #[case("Always", running(), false, "Running")]
    #[case("Always", ended(0), false, "Running")]
    #[case("OnFailure", ended(0), false, "Succeeded")]
    #[case("OnFailure", ended(1), false, "Running")]
    #[case("Never", ended(0), false, "Succeeded")]
    #[case("Never", ended(1), false, "Failed")]
    fn phases(
        #[case] policy: &str,
        #[case] doing: Doing,
        #[case] restarted: bool,
        #[case] expected: &str,
    ) {
        let main = [view(doing, restarted)];
        let status = status(policy, &[], &main, PodStatus::default());
        assert_eq!(status.phase.as_deref(), Some(expected));
    }

    #[test]
    fn waits_for_init_containers() {
        let status = status(
            "Always",
            &[view(running(), false)],
            &[view(running(), false)],
            PodStatus::default(),
        );
        assert_eq!(status.phase.as_deref(), Some("Pending"));
        let initialized =
            status.conditions.unwrap().into_iter().find(|known| known.type_ == "Initialized");
        assert_eq!(initialized.unwrap().status, "False");
    }

    #[test]
    fn the_same_picture_gives_the_same_status() {
        let main = [view(running(), false)];
        let first = status("Always", &[], &main, PodStatus::default());
        let stored: PodStatus =
            serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(status("Always", &[], &main, stored), first);
    }

    #[test]
    fn an_end_is_for_ever() {
        let before = PodStatus { phase: Some("Failed".into()), ..PodStatus::default() };
        let status = status("Always", &[], &[view(running(), false)], before);
        assert_eq!(status.phase.as_deref(), Some("Failed"));
    }
}
