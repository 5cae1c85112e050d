//! The step that watches over idle workspaces: probes them, warns their users, and pauses them.
//!
//! Probes run beside the reconciles, a bounded number at a time. One that ends wakes its workspace,
//! whose next pass takes the result in; only that pass may pause it.

mod exec;
mod jupyter;
mod probes;

use std::{sync::LazyLock, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{OUTDATED_AGAIN, Outcome, events, workspace::Pass};
use crate::{
    decide::{
        activity::{Clock, Failed, Notice, Probed, Steady, subject},
        filter::Labels,
    },
    model::{ProbeResult, Workspace, WorkspaceKind, WorkspaceState, WorkspaceStatus},
};
use cluster::error;
use probes::Probes;

/// How idle workspaces are looked after.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many probes run at a time.
    pub concurrent: usize,
    /// How long a Jupyter server may take to answer.
    pub jupyter_timeout: Duration,
    /// A time in ms that only counts, whatever happens to the clock.
    pub uptime: fn() -> i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrent: 32, jupyter_timeout: Duration::from_secs(10), uptime }
    }
}

fn uptime() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// What is kept between passes; all of it can be lost.
#[derive(Debug)]
pub(super) struct Watch {
    probes: Probes,
    clock: Mutex<Steady>,
}

impl Watch {
    pub(super) fn new(options: &Options) -> Self {
        Self { probes: Probes::new(options.concurrent), clock: Mutex::default() }
    }

    /// Whether a probe of a workspace runs.
    pub(super) fn is_probing(&self, key: &cluster::Key) -> bool {
        self.probes.is_running(key)
    }

    /// Whether a probe of a workspace runs, or its result waits for a pass.
    pub(super) fn is_busy(&self, key: &cluster::Key) -> bool {
        self.probes.is_known(key)
    }

    /// What time it is.
    pub(super) fn clock(&self, options: &super::Options) -> Clock {
        self.clock.lock().look((options.now)(), (options.activity.uptime)())
    }

    /// Ends what is done for a workspace.
    pub(super) fn forget(&self, key: &cluster::Key) {
        self.probes.forget(key);
    }
}

/// What a pass has to do about an idle workspace, once its status is written.
#[derive(Debug, Default)]
pub(super) struct Culling {
    /// When to look again.
    pub(super) again: Option<Duration>,
    /// Pause it now.
    pub(super) pause: bool,
    /// What the users are told, as part of the state message.
    notice: Option<Notice>,
}

