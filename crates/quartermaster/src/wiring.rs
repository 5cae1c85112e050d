//! What `up` puts together, in the order in which the parts need each other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use cluster::Access;
use embedded::{
    Cluster, OpenError,
    node::{Logs, Node, NodeOptions},
};
use http::Method;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::{
    Error, Head, Kind,
    listener::{self, Drain, Limits, Listener, Stack},
    local::{self, Guard, Local, Token},
};
use workspaces::{
    Caches,
    connect::{self, Live, Secrets},
    controller,
    dialect::kubeflow,
};

use crate::{
    cli::Auth, endpoints::Endpoints, failure::Failure, images, seed, settings::Settings,
    signals::Signals, ui,
};

/// How long open requests may go on after a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the programs of workspaces have to end by themselves.
const PODS: Duration = Duration::from_secs(10);

/// Everything that runs.
pub(crate) struct Server {
    settings: Settings,
    local: Local,
    origin: String,
    cluster: Cluster,
    drain: Drain,
    node: Node,
    controller: Controller,
}

impl Server {
    /// Starts all parts; afterwards the server can be used, and `endpoints.json` says so.
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failure> {
        // The lock on the directory comes first: nothing else may touch it.
        let options = embedded::Options::new(&settings.data_dir);
        let cluster = Cluster::open(options).await.map_err(|error| unusable(&error))?;
        let started = Self::on(cluster.clone(), settings).await;
        if started.is_err() {
            cluster.shutdown().await;
        }
        started
    }

    async fn on(cluster: Cluster, settings: Settings) -> Result<Self, Failure> {
        let token = Token::load_or_create(&settings.data_dir).map_err(broken)?;
        let listeners = Listeners::bind(&settings).await?;
        let client = cluster.client();
        cluster::crds::install(&client, &workspaces::crds()).await.map_err(broken)?;
        seed::seed(&client).await.map_err(broken)?;
        let caches = Caches::start(&client);
        caches.ready().await;
        cluster.set_log_source(Arc::new(Logs::new(&settings.data_dir)));
        let node = start_node(&client, &settings).await?;
        let controller = Controller::start(&client, &caches);

        let local = match settings.auth {
            Auth::Local => Local::new(token.clone()),
            Auth::None => Local::without_auth(token.clone()),
        };
        let drain = Drain::new();
        let endpoints = listeners.endpoints(&token);
        let origin = endpoints.api.clone();
        let state = kubeflow::State {
            client,
            caches,
            access: Access::Local,
            options: kubeflow::Options::default(),
        };
        listeners.serve(state, &local, &drain);
        endpoints
            .write(&settings.data_dir)
            .map_err(|error| Failure::new(format!("cannot write run/endpoints.json: {error}")))?;
        Ok(Self { settings, local, origin, cluster, drain, node, controller })
    }

    /// The address that signs a browser in.
    pub(crate) fn start_url(&self) -> Result<String, Failure> {
        local::start_url(&self.local, &self.origin)
            .map_err(|error| Failure::new(error.message().to_owned()))
    }

    /// Ends everything, within a grace that another signal cuts short.
    pub(crate) async fn stop(self, mut signals: Signals) {
        Endpoints::remove(&self.settings.data_dir);
        let (drain, hurry) = (self.drain, self.node.hurry());
        let ending = async {
            drain.stop(DRAIN).await;
            self.controller.stop().await;
            self.node.shutdown(PODS).await;
        };
        let hurrying = async {
            signals.next().await;
            hurry.cancel();
            drain.stop(Duration::ZERO).await;
            // Only the end is left to wait for.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = ending => {}
            () = hurrying => {}
        }
        self.cluster.shutdown().await;
    }
}

/// The task that makes workspaces run.
struct Controller {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Controller {
    fn start(client: &kube::Client, caches: &Caches) -> Self {
        let stop = CancellationToken::new();
        let options = controller::Options { connect_secret: true, ..Default::default() };
        let task = controller::run(client.clone(), caches.clone(), options, stop.clone());
        Self { task: tokio::spawn(task), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the controller of workspaces broke");
        }
    }
}

/// The part that runs pods, with this very program as the parent of their processes.
async fn start_node(client: &kube::Client, settings: &Settings) -> Result<Node, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot tell which program this is: {error}")))?;
    let images = images::table(settings.images.clone(), &program).map_err(broken)?;
    let options = NodeOptions::new(settings.data_dir.clone(), images, program);
    Node::start(client.clone(), options).await.map_err(broken)
}

