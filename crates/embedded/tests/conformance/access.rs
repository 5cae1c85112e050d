//! Who may do what: users by impersonation, roles and bindings.

use http::Request;
use serde_json::{Value, json};

use crate::kit::{Answer, Kit, unique, within};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Sends a request as somebody else.
pub(crate) async fn send_as(
    kit: &Kit,
    user: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Answer {
    send_with(kit, &[("Impersonate-User", user)], method, path, body).await
}

/// Sends a request with headers.
pub(crate) async fn send_with(
    kit: &Kit,
    headers: &[(&str, &str)],
    method: &str,
    path: &str,
    body: Value,
) -> Answer {
    kit.answer(request(headers, method, path, &body)).await
}

fn request(headers: &[(&str, &str)], method: &str, path: &str, body: &Value) -> Request<Vec<u8>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let media = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request.header("content-type", media).body(body.into_bytes()).unwrap()
}

/// Makes a role in the namespace of the case, binds it to a user, and waits until it counts:
/// other servers notice a moment later.
pub(crate) async fn grant(kit: &Kit, user: &str, rules: Value) -> String {
    let name = unique("role");
    let role = json!({"metadata": {"name": name}, "rules": rules});
    kit.post(&kit.group_path("rbac.authorization.k8s.io/v1", "roles"), role).await.ok();
    let wanted = rules.as_array().unwrap();
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    let path = kit.group_path("rbac.authorization.k8s.io/v1", "rolebindings");
    kit.post(&path, binding).await.ok();
    let asked = json!({"spec": {"namespace": kit.namespace}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = || request(&[("Impersonate-User", user)], "POST", path, &asked);
    within(&format!("what {user} may"), async || {
        let status = kit.unrecorded(review()).await.ok()["status"].clone();
        let known = status["resourceRules"].as_array().unwrap();
        if wanted.iter().all(|rule| known.contains(rule)) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    name
}

/// Waits until a user gets a code: other servers take a moment to notice a role.
pub(crate) async fn until_as(kit: &Kit, user: &str, method: &str, path: &str, code: u16) -> Answer {
    until_with(kit, &[("Impersonate-User", user)], method, path, code).await
}

async fn until_with(
    kit: &Kit,
    headers: &[(&str, &str)],
    method: &str,
    path: &str,
    code: u16,
) -> Answer {
    within(&format!("{method} {path} by {headers:?}, which must be {code},"), async || {
        let answer = kit.unrecorded(request(headers, method, path, &Value::Null)).await;
        if answer.code == code { Ok(()) } else { Err(answer.text) }
    })
    .await;
    send_with(kit, headers, method, path, Value::Null).await
}

#[tokio::test]
async fn a_stranger_is_told_what_is_missing() {
    let kit = Kit::new().await;
    let user = unique("user");
    let answer = send_as(&kit, &user, "GET", &kit.path("pods"), Value::Null).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        format!(
            "pods is forbidden: User \"{user}\" cannot list resource \"pods\" in API group \"\" in the namespace \"{}\"",
            kit.namespace
        )
    );
    assert_eq!(answer.details(), json!({"kind": "pods"}));
}

#[tokio::test]
async fn a_role_allows_what_it_says_and_no_more() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]);
    grant(&kit, &user, rules).await;
    kit.config_map("a", json!({})).await;
    until_as(&kit, &user, "GET", &kit.path("configmaps/a"), 200).await;
    until_as(&kit, &user, "GET", &kit.path("configmaps"), 200).await;
    let answer = send_as(&kit, &user, "DELETE", &kit.path("configmaps/a"), Value::Null).await;
    let (_, _, message) = answer.failure();
    assert_eq!(
        message,
        format!(
            "configmaps \"a\" is forbidden: User \"{user}\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"{}\"",
            kit.namespace
        )
    );
    let answer = send_as(&kit, &user, "GET", "/api/v1/configmaps", Value::Null).await;
    assert_eq!(
        answer.failure().2,
        format!(
            "configmaps is forbidden: User \"{user}\" cannot list resource \"configmaps\" in API group \"\" at the cluster scope"
        )
    );
    let elsewhere = "/api/v1/namespaces/default/configmaps";
    until_as(&kit, &user, "GET", elsewhere, 403).await;
}

#[tokio::test]
async fn a_deleted_binding_allows_nothing() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    let name = grant(&kit, &user, rules).await;
    until_as(&kit, &user, "GET", &kit.path("configmaps"), 200).await;
    let path = kit.group_path("rbac.authorization.k8s.io/v1", &format!("rolebindings/{name}"));
    kit.delete(&path, Value::Null).await.ok();
    until_as(&kit, &user, "GET", &kit.path("configmaps"), 403).await;
}

