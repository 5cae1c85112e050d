//! The rules of acceptance at the API of our own cluster: what `kubectl` writes is held to them like
//! what comes through a dialect, by the functions that answer admission webhooks elsewhere.

use std::sync::Arc;

use cluster::{
    Key,
    admission::{Denial, Operation, Request, Reviews, configuration::Webhook},
};
use embedded::{
    api::{Details, admission as own},
    schema::Cause,
    store::{Entry, Store},
};
use serde::de::DeserializeOwned;
use workspaces::{
    admission::{WEBHOOKS, review},
    decide::{
        admission::{There, Users},
        filter::Labels,
    },
    model::{Workspace, WorkspaceKind},
};

/// All rules, for the cluster with this store.
pub(super) fn rules(store: &Store, reviews: &Reviews) -> Vec<Arc<dyn own::Admission>> {
    let rule = |webhook| {
        let (there, reviews) = (Stored(store.clone()), reviews.clone());
        Arc::new(Rule { webhook, there, reviews }) as Arc<_>
    };
    WEBHOOKS.iter().map(rule).collect()
}

/// One webhook of the contract, without the way to it.
struct Rule {
    webhook: &'static Webhook,
    there: Stored,
    reviews: Reviews,
}

impl own::Admission for Rule {
    fn name(&self) -> &str {
        self.webhook.name
    }

    fn review(&self, request: &own::AdmissionRequest<'_>) -> Result<Vec<String>, own::Denial> {
        let Webhook { group, resource, .. } = self.webhook;
        if (request.group, request.resource) != (group, resource) {
            return Ok(Vec::new());
        }
        let operation = match request.operation {
            own::Operation::Create => Operation::Create,
            own::Operation::Update => Operation::Update,
            own::Operation::Delete => Operation::Delete,
        };
        let request = Request {
            operation,
            group,
            resource,
            kind: request.kind,
            subresource: request.subresource,
            name: request.name,
            namespace: request.namespace,
            object: request.object,
            old_object: request.old_object,
        };
        let verdict = review(&request, &self.there);
        self.reviews.note(self.webhook.name, &verdict);
        verdict.map_err(in_words_of_the_api)
    }
}

fn in_words_of_the_api(denial: Denial) -> own::Denial {
    let Denial { code, reason, message, details } = denial;
    let details = details.map(|details| {
        let causes = details.causes.unwrap_or_default().into_iter().map(|cause| Cause {
            reason: cause.reason.unwrap_or_default(),
            field: cause.field.unwrap_or_default(),
            message: cause.message.unwrap_or_default(),
        });
        Box::new(Details {
            name: details.name.unwrap_or_default(),
            group: details.group.unwrap_or_default(),
            kind: details.kind.unwrap_or_default(),
            causes: causes.collect(),
            ..Details::default()
        })
    });
    own::Denial { code, reason: reason.to_owned(), message, details }
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

    fn users(&self, kind: &str) -> Users {
        let all = self.0.list("workspaces.kubeflow.org", "").entries;
        let mut users = Users::default();
        for workspace in all.iter().filter_map(|(_, entry)| read::<Workspace>(entry)) {
            if workspace.spec.kind == kind {
                let options = &workspace.spec.pod_template.options;
                users.usage.add(&options.image_config, &options.pod_config);
                users.keys.push(Key::of(&workspace.metadata));
            }
        }
        users
    }
}
