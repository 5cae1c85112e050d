//! The `apps` listener: who may pass, then the way to the pod.
//!
//! Order: where the request comes from, which workspace it names, a ticket, the credential, the
//! right to connect, the port. Behind a proxy that knows the caller, the listener's door did the
//! first and the credential, and there are no tickets. Until the credential is known, a workspace that does not exist reads
//! like one that does.

use std::sync::Arc;

use axum::{Extension, Router, body::Body, extract::State, response::Response, routing::any};
use http::{HeaderValue, Method, Request, StatusCode, header, uri::Authority};
use web::{
    Client, Error, Head, Identity, Kind,
    listener::Peer,
    local::{Local, query_value, redirect_with_cookie, source, without_query},
};

use super::{
    Backend, Found, Front, Options, Port, TICKET, cookie,
    path::ConnectPath,
    proxy::{Passage, Proxy},
    respond::{Reader, render},
    scope,
};

struct Apps<B> {
    backend: Arc<B>,
    options: Options,
    proxy: Proxy,
}

/// The routes of the `apps` listener: the connect paths, and 404 for everything else.
pub fn apps_router<B: Backend>(backend: Arc<B>, options: Options) -> Router {
    Router::new().fallback(handle::<B>).with_state(Arc::new(Apps::new(backend, options)))
}

/// The connect paths alone, for a host that serves the API as well. What runs in a workspace is
/// then of one origin with the API: only where the proxy in front keeps them apart by other means.
pub fn shared_router<B: Backend>(backend: Arc<B>, options: Options) -> Router {
    Router::new()
        .route("/workspace/connect/{*path}", any(handle::<B>))
        .with_state(Arc::new(Apps::new(backend, options)))
}

async fn handle<B: Backend>(
    State(apps): State<Arc<Apps<B>>>,
    peer: Option<Extension<Peer>>,
    caller: Option<Extension<Identity>>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let head = Head::of(&parts);
    let path = ConnectPath::parse(head.uri.path());
    let host = match apps.options.front {
        Front::Local(_) => source::check(&parts, path.is_some()),
        Front::Identified => source::host(&parts),
    };
    let host = match host {
        Ok(host) => host,
        Err(error) => return render(&error, &head),
    };
    let Some(path) = path else {
        return render(&Error::new(Kind::NotFound, "there is nothing at this address"), &head);
    };
    let home = apps.api_address(&host, "/");
    let reader = Reader { client: head.client, path, home };
    let found = apps.backend.find(path.namespace, path.workspace, path.port);

    let caller = match &apps.options.front {
        Front::Identified => caller.map(|Extension(caller)| caller),
        Front::Local(local) => {
            let signed_in = apps.signed_in(local, &parts.headers, path, found.as_ref());
            if head.method == Method::GET
                && let Some(ticket) = query_value(&head.uri, TICKET)
            {
                let offer = (local, ticket.as_str());
                return apps.redeem(offer, &head, &host, &reader, found.as_ref(), signed_in);
            }
            signed_in.then(Identity::local)
        }
    };
    let Some(caller) = caller else { return apps.turn_away(&head, &host) };
    if let Err(error) = apps.backend.authorise(&caller, path.namespace, path.workspace).await {
        return render(&error, &head);
    }
    let Some(found) = found else { return reader.no_workspace() };
    let target = match &found.port {
        Port::Unknown => return reader.no_port(),
        Port::Closed(closed) => return reader.closed(closed),
        Port::Open(target) => target,
    };
    if path.rest.is_empty() {
        return add_slash(&head);
    }
    let secret = match apps.backend.secret(path.namespace, path.workspace, &found.uid).await {
        Ok(secret) => secret,
        Err(error) => return render(&error, &head),
    };
    let peer = peer.map(|Extension(Peer(address))| address.ip());
    let passage = Passage { path, host: &host, peer, secret, target };
    match apps.proxy.pass(parts, body, passage).await {
        Ok(response) => response,
        Err(failure) => {
            tracing::debug!(request = ?head, error = %chain(&failure), "a workspace did not answer");
            reader.failed(&failure)
        }
    }
}

impl<B: Backend> Apps<B> {
    fn new(backend: Arc<B>, options: Options) -> Self {
        let proxy = Proxy::new(options.limits, options.drain.clone());
        Self { backend, options, proxy }
    }

    fn signed_in(
        &self,
        local: &Local,
        headers: &http::HeaderMap,
        path: ConnectPath<'_>,
        found: Option<&Found>,
    ) -> bool {
        let by_cookie = || {
            found.is_some_and(|found| {
                let port = self.options.apps.port();
                cookie(port, path.namespace, path.workspace, &found.uid).is_in(local, headers)
            })
        };
        !local.wants_proof() || local.bearer(headers) || by_cookie()
    }

    /// Turns a ticket into a cookie for this workspace's path.
    fn redeem(
        &self,
        (local, ticket): (&Local, &str),
        head: &Head,
        host: &Authority,
        reader: &Reader<'_>,
        found: Option<&Found>,
        signed_in: bool,
    ) -> Response {
        let clean = without_query(&head.uri, TICKET);
        let path = reader.path;
        let good = found.filter(|found| {
            let scope = scope(path.namespace, path.workspace, &found.uid);
            local.redeem(&scope, ticket)
        });
        match good {
            Some(found) => {
                let port = self.options.apps.port();
                let cookie = cookie(port, path.namespace, path.workspace, &found.uid);
                redirect_with_cookie(&clean, cookie.issue(local))
            }
            // Going back in the browser's history shows the ticket again; that is no fault.
            None if signed_in => redirect(StatusCode::SEE_OTHER, &clean),
            None => reader.used_ticket(&self.api_address(host, &clean)),
        }
    }

    /// A browser without a cookie gets one by way of `api`, which knows it; programs read an error.
    fn turn_away(&self, head: &Head, host: &Authority) -> Response {
        if matches!(self.options.front, Front::Identified) {
            return render(&Error::new(Kind::Unauthenticated, "nobody is signed in"), head);
        }
        if head.client == Client::Browser && head.method == Method::GET {
            let target = self.api_address(host, &without_query(&head.uri, TICKET));
            return redirect(StatusCode::SEE_OTHER, &target);
        }
        let text = "send the token of the data directory as `Authorization: Bearer`, or open the \
                    workspace from the list";
        render(&Error::new(Kind::Unauthenticated, text), head)
    }

    /// An address on the `api` listener.
    fn api_address(&self, host: &Authority, path: &str) -> String {
        self.options.api.address(host, path)
    }
}

fn add_slash(head: &Head) -> Response {
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    redirect(StatusCode::PERMANENT_REDIRECT, &format!("{}/{query}", head.uri.path()))
}

pub(super) fn redirect(status: StatusCode, target: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(target) = HeaderValue::from_str(target) {
        headers.insert(header::LOCATION, target);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