#[tokio::test]
async fn groups_alone_are_nobody() {
    let kit = Kit::new().await;
    let path = kit.path("pods");
    let answer = send_with(&kit, &[("Impersonate-Group", "g")], "GET", &path, Value::Null).await;
    assert_eq!(answer.code, 500);
    assert_eq!(
        answer.text,
        format!(
            "Internal Server Error: \"{path}\": requested [{{Group  g    }}] without impersonating a user\n"
        )
    );
}

/// Makes a ClusterRole; whoever asks removes it.
async fn cluster_role(kit: &Kit, name: &str, labels: Value, rules: Value) {
    let role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
    kit.post(&format!("{RBAC}/clusterroles"), role).await.ok();
}

#[tokio::test]
async fn a_binding_may_give_a_cluster_role_in_one_namespace() {
    let kit = Kit::new().await;
    let (user, role) = (unique("user"), unique("role"));
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]);
    cluster_role(&kit, &role, json!({}), rules).await;
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    });
    let path = kit.group_path("rbac.authorization.k8s.io/v1", "rolebindings");
    let made = kit.post(&path, binding).await.ok();
    assert_eq!(made["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(made["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    until_as(&kit, &user, "GET", &kit.path("secrets"), 200).await;
    until_as(&kit, &user, "GET", "/api/v1/secrets", 403).await;
    kit.delete(&format!("{RBAC}/clusterroles/{role}"), Value::Null).await.ok();
    let answer = until_as(&kit, &user, "GET", &kit.path("secrets"), 403).await;
    let (_, _, message) = answer.failure();
    let reason = format!(": RBAC: clusterrole.rbac.authorization.k8s.io \"{role}\" not found");
    assert!(message.ends_with(&reason), "{message}");
}

#[tokio::test]
async fn a_cluster_binding_gives_rights_everywhere() {
    let kit = Kit::new().await;
    let (user, role) = (unique("user"), unique("role"));
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
        {"nonResourceURLs": ["/nowhere/*"], "verbs": ["get"]},
    ]);
    cluster_role(&kit, &role, json!({}), rules).await;
    let binding = json!({
        "metadata": {"name": role},
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    });
    kit.post(&format!("{RBAC}/clusterrolebindings"), binding).await.ok();
    until_as(&kit, &user, "GET", &kit.path("secrets"), 200).await;
    until_as(&kit, &user, "GET", "/api/v1/secrets", 200).await;
    until_as(&kit, &user, "GET", "/nowhere/x", 404).await;
    until_as(&kit, &user, "GET", "/nowhere", 403).await;
    kit.delete(&format!("{RBAC}/clusterrolebindings/{role}"), Value::Null).await.ok();
    until_as(&kit, &user, "GET", "/api/v1/secrets", 403).await;
    kit.delete(&format!("{RBAC}/clusterroles/{role}"), Value::Null).await.ok();
}

#[tokio::test]
async fn a_path_that_is_no_resource() {
    let kit = Kit::new().await;
    let answer = send_as(&kit, "somebody", "GET", "/nowhere/at/all", Value::Null).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(message, "forbidden: User \"somebody\" cannot get path \"/nowhere/at/all\"");
    assert_eq!(answer.details(), json!({}));
}

#[tokio::test]
async fn groups_carry_rights() {
    let kit = Kit::new().await;
    let group = unique("group");
    let role = json!({
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
    });
    kit.post(&kit.group_path("rbac.authorization.k8s.io/v1", "roles"), role).await.ok();
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "Group", "name": group}],
    });
    let path = kit.group_path("rbac.authorization.k8s.io/v1", "rolebindings");
    kit.post(&path, binding).await.ok();
    let path = kit.path("secrets");
    let in_group = [("Impersonate-User", "x"), ("Impersonate-Group", group.as_str())];
    until_with(&kit, &in_group, "GET", &path, 200).await;
    let answer = send_as(&kit, "x", "GET", &path, Value::Null).await;
    assert_eq!(answer.code, 403);
}

#[tokio::test]
async fn service_accounts_carry_rights() {
    let kit = Kit::new().await;
    let role = json!({
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
    });
    kit.post(&kit.group_path("rbac.authorization.k8s.io/v1", "roles"), role).await.ok();
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [
            {"kind": "ServiceAccount", "name": "a", "namespace": kit.namespace},
            {"kind": "ServiceAccount", "name": "c"},
        ],
    });
    let path = kit.group_path("rbac.authorization.k8s.io/v1", "rolebindings");
    kit.post(&path, binding).await.ok();
    let account = format!("system:serviceaccount:{}:a", kit.namespace);
    until_as(&kit, &account, "GET", &kit.path("secrets"), 200).await;
    // Without a namespace it is one of the binding's own.
    let account = format!("system:serviceaccount:{}:c", kit.namespace);
    until_as(&kit, &account, "GET", &kit.path("secrets"), 200).await;
    let elsewhere = "system:serviceaccount:default:a";
    until_as(&kit, elsewhere, "GET", &kit.path("secrets"), 403).await;
    let other = format!("system:serviceaccount:{}:b", kit.namespace);
    until_as(&kit, &other, "GET", &kit.path("secrets"), 403).await;
}

