//! ResourceQuota: what the objects of a namespace may use together.
//!
//! A write is charged before it is done and holds the charges of all others back until it is, so
//! that no two writes ever take the same last piece. A task keeps `status` current when objects go
//! or need less; it writes only what changed.

pub(crate) mod amount;
mod judge;
pub(crate) mod usage;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use self::{
    amount::{Amount, Amounts},
    judge::Quota,
};
use super::{Api, Status, metadata::Object, read, write::Target};
use crate::store::EventKind;

const TABLE: &str = "resourcequotas";
/// When to try again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// A write that was charged. Others wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    api: &'a Api,
    namespace: String,
    changed: bool,
    _turn: MutexGuard<'a, ()>,
}

impl Charge<'_> {
    /// Takes the charge back, because the write was not done.
    pub(crate) async fn undo(self) {
        if self.changed
            && let Err(status) = recount(self.api, &self.namespace).await
        {
            tracing::warn!(
                error = status.message(),
                "cannot take back a charge, will be recounted"
            );
        }
    }
}

fn quotas(api: &Api, namespace: &str) -> Vec<Quota> {
    let listing = api.store.list(TABLE, &format!("{namespace}/"));
    listing.entries.iter().map(|(key, entry)| Quota::new(key, entry.object())).collect()
}

/// Whether the namespace of an object has quotas that may count it.
fn has_quotas(api: &Api, target: &Target) -> bool {
    target.resource.namespaced
        && !target.resource.is("events")
        && api.store.count(TABLE) > 0
        && !api.store.list(TABLE, &format!("{}/", target.namespace)).entries.is_empty()
}

/// Charges the quotas of a namespace for a write, or refuses it.
pub(crate) async fn charge<'a>(
    api: &'a Api,
    target: &Target,
    new: &Object,
    old: Option<&Object>,
    dry_run: bool,
) -> Result<Option<Charge<'a>>, Status> {
    let table = &target.resource.table;
    if !has_quotas(api, target) || (old.is_some() && usage::is_uniform(table)) {
        return Ok(None);
    }
    let turn = api.charges.lock().await;
    let (new, old) = (Value::Object(new.clone()), old.map(|old| Value::Object(old.clone())));
    let mut charged: Vec<(Quota, Amounts)> = Vec::new();
    for quota in quotas(api, &target.namespace) {
        let used = quota
            .judge(table, &new, old.as_ref())
            .map_err(|why| Status::forbidden(&target.resource, &target.name, &why))?;
        charged.extend(used.map(|used| (quota, used)));
    }
    let changed = !dry_run && !charged.is_empty();
    if changed {
        for (quota, used) in charged {
            write_status(api, &quota.key, None, amount::write(&used)).await?;
        }
    }
    let namespace = target.namespace.clone();
    Ok(Some(Charge { api, namespace, changed, _turn: turn }))
}

fn quota_target(api: &Api, key: &str) -> Option<Target> {
    Some(read::target(api.kinds().find_table(TABLE)?, key))
}

/// Writes the status of a quota. A type of its own for the future, as a write itself comes here.
fn write_status<'a>(
    api: &'a Api,
    key: &'a str,
    hard: Option<Value>,
    used: Value,
) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        let Some(target) = quota_target(api, key) else { return Ok(()) };
        let write = api.modify_unchecked(&target, false, |current| {
            let mut object = current.clone();
            let status = object.entry("status").or_insert(Value::Null);
            if !status.is_object() {
                *status = json!({});
            }
            if let Some(hard) = &hard {
                status["hard"] = hard.clone();
            }
            status["used"] = used.clone();
            Ok((object, Vec::new()))
        });
        match write.await {
            // The quota went away: nothing is left to keep.
            Err(status) if status.code() == 404 => Ok(()),
            other => other,
        }
    })
}

/// Brings the quotas of a namespace up to date. Whoever calls it holds the turn.
async fn recount(api: &Api, namespace: &str) -> Result<(), Status> {
    for quota in quotas(api, namespace) {
        let used = count(api, namespace, &quota);
        if quota.is_current(&used) {
            continue;
        }
        let hard = Some(amount::write(&quota.spec_hard));
        write_status(api, &quota.key, hard, amount::write(&used)).await?;
    }
    Ok(())
}

