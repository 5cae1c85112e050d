//! What happened to a workspace and its parts, newest first. Our own.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use axum::{extract::State, response::Response};
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Event};
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    App, WORKSPACES,
    error::Problem,
    extract::{Caller, Object, Query},
    tagged::tagged,
    wire::event::{EventItem, last},
};
use crate::{
    decide::names::check_label,
    model::{Workspace, label},
};

const DEFAULT_LIMIT: usize = 100;
/// The most events that one answer holds, and the most that are read of one object.
const MOST: usize = 500;
/// The most claims that are looked at.
const MOST_CLAIMS: usize = 50;
/// Questions to the cluster at a time.
const AT_ONCE: usize = 8;

/// `GET /workspaces/{namespace}/{name}/podtemplate/events`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut causes = Vec::new();
    let positive = |text: &str| text.parse().ok().filter(|limit: &usize| *limit > 0);
    let limit = query.parse("limit", "must be a positive integer", positive, &mut causes);
    if !causes.is_empty() {
        return Err(Problem::query(causes));
    }
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let workspace = app.caches.workspaces.get(Some(&namespace), &name);
    let workspace = workspace.ok_or_else(Problem::not_found)?;
    let parts = parts(&app, &namespace, &workspace).await?;
    let api: Api<Event> = Api::namespaced(app.client.clone(), &namespace);
    let asked: Vec<_> = parts.into_iter().map(|part| events_of(api.clone(), part)).collect();
    let lists: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    let mut events: Vec<Event> = lists.into_iter().flatten().collect();
    events.sort_by_key(|event| Reverse((last(event), event.name_any())));
    events.truncate(limit.unwrap_or(DEFAULT_LIMIT).min(MOST));
    tagged(&headers, events.iter().map(EventItem::from).collect::<Vec<_>>())
}

/// Kind and name of something that belongs to a workspace.
type Part = (&'static str, String);

/// The workspace, its StatefulSets and pods, and the claims that it mounts. Parts that are gone
/// keep their names, so what was said about them still counts.
async fn parts(
    app: &App,
    namespace: &str,
    workspace: &Workspace,
) -> Result<BTreeSet<Part>, Problem> {
    let name = workspace.name_any();
    let mut parts = BTreeSet::from([("Workspace", name.clone())]);
    // A longer name is no label value: such a workspace has no parts.
    if check_label("name", &name).is_empty() {
        let selector = format!("{}={name}", label::WORKSPACE_NAME);
        let api: Api<StatefulSet> = Api::namespaced(app.client.clone(), namespace);
        let sets = api.list_metadata(&ListParams::default().labels(&selector)).await;
        for set in sets.map_err(Problem::unless_readable)?.items {
            parts.insert(("Pod", format!("{}-0", set.name_any())));
            parts.insert(("StatefulSet", set.name_any()));
        }
    }
    let pods = app.caches.pods.indexed(&name);
    let pods = pods.iter().filter(|pod| pod.namespace().as_deref() == Some(namespace));
    parts.extend(pods.map(|pod| ("Pod", pod.name_any())));
    let volumes = &workspace.spec.pod_template.volumes;
    let data = volumes.data.iter().map(|volume| &volume.pvc_name);
    let claims: BTreeSet<_> = volumes.home.iter().chain(data).take(MOST_CLAIMS).collect();
    parts.extend(claims.into_iter().map(|claim| ("PersistentVolumeClaim", claim.clone())));
    Ok(parts)
}

async fn events_of(api: Api<Event>, (kind, name): Part) -> Result<Vec<Event>, Problem> {
    let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let params = ListParams::default().fields(&selector).limit(u32::try_from(MOST).unwrap_or(500));
    Ok(api.list(&params).await.map_err(Problem::unless_readable)?.items)
}
