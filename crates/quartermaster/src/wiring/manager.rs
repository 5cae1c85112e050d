//! The controller of workspaces with its admission webhooks alone, on a cluster that is there: what
//! `quartermaster as workspaces-controller` puts together.

use std::time::Duration;

use axum::{Router, routing::get};
use cluster::{
    admission::{
        Reviews,
        certificates::{self, Kept},
    },
    client::{self, Connected, Target},
    lease::{self, Lease, Timing},
};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::{
    listener::{self, BindError, Drain, Limits, Listener, Stack, Tls},
    metrics::{self, Requests},
};
use workspaces::{Caches, controller};

use super::{
    listeners::{self, Readiness},
    webhooks::{self, Webhooks},
};
use crate::{cli::Place, failure::Failure, permissions::Needed, signals::Signals};

/// The lease of the original.
const LEASE: &str = "kubeflow-workspace-controller";
/// How often a certificate that is kept in memory only is looked at.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What it runs with, complete and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) target: Target,
    pub(crate) metrics: Option<Place>,
    pub(crate) metrics_secure: bool,
    pub(crate) http2: bool,
    pub(crate) probes: Option<Place>,
    pub(crate) leader_elect: bool,
    pub(crate) webhook_address: Option<Place>,
    pub(crate) webhooks: Option<webhooks::Options>,
    pub(crate) options: controller::Options,
}

/// The running controller.
pub(crate) struct Manager {
    cluster: String,
    urls: Vec<(&'static str, String)>,
    controller: JoinHandle<()>,
    webhooks: Option<Webhooks>,
    drain: Drain,
    stop: CancellationToken,
}

impl Manager {
    /// Starts it. With a lease it may have to stand by; its webhooks answer all the same.
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failure> {
        let probes = bind(settings.probes, "--health-probe-bind-address").await?;
        let metrics = bind(settings.metrics, "--metrics-bind-address").await?;
        let admission = bind(settings.webhook_address, "--webhook-bind-address").await?;
        let urls = [("Probes", "http", &probes), ("Metrics", "http", &metrics)];
        let mut urls: Vec<_> = urls.into_iter().filter_map(url).collect();
        urls.extend(url(("Webhooks", "https", &admission)));
        let connected = client::connect(&settings.target, None).await.map_err(|error| {
            let hint = error.hint();
            Failure::of(error).hint(hint)
        })?;
        let Connected { client, health, url, version, namespace } = connected;
        let certificates = settings.webhooks.as_ref().map(|webhooks| &webhooks.certificates);
        Needed::by_controller(&settings.options, settings.leader_elect, certificates)
            .check(&client, &namespace)
            .await?;
        cluster::crds::served(&client, workspaces::crds())
            .await
            .map_err(|error| Failure::of(error).hint("apply what `quartermaster crds` prints"))?;

        let caches = Caches::of_controller(&client);
        let (drain, stop) = (Drain::new(), CancellationToken::new());
        let mut registry = metrics::registry();
        let requests = Requests::new(&mut registry);
        caches.register(&mut registry);
        settings.options.metrics.register(&mut registry);
        let reviews = Reviews::default();
        reviews.register(&mut registry);
        let ready = Readiness { caches: caches.clone(), health: Some(health), hooks: Vec::new() };
        if let Some(listener) = probes {
            let router = listener::probes(move || ready.missing());
            let router = router.route("/healthz", get(|| async { "ok" }));
            serve(listener, "probes", router, &drain);
        }
        if let Some(listener) = metrics {
            let listener = match settings.metrics_secure {
                true => listener.with_tls(self_signed(settings.http2, &stop)?),
                false => listener,
            };
            serve(listener, "metrics", listener::metrics_router(registry), &drain);
        }
        let webhooks = match (admission, settings.webhooks) {
            (Some(listener), Some(options)) => {
                let (parts, meters) = ((&client, &caches, &drain), (&requests, &reviews));
                Some(Webhooks::start(listener, options, &namespace, parts, meters).await?)
            }
            _ => None,
        };
        let work = {
            let (client, options) = (client.clone(), settings.options);
            move |stop| controller::run(client.clone(), caches.clone(), options.clone(), stop)
        };
        let controller = match settings.leader_elect {
            false => tokio::spawn(work(stop.clone())),
            true => {
                let timing = Timing::default();
                let lease = Lease::new(&client, &namespace, LEASE, lease::holder(), timing);
                let stop = stop.clone();
                tokio::spawn(async move { lease.run(stop, work).await })
            }
        };
        let cluster = format!("the Kubernetes {version} at {url}");
        Ok(Self { cluster, urls, controller, webhooks, drain, stop })
    }

