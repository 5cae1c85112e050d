//! PersistentVolumeClaims: list, create, delete.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::HeaderMap;
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
    Api,
    api::{ObjectMeta, PostParams},
};
use web::Cause;

use super::{
    App, CLAIMS,
    audit::audited,
    body::Body,
    checks::check_namespace,
    envelope::{Created, NoContent},
    error::{Problem, created},
    extract::{Caller, InNamespace, Object, Query},
    released::delete_released,
    tagged::body,
    wire::claim::{ClaimCreate, ClaimListItem, Neighbours},
};
use crate::{
    Caches,
    decide::{
        self,
        request::{Reference, storage_class},
    },
    model::{Workspace, label},
};

/// `GET /persistentvolumeclaims/{namespace}`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "list", CLAIMS, Some(&namespace), None).await?;
    let caches = &app.caches;
    let revisions = vec![
        caches.pvcs.revision(),
        caches.volumes.revision(),
        caches.pods.revision(),
        caches.workspaces.revision(),
        caches.storage_classes.revision(),
    ];
    let asked = format!("claims {namespace}");
    app.tags.answer(&headers, asked, revisions, || render(caches, &namespace))
}

/// The claims of a namespace with all that is around them.
fn render(caches: &Caches, namespace: &str) -> Result<Bytes, Problem> {
    let volumes = caches.volumes.list(None);
    let pods = caches.pods.list(Some(namespace));
    let workspaces = caches.workspaces.list(Some(namespace));
    let classes = caches.storage_classes.list(None);
    let claims = caches.pvcs.list(Some(namespace));
    let mut around = Neighbours::default();
    pods.iter().for_each(|pod| add_pod(&mut around, pod));
    workspaces.iter().for_each(|workspace| add_workspace(&mut around, workspace));
    around.volumes = volumes.iter().map(|volume| (name(&volume.metadata), &**volume)).collect();
    around.classes = classes.iter().map(|class| (name(&class.metadata), &**class)).collect();
    body(claims.iter().map(|claim| ClaimListItem::new(claim, &around)).collect::<Vec<_>>())
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
    if let Some(cause) = check_class(&app, "storageClassName", &new.storage_class_name).await? {
        return Err(Problem::references(vec![cause]));
    }
    let claim = object(new, &caller);
    let api: Api<PersistentVolumeClaim> = Api::namespaced(app.client.clone(), &namespace);
    let made = created(api.create(&PostParams::default(), &claim).await, "PVC")?;
    app.settle(&app.caches.pvcs, &made).await;
    // There is no route to a single claim, and the contract sends the header all the same.
    Ok(Created { location: String::new(), data: ClaimCreate::from(&made) })
}

/// `DELETE /persistentvolumeclaims/{namespace}/{name}`: with `force`, also one that is used.
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    query: Query,
) -> Result<NoContent, Problem> {
    let force = query.boolean("force")?;
    app.allow(&caller, "delete", CLAIMS, Some(&namespace), Some(&name)).await?;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(app.client.clone(), &namespace);
    let unused = |_: &ObjectMeta| {
        let workspaces = app.caches.workspaces.list(Some(&namespace));
        let pods = app.caches.pods.list(Some(&namespace));
        let (workspaces, pods) = (workspaces.iter().map(|w| &**w), pods.iter().map(|p| &**p));
        let causes = decide::claim::delete(&name, workspaces, pods);
        match force || causes.is_empty() {
            true => Ok(()),
            false => Err(Problem::conflict("PVC is in use", causes)),
        }
    };
    delete_released(&api, &name, unused).await
}

/// The object of a claim that a caller makes.
pub(crate) fn object(new: ClaimCreate, caller: &Caller) -> PersistentVolumeClaim {
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

/// What speaks against making a claim of this storage class.
pub(crate) async fn check_class(
    app: &App,
    field: &str,
    name: &str,
) -> Result<Option<Cause>, Problem> {
    Ok(storage_class(field, name, find_class(app, name).await?))
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
