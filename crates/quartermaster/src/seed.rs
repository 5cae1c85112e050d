//! What a new data directory holds: a namespace, a storage class, the sample kinds. Any cluster may
//! have the sample kinds.
//!
//! The namespace and the class are needed and come back; a sample kind is installed once, so that
//! an edit or a deletion by the user stays.

use std::collections::BTreeMap;

use cluster::Object;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, ObjectMeta, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use workspaces::model::WorkspaceKind;

/// The namespace that a cluster of our own has.
pub(crate) const NAMESPACE: &str = "default";
/// Remembers which samples were installed, whatever became of them.
const RECORD: &str = "quartermaster-samples";
const SAMPLES: [(&str, &str); 2] = [
    ("files", include_str!("../kinds/files.json")),
    ("jupyterlab", include_str!("../kinds/jupyterlab.json")),
];

/// What could not be put into the cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    /// The cluster refused.
    #[error("cannot create {what}: {source}")]
    Create {
        what: &'static str,
        #[source]
        source: kube::Error,
    },
    /// A sample in the program itself is broken.
    #[error("sample kind {name} cannot be read: {message}")]
    Sample { name: &'static str, message: String },
}

/// Makes sure of what a cluster of our own needs.
pub(crate) async fn basics(client: &Client) -> Result<(), SeedError> {
    let namespace = Namespace { metadata: named(NAMESPACE), ..Namespace::default() };
    create("namespace default", &Api::all(client.clone()), &namespace).await?;
    create("storage class local", &Api::all(client.clone()), &storage_class()).await
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> Option<BTreeMap<String, String>> {
    Some(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn storage_class() -> StorageClass {
    StorageClass {
        metadata: ObjectMeta {
            labels: map([("notebooks.kubeflow.org/can-use", "true")]),
            annotations: map([
                ("storageclass.kubernetes.io/is-default-class", "true"),
                ("notebooks.kubeflow.org/display-name", "This machine"),
                ("notebooks.kubeflow.org/description", "Directories in Quartermaster's data"),
            ]),
            ..named("local")
        },
        provisioner: "quartermaster.io/local".to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("Immediate".to_owned()),
        ..StorageClass::default()
    }
}

/// Installs each sample kind that was never installed; the record of them is in this namespace.
pub(crate) async fn samples(client: &Client, namespace: &str) -> Result<(), SeedError> {
    let records: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let fail = |source| SeedError::Create { what: "the record of sample kinds", source };
    let record = records.get_opt(RECORD).await.map_err(fail)?;
    let mut installed = record.as_ref().and_then(|map| map.data.clone()).unwrap_or_default();
    let known = installed.len();
    let kinds: Api<Object> =
        Api::all_with(client.clone(), &ApiResource::erase::<WorkspaceKind>(&()));
    for (name, text) in SAMPLES {
        if installed.contains_key(name) {
            continue;
        }
        // As plain JSON: the types of pods, or a parser of YAML, are much code to read once what the
        // cluster checks anyway.
        let kind: Value = serde_json::from_str(text)
            .map_err(|error| SeedError::Sample { name, message: error.to_string() })?;
        create("a sample kind", &kinds, &Object::from(kind)).await?;
        installed.insert(name.to_owned(), "installed".to_owned());
    }
    if installed.len() == known {
        return Ok(());
    }
    match record {
        Some(mut record) => {
            record.data = Some(installed);
            records.replace(RECORD, &PostParams::default(), &record).await.map_err(fail)?;
        }
        None => {
            let record = ConfigMap {
                metadata: named(RECORD),
                data: Some(installed),
                ..ConfigMap::default()
            };
            create("the record of sample kinds", &records, &record).await?;
        }
    }
    Ok(())
}

/// Creates an object; one that is there already stays as it is.
async fn create<K>(what: &'static str, api: &Api<K>, object: &K) -> Result<(), SeedError>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(source) => Err(SeedError::Create { what, source }),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_can_be_read() {
        for (name, text) in SAMPLES {
            let kind: WorkspaceKind = serde_json::from_str(text).unwrap();
            assert_eq!(kind.metadata.name.as_deref(), Some(name));
        }
    }
}
