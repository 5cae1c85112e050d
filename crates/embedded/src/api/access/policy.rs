//! All roles and bindings, in memory and found by subject.
//!
//! The index is brought up to date with the store whenever it is asked, so a binding that was
//! deleted allows nothing from the moment on that its deletion was answered.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
    sync::Arc,
};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::Deserialize;
use serde_json::Value;

use super::{Rule, User, user::account_of};
use crate::store::{Entry, EventKind, Store};

pub(crate) const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
pub(crate) const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
pub(crate) const ROLES: &str = "roles.rbac.authorization.k8s.io";
pub(crate) const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const TABLES: [&str; 4] = [CLUSTER_ROLES, CLUSTER_BINDINGS, ROLES, BINDINGS];

/// Which role a binding gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct RoleRef {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// Whom a binding gives it to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Subject {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Empty for a ClusterRoleBinding.
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Who gets something, as the index names them: the namespace of the binding, kind and name.
fn mark(namespace: &str, kind: char, name: &str) -> String {
    format!("{namespace}\u{0}{kind}{name}")
}

impl Subject {
    fn mark(&self, binding: &str) -> Option<String> {
        match self.kind.as_str() {
            "User" => Some(mark(binding, 'u', &self.name)),
            "Group" => Some(mark(binding, 'g', &self.name)),
            "ServiceAccount" => {
                let own = if self.namespace.is_empty() { binding } else { &self.namespace };
                let full = format!("{own}/{}", self.name);
                (!own.is_empty()).then(|| mark(binding, 's', &full))
            }
            _ => None,
        }
    }

    fn applies(&self, user: &User, binding: &str) -> bool {
        match self.kind.as_str() {
            "User" => user.name == self.name,
            "Group" => user.groups.contains(&self.name),
            "ServiceAccount" => {
                let own = if self.namespace.is_empty() { binding } else { &self.namespace };
                account_of(&user.name) == Some((own, &self.name))
            }
            _ => false,
        }
    }
}

impl Binding {
    /// How an answer names the binding that allowed something to a user.
    pub(crate) fn shown(&self, user: &User) -> String {
        let RoleRef { kind, name } = &self.role;
        let subject = self.subjects.iter().find(|one| one.applies(user, &self.namespace));
        let subject = match subject {
            Some(Subject { kind, name, namespace }) if kind == "ServiceAccount" => {
                let own = if namespace.is_empty() { &self.namespace } else { namespace };
                format!("{kind} {:?}", format!("{name}/{own}"))
            }
            Some(Subject { kind, name, .. }) => format!("{kind} {name:?}"),
            None => String::new(),
        };
        match self.namespace.as_str() {
            "" => format!("ClusterRoleBinding {:?} of {kind} {name:?} to {subject}", self.name),
            namespace => format!(
                "RoleBinding {:?} of {kind} {name:?} to {subject}",
                format!("{}/{namespace}", self.name)
            ),
        }
    }
}

/// The roles and bindings of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Policy(RwLock<Index>);

