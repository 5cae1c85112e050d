//! The health of the process, for whatever supervises it.

use std::sync::Arc;

use axum::{Router, routing::get};
use http::StatusCode;

/// `/livez` answers while the process runs; `/readyz` answers 200 once `missing` names nothing that
/// is still to come, else 503 with that text.
pub fn ops_router<F>(missing: F) -> Router
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
