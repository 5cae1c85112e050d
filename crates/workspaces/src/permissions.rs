//! What workspaces need to be allowed in the cluster, by part.

use cluster::permissions::{Rule, WATCH};
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::model::GROUP;

const RBAC: &str = "rbac.authorization.k8s.io";

/// For the API and the connect proxy.
pub const SERVING: &[Rule] = &[
    Rule::new(GROUP, &["workspaces", "workspacekinds"], WATCH),
    Rule::new(GROUP, &["workspaces", "workspacekinds"], &["create", "update", "patch", "delete"]),
    Rule::new("", &["namespaces", "pods", "persistentvolumes", "persistentvolumeclaims"], WATCH),
    Rule::new("", &["persistentvolumeclaims"], &["create", "delete"]),
    Rule::new("", &["pods/log"], &["get"]),
    Rule::new("", &["pods"], &["delete"]).or_else("the restart action fails"),
    Rule::new("", &["secrets"], &["get", "list", "create", "update", "delete"]),
    Rule::new("", &["configmaps"], &["get"]),
    Rule::new("", &["resourcequotas"], &["list"])
        .or_else("quotas are not shown, and new workspaces not held against them"),
    Rule::new("", &["events"], &["list"]).or_else("events of workspaces are not shown"),
    Rule::new("apps", &["statefulsets"], &["list"]).or_else("events of workspaces are not shown"),
    Rule::new("metrics.k8s.io", &["pods"], &["list"])
        .or_else("what workspaces use of their resources is not shown"),
    Rule::new("storage.k8s.io", &["storageclasses"], WATCH),
];

/// For the controller: no more than the original has, or it can be done without.
pub const CONTROLLER: &[Rule] = &[
    Rule::new(GROUP, &["workspaces", "workspacekinds"], WATCH),
    Rule::new(GROUP, &["workspaces/status", "workspacekinds/status"], &["update"]),
    // Finalizers of kinds; and owner references that block deletion, where the cluster guards them.
    Rule::new(GROUP, &["workspacekinds"], &["patch"]),
    Rule::new(GROUP, &["workspaces/finalizers"], &["update"]),
    Rule::new("", &["namespaces", "pods"], WATCH),
    Rule::new("", &["serviceaccounts", "services"], WATCH),
    Rule::new("", &["serviceaccounts", "services"], &["create", "update"]),
    Rule::new("apps", &["statefulsets"], WATCH),
    Rule::new("apps", &["statefulsets"], &["create", "update"]),
    Rule::new("", &["configmaps", "events"], WATCH),
    Rule::new("", &["events"], &["create"]).or_else("changes of state leave no events"),
    Rule::new(GROUP, &["workspaces"], &["patch"]).or_else("idle workspaces are not paused"),
    // Over WebSocket Kubernetes asks for `get`, newer ones for `create` too.
    Rule::new("", &["pods/exec"], &["create", "get"])
        .or_else("scripts cannot tell whether workspaces are used"),
    Rule::new(RBAC, &["rolebindings"], WATCH),
    Rule::new(RBAC, &["rolebindings"], &["create", "update", "delete"])
        .or_else("kinds cannot give their workspaces roles"),
];

/// For a controller that lets kinds give their workspaces any role at all: whoever may write a kind
/// can then do whatever any role of the cluster allows, in every namespace that has a workspace.
pub const BIND_ANY_ROLE: &[Rule] = &[Rule::new(RBAC, &["clusterroles"], &["bind"])
    .or_else("kinds can give their workspaces no other roles than our own rights, or those named")];

/// For a controller that lets kinds give their workspaces these roles.
pub fn bind_roles(names: &[String]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![RBAC.to_owned()]),
        resources: Some(vec!["clusterroles".to_owned()]),
        resource_names: Some(names.to_vec()),
        verbs: vec!["bind".to_owned()],
        ..PolicyRule::default()
    }
}

/// For the controller with [`crate::controller::Options::connect_secret`].
pub const CONNECT_SECRETS: &[Rule] =
    &[Rule::new("", &["secrets"], &["get", "list", "watch", "create"])];

/// For the controller with [`crate::controller::Options::istio`].
pub const ISTIO: &[Rule] = &[
    Rule::new("networking.istio.io", &["virtualservices"], WATCH),
    Rule::new("networking.istio.io", &["virtualservices"], &["create", "update", "delete"]),
];

/// For the controller with [`crate::controller::Options::gateway_api`].
pub const GATEWAY_API: &[Rule] = &[
    Rule::new("gateway.networking.k8s.io", &["httproutes"], WATCH),
    Rule::new("gateway.networking.k8s.io", &["httproutes"], &["create", "update", "delete"]),
];
