//! Objects that lead requests from a gateway to workspaces: of kinds that not every cluster has.
//!
//! Whether the API serves a kind is asked at the start and again now and then, so its definition may
//! come and go while the controller runs. What an earlier configuration made and this one does not
//! want is removed.

use std::{sync::Arc, time::Duration};

use cluster::{Cache, Source, apply, error};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Preconditions},
    core::{ApiResource, GroupVersionKind},
};
use parking_lot::RwLock;
use tokio::{sync::Notify, task::JoinSet};

use super::{Context, children::Child, children::children_of, wake};
use crate::model::label;

/// What is ours in a route.
pub(super) const ROUTE_FIELDS: &[&str] = &["/spec"];
/// How long the API may take to list the routes of a kind that it serves.
const LISTED_WITHIN: Duration = Duration::from_secs(15);
/// Routes that are no longer wanted are read in parts of this size.
const PAGE: u32 = 500;

/// Istio: each workspace gets a `VirtualService`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Istio {
    /// The gateway, as `namespace/name`.
    pub gateway: String,
    /// The hosts that requests are for.
    pub hosts: Vec<String>,
    /// The domain of Services.
    pub cluster_domain: String,
}

impl Default for Istio {
    fn default() -> Self {
        Self {
            gateway: String::new(),
            hosts: vec!["*".to_owned()],
            cluster_domain: "cluster.local".to_owned(),
        }
    }
}

/// Gateway API: each workspace gets an `HTTPRoute`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayApi {
    /// The gateway, as `namespace/name`.
    pub gateway: String,
    /// The hosts that requests are for; none, or `*`, are those of the gateway.
    pub hosts: Vec<String>,
}

/// The kind of Istio's routes.
pub(super) fn virtual_services() -> ApiResource {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    ApiResource::from_gvk_with_plural(&kind, "virtualservices")
}

/// The kind of the Gateway API's routes.
pub(super) fn http_routes() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}

/// A kind of routes.
pub(super) struct Route {
    pub(super) kind: &'static str,
    pub(super) resource: ApiResource,
    wanted: bool,
    /// None while the API does not serve it.
    cache: RwLock<Option<Cache<Child>>>,
}

/// What an API says about a kind, and what is done about it.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Same,
    Came,
    Went,
}

impl Route {
    fn new(kind: &'static str, resource: ApiResource, wanted: bool) -> Self {
        Self { kind, resource, wanted, cache: RwLock::new(None) }
    }

    /// Those that workspaces own; none while the API does not serve the kind.
    pub(super) fn cache(&self) -> Option<Cache<Child>> {
        self.cache.read().clone()
    }

    /// Asks the API, and begins or ends the watch.
    async fn look(&self, client: &Client) -> Turn {
        let kind = self.kind;
        let known = self.cache.read().is_some();
        match is_served(client, &self.resource).await {
            Ok(true) if !known => {
                let cache = source(&self.resource).start(client);
                if tokio::time::timeout(LISTED_WITHIN, cache.ready()).await.is_err() {
                    tracing::warn!(kind, "routes cannot be listed; workspaces get none for now");
                    return Turn::Same;
                }
                *self.cache.write() = Some(cache);
                tracing::info!(kind, "the API serves it: workspaces get one each");
                Turn::Came
            }
            Ok(false) if known => {
                *self.cache.write() = None;
                tracing::warn!(kind, "the API serves it no longer: workspaces get none");
                Turn::Went
            }
            Ok(_) => Turn::Same,
            Err(error) => {
                tracing::debug!(kind, %error, "cannot ask whether the API serves it");
                Turn::Same
            }
        }
    }
}

fn source(resource: &ApiResource) -> Source<Child> {
    children_of(resource.clone(), ROUTE_FIELDS).labels(label::WORKSPACE_NAME)
}

