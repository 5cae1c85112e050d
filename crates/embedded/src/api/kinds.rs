//! The table of kinds. A built-in kind is one line; a custom one comes from its definition.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

/// How names of a kind must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// RFC 1035 label.
    Label1035,
    /// Anything that can be one segment of a path.
    Path,
}

/// One served version of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// The table of the store that holds it: `plural` or `plural.group`.
    pub(crate) table: Arc<str>,
    /// The version that is written to the store.
    pub(crate) stored_version: String,
    pub(crate) names: NameRule,
    /// Whether `/status` exists and owns the status.
    pub(crate) has_status: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) counts: bool,
    /// Whether a deletion answers with the object.
    pub(crate) answers_deleted: bool,
    /// Whether a replace without a revision overwrites.
    pub(crate) blind_update: bool,
    /// Whether a replace of a missing object creates it.
    pub(crate) create_on_update: bool,
    /// Whether it is a question: created, answered and never stored.
    pub(crate) review: bool,
    /// Where `/scale` finds its numbers.
    pub(crate) scale: Option<ScalePaths>,
    /// The definition, for custom resources.
    pub(crate) custom: Option<Custom>,
}

/// Where the numbers of a scale are in an object.
#[derive(Debug, Clone)]
pub(crate) struct ScalePaths {
    pub(crate) replicas: String,
    pub(crate) status: String,
    pub(crate) selector: Option<String>,
}

/// What a custom resource has beyond a built-in one.
#[derive(Debug, Clone)]
pub(crate) struct Custom {
    /// The schema of the version.
    pub(crate) schema: Option<Arc<crate::schema::Schema>>,
    /// The uid of the definition.
    pub(crate) definition: String,
    /// What tables of it show.
    pub(crate) columns: Arc<super::table::Columns>,
    /// Fields that selectors may ask about.
    pub(crate) selectable: Vec<String>,
    /// Whether the definition is being deleted: nothing new can be made then.
    pub(crate) terminating: bool,
    /// Ends when the definition is gone.
    pub(crate) gone: tokio_util::sync::CancellationToken,
}

impl Resource {
    /// `plural` or `plural.group`.
    pub(crate) fn qualified(&self) -> String {
        self.table.to_string()
    }

    /// `version` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The API version that is written to the store.
    pub(crate) fn stored_api_version(&self) -> String {
        api_version(&self.group, &self.stored_version)
    }

    /// Whether this is the built-in (core group) resource of that name.
    pub(crate) fn is(&self, table: &str) -> bool {
        &*self.table == table
    }

    /// The key of an object in the store.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Arc<str> {
        if self.namespaced { format!("{namespace}/{name}").into() } else { name.into() }
    }
}

pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

pub(crate) fn table_name(plural: &str, group: &str) -> Arc<str> {
    if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() }
}

/// Properties of built-in kinds.
const NAMESPACED: u16 = 1;
const STATUS: u16 = 2;
const COUNTS: u16 = 4;
const RETURNS: u16 = 8;
const UPSERT: u16 = 16;
/// A replace without a revision is a conflict, not an overwrite.
const STRICT: u16 = 32;
const REVIEW: u16 = 64;

