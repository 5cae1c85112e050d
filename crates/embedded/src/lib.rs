//! The one-machine cluster: a subset of the Kubernetes API behind the same client as a real one.
//!
//! `store` keeps objects durably, `api` speaks Kubernetes over it, `schema` holds the rules of
//! objects, `node` runs pods. It depends on no other room of this repository, and only the program
//! and tests depend on it. Start reading at [`Cluster`].

pub mod api;
pub mod node;
pub mod schema;
pub mod store;

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::task::JoinHandle;

use self::{
    api::{Api, Status, Tokens, admission::Admission, exec::ExecSource, logs::LogSource},
    store::Store,
};
pub use self::{
    api::{ApiService, Authenticator, User},
    store::{OpenError, StoreOptions},
};

/// How a cluster is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept. Made if it is missing; private to its user.
    pub data_dir: PathBuf,
    /// Bounds of the store.
    pub store: StoreOptions,
}

impl Options {
    /// The default options for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), store: StoreOptions::default() }
    }
}

/// An open one-machine cluster. Clones are the same cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    store: Store,
    api: Arc<Api>,
    background: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Cluster {
    /// Opens the cluster of a data directory, or makes an empty one there.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let directory = options.data_dir.display().to_string();
        let failed = move |text: String| OpenError::Io {
            path: directory.clone(),
            source: std::io::Error::other(text),
        };
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&options.data_dir, options.store)?;
            let tokens = Tokens::load_or_create(&options.data_dir).map_err(|source| {
                OpenError::Io { path: options.data_dir.display().to_string(), source }
            })?;
            Ok::<_, OpenError>((store, tokens))
        });
        let (store, tokens) = opened.await.map_err(|error| failed(error.to_string()))??;
        let api = Api::new(store.clone(), tokens);
        let background =
            api.start().await.map_err(|status: Status| failed(status.message().to_owned()))?;
        Ok(Self { store, api, background: Arc::new(Mutex::new(Some(background))) })
    }

    /// A client of this cluster, which cannot tell it from a real one.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// The API as a service, to be served over HTTP.
    pub fn service(&self) -> ApiService {
        ApiService::new(self.api.clone())
    }

    /// Tells who holds a bearer token, for a listener that serves the API to others.
    pub fn authenticator(&self) -> Authenticator {
        self.api.authenticator()
    }

    /// Makes a secret the token of the administrator, who may do everything.
    pub fn set_administrator(&self, secret: SecretString) {
        self.api.set_administrator(secret);
    }

    /// The store below the API, for measurements.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Tells who has the logs of pods.
    pub fn set_log_source(&self, source: Arc<dyn LogSource>) {
        self.api.set_log_source(source);
    }

    /// Tells who runs commands in pods.
    pub fn set_exec_source(&self, source: Arc<dyn ExecSource>) {
        self.api.set_exec_source(source);
    }

    /// Sets the rules that writes must pass beside those of Kubernetes itself.
    pub fn set_admission(&self, rules: Vec<Arc<dyn Admission>>) {
        self.api.set_admission(rules);
    }

    /// Ends all watches, then the store. What was acknowledged is on disk already.
    pub async fn shutdown(&self) {
        self.api.stop();
        let background = self.background.lock().take();
        if let Some(background) = background {
            // A task that panicked has logged it.
            let _ = background.await;
        }
        self.store.close().await;
    }
}
