//! Objects of the cluster: annotates those that an event concerns, so that their controllers look
//! again (Flux v2, Argo CD), restarts workspaces, starts Jobs (contract §3.8).
//!
//! Only objects of one namespace: whoever may write a hook there shall reach nothing elsewhere.

mod ask;
mod images;
mod select;

use std::{fmt, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

pub(crate) use self::ask::ask;
pub use self::images::Pushed;
use self::select::Found;
pub use self::select::{Auto, Selection, Wanted};
pub(crate) use self::select::{default_version, workspace_kinds};
use super::{
    Failure, Target, Telling,
    fill::{self, fill},
};
use crate::{
    decide::digest::hex,
    model::{Event, ResourceRef},
};

/// How often objects are looked at while their controllers are waited for.
const LOOK: Duration = Duration::from_millis(250);

/// Where Flux is asked to reconcile.
pub(crate) const REQUESTED: &str = "reconcile.fluxcd.io/requestedAt";

/// Changes a part of an object.
pub(crate) async fn patch<K>(api: &Api<K>, name: &str, patch: Value) -> Result<(), kube::Error>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    let who = PatchParams { field_manager: Some("quartermaster".to_owned()), ..Default::default() };
    api.patch(name, &who, &Patch::Merge(patch)).await.map(drop)
}

/// What is done to the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Asks Flux to reconcile.
    Reconcile {
        /// Whether a HelmRelease is upgraded although nothing changed.
        force: bool,
        /// Whether a HelmRelease forgets its failures.
        reset: bool,
        /// How long to wait for the controllers to say that they have seen it.
        wait: Option<Duration>,
    },
    /// Asks Argo CD to refresh.
    Refresh {
        /// Whether its caches are dropped as well.
        hard: bool,
    },
    /// Sets an annotation.
    Annotate {
        /// Its key.
        key: String,
        /// Its value; see [`filled`].
        value: String,
    },
    /// Ends the pods of workspaces, which start anew.
    Restart,
    /// Pauses workspaces, or starts them.
    Pause(bool),
    /// Pins workspaces to the digest that was pushed, if their owners agree.
    Update,
    /// Makes a Job of the template of CronJobs.
    Run,
}

impl Action {
    /// Whether it does one thing for one event and another for the next.
    fn tells_events_apart(&self) -> bool {
        let Self::Annotate { value, .. } = self else { return false };
        fill(value, |word| depends(word).then(String::new)) != *value
    }
}

/// See the module.
pub struct Cluster {
    name: String,
    client: Client,
    namespace: String,
    selection: Selection,
    action: Action,
    /// Of workspaces: only those whose image was pushed.
    pushed: Option<Pushed>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A target that does this to these objects of a namespace.
    pub fn new(
        name: &str,
        client: Client,
        namespace: &str,
        selection: Selection,
        action: Action,
    ) -> Self {
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        Self { name, client, namespace, selection, action, pushed: None }
    }

    /// Only for workspaces whose image was pushed.
    #[must_use]
    pub fn when(self, pushed: Option<Pushed>) -> Self {
        Self { pushed, ..self }
    }

