//! Writes of workspaces and kinds that come by no dialect of ours: what is asked of an admission
//! webhook, and by a cluster of our own, is answered here by the same functions.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use cluster::{
    Object,
    admission::{Denial, Operation, Request, Rules, configuration::Webhook},
    apply, error,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _, api::ListParams, core::ApiResource};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Caches,
    decide::{
        admission::{self, There, Users},
        filter::Labels,
        kind,
    },
    model::{GROUP, VERSION, Workspace, WorkspaceKind},
};

/// The name of the cluster's configuration with [`WEBHOOKS`].
pub const CONFIGURATION: &str = "workspaces-validating-webhook-configuration";
/// The name of the Service by which API servers reach them.
pub const SERVICE: &str = "workspaces-webhook-service";
/// How many workspaces are read at a time.
const PAGE: u32 = 500;

/// What API servers ask us about.
pub const WEBHOOKS: &[Webhook] = &[
    Webhook {
        name: "vworkspace.kb.io",
        path: "/validate-kubeflow-org-v1beta1-workspace",
        group: GROUP,
        version: VERSION,
        resource: "workspaces",
        operations: &["CREATE", "UPDATE"],
        scope: "Namespaced",
    },
    Webhook {
        name: "vworkspacekind.kb.io",
        path: "/validate-kubeflow-org-v1beta1-workspacekind",
        group: GROUP,
        version: VERSION,
        resource: "workspacekinds",
        operations: &["CREATE", "UPDATE", "DELETE"],
        scope: "Cluster",
    },
];

/// Lets a write pass, perhaps with warnings, or refuses it. What is no workspace and no kind passes,
/// and so does a status: that is the controller's business.
pub fn review(request: &Request<'_>, there: &impl There) -> Result<Vec<String>, Denial> {
    if request.group != GROUP || !request.subresource.is_empty() {
        return Ok(Vec::new());
    }
    match request.resource {
        "workspaces" => workspace(request, there).map(|()| Vec::new()),
        "workspacekinds" => workspace_kind(request, there),
        _ => Ok(Vec::new()),
    }
}

fn workspace(request: &Request<'_>, there: &impl There) -> Result<(), Denial> {
    let causes = match request.operation {
        Operation::Delete => return Ok(()),
        Operation::Create => admission::create_workspace(&new(request)?, there),
        Operation::Update => {
            admission::update_workspace(&old::<Workspace>(request)?, &new(request)?, there)
        }
    };
    Denial::invalid(request, causes)
}

fn workspace_kind(request: &Request<'_>, there: &impl There) -> Result<Vec<String>, Denial> {
    if request.operation == Operation::Delete {
        let causes = admission::delete_kind(&old(request)?, there);
        return Denial::conflict(request, causes).map(|()| Vec::new());
    }
    let new: WorkspaceKind = new(request)?;
    let causes = match request.operation {
        Operation::Create => kind::create(&new),
        _ => admission::update_kind(&old(request)?, &new, there),
    };
    Denial::invalid(request, causes)?;
    Ok(kind::warnings(&new.spec))
}

fn new<K: DeserializeOwned>(request: &Request<'_>) -> Result<K, Denial> {
    parse(request.object, "object")
}

fn old<K: DeserializeOwned>(request: &Request<'_>) -> Result<K, Denial> {
    parse(request.old_object, "oldObject")
}

fn parse<K: DeserializeOwned>(
    object: Option<&Map<String, Value>>,
    field: &str,
) -> Result<K, Denial> {
    let object = object.ok_or_else(|| Denial::bad_request(format!("there is no {field}")))?;
    // The schema of the definition was checked before, so this is about what it does not say.
    K::deserialize(object).map_err(|error| Denial::bad_request(error.to_string()))
}

/// The rules for the API server of a cluster elsewhere.
///
/// A write that what we have heard of lets pass, passes. What would be refused for something that
/// may only be news to us is decided anew by what the API says now.
pub struct Webhooks {
    client: Client,
    caches: Caches,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhooks")
    }
}

impl Webhooks {
    /// Rules that know what these caches know.
    pub fn new(client: Client, caches: Caches) -> Self {
        Self { client, caches }
    }

