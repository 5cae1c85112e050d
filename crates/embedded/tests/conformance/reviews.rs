//! Questions about access and identity.

use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    access::{grant, send_as, send_with, until_may},
    kit::{Kit, text, unique, within},
};

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
const AUTHENTICATION: &str = "/apis/authentication.k8s.io/v1";

fn subject_reviews() -> String {
    format!("{AUTHORIZATION}/subjectaccessreviews")
}

#[tokio::test]
async fn a_review_says_which_binding_allows() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let name = grant(&kit, &user, rules).await;
    until_may(&kit, &user, "list", "", "pods").await;
    let spec = json!({"user": user, "resourceAttributes": {
        "verb": "list", "resource": "pods", "namespace": kit.namespace,
    }});
    let answer = kit.post(&subject_reviews(), json!({"spec": spec})).await;
    assert_eq!(answer.code, 201);
    let review = answer.ok();
    assert_eq!(review["kind"], "SubjectAccessReview");
    assert_eq!(review["apiVersion"], "authorization.k8s.io/v1");
    assert_eq!(review["spec"], spec);
    let reason = format!(
        "RBAC: allowed by RoleBinding \"{name}/{}\" of Role \"{name}\" to User \"{user}\"",
        kit.namespace
    );
    assert_eq!(review["status"], json!({"allowed": true, "reason": reason}));
}

#[tokio::test]
async fn a_review_of_default_roles() {
    let kit = Kit::new().await;
    let spec = json!({
        "groups": ["system:unauthenticated"],
        "nonResourceAttributes": {"verb": "get", "path": "/healthz"},
    });
    let review = kit.post(&subject_reviews(), json!({"spec": spec})).await.ok();
    assert_eq!(
        review["status"],
        json!({
            "allowed": true,
            "reason": "RBAC: allowed by ClusterRoleBinding \"system:public-info-viewer\" of ClusterRole \"system:public-info-viewer\" to Group \"system:unauthenticated\"",
        })
    );
    let spec = json!({"groups": ["system:masters"], "resourceAttributes": {"verb": "x"}});
    let review = kit.post(&subject_reviews(), json!({"spec": spec})).await.ok();
    assert_eq!(review["status"], json!({"allowed": true}));
}

#[tokio::test]
async fn a_review_that_finds_nothing() {
    let kit = Kit::new().await;
    let spec = json!({"user": unique("user"), "resourceAttributes": {
        "verb": "list", "resource": "pods", "namespace": kit.namespace,
    }});
    let review = kit.post(&subject_reviews(), json!({"spec": spec})).await.ok();
    assert_eq!(review["status"], json!({"allowed": false}));
}

#[rstest]
#[case::nothing(json!({"user": "x"}), "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified")]
#[case::both(json!({"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {"path": "/a", "verb": "get"}}), "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/a\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes")]
#[case::nobody(json!({"resourceAttributes": {}}), "spec.user: Invalid value: \"\": at least one of user or group must be specified")]
#[case::selector(json!({"user": "x", "resourceAttributes": {"labelSelector": {}}}), "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required")]
#[tokio::test]
async fn rules_of_reviews(#[case] spec: Value, #[case] problem: &str) {
    let kit = Kit::new().await;
    let answer = kit.post(&subject_reviews(), json!({"spec": spec})).await;
    let (code, reason, message) = answer.failure();
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(message, format!(".authorization.k8s.io \"\" is invalid: {problem}"));
    assert_eq!(answer.details()["group"], "authorization.k8s.io");
}

#[tokio::test]
async fn a_selector_that_cannot_be_read_is_told() {
    let kit = Kit::new().await;
    let spec = json!({"user": "x", "resourceAttributes": {
        "verb": "list", "resource": "pods", "fieldSelector": {"rawSelector": "a"},
    }});
    let review = kit.post(&subject_reviews(), json!({"spec": spec})).await.ok();
    assert_eq!(
        review["status"],
        json!({
            "allowed": false,
            "evaluationError": "spec.resourceAttributes.fieldSelector ignored due to parse error",
        })
    );
}