    fn api(&self, kind: &GroupVersionKind) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// All objects that an event concerns.
    async fn found(&self, event: &Event) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        for wanted in self.selection.wanted() {
            let api = self.api(&wanted.kind);
            let list = match &wanted.name {
                Some(name) => api.get(name).await.map(|one| vec![one]),
                None => {
                    let labels = ListParams::default().labels(&wanted.labels);
                    api.list(&labels).await.map(|list| list.items)
                }
            };
            match list {
                Ok(list) => found.extend(
                    list.into_iter()
                        .filter(|object| self.selection.concerns(event, &wanted.kind, object))
                        .map(|object| Found { kind: wanted.kind.clone(), object, image: None }),
                ),
                // A kind that the cluster has not has no objects.
                Err(error) if wanted.name.is_none() && cluster::error::is_not_found(&error) => {}
                Err(error) => return Err(failure(&error)),
            }
        }
        match &self.pushed {
            Some(pushed) => pushed.choose(&self.client, event, found).await,
            None => Ok(found),
        }
    }

    /// Does it to one object. If it asks for something, gives the value to look for.
    async fn act(
        &self,
        found: &Found,
        telling: Telling<'_>,
        now: &str,
    ) -> Result<Option<String>, kube::Error> {
        let Found { kind, object, .. } = found;
        let name = found.name();
        if found.suspended() {
            tracing::info!(
                target = self.name,
                kind = kind.kind,
                name,
                "suspended: it is left alone"
            );
            return Ok(None);
        }
        let annotations = match &self.action {
            Action::Reconcile { force, reset, .. } => {
                let helm = kind.kind == "HelmRelease";
                let annotations = |value: &str| {
                    let mut all = json!({REQUESTED: value});
                    if helm && *force {
                        all["reconcile.fluxcd.io/forceAt"] = value.into();
                    }
                    if helm && *reset {
                        all["reconcile.fluxcd.io/resetAt"] = value.into();
                    }
                    all
                };
                let metadata = object.metadata.clone();
                return ask(&self.api(kind), metadata, annotations).await.map(Some);
            }
            Action::Refresh { hard } => {
                json!({"argocd.argoproj.io/refresh": if *hard { "hard" } else { "normal" }})
            }
            Action::Annotate { key, value } => {
                json!({key.as_str(): filled(value, telling, now)})
            }
            Action::Restart => return self.restart(name).await.map(|()| None),
            Action::Pause(paused) => {
                let patch = json!({"spec": {"paused": paused}});
                return self.patch(found, patch).await.map(|()| None);
            }
            Action::Run => return self.run(name, object, telling).await.map(|()| None),
            Action::Update => match images::pin(found, telling.event) {
                Some(pin) => pin,
                None => {
                    let target = &self.name;
                    tracing::info!(
                        target,
                        name,
                        "its owner agreed to no update, or to a digest: it is left alone"
                    );
                    return Ok(None);
                }
            },
        };
        self.patch(found, json!({"metadata": {"annotations": annotations}})).await.map(|()| None)
    }

    async fn patch(&self, found: &Found, patch: Value) -> Result<(), kube::Error> {
        self::patch(&self.api(&found.kind), found.name(), patch).await
    }

    /// Waits until the controllers of the objects have seen what each was asked.
    async fn handled(&self, asked: &[(&Found, String)], wait: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + wait;
        for (one, value) in asked {
            let api = self.api(&one.kind);
            loop {
                let object = api.get(one.name()).await.map_err(|error| failure(&error))?;
                let seen = object.data.pointer("/status/lastHandledReconcileAt");
                // A later request stands for this one: values only grow.
                if seen.and_then(Value::as_str).is_some_and(|seen| ask::covers(seen, value)) {
                    break;
                }
                if Instant::now() >= deadline {
                    let (kind, name) = (&one.kind.kind, one.name());
                    return Err(Failure::transient(format!(
                        "{kind} {name} has not reconciled yet"
                    )));
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Deletes the pods of a workspace; its StatefulSet makes new ones.
    async fn restart(&self, workspace: &str) -> Result<(), kube::Error> {
        let pods = self.api(&GroupVersionKind::gvk("", "v1", "Pod"));
        let labels = format!("notebooks.kubeflow.org/workspace-name={workspace}");
        for pod in pods.list(&ListParams::default().labels(&labels)).await? {
            let name = pod.metadata.name.unwrap_or_default();
            match pods.delete(&name, &DeleteParams::default()).await {
                Err(error) if cluster::error::is_not_found(&error) => {}
                deleted => drop(deleted?),
            }
        }
        Ok(())
    }

    /// Makes the Job. Its name comes from the notification, so that trying again makes no second.
    async fn run(
        &self,
        name: &str,
        cron_job: &DynamicObject,
        telling: Telling<'_>,
    ) -> Result<(), kube::Error> {
        let template = cron_job.data.pointer("/spec/jobTemplate").cloned().unwrap_or_default();
        let digest = hex(&Sha256::digest(telling.name()));
        let name: String =
            name.chars().take(40).chain("-".chars()).chain(digest.chars().take(12)).collect();
        let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "controller": true,
            "name": cron_job.metadata.name, "uid": cron_job.metadata.uid}]);
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "labels": template.pointer("/metadata/labels"),
                "annotations": {"cronjob.kubernetes.io/instantiate": "webhook"},
                "ownerReferences": owner},
            "spec": template.get("spec"),
        });
        let job = serde_json::from_value(job).map_err(kube::Error::SerdeError)?;
        let jobs = self.api(&GroupVersionKind::gvk("batch", "v1", "Job"));
        match jobs.create(&PostParams::default(), &job).await {
            Err(error) if cluster::error::is_already_exists(&error) => Ok(()),
            made => made.map(drop),
        }
    }
}

