//! Nobody gives away rights that they do not have.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
};

use serde_json::Value;

use super::{
    super::{
        Api, Status,
        metadata::{self, Object},
        write::Target,
    },
    Attributes, Caller, Rule, User, aggregate, authorize,
    policy::{BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, RoleRef, role_of, rules_of},
};
use crate::schema::quote;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a role or binding that gives more than its author has, unless the author may `escalate`
/// roles or `bind` this one.
pub(crate) fn check(
    api: &Api,
    caller: &Caller,
    target: &Target,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let table = &*target.resource.table;
    if !matches!(table, ROLES | CLUSTER_ROLES | BINDINGS | CLUSTER_BINDINGS)
        || caller.is_superuser()
        || old.is_some_and(|old| without_ends(old) == without_ends(new))
    {
        return Ok(());
    }
    let user = caller.user();
    let object = Value::Object(new.clone());
    if matches!(table, BINDINGS | CLUSTER_BINDINGS) {
        return check_binding(api, &user, target, &role_of(&object));
    }
    let wanted = Attributes {
        verb: "escalate".into(),
        group: GROUP.into(),
        resource: target.resource.plural.clone(),
        namespace: target.namespace.clone(),
        // The request that makes a role names none.
        name: old.map(|_| target.name.clone()).unwrap_or_default(),
        ..Attributes::default()
    };
    if authorize(api, &user, &wanted).allowed {
        return Ok(());
    }
    cover(api, &user, target, &rules_of(&object))?;
    let aggregates = |role: &Object| {
        let selectors = role
            .get("aggregationRule")
            .and_then(|rule| rule.get("clusterRoleSelectors")?.as_array());
        selectors.is_some_and(|selectors| !selectors.is_empty())
    };
    if (aggregates(new) || old.is_some_and(aggregates))
        && cover(api, &user, target, &everything()).is_err()
    {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        return Err(Status::forbidden(&target.resource, &target.name, why));
    }
    Ok(())
}

/// A role or binding without what only its end is about.
fn without_ends(object: &Object) -> Object {
    let mut object = object.clone();
    for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"]
    {
        metadata::remove(&mut object, field);
    }
    object
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

fn check_binding(api: &Api, user: &User, target: &Target, role: &RoleRef) -> Result<(), Status> {
    let resource = match role.kind.as_str() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        // The rules of bindings refuse it.
        _ => return Ok(()),
    };
    let wanted = Attributes {
        verb: "bind".into(),
        group: GROUP.into(),
        resource: resource.into(),
        namespace: target.namespace.clone(),
        name: role.name.clone(),
        ..Attributes::default()
    };
    if authorize(api, user, &wanted).allowed {
        return Ok(());
    }
    // The API server, too, says that the binding is missing when the role is.
    let rules = api.policy.current(&api.store).role(role, &target.namespace);
    let rules = rules.map_err(|_| Status::not_found(&target.resource, &role.name))?;
    cover(api, user, target, &rules)
}

/// Refuses rules that a user does not have, and lists what is missing.
fn cover(api: &Api, user: &User, target: &Target, rules: &[Rule]) -> Result<(), Status> {
    let mut own = Vec::new();
    let index = api.policy.current(&api.store);
    let problems = index.visit(user, &target.namespace, |_, rule| {
        own.push(rule.clone());
        ControlFlow::Continue(())
    });
    drop(index);
    let missing: Vec<Rule> = rules
        .iter()
        .flat_map(atoms)
        .filter(|atom| !own.iter().any(|rule| covers(rule, atom)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let shown: BTreeSet<String> = compact(missing).iter().map(Rule::shown).collect();
    let groups: Vec<String> = user.groups.iter().map(|group| quote(group)).collect();
    let mut why = format!(
        "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&user.name),
        groups.join(" "),
        shown.into_iter().collect::<Vec<_>>().join("\n")
    );
    if !problems.is_empty() {
        why.push_str(&format!("; resolution errors: [{}]", aggregate(problems)));
    }
    Err(Status::forbidden(&target.resource, &target.name, &why))
}

/// A rule as rules of one verb on one thing each.
fn atoms(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut atoms = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let atom = Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    atoms.push(atom.clone());
                }
                let named = rule.resource_names.iter();
                atoms.extend(named.map(|name| Rule { resource_names: one(name), ..atom.clone() }));
            }
        }
    }
    for url in &rule.non_resource_urls {
        let of_verb =
            |verb| Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() };
        atoms.extend(rule.verbs.iter().map(of_verb));
    }
    atoms
}

