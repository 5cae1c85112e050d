//! The reconcile of one workspace.

mod apply;
mod secret;
mod sight;

use std::{sync::Arc, time::Duration};

use cluster::{
    Cache, Key,
    controller::{Outcome, Turn},
    error,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use self::sight::Sight;
use super::{
    Context, OUTDATED_AGAIN,
    children::Child,
    error::StepError,
    events,
    memory::{self, Unseen},
    objects::Objects,
};
use crate::{
    decide::{
        naming,
        options::{ResolvedOptions, resolve_both},
        pin,
        state::{self, Observed, StatefulSetFacts, Verdict, Warning},
    },
    model::{
        KIND_PROTECTION, Workspace, WorkspaceKind, WorkspaceState, WorkspaceStatus, annotation,
    },
};

/// How long a pass waits for the caches to see what it did, where the next must not start before.
pub(super) const WAIT_TO_SEE: Duration = Duration::from_secs(10);
/// How soon a pass follows one that found out that something may be done.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Brings everything of a workspace in line.
pub(super) async fn reconcile(context: &Context, key: &Key, turn: Turn) -> Outcome {
    let found = context.caches.workspaces.get(key.namespace(), key.name());
    // The objects of one that is being deleted go by garbage collection.
    let Some(workspace) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        context.activity.forget(key);
        context.memory.forget(key);
        return Outcome::Done;
    };
    if !context.memory.has_seen(key, &context.caches.workspaces) {
        return OUTDATED_AGAIN;
    }
    let sight = Sight::of(context, &workspace);
    if turn == Turn::Now
        && let Some(outcome) = context.memory.settled(key, sight.number())
    {
        return outcome;
    }
    let written = Written { sight, objects: Vec::new(), status: None, pin_waits: false };
    let rest_later = turn == Turn::Now && workspace.spec.paused && workspace.status.is_none();
    let workspace = &workspace;
    Pass { context, key, workspace, rest_later, written: Mutex::new(written) }.run().await
}

/// One pass over one workspace.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a Key,
    pub(super) workspace: &'a Workspace,
    /// Whether what leads to the workspace, and what only a pod needs, can wait until nothing else
    /// does: it is new and paused. An API server makes Services one after the other.
    rest_later: bool,
    written: Mutex<Written>,
}

/// What a pass wrote, for the next one.
struct Written {
    /// All that it saw, and wrote.
    sight: Sight,
    /// What the caches should have seen before the next pass.
    objects: Vec<(Cache<Child>, Key, Box<str>)>,
    status: Option<String>,
    /// Whether another digest waits until what runs is not used.
    pin_waits: bool,
}

