//! Lists: assembled from kept bytes, a page at a time if wanted.

use std::{fmt::Write, sync::Arc, time::Duration};

use base64::{DecodeError, Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;
use serde_json::{Value, json};

use super::{
    Api, Body, Status,
    delete::DeleteOptions,
    kinds::Resource,
    query::{ListOptions, Revision},
    selector::{self, FieldSelector, LabelSelector},
    serve, syntax,
    view::View,
    write::Target,
};
use crate::store::{Entry, Listing};

/// How long a request waits for a revision that is not there yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which objects of a resource a list or a watch is about.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) prefix: String,
    name: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    pub(crate) fn new(
        resource: &Resource,
        namespace: &str,
        name: Option<String>,
        options: &ListOptions,
    ) -> Result<Self, Status> {
        check_fields(resource, &options.fields)?;
        let (labels, fields) = (options.labels.clone(), options.fields.clone());
        let prefix = match namespace {
            "" => String::new(),
            namespace if resource.namespaced => format!("{namespace}/"),
            _ => String::new(),
        };
        Ok(Self { prefix, name, labels, fields })
    }

    pub(crate) fn accepts(&self, key: &str, entry: &Entry) -> bool {
        let name = key.rsplit('/').next().unwrap_or(key);
        key.starts_with(&self.prefix)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.labels.matches(&entry.meta().labels)
            && self.fields.matches(entry)
    }

    fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

/// Refuses fields that cannot be selected.
fn check_fields(resource: &Resource, fields: &FieldSelector) -> Result<(), Status> {
    let selectable = selector::selectable(&resource.table);
    for field in fields.fields() {
        let common =
            field == "metadata.name" || (field == "metadata.namespace" && resource.namespaced);
        let custom = resource.custom.as_ref();
        let of_custom =
            custom.is_some_and(|custom| custom.selectable.iter().any(|one| one == field));
        if common || of_custom || selectable.contains(&field) {
            continue;
        }
        return Err(Status::bad_request(if resource.is("jobs.batch") {
            format!("field label {field:?} not supported for Job")
        } else if custom.is_some() || !selectable.is_empty() {
            format!("field label not supported: {field}")
        } else {
            format!(
                "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )
        }));
    }
    Ok(())
}

/// Waits until the store has a revision that a client knows of.
pub(crate) async fn await_revision(api: &Api, wanted: &str) -> Result<(), Status> {
    let Ok(wanted) = wanted.parse::<u64>() else { return Ok(()) };
    reach(api, wanted).await
}

pub(crate) async fn reach(api: &Api, wanted: u64) -> Result<(), Status> {
    if wanted <= api.store.revision() {
        return Ok(());
    }
    tokio::time::timeout(PATIENCE, api.store.reached(wanted))
        .await
        .map_err(|_| Status::too_large_revision(wanted, api.store.revision()))
}

struct Page {
    revision: u64,
    after: String,
}

/// The token that continues a list after a key, at the revision where the list began.
fn token(revision: u64, after: &str) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{after}\u{0}")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn read_token(text: &str) -> Result<Page, Status> {
    let invalid = |why: &str| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len() / 4 * 4,
        };
        invalid(&format!("illegal base64 data at input byte {at}"))
    })?;
    let token: Value = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(&syntax::problem(&bytes).unwrap_or_else(|| error.to_string())))?;
    let version = token.get("v").and_then(Value::as_str).unwrap_or_default();
    if version != "meta.k8s.io/v1" {
        return Err(invalid(&format!("server does not recognize this encoded version {version}")));
    }
    let revision = token.get("rv").and_then(Value::as_u64).unwrap_or(0);
    if revision == 0 {
        return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    let start = token.get("start").and_then(Value::as_str).unwrap_or_default();
    let leaves = start.split('/').any(|part| matches!(part, "." | "..")) || start.contains("//");
    if leaves || start.is_empty() {
        return Err(invalid(start));
    }
    let after = start.strip_suffix('\u{0}').unwrap_or(start);
    Ok(Page { revision, after: after.to_owned() })
}

