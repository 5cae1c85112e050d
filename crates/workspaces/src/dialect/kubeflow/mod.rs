//! The Kubeflow Workspaces REST API (`/api/v1`), generation 2026-08.
//!
//! One file per noun holds its handlers, `wire` the bodies, [`extract`] and [`body`] read requests,
//! [`error`] words refusals. Handlers list their extractors in the contract's order of checks and
//! then authorise, read the caches, ask `decide`, write one object and render it.
//!
//! Quirks that clients rely on, each with a test: status codes are strings in error bodies;
//! `conflict_cause` is singular and a list; a pause request without `paused` starts the workspace;
//! a new claim is announced with an empty `Location`; `deferUpdates` is taken and forgotten; the
//! last of equal JSON keys wins; reference errors name fields without `data.`; `HEAD` is not
//! supported; filter rules of a kind stay unless an edit mentions them; a key of a Secret is shown
//! as `{}`, and sent as `{}` it keeps its value; fields of a manifest that nobody knows are 422, those
//! of any other body 400.

mod actions;
mod around;
mod assets;
mod attempts;
mod audit;
mod body;
mod checks;
mod claims;
mod claims_along;
mod compress;
mod conditions;
mod doc;
mod documents;
mod envelope;
mod error;
mod events;
mod extract;
mod kinds;
mod list_cache;
mod list_query;
mod lists;
mod logs;
mod namespaces;
mod openapi;
mod option_values;
mod profile;
mod quotas;
mod released;
mod resources;
mod route;
mod secrets;
mod storage_classes;
mod strict;
mod swagger;
mod table;
mod tagged;
mod views;
mod watch;
mod wire;
mod workspaces;

use std::{sync::Arc, time::Duration};

use cluster::{Access, Cache, Key, access::Attributes, client::Health};
use http::Method;
use kube::ResourceExt;
use web::{Error, Handler, Kind};

use self::{
    documents::Documents,
    error::Problem,
    extract::Caller,
    lists::ListsByShape,
    resources::MetricsApi,
    route::{BASE, Route, Routes},
    tagged::Tags,
    views::Views,
};
pub use self::{
    documents::{OPENAPI, openapi},
    error::reject,
    profile::Profile,
    route::is_open,
    swagger::Swagger,
};
use crate::{Caches, model};

/// How long a write waits until it can be read back.
const READ_YOUR_WRITES: Duration = Duration::from_secs(2);

/// What the routes work with.
#[derive(Clone)]
pub struct State {
    /// The cluster, for writes and for what is not cached.
    pub client: kube::Client,
    /// What is cached.
    pub caches: Caches,
    /// Who may do what.
    pub access: Access,
    /// Whether the API of a cluster elsewhere answers.
    pub health: Option<Health>,
    /// How the contract's choices are made.
    pub options: Options,
}

/// How the contract's choices are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// What goes before the paths of pictures when a proxy serves this API under a prefix.
    pub proxy_url_prefix: String,
    /// Whether a pause request must say `paused`; otherwise an empty one starts the workspace.
    pub strict_pause_body: bool,
    /// The generation of the contract for requests that name none.
    pub default_profile: Profile,
    /// Whether claims and Secrets are mounted only with the label that releases them.
    pub require_can_mount: bool,
    /// The header by which a proxy says who calls, as documents name it.
    pub user_header: String,
    /// Whether the contract is also served as a Swagger 2.0 document with a page.
    pub swagger: Option<Swagger>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            proxy_url_prefix: String::new(),
            strict_pause_body: false,
            user_header: "kubeflow-userid".to_owned(),
            swagger: None,
            default_profile: Profile::default(),
            require_can_mount: true,
        }
    }
}

/// All routes, with full paths, in front of what else there is. Callers are known by the
/// [`web::Identity`] in the request's extensions; the listener puts it there.
pub fn before(others: impl Into<Handler>, state: State) -> Handler {
    let mut routes = Routes::new(Arc::new(App::new(state)), table::routes());
    documents::mount(&mut routes);
    others.into().behind(routes)
}

