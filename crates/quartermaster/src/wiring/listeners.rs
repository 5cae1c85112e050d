//! The listeners: their addresses, and what each serves.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use cluster::client::Health;
use hooks::{admin::Admin, receive::Receiver};
use prometheus_client::registry::Registry;
use web::{
    Error, Handler, Head, Kind,
    listener::{self, Drain, Limits, Listener, Stack},
    local::{self, Token},
    metrics::Requests,
};
use workspaces::{
    Caches,
    connect::{self, Live, Place, Secrets},
    dialect::kubeflow,
};

use super::front::Front;
use crate::{config::Connect, endpoints::Endpoints, failure::Failure, settings::Settings, ui};

/// The addresses of all listeners, taken before anything runs that would have to be undone.
pub(super) struct Listeners {
    api: Listener,
    apps: Listener,
    ops: Listener,
}

/// What has to be there before requests can be answered.
pub(super) struct Readiness {
    pub(super) caches: Caches,
    /// Of a cluster elsewhere. Without its API reads go on, and yet another replica may be better
    /// off.
    pub(super) health: Option<Health>,
    /// Where webhooks come in.
    pub(super) hooks: Vec<Arc<Receiver>>,
}

impl Readiness {
    pub(super) fn missing(&self) -> Option<String> {
        if let Some(trouble) = self.health.as_ref().and_then(Health::trouble) {
            return Some(trouble);
        }
        if !self.caches.is_ready() {
            return Some("the caches".to_owned());
        }
        let keep = self.hooks.iter().all(|receiver| receiver.keeps());
        (!keep).then(|| "the journal of webhooks".to_owned())
    }
}

impl Listeners {
    pub(super) async fn bind(settings: &Settings) -> Result<Self, Failure> {
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

    pub(super) fn endpoints(&self, token: Option<&Token>) -> Endpoints {
        Endpoints {
            api: url(&self.api),
            apps: url(&self.apps),
            hooks: None,
            ops: url(&self.ops),
            kube: None,
            token: token.map(|token| token.expose().to_owned()),
            pid: std::process::id(),
        }
    }

    /// Serves the probes, which tell how the start goes on, and what is counted.
    pub(super) fn serve_ops(
        self,
        front: &Front,
        ready: Readiness,
        registry: Registry,
        drain: &Drain,
    ) -> Rest {
        let port = self.ops.address().port();
        let ops = listener::ops_router(move || ready.missing(), registry);
        let ops = Stack::new("ops", render).wrap(front.protect_ops(ops, port, render));
        tokio::spawn(self.ops.serve(ops, Limits::default(), drain.clone()));
        Rest { api: self.api, apps: self.apps }
    }
}

/// The listeners that need all parts.
pub(super) struct Rest {
    api: Listener,
    apps: Listener,
}

impl Rest {
    /// Serves them until the drain stops.
    pub(super) fn serve(
        self,
        state: kubeflow::State,
        hooks: Option<Arc<Admin>>,
        front: &Front,
        urls: &Connect,
        requests: &Requests,
        drain: &Drain,
    ) {
        let place = |url: &Option<String>, listener: &Listener| {
            url.clone().map_or(Place::Port(listener.address().port()), Place::Url)
        };
        let options = connect::Options {
            front: front.connect(),
            api: place(&urls.api_url, &self.api),
            apps: place(&urls.apps_url, &self.apps),
            limits: connect::Limits::default(),
            drain: drain.clone(),
        };
        let (client, caches) = (state.client.clone(), state.caches.clone());
        let backend = Arc::new(Live::new(client, caches, state.access.clone(), Secrets::Own));

        let api = ui::router();
        let api = match front.local() {
            Some(local) => api.merge(local::routes(local.clone(), url(&self.api), render)),
            None => api,
        };
        let protect = |api: Handler| {
            // Below the base of the dialect, which answers for all that it does not know there.
            let api = match hooks {
                Some(hooks) => api.beside(hooks::admin::ROOT, hooks::admin::router(hooks)),
                None => api,
            };
            front.protect_api(api, self.api.address().port(), render)
        };
        let stack = Stack::new("api", render).counted(requests);
        let api = if urls.shared_host {
            // Streams have no limits of size and time, so they have a stack of their own.
            let shared = connect::shared_router(Arc::clone(&backend), options.clone());
            let shared = Stack::streaming("apps", connect::render)
                .counted(requests)
                .wrap(front.protect_apps(shared));
            let api = kubeflow::before(api.fallback(nothing), state);
            front.cors().wrap(stack.wrap(protect(api))).beside(connect::ROOT, shared)
        } else {
            let connect = connect::api_router(Arc::clone(&backend), options.clone());
            let api = kubeflow::before(api.merge(connect).fallback(nothing), state);
            front.cors().wrap(stack.wrap(protect(api)))
        };
        let apps = front.protect_apps(connect::apps_router(backend, options));
        let apps = Stack::streaming("apps", connect::render).counted(requests).wrap(apps);

        tokio::spawn(self.api.serve(api, Limits::default(), drain.clone()));
        tokio::spawn(self.apps.serve(apps, Limits::default(), drain.clone()));
    }
}

/// How these listeners word what goes wrong outside of the dialects.
pub(super) fn render(error: &Error, _: &Head) -> Response {
    kubeflow::reject(error).into_response()
}

pub(super) async fn nothing(request: Request) -> Response {
    let (parts, _) = request.into_parts();
    render(&Error::new(Kind::NotFound, "there is nothing at this address"), &Head::of(&parts))
}

fn url(listener: &Listener) -> String {
    format!("http://{}", reachable(listener.address()))
}

/// An address that a client can connect to, also when all addresses are listened at.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