#[tokio::test]
async fn reviews_of_one_namespace() {
    let kit = Kit::new().await;
    let path = kit.group_path("authorization.k8s.io/v1", "localsubjectaccessreviews");
    let review = |namespace: &str| {
        json!({"spec": {"user": "x", "resourceAttributes": {
            "verb": "list", "resource": "pods", "namespace": namespace,
        }}})
    };
    let answer = kit.post(&path, review(&kit.namespace)).await.ok();
    assert_eq!(answer["metadata"]["namespace"], kit.namespace);
    assert_eq!(answer["status"], json!({"allowed": false}));
    let (code, _, message) = kit.post(&path, review("other")).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"other\": must match metadata.namespace"
    );
    let of_path = json!({"spec": {
        "user": "x", "nonResourceAttributes": {"path": "/a", "verb": "get"},
    }});
    let (_, _, message) = kit.post(&path, of_path).await.failure();
    assert_eq!(
        message,
        ".authorization.k8s.io \"\" is invalid: spec.nonResourceAttributes: Invalid value: {\"Path\":\"/a\",\"Verb\":\"get\"}: disallowed on this kind of request"
    );
    let everywhere = format!("{AUTHORIZATION}/localsubjectaccessreviews");
    assert_eq!(kit.post(&everywhere, review("")).await.code, 404);
}

#[tokio::test]
async fn may_i() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let name = grant(&kit, &user, rules).await;
    until_may(&kit, &user, "list", "", "pods").await;
    let ask = async |verb: &str| {
        let review = json!({"spec": {"resourceAttributes": {
            "verb": verb, "resource": "pods", "namespace": kit.namespace,
        }}});
        let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
        send_as(&kit, &user, "POST", &path, review).await.ok()["status"].clone()
    };
    let reason = format!(
        "RBAC: allowed by RoleBinding \"{name}/{}\" of Role \"{name}\" to User \"{user}\"",
        kit.namespace
    );
    assert_eq!(ask("list").await, json!({"allowed": true, "reason": reason}));
    assert_eq!(ask("get").await, json!({"allowed": false}));
}

