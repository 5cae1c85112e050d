//! What `up` and `serve` put together, in the order in which the parts need each other. They differ
//! in the cluster ([`place`]) and in who knows the callers ([`front`]), and in nothing else.

mod admission;
pub(crate) mod backend;
mod controller;
mod front;
mod listeners;
pub(crate) mod manager;
mod place;
pub(crate) mod webhooks;

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, time::Duration};

use cluster::admission::Reviews;
use hooks::admin::Gate;
use web::{
    listener::Drain,
    local::{self, Token},
    metrics::{self, Requests},
};
use workspaces::{Caches, dialect::kubeflow};

use self::{
    controller::Controller, front::Front, listeners::Listeners, place::Place, webhooks::Webhooks,
};
use crate::{
    endpoints::Endpoints,
    failure::Failure,
    kube_api::{self, KubeApi},
    permissions::Needed,
    seed,
    settings::Settings,
    signals::Signals,
};

/// How long open requests may go on after a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Everything that runs.
pub(crate) struct Server {
    settings: Settings,
    endpoints: Endpoints,
    front: Front,
    place: Place,
    controller: Option<Controller>,
    hooks: Option<hooks::server::Server>,
    receivers: Option<hooks::receivers::Server>,
    webhooks: Option<Webhooks>,
    drain: Drain,
}

impl Server {
    /// Starts all parts; afterwards the server can be used, and `endpoints.json` says so.
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failure> {
        // The lock on a data directory comes first: nothing else may touch it.
        let reviews = Reviews::default();
        let mut place = Place::open(&settings, &reviews).await?;
        match Self::on(&mut place, settings, reviews).await {
            Ok(started) => Ok(started.with(place)),
            Err(failure) => {
                place.abandon().await;
                Err(failure)
            }
        }
    }

    async fn on(
        place: &mut Place,
        settings: Settings,
        reviews: Reviews,
    ) -> Result<Started, Failure> {
        let token = match &settings.data_dir {
            Some(dir) if front::wants_token(&settings) => {
                own_directory(dir)?;
                Some(Token::load_or_create(dir).map_err(Failure::of)?)
            }
            _ => None,
        };
        let listeners = Listeners::bind(&settings).await?;
        let kube = KubeApi::bind(&settings).await?;
        let admission = webhooks::bind(settings.admission.as_ref()).await?;
        let client = place.client().clone();
        prepare(place, &settings).await?;
        let hooks = crate::hooks::start(settings.hooks.as_ref(), &client).await?;
        let receivers = settings.receivers.as_ref();
        let receivers = crate::hooks::start_receivers(receivers, hooks.as_ref(), &client).await?;

        let caches = Caches::start(&client);
        let drain = Drain::new();
        let mut registry = metrics::registry();
        let requests = Requests::new(&mut registry);
        caches.register(&mut registry);
        let mut endpoints = listeners.endpoints(token.as_ref());
        endpoints.kube = kube.as_ref().map(KubeApi::url);
        let front = Front::new(&settings, &client, token);
        let access = front.access(&client);
        access.register(&mut registry);
        let address = hooks.as_ref().map(|hooks| listeners::reachable(hooks.address()));
        let secure = settings.hooks.as_ref().and_then(|one| one.options.certificate_dir.as_ref());
        let scheme = if secure.is_some() { "https" } else { "http" };
        endpoints.hooks = address.map(|address| format!("{scheme}://{address}"));
        let admin = hooks.as_ref().map(|hooks| {
            let url = settings.hooks.as_ref().and_then(|hooks| hooks.options.url.clone());
            let gate = Gate::Objects(access.clone());
            hooks.admin(gate, url.or_else(|| endpoints.hooks.clone()))
        });
        let counting = crate::hooks::counting(hooks.as_ref(), receivers.as_ref());
        hooks::admin::register(counting.clone(), &mut registry);
        let counted = workspaces::controller::Metrics::default();
        counted.register(&mut registry);
        reviews.register(&mut registry);
        let ready = listeners::Readiness {
            caches: caches.clone(),
            health: place.health(),
            hooks: counting.clone(),
        };
        let listeners = listeners.serve_ops(&front, ready, registry, &drain);
        caches.ready().await;
        place.start_node(&settings).await?;
        let controller = Controller::start(&settings, place, &caches, counted);

        let webhooks = match (admission, &settings.admission) {
            (Some(listener), Some(wanted)) => {
                let (options, namespace) = (wanted.into(), place.pod_namespace());
                let (parts, meters) = ((&client, &caches, &drain), (&requests, &reviews));
                Some(Webhooks::start(listener, options, namespace, parts, meters).await?)
            }
            _ => None,
        };
        let state = kubeflow::State {
            client: client.clone(),
            caches,
            access,
            health: place.health(),
            options: kubeflow::Options::default(),
        };
        listeners.serve(state, admin, &front, &settings.connect, &requests, &drain);
        if let (Some(kube), Some(cluster)) = (kube, place.own()) {
            kube.serve(cluster, &drain)?;
        }
        if let Some(dir) = &settings.data_dir {
            endpoints.write(dir).map_err(|error| {
                Failure::new(format!("cannot write run/endpoints.json: {error}"))
            })?;
        }
        Ok(Started { settings, endpoints, front, controller, hooks, receivers, webhooks, drain })
    }

