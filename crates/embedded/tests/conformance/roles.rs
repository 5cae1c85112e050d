//! The kinds of RBAC themselves: rules, defaults, the roles that always exist, escalation.

use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    access::{grant, send_as, until_may},
    kit::{Kit, unique, within},
};

const GROUP: &str = "rbac.authorization.k8s.io";
const CLUSTER: &str = "/apis/rbac.authorization.k8s.io/v1";

fn in_namespace(kit: &Kit, rest: &str) -> String {
    kit.group_path("rbac.authorization.k8s.io/v1", rest)
}

#[rstest]
#[case::no_verbs(json!([{"apiGroups": [""], "resources": ["pods"]}]), "rules[0].verbs", "Required value: verbs must contain at least one value")]
#[case::no_groups(json!([{"verbs": ["get"], "resources": ["pods"]}]), "rules[0].apiGroups", "Required value: resource rules must supply at least one api group")]
#[case::no_resources(json!([{"verbs": ["get"], "apiGroups": [""]}]), "rules[0].resources", "Required value: resource rules must supply at least one resource")]
#[case::paths(json!([{"verbs": ["get"], "nonResourceURLs": ["/a"]}]), "rules[0].nonResourceURLs", "Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs")]
#[tokio::test]
async fn rules_of_roles(#[case] rules: Value, #[case] field: &str, #[case] message: &str) {
    let kit = Kit::new().await;
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    let answer = kit.post(&in_namespace(&kit, "roles"), role).await;
    let (code, reason, whole) = answer.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(whole, format!("Role.{GROUP} \"r\" is invalid: {field}: {message}"));
    assert_eq!(answer.details()["causes"][0]["field"], field);
}

#[tokio::test]
async fn rules_of_cluster_roles() {
    let kit = Kit::new().await;
    let name = unique("role");
    let role = json!({
        "metadata": {"name": name},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "nonResourceURLs": ["/a"]}],
        "aggregationRule": {"clusterRoleSelectors": []},
    });
    let (code, _, message) = kit.post(&format!("{CLUSTER}/clusterroles"), role).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        format!(
            "ClusterRole.{GROUP} \"{name}\" is invalid: [rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs, aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil]"
        )
    );
}

#[rstest]
#[case::kind_of_role(json!({"roleRef": {"kind": "Thing", "name": "r"}}), "roleRef.kind", "Unsupported value: \"Thing\": supported values: \"Role\", \"ClusterRole\"")]
#[case::group_of_role(json!({"roleRef": {"kind": "Role", "name": "r", "apiGroup": "x"}}), "roleRef.apiGroup", "Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"")]
#[case::no_role(json!({"roleRef": {"kind": "Role", "name": ""}}), "roleRef.name", "Required value")]
#[case::name_of_role(json!({"roleRef": {"kind": "Role", "name": "a/b"}}), "roleRef.name", "Invalid value: \"a/b\": may not contain '/'")]
#[case::kind_of_subject(json!({"subjects": [{"kind": "Thing", "name": "x"}]}), "subjects[0].kind", "Unsupported value: \"Thing\": supported values: \"ServiceAccount\", \"User\", \"Group\"")]
#[case::no_subject(json!({"subjects": [{"kind": "User", "name": ""}]}), "subjects[0].name", "Required value")]
#[case::group_of_account(json!({"subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": "n", "apiGroup": "x"}]}), "subjects[0].apiGroup", "Unsupported value: \"x\": supported values: \"\"")]
#[case::group_of_user(json!({"subjects": [{"kind": "User", "name": "x", "apiGroup": "x"}]}), "subjects[0].apiGroup", "Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"")]
#[tokio::test]
async fn rules_of_bindings(#[case] change: Value, #[case] field: &str, #[case] message: &str) {
    let kit = Kit::new().await;
    let mut binding = json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [],
    });
    json_patch::merge(&mut binding, &change);
    let answer = kit.post(&in_namespace(&kit, "rolebindings"), binding).await;
    let (code, _, whole) = answer.failure();
    assert_eq!(code, 422);
    assert_eq!(whole, format!("RoleBinding.{GROUP} \"b\" is invalid: {field}: {message}"));
}

#[tokio::test]
async fn rules_of_cluster_bindings() {
    let kit = Kit::new().await;
    let name = unique("binding");
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "x"}],
    });
    let answer = kit.post(&format!("{CLUSTER}/clusterrolebindings"), binding).await;
    assert_eq!(
        answer.failure().2,
        format!(
            "ClusterRoleBinding.{GROUP} \"{name}\" is invalid: [roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\", subjects[0].namespace: Required value]"
        )
    );
}