/// Whether some rules give all that a rule gives.
pub(super) fn is_covered(rule: &Rule, own: &[Rule]) -> bool {
    atoms(rule).iter().all(|atom| own.iter().any(|rule| covers(rule, atom)))
}

/// Whether a rule gives all that an atom gives.
fn covers(rule: &Rule, atom: &Rule) -> bool {
    let all = |own: &[String], wanted: &[String]| wanted.iter().all(|one| own.contains(one));
    let star = |own: &[String]| own.iter().any(|one| one == "*");
    let resource = |wanted: &String| {
        rule.resources.contains(wanted)
            || wanted
                .split_once('/')
                .is_some_and(|(_, sub)| rule.resources.contains(&format!("*/{sub}")))
    };
    let url = |wanted: &String| {
        rule.non_resource_urls.iter().any(|own| {
            own == wanted || (own.ends_with('*') && wanted.starts_with(own.trim_end_matches('*')))
        })
    };
    (star(&rule.verbs) || all(&rule.verbs, &atom.verbs))
        && (star(&rule.api_groups) || all(&rule.api_groups, &atom.api_groups))
        && (star(&rule.resources) || atom.resources.iter().all(resource))
        && atom.non_resource_urls.iter().all(url)
        && (rule.resource_names.is_empty()
            || (!atom.resource_names.is_empty() && all(&rule.resource_names, &atom.resource_names)))
}

/// Puts the verbs of atoms about the same resource together.
fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut compacted: Vec<Rule> = Vec::new();
    let mut places: HashMap<Rule, usize> = HashMap::new();
    for atom in atoms {
        let place = Rule { verbs: Vec::new(), ..atom.clone() };
        match places.get(&place).and_then(|&at| compacted.get_mut(at)) {
            Some(known) => known.verbs.extend(atom.verbs),
            None => {
                if atom.non_resource_urls.is_empty() {
                    places.insert(place, compacted.len());
                }
                compacted.push(atom);
            }
        }
    }
    compacted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    #[rstest]
    #[case(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), true)]
    #[case(json!({"verbs": ["get"], "apiGroups": ["a"], "resources": ["*/log"]}), true)]
    #[case(json!({"verbs": ["get"], "apiGroups": ["a"], "resources": ["pods"]}), false)]
    #[case(json!({"verbs": ["list"], "apiGroups": ["a"], "resources": ["pods/log"]}), false)]
    #[case(json!({"verbs": ["get"], "apiGroups": ["a"], "resources": ["pods/log"], "resourceNames": ["x"]}), false)]
    fn covering(#[case] own: Value, #[case] covered: bool) {
        let atom = rule(json!({"verbs": ["get"], "apiGroups": ["a"], "resources": ["pods/log"]}));
        assert_eq!(covers(&rule(own), &atom), covered);
    }

    #[test]
    fn atoms_are_put_together_by_resource() {
        let whole = rule(
            json!({"verbs": ["get", "list"], "apiGroups": ["a"], "resources": ["x", "y"], "nonResourceURLs": ["/u"]}),
        );
        let shown: Vec<String> = compact(atoms(&whole)).iter().map(Rule::shown).collect();
        assert_eq!(
            shown,
            [
                r#"{APIGroups:["a"], Resources:["x"], Verbs:["get" "list"]}"#,
                r#"{APIGroups:["a"], Resources:["y"], Verbs:["get" "list"]}"#,
                r#"{NonResourceURLs:["/u"], Verbs:["get"]}"#,
                r#"{NonResourceURLs:["/u"], Verbs:["list"]}"#,
            ]
        );
    }

    proptest! {
        /// What a rule covers of another, the rule allows wherever the other does.
        #[test]
        fn what_is_covered_is_allowed(
            own in rules(), other in rules(), verb in "[ab*]", group in "[ab*]",
            resource in "[xy*](/[st])?", name in "[nm]?",
        ) {
            let (resource, sub) = resource.split_once('/').unwrap_or((&resource, ""));
            let asked = Attributes {
                verb, group, name,
                resource: resource.into(),
                subresource: sub.into(),
                ..Attributes::default()
            };
            let covered = atoms(&other).iter().all(|atom| covers(&own, atom));
            prop_assert!(!covered || !other.allows(&asked) || own.allows(&asked));
        }
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let some = |pattern: &'static str| proptest::collection::vec(pattern, 1..3);
        let names = proptest::collection::vec("[nm]", 0..2);
        (some("[ab*]"), some("[ab*]"), some("[xy]|\\*|[xy*]/[st]"), names).prop_map(
            |(verbs, api_groups, resources, resource_names)| Rule {
                verbs,
                api_groups,
                resources,
                resource_names,
                ..Rule::default()
            },
        )
    }
}
