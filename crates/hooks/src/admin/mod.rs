//! For operators: what came in, what became of it, do it again (contract §3.10).
//!
//! [`Admin`] knows everything about one receiver; [`router`] is its API, to be mounted behind
//! whatever knows the callers of the listener. [`Gate`] says who of them may see and do what: who
//! may read a `Hook` sees its deliveries, who may change it makes them again. Payloads and secrets
//! are shown to nobody who may not change the hook.

mod answer;
mod deliveries;
mod endpoints;
mod gate;
mod metrics;
mod stream;
mod token;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, post},
};
use kube::Client;
use prometheus_client::registry::Registry;

pub use self::{
    gate::Gate,
    metrics::register,
    token::{Readiness, listener},
};
use crate::{
    journal::{Journal, Unavailable},
    receive::Receiver,
};

/// Where the API is.
const PREFIX: &str = "/api/v1/hooks";
/// What all paths of it begin with.
pub const ROOT: &str = "/api/v1/hooks/";

/// See the module.
pub struct Admin {
    receiver: Arc<Receiver>,
    gate: Gate,
    /// The `Hook` objects, if there are any: what changes an endpoint for good is written there.
    hooks: Option<Client>,
    /// What goes before the paths of endpoints.
    url: Option<String>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// For the endpoints of this receiver, which senders reach at `url`.
    pub fn new(receiver: Arc<Receiver>, gate: Gate, url: Option<String>) -> Self {
        let url = url.map(|url| url.trim_end_matches('/').to_owned());
        Self { receiver, gate, hooks: None, url }
    }

    /// The same for `Hook` objects of this cluster.
    #[must_use]
    pub fn with_objects(self, client: Client) -> Self {
        Self { hooks: Some(client), ..self }
    }

    /// Lets a registry show what is counted.
    pub fn register(&self, registry: &mut Registry) {
        metrics::register(vec![Arc::clone(&self.receiver)], registry);
    }

    fn journal(&self) -> Option<Journal> {
        self.receiver.journal()
    }
}

/// What keeps a receiver from keeping its word.
pub(crate) fn trouble(receiver: &Receiver) -> Option<String> {
    (!receiver.keeps()).then(|| Unavailable.to_string())
}

/// All routes. Callers are known by the [`web::Identity`] in the request's extensions.
pub fn router(admin: Arc<Admin>) -> Router {
    let routes = Router::new()
        .route("/endpoints", get(endpoints::list))
        // Names may hold a slash, so what is done follows them.
        .route("/endpoints/{*rest}", post(endpoints::act))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::one))
        .route("/deliveries/{id}/redeliver", post(deliveries::redeliver))
        .route("/redeliver", post(deliveries::redeliver_all))
        .route("/deadletters", get(deliveries::dead))
        .route("/deadletters/{id}", delete(deliveries::forget))
        .route("/stream", get(stream::stream))
        .method_not_allowed_fallback(answer::no_method)
        .fallback(answer::no_route)
        .with_state(admin);
    Router::new().nest(PREFIX, routes)
}