#[tokio::test]
async fn the_role_of_a_binding_stays() {
    let kit = Kit::new().await;
    let name = grant(&kit, "x", json!([])).await;
    let path = in_namespace(&kit, &format!("rolebindings/{name}"));
    let answer = kit.merge(&path, json!({"roleRef": {"name": "other"}})).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        format!(
            "RoleBinding.{GROUP} \"{name}\" is invalid: roleRef: Invalid value: {{\"APIGroup\":\"{GROUP}\",\"Kind\":\"Role\",\"Name\":\"other\"}}: cannot change roleRef"
        )
    );
    kit.merge(&path, json!({"subjects": [{"kind": "Group", "name": "g"}]})).await.ok();
}

#[tokio::test]
async fn names_may_have_colons_and_capitals() {
    let kit = Kit::new().await;
    let role = json!({"metadata": {"name": "system:A_b"}, "rules": []});
    kit.post(&in_namespace(&kit, "roles"), role).await.ok();
    kit.get(&in_namespace(&kit, "roles/system:A_b")).await.ok();
    let role = json!({"metadata": {"name": "a%b"}, "rules": []});
    let (code, _, message) = kit.post(&in_namespace(&kit, "roles"), role).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        format!(
            "Role.{GROUP} \"a%b\" is invalid: metadata.name: Invalid value: \"a%b\": may not contain '%'"
        )
    );
}

#[tokio::test]
async fn a_replace_makes_a_missing_role() {
    let kit = Kit::new().await;
    let path = in_namespace(&kit, "roles/r");
    let role = json!({"metadata": {"name": "r"}, "rules": []});
    let answer = kit.put(&path, role).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let deleted = kit.delete(&path, Value::Null).await.ok();
    assert_eq!(deleted["kind"], "Status");
    assert_eq!(deleted["details"]["kind"], "roles");
}

#[rstest]
#[case("cluster-admin")]
#[case("system:aggregate-to-admin")]
#[case("system:aggregate-to-edit")]
#[case("system:aggregate-to-view")]
#[case("system:basic-user")]
#[case("system:discovery")]
#[case("system:public-info-viewer")]
#[case("admin")]
#[case("edit")]
#[case("view")]
#[tokio::test]
async fn default_roles(#[case] name: &str) {
    let kit = Kit::new().await;
    let path = format!("{CLUSTER}/clusterroles/{name}");
    let role = kit.until(&path, |answer| answer.json()["rules"].is_array()).await.ok();
    assert_eq!(role["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    let updated = &role["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"];
    assert_eq!(updated, "true");
}

#[rstest]
#[case("cluster-admin", "system:masters")]
#[case("system:basic-user", "system:authenticated")]
#[case("system:discovery", "system:authenticated")]
#[case("system:public-info-viewer", "system:authenticated")]
#[tokio::test]
async fn default_bindings(#[case] name: &str, #[case] group: &str) {
    let kit = Kit::new().await;
    let binding = kit.get(&format!("{CLUSTER}/clusterrolebindings/{name}")).await.ok();
    assert_eq!(binding["roleRef"]["name"], name);
    assert_eq!(binding["subjects"][0], json!({"apiGroup": GROUP, "kind": "Group", "name": group}));
}

#[tokio::test]
async fn a_viewer_of_a_namespace() {
    let kit = Kit::new().await;
    let user = unique("user");
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": user}],
    });
    kit.post(&in_namespace(&kit, "rolebindings"), binding).await.ok();
    until_may(&kit, &user, "list", "", "pods").await;
    until_may(&kit, &user, "get", "apps", "statefulsets").await;
    for (path, code) in [("pods", 200), ("configmaps", 200), ("secrets", 403)] {
        let answer = send_as(&kit, &user, "GET", &kit.path(path), Value::Null).await;
        assert_eq!(answer.code, code, "{path}");
    }
    let map = json!({"metadata": {"name": "a"}});
    let answer = send_as(&kit, &user, "POST", &kit.path("configmaps"), map).await;
    assert_eq!(answer.code, 403);
}