#[tokio::test]
async fn what_may_i() {
    let kit = Kit::new().await;
    let user = unique("user");
    let rule = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
    grant(&kit, &user, json!([rule])).await;
    let asked = json!({"user": user, "resourceAttributes": {
        "verb": "list", "resource": "pods", "name": "a", "namespace": kit.namespace,
    }});
    let path = subject_reviews();
    let wait = within(&path, async || {
        let status = kit.post(&path, json!({"spec": asked})).await.ok()["status"].clone();
        if status["allowed"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    kit.not_compared("how often it is asked is chance", wait).await;
    let path = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let review = json!({"spec": {"namespace": kit.namespace}});
    let list = send_as(&kit, &user, "POST", &path, review);
    let answer = kit.not_compared("the order of rules is chance", list).await.ok();
    assert_eq!(answer["spec"], json!({}));
    let status = &answer["status"];
    assert_eq!(status["incomplete"], false);
    assert!(status["resourceRules"].as_array().unwrap().contains(&rule), "{status}");
    let paths = status["nonResourceRules"].as_array().unwrap();
    assert!(paths.iter().any(|rule| {
        rule["nonResourceURLs"].as_array().is_some_and(|all| all.contains(&json!("/version")))
    }));
    let (code, _, message) = send_as(&kit, &user, "POST", &path, json!({})).await.failure();
    assert_eq!((code, message.as_str()), (400, "no namespace on request"));
}

#[tokio::test]
async fn who_am_i() {
    let kit = Kit::new().await;
    let user = unique("user");
    let headers = [
        ("Impersonate-User", user.as_str()),
        ("Impersonate-Uid", "u-1"),
        ("Impersonate-Group", "g"),
        ("Impersonate-Extra-Example.com%2fA", "1"),
    ];
    let path = format!("{AUTHENTICATION}/selfsubjectreviews");
    let answer = send_with(&kit, &headers, "POST", &path, json!({})).await;
    assert_eq!(answer.code, 201);
    let review = answer.ok();
    assert!(review["metadata"]["creationTimestamp"].is_string(), "{review}");
    assert_eq!(
        review["status"]["userInfo"],
        json!({
            "username": user, "uid": "u-1", "groups": ["g", "system:authenticated"],
            "extra": {"example.com/a": ["1"]},
        })
    );
}

#[tokio::test]
async fn reviews_are_only_made() {
    let kit = Kit::new().await;
    for path in [subject_reviews(), format!("{AUTHENTICATION}/tokenreviews")] {
        assert_eq!(kit.get(&path).await.code, 405, "{path}");
        assert_eq!(kit.delete(&path, Value::Null).await.code, 405, "{path}");
    }
    let list = kit.get(AUTHORIZATION).await.ok();
    for resource in list["resources"].as_array().unwrap() {
        assert_eq!(resource["verbs"], json!(["create"]), "{resource}");
    }
}

/// Makes a service account, and a token of it.
async fn token(kit: &Kit, name: &str, spec: Value) -> Value {
    let account = json!({"metadata": {"name": name}});
    kit.post(&kit.path("serviceaccounts"), account).await.ok();
    let path = kit.path(&format!("serviceaccounts/{name}/token"));
    let answer =
        kit.not_compared("tokens are chance", kit.post(&path, json!({"spec": spec}))).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.ok()
}

async fn review_of(kit: &Kit, spec: Value) -> Value {
    let path = format!("{AUTHENTICATION}/tokenreviews");
    let answer =
        kit.not_compared("tokens are chance", kit.post(&path, json!({"spec": spec}))).await;
    answer.ok()["status"].clone()
}

/// What is said of a token when it is good no longer. Other servers take a moment to notice, and
/// remember for seconds who was right once.
async fn end_of(kit: &Kit, token: &str) -> Value {
    within("the review of the token", async || {
        let status = review_of(kit, json!({"token": token})).await;
        if status.get("authenticated").is_none() { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_token_of_a_service_account() {
    let kit = Kit::new().await;
    let request = token(&kit, "a", json!({})).await;
    assert_eq!(request["kind"], "TokenRequest");
    assert_eq!(request["metadata"]["name"], "a");
    assert_eq!(request["metadata"]["namespace"], kit.namespace);
    assert_eq!(request["spec"]["audiences"], json!(["https://kubernetes.default.svc"]));
    assert_eq!(request["spec"]["expirationSeconds"], 3600);
    let token = text(&request["status"]["token"]);
    assert_eq!(token.split('.').count(), 3);
    assert!(request["status"]["expirationTimestamp"].is_string());
    let status = review_of(&kit, json!({"token": token})).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!(["https://kubernetes.default.svc"]));
    let user = &status["user"];
    assert_eq!(user["username"], format!("system:serviceaccount:{}:a", kit.namespace));
    assert_eq!(user["uid"], request["metadata"]["uid"]);
    let own = format!("system:serviceaccounts:{}", kit.namespace);
    assert_eq!(user["groups"], json!(["system:serviceaccounts", own, "system:authenticated"]));
    let id = text(&user["extra"]["authentication.kubernetes.io/credential-id"][0]);
    assert!(id.starts_with("JTI="), "{status}");
}

#[tokio::test]
async fn a_token_for_somebody_else() {
    let kit = Kit::new().await;
    let request =
        token(&kit, "a", json!({"audiences": ["me", "you"], "expirationSeconds": 600})).await;
    let token = text(&request["status"]["token"]);
    let status = review_of(&kit, json!({"token": token, "audiences": ["you", "they"]})).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!(["you"]));
    let status = review_of(&kit, json!({"token": token})).await;
    assert_eq!(status.get("authenticated"), None);
    assert_eq!(status["user"], json!({}));
    let error = text(&status["error"]);
    assert_eq!(
        error,
        "[invalid bearer token, token audiences [\"me\" \"you\"] is invalid for the target audiences [\"https://kubernetes.default.svc\"]]"
    );
}

#[tokio::test]
async fn a_token_ends_with_its_account() {
    let kit = Kit::new().await;
    let request = token(&kit, "a", json!({})).await;
    let token = text(&request["status"]["token"]);
    kit.delete(&kit.path("serviceaccounts/a"), Value::Null).await.ok();
    let status = end_of(&kit, &token).await;
    assert_eq!(
        status,
        json!({"user": {}, "error": "[invalid bearer token, serviceaccounts \"a\" not found]"})
    );
    let again =
        kit.post(&kit.path("serviceaccounts"), json!({"metadata": {"name": "a"}})).await.ok();
    let status = review_of(&kit, json!({"token": token})).await;
    let error = format!(
        "[invalid bearer token, service account UID ({}) does not match claim ({})]",
        text(&again["metadata"]["uid"]),
        text(&request["metadata"]["uid"])
    );
    assert_eq!(status, json!({"user": {}, "error": error}));
}

#[tokio::test]
async fn a_token_ends_with_its_secret() {
    let kit = Kit::new().await;
    kit.post(&kit.path("secrets"), json!({"metadata": {"name": "s"}})).await.ok();
    let spec = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}});
    let request = token(&kit, "a", spec).await;
    let token = text(&request["status"]["token"]);
    kit.delete(&kit.path("secrets/s"), Value::Null).await.ok();
    let status = end_of(&kit, &token).await;
    assert_eq!(
        status["error"],
        "[invalid bearer token, service account token has been invalidated]"
    );
}

#[rstest]
#[case::short(json!({"expirationSeconds": 599}), 422, "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes")]
#[case::long(json!({"expirationSeconds": 4294967297_i64}), 422, "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds")]
#[case::bound_to_nothing(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "none"}}), 404, "secrets \"none\" not found")]
#[case::bound_to_anything(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}}), 400, "cannot bind token to object of type /v1, Kind=ConfigMap")]
#[tokio::test]
async fn rules_of_token_requests(#[case] spec: Value, #[case] code: u16, #[case] message: &str) {
    let kit = Kit::new().await;
    kit.post(&kit.path("serviceaccounts"), json!({"metadata": {"name": "a"}})).await.ok();
    let path = kit.path("serviceaccounts/a/token");
    let answer = kit.post(&path, json!({"spec": spec})).await;
    let (found, _, text) = answer.failure();
    assert_eq!((found, text.as_str()), (code, message));
}

#[tokio::test]
async fn a_token_request_for_another_account() {
    let kit = Kit::new().await;
    let path = kit.path("serviceaccounts/none/token");
    let (code, _, message) = kit.post(&path, json!({})).await.failure();
    assert_eq!((code, message.as_str()), (404, "serviceaccounts \"none\" not found"));
    kit.post(&kit.path("serviceaccounts"), json!({"metadata": {"name": "a"}})).await.ok();
    let path = kit.path("serviceaccounts/a/token");
    let (code, _, message) = kit.post(&path, json!({"metadata": {"name": "b"}})).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "TokenRequest.authentication.k8s.io \"a\" is invalid: metadata.name: Invalid value: \"b\": must match the service account name if specified"
    );
    let account = kit.get(&kit.path("serviceaccounts/a")).await.ok();
    let (code, reason, message) =
        kit.post(&path, json!({"metadata": {"uid": "u"}})).await.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        format!(
            "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"a\": the UID in the token request (u) does not match the UID of the service account ({})",
            text(&account["metadata"]["uid"])
        )
    );
}

#[tokio::test]
async fn tokens_that_are_none() {
    let kit = Kit::new().await;
    let path = format!("{AUTHENTICATION}/tokenreviews");
    let (code, _, message) = kit.post(&path, json!({"spec": {}})).await.failure();
    assert_eq!(code, 400);
    assert_eq!(message, "token is required for TokenReview in authentication");
    for token in ["x", "a.b.c"] {
        let status =
            kit.post(&path, json!({"spec": {"token": token}})).await.ok()["status"].clone();
        assert_eq!(status.get("authenticated"), None, "{status}");
        assert_eq!(status["user"], json!({}));
        assert_eq!(status["error"], "invalid bearer token");
    }
}
