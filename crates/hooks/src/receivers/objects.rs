//! The objects that a receiver is for: each entry of its list is a target, told through the journal
//! like any other. Who could not be asked is asked again.

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::ApiResource,
};
use serde_json::{Map, Value, json};

use super::build::{Resources, Which};
use crate::{
    decide::{
        cel::{Expression, Input},
        json,
    },
    model::Event,
    targets::{
        Failure, Target, Telling,
        cluster::{REQUESTED, ask},
    },
};

/// Patches at a time.
const AT_ONCE: usize = 8;

/// What expressions see of a request, as an event has it; nothing if it is no JSON that they could
/// look at.
pub(super) fn shown(payload: &[u8], claims: &Value) -> Option<Value> {
    let req = json::first::<Map<String, Value>>(payload).ok()?;
    Some(json!({"req": req, "claims": claims}))
}

/// See the module.
pub(super) struct Objects {
    name: String,
    client: Client,
    resources: Resources,
    /// All must be true of an object.
    filters: Vec<Expression>,
    /// Whether they are in a namespace that is out of reach.
    out_of_reach: bool,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Objects {
    pub(super) fn new(
        name: String,
        client: Client,
        resources: Resources,
        filters: Vec<Expression>,
        out_of_reach: bool,
    ) -> Self {
        Self { name, client, resources, filters, out_of_reach }
    }

    /// Asks all that are meant, each on its own account.
    async fn ask(&self, event: &Event) -> Result<(), Failure> {
        if self.out_of_reach {
            return Err(Failure::Permanent("another namespace".to_owned()));
        }
        let Resources { kind, namespace, which, .. } = &self.resources;
        let kind = ApiResource::from_gvk(kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let found = match which {
            Which::Name(name) => vec![api.get(name).await.map_err(|error| failure(&error))?],
            Which::Labels(labels) => {
                let all = ListParams::default().labels(labels);
                api.list(&all).await.map_err(|error| failure(&error))?.items
            }
        };
        let mut known: BTreeMap<_, _> = found
            .iter()
            .map(|object| (object.metadata.name.clone(), object.metadata.clone()))
            .collect();
        let (names, mut failures) = self.passing(found, event.raw.clone()).await;
        let chosen = names.into_iter().filter_map(|name| known.remove(&Some(name)));
        let api = &api;
        let patches = chosen.map(|metadata| async move {
            let annotations = |value: &str| json!({REQUESTED: value});
            let asked = ask(api, metadata, annotations).await;
            asked.map(drop).map_err(|error| failure(&error))
        });
        let mut patches = stream::iter(patches).buffer_unordered(AT_ONCE);
        while let Some(patched) = patches.next().await {
            failures.extend(patched.err());
        }
        // What time may mend counts most.
        let hope = |failure: &Failure| match failure {
            Failure::TimedOut | Failure::Transient { .. } => 0,
            Failure::Unwelcome(_) => 1,
            Failure::Permanent(_) => 2,
        };
        failures.into_iter().min_by_key(hope).map_or(Ok(()), Err)
    }

    /// The names of the objects that pass all filters, and why some could not be asked about. Away
    /// from the threads that serve connections, because each question may take a tenth of a second.
    async fn passing(
        &self,
        found: Vec<DynamicObject>,
        shown: Option<Value>,
    ) -> (Vec<String>, Vec<Failure>) {
        if self.filters.is_empty() {
            let names = found.into_iter().filter_map(|object| object.metadata.name);
            return (names.collect(), Vec::new());
        }
        let kind = &self.resources.kind;
        let (version, word) = (kind.api_version(), kind.kind.clone());
        let filters = self.filters.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let shown = shown.unwrap_or_default();
            let (mut names, mut failures) = (Vec::new(), Vec::new());
            for object in found {
                let res = json!({"apiVersion": version, "kind": word, "metadata": object.metadata});
                let (req, claims) = (&shown["req"], &shown["claims"]);
                let input = Input { req, claims, res: &res, ..Input::nothing() };
                let name = object.metadata.name.unwrap_or_default();
                // All must hold; the first that does not decides.
                let verdict = filters.iter().try_fold(true, |passes, filter| {
                    if passes { filter.passes(input) } else { Ok(false) }
                });
                match verdict {
                    Ok(true) => names.push(name),
                    Ok(false) => {}
                    Err(error) => failures.push(Failure::Permanent(format!("{name}: {error}"))),
                }
            }
            (names, failures)
        });
        asked
            .await
            .unwrap_or_else(|error| (Vec::new(), vec![Failure::transient(error.to_string())]))
    }
}

/// What an answer of the API means. An object that is missing may be made soon.
fn failure(error: &kube::Error) -> Failure {
    let why = cluster::error::chain(error);
    match error {
        kube::Error::Api(status) if [403, 404].contains(&status.code) => Failure::Unwelcome(why),
        _ => Failure::transient(why),
    }
}

impl Target for Objects {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, _: &Event) -> Option<String> {
        Some(self.resources.to_string())
    }

    /// Every request asks at once, whatever is still to be repeated of those before.
    fn coalesces(&self) -> bool {
        true
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        self.ask(telling.event).boxed()
    }
}

/// The targets of a receiver, which have names of their own.
pub(super) fn targets(
    receiver: &str,
    client: &Client,
    resources: Vec<Resources>,
    filter: Option<&Expression>,
    only: Option<&str>,
) -> Vec<Arc<dyn Target>> {
    let mut made: Vec<Arc<dyn Target>> = Vec::new();
    for one in resources {
        let plain = format!("{receiver}: {one}");
        let same = |target: &&Arc<dyn Target>| target.name().starts_with(&plain);
        let name = match made.iter().filter(same).count() {
            0 => plain,
            others => format!("{plain} ({})", others + 1),
        };
        let filters = filter.into_iter().chain(&one.filter).cloned().collect();
        let out_of_reach = only.is_some_and(|only| only != one.namespace);
        made.push(Arc::new(Objects::new(name, client.clone(), one, filters, out_of_reach)));
    }
    made
}