/// What [`Policy`] knows at one moment.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The revision of the store up to which everything is known; 0 before the first look.
    seen: u64,
    /// Rules of roles, by table and key.
    roles: HashMap<(&'static str, Arc<str>), Arc<[Rule]>>,
    /// Bindings by table and key.
    bindings: HashMap<(&'static str, Arc<str>), Binding>,
    by_subject: HashMap<String, BTreeSet<(&'static str, Arc<str>)>>,
}

impl Policy {
    /// The index as the store is now.
    pub(crate) fn current(&self, store: &Store) -> RwLockReadGuard<'_, Index> {
        let index = self.0.read();
        if index.seen > 0 && store.last_change(&TABLES) <= index.seen {
            return index;
        }
        drop(index);
        let mut index = self.0.write();
        index.follow(store);
        RwLockWriteGuard::downgrade(index)
    }
}

impl Index {
    fn follow(&mut self, store: &Store) {
        let until = store.revision();
        let news: Result<Vec<_>, _> =
            TABLES.iter().map(|table| store.events_between(table, self.seen, until)).collect();
        match news {
            Ok(news) if self.seen > 0 => {
                for (table, events) in TABLES.into_iter().zip(news) {
                    for event in events {
                        let gone = event.kind == EventKind::Deleted;
                        self.put(table, &event.key, (!gone).then_some(&*event.object));
                    }
                }
            }
            _ => {
                *self = Self::default();
                for table in TABLES {
                    for (key, entry) in store.list(table, "").entries {
                        self.put(table, &key, Some(&entry));
                    }
                }
            }
        }
        // An empty store has been looked at, too.
        self.seen = until.max(1);
    }

    fn put(&mut self, table: &'static str, key: &Arc<str>, entry: Option<&Entry>) {
        let object = entry.map(|entry| Value::Object(entry.object()));
        let place = (table, key.clone());
        if matches!(table, ROLES | CLUSTER_ROLES) {
            match object {
                Some(object) => self.roles.insert(place, rules_of(&object).into()),
                None => self.roles.remove(&place),
            };
            return;
        }
        if let Some(old) = self.bindings.remove(&place) {
            for mark in old.subjects.iter().filter_map(|one| one.mark(&old.namespace)) {
                if let Some(places) = self.by_subject.get_mut(&mark) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.by_subject.remove(&mark);
                    }
                }
            }
        }
        let Some(object) = object else { return };
        let binding = binding_of(key, &object);
        for mark in binding.subjects.iter().filter_map(|one| one.mark(&binding.namespace)) {
            self.by_subject.entry(mark).or_default().insert(place.clone());
        }
        self.bindings.insert(place, binding);
    }

    /// The rules of the role that a binding in a namespace (or in none) gives.
    pub(crate) fn role(&self, role: &RoleRef, namespace: &str) -> Result<Arc<[Rule]>, String> {
        let (place, resource) = match role.kind.as_str() {
            "Role" => ((ROLES, format!("{namespace}/{}", role.name).into()), "role"),
            "ClusterRole" => ((CLUSTER_ROLES, role.name.as_str().into()), "clusterrole"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let missing = || format!("{resource}.rbac.authorization.k8s.io {:?} not found", role.name);
        self.roles.get(&place).cloned().ok_or_else(missing)
    }

    /// Shows the rules that a user has in a namespace (or beside all namespaces) one by one, each
    /// with the binding that gives it. Returns which roles are missing.
    pub(crate) fn visit<'a>(
        &'a self,
        user: &User,
        namespace: &str,
        mut visit: impl FnMut(&'a Binding, &Rule) -> ControlFlow<()>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let scopes = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
        for scope in scopes {
            for place in self.bindings_for(user, scope) {
                let Some(binding) = self.bindings.get(&place) else { continue };
                match self.role(&binding.role, scope) {
                    Err(problem) => problems.push(problem),
                    Ok(rules) => {
                        for rule in rules.iter() {
                            if visit(binding, rule).is_break() {
                                return problems;
                            }
                        }
                    }
                }
            }
        }
        problems
    }

    fn bindings_for(&self, user: &User, scope: &str) -> BTreeSet<(&'static str, Arc<str>)> {
        let account = account_of(&user.name);
        let marks = [mark(scope, 'u', &user.name)]
            .into_iter()
            .chain(user.groups.iter().map(|group| mark(scope, 'g', group)))
            .chain(account.map(|(space, name)| mark(scope, 's', &format!("{space}/{name}"))));
        marks.filter_map(|mark| self.by_subject.get(&mark)).flatten().cloned().collect()
    }
}

/// The rules of a Role or ClusterRole.
pub(crate) fn rules_of(role: &Value) -> Vec<Rule> {
    let rules = role.get("rules").and_then(Value::as_array).into_iter().flatten();
    // What was stored was checked.
    rules.filter_map(|rule| Rule::deserialize(rule).ok()).collect()
}

/// The role that a RoleBinding or ClusterRoleBinding gives.
pub(crate) fn role_of(binding: &Value) -> RoleRef {
    binding.get("roleRef").and_then(|role| RoleRef::deserialize(role).ok()).unwrap_or_default()
}

fn binding_of(key: &str, object: &Value) -> Binding {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let subjects = object.get("subjects").and_then(Value::as_array).into_iter().flatten();
    Binding {
        namespace: namespace.into(),
        name: name.into(),
        role: role_of(object),
        subjects: subjects.filter_map(|one| Subject::deserialize(one).ok()).collect(),
    }
}