type Line = (&'static str, &'static str, &'static str, &'static [&'static str], NameRule, u16);

/// `group/version`, kind, plural, short names, rule for names, properties.
#[rustfmt::skip]
const BUILT_IN: &[Line] = {
    use NameRule::{Label, Label1035, Path, Subdomain};
    &[
        ("v1", "ConfigMap", "configmaps", &["cm"], Subdomain, NAMESPACED),
        ("v1", "Event", "events", &["ev"], Subdomain, NAMESPACED | UPSERT),
        ("v1", "LimitRange", "limitranges", &["limits"], Subdomain, NAMESPACED | UPSERT),
        ("v1", "Namespace", "namespaces", &["ns"], Label, STATUS | RETURNS),
        ("v1", "Node", "nodes", &["no"], Subdomain, STATUS),
        ("v1", "PersistentVolume", "persistentvolumes", &["pv"], Subdomain, STATUS | RETURNS),
        ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], Subdomain, NAMESPACED | STATUS | RETURNS),
        ("v1", "Pod", "pods", &["po"], Subdomain, NAMESPACED | STATUS | COUNTS | RETURNS),
        ("v1", "ResourceQuota", "resourcequotas", &["quota"], Subdomain, NAMESPACED | STATUS | RETURNS),
        ("v1", "Secret", "secrets", &[], Subdomain, NAMESPACED),
        ("v1", "Service", "services", &["svc"], Label1035, NAMESPACED | STATUS | RETURNS | UPSERT),
        ("v1", "ServiceAccount", "serviceaccounts", &["sa"], Subdomain, NAMESPACED | RETURNS),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], Subdomain, STATUS | COUNTS | STRICT),
        ("apps/v1", "StatefulSet", "statefulsets", &["sts"], Subdomain, NAMESPACED | STATUS | COUNTS),
        ("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", &[], Path, REVIEW),
        ("authentication.k8s.io/v1", "TokenReview", "tokenreviews", &[], Path, REVIEW),
        ("authorization.k8s.io/v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", &[], Path, NAMESPACED | REVIEW),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", &[], Path, REVIEW),
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", &[], Path, REVIEW),
        ("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", &[], Path, REVIEW),
        ("batch/v1", "Job", "jobs", &[], Subdomain, NAMESPACED | STATUS | COUNTS),
        ("coordination.k8s.io/v1", "Lease", "leases", &[], Subdomain, NAMESPACED | UPSERT | STRICT),
        ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", &[], Subdomain, NAMESPACED | COUNTS),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", &[], Path, UPSERT),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", &[], Path, UPSERT),
        ("rbac.authorization.k8s.io/v1", "Role", "roles", &[], Path, NAMESPACED | UPSERT),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", &[], Path, NAMESPACED | UPSERT),
        ("storage.k8s.io/v1", "StorageClass", "storageclasses", &["sc"], Subdomain, RETURNS),
    ]
};

fn built_in(&(api_version, kind, plural, short, names, flags): &Line) -> Resource {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Resource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: short.iter().map(|&name| name.into()).collect(),
        categories: match plural {
            "pods" | "services" | "statefulsets" | "jobs" => vec!["all".into()],
            "customresourcedefinitions" => vec!["api-extensions".into()],
            _ => Vec::new(),
        },
        namespaced: flags & NAMESPACED != 0,
        table: table_name(plural, group),
        stored_version: version.into(),
        names,
        has_status: flags & STATUS != 0,
        counts: flags & COUNTS != 0,
        answers_deleted: flags & RETURNS != 0,
        blind_update: flags & STRICT == 0,
        create_on_update: flags & UPSERT != 0,
        review: flags & REVIEW != 0,
        scale: super::subresource::built_in_scale(plural),
        custom: None,
    }
}

/// What is sent to a subresource that takes a kind of its own.
pub(crate) fn form(api_version: &'static str, kind: &'static str) -> Resource {
    built_in(&(api_version, kind, "", &[], NameRule::Subdomain, NAMESPACED | REVIEW))
}

/// All kinds that are served at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    resources: Vec<Arc<Resource>>,
    /// By `group/version/plural`.
    by_path: HashMap<String, Arc<Resource>>,
}

impl Registry {
    pub(crate) fn built_in() -> Self {
        let mut registry = Self { resources: Vec::new(), by_path: HashMap::new() };
        registry.extend(BUILT_IN.iter().map(built_in));
        registry
    }

    pub(crate) fn extend(&mut self, resources: impl IntoIterator<Item = Resource>) {
        for resource in resources {
            let path = format!("{}/{}/{}", resource.group, resource.version, resource.plural);
            let resource = Arc::new(resource);
            self.by_path.insert(path, resource.clone());
            self.resources.push(resource);
        }
    }

    /// Takes out what a definition brought.
    pub(crate) fn remove_definition(&mut self, table: &str) {
        let keep = |resource: &Resource| resource.custom.is_none() || !resource.is(table);
        self.resources.retain(|resource| keep(resource));
        self.by_path.retain(|_, resource| keep(resource));
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(&format!("{group}/{version}/{plural}"))
    }

    /// Any served version of a kind.
    pub(crate) fn find_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|resource| resource.group == group && resource.kind == kind)
    }

    /// Any served version of the resource that a table holds.
    pub(crate) fn find_table(&self, table: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|resource| resource.is(table))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// Each table once.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let first = |resource: &&Arc<Resource>| {
            self.find_table(&resource.table).is_some_and(|found| Arc::ptr_eq(found, resource))
        };
        self.resources.iter().filter(first)
    }

    /// Whether a group has kinds that no definition made.
    pub(crate) fn is_built_in(&self, group: &str) -> bool {
        self.iter().any(|resource| resource.group == group && resource.custom.is_none())
    }
}

/// A string member of a JSON object.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
