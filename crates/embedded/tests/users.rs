//! Users who come in over a listener: what the conformance suite, which is an administrator on any
//! server, cannot play.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::{path::Path, time::Duration};

use bytes::Bytes;
use embedded::{Cluster, Options, User};
use http::Request;
use http_body_util::{BodyExt, Full};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn open(directory: &Path) -> Cluster {
    Cluster::open(Options::new(directory)).await.unwrap()
}

/// Sends a request as a user, or as the machine itself, with headers.
async fn send(
    cluster: &Cluster,
    user: Option<User>,
    headers: &[(&str, &str)],
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let media = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let mut request = Request::builder().method(method).uri(path).header("content-type", media);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let mut request = request.body(Full::new(bytes)).unwrap();
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    let response = cluster.service().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    let (code, body) = send(cluster, None, &[], "GET", path, Value::Null).await;
    assert_eq!(code, 200, "{path} {body}");
    body
}

async fn make(cluster: &Cluster, path: &str, body: Value) -> Value {
    let (code, body) = send(cluster, None, &[], "POST", path, body).await;
    assert_eq!(code, 201, "{path} {body}");
    body
}

/// Gives a user rules everywhere.
async fn grant(cluster: &Cluster, user: &str, rules: Value) {
    let role = json!({"metadata": {"name": user}, "rules": rules});
    make(cluster, &format!("{RBAC}/clusterroles"), role).await;
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"kind": "ClusterRole", "name": user},
        "subjects": [{"kind": "User", "name": user}],
    });
    make(cluster, &format!("{RBAC}/clusterrolebindings"), binding).await;
}

async fn until(mut fits: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !fits().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never"));
}

fn user(name: &str) -> Option<User> {
    Some(User::new(name, Vec::<String>::new()))
}

#[tokio::test]
async fn the_machine_and_administrators_may_everything() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    for who in [None, Some(User::administrator())] {
        let (code, _) = send(&cluster, who, &[], "GET", "/api/v1/secrets", Value::Null).await;
        assert_eq!(code, 200);
    }
    let stranger = Some(User::anonymous());
    let (code, body) = send(&cluster, stranger, &[], "GET", "/api/v1/secrets", Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "secrets is forbidden: User \"system:anonymous\" cannot list resource \"secrets\" in API group \"\" at the cluster scope"
    );
}

#[tokio::test]
async fn who_may_do_nothing_is_refused_before_the_body_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let huge = json!({"data": {"a": "x".repeat(4 << 20)}});
    let (code, _) = send(&cluster, user("x"), &[], "POST", path, huge.clone()).await;
    assert_eq!(code, 403);
    let (code, _) = send(&cluster, None, &[], "POST", path, huge).await;
    assert_eq!(code, 413);
}

#[rstest]
#[case::user(&[("Impersonate-User", "a")], "users \"a\" is forbidden: User \"x\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope")]
#[case::account(&[("Impersonate-User", "system:serviceaccount:n:a")], "serviceaccounts \"a\" is forbidden: User \"x\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"n\"")]
#[case::group(&[("Impersonate-User", "known"), ("Impersonate-Group", "g")], "groups \"g\" is forbidden: User \"x\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope")]
#[case::uid(&[("Impersonate-User", "known"), ("Impersonate-Uid", "u")], "uids.authentication.k8s.io \"u\" is forbidden: User \"x\" cannot impersonate resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope")]
#[case::extra(&[("Impersonate-User", "known"), ("Impersonate-Extra-k", "v")], "userextras.authentication.k8s.io \"v\" is forbidden: User \"x\" cannot impersonate resource \"userextras/k\" in API group \"authentication.k8s.io\" at the cluster scope")]
#[tokio::test]
async fn to_act_for_others_needs_a_right(#[case] headers: &[(&str, &str)], #[case] message: &str) {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let rule = json!({
        "apiGroups": [""], "resources": ["users"], "resourceNames": ["known"],
        "verbs": ["impersonate"],
    });
    grant(&cluster, "x", json!([rule])).await;
    let (code, body) = send(&cluster, user("x"), headers, "GET", "/version", Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(body["message"], message);
}

#[tokio::test]
async fn who_acts_for_another_has_the_rights_of_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let rule = json!({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]});
    grant(&cluster, "x", json!([rule])).await;
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]});
    grant(&cluster, "y", json!([rule])).await;
    let path = "/api/v1/secrets";
    let (code, _) = send(&cluster, user("x"), &[], "GET", path, Value::Null).await;
    assert_eq!(code, 403);
    let as_y = [("Impersonate-User", "y")];
    let (code, _) = send(&cluster, user("x"), &as_y, "GET", path, Value::Null).await;
    assert_eq!(code, 200);
    // An administrator who acts for somebody has no more rights than they.
    let (code, _) =
        send(&cluster, None, &[("Impersonate-User", "z")], "GET", path, Value::Null).await;
    assert_eq!(code, 403);
}