impl Pass<'_> {
    /// Takes in what a probe has found, starts one that is due, and weighs the rules.
    pub(in crate::controller) fn activity(&self, status: &mut WorkspaceStatus) -> Culling {
        let watch = &self.context.activity;
        if status.state != WorkspaceState::Running || self.workspace.spec.paused {
            watch.forget(self.key);
            return Culling::default();
        }
        let kind = self.context.caches.kinds.get(None, &self.workspace.spec.kind);
        let probe = kind.as_ref().and_then(|kind| kind.spec.pod_template.activity_probe.as_ref());
        let (Some(kind), Some(probe)) = (&kind, probe) else {
            watch.forget(self.key);
            status.activity.rules = None;
            return Culling::default();
        };
        let target = self.target(kind, status);
        let taken = watch.probes.take(self.key, &target);
        let succeeded = matches!(taken, Some(Probed { found: Ok(_), .. }));
        if let Some(probed) = taken {
            let result = match &probed.found {
                Ok(_) => "Success",
                Err(Failed::Because(_)) => "Failure",
                Err(Failed::Timeout(_)) => "Timeout",
            };
            self.context.options.metrics.probed(probed.what, result);
            probed.record(&mut status.activity);
        }
        let clock = watch.clock(&self.context.options);
        let namespace = self.namespace();
        let Some(subject) = subject(self.workspace, status, kind, &namespace, clock) else {
            return Culling::default();
        };
        let (rules, notice) = (subject.rules(), subject.notice());
        let (pause, wait) = (succeeded && subject.pauses(), subject.probe_in());
        status.activity.rules = rules;
        if let Some(notice) = &notice {
            status.state_message = format!("{}, {}", status.state_message, notice.text());
        }
        if pause || watch.is_probing(self.key) {
            return Culling { again: None, pause, notice };
        }
        if wait.is_zero() {
            watch.probes.start(self.context, self.key, target, probe);
            return Culling { again: None, pause, notice };
        }
        Culling { again: Some(wait), pause, notice }
    }

    fn namespace(&self) -> Labels {
        let namespace = self.key.namespace().unwrap_or_default();
        let found = self.context.caches.namespaces.get(None, namespace);
        found.and_then(|namespace| namespace.metadata.labels.clone()).unwrap_or_default()
    }

    /// What a probe of this workspace is about.
    fn target(&self, kind: &WorkspaceKind, status: &WorkspaceStatus) -> probes::Target {
        let name = &status.pod_template_pod.name;
        let pod = self.context.caches.pods.get(self.key.namespace(), name);
        let address = pod.as_ref().and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
        let chosen = &self.workspace.spec.pod_template.options.image_config;
        let images = &kind.spec.pod_template.options.image_config.values;
        let image = images.iter().find(|value| value.id == *chosen);
        probes::Target {
            namespace: self.key.namespace().unwrap_or_default().to_owned(),
            workspace: self.key.name().to_owned(),
            pod: name.clone(),
            uid: self.workspace.uid().unwrap_or_default(),
            pod_uid: pod.and_then(|pod| pod.uid()).unwrap_or_default(),
            address: address.and_then(|address| address.parse().ok()),
            ports: image.map(|image| image.spec.ports.clone()).unwrap_or_default(),
            removed_prefixes: removed_prefixes(kind),
        }
    }

    /// Tells users what a pass found out, once.
    pub(in crate::controller) async fn tell(
        &self,
        culling: &Culling,
        status: &WorkspaceStatus,
        version: &str,
    ) {
        let old = self.workspace.status.as_ref();
        if let Some(notice) = &culling.notice
            && old.is_none_or(|old| old.state_message != status.state_message)
        {
            let reason = match notice {
                Notice::Soon(_) => "PauseSoon",
                Notice::Unsure(_) => "ActivityUnknown",
            };
            self.event(version, "Warning", reason, &status.state_message).await;
        }
        let failed = |status: &WorkspaceStatus| {
            let probe = status.activity.last_probe.as_ref();
            probe.is_some_and(|probe| probe.result != ProbeResult::Success)
        };
        if failed(status)
            && !old.is_some_and(failed)
            && let Some(probe) = &status.activity.last_probe
        {
            self.event(version, "Warning", "ActivityProbeFailed", &probe.message).await;
        }
    }

    /// Pauses it, unless anything about it changed since (somebody may have asked to keep it).
    pub(in crate::controller) async fn pause(
        &self,
        version: &str,
        status: &WorkspaceStatus,
    ) -> Outcome {
        let context = self.context;
        let namespace = self.key.namespace().unwrap_or_default();
        let api = Api::<Workspace>::namespaced(context.client.clone(), namespace);
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"paused": true}});
        let patch = Patch::Merge(patch);
        match api.patch(self.key.name(), &PatchParams::default(), &patch).await {
            Ok(written) => {
                context.options.metrics.wrote("Workspace", "patch");
                context.options.metrics.paused();
                let active = Timestamp::from_millisecond(status.activity.last_activity);
                let since = active.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ");
                let message = format!("Workspace was not used since {since} and is paused");
                self.event(version, "Normal", "IdlePaused", &message).await;
                let version = written.metadata.resource_version.unwrap_or_default();
                let seen = super::workspace::WAIT_TO_SEE;
                context.caches.workspaces.wait_for_version(self.key, &version, seen).await;
                Outcome::Done
            }
            Err(source) if error::is_not_found(&source) => Outcome::Done,
            Err(source) if error::is_conflict(&source) => OUTDATED_AGAIN,
            Err(source) => {
                tracing::warn!(workspace = %self.key, error = %source, "cannot pause");
                Outcome::Retry
            }
        }
    }

    async fn event(&self, version: &str, kind: &str, reason: &str, message: &str) {
        events::write(self.context, self.workspace, version, kind, reason, message).await;
    }
}

/// The ports behind which programs see paths without the connect prefix.
fn removed_prefixes(kind: &WorkspaceKind) -> Vec<String> {
    let ports = kind.spec.pod_template.ports.iter();
    let removed =
        ports.filter(|port| port.http_proxy.as_ref().is_some_and(|p| p.remove_path_prefix));
    removed.map(|port| port.id.clone()).collect()
}
