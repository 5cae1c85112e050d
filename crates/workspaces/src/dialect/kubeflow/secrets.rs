//! Secrets: list, create, show the keys of, change, delete. Read from the cluster every time: their
//! values are kept nowhere.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};
use sha2::{Digest, Sha256};

use super::{
    App, SECRETS,
    attempts::Attempts,
    audit::{audited, touched},
    body::Body,
    checks::check_namespace,
    conditions::IfMatch,
    envelope::{Created, NoContent},
    error::{Problem, created},
    extract::{Caller, InNamespace, Object, Query},
    released::{check_released, delete_released},
    tagged::tagged,
    views::View,
    wire::{
        hex,
        secret::{Mount, SecretCreate, SecretListItem, SecretUpdate, SecretView},
    },
};
use crate::model::{API_VERSION, label};

/// Those that users make: tokens of service accounts and releases of Helm are made by machines.
const USERS: &str = "type!=kubernetes.io/service-account-token,type!=helm.sh/release.v1";

/// `GET /secrets/{namespace}`: metadata only. With `all`, also those that machines made, such as what
/// the connect proxy shares with a workspace.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let all = query.boolean("all")?;
    app.allow(&caller, "list", SECRETS, Some(&namespace), None).await?;
    let params = match all {
        true => ListParams::default(),
        false => ListParams::default().fields(USERS),
    };
    let secrets = api(&app, &namespace).list_metadata(&params).await?.items;
    let workspaces = app.caches.workspaces.list(Some(&namespace));
    let mut mounts: BTreeMap<&str, Vec<Mount<'_>>> = BTreeMap::new();
    for workspace in &workspaces {
        let volumes = &workspace.spec.pod_template.volumes.secrets;
        let mut names: Vec<_> = volumes.iter().map(|volume| volume.secret_name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().for_each(|name| mounts.entry(name).or_default().push((&**workspace).into()));
    }
    let shown = secrets.iter().map(|secret| &secret.metadata);
    let shown = shown.filter(|metadata| all || !is_of_a_workspace(metadata));
    let items = shown.map(|metadata| {
        let name = metadata.name.as_deref().unwrap_or_default();
        SecretListItem::new(metadata, mounts.get(name).cloned().unwrap_or_default())
    });
    tagged(&headers, items.collect::<Vec<_>>())
}

fn is_of_a_workspace(metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.api_version == API_VERSION && owner.kind == "Workspace")
}

/// `POST /secrets/{namespace}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    Body(new): Body<SecretCreate>,
) -> Result<Response, Problem> {
    app.allow(&caller, "create", SECRETS, Some(&namespace), Some(&new.name)).await?;
    check_namespace(&app, &namespace).await?;
    let yes = |key: &str| (key.to_owned(), "true".to_owned());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(new.name),
            labels: Some([yes(label::CAN_MOUNT), yes(label::CAN_UPDATE)].into()),
            annotations: Some(audited(BTreeMap::new(), &caller)),
            ..ObjectMeta::default()
        },
        type_: Some(new.kind).filter(|kind| !kind.is_empty()),
        immutable: new.immutable.then_some(true),
        data: Some(new.contents.data(BTreeMap::new())),
        ..Secret::default()
    };
    let answer = api(&app, &namespace).create(&PostParams::default(), &secret).await;
    let made = created(answer, "secret")?;
    let location = app.location(&format!("/secrets/{namespace}/{}", made.name_any()));
    Ok(Created { location, data: SecretView::named(&made) }.into_response())
}

/// `GET /secrets/{namespace}/{name}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", SECRETS, Some(&namespace), Some(&name)).await?;
    let secret = api(&app, &namespace).get(&name).await?;
    show(&secret, &headers)
}

/// `PUT /secrets/{namespace}/{name}`
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    condition: IfMatch,
    request: Request,
) -> Result<Response, Problem> {
    app.allow(&caller, "update", SECRETS, Some(&namespace), Some(&name)).await?;
    let Body(change) = Body::<SecretUpdate>::from_request(request, &()).await?;
    let api = api(&app, &namespace);
    let mut attempts = Attempts::default();
    loop {
        let mut secret = api.get(&name).await?;
        check_released(&secret.metadata)?;
        condition.check(&version(&secret.metadata))?;
        let old = secret.data.take().unwrap_or_default();
        secret.data = Some(change.contents.data(old));
        secret.immutable = change.immutable.then_some(true);
        if !change.kind.is_empty() {
            secret.type_ = Some(change.kind.clone());
        }
        let annotations = touched(&caller).map(|(key, value)| (key.to_owned(), value));
        secret.annotations_mut().extend(annotations);
        let answer = api.replace(&name, &PostParams::default(), &secret).await;
        if let Some(written) = attempts.outcome(answer)? {
            return show(&written, &HeaderMap::new());
        }
    }
}

/// `DELETE /secrets/{namespace}/{name}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    condition: IfMatch,
) -> Result<NoContent, Problem> {
    app.allow(&caller, "delete", SECRETS, Some(&namespace), Some(&name)).await?;
    let check = |secret: &ObjectMeta| condition.check(&version(secret));
    delete_released(&api(&app, &namespace), &name, check).await
}

fn show(secret: &Secret, headers: &HeaderMap) -> Result<Response, Problem> {
    let view = View::new(&version(&secret.metadata), &SecretView::from(secret))?;
    Ok(view.respond(headers))
}

/// Changes with every write: Secrets have no generation.
fn version(metadata: &ObjectMeta) -> String {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let version = metadata.resource_version.as_deref().unwrap_or_default();
    hex(&Sha256::digest(format!("{uid}:{version}")))
}

fn api(app: &App, namespace: &str) -> Api<Secret> {
    Api::namespaced(app.client.clone(), namespace)
}
