//! Who may do what: users by impersonation, roles and bindings.

use http::Request;
use serde_json::{Value, json};

use crate::kit::{Answer, Kit, text, unique};

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

/// Makes a role in the namespace of the case and binds it to a user.
pub(crate) async fn grant(kit: &Kit, user: &str, rules: Value) -> String {
    let name = unique("role");
    let role = json!({"metadata": {"name": name}, "rules": rules});
    kit.post(&kit.group_path("rbac.authorization.k8s.io/v1", "roles"), role).await.ok();
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    let path = kit.group_path("rbac.authorization.k8s.io/v1", "rolebindings");
    kit.post(&path, binding).await.ok();
    name
}

/// Waits until a user gets a code: other servers take a moment to notice a role.
pub(crate) async fn until_as(kit: &Kit, user: &str, method: &str, path: &str, code: u16) -> Answer {
    let wait = async {
        loop {
            let asked = request(&[("Impersonate-User", user)], method, path, &Value::Null);
            if kit.unrecorded(asked).await.code == code {
                return send_as(kit, user, method, path, Value::Null).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let result = tokio::time::timeout(crate::kit::DEADLINE, wait).await;
    result.unwrap_or_else(|_| panic!("{user} never gets {code} from {method} {path}"))
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

#[tokio::test]
async fn impersonation_needs_a_right_of_its_own() {
    let kit = Kit::new().await;
    let answer = kit.get(&format!("{RBAC}/clusterroles/none")).await;
    assert_eq!(text(&answer.json()["reason"]), "NotFound");
}