#[tokio::test]
async fn rules_for_names_and_subresources() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["*/status"], "verbs": ["get"]},
    ]);
    grant(&kit, &user, rules).await;
    kit.config_map("a", json!({})).await;
    kit.config_map("b", json!({})).await;
    until_as(&kit, &user, "GET", &kit.path("configmaps/a"), 200).await;
    until_as(&kit, &user, "GET", &kit.path("configmaps/b"), 403).await;
    until_as(&kit, &user, "GET", &kit.path("configmaps"), 403).await;
    let one = kit.path("configmaps?fieldSelector=metadata.name%3Da");
    let list = until_as(&kit, &user, "GET", &one, 200).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    until_as(&kit, &user, "GET", &kit.path("pods/none/log"), 404).await;
    until_as(&kit, &user, "GET", &kit.path("pods/none"), 403).await;
    until_as(&kit, &user, "GET", &kit.path("persistentvolumeclaims/none/status"), 404).await;
}

#[tokio::test]
async fn each_verb_is_asked_for_by_its_name() {
    let kit = Kit::new().await;
    let user = unique("user");
    let path = kit.path("configmaps");
    let one = kit.path("configmaps/a");
    for (method, path, verb) in [
        ("GET", &path, "list"),
        ("GET", &format!("{path}?watch=true"), "watch"),
        ("POST", &path, "create"),
        ("DELETE", &path, "deletecollection"),
        ("GET", &one, "get"),
        ("PUT", &one, "update"),
        ("PATCH", &one, "patch"),
        ("DELETE", &one, "delete"),
    ] {
        let answer = send_as(&kit, &user, method, path, json!({})).await;
        let (code, _, message) = answer.failure();
        assert_eq!(code, 403);
        let part =
            format!("User \"{user}\" cannot {verb} resource \"configmaps\" in API group \"\"");
        assert!(message.contains(&part), "{message}");
    }
}

#[tokio::test]
async fn who_is_unknown_sees_only_what_is_public() {
    let kit = Kit::new().await;
    let version = until_as(&kit, "system:anonymous", "GET", "/version", 200);
    kit.not_compared("each server has a version of its own", version).await;
    let answer = send_as(&kit, "system:anonymous", "GET", "/apis", Value::Null).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(message, "forbidden: User \"system:anonymous\" cannot get path \"/apis\"");
    let groups = until_as(&kit, "anybody", "GET", "/apis", 200);
    kit.not_compared("a real server has more groups", groups).await;
}

#[tokio::test]
async fn acting_for_others_is_a_right_like_any() {
    let kit = Kit::new().await;
    let (user, other) = (unique("user"), unique("user"));
    let account = json!({"metadata": {"name": "a"}});
    kit.post(&kit.path("serviceaccounts"), account).await.ok();
    let rules =
        json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]);
    grant(&kit, &user, rules).await;
    let review = |verb: &str, resource: &str, name: &str| {
        json!({"spec": {"user": user, "resourceAttributes": {
            "verb": verb, "resource": resource, "name": name, "namespace": kit.namespace,
        }}})
    };
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let asked = review("impersonate", "serviceaccounts", "a");
    kit.until_posted(reviews, &asked, |answer| answer.json()["status"]["allowed"] == true).await;
    let denied = kit.post(reviews, review("impersonate", "users", &other)).await.ok();
    assert_eq!(denied["status"]["allowed"], false);
}

#[tokio::test]
async fn a_replace_that_creates_needs_the_right_to_create() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rules = json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]}]);
    let role = grant(&kit, &user, rules).await;
    let path = kit.group_path("coordination.k8s.io/v1", "leases/a");
    let lease = json!({"metadata": {"name": "a"}, "spec": {}});
    let answer = send_as(&kit, &user, "PUT", &path, lease.clone()).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        format!(
            "leases.coordination.k8s.io \"a\" is forbidden: User \"{user}\" cannot create resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"{}\"",
            kit.namespace
        )
    );
    let more = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "create"}]);
    let role = kit.group_path("rbac.authorization.k8s.io/v1", &format!("roles/{role}"));
    kit.json_patch(&role, more).await.ok();
    until_may(&kit, &user, "create", "coordination.k8s.io", "leases").await;
    let answer = send_as(&kit, &user, "PUT", &path, lease).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
}

/// Waits until a review says that a user may do something in the namespace of the case.
pub(crate) async fn until_may(kit: &Kit, user: &str, verb: &str, group: &str, resource: &str) {
    let asked = json!({"spec": {"user": user, "resourceAttributes": {
        "verb": verb, "group": group, "resource": resource, "namespace": kit.namespace,
    }}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    within(&format!("whether {user} may {verb} {resource}"), async || {
        let status =
            kit.unrecorded(request(&[], "POST", path, &asked)).await.ok()["status"].clone();
        if status["allowed"] == true { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
