//! What a write of a workspace is checked for before the cluster gets to see it: its namespace,
//! what it mounts, and the rules of admission.
//!
//! Caches may be a moment behind, so what they do not know is asked of the cluster: nobody is turned
//! away on the word of a cache alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, ResourceQuota, Secret};
use kube::{Api, api::ListParams};
use web::Cause;

use super::{App, claims::check_class, error::Problem, wire::claim::ClaimCreate};
use crate::{
    decide::{
        self,
        filter::Labels,
        names::NOT_FOUND,
        quota::{Demand, NewClaim},
        request::{Reference, mounts},
    },
    model::{WorkspaceKind, WorkspaceSpec, WorkspaceVolumes},
};

/// Questions to the cluster at a time.
const AT_ONCE: usize = 8;

/// The labels of a namespace that a caller names in a path: it must exist before anything is made
/// in it.
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

/// Everything about a new workspace and the claims that are to be made along with it.
pub(crate) async fn check_new(
    app: &App,
    namespace: &str,
    spec: &WorkspaceSpec,
    new: &[(usize, ClaimCreate)],
) -> Result<(), Problem> {
    let labels = check_namespace(app, namespace).await?;
    let mut causes = Vec::new();
    for (index, claim) in new {
        let field = format!("podTemplate.volumes.data[{index}].create.storageClassName");
        causes.extend(check_class(app, &field, &claim.storage_class_name).await?);
    }
    let known = new.iter().map(|(_, claim)| &*claim.name).collect();
    check_mounts(app, namespace, &spec.pod_template.volumes, known, BTreeSet::new(), causes)
        .await?;
    let kind = kind(app, &spec.kind).await?;
    let mut causes = decide::workspace::create(spec, kind.as_deref());
    if let Some(kind) = kind.as_deref().filter(|_| causes.is_empty()) {
        causes = decide::filter::denied(spec, kind, &labels);
    }
    admitted(causes)?;
    match kind {
        Some(kind) => check_quotas(app, namespace, spec, &kind, new).await,
        None => Ok(()),
    }
}

/// Whether it all fits into the quotas of the namespace. Without the right to read them this is left
/// to the cluster, which tells later.
async fn check_quotas(
    app: &App,
    namespace: &str,
    spec: &WorkspaceSpec,
    kind: &WorkspaceKind,
    new: &[(usize, ClaimCreate)],
) -> Result<(), Problem> {
    let api: Api<ResourceQuota> = Api::namespaced(app.client.clone(), namespace);
    let quotas = match api.list(&ListParams::default()).await {
        Ok(quotas) => quotas.items,
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let claims: Vec<NewClaim<'_>> = new.iter().map(|(_, claim)| claim.demand()).collect();
    let exceeded = Demand::of(spec, kind, &claims).exceeds(&quotas);
    if exceeded.is_empty() { Ok(()) } else { Err(Problem::quota(exceeded)) }
}

/// Everything about a changed workspace. What it keeps is not asked about again: a workspace whose
/// claim lost its label can still be renamed.
pub(crate) async fn check_change(
    app: &App,
    namespace: &str,
    old: &WorkspaceSpec,
    new: &WorkspaceSpec,
) -> Result<(), Problem> {
    let kept = &old.pod_template.volumes;
    let volumes = &new.pod_template.volumes;
    check_mounts(app, namespace, volumes, claims(kept), secrets(kept), Vec::new()).await?;
    let kind = kind(app, &new.kind).await?;
    let mut causes = decide::workspace::update(old, new, kind.as_deref());
    if let Some(kind) = kind.filter(|_| causes.is_empty()) {
        let labels = check_namespace(app, namespace).await?;
        causes = decide::filter::denied_change(old, new, &kind, &labels);
    }
    admitted(causes)
}

fn admitted(causes: Vec<Cause>) -> Result<(), Problem> {
    if causes.is_empty() { Ok(()) } else { Err(Problem::admission(causes)) }
}

async fn kind(app: &App, name: &str) -> Result<Option<Arc<WorkspaceKind>>, Problem> {
    match app.caches.kinds.get(None, name) {
        Some(kind) => Ok(Some(kind)),
        None => Ok(Api::all(app.client.clone()).get_opt(name).await?.map(Arc::new)),
    }
}

/// What is mounted must exist and be released for it, apart from claims and Secrets that are known to
/// be good. `causes` are what else is wrong with what is mounted.
async fn check_mounts(
    app: &App,
    namespace: &str,
    volumes: &WorkspaceVolumes,
    good_claims: BTreeSet<&str>,
    good_secrets: BTreeSet<&str>,
    mut causes: Vec<Cause>,
) -> Result<(), Problem> {
    let asked: Vec<_> = claims(volumes)
        .difference(&good_claims)
        .map(|name| claim(app, namespace, name).boxed())
        .collect();
    let claims = gather(asked).await?;
    let asked: Vec<_> = secrets(volumes)
        .difference(&good_secrets)
        .map(|name| secret(app, namespace, name).boxed())
        .collect();
    let secrets = gather(asked).await?;
    let verdict = |asked: &BTreeMap<&str, Reference>, name: &str| match asked.get(name) {
        Some(Reference::Withheld) if !app.options.require_can_mount => Reference::Usable,
        Some(verdict) => *verdict,
        None => Reference::Usable,
    };
    let of_mounts = mounts(volumes, |name| verdict(&claims, name), |name| verdict(&secrets, name));
    causes.extend(of_mounts);
    if causes.is_empty() { Ok(()) } else { Err(Problem::references(causes)) }
}

type Answer<'a> = Result<(&'a str, Reference), Problem>;

async fn gather<'a>(
    asked: Vec<BoxFuture<'_, Answer<'a>>>,
) -> Result<BTreeMap<&'a str, Reference>, Problem> {
    stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await
}

fn claims(volumes: &WorkspaceVolumes) -> BTreeSet<&str> {
    volumes.data.iter().map(|volume| &volume.pvc_name).chain(&volumes.home).map(|n| &**n).collect()
}

fn secrets(volumes: &WorkspaceVolumes) -> BTreeSet<&str> {
    volumes.secrets.iter().map(|volume| volume.secret_name.as_str()).collect()
}

async fn claim<'a>(app: &App, namespace: &str, name: &'a str) -> Answer<'a> {
    let cached = app.caches.pvcs.get(Some(namespace), name);
    let cached = cached.map(|claim| Reference::to_mount(claim.metadata.labels.as_ref()));
    if cached == Some(Reference::Usable) {
        return Ok((name, Reference::Usable));
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(app.client.clone(), namespace);
    let claim = api.get_opt(name).await?;
    let labels = claim.map(|claim| Reference::to_mount(claim.metadata.labels.as_ref()));
    Ok((name, labels.unwrap_or(Reference::Missing)))
}

async fn secret<'a>(app: &App, namespace: &str, name: &'a str) -> Answer<'a> {
    let api: Api<Secret> = Api::namespaced(app.client.clone(), namespace);
    let secret = api.get_metadata_opt(name).await?;
    let labels = secret.map(|secret| Reference::to_mount(secret.metadata.labels.as_ref()));
    Ok((name, labels.unwrap_or(Reference::Missing)))
}
