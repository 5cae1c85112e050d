//! The node of the one-machine cluster: what a kubelet, a scheduler, a volume binder and the
//! controllers of StatefulSets, Jobs and Services do, with pods as processes of this machine.
//!
//! It sees the cluster through a `kube::Client` and nothing else. Every part looks at one object at
//! a time, starting from what is there, and writes only what differs; a settled cluster is not
//! written to. What processes of one user do not get (limits of resources, other users, mount
//! options, life cycle hooks) is told by an event and not pretended. Start reading at [`Node::start`]; a pod's way is `pods` → `container` → `runtime` →
//! [`shim`].

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod addresses;
mod backoff;
mod cache;
mod claims;
mod commands;
mod container;
mod endpoints;
mod environment;
mod events;
mod expand;
mod fields;
mod images;
mod job;
mod logfile;
mod logs;
mod machine;
mod mounts;
mod owners;
mod pod_status;
mod pods;
mod probes;
mod process;
mod quantity;
mod queue;
mod runtime;
mod scheduler;
pub mod shim;
mod sources;
mod statefulset;
mod unenforced;
mod volumes;
mod wiring;

pub use backoff::BackoffLimits;
pub use claims::PROVISIONER;
pub use commands::Commands;
pub use images::{ImageEntry, ImageTable, ImageTableError};
pub use logs::Logs;

/// Where the machine itself is reached.
const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What a node is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeOptions {
    /// Where `pods` and `volumes` are.
    pub data_dir: PathBuf,
    /// Which programs the image names mean.
    pub images: ImageTable,
    /// The program whose subcommand `pod-shim` is [`shim::main`].
    pub shim: PathBuf,
    /// The name of the Node object.
    pub name: String,
    /// Where programs without a path are looked for.
    pub search_path: String,
    /// How long a container that keeps ending waits.
    pub backoff: BackoffLimits,
}

impl NodeOptions {
    /// The usual options.
    #[must_use]
    pub fn new(data_dir: PathBuf, images: ImageTable, shim: PathBuf) -> Self {
        Self {
            data_dir,
            images,
            shim,
            name: "localhost".to_owned(),
            search_path: std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned()),
            backoff: BackoffLimits::default(),
        }
    }
}

/// A node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The cluster refused.
    #[error("the node cannot be registered: {0}")]
    Register(#[source] Box<kube::Error>),
    /// Its directories cannot be used.
    #[error("the directory {path} of the node cannot be used: {source}", path = path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A running node. Dropped without [`shutdown`](Node::shutdown) it just stops looking: the pods run
/// on, and the next node on the same directory takes them over.
#[derive(Debug)]
pub struct Node {
    tasks: JoinSet<()>,
    workers: JoinSet<()>,
    stop: CancellationToken,
    hurry: CancellationToken,
    pods: Arc<pods::Pods>,
}

impl std::fmt::Debug for pods::Pods {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pods").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node. When this returns, what ran before it has been taken over or ended.
    pub async fn start(client: Client, options: NodeOptions) -> Result<Self, NodeError> {
        let mut options = options;
        volumes::make_directory(&options.data_dir)
            .map_err(|source| NodeError::Directory { path: options.data_dir.clone(), source })?;
        // Marks of processes and paths of volumes must not change with the working directory.
        options.data_dir = std::fs::canonicalize(&options.data_dir)
            .map_err(|source| NodeError::Directory { path: options.data_dir.clone(), source })?;
        machine::register(client.clone(), &options.name)
            .await
            .map_err(|error| NodeError::Register(Box::new(error)))?;
        let mut tasks = JoinSet::new();
        let wiring = wiring::Wiring::new(client, &options, &mut tasks);
        wiring.ready().await;
        let pods = Arc::clone(&wiring.pods);
        pods.recover()
            .await
            .map_err(|source| NodeError::Directory { path: pods.directory.clone(), source })?;
        let (mut workers, stop) = (JoinSet::new(), CancellationToken::new());
        wiring.work(&mut workers, &stop);
        Ok(Self { tasks, workers, stop, hurry: CancellationToken::new(), pods })
    }

    /// Ends all pods, each within its own grace but none after `grace`, and leaves the Pod objects,
    /// so that the next node runs them again.
    pub async fn shutdown(mut self, grace: Duration) {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
        self.pods.stop_all(grace, &self.hurry).await;
        self.tasks.shutdown().await;
    }

    /// Cancelled, it ends the grace of a shutdown at once.
    #[must_use]
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }
}
