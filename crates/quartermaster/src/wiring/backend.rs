//! The REST API of Kubeflow Workspaces alone, on a cluster that is there: what `quartermaster as
//! workspaces-backend` puts together.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use cluster::{
    Access,
    access::Reviews,
    client::{self, Connected, Pace, Target},
};
use tokio::task::JoinHandle;
use web::{
    Cors, Handler,
    identity::{Anybody, Door, HeaderSettings, ProxyHeaders},
    listener::{self, BindError, Drain, Limits, Listener, Stack},
    metrics::{self, Requests},
};
use workspaces::{Caches, dialect::kubeflow};

use super::{
    front::is_open,
    listeners::{self, Readiness},
};
use crate::{failure::Failure, permissions::Needed, signals::Signals};

/// What it runs with, complete and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) target: Target,
    pub(crate) pace: Option<Pace>,
    pub(crate) port: u16,
    /// How a proxy says who calls; none if everybody may do everything.
    pub(crate) identity: Option<HeaderSettings>,
    pub(crate) cors: Cors,
    pub(crate) options: kubeflow::Options,
}

/// What supervisors ask, who are nobody.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The running API.
pub(crate) struct Backend {
    address: SocketAddr,
    cluster: String,
    drain: Drain,
    serving: JoinHandle<()>,
}

impl Backend {
    /// Starts it. It answers from now on, if only that it has to wait for the cluster.
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failure> {
        let listener = bind(settings.port).await?;
        let address = listener.address();
        let connected = client::connect(&settings.target, settings.pace).await;
        let Connected { client, health, url, version, namespace } = connected.map_err(|error| {
            let hint = error.hint();
            Failure::of(error).hint(hint)
        })?;
        let reviewed = settings.identity.is_some();
        Needed::by_backend(reviewed).check(&client, &namespace).await?;
        cluster::crds::served(&client, workspaces::crds())
            .await
            .map_err(|error| Failure::of(error).hint("apply what `quartermaster crds` prints"))?;
        let caches = Caches::start(&client);
        let access = match reviewed {
            true => Access::Reviewed(Reviews::new(&client)),
            false => Access::Local,
        };
        let mut registry = metrics::registry();
        let requests = Requests::new(&mut registry);
        caches.register(&mut registry);
        access.register(&mut registry);
        let ready =
            Readiness { caches: caches.clone(), health: Some(health.clone()), hooks: Vec::new() };
        let options = settings.options;
        let state = kubeflow::State { client, caches, access, health: Some(health), options };
        let probes = listener::ops_router(move || ready.missing(), registry);
        let api = kubeflow::before(probes.fallback(listeners::nothing), state);
        let api = protect(api, settings.identity, settings.cors.clone());
        let stack = Stack::new("api", listeners::render).counted(&requests);
        let api = settings.cors.wrap(stack.wrap(api));
        let drain = Drain::new();
        let serving = tokio::spawn(listener.serve(api, Limits::default(), drain.clone()));
        Ok(Self { address, cluster: format!("the Kubernetes {version} at {url}"), drain, serving })
    }

    /// Which cluster it serves, in words.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Where it is, as this machine sees it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", listeners::reachable(self.address))
    }

    /// Serves until a signal, then lets open requests come to their end; another signal cuts that
    /// short.
    pub(crate) async fn stop(self, grace: Duration, mut signals: Signals) {
        signals.next().await;
        let hurry = async {
            signals.next().await;
            self.drain.stop(Duration::ZERO).await;
        };
        tokio::select! {
            _ = self.drain.stop(grace) => {}
            () = hurry => {}
        }
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener broke");
        }
    }
}

fn protect(api: impl Into<Handler>, identity: Option<HeaderSettings>, cors: Cors) -> Handler {
    match identity {
        Some(headers) => Door::new(ProxyHeaders::new(headers), listeners::render)
            .public(|method, path| PROBES.contains(&path) || is_open(method, path))
            .cors(cors)
            .protect(api),
        None => Door::new(Anybody, listeners::render).cors(cors).protect(api),
    }
}

/// All addresses, of both families where the machine has them.
async fn bind(port: u16) -> Result<Listener, Failure> {
    let both = listener::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).await;
    let bound = match both {
        Err(BindError::NotHere(_) | BindError::Io { .. }) => {
            listener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await
        }
        both => both,
    };
    bound.map_err(|error| Failure::new(error.to_string()).hint("choose another with --port PORT"))
}
