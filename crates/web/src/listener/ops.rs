//! The health of the process and what it counts, for whatever supervises it.

use std::sync::Arc;

use axum::{Router, response::IntoResponse as _, routing::get};
use http::StatusCode;
use prometheus_client::registry::Registry;

use crate::metrics;

/// [`probes`] and [`metrics_router`] together.
pub fn ops_router<F>(missing: F, registry: Registry) -> Router
where
    F: Fn() -> Option<String> + Send + Sync + 'static,
{
    probes(missing).merge(metrics_router(registry))
}

/// `/livez` answers while the process runs; `/readyz` answers 200 once `missing` names nothing that
/// is still to come, else 503 with that text.
pub fn probes<F>(missing: F) -> Router
where
    F: Fn() -> Option<String> + Send + Sync + 'static,
{
    let missing = Arc::new(missing);
    let ready = move || async move {
        match missing() {
            None => (StatusCode::OK, "ok".to_owned()),
            Some(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {what}")),
        }
    };
    Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(ready))
}

/// `/metrics` tells what the registry holds.
pub fn metrics_router(registry: Registry) -> Router {
    let registry = Arc::new(registry);
    let counts = move || async move {
        metrics::answer(&registry).map_err(|error| {
            tracing::error!(error = %error.log(), "the metrics cannot be told");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
    };
    Router::new().route("/metrics", get(counts))
}
