//! Passing one request on to the pod of a workspace.

use std::{net::IpAddr, sync::Arc};

use axum::{body::Body, response::Response};
use http::{Request, StatusCode, Uri, header, request::Parts, uri::Authority};
use hyper::upgrade::OnUpgrade;
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use web::{listener::Drain, local::without_query};

use super::{
    Limits, TICKET, Target,
    headers::{self, Incoming, Outgoing},
    path::{ConnectPath, ROOT},
    stream::Watched,
    tunnel,
};

/// Idle connections that are kept per pod.
const IDLE_CONNECTIONS: usize = 16;

/// Why the program in the workspace did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Too many requests are on their way.
    #[error("too many requests to workspaces at once")]
    Busy,
    /// Nobody listens at the pod's address.
    #[error("nothing listens in the workspace")]
    Unreachable(#[source] legacy::Error),
    /// The connection broke before an answer.
    #[error("the workspace broke the connection")]
    Broken(#[source] legacy::Error),
    /// No answer in time.
    #[error("the workspace did not answer in time")]
    Late,
    /// The answer changes to a protocol that nobody asked for.
    #[error("the workspace changed to a protocol that was not asked for")]
    Protocol,
    /// The request cannot be written.
    #[error("the request cannot be passed on")]
    Target(#[source] http::Error),
}

/// The proxy's connections to pods.
#[derive(Clone)]
pub(super) struct Proxy {
    client: Client<HttpConnector, Body>,
    places: Arc<Semaphore>,
    limits: Limits,
    drain: Drain,
}

/// One request on its way.
pub(super) struct Passage<'a> {
    pub(super) path: ConnectPath<'a>,
    pub(super) host: &'a Authority,
    pub(super) peer: Option<IpAddr>,
    pub(super) secret: Option<SecretString>,
    pub(super) target: &'a Target,
}

impl Proxy {
    pub(super) fn new(limits: Limits, drain: Drain) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limits.connect));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(std::time::Duration::from_secs(20))
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_headers(256)
            .set_host(false)
            .build(connector);
        let places = Arc::new(Semaphore::new(limits.concurrent));
        Self { client, places, limits, drain }
    }

    /// Passes a request on and gives back the answer, whose body is still coming.
    pub(super) async fn pass(
        &self,
        mut parts: Parts,
        body: Body,
        passage: Passage<'_>,
    ) -> Result<Response, Failure> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Failure::Busy)?;
        let prefix = passage.path.prefix();
        let client_side = parts.extensions.remove::<OnUpgrade>();
        let asked = headers::upgrade(&parts.headers).is_some();
        let request = self.request(parts, body, &passage, &prefix)?;
        let answer = tokio::time::timeout(self.limits.answer, self.client.request(request))
            .await
            .map_err(|_| Failure::Late)?;
        let mut response = answer.map_err(|error| {
            if error.is_connect() { Failure::Unreachable(error) } else { Failure::Broken(error) }
        })?;

        let protocol = response.headers().get(header::UPGRADE).cloned();
        let workspace = format!("{ROOT}{}/{}/", passage.path.namespace, passage.path.workspace);
        let incoming = Incoming {
            host: passage.host,
            address: passage.target.address,
            workspace: &workspace,
            prefix: &prefix,
            prefix_removed: passage.target.remove_prefix,
        };
        headers::response(response.headers_mut(), &incoming);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let idle = self.limits.idle;
            return Ok(response.map(|body| Body::new(Watched::new(body, idle).holding(place))));
        }
        let (Some(client_side), Some(protocol), true) = (client_side, protocol, asked) else {
            return Err(Failure::Protocol);
        };
        self.open_tunnel(client_side, hyper::upgrade::on(&mut response), place);
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
        Ok(response.map(|_| Body::empty()))
    }

    fn open_tunnel(&self, client: OnUpgrade, workspace: OnUpgrade, place: OwnedSemaphorePermit) {
        self.drain.spawn(tunnel::run(client, workspace, self.limits.idle, place));
    }

    fn request(
        &self,
        parts: Parts,
        body: Body,
        passage: &Passage<'_>,
        prefix: &str,
    ) -> Result<Request<Body>, Failure> {
        let removed_prefix = passage.target.remove_prefix.then_some(prefix);
        let outgoing = Outgoing {
            host: passage.host,
            peer: passage.peer,
            removed_prefix,
            secret: passage.secret.as_ref(),
            rules: &passage.target.headers,
        };
        let uri = target(&parts.uri, passage, removed_prefix)?;
        let mut request = Request::new(Body::new(Watched::new(body, self.limits.idle)));
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers::request(parts.headers, &outgoing);
        Ok(request)
    }
}

/// The address of the pod and the path as the program knows it, byte for byte.
fn target(uri: &Uri, passage: &Passage<'_>, removed_prefix: Option<&str>) -> Result<Uri, Failure> {
    let whole = without_query(uri, TICKET);
    let path = removed_prefix.and_then(|prefix| whole.strip_prefix(prefix)).unwrap_or(&whole);
    Uri::builder()
        .scheme("http")
        .authority(passage.target.address.to_string())
        .path_and_query(path)
        .build()
        .map_err(Failure::Target)
}