#[tokio::test]
async fn an_editor_of_a_namespace() {
    let kit = Kit::new().await;
    let user = unique("user");
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": user}],
    });
    kit.post(&in_namespace(&kit, "rolebindings"), binding).await.ok();
    until_may(&kit, &user, "create", "", "secrets").await;
    until_may(&kit, &user, "list", "", "pods").await;
    let secret = json!({"metadata": {"name": "a"}});
    send_as(&kit, &user, "POST", &kit.path("secrets"), secret).await.ok();
    let role = json!({"metadata": {"name": "r"}, "rules": []});
    let answer = send_as(&kit, &user, "POST", &in_namespace(&kit, "roles"), role).await;
    assert_eq!(answer.code, 403);
}

#[tokio::test]
async fn roles_are_made_of_others_by_label() {
    let kit = Kit::new().await;
    let (whole, part) = (unique("role"), unique("role"));
    let key = format!("example.com/{whole}");
    let role = json!({
        "metadata": {"name": whole},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {key.clone(): "true"}}]},
    });
    let path = format!("{CLUSTER}/clusterroles");
    kit.post(&path, role).await.ok();
    let rule = json!({"apiGroups": ["example.com"], "resources": ["things"], "verbs": ["get"]});
    let role = json!({"metadata": {"name": part, "labels": {key: "true"}}, "rules": [rule]});
    kit.post(&path, role).await.ok();
    let one = format!("{path}/{whole}");
    kit.until(&one, |answer| answer.json()["rules"] == json!([rule])).await;
    kit.delete(&format!("{path}/{part}"), Value::Null).await.ok();
    kit.until(&one, |answer| answer.json()["rules"].as_array().is_none_or(Vec::is_empty)).await;
    kit.delete(&one, Value::Null).await.ok();
}

#[tokio::test]
async fn what_is_labelled_is_part_of_view() {
    let kit = Kit::new().await;
    let part = unique("role");
    let rule = json!({"apiGroups": ["example.com"], "resources": [part], "verbs": ["get"]});
    let role = json!({
        "metadata": {"name": part, "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [rule],
    });
    let path = format!("{CLUSTER}/clusterroles");
    kit.post(&path, role).await.ok();
    for name in ["view", "edit", "admin"] {
        let has = |role: &Value| role["rules"].as_array().is_some_and(|all| all.contains(&rule));
        let what = format!("{name}, which must get the rule,");
        let wait = within(&what, async || {
            let role = kit.get(&format!("{path}/{name}")).await.ok();
            if has(&role) { Ok(()) } else { Err(role["rules"].to_string()) }
        });
        kit.not_compared("other cases change the same role", wait).await;
    }
    kit.delete(&format!("{path}/{part}"), Value::Null).await.ok();
}

/// Somebody who may write roles and bindings, and list pods, in the namespace of the case.
async fn author(kit: &Kit) -> String {
    let user = unique("user");
    let rules = json!([
        {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]);
    grant(kit, &user, rules).await;
    until_may(kit, &user, "list", "", "pods").await;
    user
}

#[tokio::test]
async fn nobody_writes_a_role_with_more_than_they_have() {
    let kit = Kit::new().await;
    let user = author(&kit).await;
    let role = |name: &str, verbs: Value| {
        json!({"metadata": {"name": name}, "rules": [
            {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": verbs},
        ]})
    };
    let path = in_namespace(&kit, "roles");
    let answer = send_as(&kit, &user, "POST", &path, role("r", json!(["list", "get"]))).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        format!(
            "roles.{GROUP} \"r\" is forbidden: user \"{user}\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}}\n{{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"list\" \"get\"]}}"
        )
    );
    assert_eq!(answer.details(), json!({"name": "r", "group": GROUP, "kind": "roles"}));
    let own = json!({"metadata": {"name": "own"}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]});
    send_as(&kit, &user, "POST", &path, own).await.ok();
    let more = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]});
    let answer = send_as(&kit, &user, "PATCH", &in_namespace(&kit, "roles/own"), more).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    let missing = "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}";
    assert!(message.ends_with(missing), "{message}");
    let label = json!({"metadata": {"finalizers": ["example.com/a"]}});
    send_as(&kit, &user, "PATCH", &in_namespace(&kit, "roles/own"), label).await.ok();
    let free = json!({"metadata": {"finalizers": null}});
    send_as(&kit, &user, "PATCH", &in_namespace(&kit, "roles/own"), free).await.ok();
}