impl Pass<'_> {
    async fn run(self) -> Outcome {
        let mut status = self.workspace.status.clone().unwrap_or_default();
        let paused = self.workspace.spec.paused;
        if paused || status.pause_time != 0 {
            self.note_start_or_pause();
        }
        let (verdict, mut outcome) = match self.steps(&mut status).await {
            Ok(verdict) => {
                let nothing = if self.rest_later { Outcome::Later } else { Outcome::Done };
                let outcome = verdict.again.map_or(nothing, Outcome::After);
                (Some(verdict), outcome)
            }
            Err(failed) => self.failed(failed),
        };
        let mut settles = verdict.is_some();
        if let Some(verdict) = verdict {
            state::enter(&mut status, &verdict, paused, (self.context.options.now)());
            let culling = self.activity(&mut status);
            if self.written.lock().pin_waits && self.is_unused(&status) {
                outcome = sooner(outcome, Some(AT_ONCE));
            }
            outcome = match self.write_status(&status).await {
                Ok(version) => {
                    self.tell(&culling, &status, &version).await;
                    match culling.pause {
                        true => self.pause(&version, &status).await,
                        false => sooner(outcome, culling.again),
                    }
                }
                Err(failure) => {
                    settles = false;
                    failure
                }
            };
        }
        self.note(settles, outcome);
        outcome
    }

    /// Leaves to the next pass what this one saw and wrote. With a timer or a probe there is more to
    /// be done about that than nothing.
    fn note(self, settles: bool, outcome: Outcome) {
        let (context, written) = (self.context, self.written.into_inner());
        let settles = settles
            && matches!(outcome, Outcome::Done | Outcome::Later)
            && !context.activity.is_busy(self.key);
        let unseen = Unseen::new(written.status, written.objects);
        if unseen.is_some() {
            // In case it never comes back: then it is gone, and nobody tells.
            context.workspace_queue.add_after(self.key.clone(), memory::LOST_AFTER);
        }
        let settled = settles.then(|| (written.sight.number(), outcome));
        context.memory.note_pass(self.key, unseen, settled);
    }

    /// Notes an object that was written, in the place of an older version of it.
    fn wrote(&self, cache: Cache<Child>, old: Option<&Child>, new: &Child) {
        let mut written = self.written.lock();
        written.sight.wrote(old, new);
        let key = Key::new(self.key.namespace(), &new.name);
        written.objects.push((cache, key, new.version.clone()));
    }

    /// What a failure means for state and retries; no verdict leaves the status alone.
    fn failed(&self, failed: StepError) -> (Option<Verdict>, Outcome) {
        let workspace = self.key;
        match failed {
            StepError::Stalled(message) => (Some(Verdict::error(message)), Outcome::Done),
            StepError::Refused(message) => {
                tracing::warn!(%workspace, message, "an object was refused");
                (Some(Verdict::error(message)), Outcome::Retry)
            }
            StepError::Waiting(what) => {
                tracing::debug!(%workspace, what, "waiting");
                (None, Outcome::Done)
            }
            StepError::Outdated => (None, OUTDATED_AGAIN),
            StepError::Transient { doing, source } => {
                tracing::warn!(%workspace, doing, error = %source, "the Kubernetes API failed");
                // What runs goes on running; only a workspace without objects is told about it.
                let observed = self.observe(None);
                let observed = (observed.state == WorkspaceState::Unknown).then(|| {
                    let message = format!("Workspace waits for the Kubernetes API: cannot {doing}");
                    Verdict::new(WorkspaceState::Unknown, message)
                });
                (observed, Outcome::Retry)
            }
        }
    }

    /// All steps in their order, up to the state.
    async fn steps(&self, status: &mut WorkspaceStatus) -> Result<Verdict, StepError> {
        let spec = &self.workspace.spec;
        let kind = self.context.caches.kinds.get(None, &spec.kind).ok_or_else(|| {
            let message = format!("Workspace references unknown WorkspaceKind: {}", spec.kind);
            StepError::Stalled(message)
        })?;
        let metrics = &self.context.options.metrics;
        metrics.step("protect_kind", self.protect(&kind)).await?;
        let options = resolve_both(&spec.kind, &kind, &spec.pod_template.options)
            .map_err(StepError::Stalled)?;
        note_options(status, &options);
        let option = &*options.image.current.spec.image;
        let pin = self.workspace.annotations().get(annotation::IMAGE_DIGEST);
        let pinned = pin::image(option, pin.map(String::as_str));
        let image = pinned.unwrap_or(option);
        let in_use = self.is_in_use(option, image, status);
        self.written.lock().pin_waits = in_use;
        let stateful_set = self.objects(&kind, &options, image, in_use).await?;
        let account = naming::service_account(self.key.name());
        let pod = self.pod(&stateful_set);
        status.pending_restart |= stateful_set.holds_updates
            && pod.as_ref().is_some_and(|p| state::is_outdated(p, &stateful_set.update_revision));
        status.pod_template_pod = state::pod_facts(pod.as_deref(), &account);
        let mut verdict = self.observe(Some(&stateful_set));
        if let Err(bad) = pinned {
            verdict.message = format!("{}, {bad}", verdict.message);
        }
        Ok(verdict)
    }

    /// Whether what runs goes on although another digest is wanted.
    fn is_in_use(&self, option: &str, wanted: &str, status: &WorkspaceStatus) -> bool {
        let uid = self.workspace.metadata.uid.as_deref().unwrap_or_default();
        let sets = self.context.children.stateful_sets.indexed(uid);
        let pod = sets.first().and_then(|set| self.pod(set));
        let running = pod.as_deref().and_then(state::running_image);
        running.is_some_and(|running| pin::is_all_that_differs(option, wanted, running))
            && !self.is_unused(status)
    }

    fn is_unused(&self, status: &WorkspaceStatus) -> bool {
        let clock = self.context.activity.clock(&self.context.options);
        pin::is_unused(self.workspace, &status.activity, clock)
    }

    /// Makes or mends every object; gives the StatefulSet. What does not need another is written
    /// beside it, and one that fails cuts no other off.
    async fn objects(
        &self,
        kind: &WorkspaceKind,
        options: &ResolvedOptions<'_>,
        image: &str,
        in_use: bool,
    ) -> Result<Arc<Child>, StepError> {
        let connect_secret = self.context.options.connect_secret;
        let workspace = self.workspace;
        let objects = Objects { workspace, kind, options, image, in_use, connect_secret };
        let metrics = &self.context.options.metrics;
        if self.rest_later {
            return metrics.step("stateful_set", self.stateful_set(&objects)).await;
        }
        let pod = async {
            let account = metrics.step("service_account", self.service_account(&objects));
            // A paused workspace shows nothing to anybody, so the Secret can wait.
            let secret = async {
                match connect_secret && !self.workspace.spec.paused {
                    true => metrics.step("connect_secret", self.connect_secret()).await,
                    false => Ok(()),
                }
            };
            let (account, secret) = tokio::join!(account, secret);
            account.and(secret)?;
            let stateful_set = metrics.step("stateful_set", self.stateful_set(&objects));
            // Not before the account is known to be ours: it is given rights.
            let roles = metrics.step("role_bindings", self.role_bindings(&objects));
            let (stateful_set, roles) = tokio::join!(stateful_set, roles);
            roles.and(stateful_set)
        };
        let way = async {
            let service = metrics.step("service", self.service(&objects)).await?;
            metrics.step("routes", self.routes(&objects, &service.name)).await
        };
        let (stateful_set, way) = tokio::join!(pod, way);
        way.and(stateful_set)
    }

    /// Keeps the kind from being deleted while this workspace uses it.
    async fn protect(&self, kind: &WorkspaceKind) -> Result<(), StepError> {
        let is_fine = |kind: &WorkspaceKind| {
            kind.metadata.deletion_timestamp.is_some()
                || kind.metadata.finalizers.iter().flatten().any(|f| f == KIND_PROTECTION)
        };
        if is_fine(kind) {
            return Ok(());
        }
        let name = kind.metadata.name.as_deref().unwrap_or_default();
        let lock = self.context.kind_lock(name);
        let _only_writer = lock.lock().await;
        let kinds = &self.context.caches.kinds;
        let Some(kind) = kinds.get(None, name) else { return Err(StepError::Outdated) };
        if is_fine(&kind) {
            return Ok(());
        }
        let mut finalizers = kind.metadata.finalizers.clone().unwrap_or_default();
        finalizers.push(KIND_PROTECTION.to_owned());
        // With the version that was read: finalizers of others are never lost.
        let patch = json!({"metadata": {
            "resourceVersion": kind.metadata.resource_version, "finalizers": finalizers,
        }});
        let patched = Api::<WorkspaceKind>::all(self.context.client.clone())
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(|source| match error::is_not_found(&source) {
                true => StepError::Outdated,
                false => StepError::call("protect the kind", source),
            })?;
        self.context.options.metrics.wrote("WorkspaceKind", "patch");
        let version = patched.metadata.resource_version.unwrap_or_default();
        kinds.wait_for_version(&Key::new(None, name), &version, WAIT_TO_SEE).await;
        Ok(())
    }

    /// The state as it is seen now.
    fn observe(&self, stateful_set: Option<&Arc<Child>>) -> Verdict {
        let uid = self.workspace.metadata.uid.as_deref().unwrap_or_default();
        let cached = self.context.children.stateful_sets.indexed(uid);
        let stateful_set = stateful_set.or(cached.first());
        let pod = stateful_set.and_then(|set| self.pod(set));
        let warnings = |uid: &str| self.context.children.warnings.indexed(uid);
        let mut about_set = stateful_set.map(|set| warnings(&set.uid)).unwrap_or_default();
        let pod_uid = pod.as_ref().and_then(|pod| pod.metadata.uid.as_deref());
        let about_pod = pod_uid.map(warnings).unwrap_or_default();
        fn view(warning: &Arc<super::children::WarningEvent>) -> Warning<'_> {
            Warning { at: warning.at, reason: &warning.reason, message: &warning.message }
        }
        about_set.retain(|warning| !self.context.memory.is_stale(self.key, warning.at));
        state::decide(&Observed {
            paused: self.workspace.spec.paused,
            stateful_set: stateful_set.map(|set| StatefulSetFacts {
                generation: set.generation,
                observed_generation: set.observed_generation,
                // A pod that may stay as it is is not about to be replaced.
                update_revision: if set.holds_updates { "" } else { &set.update_revision },
            }),
            pod: pod.as_deref(),
            stateful_set_warnings: about_set.iter().map(view).collect(),
            pod_warnings: about_pod.iter().map(view).collect(),
        })
    }

    /// A workspace that is started has nothing to do with what was wrong before it was paused.
    fn note_start_or_pause(&self) {
        let starts = !self.workspace.spec.paused;
        let uid = self.workspace.metadata.uid.as_deref().unwrap_or_default();
        let sets = self.context.children.stateful_sets.indexed(uid).into_iter().filter(|_| starts);
        let warnings = sets.flat_map(|set| self.context.children.warnings.indexed(&set.uid));
        let newest = warnings.map(|warning| warning.at).max();
        self.context.memory.note_stale(self.key, newest);
    }

    /// The pod of a StatefulSet. A pod of that name that belongs to somebody else is not: the
    /// connect proxy trusts what the status says about the pod.
    fn pod(&self, stateful_set: &Child) -> Option<Arc<Pod>> {
        let name = stateful_set.pod_name();
        let pod = self.context.caches.pods.get(self.key.namespace(), &name)?;
        let mut owners = pod.metadata.owner_references.iter().flatten();
        owners
            .any(|owner| owner.controller == Some(true) && *owner.uid == *stateful_set.uid)
            .then_some(pod)
    }

    /// Writes the status if it changed; gives the version of the workspace, or what to do if that
    /// failed.
    async fn write_status(&self, status: &WorkspaceStatus) -> Result<String, Outcome> {
        let old = self.workspace.status.as_ref();
        if old.is_some_and(|old| is_told(old, status)) {
            return Ok(self.workspace.metadata.resource_version.clone().unwrap_or_default());
        }
        let mut workspace = self.workspace.clone();
        workspace.status = Some(status.clone());
        match cluster::apply::replace_status(&self.context.client, &workspace).await {
            Ok(version) => {
                self.context.options.metrics.wrote("Workspace", "status");
                self.note_start(old, status);
                {
                    let mut written = self.written.lock();
                    written.sight.wrote_status(self.workspace, &version);
                    written.status = Some(version.clone());
                }
                events::announce(self.context, self.workspace, old, status, &version).await;
                Ok(version)
            }
            Err(source) if error::is_not_found(&source) => Err(Outcome::Done),
            Err(source) if error::is_conflict(&source) => Err(OUTDATED_AGAIN),
            Err(source) => {
                tracing::warn!(workspace = %self.key, error = %source, "cannot write the status");
                Err(Outcome::Retry)
            }
        }
    }

    /// Counts how long a pod took until its workspace runs.
    fn note_start(&self, old: Option<&WorkspaceStatus>, new: &WorkspaceStatus) {
        let runs = |status: &WorkspaceStatus| status.state == WorkspaceState::Running;
        if !runs(new) || old.is_some_and(runs) {
            return;
        }
        let pod = self.context.caches.pods.get(self.key.namespace(), &new.pod_template_pod.name);
        if let Some(created) = pod.and_then(|pod| pod.metadata.creation_timestamp.clone()) {
            let now = (self.context.options.now)();
            let after = now.saturating_sub(created.0.as_millisecond());
            self.context.options.metrics.started(after);
        }
    }
}

