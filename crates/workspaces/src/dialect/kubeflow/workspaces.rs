//! Workspaces: list, create, get, delete, pause and start, details.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use cluster::Key;
use futures::future::try_join_all;
use http::HeaderMap;
use json_patch::jsonptr::PointerBuf;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use web::Cause;

use super::{
    App, READ_YOUR_WRITES, WORKSPACES,
    audit::audited,
    body::Body,
    envelope::{Created, Data, NoContent},
    error::{Problem, created, kubernetes},
    extract::{Caller, InNamespace, Object},
    wire::{
        details::Details,
        workspace::{PauseAction, Paused, WorkspaceCreate},
    },
};
use crate::{
    decide::{
        self,
        filter::Labels,
        names::NOT_FOUND,
        request::{Reference, mounts},
    },
    model::{Workspace, WorkspaceSpec, WorkspaceVolumes},
};

/// `GET /workspaces`
pub(crate) async fn list_all(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "list", WORKSPACES, None, None).await?;
    app.lists.current().await?.all().respond(&headers).await
}

/// `GET /workspaces/{namespace}`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "list", WORKSPACES, Some(&namespace), None).await?;
    app.lists.current().await?.namespace(&namespace).respond(&headers).await
}

/// `POST /workspaces/{namespace}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    Body(new): Body<WorkspaceCreate>,
) -> Result<Created<WorkspaceCreate>, Problem> {
    app.allow(&caller, "create", WORKSPACES, Some(&namespace), Some(&new.name)).await?;
    let labels = check_namespace(&app, &namespace).await?;
    let mut workspace = Workspace::new(&new.name, new.spec());
    check_mounts(&app, &namespace, &workspace.spec.pod_template.volumes).await?;
    check_admission(&app, &workspace.spec, &labels).await?;
    workspace.metadata.namespace = Some(namespace.clone());
    workspace.metadata.annotations = Some(audited(BTreeMap::new(), &caller));
    let answer = api(&app, &namespace).create(&PostParams::default(), &workspace).await;
    let made = created(answer, "workspace")?;
    app.settle(&app.caches.workspaces, &made).await;
    let location = format!("/api/v1/workspaces/{namespace}/{}", new.name);
    Ok(Created { location, data: WorkspaceCreate::from(&made) })
}

/// `GET /workspaces/{namespace}/{name}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let workspace = cached(&app, &namespace, &name)?;
    Ok(app.views.of(workspace)?.respond(&headers))
}