/// What the objects of a namespace use of what a quota limits.
fn count(api: &Api, namespace: &str, quota: &Quota) -> Amounts {
    let mut used = Amounts::new();
    let now = jiff::Timestamp::now();
    let prefix = format!("{namespace}/");
    for resource in api.kinds().tables().filter(|resource| resource.namespaced) {
        let table = &*resource.table;
        let limited: Vec<&String> =
            quota.spec_hard.keys().filter(|name| usage::tracks(table, name)).collect();
        if limited.is_empty() {
            continue;
        }
        let entries = api.store.list(table, &prefix).entries;
        let mut sum = Amounts::new();
        if usage::is_uniform(table) {
            let all = if quota.scopes.is_empty() { entries.len() } else { 0 };
            sum.extend(limited.iter().map(|name| ((*name).clone(), Amount::whole(all))));
        } else {
            for (_, entry) in &entries {
                let object = Value::Object(entry.object());
                if quota.scopes.iter().all(|scope| usage::in_scope(table, &object, scope)) {
                    amount::add(&mut sum, &usage::usage(table, &object, now));
                }
            }
        }
        for name in limited {
            let amount = sum.get(name).copied().unwrap_or_default();
            let entry = used.entry(name.clone()).or_default();
            *entry = entry.plus(amount);
        }
    }
    // What nothing here uses keeps what somebody else wrote.
    for (name, amount) in &quota.used {
        if quota.spec_hard.contains_key(name) {
            used.entry(name.clone()).or_insert(*amount);
        }
    }
    used
}

/// Keeps quotas current.
pub(crate) async fn run(api: Arc<Api>) {
    let stop = api.stop.clone();
    stop.run_until_cancelled(follow(api)).await;
}

async fn follow(api: Arc<Api>) {
    let mut seen = api.store.revision();
    let mut stale = all_namespaces(&api);
    loop {
        let mut failed = BTreeSet::new();
        for namespace in std::mem::take(&mut stale) {
            let _turn = api.charges.lock().await;
            if let Err(status) = recount(&api, &namespace).await {
                tracing::warn!(namespace, error = status.message(), "cannot count, will retry");
                failed.insert(namespace);
            }
        }
        if failed.is_empty() {
            api.store.reached(seen + 1).await;
        } else {
            tokio::time::sleep(RETRY).await;
        }
        stale = failed;
        let until = api.store.revision();
        stale.extend(changed_namespaces(&api, seen, until));
        seen = until;
    }
}

fn all_namespaces(api: &Api) -> BTreeSet<String> {
    let quotas = api.store.list(TABLE, "").entries;
    quotas.iter().filter_map(|(key, _)| Some(key.split_once('/')?.0.to_owned())).collect()
}

/// The namespaces with quotas in which something changed that may count, charges aside.
fn changed_namespaces(api: &Api, after: u64, until: u64) -> BTreeSet<String> {
    let limited = all_namespaces(api);
    let mut changed = BTreeSet::new();
    if limited.is_empty() {
        return changed;
    }
    let now = jiff::Timestamp::now();
    for table in api.store.resources() {
        let Ok(events) = api.store.events_between(&table, after, until) else { return limited };
        for event in events {
            let Some((namespace, _)) = event.key.split_once('/') else { break };
            if !limited.contains(namespace) || changed.contains(namespace) {
                continue;
            }
            let of = |entry: &crate::store::Entry| {
                usage::usage(&table, &Value::Object(entry.object()), now)
            };
            let counts = match event.kind {
                _ if &*table == TABLE => true,
                EventKind::Deleted => true,
                // A new object was charged.
                EventKind::Added => false,
                EventKind::Modified if usage::is_uniform(&table) => false,
                EventKind::Modified => {
                    event.previous.as_ref().is_none_or(|previous| of(previous) != of(&event.object))
                }
            };
            if counts {
                changed.insert(namespace.to_owned());
            }
        }
    }
    changed
}