/// Whether a status says all that a new one does. Definitions of others may not know `warnAfter`,
/// which follows from the rest.
fn is_told(old: &WorkspaceStatus, new: &WorkspaceStatus) -> bool {
    let rules = |status: &WorkspaceStatus| {
        let rules = status.activity.rules.as_ref()?;
        rules.pause_workspace.as_ref()?.warn_after
    };
    if rules(old).is_some() || rules(new).is_none() {
        return old == new;
    }
    let mut new = new.clone();
    let pause = new.activity.rules.as_mut().and_then(|rules| rules.pause_workspace.as_mut());
    if let Some(pause) = pause {
        pause.warn_after = None;
    }
    *old == new
}

/// The sooner of another look that a pass wants anyway, and one at that time.
fn sooner(outcome: Outcome, again: Option<Duration>) -> Outcome {
    match (outcome, again) {
        (Outcome::After(one), Some(other)) => Outcome::After(one.min(other)),
        (Outcome::Done, Some(again)) => Outcome::After(again),
        (outcome, _) => outcome,
    }
}

fn note_options(status: &mut WorkspaceStatus, options: &ResolvedOptions<'_>) {
    status.pod_template_options.image_config = options.image.status.clone();
    status.pod_template_options.pod_config = options.pod.status.clone();
    status.pending_restart = options.pending_restart();
}