#[tokio::test]
async fn who_may_escalate_writes_any_role() {
    let kit = Kit::new().await;
    let user = author(&kit).await;
    let rules = json!([{"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]}]);
    grant(&kit, &user, rules).await;
    until_may(&kit, &user, "escalate", GROUP, "roles").await;
    let role = json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    ]});
    send_as(&kit, &user, "POST", &in_namespace(&kit, "roles"), role).await.ok();
}

#[tokio::test]
async fn nobody_binds_a_role_with_more_than_they_have() {
    let kit = Kit::new().await;
    let user = author(&kit).await;
    let binding = |name: &str, role: &str| {
        json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
        })
    };
    let path = in_namespace(&kit, "rolebindings");
    let answer = send_as(&kit, &user, "POST", &path, binding("b", "cluster-admin")).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        format!(
            "rolebindings.{GROUP} \"b\" is forbidden: user \"{user}\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}}\n{{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}}"
        )
    );
    let missing = unique("missing");
    let answer = send_as(&kit, &user, "POST", &path, binding("b", &missing)).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 404);
    assert_eq!(message, format!("rolebindings.{GROUP} \"{missing}\" not found"));
    let rules = json!([{"apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"], "verbs": ["bind"]}]);
    grant(&kit, &user, rules).await;
    let wait = within(&path, async || {
        let answer = send_as(&kit, &user, "POST", &path, binding("b", "cluster-admin")).await;
        if answer.json()["kind"] == "Status" { Err(answer.text) } else { Ok(()) }
    });
    kit.not_compared("how often it is tried is chance", wait).await;
}

/// Somebody who may write cluster roles and bindings, and list pods, everywhere.
async fn cluster_author(kit: &Kit) -> String {
    let user = unique("user");
    let rules = json!([
        {"apiGroups": [GROUP], "resources": ["clusterroles", "clusterrolebindings"], "verbs": ["create", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]);
    let role = json!({"metadata": {"name": user}, "rules": rules});
    kit.post(&format!("{CLUSTER}/clusterroles"), role).await.ok();
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
    });
    kit.post(&format!("{CLUSTER}/clusterrolebindings"), binding).await.ok();
    until_may(kit, &user, "list", "", "pods").await;
    user
}

async fn end_cluster_author(kit: &Kit, user: &str) {
    for kind in ["clusterrolebindings", "clusterroles"] {
        kit.delete(&format!("{CLUSTER}/{kind}/{user}"), Value::Null).await.ok();
    }
}

#[tokio::test]
async fn only_who_may_everything_gathers_roles() {
    let kit = Kit::new().await;
    let user = cluster_author(&kit).await;
    let name = unique("role");
    let role = json!({
        "metadata": {"name": name},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    });
    let path = format!("{CLUSTER}/clusterroles");
    let answer = send_as(&kit, &user, "POST", &path, role).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        format!(
            "clusterroles.{GROUP} \"{name}\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
        )
    );
    end_cluster_author(&kit, &user).await;
}

#[tokio::test]
async fn nobody_binds_a_role_everywhere_with_more_than_they_have() {
    let kit = Kit::new().await;
    let user = cluster_author(&kit).await;
    let name = unique("binding");
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:public-info-viewer"},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": "g"}],
    });
    let path = format!("{CLUSTER}/clusterrolebindings");
    // What everybody has, everybody may give.
    send_as(&kit, &user, "POST", &path, binding.clone()).await.ok();
    kit.delete(&format!("{path}/{name}"), Value::Null).await.ok();
    let mut binding = binding;
    binding["roleRef"]["name"] = "system:aggregate-to-admin".into();
    let answer = send_as(&kit, &user, "POST", &path, binding).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        format!(
            "clusterrolebindings.{GROUP} \"{name}\" is forbidden: user \"{user}\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{{APIGroups:[\"authorization.k8s.io\"], Resources:[\"localsubjectaccessreviews\"], Verbs:[\"create\"]}}\n{{APIGroups:[\"{GROUP}\"], Resources:[\"rolebindings\"], Verbs:[\"create\" \"delete\" \"deletecollection\" \"get\" \"list\" \"patch\" \"update\" \"watch\"]}}\n{{APIGroups:[\"{GROUP}\"], Resources:[\"roles\"], Verbs:[\"create\" \"delete\" \"deletecollection\" \"get\" \"list\" \"patch\" \"update\" \"watch\"]}}"
        )
    );
    end_cluster_author(&kit, &user).await;
}