    /// What it runs with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where it is.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Which cluster it serves, in words.
    pub(crate) fn describe(&self) -> String {
        self.place.describe()
    }

    /// The address that signs a browser in, where that is our business.
    pub(crate) fn start_url(&self) -> Result<Option<String>, Failure> {
        let Some(local) = self.front.local() else { return Ok(None) };
        local::start_url(local, &self.endpoints.api)
            .map(Some)
            .map_err(|error| Failure::new(error.message().to_owned()))
    }

    /// Ends everything, within a grace that another signal cuts short.
    pub(crate) async fn stop(self, mut signals: Signals) {
        if let Some(dir) = &self.settings.data_dir {
            Endpoints::remove(dir);
            if self.settings.kube.is_some() {
                kube_api::remove_kubeconfig(dir);
            }
        }
        let Self { drain, controller, hooks, receivers, webhooks, mut place, .. } = self;
        let hurry = place.hurry();
        let ending = async {
            drain.stop(DRAIN).await;
            if let Some(hooks) = hooks {
                hooks.stop().await;
            }
            if let Some(receivers) = receivers {
                receivers.stop().await;
            }
            if let Some(controller) = controller {
                controller.stop().await;
            }
            if let Some(webhooks) = webhooks {
                webhooks.stop().await;
            }
            place.stop_node().await;
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
        place.abandon().await;
    }
}

/// All parts but the cluster.
struct Started {
    settings: Settings,
    endpoints: Endpoints,
    front: Front,
    controller: Option<Controller>,
    hooks: Option<hooks::server::Server>,
    receivers: Option<hooks::receivers::Server>,
    webhooks: Option<Webhooks>,
    drain: Drain,
}

impl Started {
    fn with(self, place: Place) -> Server {
        let Self { settings, endpoints, front, controller, hooks, receivers, webhooks, drain } =
            self;
        Server { settings, endpoints, front, place, controller, hooks, receivers, webhooks, drain }
    }
}

/// Makes the data directory, for its owner alone.
fn own_directory(dir: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::new(format!("cannot make the directory {}: {error}", dir.display()))
            .hint("choose another directory with --data-dir DIR")
    })
}

/// Makes sure that the cluster lets us work and has what we work with.
async fn prepare(place: &Place, settings: &Settings) -> Result<(), Failure> {
    let client = place.client();
    if !place.is_own() {
        Needed::by(settings).check(client, place.namespace(settings)).await?;
    }
    let of_hooks = settings.hooks.is_some().then(hooks::crds);
    let definitions = workspaces::crds().chain(of_hooks.into_iter().flatten());
    if settings.definitions {
        cluster::crds::install(client, definitions).await.map_err(|error| {
            Failure::of(error).hint(
                "somebody who may write customresourcedefinitions can apply what `quartermaster \
                 crds` prints",
            )
        })?;
    } else {
        cluster::crds::served(client, definitions).await.map_err(|error| {
            Failure::of(error)
                .hint("apply what `quartermaster crds` prints, or install.definitions")
        })?;
    }
    if place.is_own() {
        seed::basics(client).await.map_err(Failure::of)?;
    }
    if settings.samples {
        seed::samples(client, place.namespace(settings)).await.map_err(Failure::of)?;
    }
    Ok(())
}
