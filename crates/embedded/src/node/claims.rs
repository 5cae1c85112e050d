//! Persistent volumes: a directory per claim, made when it is claimed and removed when it is given
//! up. A claim in use is not taken away.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimStatus, PersistentVolumeSpec, PersistentVolumeStatus, Pod,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};

use super::cache::{Cache, Key};
use super::events::Recorder;
use super::pod_status::is_terminal;
use super::volumes::{make_directory, place_of, safe};

/// The provisioner of StorageClasses whose volumes are directories of this machine.
pub const PROVISIONER: &str = "quartermaster.io/local";
const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BOUND: &str = "pv.kubernetes.io/bind-completed";

/// Binds claims, and takes back volumes.
pub(crate) struct Claims {
    pub(crate) client: Client,
    pub(crate) directory: PathBuf,
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) volumes: Arc<Cache<PersistentVolume>>,
    pub(crate) classes: Arc<Cache<StorageClass>>,
    pub(crate) pods: Arc<Cache<Pod>>,
    pub(crate) recorder: Recorder,
}

impl Claims {
    /// One look at one claim.
    pub(crate) async fn look(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        let Some(claim) = self.claims.get(&key) else { return Ok(None) };
        if claim.metadata.deletion_timestamp.is_some() {
            return self.release(&claim, &key).await.map(|()| None);
        }
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let volume = match bound.filter(|name| !name.is_empty()) {
            Some(name) => self.volumes.get(&(String::new(), name)),
            None => self.provision(&claim, &key).await?,
        };
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        match volume {
            Some(volume) => self.bind(&claim, &key, &volume).await?,
            None if phase == Some("Bound") => {
                self.write_phase(&claim, "Lost", None).await?;
            }
            None if phase.is_none_or(str::is_empty) => {
                self.write_phase(&claim, "Pending", None).await?;
            }
            None => {}
        }
        Ok(None)
    }

