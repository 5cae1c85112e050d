//! Asks the objects of a receiver to reconcile: all at once, and each on its own account.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Map, Value, json};

use super::build::{Built, Resources, Which};
use crate::decide::{
    cel::{Expression, Input},
    json,
};

/// Patches at a time.
const AT_ONCE: usize = 8;

/// What a request said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    req: Arc<Value>,
    claims: Arc<Value>,
}

impl Said {
    /// What expressions see of a request; nothing if it is no JSON that they could look at.
    pub(super) fn of(built: &Built, payload: &[u8], claims: Value) -> Option<Self> {
        let looks =
            built.filter.is_some() || built.resources.iter().any(|one| one.filter.is_some());
        let req = if looks {
            Value::Object(json::first::<Map<String, Value>>(payload).ok()?)
        } else {
            Value::Null
        };
        Some(Self { req: req.into(), claims: claims.into() })
    }
}

/// Asks all objects; gives why some could not be asked.
pub(super) async fn all(
    client: &Client,
    built: &Built,
    said: &Said,
    own_namespace_only: Option<&str>,
) -> Vec<String> {
    let now = format!("{:.9}", Timestamp::now());
    let mut problems = Vec::new();
    for resources in &built.resources {
        if own_namespace_only.is_some_and(|own| own != resources.namespace) {
            let (kind, namespace) = (&resources.kind.kind, &resources.namespace);
            problems.push(format!("{kind} in {namespace}: another namespace"));
            continue;
        }
        if let Err(error) = some(client, built, resources, said, &now, &mut problems).await {
            problems.push(format!("{}: {}", resources.kind.kind, cluster::error::chain(&error)));
        }
    }
    problems
}

async fn some(
    client: &Client,
    built: &Built,
    resources: &Resources,
    said: &Said,
    now: &str,
    problems: &mut Vec<String>,
) -> Result<(), kube::Error> {
    let kind = ApiResource::from_gvk(&resources.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &resources.namespace, &kind);
    let found = match &resources.which {
        Which::Name(name) => vec![api.get(name).await?],
        Which::Labels(labels) => api.list(&ListParams::default().labels(labels)).await?.items,
    };
    let filters: Vec<Expression> = built.filter.iter().chain(&resources.filter).cloned().collect();
    let (names, unclear) = passing(resources, found, filters, said.clone()).await;
    problems.extend(unclear);
    let who = PatchParams { field_manager: Some("quartermaster".to_owned()), ..Default::default() };
    let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}});
    let patch = Patch::Merge(asked);
    let (patch, api, who) = (&patch, &api, &who);
    let patches = names.into_iter().map(|name| async move {
        let patched = api.patch(&name, who, patch).await;
        patched.err().map(|error| format!("{name}: {}", cluster::error::chain(&error)))
    });
    let mut patches = stream::iter(patches).buffer_unordered(AT_ONCE);
    while let Some(problem) = patches.next().await {
        problems.extend(problem);
    }
    Ok(())
}

/// The names of the objects that pass all filters, and why some could not be asked about. Away from
/// the threads that serve connections, because each question may take a tenth of a second.
async fn passing(
    resources: &Resources,
    found: Vec<DynamicObject>,
    filters: Vec<Expression>,
    said: Said,
) -> (Vec<String>, Vec<String>) {
    if filters.is_empty() {
        return (found.into_iter().filter_map(|object| object.metadata.name).collect(), Vec::new());
    }
    let kind = &resources.kind;
    let (version, word) = (kind.api_version(), kind.kind.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let (mut names, mut problems) = (Vec::new(), Vec::new());
        for object in found {
            let res = json!({"apiVersion": version, "kind": word, "metadata": object.metadata});
            let input =
                Input { req: &said.req, claims: &said.claims, res: &res, ..Input::nothing() };
            let name = object.metadata.name.unwrap_or_default();
            // All must hold; the first that does not decides.
            let verdict = filters.iter().try_fold(true, |passes, filter| {
                if passes { filter.passes(input) } else { Ok(false) }
            });
            match verdict {
                Ok(true) => names.push(name),
                Ok(false) => {}
                Err(error) => problems.push(format!("{name}: {error}")),
            }
        }
        (names, problems)
    });
    asked.await.unwrap_or_else(|error| (Vec::new(), vec![error.to_string()]))
}
