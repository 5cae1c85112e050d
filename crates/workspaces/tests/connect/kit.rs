//! A process in the small: both listeners, a program behind the proxy, and a client.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use secrecy::SecretString;
use web::{
    Error, Identity, Kind,
    listener::{self, Drain, Stack},
    local::{Guard, Local, Token},
};
use workspaces::connect::{
    Backend, Closed, Found, Front, HeaderRules, Limits, Options, Outlook, Place, Port, Target,
    api_router, apps_router, render,
};

/// Nothing in these tests takes that long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The path of the port that every test uses.
pub(crate) const PATH: &str = "/workspace/connect/ns/name/web/";

/// A cluster with one workspace, `ns/name`.
pub(crate) struct Fake {
    pub(crate) found: Mutex<Option<Found>>,
    pub(crate) may: Mutex<bool>,
}

impl Backend for Fake {
    fn find(&self, namespace: &str, workspace: &str, port: &str) -> Option<Found> {
        let mut found = self.found.lock().clone()?;
        if port != "web" {
            found.port = Port::Unknown;
        }
        (namespace == "ns" && workspace == "name").then_some(found)
    }

    async fn authorise(&self, _: &Identity, _: &str, _: &str) -> Result<(), Error> {
        if *self.may.lock() { Ok(()) } else { Err(Error::new(Kind::Forbidden, "not yours")) }
    }

    async fn secret(&self, _: &str, _: &str, _: &str) -> Result<Option<SecretString>, Error> {
        Ok(Some("the-workspace-secret".into()))
    }
}

/// Both listeners.
pub(crate) struct Setup {
    pub(crate) api: SocketAddr,
    pub(crate) apps: SocketAddr,
    pub(crate) backend: Arc<Fake>,
    pub(crate) token: Token,
    pub(crate) drain: Drain,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Serves a router as the program of a workspace.
pub(crate) async fn program(router: Router) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = axum_serve(socket, router);
    tokio::spawn(listener);
    address
}

async fn axum_serve(socket: tokio::net::TcpListener, router: Router) {
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    loop {
        let (stream, _) = socket.accept().await.unwrap();
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

impl Setup {
    /// Starts with a program that is ready.
    pub(crate) async fn new(program: SocketAddr) -> Self {
        Self::with_limits(program, Limits::default()).await
    }

    pub(crate) async fn with_limits(program: SocketAddr, limits: Limits) -> Self {
        let token = Token::generate().unwrap();
        let local = Local::new(token.clone());
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let api = listener::bind(anywhere).await.unwrap();
        let apps = listener::bind(anywhere).await.unwrap();
        let found = Found { uid: "uid-1".to_owned(), port: open(program, false) };
        let backend = Arc::new(Fake { found: Mutex::new(Some(found)), may: Mutex::new(true) });
        let drain = Drain::new();
        let options = Options {
            front: Front::Local(local.clone()),
            api: Place::Port(api.address().port()),
            apps: Place::Port(apps.address().port()),
            limits,
            drain: drain.clone(),
        };
        let api_routes = Guard::new(local, api.address().port(), render)
            .pages(|_, path| path.starts_with("/workspace/connect/"))
            .protect(api_router(Arc::clone(&backend), options.clone()));
        let api_routes = Stack::new("api", render).wrap(api_routes);
        let apps_routes = apps_router(Arc::clone(&backend), options);
        let apps_routes = Stack::streaming("apps", render).wrap(apps_routes);
        let setup =
            Self { api: api.address(), apps: apps.address(), backend, token, drain: drain.clone() };
        tokio::spawn(api.serve(api_routes, listener::Limits::default(), drain.clone()));
        tokio::spawn(apps.serve(apps_routes, listener::Limits::default(), drain));
        setup
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose())
    }

    /// Changes what is behind the port.
    pub(crate) fn put(&self, port: Port) {
        *self.backend.found.lock() = Some(Found { uid: "uid-1".to_owned(), port });
    }

    /// A request on `apps` by the owner's program.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let bearer = self.bearer();
        send(self.apps, Method::GET, path, &[("authorization", &bearer)], Body::empty()).await
    }

    /// A streaming request on `apps` by the owner's program.
    pub(crate) async fn open(&self, method: Method, path: &str, body: Body) -> Response {
        let bearer = self.bearer();
        request(self.apps, method, path, &[("authorization", &bearer)], body).await
    }
}

pub(crate) fn open(address: SocketAddr, remove_prefix: bool) -> Port {
    Port::Open(Target { address, remove_prefix, headers: HeaderRules::default() })
}

pub(crate) fn closed(state: &str, message: &str, outlook: Outlook) -> Port {
    Port::Closed(Closed { state: state.to_owned(), message: message.to_owned(), outlook })
}

/// Sends one request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Response {
    let client: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    let response = tokio::time::timeout(DEADLINE, client.request(request)).await.expect("in time");
    response.unwrap().map(Body::new)
}

pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Answer {
    let (parts, body) = request(address, method, path, headers, body).await.into_parts();
    let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("in time");
    Answer { status: parts.status, headers: parts.headers, body: body.unwrap().to_bytes() }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