    /// One look at one volume: a volume whose claim is gone is taken back.
    pub(crate) async fn look_at_volume(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        let Some(volume) = self.volumes.get(&key) else { return Ok(None) };
        let Some(spec) = volume.spec.as_ref() else { return Ok(None) };
        let provisioned = volume.annotations().get(PROVISIONED_BY).map(String::as_str);
        if provisioned != Some(PROVISIONER) {
            return Ok(None);
        }
        let Some(reference) = &spec.claim_ref else { return Ok(None) };
        let of = (
            reference.namespace.clone().unwrap_or_default(),
            reference.name.clone().unwrap_or_default(),
        );
        if self.claims.get(&of).and_then(|claim| claim.uid()) == reference.uid {
            if volume.metadata.deletion_timestamp.is_none() {
                self.write_volume_phase(&volume, "Bound").await?;
            }
            return Ok(None);
        }
        // The cache may be a moment behind: files are removed only on the API's own word.
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &of.0);
        if claims.get_opt(&of.1).await?.and_then(|claim| claim.uid()) == reference.uid {
            return Ok(Some(Duration::from_secs(1)));
        }
        if spec.persistent_volume_reclaim_policy.as_deref() == Some("Retain")
            && volume.metadata.deletion_timestamp.is_none()
        {
            return self.write_volume_phase(&volume, "Released").await.map(|()| None);
        }
        if let Err(error) = self.remove_files(&volume).await {
            let message = format!("the directory of the volume cannot be removed: {error}");
            self.recorder.warning(volume.as_ref(), "VolumeFailedDelete", &message);
            self.write_volume_phase(&volume, "Failed").await?;
            return Ok(Some(Duration::from_secs(30)));
        }
        self.forget_volume(&volume).await?;
        // Another claim of the same name may wait for the directory.
        Ok(None)
    }

    /// Lets a deleted claim go once no pod uses it.
    async fn release(&self, claim: &PersistentVolumeClaim, key: &Key) -> Result<(), kube::Error> {
        let finalizers = claim.finalizers();
        if !finalizers.iter().any(|finalizer| finalizer == CLAIM_PROTECTION) || self.is_used(key) {
            return Ok(());
        }
        let left: Vec<_> =
            finalizers.iter().filter(|finalizer| *finalizer != CLAIM_PROTECTION).collect();
        let patch = serde_json::json!({"metadata": {
            "uid": claim.uid(), "resourceVersion": claim.resource_version(), "finalizers": left,
        }});
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.0);
        match api.patch(&key.1, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }

    fn is_used(&self, key: &Key) -> bool {
        self.pods.in_namespace(&key.0).iter().any(|pod| {
            let gone = is_terminal(pod) && pod.metadata.deletion_timestamp.is_none();
            let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            !gone && bound && claims_of(pod).any(|claim| claim == key.1)
        })
    }

    /// Makes the volume of a claim, if its class is one of ours.
    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        key: &Key,
    ) -> Result<Option<Arc<PersistentVolume>>, kube::Error> {
        let Some(class) = self.class_of(claim) else { return Ok(None) };
        if class.provisioner != PROVISIONER {
            return Ok(None);
        }
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        if waits && !self.is_used(key) {
            return Ok(None);
        }
        let (Some(uid), Some(namespace), Some(name)) = (claim.uid(), safe(&key.0), safe(&key.1))
        else {
            return Ok(None);
        };
        let volume = format!("pvc-{uid}");
        if let Some(known) = self.volumes.get(&(String::new(), volume.clone())) {
            return Ok(Some(known));
        }
        let path = self.directory.join(namespace).join(name);
        let taken =
            self.volumes.all().into_iter().any(|other| {
                other.name_any() != volume && place_of(&other).as_ref() == Some(&path)
            });
        if taken {
            // An earlier claim of this name is still being taken back, or its volume is kept.
            return Ok(None);
        }
        if let Err(error) = make_directory(&path) {
            let message = format!("the directory of the volume cannot be made: {error}");
            self.recorder.warning(claim, "ProvisioningFailed", &message);
            return Ok(None);
        }
        let api = Api::<PersistentVolume>::all(self.client.clone());
        let wanted = new_volume(volume, claim, key, &class, &path);
        match api.create(&PostParams::default(), &wanted).await {
            Ok(made) => {
                let message = format!("Successfully provisioned volume {}", made.name_any());
                self.recorder.normal(claim, "ProvisioningSucceeded", &message);
                self.volumes.remember(made.clone());
                Ok(Some(Arc::new(made)))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(api.get_opt(&wanted.name_any()).await?.map(Arc::new))
            }
            Err(error) => Err(error),
        }
    }

    fn class_of(&self, claim: &PersistentVolumeClaim) -> Option<Arc<StorageClass>> {
        match claim.spec.as_ref()?.storage_class_name.as_deref() {
            // An empty name asks for no class at all.
            Some("") => None,
            Some(name) => self.classes.get(&(String::new(), name.to_owned())),
            None => self.classes.all().into_iter().find(|class| {
                class.annotations().get(DEFAULT_CLASS).map(String::as_str) == Some("true")
            }),
        }
    }

    async fn bind(
        &self,
        claim: &PersistentVolumeClaim,
        key: &Key,
        volume: &PersistentVolume,
    ) -> Result<(), kube::Error> {
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        if reference.and_then(|reference| reference.uid.clone()) != claim.uid() {
            // Somebody else's volume. The claim stays as it is.
            return Ok(());
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.0);
        let name = volume.name_any();
        let mut finalizers = claim.finalizers().to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == CLAIM_PROTECTION) {
            finalizers.push(CLAIM_PROTECTION.to_owned());
        }
        let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()) == Some(&name);
        // A claim that named no class has the default one by now.
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
        let class =
            class.or_else(|| volume.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()));
        let mut current = claim.clone();
        if !named || finalizers != claim.finalizers() {
            let patch = serde_json::json!({
                "metadata": {
                    "uid": claim.uid(), "resourceVersion": claim.resource_version(),
                    "finalizers": finalizers, "annotations": {BOUND: "yes"},
                },
                "spec": {"volumeName": name, "storageClassName": class},
            });
            current = api.patch(&key.1, &PatchParams::default(), &Patch::Merge(patch)).await?;
            self.claims.remember(current.clone());
        }
        self.write_phase(&current, "Bound", Some(volume)).await
    }

    async fn write_phase(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), kube::Error> {
        let before = claim.status.clone().unwrap_or_default();
        let spec = volume.and_then(|volume| volume.spec.as_ref());
        let status = PersistentVolumeClaimStatus {
            phase: Some(phase.to_owned()),
            access_modes: spec
                .map_or(before.access_modes.clone(), |spec| spec.access_modes.clone()),
            capacity: spec.map_or(before.capacity.clone(), |spec| spec.capacity.clone()),
            ..before
        };
        if claim.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = claim.namespace().unwrap_or_default();
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &namespace);
        let wanted = PersistentVolumeClaim { status: Some(status), ..claim.clone() };
        let written =
            api.replace_status(&claim.name_any(), &PostParams::default(), &wanted).await?;
        self.claims.remember(written);
        Ok(())
    }

    async fn write_volume_phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
    ) -> Result<(), kube::Error> {
        let before = volume.status.clone().unwrap_or_default();
        if before.phase.as_deref() == Some(phase) {
            return Ok(());
        }
        let status = PersistentVolumeStatus { phase: Some(phase.to_owned()), ..before };
        let api = Api::<PersistentVolume>::all(self.client.clone());
        let wanted = PersistentVolume { status: Some(status), ..volume.clone() };
        let written =
            api.replace_status(&volume.name_any(), &PostParams::default(), &wanted).await?;
        self.volumes.remember(written);
        Ok(())
    }

    /// Removes the directory of a volume. It is moved away first, so that a crash never leaves half
    /// of it for the next claim of the name.
    async fn remove_files(&self, volume: &PersistentVolume) -> io::Result<()> {
        let Some(path) = place_of(volume).filter(|path| path.starts_with(&self.directory)) else {
            return Err(io::Error::other("it is not one of this node's directories"));
        };
        let trash = self.directory.join(".trash");
        make_directory(&trash)?;
        let away = trash.join(volume.uid().unwrap_or_default());
        match tokio::fs::rename(&path, &away).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match tokio::fs::remove_dir_all(&away).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn forget_volume(&self, volume: &PersistentVolume) -> Result<(), kube::Error> {
        let api = Api::<PersistentVolume>::all(self.client.clone());
        let name = volume.name_any();
        let left: Vec<_> = volume
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != VOLUME_PROTECTION)
            .collect();
        let patch = serde_json::json!({"metadata": {"uid": volume.uid(), "finalizers": left}});
        let steps = async {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            api.delete(&name, &DeleteParams::default()).await.map(drop)
        };
        match steps.await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result,
        }
    }
}

/// The claims that a pod uses.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

fn new_volume(
    name: String,
    claim: &PersistentVolumeClaim,
    key: &Key,
    class: &StorageClass,
    path: &Path,
) -> PersistentVolume {
    let wanted = claim.spec.clone().unwrap_or_default();
    let storage = wanted
        .resources
        .and_then(|resources| resources.requests)
        .and_then(|requests| requests.get("storage").cloned());
    let annotations = [(PROVISIONED_BY, PROVISIONER)];
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(
                annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ),
            finalizers: Some(vec![VOLUME_PROTECTION.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes,
            capacity: storage.map(|storage| BTreeMap::from([("storage".to_owned(), storage)])),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(key.0.clone()),
                name: Some(key.1.clone()),
                uid: claim.uid(),
                ..ObjectReference::default()
            }),
            host_path: Some(HostPathVolumeSource {
                path: path.to_string_lossy().into_owned(),
                type_: Some("DirectoryOrCreate".to_owned()),
            }),
            persistent_volume_reclaim_policy: Some(
                class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
            ),
            storage_class_name: Some(class.name_any()),
            volume_mode: Some(wanted.volume_mode.unwrap_or_else(|| "Filesystem".to_owned())),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    }
}
