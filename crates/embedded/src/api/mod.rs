//! The API: paths and verbs of Kubernetes over the store, generic over kinds.
//!
//! Start at [`ApiService`]: `route` finds what a path means, `serve` does the verb. What a kind is
//! stands in the table of `kinds`; no verb knows any kind by itself.

mod access;
pub mod admission;
mod body;
mod collect;
mod core;
mod crds;
mod decode;
mod delete;
mod discovery;
mod embedded;
pub mod exec;
mod expire;
mod forms;
mod json_patch;
mod kinds;
mod limits;
pub mod logs;
mod metadata;
mod names;
mod openapi;
mod patch;
mod query;
mod quota;
mod read;
mod route;
mod rules;
mod selector;
mod serve;
mod services;
mod status;
mod subresource;
mod syntax;
mod table;
mod view;
mod watch;
mod write;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

pub(crate) use access::tokens::Tokens;
pub use access::{Authenticator, User};
pub use body::Body;
pub use status::{Details, Status};

use self::{
    admission::Admission, exec::ExecSource, kinds::Registry, logs::LogSource, write::Target,
};
use crate::store::Store;

/// The state of the API.
pub(crate) struct Api {
    store: Store,
    registry: RwLock<Arc<Registry>>,
    /// Held by whoever makes the next registry.
    settling: Mutex<()>,
    logs: RwLock<Option<Arc<dyn LogSource>>>,
    exec: RwLock<Option<Arc<dyn ExecSource>>>,
    /// Room for commands in pods.
    executions: Arc<tokio::sync::Semaphore>,
    policy: access::Policy,
    tokens: access::tokens::Tokens,
    admission: RwLock<Arc<[Arc<dyn Admission>]>>,
    /// Definitions are accepted one after the other, so that two never claim the same names.
    definitions: tokio::sync::Mutex<()>,
    /// The addresses of Services.
    services: services::Ledger,
    /// Writes that count for quotas are done one after the other.
    charges: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Api {
    /// The API over a store, with the kinds that are defined in it.
    pub(crate) fn new(store: Store, tokens: access::tokens::Tokens) -> Arc<Self> {
        let mut registry = Registry::built_in();
        for (name, definition) in store.list(crds::TABLE, "").entries {
            crds::settle(&mut registry, &name, Some(definition.object()));
        }
        let services = services::Ledger::of(&store);
        Arc::new(Self {
            store,
            services,
            registry: RwLock::new(Arc::new(registry)),
            settling: Mutex::new(()),
            logs: RwLock::new(None),
            exec: RwLock::new(None),
            executions: exec::slots(),
            policy: access::Policy::default(),
            tokens,
            admission: RwLock::new(Arc::new([])),
            definitions: tokio::sync::Mutex::new(()),
            charges: tokio::sync::Mutex::new(()),
            stop: CancellationToken::new(),
        })
    }

    /// Makes what every cluster has, and starts the background parts.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<tokio::task::JoinHandle<()>, Status> {
        core::make_namespaces(self).await?;
        access::bootstrap::reconcile(self).await?;
        let (collect, expire) = (collect::Collector::new(self.clone()), expire::run(self.clone()));
        let (roles, quotas) = (access::bootstrap::run(self.clone()), quota::run(self.clone()));
        Ok(tokio::spawn(async move {
            futures::join!(collect.run(), expire, roles, quotas);
        }))
    }

    /// Ends watches and background parts.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn set_log_source(&self, source: Arc<dyn LogSource>) {
        *self.logs.write() = Some(source);
    }

    pub(crate) fn set_exec_source(&self, source: Arc<dyn ExecSource>) {
        *self.exec.write() = Some(source);
    }

    pub(crate) fn set_admission(&self, rules: Vec<Arc<dyn Admission>>) {
        *self.admission.write() = rules.into();
    }

    pub(crate) fn set_administrator(&self, secret: secrecy::SecretString) {
        self.tokens.set_administrator(secret);
    }

    pub(crate) fn authenticator(self: &Arc<Self>) -> Authenticator {
        Authenticator::new(self.clone())
    }

    fn kinds(&self) -> Arc<Registry> {
        self.registry.read().clone()
    }

    /// Takes note of a write or a removal.
    fn noted(&self, target: &Target) {
        if target.resource.is(crds::TABLE) {
            // Requests go on while a schema is compiled, with the table that was.
            let _only_writer = self.settling.lock();
            let mut registry = Registry::clone(&self.kinds());
            // Of writes right after each other any may come here last: what is stored counts.
            let stored = self.store.get(crds::TABLE, &target.key());
            let definition = stored.map(|entry| entry.object());
            crds::settle(&mut registry, &target.name, definition);
            *self.registry.write() = Arc::new(registry);
        }
        self.settle_addresses(target);
    }

    fn settle_addresses(&self, target: &Target) {
        if target.resource.is(services::TABLE) {
            self.services.settle(&self.store, &target.key());
        }
    }
}

/// The API as a service: give it to `kube::Client::new`, or to an HTTP server.
#[derive(Debug, Clone)]
pub struct ApiService {
    api: Arc<Api>,
}

impl ApiService {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if exec::needs_connection(&parts) {
                return Ok(exec::over_connection(service, parts).await);
            }
            let api = service.api;
            if let Some(refusal) = access::refuse(&api, &mut parts) {
                return Ok(refusal);
            }
            let response = match serve::read_body(body).await {
                Ok(body) => serve::answer(&api, &parts, &body).await,
                Err(status) => Err(status),
            };
            let response = response.unwrap_or_else(Status::into_response);
            if view::wants_yaml(&parts.headers) {
                return Ok(serve::in_yaml(response).await);
            }
            Ok(response)
        })
    }
}
