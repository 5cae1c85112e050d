//! Makes the roles that every cluster has, keeps them whole, and puts together the roles that are
//! made of others.
//!
//! What an administrator took out of a default role comes back at the next start, what they added
//! stays, and a role with the annotation set to `false` is left alone, as on a real cluster.

use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    Rule, defaults,
    escalation::is_covered,
    policy::{CLUSTER_BINDINGS, CLUSTER_ROLES, rules_of},
};
use crate::{
    api::{
        Api, Status, kinds::Resource, metadata::Object, query::WriteOptions, read, write::Target,
    },
    schema::builtin::selects,
};

/// Whether a default role is kept whole.
pub(super) const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// How often roles made of roles made of roles are looked at in one go.
const ROUNDS: usize = 16;

/// Makes and mends the default roles and bindings.
pub(crate) async fn reconcile(api: &Api) -> Result<(), Status> {
    let registry = api.kinds();
    let wanted = [
        (CLUSTER_ROLES, defaults::cluster_roles()),
        (CLUSTER_BINDINGS, defaults::cluster_bindings()),
    ];
    let mut work = Vec::new();
    for (table, objects) in wanted {
        let Some(resource) = registry.find_table(table) else { continue };
        work.extend(objects.into_iter().map(|object| keep(api, resource, object)));
    }
    futures::future::try_join_all(work).await?;
    settle(api).await
}

async fn keep(api: &Api, resource: &Arc<Resource>, wanted: Value) -> Result<(), Status> {
    let target = read::target(resource, super::super::kinds::text(&wanted, "/metadata/name"));
    if api.store.get(&resource.table, &target.key()).is_none() {
        let Value::Object(object) = wanted else { return Ok(()) };
        api.create(resource, "", object.into(), WriteOptions::internal()).await?;
        return Ok(());
    }
    api.modify_unchecked(&target, false, |current| Ok((mended(current, &wanted), Vec::new()))).await
}

/// A default role or binding with what is missing in it.
fn mended(current: &Object, wanted: &Value) -> Object {
    let mut object = Value::Object(current.clone());
    let annotation = |object: &Value| {
        let all = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
        all.and_then(|all| all.get(AUTO_UPDATE)?.as_str().map(str::to_owned))
    };
    if annotation(&object).as_deref() == Some("false") {
        return current.clone();
    }
    for kind in ["labels", "annotations"] {
        let own = object["metadata"].get(kind).cloned().filter(Value::is_object);
        let mut merged = wanted["metadata"][kind].clone();
        json_patch::merge(&mut merged, &own.unwrap_or_else(|| json!({})));
        object["metadata"][kind] = merged;
    }
    if wanted.get("aggregationRule").is_some() {
        if object.get("aggregationRule").is_none_or(Value::is_null) {
            object["aggregationRule"] = wanted["aggregationRule"].clone();
        }
    } else if wanted.get("rules").is_some() {
        let own = rules_of(&object);
        let missing = rules_of(wanted).into_iter().filter(|rule| !is_covered(rule, &own));
        extend(&mut object, "rules", missing.map(|rule| json!(rule)).collect());
    }
    if let Some(subjects) = wanted.get("subjects").and_then(Value::as_array) {
        let own = object.get("subjects").and_then(Value::as_array).cloned().unwrap_or_default();
        let missing = subjects.iter().filter(|one| !own.contains(one)).cloned().collect();
        extend(&mut object, "subjects", missing);
    }
    match object {
        Value::Object(object) => object,
        _ => current.clone(),
    }
}

fn extend(object: &mut Value, field: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match object.get_mut(field).and_then(Value::as_array_mut) {
        Some(list) => list.extend(more),
        None => object[field] = more.into(),
    }
}

/// Puts roles that are made of others together, as often as roles change.
pub(crate) async fn run(api: Arc<Api>) {
    let stop = api.stop.clone();
    let follow = async {
        loop {
            let Ok(mut changes) = api.store.watch(CLUSTER_ROLES, api.store.revision()) else {
                return;
            };
            if let Err(status) = settle(&api).await {
                tracing::warn!(error = status.message(), "cannot put roles together, will retry");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
            changes.changed().await;
        }
    };
    stop.run_until_cancelled(follow).await;
}

/// Puts roles together until nothing changes any more.
async fn settle(api: &Api) -> Result<(), Status> {
    for _ in 0..ROUNDS {
        let roles: Vec<(Arc<str>, Value)> = api
            .store
            .list(CLUSTER_ROLES, "")
            .entries
            .into_iter()
            .map(|(key, entry)| (key, Value::Object(entry.object())))
            .collect();
        let changed: Vec<(&Arc<str>, Vec<Rule>)> = roles
            .iter()
            .filter_map(|(key, role)| {
                let rules = put_together(key, role, &roles)?;
                (rules != rules_of(role)).then_some((key, rules))
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let registry = api.kinds();
        let Some(resource) = registry.find_table(CLUSTER_ROLES) else { return Ok(()) };
        let writes = changed.into_iter().map(|(key, rules)| set_rules(api, resource, key, rules));
        futures::future::try_join_all(writes).await?;
    }
    Ok(())
}

async fn set_rules(
    api: &Api,
    resource: &Arc<Resource>,
    key: &str,
    rules: Vec<Rule>,
) -> Result<(), Status> {
    let target: Target = read::target(resource, key);
    let write = api.modify_unchecked(&target, false, |current| {
        let mut object = current.clone();
        // It may have become a role of its own meanwhile.
        if object.get("aggregationRule").is_some_and(Value::is_object) {
            let rules = if rules.is_empty() { Value::Null } else { json!(rules) };
            object.insert("rules".into(), rules);
        }
        Ok((object, Vec::new()))
    });
    match write.await {
        // Deleted meanwhile.
        Err(status) if status.code() == 404 => Ok(()),
        other => other,
    }
}

/// The rules of a role that is made of others, `None` for other roles.
fn put_together(key: &str, role: &Value, roles: &[(Arc<str>, Value)]) -> Option<Vec<Rule>> {
    let selectors = role.get("aggregationRule")?.get("clusterRoleSelectors")?.as_array()?;
    let mut rules: Vec<Rule> = Vec::new();
    for selector in selectors {
        for (other, part) in roles {
            let labels = part.get("metadata").and_then(|metadata| metadata.get("labels"));
            if **other == *key || !selects(selector, labels.unwrap_or(&Value::Null)) {
                continue;
            }
            let listed = part.get("rules").and_then(Value::as_array).into_iter().flatten();
            for rule in listed.filter_map(|rule| Rule::deserialize(rule).ok()) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    Some(rules)
}
