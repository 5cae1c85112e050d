//! The roles and bindings that every cluster has.

use serde_json::{Value, json};

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const READ_WRITE: &str = "create delete deletecollection get list patch update watch";

/// API group, resources and verbs of a rule; `-` instead of a group for paths.
type Line = (&'static str, &'static str, &'static str);

/// What one may look at.
const VIEW: &[Line] = &[
    (
        "",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
        READ,
    ),
    (
        "",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
        READ,
    ),
    ("", "namespaces", READ),
    ("discovery.k8s.io", "endpointslices", READ),
    (
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        READ,
    ),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ),
    ("batch", "cronjobs cronjobs/status jobs jobs/status", READ),
    (
        "extensions",
        "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
        READ,
    ),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
    ("networking.k8s.io", "ingresses ingresses/status networkpolicies", READ),
    ("resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates", READ),
];

/// What one may change.
const EDIT: &[Line] = &[
    ("", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", READ),
    ("", "serviceaccounts", "impersonate"),
    ("", "pods pods/attach pods/exec pods/portforward pods/proxy", WRITE),
    ("", "pods/eviction", "create"),
    (
        "",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
        WRITE,
    ),
    ("", "serviceaccounts/token", "create"),
    (
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
        WRITE,
    ),
    ("autoscaling", "horizontalpodautoscalers", WRITE),
    ("batch", "cronjobs jobs", WRITE),
    (
        "extensions",
        "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale",
        WRITE,
    ),
    ("policy", "poddisruptionbudgets", WRITE),
    ("networking.k8s.io", "ingresses networkpolicies", WRITE),
    ("coordination.k8s.io", "leases", READ_WRITE),
    ("resource.k8s.io", "resourceclaims resourceclaimtemplates", WRITE),
];

/// What the administrator of a namespace may do beside.
const ADMIN: &[Line] = &[
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    ("rbac.authorization.k8s.io", "rolebindings roles", READ_WRITE),
];

const BASIC_USER: &[Line] = &[
    ("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
];

const DISCOVERY: &[Line] = &[(
    "-",
    "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
    "get",
)];

const PUBLIC_INFO: &[Line] = &[("-", "/healthz /livez /readyz /version /version/", "get")];

const EVERYTHING: &[Line] = &[("*", "*", "*"), ("-", "*", "*")];

fn rule(&(group, things, verbs): &Line) -> Value {
    let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match group {
        "-" => json!({"nonResourceURLs": list(things), "verbs": list(verbs)}),
        group => json!({"apiGroups": [group], "resources": list(things), "verbs": list(verbs)}),
    }
}

fn metadata(name: &str, part_of: &str) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if !part_of.is_empty() {
        labels[aggregate_label(part_of)] = "true".into();
    }
    json!({
        "name": name,
        "labels": labels,
        "annotations": {super::bootstrap::AUTO_UPDATE: "true"},
    })
}

fn aggregate_label(role: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}")
}

/// The roles, those that are made of others last.
pub(super) fn cluster_roles() -> Vec<Value> {
    let plain = |name: &str, part_of: &str, rules: &[Line]| {
        let rules: Vec<Value> = rules.iter().map(rule).collect();
        json!({"metadata": metadata(name, part_of), "rules": rules})
    };
    let made_of = |name: &str, part_of: &str| {
        let labels = json!({aggregate_label(name): "true"});
        json!({
            "metadata": metadata(name, part_of),
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels}]},
        })
    };
    vec![
        plain("cluster-admin", "", EVERYTHING),
        plain("system:aggregate-to-admin", "admin", ADMIN),
        plain("system:aggregate-to-edit", "edit", EDIT),
        plain("system:aggregate-to-view", "view", VIEW),
        plain("system:basic-user", "", BASIC_USER),
        plain("system:discovery", "", DISCOVERY),
        plain("system:public-info-viewer", "", PUBLIC_INFO),
        made_of("view", "edit"),
        made_of("edit", "admin"),
        made_of("admin", ""),
    ]
}

/// The bindings: role, and the groups that have it.
pub(super) fn cluster_bindings() -> Vec<Value> {
    let known = ["system:authenticated"].as_slice();
    let lines = [
        ("cluster-admin", ["system:masters"].as_slice()),
        ("system:basic-user", known),
        ("system:discovery", known),
        ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ];
    const GROUP: &str = "rbac.authorization.k8s.io";
    let subject = |name: &&str| json!({"apiGroup": GROUP, "kind": "Group", "name": name});
    let binding = |(role, groups): (&str, &[&str])| {
        json!({
            "metadata": metadata(role, ""),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        })
    };
    lines.into_iter().map(binding).collect()
}
