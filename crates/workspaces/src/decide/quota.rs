//! Whether a new workspace fits into the quotas of its namespace.
//!
//! The cluster counts a pod when its controller makes it, long after the user was told that all is
//! well. So what a workspace will take is added up before it is made, with all claims that are made
//! along with it. What a quota is about that nobody can know yet (sidecars, defaults of a
//! LimitRange) is left to the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};
use serde_json::Value;

use super::quantity::Amount;
use crate::model::{PodConfigValue, WorkspaceKind, WorkspaceSpec};

/// What quotas also count without `requests.` before it.
const PLAIN: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// A claim that is made along with a workspace.
#[derive(Debug, Clone, Copy)]
pub struct NewClaim<'a> {
    /// Its storage class.
    pub class: &'a str,
    /// How much it asks for.
    pub storage: &'a str,
}

/// What is wanted of a namespace, by the names that quotas have for it.
#[derive(Debug, Default)]
pub struct Demand {
    all: BTreeMap<String, Amount>,
    /// Whether there is a pod, and whether its containers say what they need.
    pod: bool,
    sized: bool,
}

impl Demand {
    /// What a workspace takes, with its pod unless it is paused.
    pub fn of(spec: &WorkspaceSpec, kind: &WorkspaceKind, claims: &[NewClaim<'_>]) -> Self {
        let mut demand = Self::default();
        let ours = ["workspaces.kubeflow.org", "statefulsets.apps", "services", "serviceaccounts"];
        for counted in ours {
            demand.add(format!("count/{counted}"), Amount::count(1));
        }
        demand.add("services".to_owned(), Amount::count(1));
        for claim in claims {
            demand.add_claim(claim);
        }
        if !spec.paused {
            let chosen = &spec.pod_template.options.pod_config;
            let values = &kind.spec.pod_template.options.pod_config.values;
            demand.add_pod(values.iter().find(|value| value.id == *chosen));
        }
        demand
    }

    fn add(&mut self, name: String, amount: Amount) {
        let sum = self.all.entry(name).or_default();
        *sum = *sum + amount;
    }

    fn add_claim(&mut self, claim: &NewClaim<'_>) {
        let of_class = format!("{}.storageclass.storage.k8s.io", claim.class);
        let storage = Amount::parse(claim.storage).unwrap_or_default();
        self.add("requests.storage".to_owned(), storage);
        self.add(format!("{of_class}/requests.storage"), storage);
        for name in [
            "persistentvolumeclaims".to_owned(),
            "count/persistentvolumeclaims".to_owned(),
            format!("{of_class}/persistentvolumeclaims"),
        ] {
            self.add(name, Amount::count(1));
        }
    }

    fn add_pod(&mut self, config: Option<&PodConfigValue>) {
        self.pod = true;
        self.add("pods".to_owned(), Amount::count(1));
        self.add("count/pods".to_owned(), Amount::count(1));
        let resources = config.and_then(|config| config.spec.resources.as_deref());
        let Some(resources) = resources else { return };
        let limits = amounts(resources.get("limits"));
        // Without a request of its own a container asks for its limit.
        let mut requests = limits.clone();
        requests.extend(amounts(resources.get("requests")));
        self.sized = !requests.is_empty();
        for (name, amount) in requests {
            if PLAIN.contains(&&*name) {
                self.add(name.clone(), amount);
            }
            self.add(format!("requests.{name}"), amount);
        }
        for (name, amount) in limits {
            self.add(format!("limits.{name}"), amount);
        }
    }

    /// Which quotas it does not fit into, in the words of the cluster.
    pub fn exceeds(&self, quotas: &[ResourceQuota]) -> Vec<String> {
        quotas.iter().filter_map(|quota| self.refused(quota)).collect()
    }

    fn refused(&self, quota: &ResourceQuota) -> Option<String> {
        let spec = quota.spec.as_ref()?;
        if !self.is_counted(spec) {
            return None;
        }
        let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
        let mut lists = [const { Vec::<String>::new() }; 3];
        for (name, limit) in spec.hard.iter().flatten() {
            let Some(wanted) = self.all.get(name) else { continue };
            let used = used.and_then(|used| Amount::parse(&used.get(name)?.0)).unwrap_or_default();
            let Some(limit) = Amount::parse(&limit.0) else { continue };
            if (used + *wanted).exceeds(limit) {
                for (list, amount) in lists.iter_mut().zip([*wanted, used, limit]) {
                    list.push(format!("{name}={amount}"));
                }
            }
        }
        let [requested, used, limited] = lists.map(|list| list.join(","));
        if requested.is_empty() {
            return None;
        }
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        Some(format!(
            "exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"
        ))
    }

    /// Whether a quota is about this: those with scopes count pods only, and some pods only.
    fn is_counted(&self, spec: &ResourceQuotaSpec) -> bool {
        let scopes = spec.scopes.as_deref().unwrap_or_default();
        let selected = spec.scope_selector.as_ref().and_then(|all| all.match_expressions.as_ref());
        // Priorities and the like are for the cluster to judge.
        let plain = selected.is_none_or(Vec::is_empty);
        let fits = |scope: &String| match &**scope {
            "NotTerminating" => self.pod,
            "NotBestEffort" => self.sized,
            "BestEffort" => self.pod && !self.sized,
            _ => false,
        };
        plain && scopes.iter().all(fits)
    }
}

/// Quantities as a kind has them: texts, or numbers.
fn amounts(value: Option<&Value>) -> BTreeMap<String, Amount> {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    let read = |value: &Value| match value {
        Value::String(text) => Amount::parse(text),
        Value::Number(number) => Amount::parse(&number.to_string()),
        _ => None,
    };
    map.filter_map(|(name, value)| Some((name.clone(), read(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::fixtures;

    fn quota(value: Value) -> Vec<ResourceQuota> {
        vec![serde_json::from_value(value).unwrap()]
    }

    fn demand(paused: bool, claims: &[NewClaim<'_>]) -> Demand {
        let mut spec = fixtures::workspace("lab").spec;
        spec.paused = paused;
        let mut kind = fixtures::kind();
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": 1, "memory": "1Gi",
            "nvidia.com/gpu": "1"}});
        let config = &mut kind.spec.pod_template.options.pod_config.values[0];
        config.spec.resources = Some(resources.into());
        Demand::of(&spec, &kind, claims)
    }

    #[test]
    fn a_pod_that_does_not_fit_is_told_in_the_words_of_the_cluster() {
        let quotas = quota(json!({
            "metadata": {"name": "small"},
            "spec": {"hard": {"requests.cpu": "2", "limits.memory": "3Gi", "pods": "9",
                              "requests.nvidia.com/gpu": "1"}},
            "status": {"used": {"requests.cpu": "1600m", "limits.memory": "2.5Gi", "pods": "8",
                                "requests.nvidia.com/gpu": "1"}},
        }));
        let said = "exceeded quota: small, requested: limits.memory=1Gi,requests.cpu=500m,\
                    requests.nvidia.com/gpu=1, used: limits.memory=2560Mi,requests.cpu=1600m,\
                    requests.nvidia.com/gpu=1, limited: limits.memory=3Gi,requests.cpu=2,\
                    requests.nvidia.com/gpu=1";
        assert_eq!(demand(false, &[]).exceeds(&quotas), [said]);
        assert!(demand(true, &[]).exceeds(&quotas).is_empty(), "a paused one has no pod");
    }

    #[test]
    fn claims_count_together() {
        let quotas = |hard: &str, used: &str| {
            quota(json!({
                "metadata": {"name": "disk"},
                "spec": {"hard": {"fast.storageclass.storage.k8s.io/requests.storage": hard,
                                  "persistentvolumeclaims": "5", "count/services": "1"}},
                "status": {"used": {"fast.storageclass.storage.k8s.io/requests.storage": used}},
            }))
        };
        let claims = [
            NewClaim { class: "fast", storage: "6Gi" },
            NewClaim { class: "fast", storage: "5Gi" },
            NewClaim { class: "slow", storage: "500Gi" },
        ];
        let demand = demand(true, &claims);
        assert!(demand.exceeds(&quotas("11Gi", "0")).is_empty());
        let said = demand.exceeds(&quotas("12Gi", "2Gi"));
        assert!(said[0].contains("requests.storage=11Gi, used: "), "{said:?}");
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn quotas_with_scopes_are_about_some_pods_only() {
        let scoped = |scopes: Value, selector: Value| {
            quota(json!({
                "metadata": {"name": "none"},
                "spec": {"hard": {"pods": "0"}, "scopes": scopes, "scopeSelector": selector},
            }))
        };
        let selector = json!({"matchExpressions": [{"scopeName": "PriorityClass",
                                                    "operator": "Exists"}]});
        for (scopes, selector, counted) in [
            (json!(null), json!(null), true),
            (json!(["NotTerminating", "NotBestEffort"]), json!(null), true),
            (json!(["BestEffort"]), json!(null), false),
            (json!(["Terminating"]), json!(null), false),
            (json!([]), selector, false),
        ] {
            let said = demand(false, &[]).exceeds(&scoped(scopes.clone(), selector));
            assert_eq!(!said.is_empty(), counted, "{scopes}");
        }
    }

    #[test]
    fn what_cannot_be_read_refuses_nobody() {
        let quotas = quota(json!({
            "metadata": {"name": "odd"}, "spec": {"hard": {"pods": "many"}},
            "status": {"used": {"pods": "9"}},
        }));
        assert!(demand(false, &[]).exceeds(&quotas).is_empty());
        assert!(demand(false, &[]).exceeds(&quota(json!({"metadata": {}}))).is_empty());
    }
}
