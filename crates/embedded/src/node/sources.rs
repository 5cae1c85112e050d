//! The Secrets and ConfigMaps of one pod, fetched once each while the pod is prepared.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::sync::Mutex;

/// What a Secret or a ConfigMap holds. Not printable.
pub(crate) type Values = BTreeMap<String, Vec<u8>>;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Secret,
    ConfigMap,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::ConfigMap => "configmap",
        }
    }
}

/// Why a value is not there, in the kubelet's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("{kind} \"{name}\" cannot be read: {source}")]
    Read { kind: &'static str, name: String, source: Box<kube::Error> },
}

/// Fetches, and remembers what was fetched.
pub(crate) struct Sources {
    client: Client,
    namespace: String,
    known: Mutex<HashMap<(Source, String), Option<Values>>>,
}

impl Sources {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), known: Mutex::default() }
    }

    /// All values; `None` if it does not exist and may be missing.
    pub(crate) async fn all(
        &self,
        kind: Source,
        name: &str,
        optional: bool,
    ) -> Result<Option<Values>, SourceError> {
        let mut known = self.known.lock().await;
        let slot = (kind, name.to_owned());
        let values = match known.get(&slot) {
            Some(values) => values.clone(),
            None => {
                let values = self.fetch(kind, name).await.map_err(|error| SourceError::Read {
                    kind: kind.name(),
                    name: name.to_owned(),
                    source: Box::new(error),
                })?;
                known.insert(slot, values.clone());
                values
            }
        };
        if values.is_none() && !optional {
            return Err(SourceError::Missing { kind: kind.name(), name: name.to_owned() });
        }
        Ok(values)
    }

    /// One value; `None` if it does not exist and may be missing.
    pub(crate) async fn one(
        &self,
        kind: Source,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let values = self.all(kind, name, optional).await?;
        let value = values.and_then(|mut values| values.remove(key));
        if value.is_none() && !optional {
            return Err(SourceError::MissingKey {
                kind: kind.name(),
                namespace: self.namespace.clone(),
                name: name.to_owned(),
                key: key.to_owned(),
            });
        }
        Ok(value)
    }

    async fn fetch(&self, kind: Source, name: &str) -> Result<Option<Values>, kube::Error> {
        match kind {
            Source::Secret => {
                let api = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
                let found = api.get_opt(name).await?;
                Ok(found.map(|secret| {
                    let data = secret.data.unwrap_or_default();
                    data.into_iter().map(|(key, value)| (key, value.0)).collect()
                }))
            }
            Source::ConfigMap => {
                let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
                let found = api.get_opt(name).await?;
                Ok(found.map(|map| {
                    let text = map.data.unwrap_or_default().into_iter();
                    let bytes = map.binary_data.unwrap_or_default().into_iter();
                    text.map(|(key, value)| (key, value.into_bytes()))
                        .chain(bytes.map(|(key, value)| (key, value.0)))
                        .collect()
                }))
            }
        }
    }
}
