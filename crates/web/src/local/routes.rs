//! Our own API for sessions: `POST /apis/quartermaster.io/v1alpha1/tickets` makes a start URL.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

use super::{Local, Proof, Scope};
use crate::{Client, Error, Head, Kind, Render};

/// Where start URLs are made.
pub const TICKETS_PATH: &str = "/apis/quartermaster.io/v1alpha1/tickets";

/// How long a start URL works.
pub const START_TICKET: Duration = Duration::from_secs(600);

struct Tickets {
    local: Local,
    origin: String,
    render: Render,
}

/// The routes for sessions. `origin` is the listener's own, such as `http://127.0.0.1:4000`.
pub fn routes(local: Local, origin: String, render: Render) -> Router {
    Router::new().route(TICKETS_PATH, post(create)).with_state(Arc::new(Tickets {
        local,
        origin,
        render,
    }))
}

/// An address that signs one browser in. It carries a fresh ticket, never the token.
pub fn start_url(local: &Local, origin: &str) -> Result<String, Error> {
    if !local.wants_proof() {
        return Ok(format!("{origin}/"));
    }
    Ok(format!("{origin}/?ticket={}", local.ticket(Scope::api(), START_TICKET)?))
}

/// Only the token makes tickets: a browser session cannot multiply itself.
async fn create(
    State(state): State<Arc<Tickets>>,
    method: Method,
    uri: Uri,
    proof: Option<Extension<Proof>>,
) -> Response {
    let made = match proof {
        Some(Extension(Proof::Bearer | Proof::Nothing)) => start_url(&state.local, &state.origin),
        Some(Extension(Proof::Cookie)) => {
            Err(Error::new(Kind::Forbidden, "only the token of the data directory makes tickets"))
        }
        None => Err(Error::new(Kind::Unauthenticated, "the token is missing")),
    };
    match made {
        Ok(url) => {
            let mut response = (StatusCode::CREATED, Json(json!({ "url": url }))).into_response();
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => (state.render)(&error, &Head { method, uri, client: Client::Program }),
    }
}
