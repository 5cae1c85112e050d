//! The `api` side: connect paths lead to the `apps` listener, for those who may connect.

use std::sync::Arc;

use axum::{Extension, Router, body::Body, extract::State, response::Response, routing::any};
use http::{Method, Request, StatusCode, header, uri::Authority};
use web::{Client, Error, Head, Identity, Kind, local::without_query};

use super::{
    Backend, Front, Options, Port, TICKET, TICKET_LIFETIME,
    apps::redirect,
    path::ConnectPath,
    respond::{Reader, render},
    scope,
};

struct Api<B> {
    backend: Arc<B>,
    options: Options,
}

/// `/workspace/connect/…` on the `api` listener. It expects an [`Identity`] in the extensions.
pub fn api_router<B: Backend>(backend: Arc<B>, options: Options) -> Router {
    Router::new()
        .route("/workspace/connect/{*path}", any(handle::<B>))
        .with_state(Arc::new(Api { backend, options }))
}

async fn handle<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Option<Extension<Identity>>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let head = Head::of(&parts);
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let path = ConnectPath::parse(head.uri.path());
    let (Some(path), Some(host)) = (path, host) else {
        return render(&Error::new(Kind::NotFound, "there is nothing at this address"), &head);
    };
    let Some(Extension(caller)) = caller else {
        return render(&Error::new(Kind::Unauthenticated, "nobody is signed in"), &head);
    };
    if let Err(error) = api.backend.authorise(&caller, path.namespace, path.workspace).await {
        return render(&error, &head);
    }
    let reader = Reader { client: head.client, path, home: "/".to_owned() };
    let Some(found) = api.backend.find(path.namespace, path.workspace, path.port) else {
        return reader.no_workspace();
    };
    if matches!(found.port, Port::Unknown) {
        return reader.no_port();
    }
    api.lead_on(&head, &host, path, &found.uid)
}

impl<B> Api<B> {
    /// Browsers get a ticket for this one workspace. Programs keep the token, which they send to
    /// `apps` themselves, so a ticket would only lie about in their logs.
    fn lead_on(&self, head: &Head, host: &Authority, path: ConnectPath<'_>, uid: &str) -> Response {
        let target = without_query(&head.uri, TICKET);
        let target = self.options.apps.address(host, &target);
        let navigates = head.client == Client::Browser && head.method == Method::GET;
        let local = match &self.options.front {
            Front::Local(local) if navigates && local.wants_proof() => local,
            _ => return redirect(StatusCode::TEMPORARY_REDIRECT, &target),
        };
        let scope = scope(path.namespace, path.workspace, uid);
        match local.ticket(scope, TICKET_LIFETIME) {
            Ok(ticket) => {
                let sign = if target.contains('?') { '&' } else { '?' };
                redirect(StatusCode::SEE_OTHER, &format!("{target}{sign}{TICKET}={ticket}"))
            }
            Err(error) => render(&error, head),
        }
    }
}