/// The addresses of all listeners, taken before anything runs that would have to be undone.
struct Listeners {
    api: Listener,
    apps: Listener,
    ops: Listener,
}

impl Listeners {
    async fn bind(settings: &Settings) -> Result<Self, Failure> {
        let bind = async |address, flag: &str| {
            listener::bind(address).await.map_err(|error| {
                Failure::new(error.to_string())
                    .hint(format!("choose another with {flag} ADDR; port 0 takes a free one"))
            })
        };
        Ok(Self {
            api: bind(settings.api, "--listen").await?,
            apps: bind(settings.apps, "--apps-listen").await?,
            ops: bind(settings.ops, "--ops-listen").await?,
        })
    }

    fn endpoints(&self, token: &Token) -> Endpoints {
        let url = |listener: &Listener| format!("http://{}", reachable(listener.address()));
        Endpoints {
            api: url(&self.api),
            apps: url(&self.apps),
            ops: url(&self.ops),
            token: token.expose().to_owned(),
            pid: std::process::id(),
        }
    }

    fn serve(self, state: kubeflow::State, local: &Local, drain: &Drain) {
        let ports = (self.api.address().port(), self.ops.address().port());
        let origin = format!("http://{}", reachable(self.api.address()));
        let caches = state.caches.clone();
        let connect = connect::Options {
            local: local.clone(),
            api_port: self.api.address().port(),
            apps_port: self.apps.address().port(),
            limits: connect::Limits::default(),
            drain: drain.clone(),
        };
        let backend = Arc::new(Live::new(
            state.client.clone(),
            caches.clone(),
            state.access.clone(),
            Secrets::Own,
        ));

        let api = kubeflow::router(state)
            .merge(ui::router())
            .merge(local::routes(local.clone(), origin, render))
            .merge(connect::api_router(backend.clone(), connect.clone()))
            .fallback(nothing);
        let api = Guard::new(local.clone(), ports.0, render)
            .pages(|_, path| path == "/" || path.starts_with("/workspace/connect/"))
            .public(is_public)
            .protect(api);
        let api = Stack::new("api", render).wrap(api);

        let apps = connect::apps_router(backend, connect);
        let apps = Stack::streaming("apps", connect::render).wrap(apps);

        let missing = move || (!caches.is_ready()).then(|| "the caches".to_owned());
        let ops = Guard::new(local.clone(), ports.1, render)
            .public(|_, path| path == "/livez" || path == "/readyz")
            .protect(listener::ops_router(missing));
        let ops = Stack::new("ops", render).wrap(ops);

        tokio::spawn(self.api.serve(api, Limits::default(), drain.clone()));
        tokio::spawn(self.apps.serve(apps, Limits::default(), drain.clone()));
        tokio::spawn(self.ops.serve(ops, Limits::default(), drain.clone()));
    }
}

/// What holds no secret: the page's own files, and whether the server works.
fn is_public(method: &Method, path: &str) -> bool {
    method.is_safe() && (path == "/api/v1/healthcheck" || path.starts_with("/assets/"))
}

/// How this listener words what goes wrong outside of the dialects.
fn render(error: &Error, _: &Head) -> Response {
    kubeflow::reject(error).into_response()
}

async fn nothing(request: Request) -> Response {
    let (parts, _) = request.into_parts();
    render(&Error::new(Kind::NotFound, "there is nothing at this address"), &Head::of(&parts))
}

/// An address that a client can connect to, also when all addresses are listened at.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A part that did not start, with all that is known about it.
fn broken(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Failure::new(text)
}

fn unusable(error: &OpenError) -> Failure {
    let failure = broken(error);
    match error {
        OpenError::InUse { .. } => failure.hint(
            "Quartermaster runs there already: `quartermaster open` prints its address; or choose \
             another directory with --data-dir DIR",
        ),
        OpenError::Io { .. } => failure.hint("choose another directory with --data-dir DIR"),
        _ => failure,
    }
}