/// Whether [`filled`] fills a word in with something that depends on the event.
fn depends(word: &str) -> bool {
    word == "id" || fill::is_known(word)
}

/// A value with `{time}`, `{id}` and what the event says filled in.
fn filled(value: &str, telling: Telling<'_>, now: &str) -> String {
    fill(value, |word| match word {
        "time" => Some(now.to_owned()),
        "id" => Some(telling.name()),
        _ => fill::of_event(telling.event, word),
    })
}

/// What a refusal of the API means.
pub(super) fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => {
            let why = format!("the cluster answered {}: {}", status.code, status.reason);
            match status.code {
                401 | 403 | 404 => Failure::Unwelcome(why),
                400 | 422 => Failure::Permanent(why),
                _ => Failure::transient(why),
            }
        }
        _ => Failure::transient("the cluster does not answer"),
    }
}

impl Target for Cluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, event: &Event) -> Option<String> {
        let pushed = self.pushed.as_ref().is_none_or(|pushed| pushed.may_concern(event));
        if !pushed || !self.selection.may_concern(event) {
            return None;
        }
        match &self.action {
            // All write the same annotation, whatever they are about: the last one shall win.
            Action::Annotate { key, .. } => Some(key.clone()),
            _ => self.selection.subject(event),
        }
    }

    fn coalesces(&self) -> bool {
        !self.side_effects() && !self.action.tells_events_apart()
    }

    fn side_effects(&self) -> bool {
        matches!(self.action, Action::Restart | Action::Pause(_) | Action::Update | Action::Run)
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let now = ask::text(Timestamp::now());
            let (mut worst, mut asked) = (Ok(()), Vec::new());
            let all = self.found(telling.event).await?;
            if self.action == Action::Update && !all.is_empty() {
                images::check(telling.event)?;
            }
            for found in &all {
                match self.act(found, telling, &now).await {
                    Ok(value) => asked.extend(value.map(|value| (found, value))),
                    Err(error) => worst = Err(failure(&error)),
                }
            }
            match self.action {
                Action::Reconcile { wait: Some(wait), .. } if worst.is_ok() => {
                    self.handled(&asked, wait).await
                }
                _ => worst,
            }
        }
        .boxed()
    }
}

/// Makes a selection of what a hook says.
pub fn selection(
    namespace: &str,
    resources: &[ResourceRef],
    auto: Option<Auto>,
) -> Result<Selection, String> {
    if let Some(auto) = auto {
        return if resources.is_empty() {
            Ok(Selection::Auto(auto))
        } else {
            Err("auto finds the resources by itself".to_owned())
        };
    }
    if resources.is_empty() {
        return Err("resources are missing".to_owned());
    }
    let wanted = resources.iter().map(|resource| Wanted::of(namespace, resource));
    Ok(Selection::These(wanted.collect::<Result<_, _>>()?))
}
