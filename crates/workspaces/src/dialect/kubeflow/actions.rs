//! What is done with a workspace as a whole: pause, start, restart.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use json_patch::{
    AddOperation, PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};
use web::Cause;

use super::{
    App, WORKSPACES,
    audit::touched,
    body::Body,
    conditions::IfMatch,
    envelope::{Accepted, Data},
    error::{Problem, kubernetes},
    extract::{Caller, InNamespace, Object, Query},
    profile::Profile,
    wire::{
        culling::KeptAlive,
        revision,
        workspace::{Nothing, PauseAction, Paused, PausedOne, Restarted},
    },
    workspaces::{api, culling},
};
use crate::model::{Workspace, WorkspaceState, annotation, label};

const WRONG_STATE: &str = "workspace is in an invalid state for this operation";

/// Writes to the cluster at a time.
const AT_ONCE: usize = 8;

/// `POST /workspaces/{namespace}/{name}/actions/pause`
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    query: Query,
    profile: Profile,
    condition: IfMatch,
    Body(action): Body<PauseAction>,
) -> Result<Data<Paused>, Problem> {
    let paused = action.target(app.options.strict_pause_body)?;
    let mut causes = Vec::new();
    let idempotent = query.flag("idempotent", &mut causes);
    if !causes.is_empty() {
        return Err(Problem::query(causes));
    }
    app.allow(&caller, "update", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let switch = Switch { app: &app, caller: &caller, namespace: &namespace, paused };
    match switch.turn(&name, &condition).await? {
        Turned::Done(written) => {
            app.settle(&app.caches.workspaces, &*written).await;
            Ok(Data { data: Paused { paused: written.spec.paused } })
        }
        Turned::Refused { now, .. } if idempotent && now.spec.paused == paused => {
            Ok(Data { data: Paused { paused } })
        }
        Turned::Refused { .. } if profile.is_old() => {
            Err(Problem::invalid(WRONG_STATE, Vec::new()))
        }
        Turned::Refused { now, said } => Err(wrong_state(&now, switch.needs(), said)),
    }
}

/// `POST /workspaces/{namespace}/actions/pause`: all workspaces of a namespace. What each of them
/// came to is told one by one; one that cannot be changed does not hold up the others.
pub(crate) async fn pause_all(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    Body(action): Body<PauseAction>,
) -> Result<Data<Vec<PausedOne>>, Problem> {
    let paused = action.target(app.options.strict_pause_body)?;
    app.allow(&caller, "update", WORKSPACES, Some(&namespace), None).await?;
    let switch = &Switch { app: &app, caller: &caller, namespace: &namespace, paused };
    let all = app.caches.workspaces.list(Some(&namespace));
    let turned = stream::iter(all).map(|workspace| switch.turn_one_of_many(workspace));
    let data = turned.buffered(AT_ONCE).collect().await;
    Ok(Data { data })
}

/// `POST /workspaces/{namespace}/{name}/actions/restart`: deletes the pod, and the cluster makes
/// another one in its place.
pub(crate) async fn restart(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    condition: IfMatch,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Accepted<Restarted>, Problem> {
    app.allow(&caller, "update", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let workspace = api(&app, &namespace).get(&name).await?;
    condition.check(&revision(&workspace.metadata))?;
    let needs = "restarting needs a pod and state Running or Error";
    let refused = || Err(wrong_state(&workspace, needs, Vec::new()));
    let Some(status) = &workspace.status else { return refused() };
    let pod_name = status.pod_template_pod.name.clone();
    let fits = matches!(status.state, WorkspaceState::Running | WorkspaceState::Error);
    if !fits || pod_name.is_empty() {
        return refused();
    }
    let pods: Api<Pod> = Api::namespaced(app.client.clone(), &namespace);
    // One that is gone already is being replaced.
    if let Some(pod) = pods.get_opt(&pod_name).await? {
        if pod.labels().get(label::WORKSPACE_NAME) != Some(&name) {
            return refused();
        }
        let this_one = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams::default().preconditions(this_one);
        match pods.delete(&pod_name, &params).await {
            Err(error)
                if !cluster::error::is_not_found(&error)
                    && !cluster::error::is_conflict(&error) =>
            {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(Accepted(Restarted { pod_name }))
}

/// `POST /workspaces/{namespace}/{name}/actions/keepalive`: counts as use of the workspace, now.
pub(crate) async fn keep_alive(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Data<KeptAlive>, Problem> {
    app.allow(&caller, "update", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let now = Timestamp::now();
    let annotations = json!({annotation::KEEP_ALIVE: now.to_string()});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    let written = api(&app, &namespace).patch(&name, &PatchParams::default(), &patch).await?;
    // Whichever comes first wins: the controller pauses no version that it has not seen.
    if written.spec.paused {
        return Err(wrong_state(&written, "keeping it needs paused=false", Vec::new()));
    }
    app.settle(&app.caches.workspaces, &written).await;
    let now = now.as_millisecond();
    Ok(Data { data: KeptAlive { kept_alive: now, culling: culling(&app, &written, now) } })
}

/// Pausing or starting workspaces of a namespace on behalf of somebody.
struct Switch<'a> {
    app: &'a App,
    caller: &'a Caller,
    namespace: &'a str,
    paused: bool,
}

/// What became of it.
enum Turned {
    /// It is as wanted now.
    Done(Box<Workspace>),
    /// Its state does not fit.
    Refused {
        /// How it stands.
        now: Arc<Workspace>,
        /// What the cluster said.
        said: Vec<Cause>,
    },
}

impl Switch<'_> {
    fn needs(&self) -> &'static str {
        match self.paused {
            true => "pausing needs paused=false",
            false => "starting needs paused=true and state Paused",
        }
    }

    /// One patch, as the contract has it. It depends on whether there are annotations already; so
    /// when it fails although the cache was behind about that, it is made once more.
    async fn turn(&self, name: &str, condition: &IfMatch) -> Result<Turned, Problem> {
        let api = api(self.app, self.namespace);
        let mut known = match self.app.caches.workspaces.get(Some(self.namespace), name) {
            Some(cached) if !condition.is_given() => cached,
            _ => Arc::new(api.get(name).await?),
        };
        loop {
            condition.check(&revision(&known.metadata))?;
            let patch: Patch<()> = Patch::Json(self.patch(&known, condition));
            let said = match api.patch(name, &PatchParams::default(), &patch).await {
                Ok(written) => return Ok(Turned::Done(Box::new(written))),
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    let details = status.details.into_iter();
                    let causes = details.flat_map(|details| details.causes);
                    causes.map(|cause| kubernetes(cause.message)).collect()
                }
                Err(error) => return Err(error.into()),
            };
            let now = Arc::new(api.get(name).await?);
            let as_known = is_annotated(&now) == is_annotated(&known);
            known = now;
            if as_known {
                condition.check(&revision(&known.metadata))?;
                return Ok(Turned::Refused { now: known, said });
            }
        }
    }

    /// Changes `spec.paused` only from the other value, and starts only what has come to rest.
    fn patch(&self, known: &Workspace, condition: &IfMatch) -> json_patch::Patch {
        let mut operations = vec![test(["spec", "paused"], json!(!self.paused))];
        if !self.paused {
            operations.push(test(["status", "state"], json!("Paused")));
        }
        if condition.is_given() {
            // What a revision is made of.
            operations.push(test(["metadata", "uid"], json!(known.metadata.uid)));
            operations.push(test(["metadata", "generation"], json!(known.metadata.generation)));
        }
        let path = PointerBuf::from_tokens(["spec", "paused"]);
        let value = json!(self.paused);
        operations.push(PatchOperation::Replace(ReplaceOperation { path, value }));
        let audit = touched(self.caller);
        if is_annotated(known) {
            let note = |(key, value)| add(["metadata", "annotations", key], json!(value));
            operations.extend(audit.map(note));
        } else {
            operations.push(test(["metadata", "annotations"], Value::Null));
            let audit = BTreeMap::from(audit);
            operations.push(add(["metadata", "annotations"], json!(audit)));
        }
        json_patch::Patch(operations)
    }

    async fn turn_one_of_many(&self, workspace: Arc<Workspace>) -> PausedOne {
        let name = workspace.name_any();
        let paused = workspace.spec.paused;
        if paused == self.paused {
            return PausedOne { name, paused, changed: false, error: None };
        }
        match self.turn(&name, &IfMatch::any()).await {
            Ok(Turned::Done(written)) => {
                self.app.settle(&self.app.caches.workspaces, &*written).await;
                PausedOne { name, paused: written.spec.paused, changed: true, error: None }
            }
            Ok(Turned::Refused { now, .. }) => {
                let error = Some(standing(&now, self.needs()));
                PausedOne { name, paused: now.spec.paused, changed: false, error }
            }
            Err(problem) => {
                let error = Some(problem.message().to_owned());
                PausedOne { name, paused, changed: false, error }
            }
        }
    }
}

fn is_annotated(workspace: &Workspace) -> bool {
    !workspace.annotations().is_empty()
}

fn test<const N: usize>(path: [&str; N], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(path), value })
}

fn add<const N: usize>(path: [&str; N], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path), value })
}

/// The contract's one cause, then what the cluster said and how things stand.
fn wrong_state(now: &Workspace, needs: &str, said: Vec<Cause>) -> Problem {
    let mut causes = vec![kubernetes(WRONG_STATE)];
    causes.extend(said);
    causes.push(Cause::internal("", "", standing(now, needs)));
    Problem::conflict(WRONG_STATE, causes)
}

fn standing(now: &Workspace, needs: &str) -> String {
    let state = now.status.as_ref().map(|status| status.state).unwrap_or_default();
    let (name, paused) = (now.name_any(), now.spec.paused);
    format!("workspace {name} has paused={paused} and state {state}; {needs}")
}
