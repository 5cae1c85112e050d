//! Workspaces: list, create, get, update, delete, details.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use cluster::Key;
use http::HeaderMap;
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    App, CLAIMS, READ_YOUR_WRITES, WORKSPACES,
    attempts::Attempts,
    audit::{audited, touched},
    body::Body,
    checks::{check_change, check_new},
    claims_along::ClaimsAlong,
    conditions::IfMatch,
    envelope::{Created, Data, NoContent},
    error::Problem,
    extract::{Caller, InNamespace, Object, Query},
    list_query::ListQuery,
    profile::Profile,
    views::View,
    watch,
    wire::{
        culling::Culling,
        details::Details,
        revision,
        workspace::{WorkspaceCreate, WorkspaceUpdate},
        workspace_old::OldListItem,
    },
};
use crate::model::Workspace;

const OTHER_REVISION: &str = "current workspace revision does not match request";

/// `GET /workspaces`
pub(crate) async fn list_all(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: Query,
    profile: Profile,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let wanted = ListQuery::read(&query, headers, profile)?;
    app.allow(&caller, "list", WORKSPACES, None, None).await?;
    serve(&app, wanted, None, headers).await
}

/// `GET /workspaces/{namespace}`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    query: Query,
    profile: Profile,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let wanted = ListQuery::read(&query, headers, profile)?;
    app.allow(&caller, "list", WORKSPACES, Some(&namespace), None).await?;
    serve(&app, wanted, Some(namespace), headers).await
}

async fn serve(
    app: &App,
    wanted: ListQuery,
    namespace: Option<String>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let lists = app.lists.of(wanted.shape);
    if wanted.watch {
        return watch::respond(Arc::clone(lists), namespace, wanted.filter, headers).await;
    }
    let kept = lists.current().await?;
    let list = match namespace.as_deref() {
        None if wanted.is_plain() => kept.all(),
        Some(namespace) if wanted.is_plain() => kept.namespace(namespace),
        scope => wanted.pick(kept, scope, headers)?,
    };
    list.respond(headers).await
}

/// `POST /workspaces/{namespace}`, with claims that are made along with it; with `dryRun` the answer
/// is 200, and nothing is made.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    query: Query,
    profile: Profile,
    Body(new): Body<WorkspaceCreate>,
) -> Result<Response, Problem> {
    let dry_run = query.dry_run()?;
    app.allow(&caller, "create", WORKSPACES, Some(&namespace), Some(&new.name)).await?;
    let mut workspace = Workspace::new(&new.name, new.spec());
    let claims = new.claims();
    for (_, claim) in &claims {
        app.allow(&caller, "create", CLAIMS, Some(&namespace), Some(&claim.name)).await?;
    }
    check_new(&app, &namespace, &workspace.spec, &claims).await?;
    workspace.metadata.namespace = Some(namespace.clone());
    workspace.metadata.annotations = Some(audited(BTreeMap::new(), &caller));
    let claims = ClaimsAlong::new(&app, &namespace, claims, &caller);
    let made = claims.make(&app, &api(&app, &namespace), &workspace, dry_run).await?;
    let data = new.answer(&made, profile);
    if dry_run {
        return Ok(Data { data }.into_response());
    }
    app.settle(&app.caches.workspaces, &made).await;
    let location = app.location(&format!("/workspaces/{namespace}/{}", new.name));
    Ok(Created { location, data }.into_response())
}

/// `GET /workspaces/{namespace}/{name}`: what can be edited; in 2025-07 what lists show.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    profile: Profile,
    request: Request,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let workspace = cached(&app, &namespace, &name)?;
    if profile.is_old() {
        let kind = app.caches.kinds.get(None, &workspace.spec.kind);
        let data = OldListItem::new(&workspace, kind.as_deref());
        return Ok(Data { data }.into_response());
    }
    Ok(app.views.of(workspace)?.respond(request.headers()))
}

/// `PUT /workspaces/{namespace}/{name}`: the whole editable part anew.
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    query: Query,
    condition: IfMatch,
    request: Request,
) -> Result<Response, Problem> {
    let dry_run = query.dry_run()?;
    app.allow(&caller, "update", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let Body(new) = Body::<WorkspaceUpdate>::from_request(request, &app).await?;
    let api = api(&app, &namespace);
    let mut attempts = Attempts::default();
    loop {
        let mut workspace = api.get(&name).await?;
        let now = revision(&workspace.metadata);
        condition.check(&now)?;
        if new.revision() != now {
            return Err(Problem::conflict(OTHER_REVISION, Vec::new()));
        }
        let spec = new.spec(&workspace.spec.kind);
        check_change(&app, &namespace, &workspace.spec, &spec).await?;
        workspace.spec = spec;
        let annotations = workspace.metadata.annotations.get_or_insert_default();
        annotations.extend(touched(&caller).map(|(key, value)| (key.to_owned(), value)));
        let params = PostParams { dry_run, ..PostParams::default() };
        let answer = api.replace(&name, &params, &workspace).await;
        if let Some(written) = attempts.outcome(answer)? {
            if !dry_run {
                app.settle(&app.caches.workspaces, &written).await;
            }
            let update = WorkspaceUpdate::from(&written);
            return Ok(View::new(update.revision(), &update)?.whole());
        }
    }
}

/// `DELETE /workspaces/{namespace}/{name}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    condition: IfMatch,
) -> Result<NoContent, Problem> {
    app.allow(&caller, "delete", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let known = app.caches.workspaces.get(Some(&namespace), &name);
    remove(&api(&app, &namespace), &name, &condition).await?;
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

async fn remove(api: &Api<Workspace>, name: &str, condition: &IfMatch) -> Result<(), Problem> {
    let params = DeleteParams::background();
    if !condition.is_given() {
        api.delete(name, &params).await?;
        return Ok(());
    }
    let mut attempts = Attempts::default();
    loop {
        let workspace = api.get(name).await?;
        condition.check(&revision(&workspace.metadata))?;
        let resource_version = workspace.resource_version();
        let this_one = Preconditions { uid: workspace.uid(), resource_version };
        let answer = api.delete(name, &params.clone().preconditions(this_one)).await;
        if attempts.outcome(answer)?.is_some() {
            return Ok(());
        }
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
    let culling = culling(&app, &workspace, Timestamp::now().as_millisecond());
    Ok(Data { data: Details::new(&workspace, kind.as_deref(), culling) }.into_response())
}

/// When a workspace is paused if nobody uses it.
pub(crate) fn culling(app: &App, workspace: &Workspace, now: i64) -> Option<Culling> {
    let kind = app.caches.kinds.get(None, &workspace.spec.kind);
    let namespace = app.caches.namespaces.get(None, workspace.metadata.namespace.as_deref()?);
    let labels = namespace.and_then(|namespace| namespace.metadata.labels.clone());
    Culling::of(workspace, kind.as_deref(), &labels.unwrap_or_default(), now)
}

/// The workspace as the cache has it.
pub(crate) fn cached(app: &App, namespace: &str, name: &str) -> Result<Arc<Workspace>, Problem> {
    app.caches.workspaces.get(Some(namespace), name).ok_or_else(Problem::not_found)
}

/// The workspaces of a namespace in the cluster.
pub(crate) fn api(app: &App, namespace: &str) -> Api<Workspace> {
    Api::namespaced(app.client.clone(), namespace)
}