    /// Which cluster it serves, in words.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What it listens at, as this machine sees it.
    pub(crate) fn urls(&self) -> &[(&'static str, String)] {
        &self.urls
    }

    /// Works until a signal, then lets reconciles and open requests come to their end and gives the
    /// lease back; another signal cuts that short.
    pub(crate) async fn stop(self, grace: Duration, mut signals: Signals) {
        signals.next().await;
        self.stop.cancel();
        let ending = async {
            // Who takes over may need the webhooks of this one for a moment longer.
            if let Err(error) = self.controller.await {
                tracing::error!(%error, "the controller of workspaces broke");
            }
            self.drain.stop(grace).await;
            if let Some(webhooks) = self.webhooks {
                webhooks.stop().await;
            }
        };
        tokio::select! {
            () = ending => {}
            () = signals.next() => {}
        }
    }
}

fn url(
    (what, scheme, listener): (&'static str, &str, &Option<Listener>),
) -> Option<(&'static str, String)> {
    let address = listeners::reachable(listener.as_ref()?.address());
    Some((what, format!("{scheme}://{address}")))
}

fn serve(listener: Listener, name: &'static str, router: Router, drain: &Drain) {
    let router = Stack::new(name, listeners::render).wrap(router.fallback(listeners::nothing));
    tokio::spawn(listener.serve(router, Limits::default(), drain.clone()));
}

async fn bind(place: Option<Place>, flag: &str) -> Result<Option<Listener>, Failure> {
    let Some(place) = place else { return Ok(None) };
    let mut last = None;
    for address in place.addresses() {
        match listener::bind(address).await {
            Ok(listener) => return Ok(Some(listener)),
            Err(error @ (BindError::NotHere(_) | BindError::Io { .. })) => last = Some(error),
            Err(error) => {
                last = Some(error);
                break;
            }
        }
    }
    let text = last.map_or_else(String::new, |error| error.to_string());
    Err(Failure::new(text).hint(format!("choose another with {flag} ADDR")))
}

/// A certificate that nobody is told to trust, as the original has it for its metrics.
fn self_signed(http2: bool, stop: &CancellationToken) -> Result<Tls, Failure> {
    let names = vec!["localhost".to_owned()];
    let failed = |error: String| Failure::new(format!("cannot make a certificate: {error}"));
    let mut kept =
        Kept::new(&names, Timestamp::now()).map_err(|error| failed(error.to_string()))?;
    let pem = |kept: &Kept| {
        let pair = kept.current.clone();
        (pair.certificate, pair.key)
    };
    let (chain, key) = pem(&kept);
    let (chain, key) = (chain.as_bytes(), key.expose_secret().as_bytes());
    let tls = if http2 { Tls::with_http2(chain, key) } else { Tls::of_pem(chain, key) };
    let tls = tls.map_err(failed)?;
    let (renewed, stop) = (tls.clone(), stop.clone());
    tokio::spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(DAY)).await.is_some() {
            if let Ok(Some(next)) = certificates::next(Some(&kept), &names, Timestamp::now()) {
                let (chain, key) = pem(&next);
                if renewed.replace(chain.as_bytes(), key.expose_secret().as_bytes()).is_ok() {
                    kept = next;
                }
            }
        }
    });
    Ok(tls)
}
