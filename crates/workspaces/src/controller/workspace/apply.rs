//! Making and mending the objects of one workspace.

use std::sync::Arc;

use cluster::{
    Cache, Key, Object,
    apply::{ApplyError, Wanted},
};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::core::ApiResource;
use serde_json::Value;

use super::Pass;
use crate::{
    controller::{
        children::{self, Child},
        error::{StepError, generation_failed},
        objects::{self, Objects},
        routes::{self, ROUTE_FIELDS, Route},
    },
    decide::naming,
};

/// How many names are tried when generated ones belong to somebody else.
const ATTEMPTS: u32 = 3;

impl Pass<'_> {
    fn uid(&self) -> &str {
        self.workspace.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) async fn service_account(&self, objects: &Objects<'_>) -> Result<(), StepError> {
        let cache = self.context.children.service_accounts.clone();
        let fields = objects::SERVICE_ACCOUNT_FIELDS;
        let make = |name: &str| Ok(objects.service_account(name));
        let names = vec![naming::service_account(self.key.name())];
        self.ensure("ServiceAccount", cache, fields, names, make).await.map(drop)
    }

    pub(super) async fn stateful_set(
        &self,
        objects: &Objects<'_>,
    ) -> Result<Arc<Child>, StepError> {
        let cache = self.context.children.stateful_sets.clone();
        let fields = objects::STATEFUL_SET_FIELDS;
        let name = |attempt| naming::stateful_set(self.key.name(), self.uid(), attempt);
        let names = (0..ATTEMPTS).map(name).collect();
        let make = |name: &str| objects.stateful_set(name);
        self.ensure("StatefulSet", cache, fields, names, make).await
    }

    pub(super) async fn service(&self, objects: &Objects<'_>) -> Result<Arc<Child>, StepError> {
        let cache = self.context.children.services.clone();
        let name = |attempt| naming::service(self.key.name(), self.uid(), attempt);
        let names = (0..ATTEMPTS).map(name).collect();
        let make = |name: &str| Ok(objects.service(name));
        self.ensure("Service", cache, objects::SERVICE_FIELDS, names, make).await
    }

    /// The routes that are wanted, of kinds that the API serves.
    pub(super) async fn routes(
        &self,
        objects: &Objects<'_>,
        service: &str,
    ) -> Result<(), StepError> {
        let context = self.context;
        if let Some(istio) = &context.options.istio {
            let make = |name: &str| objects.virtual_service(name, service, istio);
            let route = &context.routes.virtual_services;
            self.route(objects, route, naming::virtual_service, make).await?;
        }
        if let Some(gateway) = &context.options.gateway_api {
            let make = |name: &str| objects.http_route(name, service, gateway);
            let route = &context.routes.http_routes;
            self.route(objects, route, naming::http_route, make).await?;
        }
        Ok(())
    }

    async fn route(
        &self,
        objects: &Objects<'_>,
        route: &Route,
        name: fn(&str, &str, u32) -> String,
        make: impl Fn(&str) -> Result<Wanted, String>,
    ) -> Result<(), StepError> {
        let Some(cache) = route.cache() else { return Ok(()) };
        let done = if objects.has_routes() {
            let names = (0..ATTEMPTS).map(|n| name(self.key.name(), self.uid(), n)).collect();
            self.ensure(route.kind, cache, ROUTE_FIELDS, names, make).await.map(drop)
        } else {
            let mut done = Ok(());
            for child in cache.indexed(self.uid()) {
                done = done.and(self.delete(route.kind, &route.resource, &cache, &child).await);
            }
            done
        };
        // So it looks as well when the kind itself is gone.
        if matches!(done, Err(StepError::Outdated)) {
            self.context.routes.doubt();
        }
        done
    }

    /// Sees to it that the workspace owns exactly one object of a kind and that it is as wanted.
    /// The first of `names` that is free, or ours already, is used for a new one.
    async fn ensure(
        &self,
        kind: &'static str,
        cache: Cache<Child>,
        fields: &'static [&'static str],
        names: Vec<String>,
        make: impl Fn(&str) -> Result<Wanted, String>,
    ) -> Result<Arc<Child>, StepError> {
        let make = |name: &str| {
            make(name).map_err(|error| StepError::Stalled(generation_failed(kind, &error)))
        };
        let mut owned = cache.indexed(self.uid());
        if owned.len() > 1 {
            owned.sort_by(|a, b| a.name.cmp(&b.name));
            let names: Vec<_> = owned.iter().map(|child| &*child.name).collect();
            let message = format!("Workspace owns multiple {kind}s: {}", names.join(", "));
            return Err(StepError::Stalled(message));
        }
        let owned = owned.pop();
        let object = match &owned {
            Some(child) if child.deleting => {
                return Err(StepError::Waiting(format!("for {kind} {:?} to go", child.name)));
            }
            Some(child) => {
                let wanted = make(&child.name)?;
                if wanted.is_met_by(&child.compared()) {
                    return Ok(child.clone());
                }
                let client = &self.context.client;
                let object = wanted.replace(client, &child.name).await;
                let object = object.map_err(StepError::apply)?;
                self.context.options.metrics.wrote(kind, "update");
                object
            }
            None => {
                let object = self.create(&names, make).await?;
                self.context.options.metrics.wrote(kind, "create");
                object
            }
        };
        let child = children::written(object, fields);
        if child.deleting {
            return Err(StepError::Waiting(format!("for {kind} {:?} to go", child.name)));
        }
        self.wrote(cache, owned.as_deref(), &child);
        Ok(Arc::new(child))
    }

    async fn create(
        &self,
        names: &[String],
        make: impl Fn(&str) -> Result<Wanted, StepError>,
    ) -> Result<Object, StepError> {
        let mut taken = None;
        for name in names {
            match make(name)?.create(&self.context.client).await {
                Ok(object) => return Ok(object),
                Err(foreign @ ApplyError::Foreign { .. }) => taken = Some(foreign),
                Err(other) => return Err(StepError::apply(other)),
            }
        }
        Err(taken.map_or(StepError::Outdated, StepError::apply))
    }

    /// One binding per wanted ClusterRole, and no others.
    pub(super) async fn role_bindings(&self, objects: &Objects<'_>) -> Result<(), StepError> {
        let wanted = objects.role_bindings();
        let Some(cache) = self.context.children.role_bindings.clone() else {
            if !wanted.is_empty() {
                let workspace = self.key;
                tracing::warn!(%workspace, "roles are not bound: the API has no RoleBindings");
            }
            return Ok(());
        };
        let owned = cache.indexed(self.uid());
        for child in &owned {
            let keep = wanted.iter().any(|wanted| {
                wanted.name() == &*child.name && same_role(wanted, &child.compared())
            });
            if !keep {
                let resource = ApiResource::erase::<RoleBinding>(&());
                self.delete("RoleBinding", &resource, &cache, child).await?;
            }
        }
        for wanted in wanted {
            let child = owned.iter().find(|child| *child.name == *wanted.name());
            if child.is_some_and(|child| wanted.is_met_by(&child.compared())) {
                continue;
            }
            let client = &self.context.client;
            let (object, verb) = match child.filter(|child| same_role(&wanted, &child.compared())) {
                Some(child) => (wanted.replace(client, &child.name).await, "update"),
                None => (wanted.create(client).await, "create"),
            };
            let object = object.map_err(StepError::apply)?;
            self.context.options.metrics.wrote("RoleBinding", verb);
            let new = children::written(object, objects::ROLE_BINDING_FIELDS);
            self.wrote(cache.clone(), child.map(AsRef::as_ref), &new);
        }
        Ok(())
    }

    /// Deletes an object that is not wanted, and waits until it is seen to go.
    async fn delete(
        &self,
        kind: &'static str,
        resource: &ApiResource,
        cache: &Cache<Child>,
        child: &Child,
    ) -> Result<(), StepError> {
        routes::delete(&self.context.client, resource, child)
            .await
            .map_err(|source| StepError::call(&format!("delete a {kind}"), source))?;
        self.context.options.metrics.wrote(kind, "delete");
        let key = Key::new(self.key.namespace(), &child.name);
        let goes = |now: Option<&Child>| now.is_none_or(|now| now.uid != child.uid || now.deleting);
        cache.wait_for(&key, super::WAIT_TO_SEE, goes).await;
        Ok(())
    }
}

fn same_role(wanted: &Wanted, live: &Value) -> bool {
    wanted.object().value()["roleRef"]["name"] == live["roleRef"]["name"]
}
