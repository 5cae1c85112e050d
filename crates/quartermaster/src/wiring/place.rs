//! The cluster: one of our own with a node in this process, or one that is there.

use std::{sync::Arc, time::Duration};

use cluster::{
    admission::Reviews,
    client::{self, Connected, Health},
};
use embedded::{
    Cluster, OpenError,
    node::{Commands, Logs, Node, NodeOptions},
};
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::admission;
use crate::{cli::ClusterChoice, failure::Failure, images, seed, settings::Settings};

/// How long the programs of workspaces have to end by themselves.
const PODS: Duration = Duration::from_secs(10);

/// The cluster that is served.
pub(super) enum Place {
    /// One of our own.
    Own {
        /// The store and its API.
        cluster: Cluster,
        client: Client,
        /// The part that runs pods, once it runs.
        node: Option<Node>,
    },
    /// One that is there.
    Elsewhere(Connected),
}

impl Place {
    pub(super) async fn open(settings: &Settings, reviews: &Reviews) -> Result<Self, Failure> {
        match &settings.cluster {
            ClusterChoice::Embedded(dir) => {
                let opened = Cluster::open(embedded::Options::new(dir)).await;
                let cluster = opened.map_err(|error| unusable(&error))?;
                cluster.set_admission(admission::rules(cluster.store(), reviews));
                let client = cluster.client();
                Ok(Self::Own { cluster, client, node: None })
            }
            ClusterChoice::Elsewhere(target) => {
                let connected = client::connect(target, None).await;
                connected.map(Self::Elsewhere).map_err(|error| {
                    let hint = error.hint();
                    Failure::of(error).hint(hint)
                })
            }
        }
    }

    pub(super) fn client(&self) -> &Client {
        match self {
            Self::Own { client, .. } => client,
            Self::Elsewhere(connected) => &connected.client,
        }
    }

    /// Our own cluster, if it is that.
    pub(super) fn own(&self) -> Option<&Cluster> {
        match self {
            Self::Own { cluster, .. } => Some(cluster),
            Self::Elsewhere(_) => None,
        }
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Whether its API answers; our own always does.
    pub(super) fn health(&self) -> Option<Health> {
        match self {
            Self::Own { .. } => None,
            Self::Elsewhere(connected) => Some(connected.health.clone()),
        }
    }

    /// Where our own few objects are: the lease, the record of samples.
    pub(super) fn namespace<'a>(&'a self, settings: &'a Settings) -> &'a str {
        let wanted = settings.lease.as_ref().and_then(|lease| lease.namespace.as_deref());
        match self {
            Self::Own { .. } => seed::NAMESPACE,
            Self::Elsewhere(connected) => wanted.unwrap_or(&connected.namespace),
        }
    }

    /// The namespace that we run in, or that of the context: where Services lead to us.
    pub(super) fn pod_namespace(&self) -> &str {
        match self {
            Self::Own { .. } => seed::NAMESPACE,
            Self::Elsewhere(connected) => &connected.namespace,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Own { .. } => "a cluster of its own".to_owned(),
            Self::Elsewhere(Connected { url, version, .. }) => {
                format!("the Kubernetes {version} at {url}")
            }
        }
    }

    /// Starts the part that runs pods, with this very program as the parent of their processes.
    pub(super) async fn start_node(&mut self, settings: &Settings) -> Result<(), Failure> {
        let ClusterChoice::Embedded(dir) = &settings.cluster else { return Ok(()) };
        let Self::Own { cluster, client, node } = self else { return Ok(()) };
        cluster.set_log_source(Arc::new(Logs::new(dir)));
        cluster.set_exec_source(Arc::new(Commands::new(dir)));
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(format!("cannot tell which program this is: {error}")))?;
        let images = images::table(settings.images.clone(), &program).map_err(Failure::of)?;
        let options = NodeOptions::new(dir.clone(), images, program);
        *node = Some(Node::start(client.clone(), options).await.map_err(Failure::of)?);
        Ok(())
    }

    /// Cancelled, it cuts the grace of pods short.
    pub(super) fn hurry(&self) -> CancellationToken {
        match self {
            Self::Own { node: Some(node), .. } => node.hurry(),
            _ => CancellationToken::new(),
        }
    }

    /// Ends the pods of our own cluster; those of another one go on.
    pub(super) async fn stop_node(&mut self) {
        if let Self::Own { node, .. } = self
            && let Some(node) = node.take()
        {
            node.shutdown(PODS).await;
        }
    }

    /// Closes our own cluster.
    pub(super) async fn abandon(self) {
        if let Self::Own { cluster, .. } = self {
            cluster.shutdown().await;
        }
    }
}

fn unusable(error: &OpenError) -> Failure {
    let failure = Failure::of(error);
    match error {
        OpenError::InUse { .. } => failure.hint(
            "Quartermaster runs there already: `quartermaster open` prints its address; or choose \
             another directory with --data-dir DIR",
        ),
        OpenError::Io { .. } => failure.hint("choose another directory with --data-dir DIR"),
        _ => failure,
    }
}