    /// Decides by what the API says now: each answer to what the rules want to know may lead to
    /// another question.
    async fn by_facts(&self, request: &Request<'_>) -> Result<Vec<String>, Denial> {
        let facts = Facts::default();
        loop {
            let verdict = review(request, &facts);
            let Some(wanted) = facts.wanted.take() else { return verdict };
            let found = self.find(&wanted).await.map_err(|source| {
                tracing::warn!(error = error::chain(&source), "an admission rule got no answer");
                Denial::internal("what the object depends on could not be looked up")
            })?;
            facts.known.borrow_mut().insert(wanted, found);
        }
    }

    async fn find(&self, wanted: &Fact) -> Result<Found, kube::Error> {
        let client = self.client.clone();
        Ok(match wanted {
            Fact::Kind(name) => {
                let kind = Api::<WorkspaceKind>::all(client).get_opt(name).await?;
                Found::Kind(kind.map(Box::new))
            }
            Fact::Labels(name) => {
                let namespace = Api::<Namespace>::all(client).get_opt(name).await?;
                Found::Labels(namespace.and_then(|n| n.metadata.labels).unwrap_or_default())
            }
            Fact::Users(kind) => Found::Users(users(&client, kind).await?),
        })
    }
}

impl Rules for Webhooks {
    async fn review(&self, request: &Request<'_>) -> Result<Vec<String>, Denial> {
        let heard = Heard { caches: &self.caches, unsure: Cell::new(!self.caches.is_ready()) };
        let verdict = review(request, &heard);
        match verdict {
            Ok(warnings) if !heard.unsure.get() => return Ok(warnings),
            _ => {}
        }
        self.by_facts(request).await
    }
}

/// All workspaces of a kind as the API has them now.
async fn users(client: &Client, kind: &str) -> Result<Users, kube::Error> {
    let api = apply::api(client, &ApiResource::erase::<Workspace>(&()), "");
    let mut users = Users::default();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.clone().filter(|next| !next.is_empty());
        for workspace in page.items.iter().filter(|workspace| workspace.text("/spec/kind") == kind)
        {
            let option = |name| workspace.text(name);
            let image = option("/spec/podTemplate/options/imageConfig");
            users.usage.add(image, option("/spec/podTemplate/options/podConfig"));
            users.keys.push(Object::key(workspace));
        }
        match next {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(users),
        }
    }
}

/// What the caches have heard of.
struct Heard<'a> {
    caches: &'a Caches,
    /// Whether somebody wanted to know what they may not know yet.
    unsure: Cell<bool>,
}

impl There for Heard<'_> {
    fn kind(&self, name: &str) -> Option<WorkspaceKind> {
        self.caches.kinds.get(None, name).map(|kind| WorkspaceKind::clone(&kind))
    }

    fn labels(&self, namespace: &str) -> Labels {
        let Some(namespace) = self.caches.namespaces.get(None, namespace) else {
            self.unsure.set(true);
            return Labels::new();
        };
        namespace.labels().clone()
    }

    fn users(&self, _: &str) -> Users {
        self.unsure.set(true);
        Users::default()
    }
}

/// Something that rules want to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Fact {
    Kind(String),
    Labels(String),
    Users(String),
}

enum Found {
    Kind(Option<Box<WorkspaceKind>>),
    Labels(Labels),
    Users(Users),
}

/// What was found out, and what is to be found out next: the verdict counts only without that.
#[derive(Default)]
struct Facts {
    known: RefCell<HashMap<Fact, Found>>,
    wanted: RefCell<Option<Fact>>,
}

impl Facts {
    fn ask<T>(&self, fact: Fact, pick: impl Fn(&Found) -> Option<T>) -> Option<T> {
        let known = self.known.borrow().get(&fact).map(pick);
        if known.is_none() {
            self.wanted.replace(Some(fact));
        }
        known.flatten()
    }
}

impl There for Facts {
    fn kind(&self, name: &str) -> Option<WorkspaceKind> {
        self.ask(Fact::Kind(name.to_owned()), |found| match found {
            Found::Kind(Some(kind)) => Some(WorkspaceKind::clone(kind)),
            _ => None,
        })
    }

    fn labels(&self, namespace: &str) -> Labels {
        let labels = self.ask(Fact::Labels(namespace.to_owned()), |found| match found {
            Found::Labels(labels) => Some(labels.clone()),
            _ => None,
        });
        labels.unwrap_or_default()
    }

    fn users(&self, kind: &str) -> Users {
        let users = self.ask(Fact::Users(kind.to_owned()), |found| match found {
            Found::Users(users) => Some(users.clone()),
            _ => None,
        });
        users.unwrap_or_default()
    }
}
