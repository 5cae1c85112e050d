//! WorkspaceKinds: list, create from a manifest, get, edit, delete.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use cluster::Key;
use http::HeaderMap;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use web::Error;

use super::{
    App, KINDS, READ_YOUR_WRITES, WORKSPACES,
    attempts::Attempts,
    audit::{audited, touched},
    body::{Body, Manifest},
    conditions::IfMatch,
    envelope::{Created, NoContent},
    error::{Problem, created},
    extract::{Caller, Named, Query},
    profile::Profile,
    strict::{Incomplete, NewKind, read_kind, read_spec, unreadable},
    tagged::{body, tagged},
    views::View,
    wire::{
        kind::{KindListItem, Shown},
        kind_edit::{KindChange, KindCreated, KindUpdate},
        revision,
    },
};
use crate::{
    decide::{self, kind::Usage},
    model::WorkspaceKind,
};

/// `GET /workspacekinds`: for admins, or with `namespaceFilter` for who may make workspaces there.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    profile: Profile,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filter = query.namespace("namespaceFilter")?;
    match filter {
        Some(namespace) => {
            app.allow(&caller, "create", WORKSPACES, Some(namespace), None).await?;
        }
        None => app.allow(&caller, "list", KINDS, None, None).await?,
    }
    let caches = &app.caches;
    let revisions = vec![caches.kinds.revision(), caches.namespaces.revision()];
    let asked = format!("kinds {profile} {}", filter.unwrap_or_default());
    app.tags.answer(&headers, asked, revisions, || {
        let labels = filter.and_then(|namespace| caches.namespaces.get(None, namespace));
        let labels = labels.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
        let kinds = caches.kinds.list(None);
        let item = |kind| KindListItem::new(kind, labels.as_ref(), shown(&app, profile));
        body(kinds.iter().map(|kind| &**kind).filter_map(item).collect::<Vec<_>>())
    })
}

/// `POST /workspacekinds`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    profile: Profile,
    Manifest(manifest): Manifest,
) -> Result<Response, Problem> {
    let NewKind { name, labels, annotations, spec } = read_kind(manifest, profile)?;
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
    let location = app.location(&format!("/workspacekinds/{name}"));
    if profile.is_old() {
        let data = KindListItem::alone(&made, shown(&app, profile));
        return Ok(Created { location, data }.into_response());
    }
    let (spawner, pod_template) = (&made.spec.spawner, &made.spec.pod_template);
    let data = KindCreated { name: &name, spawner, pod_template };
    Ok(Created { location, data }.into_response())
}

/// `GET /workspacekinds/{name}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    profile: Profile,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", KINDS, None, Some(&name)).await?;
    let kind = app.caches.kinds.get(None, &name).ok_or_else(Problem::not_found)?;
    if profile.is_old() {
        return tagged(&headers, KindListItem::alone(&kind, shown(&app, profile)));
    }
    let update = KindUpdate::from(&*kind);
    Ok(View::new(update.revision(), &update)?.respond(&headers))
}

/// `PUT /workspacekinds/{name}`
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    condition: IfMatch,
    request: Request,
) -> Result<Response, Problem> {
    app.allow(&caller, "update", KINDS, None, Some(&name)).await?;
    let Body(change) = Body::<KindChange>::from_request(request, &()).await?;
    let written = edit(&app, &name, &change, &condition, &caller).await?;
    app.settle(&app.caches.kinds, &written).await;
    let update = KindUpdate::from(&written);
    Ok(View::new(update.revision(), &update)?.respond(&HeaderMap::new()))
}

/// Reads, judges and writes the kind; again if somebody else wrote in between, so that only a
/// change of the spec is a conflict of the caller's.
async fn edit(
    app: &App,
    name: &str,
    change: &KindChange,
    condition: &IfMatch,
    caller: &Caller,
) -> Result<WorkspaceKind, Problem> {
    let api: Api<cluster::Object> =
        Api::all_with(app.client.clone(), &ApiResource::erase::<WorkspaceKind>(&()));
    let mut attempts = Attempts::default();
    loop {
        let old = api.get(name).await?.into_value();
        let current: ObjectMeta =
            serde_json::from_value(old["metadata"].clone()).map_err(Error::internal)?;
        let current = revision(&current);
        condition.check(&current)?;
        if current != change.revision() {
            let message = "current workspace kind revision does not match request";
            return Err(Problem::conflict(message, Vec::new()));
        }
        let mut new = old.clone();
        change.apply(&mut new);
        for (key, value) in touched(caller) {
            new["metadata"]["annotations"][key] = json!(value);
        }
        // What our types cannot hold is for the cluster to refuse; nothing is written unjudged.
        let incomplete = judge(app, name, old, &new)?;
        let params = PostParams { dry_run: incomplete.is_some(), ..PostParams::default() };
        let answer = api.replace(name, &params, &new.into()).await;
        match (attempts.outcome(answer)?, incomplete) {
            (None, _) => {}
            (Some(_), Some(why)) => return Err(unreadable(&why)),
            (Some(written), None) => {
                return Ok(serde_json::from_value(written.into_value()).map_err(Error::internal)?);
            }
        }
    }
}

/// Holds a changed kind to the rules; says what it lacks if it cannot be read whole.
fn judge(app: &App, name: &str, old: Value, new: &Value) -> Result<Option<String>, Problem> {
    let spec = match read_spec(&new["spec"]) {
        Ok(Ok(spec)) => spec,
        Ok(Err(why)) | Err(why) => return Ok(Some(why)),
    };
    let old: WorkspaceKind = serde_json::from_value(old).map_err(Error::internal)?;
    let users = || app.caches.workspaces.indexed(name);
    let usage = || Usage::of(name, users().iter().map(AsRef::as_ref));
    let causes = decide::kind::update(&old, &WorkspaceKind::new(name, spec), usage);
    if causes.is_empty() { Ok(None) } else { Err(Problem::admission(causes)) }
}

/// `DELETE /workspacekinds/{name}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    condition: IfMatch,
) -> Result<NoContent, Problem> {
    app.allow(&caller, "delete", KINDS, None, Some(&name)).await?;
    let kind = app.caches.kinds.get(None, &name);
    if let Some(kind) = &kind {
        condition.check(&revision(&kind.metadata))?;
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

fn shown(app: &App, profile: Profile) -> Shown<'_> {
    Shown { profile, prefix: &app.options.proxy_url_prefix }
}

fn api(app: &App) -> Api<WorkspaceKind> {
    Api::all(app.client.clone())
}