/// One operation of the table, for tests that leave none out.
#[derive(Debug)]
pub struct Endpoint {
    /// With its parameters in braces.
    pub path: String,
    /// Its method.
    pub method: Method,
    /// Its name in documents.
    pub id: &'static str,
    /// Whether it answers without an identity.
    pub open: bool,
    /// The media type of its body, if it takes one.
    pub body: Option<&'static str>,
}

/// Every operation.
pub fn endpoints() -> Vec<Endpoint> {
    let of_route = |route: Route| {
        let path = route.path;
        route.operations.into_iter().map(move |(method, doc)| Endpoint {
            path: path.clone(),
            method,
            id: doc.id,
            open: doc.open,
            body: doc.body.map(|body| body.media_types[0]),
        })
    };
    table::routes().into_iter().flat_map(of_route).collect()
}

/// The router's state.
pub(crate) struct App {
    client: kube::Client,
    caches: Caches,
    access: Access,
    health: Option<Health>,
    options: Options,
    documents: Documents,
    lists: ListsByShape,
    metrics: MetricsApi,
    tags: Tags,
    views: Views,
}

/// A kind of object that callers may or may not use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

pub(crate) const WORKSPACES: Target =
    Target { group: model::GROUP, version: model::VERSION, resource: "workspaces" };
pub(crate) const KINDS: Target =
    Target { group: model::GROUP, version: model::VERSION, resource: "workspacekinds" };
pub(crate) const NAMESPACES: Target = Target { group: "", version: "v1", resource: "namespaces" };
pub(crate) const CLAIMS: Target =
    Target { group: "", version: "v1", resource: "persistentvolumeclaims" };
pub(crate) const QUOTAS: Target = Target { group: "", version: "v1", resource: "resourcequotas" };
pub(crate) const SECRETS: Target = Target { group: "", version: "v1", resource: "secrets" };
pub(crate) const STORAGE_CLASSES: Target =
    Target { group: "storage.k8s.io", version: "v1", resource: "storageclasses" };

impl App {
    fn new(State { client, caches, access, health, options }: State) -> Self {
        let lists = ListsByShape::new(&caches, &options.proxy_url_prefix);
        // The one that most requests will want.
        lists.of(options.default_profile.shape());
        let (documents, views) = (Documents::default(), Views::default());
        let (metrics, tags) = (MetricsApi::default(), Tags::default());
        Self { client, caches, access, health, options, documents, lists, metrics, tags, views }
    }

    /// Passes if the caller may do it, and if there is something to answer from.
    async fn allow(
        &self,
        Caller(identity): &Caller,
        verb: &'static str,
        Target { group, version, resource }: Target,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), Problem> {
        let attributes = Attributes { verb, group, version, resource, namespace, name };
        self.access.check(identity, &attributes).await?;
        if self.caches.is_ready() { Ok(()) } else { Err(starting()) }
    }

    /// What `Location` says: a path as clients reach it, also behind a proxy with a prefix.
    fn location(&self, path: &str) -> String {
        format!("{}{BASE}{path}", self.options.proxy_url_prefix.trim_end_matches('/'))
    }

    /// Waits until what was written can be read from the cache. The write stands either way, so a
    /// cache that lags is no reason to fail.
    async fn settle<K: kube::Resource + Send + Sync + 'static>(
        &self,
        cache: &Cache<K>,
        written: &K,
    ) {
        let key = Key::of(written.meta());
        let version = written.resource_version().unwrap_or_default();
        if !cache.wait_for_version(&key, &version, READ_YOUR_WRITES).await {
            tracing::warn!(%key, version, "the watch lags behind: answering before it caught up");
        }
    }
}

fn starting() -> Problem {
    Error::new(Kind::Unavailable, "the server is starting; try again")
        .with_retry_after(Duration::from_secs(1))
        .into()
}
