//! What the program must be allowed to do: one list, which is asked about at the start and of which
//! the manifests are made, so that the two cannot disagree.

use std::{collections::BTreeMap, fmt};

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    rbac::v1::PolicyRule,
};
use kube::{Api, Client, api::PostParams};

/// Questions to the API at a time.
const AT_ONCE: usize = 8;

/// Verbs of a watch cache.
pub const WATCH: &[&str] = &["get", "list", "watch"];

/// Verbs on resources of one group that go together.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plurals, with `/subresource` where that is meant.
    pub resources: &'static [&'static str],
    /// What is done with them.
    pub verbs: &'static [&'static str],
    /// Only with those of these names; none for all.
    pub names: &'static [&'static str],
    /// What does not work without it, if the rest does.
    pub optional: Option<&'static str>,
}

impl Rule {
    /// A rule that nothing works without.
    pub const fn new(
        group: &'static str,
        resources: &'static [&'static str],
        verbs: &'static [&'static str],
    ) -> Self {
        Self { group, resources, verbs, names: &[], optional: None }
    }

    /// The same, for objects of these names only.
    #[must_use]
    pub const fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    /// The same, as one that can be done without: at the price of this.
    #[must_use]
    pub const fn or_else(self, loss: &'static str) -> Self {
        Self { optional: Some(loss), ..self }
    }
}

/// One verb on one resource that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// API group.
    pub group: &'static str,
    /// Plural, with `/subresource` where that is meant.
    pub resource: &'static str,
    /// The verb.
    pub verb: &'static str,
    /// With which object; none means all.
    pub name: Option<&'static str>,
    /// Where; none means everywhere.
    pub namespace: Option<String>,
    /// What does not work without it, if the rest does.
    pub optional: Option<&'static str>,
}

impl Missing {
    fn asks_for(&self) -> (&str, &str, &str, Option<&str>, Option<&str>) {
        (self.group, self.resource, self.verb, self.name, self.namespace.as_deref())
    }
}

impl fmt::Display for Missing {
    /// As `kubectl auth can-i` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource.split('/').next().unwrap_or_default())?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some((_, subresource)) = self.resource.split_once('/') {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = self.name {
            write!(f, " named {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// Asks about every verb of every resource, and gives those that are refused.
pub async fn missing(
    client: &Client,
    rules: &[Rule],
    namespace: Option<&str>,
) -> Result<Vec<Missing>, kube::Error> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let questions = rules.iter().flat_map(|rule| {
        let named = rule.names.iter().copied().map(Some);
        let names: Vec<_> = if rule.names.is_empty() { vec![None] } else { named.collect() };
        let verbs = move |resource| rule.verbs.iter().map(move |verb| (resource, *verb));
        let asked = rule.resources.iter().copied().flat_map(verbs);
        asked.flat_map(move |(resource, verb)| {
            names.clone().into_iter().map(move |name| (*rule, resource, verb, name))
        })
    });
    let asked = stream::iter(questions).map(|(rule, resource, verb, name)| {
        let api = &api;
        async move {
            let review = review(rule.group, resource, verb, name, namespace);
            let status = api.create(&PostParams::default(), &review).await?.status;
            let allowed = status.is_some_and(|s| s.allowed && !s.denied.unwrap_or(false));
            let namespace = namespace.map(str::to_owned);
            let Rule { group, optional, .. } = rule;
            let missing = Missing { group, resource, verb, name, namespace, optional };
            Ok::<_, kube::Error>((!allowed).then_some(missing))
        }
    });
    let mut answers = asked.buffered(AT_ONCE);
    let mut missing = Vec::new();
    while let Some(answer) = answers.next().await {
        missing.extend(answer?);
    }
    missing.sort();
    // Several rules may want the same: one that is required sorts before those that are not.
    missing.dedup_by(|later, first| later.asks_for() == first.asks_for());
    Ok(missing)
}

fn review(
    group: &str,
    resource: &str,
    verb: &str,
    name: Option<&str>,
    namespace: Option<&str>,
) -> SelfSubjectAccessReview {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                name: name.map(str::to_owned),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

/// Group, verbs and names of a rule.
type Right<'a> = (&'a str, Vec<&'a str>, &'a [&'a str]);

/// The rules of a role: each resource once, with all verbs that any rule wants for it, and
/// resources with the same verbs together.
pub fn policy_rules(rules: &[Rule]) -> Vec<PolicyRule> {
    let mut verbs: BTreeMap<(&str, &str, &[&str]), Vec<&str>> = BTreeMap::new();
    for rule in rules {
        for resource in rule.resources {
            verbs.entry((rule.group, resource, rule.names)).or_default().extend(rule.verbs);
        }
    }
    let mut together: BTreeMap<Right<'_>, Vec<&str>> = BTreeMap::new();
    for ((group, resource, names), mut verbs) in verbs {
        verbs.sort_unstable();
        verbs.dedup();
        together.entry((group, verbs, names)).or_default().push(resource);
    }
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    together
        .into_iter()
        .map(|((group, verbs, names), resources)| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(owned(&resources)),
            verbs: owned(&verbs),
            resource_names: (!names.is_empty()).then(|| owned(names)),
            ..PolicyRule::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_names_each_resource_once() {
        let rules = [
            Rule::new("", &["pods", "secrets"], WATCH),
            Rule::new("", &["secrets"], &["create", "get"]),
            Rule::new("", &["pods/log"], &["get"]),
            Rule::new("", &["namespaces"], WATCH),
            Rule::new("", &["secrets"], &["update"]).named(&["mine"]),
        ];
        let text: Vec<String> = policy_rules(&rules)
            .into_iter()
            .map(|rule| {
                let (resources, names) = (rule.resources.unwrap(), rule.resource_names);
                let names = names.unwrap_or_default().join(",");
                format!("{} {} {names}", resources.join(","), rule.verbs.join(","))
            })
            .collect();
        assert_eq!(
            text,
            [
                "secrets create,get,list,watch ",
                "pods/log get ",
                "namespaces,pods get,list,watch ",
                "secrets update mine",
            ]
        );
    }

    #[test]
    fn a_missing_permission_reads_as_a_question_of_kubectl() {
        let missing = |group, resource, namespace: Option<&str>| {
            let namespace = namespace.map(str::to_owned);
            Missing { group, resource, verb: "get", name: None, namespace, optional: None }
                .to_string()
        };
        assert_eq!(missing("", "pods/log", None), "get pods/log");
        assert_eq!(
            missing("kubeflow.org", "workspaces/status", None),
            "get workspaces.kubeflow.org/status"
        );
        assert_eq!(
            missing("coordination.k8s.io", "leases", Some("q")),
            "get leases.coordination.k8s.io in namespace q"
        );
    }
}