#[tokio::test]
async fn bearer_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let secret = "0123456789abcdef0123456789abcdef";
    let authenticator = cluster.authenticator();
    assert_eq!(authenticator.authenticate(secret), None);
    cluster.set_administrator(secret.to_owned().into());
    assert_eq!(authenticator.authenticate(secret), Some(User::administrator()));
    for wrong in ["", "x", &secret[1..], &format!("{secret}0"), "a.b.c"] {
        assert_eq!(authenticator.authenticate(wrong), None, "{wrong}");
    }
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    make(&cluster, accounts, json!({"metadata": {"name": "a"}})).await;
    let request = make(&cluster, &format!("{accounts}/a/token"), json!({})).await;
    let token = request["status"]["token"].as_str().unwrap().to_owned();
    let found = authenticator.authenticate(&token).unwrap();
    assert_eq!(found.name, "system:serviceaccount:default:a");
    assert_eq!(found.uid, request["metadata"]["uid"]);
    assert_eq!(
        found.groups,
        ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    );
    assert!(!found.is_superuser());
    let for_others = json!({"spec": {"audiences": ["elsewhere"]}});
    let request = make(&cluster, &format!("{accounts}/a/token"), for_others).await;
    let other = request["status"]["token"].as_str().unwrap();
    assert_eq!(authenticator.authenticate(other), None);
    // Tokens outlive the program, and not their account.
    cluster.shutdown().await;
    drop((authenticator, cluster));
    let cluster = open(directory.path()).await;
    let authenticator = cluster.authenticator();
    assert!(authenticator.authenticate(&token).is_some());
    let path = format!("{accounts}/a");
    let (code, _) = send(&cluster, None, &[], "DELETE", &path, Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(authenticator.authenticate(&token), None);
    make(&cluster, accounts, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(authenticator.authenticate(&token), None);
}

#[tokio::test]
async fn default_roles_are_mended_at_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let role = |name: &str| format!("{RBAC}/clusterroles/{name}");
    let before = get(&cluster, &role("system:discovery")).await["rules"].clone();
    let own = json!([{"nonResourceURLs": ["/own"], "verbs": ["get"]}]);
    let change = json!({"rules": own});
    for name in ["system:discovery", "system:public-info-viewer"] {
        let (code, _) = send(&cluster, None, &[], "PATCH", &role(name), change.clone()).await;
        assert_eq!(code, 200);
    }
    let off = json!({"metadata": {"annotations": {
        "rbac.authorization.kubernetes.io/autoupdate": "false",
    }}});
    let path = role("system:public-info-viewer");
    send(&cluster, None, &[], "PATCH", &path, off).await;
    let binding = format!("{RBAC}/clusterrolebindings/system:basic-user");
    send(&cluster, None, &[], "PATCH", &binding, json!({"subjects": []})).await;
    send(&cluster, None, &[], "DELETE", &role("view"), Value::Null).await;
    cluster.shutdown().await;
    drop(cluster);
    let cluster = open(directory.path()).await;
    let mended = get(&cluster, &role("system:discovery")).await["rules"].clone();
    assert_eq!(mended, json!([own[0], before[0]]));
    assert_eq!(get(&cluster, &path).await["rules"], own);
    assert_eq!(get(&cluster, &binding).await["subjects"][0]["name"], "system:authenticated");
    assert!(get(&cluster, &role("view")).await["rules"].as_array().unwrap().len() > 5);
}

#[tokio::test]
async fn a_settled_cluster_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = open(directory.path()).await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "5"}}});
    make(&cluster, quotas, quota).await;
    let one = format!("{quotas}/q");
    until(async || get(&cluster, &one).await["status"]["used"]["configmaps"] == "0").await;
    let before = cluster.store().revision();
    let maps = "/api/v1/namespaces/default/configmaps";
    make(&cluster, maps, json!({"metadata": {"name": "a"}})).await;
    // The charge and the object.
    assert_eq!(cluster.store().revision(), before + 2);
    let path = format!("{maps}/a");
    send(&cluster, None, &[], "PATCH", &path, json!({"data": {"k": "v"}})).await;
    send(&cluster, None, &[], "DELETE", &path, Value::Null).await;
    until(async || get(&cluster, &one).await["status"]["used"]["configmaps"] == "0").await;
    // The change, the deletion and the new count.
    assert_eq!(cluster.store().revision(), before + 5);
    cluster.shutdown().await;
    drop(cluster);
    let cluster = open(directory.path()).await;
    assert_eq!(cluster.store().revision(), before + 5);
    make(&cluster, maps, json!({"metadata": {"name": "b"}})).await;
    assert_eq!(cluster.store().revision(), before + 7);
}