async fn is_served(client: &Client, resource: &ApiResource) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(&resource.api_version).await {
        Ok(list) => Ok(list.resources.iter().any(|served| served.name == resource.plural)),
        Err(error) if error::is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// All kinds of routes.
pub(super) struct Routes {
    pub(super) virtual_services: Route,
    pub(super) http_routes: Route,
    every: Duration,
    doubted: Notify,
}

impl Routes {
    /// Looks for the first time.
    pub(super) async fn start(client: &Client, options: &super::Options) -> Self {
        let routes = Self {
            virtual_services: Route::new(
                "VirtualService",
                virtual_services(),
                options.istio.is_some(),
            ),
            http_routes: Route::new("HTTPRoute", http_routes(), options.gateway_api.is_some()),
            every: options.discover_every,
            doubted: Notify::new(),
        };
        for route in routes.all().filter(|route| route.wanted) {
            if route.look(client).await != Turn::Came {
                let kind = route.kind;
                tracing::warn!(kind, "the API does not serve it: workspaces get none for now");
            }
        }
        routes
    }

    fn all(&self) -> impl Iterator<Item = &Route> {
        [&self.virtual_services, &self.http_routes].into_iter()
    }

    /// Something failed as if a kind were gone: looks again at once.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }
}

/// Follows the routes that there are, and the kinds as they come and go; ends when the set is
/// dropped.
pub(super) fn follow(tasks: &mut JoinSet<()>, context: &Arc<Context>) {
    for route in context.routes.all() {
        if !route.wanted {
            let (client, resource) = (context.client.clone(), route.resource.clone());
            tasks.spawn(remove_all(client, resource, context.options.discover_every));
        }
    }
    if context.routes.all().all(|route| !route.wanted) {
        return;
    }
    let mut followers = JoinSet::new();
    for cache in context.routes.all().filter_map(Route::cache) {
        wake::follow_children(&mut followers, context, &cache);
    }
    let context = context.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(context.routes.every) => {}
                () = context.routes.doubted.notified() => {}
            }
            for route in context.routes.all().filter(|route| route.wanted) {
                let turn = route.look(&context.client).await;
                if let (Turn::Came, Some(cache)) = (&turn, route.cache()) {
                    wake::follow_children(&mut followers, &context, &cache);
                }
                if turn != Turn::Same {
                    wake::everything(&context);
                }
            }
            // Those of kinds that went have ended.
            while followers.try_join_next().is_some() {}
        }
    });
}

/// Removes what an earlier configuration made.
async fn remove_all(client: Client, resource: ApiResource, again: Duration) {
    loop {
        match try_remove_all(&client, &resource).await {
            Ok(0) => return,
            Ok(count) => {
                let kind = &resource.kind;
                tracing::info!(kind, count, "removed what is no longer wanted");
                return;
            }
            // Whoever may not see them has not made them.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return,
            Err(error) => {
                tracing::warn!(kind = resource.kind, %error, "cannot remove what is not wanted");
                tokio::time::sleep(again).await;
            }
        }
    }
}

async fn try_remove_all(client: &Client, resource: &ApiResource) -> Result<usize, kube::Error> {
    if !is_served(client, resource).await? {
        return Ok(0);
    }
    let api = apply::api(client, resource, "");
    let mut page = ListParams::default().labels(label::WORKSPACE_NAME).limit(PAGE);
    let mut count = 0;
    loop {
        let list = api.list(&page).await?;
        for object in list.items {
            if let Some(child) = Child::of(object.into_value(), &[]) {
                delete(client, resource, &child).await?;
                count += 1;
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(count),
        }
    }
}

/// Deletes this very object; that it is gone already is as good.
pub(super) async fn delete(
    client: &Client,
    resource: &ApiResource,
    child: &Child,
) -> Result<(), kube::Error> {
    let api: Api<cluster::Object> = apply::api(client, resource, &child.namespace);
    let this_one = Preconditions { uid: Some(child.uid.to_string()), resource_version: None };
    match api.delete(&child.name, &DeleteParams::default().preconditions(this_one)).await {
        Err(error) if error::is_not_found(&error) || error::is_conflict(&error) => Ok(()),
        other => other.map(drop),
    }
}