/// `DELETE /workspaces/{namespace}/{name}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
) -> Result<NoContent, Problem> {
    app.allow(&caller, "delete", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let known = app.caches.workspaces.get(Some(&namespace), &name);
    api(&app, &namespace).delete(&name, &DeleteParams::background()).await?;
    if let Some(known) = known {
        let key = Key::of(&known.metadata);
        let gone = |now: Option<&Workspace>| {
            now.is_none_or(|now| {
                now.metadata.uid != known.metadata.uid || now.metadata.deletion_timestamp.is_some()
            })
        };
        app.caches.workspaces.wait_for(&key, READ_YOUR_WRITES, gone).await;
    }
    Ok(NoContent)
}

/// `POST /workspaces/{namespace}/{name}/actions/pause`
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    Body(action): Body<PauseAction>,
) -> Result<Data<Paused>, Problem> {
    let paused = action.target(app.options.strict_pause_body)?;
    app.allow(&caller, "update", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let patch: Patch<()> = Patch::Json(pause_patch(paused));
    match api(&app, &namespace).patch(&name, &PatchParams::default(), &patch).await {
        Ok(written) => {
            app.settle(&app.caches.workspaces, &written).await;
            Ok(Data { data: Paused { paused: written.spec.paused } })
        }
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let now = app.caches.workspaces.get(Some(&namespace), &name);
            let details = status.details.as_ref();
            let said = details.iter().flat_map(|details| &details.causes);
            Err(wrong_state(paused, now.as_deref(), said.map(|cause| cause.message.as_str())))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /workspaces/{namespace}/{name}/podtemplate/details`
pub(crate) async fn details(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let workspace = cached(&app, &namespace, &name)?;
    let kind = app.caches.kinds.get(None, &workspace.spec.kind);
    Ok(Data { data: Details::new(&workspace, kind.as_deref()) }.into_response())
}

/// The workspace as the cache has it.
pub(crate) fn cached(app: &App, namespace: &str, name: &str) -> Result<Arc<Workspace>, Problem> {
    app.caches.workspaces.get(Some(namespace), name).ok_or_else(Problem::not_found)
}

fn api(app: &App, namespace: &str) -> Api<Workspace> {
    Api::namespaced(app.client.clone(), namespace)
}

/// The labels of a namespace that a caller names in a path: it must exist before anything is made
/// in it. The cache may not know a young one yet, so nobody is turned away on its word alone.
pub(crate) async fn check_namespace(app: &App, name: &str) -> Result<Labels, Problem> {
    let mut namespace = app.caches.namespaces.get(None, name);
    if namespace.is_none() {
        let api: Api<Namespace> = Api::all(app.client.clone());
        namespace = api.get_opt(name).await?.map(Arc::new);
    }
    let Some(namespace) = namespace else {
        let message = format!("Not found: {name:?}");
        return Err(Problem::path(vec![Cause::internal(NOT_FOUND, "namespace", message)]));
    };
    Ok(namespace.metadata.labels.clone().unwrap_or_default())
}

async fn check_mounts(
    app: &App,
    namespace: &str,
    volumes: &WorkspaceVolumes,
) -> Result<(), Problem> {
    let claims = volumes.data.iter().map(|volume| &volume.pvc_name).chain(&volumes.home);
    let claims = try_join_all(claims.map(|name| claim(app, namespace, name))).await?;
    let claims: BTreeMap<&str, Reference> = claims.into_iter().collect();
    let secrets = volumes.secrets.iter().map(|volume| &volume.secret_name);
    let secrets = try_join_all(secrets.map(|name| secret(app, namespace, name))).await?;
    let secrets: BTreeMap<&str, Reference> = secrets.into_iter().collect();
    let found = |all: &BTreeMap<&str, Reference>, name: &str| {
        all.get(name).copied().unwrap_or(Reference::Missing)
    };
    let causes = mounts(volumes, |name| found(&claims, name), |name| found(&secrets, name));
    if causes.is_empty() { Ok(()) } else { Err(Problem::references(causes)) }
}

async fn claim<'a>(
    app: &App,
    namespace: &str,
    name: &'a str,
) -> Result<(&'a str, Reference), Problem> {
    if let Some(claim) = app.caches.pvcs.get(Some(namespace), name) {
        return Ok((name, Reference::to_mount(claim.metadata.labels.as_ref())));
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(app.client.clone(), namespace);
    let claim = api.get_opt(name).await?;
    let labels = claim.map(|claim| Reference::to_mount(claim.metadata.labels.as_ref()));
    Ok((name, labels.unwrap_or(Reference::Missing)))
}

async fn secret<'a>(
    app: &App,
    namespace: &str,
    name: &'a str,
) -> Result<(&'a str, Reference), Problem> {
    let api: Api<Secret> = Api::namespaced(app.client.clone(), namespace);
    let secret = api.get_metadata_opt(name).await?;
    let labels = secret.map(|secret| Reference::to_mount(secret.metadata.labels.as_ref()));
    Ok((name, labels.unwrap_or(Reference::Missing)))
}

/// What the admission webhook checks, so that clusters without one are no laxer, and the filter
/// rules of the kind.
async fn check_admission(
    app: &App,
    spec: &WorkspaceSpec,
    namespace: &Labels,
) -> Result<(), Problem> {
    let mut kind = app.caches.kinds.get(None, &spec.kind);
    if kind.is_none() {
        kind = Api::all(app.client.clone()).get_opt(&spec.kind).await?.map(Arc::new);
    }
    let mut causes = decide::workspace::create(spec, kind.as_deref());
    if let Some(kind) = kind.filter(|_| causes.is_empty()) {
        causes = decide::filter::denied(spec, &kind, namespace);
    }
    if causes.is_empty() { Ok(()) } else { Err(Problem::admission(causes)) }
}

/// Changes `spec.paused` only from the other value, and starts only what has come to rest.
fn pause_patch(paused: bool) -> json_patch::Patch {
    use json_patch::{PatchOperation, ReplaceOperation, TestOperation};
    let spec = || PointerBuf::from_tokens(["spec", "paused"]);
    let state = PointerBuf::from_tokens(["status", "state"]);
    let mut operations =
        vec![PatchOperation::Test(TestOperation { path: spec(), value: json!(!paused) })];
    if !paused {
        let value = json!("Paused");
        operations.push(PatchOperation::Test(TestOperation { path: state, value }));
    }
    let value = json!(paused);
    operations.push(PatchOperation::Replace(ReplaceOperation { path: spec(), value }));
    json_patch::Patch(operations)
}

/// The contract's one cause, then what the cluster said and how things stand.
fn wrong_state<'a>(
    pausing: bool,
    now: Option<&Workspace>,
    said: impl Iterator<Item = &'a str>,
) -> Problem {
    let fixed = "workspace is in an invalid state for this operation";
    let mut causes: Vec<_> = std::iter::once(fixed).chain(said).map(kubernetes).collect();
    if let Some(now) = now {
        let (name, paused) = (now.name_any(), now.spec.paused);
        let state = now.status.as_ref().map(|status| status.state).unwrap_or_default();
        let wanted = match pausing {
            true => "pausing needs paused=false",
            false => "starting needs paused=true and state Paused",
        };
        let message = format!("workspace {name} has paused={paused} and state {state}; {wanted}");
        causes.push(Cause::internal("", "", message));
    }
    Problem::conflict(fixed, causes)
}
