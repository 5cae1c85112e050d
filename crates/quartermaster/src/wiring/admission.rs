//! The rules of acceptance at the API of our own cluster: what `kubectl` writes is held to them like
//! what comes through a dialect, in the words of the contract's webhooks.

use std::sync::Arc;

use embedded::{
    api::{
        Details,
        admission::{Admission, AdmissionRequest, Denial, Operation},
    },
    schema,
    store::{Entry, Store},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use web::Cause;
use workspaces::{
    decide::{
        admission::{self, There},
        filter::Labels,
        kind,
    },
    model::{GROUP, Workspace, WorkspaceKind},
};

/// All rules, for the cluster with this store.
pub(super) fn rules(store: &Store) -> Vec<Arc<dyn Admission>> {
    let there = Stored(store.clone());
    vec![Arc::new(Workspaces(there.clone())), Arc::new(Kinds(there))]
}

/// `vworkspace.kb.io` of the contract.
struct Workspaces(Stored);

/// `vworkspacekind.kb.io` of the contract.
struct Kinds(Stored);

impl Admission for Workspaces {
    fn name(&self) -> &str {
        "vworkspace.kb.io"
    }

    fn review(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Denial> {
        let Some(new) = written(request, "workspaces")? else { return Ok(Vec::new()) };
        let causes = match replaced::<Workspace>(request)? {
            None => admission::create_workspace(&new, &self.0),
            Some(old) => admission::update_workspace(&old, &new, &self.0),
        };
        invalid(request, causes)?;
        Ok(Vec::new())
    }
}

impl Admission for Kinds {
    fn name(&self) -> &str {
        "vworkspacekind.kb.io"
    }

    fn review(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Denial> {
        if request.operation == Operation::Delete && is(request, "workspacekinds") {
            let old = replaced::<WorkspaceKind>(request)?;
            let causes = old.map(|old| admission::delete_kind(&old, &self.0));
            return conflict(request, causes.unwrap_or_default()).map(|()| Vec::new());
        }
        let Some(new) = written::<WorkspaceKind>(request, "workspacekinds")? else {
            return Ok(Vec::new());
        };
        let causes = match replaced::<WorkspaceKind>(request)? {
            None => kind::create(&new),
            Some(old) => admission::update_kind(&old, &new, &self.0),
        };
        invalid(request, causes)?;
        Ok(kind::warnings(&new.spec))
    }
}

/// What the store holds: nothing is older than the write that is asked about.
#[derive(Clone)]
struct Stored(Store);

impl Stored {
    fn get<K: DeserializeOwned>(&self, table: &str, key: &str) -> Option<K> {
        read(&*self.0.get(table, key)?)
    }
}

fn read<K: DeserializeOwned>(entry: &Entry) -> Option<K> {
    serde_json::from_slice(entry.json()).ok()
}

impl There for Stored {
    fn kind(&self, name: &str) -> Option<WorkspaceKind> {
        self.get("workspacekinds.kubeflow.org", name)
    }

    fn labels(&self, namespace: &str) -> Labels {
        let Some(namespace) = self.0.get("namespaces", namespace) else { return Labels::new() };
        let labels = namespace.meta().labels.iter();
        labels.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn users(&self, kind: &str) -> Vec<Workspace> {
        let all = self.0.list("workspaces.kubeflow.org", "").entries;
        let all = all.iter().filter_map(|(_, entry)| read::<Workspace>(entry));
        all.filter(|workspace| workspace.spec.kind == kind).collect()
    }
}

/// Whether an object of ours is asked about. Its status is the controller's business.
fn is(request: &AdmissionRequest<'_>, resource: &str) -> bool {
    request.group == GROUP && request.resource == resource && request.subresource.is_empty()
}

/// The object as it would be stored, if it is one of ours.
fn written<K: DeserializeOwned>(
    request: &AdmissionRequest<'_>,
    resource: &str,
) -> Result<Option<K>, Denial> {
    if is(request, resource) { parse(request.object) } else { Ok(None) }
}

/// The object as it is.
fn replaced<K: DeserializeOwned>(request: &AdmissionRequest<'_>) -> Result<Option<K>, Denial> {
    parse(request.old_object)
}

fn parse<K: DeserializeOwned>(object: Option<&Map<String, Value>>) -> Result<Option<K>, Denial> {
    let Some(object) = object else { return Ok(None) };
    // The schema of the definition was checked before, so this is about what it does not say.
    let parsed = serde_json::from_value(Value::Object(object.clone()));
    parsed.map(Some).map_err(|error| Denial {
        code: 400,
        reason: "BadRequest".to_owned(),
        ..Denial::forbidden(error.to_string())
    })
}

fn details(request: &AdmissionRequest<'_>, kind: &str, causes: Vec<schema::Cause>) -> Details {
    Details {
        name: request.name.to_owned(),
        group: request.group.to_owned(),
        kind: kind.to_owned(),
        causes,
        ..Details::default()
    }
}

fn in_words_of_the_api(causes: Vec<Cause>) -> Vec<schema::Cause> {
    let same = |Cause { reason, field, message, .. }| schema::Cause { reason, field, message };
    causes.into_iter().map(same).collect()
}

/// 422, with one cause for each field.
fn invalid(request: &AdmissionRequest<'_>, causes: Vec<Cause>) -> Result<(), Denial> {
    if causes.is_empty() {
        return Ok(());
    }
    let (kind, group, name) = (request.kind, request.group, request.name);
    let causes = in_words_of_the_api(causes);
    Err(Denial {
        code: 422,
        reason: "Invalid".to_owned(),
        message: schema::summary(group, kind, name, &causes),
        details: Some(Box::new(details(request, kind, causes))),
    })
}

/// 409, with what stands in the way.
fn conflict(request: &AdmissionRequest<'_>, causes: Vec<Cause>) -> Result<(), Denial> {
    let Some(first) = causes.first() else { return Ok(()) };
    let (resource, group, name) = (request.resource, request.group, request.name);
    let message =
        format!("Operation cannot be fulfilled on {resource}.{group} {name:?}: {}", first.message);
    let causes = in_words_of_the_api(causes);
    let details = details(request, resource, causes);
    let reason = "Conflict".to_owned();
    Err(Denial { code: 409, reason, message, details: Some(Box::new(details)) })
}
