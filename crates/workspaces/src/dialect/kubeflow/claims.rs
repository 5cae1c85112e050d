//! PersistentVolumeClaims: list, create, delete.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use k8s_openapi::{
    api::{
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, VolumeResourceRequirements,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
};

use super::{
    App, CLAIMS,
    audit::audited,
    body::Body,
    envelope::{Created, Data, NoContent},
    error::{Problem, created},
    extract::{Caller, InNamespace, Object},
    wire::claim::{ClaimCreate, ClaimListItem, Neighbours},
    workspaces::check_namespace,
};
use crate::{
    decide::request::{Reference, is_true, storage_class},
    model::{Workspace, label},
};

/// `GET /persistentvolumeclaims/{namespace}`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
) -> Result<Response, Problem> {
    app.allow(&caller, "list", CLAIMS, Some(&namespace), None).await?;
    let volumes = app.caches.volumes.list(None);
    let pods = app.caches.pods.list(Some(&namespace));
    let workspaces = app.caches.workspaces.list(Some(&namespace));
    let classes = app.caches.storage_classes.list(None);
    let claims = app.caches.pvcs.list(Some(&namespace));
    let mut around = Neighbours::default();
    pods.iter().for_each(|pod| add_pod(&mut around, pod));
    workspaces.iter().for_each(|workspace| add_workspace(&mut around, workspace));
    around.volumes = volumes.iter().map(|volume| (name(&volume.metadata), &**volume)).collect();
    around.classes = classes.iter().map(|class| (name(&class.metadata), &**class)).collect();
    let data: Vec<_> = claims.iter().map(|claim| ClaimListItem::new(claim, &around)).collect();
    Ok(Data { data }.into_response())
}

/// `POST /persistentvolumeclaims/{namespace}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    Body(new): Body<ClaimCreate>,
) -> Result<Created<ClaimCreate>, Problem> {
    app.allow(&caller, "create", CLAIMS, Some(&namespace), Some(&new.name)).await?;
    check_namespace(&app, &namespace).await?;
    let class = find_class(&app, &new.storage_class_name).await?;
    if let Some(cause) = storage_class(&new.storage_class_name, class) {
        return Err(Problem::references(vec![cause]));
    }
    let claim = object(new, &caller);
    let api: Api<PersistentVolumeClaim> = Api::namespaced(app.client.clone(), &namespace);
    let made = created(api.create(&PostParams::default(), &claim).await, "PVC")?;
    app.settle(&app.caches.pvcs, &made).await;
    // There is no route to a single claim, and the contract sends the header all the same.
    Ok(Created { location: String::new(), data: ClaimCreate::from(&made) })
}

/// How often a claim is read again that changed before it could be deleted.
const DELETE_ATTEMPTS: u32 = 5;

/// `DELETE /persistentvolumeclaims/{namespace}/{name}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
) -> Result<NoContent, Problem> {
    app.allow(&caller, "delete", CLAIMS, Some(&namespace), Some(&name)).await?;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(app.client.clone(), &namespace);
    let mut conflict = None;
    for _ in 0..DELETE_ATTEMPTS {
        // Read from the cluster: the label decides whether data may be lost.
        let claim = api.get(&name).await?;
        if !is_true(claim.metadata.labels.as_ref(), label::CAN_UPDATE) {
            return Err(Problem::forbidden("the claim has no label can-update=true"));
        }
        let version = claim.resource_version();
        let preconditions =
            kube::api::Preconditions { uid: claim.uid(), resource_version: version };
        let params = DeleteParams::background().preconditions(preconditions);
        match api.delete(&name, &params).await {
            Ok(_) => return Ok(NoContent),
            // The version is ours and not the caller's: somebody else wrote in between, such as
            // whoever binds a new claim.
            Err(error) if cluster::error::is_conflict(&error) => conflict = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(conflict.map_or_else(Problem::not_found, Problem::from))
}

fn object(new: ClaimCreate, caller: &Caller) -> PersistentVolumeClaim {
    let yes = |key: &str| (key.to_owned(), "true".to_owned());
    let requests = BTreeMap::from([("storage".to_owned(), Quantity(new.requests.storage))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(new.name),
            labels: Some([yes(label::CAN_MOUNT), yes(label::CAN_UPDATE)].into()),
            annotations: Some(audited(BTreeMap::new(), caller)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(new.access_modes),
            storage_class_name: Some(new.storage_class_name),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

async fn find_class(app: &App, name: &str) -> Result<Reference, Problem> {
    if let Some(class) = app.caches.storage_classes.get(None, name) {
        return Ok(Reference::to_use(class.metadata.labels.as_ref()));
    }
    let api: Api<StorageClass> = Api::all(app.client.clone());
    let class = api.get_opt(name).await?;
    let verdict = class.map(|class| Reference::to_use(class.metadata.labels.as_ref()));
    Ok(verdict.unwrap_or(Reference::Missing))
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// Notes a pod with each claim that it mounts, once.
fn add_pod<'a>(around: &mut Neighbours<'a>, pod: &'a Pod) {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let claims = volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    for claim in claims {
        let pods = around.pods.entry(&claim.claim_name).or_default();
        if !pods.last().is_some_and(|last| std::ptr::eq(*last, pod)) {
            pods.push(pod);
        }
    }
}

/// Notes a workspace with each claim that it refers to, once.
fn add_workspace<'a>(around: &mut Neighbours<'a>, workspace: &'a Workspace) {
    let volumes = &workspace.spec.pod_template.volumes;
    let data = volumes.data.iter().map(|volume| &volume.pvc_name);
    for claim in volumes.home.iter().chain(data) {
        let workspaces = around.workspaces.entry(claim).or_default();
        if !workspaces.last().is_some_and(|last| std::ptr::eq(*last, workspace)) {
            workspaces.push(workspace);
        }
    }
}
