//! Objects of the cluster: annotates those that an event concerns, so that their controllers look
//! again (Flux v2, Argo CD), restarts workspaces, starts Jobs (contract §3.8).
//!
//! Only objects of one namespace: whoever may write a hook there shall reach nothing elsewhere.

mod select;

use std::{fmt, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use self::select::Found;
pub(crate) use self::select::default_version;
pub use self::select::{Auto, Selection, Wanted};
use super::{Failure, Target, Telling};
use crate::{
    decide::digest::hex,
    model::{Event, ResourceRef},
};

/// How often objects are looked at while their controllers are waited for.
const LOOK: Duration = Duration::from_millis(250);

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
    /// Makes a Job of the template of CronJobs.
    Run,
}

/// See the module.
pub struct Cluster {
    name: String,
    client: Client,
    namespace: String,
    selection: Selection,
    action: Action,
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
        Self { name, client, namespace, selection, action }
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
                        .map(|object| Found { kind: wanted.kind.clone(), object }),
                ),
                // A kind that the cluster has not has no objects.
                Err(error) if wanted.name.is_none() && cluster::error::is_not_found(&error) => {}
                Err(error) => return Err(failure(&error)),
            }
        }
        Ok(found)
    }

    async fn act(&self, found: &Found, telling: Telling<'_>, now: &str) -> Result<(), kube::Error> {
        let Found { kind, object } = found;
        let name = found.name();
        if found.suspended() {
            tracing::info!(
                target = self.name,
                kind = kind.kind,
                name,
                "suspended: it is left alone"
            );
            return Ok(());
        }
        let annotations = match &self.action {
            Action::Reconcile { force, reset, .. } => {
                let mut all = json!({"reconcile.fluxcd.io/requestedAt": now});
                let helm = kind.kind == "HelmRelease";
                if helm && *force {
                    all["reconcile.fluxcd.io/forceAt"] = now.into();
                }
                if helm && *reset {
                    all["reconcile.fluxcd.io/resetAt"] = now.into();
                }
                all
            }
            Action::Refresh { hard } => {
                json!({"argocd.argoproj.io/refresh": if *hard { "hard" } else { "normal" }})
            }
            Action::Annotate { key, value } => {
                json!({key.as_str(): filled(value, telling, now)})
            }
            Action::Restart => return self.restart(name).await,
            Action::Pause(paused) => {
                return self.patch(found, json!({"spec": {"paused": paused}})).await;
            }
            Action::Run => return self.run(name, object, telling).await,
        };
        self.patch(found, json!({"metadata": {"annotations": annotations}})).await
    }

    async fn patch(&self, found: &Found, patch: Value) -> Result<(), kube::Error> {
        let who =
            PatchParams { field_manager: Some("quartermaster".to_owned()), ..Default::default() };
        self.api(&found.kind).patch(found.name(), &who, &Patch::Merge(patch)).await.map(drop)
    }

    /// Waits until the controllers of the objects have seen the request of this time.
    async fn handled(&self, found: &[Found], now: &str, wait: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + wait;
        for one in found.iter().filter(|one| !one.suspended()) {
            let api = self.api(&one.kind);
            loop {
                let object = api.get(one.name()).await.map_err(|error| failure(&error))?;
                let seen = object.data.pointer("/status/lastHandledReconcileAt");
                // A later request stands for this one: values only grow.
                if seen.and_then(Value::as_str).is_some_and(|seen| seen >= now) {
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

/// A value with `{time}`, `{id}`, `{branch}`, `{tag}`, `{after}` and `{digest}` filled in.
fn filled(value: &str, telling: Telling<'_>, now: &str) -> String {
    let event = telling.event;
    let digest = event.image.as_ref().and_then(|image| image.digest.as_deref());
    let tag = event.tag.as_deref();
    let tag = tag.or_else(|| event.image.as_ref()?.tags.first().map(String::as_str));
    let values = [
        ("{time}", now),
        ("{id}", &telling.name()),
        ("{branch}", event.branch.as_deref().unwrap_or_default()),
        ("{tag}", tag.unwrap_or_default()),
        ("{after}", event.after.as_deref().unwrap_or_default()),
        ("{digest}", digest.unwrap_or_default()),
    ];
    // One pass, so that what is filled in is not filled in again.
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                text.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text + rest
}

/// What a refusal of the API means.
fn failure(error: &kube::Error) -> Failure {
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
        super::subject(event).filter(|_| self.selection.may_concern(event))
    }

    fn coalesces(&self) -> bool {
        !self.side_effects()
    }

    fn side_effects(&self) -> bool {
        matches!(self.action, Action::Restart | Action::Pause(_) | Action::Run)
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            // Any change of the value counts; it must differ from every earlier one.
            let now = format!("{:.9}", Timestamp::now());
            let mut worst = Ok(());
            let all = self.found(telling.event).await?;
            for found in &all {
                if let Err(error) = self.act(found, telling, &now).await {
                    worst = Err(failure(&error));
                }
            }
            match self.action {
                Action::Reconcile { wait: Some(wait), .. } if worst.is_ok() => {
                    self.handled(&all, &now, wait).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_once() {
        let mut event = Event::new(crate::model::EventKind::GitPush, "push");
        event.branch = Some("{after}".to_owned());
        event.after = Some("abc".to_owned());
        let telling =
            Telling { id: None, endpoint: "e", source: "s", event: &event, request: None };
        let value = filled("{branch}-{after}-{time}-{x}{", telling, "now");
        assert_eq!(value, "{after}-abc-now-{x}{");
    }
}
