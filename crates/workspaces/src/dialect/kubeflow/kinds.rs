//! WorkspaceKinds: list, create from a manifest, get, delete.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use cluster::Key;
use http::HeaderMap;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, PostParams},
};
use serde_json::json;

use super::{
    App, KINDS, READ_YOUR_WRITES, WORKSPACES,
    audit::audited,
    body::Manifest,
    envelope::{Created, Data, NoContent},
    error::{Problem, created},
    extract::{Caller, Named, Query},
    strict::{Incomplete, NewKind, read_kind},
    views::View,
    wire::kind::{KindCreated, KindListItem, KindUpdate},
};
use crate::{decide, model::WorkspaceKind};

/// `GET /workspacekinds`: for admins, or with `namespaceFilter` for who may make workspaces there.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    let filter = query.namespace("namespaceFilter")?;
    match filter {
        Some(namespace) => {
            app.allow(&caller, "create", WORKSPACES, Some(namespace), None).await?;
        }
        None => app.allow(&caller, "list", KINDS, None, None).await?,
    }
    let labels = filter.and_then(|namespace| app.caches.namespaces.get(None, namespace));
    let labels = labels.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
    let kinds = app.caches.kinds.list(None);
    let prefix = &app.options.proxy_url_prefix;
    let item = |kind| KindListItem::new(kind, labels.as_ref(), prefix);
    let data: Vec<_> = kinds.iter().map(|kind| &**kind).filter_map(item).collect();
    Ok(Data { data }.into_response())
}

/// `POST /workspacekinds`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Manifest(manifest): Manifest,
) -> Result<Created<KindCreated>, Problem> {
    let NewKind { name, labels, annotations, spec } = read_kind(manifest)?;
    app.allow(&caller, "create", KINDS, None, Some(&name)).await?;
    let spec = match spec {
        Ok(spec) => spec,
        Err(incomplete) => return Err(judge_incomplete(&app, &name, incomplete).await),
    };
    let mut kind = WorkspaceKind::new(&name, spec);
    kind.metadata.labels = Some(labels);
    kind.metadata.annotations = Some(audited(annotations, &caller));
    let causes = decide::kind::create(&kind);
    if !causes.is_empty() {
        return Err(Problem::admission(causes));
    }
    let made = created(api(&app).create(&PostParams::default(), &kind).await, "workspacekind")?;
    app.settle(&app.caches.kinds, &made).await;
    let location = format!("/api/v1/workspacekinds/{name}");
    let WorkspaceKind { spec, .. } = made;
    let data = KindCreated { name, spawner: spec.spawner, pod_template: spec.pod_template };
    Ok(Created { location, data })
}

/// `GET /workspacekinds/{name}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", KINDS, None, Some(&name)).await?;
    let kind = app.caches.kinds.get(None, &name).ok_or_else(Problem::not_found)?;
    let update = KindUpdate::from(&*kind);
    Ok(View::new(update.revision(), &update)?.respond(&headers))
}

/// `DELETE /workspacekinds/{name}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
) -> Result<NoContent, Problem> {
    app.allow(&caller, "delete", KINDS, None, Some(&name)).await?;
    let kind = app.caches.kinds.get(None, &name);
    if let Some(kind) = &kind {
        let users = app.caches.workspaces.indexed(&name);
        let users: Vec<_> = users.iter().map(|user| Key::of(&user.metadata)).collect();
        let causes = decide::kind::delete(kind, &users);
        if !causes.is_empty() {
            return Err(Problem::conflict("workspacekind is in use", causes));
        }
    }
    api(&app).delete(&name, &DeleteParams::background()).await?;
    if let Some(kind) = kind {
        let key = Key::of(&kind.metadata);
        let gone = |now: Option<&WorkspaceKind>| {
            now.is_none_or(|now| {
                now.metadata.uid != kind.metadata.uid || now.metadata.deletion_timestamp.is_some()
            })
        };
        app.caches.kinds.wait_for(&key, READ_YOUR_WRITES, gone).await;
    }
    Ok(NoContent)
}

/// Lets the cluster say what an incomplete kind lacks, without making it.
async fn judge_incomplete(app: &App, name: &str, incomplete: Incomplete) -> Problem {
    let resource = ApiResource::erase::<WorkspaceKind>(&());
    let object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name},
        "spec": incomplete.spec,
    });
    let api: Api<cluster::Object> = Api::all_with(app.client.clone(), &resource);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &object.into()).await {
        Ok(_) => incomplete.problem,
        Err(error) => error.into(),
    }
}

fn api(app: &App) -> Api<WorkspaceKind> {
    Api::all(app.client.clone())
}