async fn select(
    api: &Api,
    resource: &Resource,
    filter: &Filter,
    options: &ListOptions,
) -> Result<Listing, Status> {
    let at = |revision: u64| api.store.list_at(&resource.table, &filter.prefix, revision);
    let too_old = |wanted: u64, oldest: u64| {
        Status::expired(format!(
            "The resourceVersion for the provided list is too old: {wanted} ({oldest})."
        ))
    };
    let mut listing = if options.continues.is_empty() {
        match options.revision {
            Revision::Exact(revision) => {
                reach(api, revision).await?;
                at(revision).map_err(|expired| too_old(revision, expired.oldest))?
            }
            Revision::NotOlderThan(revision) => {
                reach(api, revision).await?;
                api.store.list(&resource.table, &filter.prefix)
            }
            Revision::Latest => api.store.list(&resource.table, &filter.prefix),
        }
    } else {
        let page = read_token(&options.continues)?;
        if !matches!(options.revision, Revision::Latest | Revision::NotOlderThan(0)) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        reach(api, page.revision).await?;
        let mut listing = at(page.revision).map_err(|_| {
            Status::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.")
        })?;
        listing.entries.retain(|(key, _)| **key > *page.after);
        listing
    };
    if filter.selects() {
        listing.entries.retain(|(key, entry)| filter.accepts(key, entry));
    }
    Ok(listing)
}

pub(crate) async fn list(
    api: &Arc<Api>,
    resource: &Arc<Resource>,
    namespace: &str,
    options: ListOptions,
    view: &View,
) -> Result<Response<Body>, Status> {
    let filter = Filter::new(resource, namespace, None, &options)?;
    let mut listing = select(api, resource, &filter, &options).await?;
    let left = match options.limit {
        0 => 0,
        limit => listing.entries.len().saturating_sub(limit),
    };
    if left > 0 {
        listing.entries.truncate(options.limit);
    }
    let mut meta = format!("\"resourceVersion\":\"{}\"", listing.revision);
    if left > 0 {
        let last = listing.entries.last().map(|(key, _)| &**key).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(meta, ",\"continue\":\"{}\"", token(listing.revision, last));
        if !filter.selects() {
            let _ = write!(meta, ",\"remainingItemCount\":{left}");
        }
    } else if resource.custom.is_some() {
        // Lists of built-in kinds leave an empty token out.
        meta.insert_str(0, "\"continue\":\"\",");
    }
    let items = listing.entries.iter().map(|(_, entry)| view.item(entry)).collect();
    Ok(serve::json(Body::list(view.list_head(&meta), items, view.items_are_open())))
}

/// Deletes all objects that are selected, and answers with the list of them.
pub(crate) async fn delete_all(
    api: &Arc<Api>,
    resource: &Arc<Resource>,
    namespace: &str,
    list: ListOptions,
    options: &DeleteOptions,
    view: &View,
) -> Result<Response<Body>, Status> {
    let filter = Filter::new(resource, namespace, None, &list)?;
    let listing = select(api, resource, &filter, &list).await?;
    let items = listing.entries.iter().map(|(_, entry)| view.item(entry)).collect();
    let targets = listing.entries.iter().map(|(key, _)| target(resource, key));
    let deletions = targets.map(|target| async move {
        match api.delete(&target, options).await {
            // Somebody else was faster.
            Err(status) if status.code() == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    });
    futures::future::try_join_all(deletions).await?;
    let meta = format!("\"resourceVersion\":\"{}\"", listing.revision);
    Ok(serve::json(Body::list(view.list_head(&meta), items, view.items_are_open())))
}

/// The object of a key.
pub(crate) fn target(resource: &Arc<Resource>, key: &str) -> Target {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    Target { resource: resource.clone(), namespace: namespace.into(), name: name.into() }
}
