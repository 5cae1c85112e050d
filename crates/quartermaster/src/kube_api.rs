//! The Kubernetes API of `up`, for `kubectl` and other programs of this machine's user.
//!
//! TLS keeps the token from whoever else listens at the address of a server that was stopped, the
//! token keeps other users of the machine out. It is wanted whatever `--auth` says: programs find it
//! in the kubeconfig by themselves. The rules about `Host` and `Origin` that the other listeners
//! have are not needed: no cookie counts here, so a page in a browser has nothing to act with.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use embedded::{Authenticator, Cluster};
use futures::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use serde_json::json;
use web::{
    Error, Head, Kind,
    listener::{self, Drain, Limits, Listener, Stack},
    local::{Authority, Token, bearer, replace_private},
};

use crate::{failure::Failure, settings::Settings};

/// The name of cluster, user and context in the kubeconfig.
const NAME: &str = "quartermaster";
const KUBECONFIG: &str = "kubeconfig";
/// As much as the API server reads.
const BODY_BYTES: u64 = 3 << 20;

/// An address that is taken, and what proves both sides to each other.
pub(crate) struct KubeApi {
    listener: Listener,
    authority: Authority,
    token: Token,
    data_dir: PathBuf,
}

impl KubeApi {
    /// Takes the address, if there is a cluster of our own to be served.
    pub(crate) async fn bind(settings: &Settings) -> Result<Option<Self>, Failure> {
        let (Some(address), Some(dir)) = (settings.kube, &settings.data_dir) else {
            return Ok(None);
        };
        let listener = listener::bind(address).await.map_err(|error| {
            Failure::new(error.to_string())
                .hint("choose another with --kube-listen ADDR; port 0 takes a free one")
        })?;
        let authority = Authority::load_or_create(dir).map_err(Failure::of)?;
        let token = Token::load_or_create(dir).map_err(Failure::of)?;
        Ok(Some(Self { listener, authority, token, data_dir: dir.clone() }))
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.listener.address())
    }

    /// Serves the API of a cluster, and says so in the kubeconfig.
    pub(crate) fn serve(self, cluster: &Cluster, drain: &Drain) -> Result<(), Failure> {
        let url = self.url();
        cluster.set_administrator(self.token.expose().to_owned().into());
        let mut names: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let own = self.listener.address().ip();
        if !names.contains(&own) {
            names.push(own);
        }
        let trust = self.authority.pem().to_owned();
        let tls = Arc::new(self.authority)
            .server_config(names, Arc::new(jiff::Timestamp::now))
            .map_err(Failure::of)?;
        let ending = drain.clone();
        let router = Router::new()
            .fallback_service(cluster.service())
            .layer(from_fn(move |request, next| end_streams(ending.clone(), request, next)))
            .layer(from_fn_with_state(cluster.authenticator(), authenticate));
        let router = Stack::new("kube", render).body_limit(BODY_BYTES).wrap(router);
        let listener = self.listener.with_tls(tls);
        tokio::spawn(listener.serve(router, Limits::default(), drain.clone()));
        write_kubeconfig(&self.data_dir, &url, &trust, &self.token)
            .map_err(|error| Failure::new(format!("cannot write the kubeconfig: {error}")))
    }
}

/// Finds out whose token a request brings; nobody gets in without one.
async fn authenticate(
    State(known): State<Authenticator>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()).and_then(|token| known.authenticate(token)) else {
        return status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
    };
    // What is behind this needs it no more, and cannot log it.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.extensions_mut().insert(user);
    next.run(request).await
}

/// Ends watches and followed logs when the server stops: they would never end by themselves.
async fn end_streams(drain: Drain, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let stopping = async move { drain.stopping().await };
        Body::from_stream(body.into_data_stream().take_until(Box::pin(stopping)))
    })
}

/// How this listener words what goes wrong before the API is asked.
fn render(error: &Error, _: &Head) -> Response {
    match error.kind() {
        Kind::TooLarge => {
            let text = format!("Request entity too large: limit is {BODY_BYTES}");
            status(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &text)
        }
        Kind::Timeout => status(StatusCode::GATEWAY_TIMEOUT, "Timeout", error.message()),
        Kind::Malformed => status(StatusCode::BAD_REQUEST, "BadRequest", error.message()),
        _ => status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.message()),
    }
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    });
    let json = HeaderValue::from_static("application/json");
    (code, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
}

/// Writes `DIR/kubeconfig`, for its owner only.
fn write_kubeconfig(data_dir: &Path, url: &str, authority: &str, token: &Token) -> io::Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {
            "server": url,
            "certificate-authority-data": base64(authority),
        }}],
        "users": [{"name": NAME, "user": {"token": token.expose()}}],
        "contexts": [{"name": NAME, "context": {
            "cluster": NAME,
            "user": NAME,
            "namespace": "default",
        }}],
        "current-context": NAME,
    });
    let text = serde_saphyr::to_string(&config).map_err(io::Error::other)?;
    replace_private(&data_dir.join(KUBECONFIG), &text)
}

/// Takes the kubeconfig away at a clean stop.
pub(crate) fn remove_kubeconfig(data_dir: &Path) {
    if let Err(error) = std::fs::remove_file(data_dir.join(KUBECONFIG)) {
        tracing::warn!(%error, "the kubeconfig could not be removed");
    }
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}
