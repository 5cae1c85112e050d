//! What the objects of a namespace may use together.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{Kit, Widgets, unique, within};

/// Makes a quota and waits until it counts.
async fn quota(kit: &Kit, name: &str, spec: Value) {
    let quota = json!({"metadata": {"name": name}, "spec": spec});
    kit.post(&kit.path("resourcequotas"), quota).await.ok();
    let path = kit.path(&format!("resourcequotas/{name}"));
    kit.until(&path, |answer| answer.json()["status"]["used"].is_object()).await;
    kit.not_compared("how often it is tried is chance", until_enforced(kit)).await;
}

/// Other servers enforce a quota a moment after they have counted. One that comes later and is
/// enforced tells that the moment is over.
async fn until_enforced(kit: &Kit) {
    let hard = json!({"count/roles.rbac.authorization.k8s.io": "0"});
    let probe = json!({"metadata": {"name": "probe"}, "spec": {"hard": hard}});
    kit.post(&kit.path("resourcequotas"), probe).await.ok();
    let path = kit.group_path("rbac.authorization.k8s.io/v1", "roles?dryRun=All");
    within(&path, async || {
        let answer = kit.post(&path, named("probe")).await;
        if answer.code == 403 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    kit.delete(&kit.path("resourcequotas/probe"), Value::Null).await.ok();
}

/// Waits until a quota says that something is used.
async fn until_used(kit: &Kit, name: &str, used: Value) {
    let path = kit.path(&format!("resourcequotas/{name}"));
    kit.until(&path, |answer| answer.json()["status"]["used"] == used).await;
}

async fn used(kit: &Kit, name: &str) -> Value {
    let path = kit.path(&format!("resourcequotas/{name}"));
    kit.get(&path).await.ok()["status"]["used"].clone()
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// Makes an object as soon as the quota has room, which other servers notice a moment later.
async fn until_made(kit: &Kit, path: &str, object: Value) {
    within(path, async || {
        let answer = kit.post(path, object.clone()).await;
        if answer.code == 201 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

async fn secret(kit: &Kit, name: &str) {
    kit.post(&kit.path("secrets"), named(name)).await.ok();
}

/// Makes the account that pods have, unless there is one.
async fn account(kit: &Kit) {
    let path = kit.path("serviceaccounts");
    let made = kit.post(&path, named("default"));
    kit.not_compared("some clusters have one in every namespace", made).await;
}

fn claim(name: &str, storage: &str, class: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": storage}},
        },
    })
}

fn pod(name: &str, resources: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "x", "resources": resources}]},
    })
}

#[tokio::test]
async fn objects_are_counted_as_they_come_and_go() {
    let kit = Kit::new().await;
    secret(&kit, "before").await;
    let hard =
        json!({"secrets": "3", "count/leases.coordination.k8s.io": "2", "resourcequotas": "5"});
    quota(&kit, "q", json!({"hard": hard.clone()})).await;
    let first =
        json!({"secrets": "1", "count/leases.coordination.k8s.io": "0", "resourcequotas": "1"});
    until_used(&kit, "q", first.clone()).await;
    let status = kit.get(&kit.path("resourcequotas/q")).await.ok()["status"].clone();
    assert_eq!(status["hard"], hard);
    secret(&kit, "a").await;
    let two =
        json!({"secrets": "2", "count/leases.coordination.k8s.io": "0", "resourcequotas": "1"});
    assert_eq!(used(&kit, "q").await, two);
    kit.delete(&kit.path("secrets/a"), Value::Null).await.ok();
    until_used(&kit, "q", first).await;
}

#[tokio::test]
async fn what_exceeds_a_quota_is_refused() {
    let kit = Kit::new().await;
    quota(&kit, "q", json!({"hard": {"secrets": "1", "services": "0"}})).await;
    secret(&kit, "a").await;
    let answer = kit.post(&kit.path("secrets"), named("b")).await;
    assert_eq!(
        answer.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "secrets \"b\" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1",
            "reason": "Forbidden", "details": {"name": "b", "kind": "secrets"}, "code": 403,
        })
    );
    let service = json!({"metadata": {"name": "b"}, "spec": {"ports": [{"port": 80}]}});
    let (_, _, message) = kit.post(&kit.path("services"), service).await.failure();
    assert_eq!(
        message,
        "services \"b\" is forbidden: exceeded quota: q, requested: services=1, used: services=0, limited: services=0"
    );
    kit.merge(&kit.path("secrets/a"), json!({"stringData": {"k": "v"}})).await.ok();
}

#[tokio::test]
async fn objects_of_any_group_are_counted() {
    let kit = Kit::new().await;
    let name = "count/leases.coordination.k8s.io";
    quota(&kit, "q", json!({"hard": {name: "1"}})).await;
    let path = kit.group_path("coordination.k8s.io/v1", "leases");
    kit.post(&path, named("a")).await.ok();
    let (code, _, message) = kit.post(&path, named("b")).await.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        format!(
            "leases.coordination.k8s.io \"b\" is forbidden: exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1"
        )
    );
}

#[tokio::test]
async fn custom_objects_are_counted_by_resource_and_group() {
    let reason = "a real cluster takes half a minute to notice that there is a kind to count";
    let Some(kit) = Kit::embedded_only(reason).await else { return };
    let widgets = Widgets::install(&kit).await;
    let name = format!("count/{}", widgets.definition);
    let mut hard = json!({});
    hard[&name] = "1".into();
    quota(&kit, "q", json!({"hard": hard})).await;
    kit.post(&widgets.path(&kit, ""), widgets.object("a", json!({"size": 1}))).await.ok();
    let answer = kit.post(&widgets.path(&kit, ""), widgets.object("b", json!({"size": 1}))).await;
    let (code, _, message) = answer.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        format!(
            "{} \"b\" is forbidden: exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1",
            widgets.definition
        )
    );
}

#[tokio::test]
async fn storage_is_added_up_also_by_class() {
    let kit = Kit::new().await;
    let by_class = "gold.storageclass.storage.k8s.io/requests.storage";
    let claims_by_class = "gold.storageclass.storage.k8s.io/persistentvolumeclaims";
    let hard = json!({
        "requests.storage": "10Gi", "persistentvolumeclaims": "5",
        by_class: "3Gi", claims_by_class: "4",
    });
    quota(&kit, "q", json!({"hard": hard})).await;
    let path = kit.path("persistentvolumeclaims");
    kit.post(&path, claim("a", "2Gi", "gold")).await.ok();
    kit.post(&path, claim("b", "512Mi", "silver")).await.ok();
    let expected = json!({
        "requests.storage": "2560Mi", "persistentvolumeclaims": "2",
        by_class: "2Gi", claims_by_class: "1",
    });
    assert_eq!(used(&kit, "q").await, expected);
    let (_, _, message) = kit.post(&path, claim("c", "1025Mi", "gold")).await.failure();
    assert_eq!(
        message,
        format!(
            "persistentvolumeclaims \"c\" is forbidden: exceeded quota: q, requested: {by_class}=1025Mi, used: {by_class}=2Gi, limited: {by_class}=3Gi"
        )
    );
    let (_, _, message) = kit.post(&path, claim("c", "9Gi", "gold")).await.failure();
    assert_eq!(
        message,
        format!(
            "persistentvolumeclaims \"c\" is forbidden: exceeded quota: q, requested: {by_class}=9Gi,requests.storage=9Gi, used: {by_class}=2Gi,requests.storage=2560Mi, limited: {by_class}=3Gi,requests.storage=10Gi"
        )
    );
}

#[tokio::test]
async fn a_claim_grows_only_within_the_quota() {
    let kit = Kit::new().await;
    let class = unique("class");
    let object = json!({
        "metadata": {"name": class}, "provisioner": "example.com/none", "allowVolumeExpansion": true,
    });
    kit.post("/apis/storage.k8s.io/v1/storageclasses", object).await.ok();
    let volume = unique("volume");
    let object = json!({
        "metadata": {"name": volume},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/nowhere"}, "storageClassName": class,
        },
    });
    let made = kit.post("/api/v1/persistentvolumes", object);
    kit.not_compared("volumes have more than is looked at here", made).await.ok();
    let mut object = claim("a", "1Gi", &class);
    object["spec"]["volumeName"] = volume.as_str().into();
    let path = kit.path("persistentvolumeclaims");
    let made = kit.post(&path, object);
    kit.not_compared("a volume controller may be faster", made).await.ok();
    // Where nothing binds claims, the case does.
    let status = kit.path("persistentvolumeclaims/a/status");
    let bound =
        kit.merge(&status, json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}));
    kit.not_compared("a volume controller may be faster", bound).await.ok();
    let one = kit.path("persistentvolumeclaims/a");
    let until = kit.until(&one, |answer| answer.json()["status"]["phase"] == "Bound");
    kit.not_compared("a volume controller may have its say", until).await;
    quota(&kit, "q", json!({"hard": {"requests.storage": "3Gi"}})).await;
    let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let (code, _, message) = kit.merge(&one, size("4Gi")).await.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "persistentvolumeclaims \"a\" is forbidden: exceeded quota: q, requested: requests.storage=3Gi, used: requests.storage=1Gi, limited: requests.storage=3Gi"
    );
    let grown = kit.merge(&one, size("2Gi"));
    kit.not_compared("a volume controller may have its say", grown).await.ok();
    assert_eq!(used(&kit, "q").await, json!({"requests.storage": "2Gi"}));
    let ends = async {
        kit.delete(&one, Value::Null).await.ok();
        kit.delete(&format!("/api/v1/persistentvolumes/{volume}"), Value::Null).await.ok();
    };
    kit.not_compared("a volume controller may have its say", ends).await;
    kit.delete(&format!("/apis/storage.k8s.io/v1/storageclasses/{class}"), Value::Null).await.ok();
}

#[tokio::test]
async fn pods_must_name_what_is_limited() {
    let kit = Kit::new().await;
    account(&kit).await;
    let hard = json!({"requests.cpu": "1", "limits.memory": "1Gi", "pods": "9"});
    quota(&kit, "q", json!({"hard": hard})).await;
    let path = kit.path("pods");
    let (code, _, message) = kit.post(&path, pod("a", json!({}))).await.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "pods \"a\" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c"
    );
    let resources = json!({"requests": {"cpu": "600m"}, "limits": {"memory": "256Mi"}});
    let made = kit.post(&path, pod("a", resources.clone()));
    kit.not_compared("pods have more defaults", made).await.ok();
    let expected = json!({"requests.cpu": "600m", "limits.memory": "256Mi", "pods": "1"});
    assert_eq!(used(&kit, "q").await, expected);
    let (_, _, message) = kit.post(&path, pod("b", resources)).await.failure();
    assert_eq!(
        message,
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
}

#[tokio::test]
async fn containers_before_and_beside_others_count() {
    let kit = Kit::new().await;
    account(&kit).await;
    quota(&kit, "q", json!({"hard": {"requests.cpu": "10", "cpu": "10"}})).await;
    let container = |name: &str, cpu: &str| json!({"name": name, "image": "x", "resources": {"requests": {"cpu": cpu}}});
    let mut beside = container("s", "50m");
    beside["restartPolicy"] = "Always".into();
    let pod = json!({
        "metadata": {"name": "a"},
        "spec": {
            "initContainers": [beside, container("i", "500m")],
            "containers": [container("a", "200m"), container("b", "200m")],
        },
    });
    let path = kit.path("pods");
    kit.not_compared("pods have more defaults", kit.post(&path, pod)).await.ok();
    // The one before the others needs more than those, and runs with the one beside them.
    assert_eq!(used(&kit, "q").await, json!({"requests.cpu": "550m", "cpu": "550m"}));
}

#[tokio::test]
async fn pods_that_ended_use_nothing() {
    let kit = Kit::new().await;
    account(&kit).await;
    quota(&kit, "q", json!({"hard": {"pods": "1", "count/pods": "2"}})).await;
    let path = kit.path("pods");
    let made = kit.post(&path, pod("a", json!({})));
    kit.not_compared("pods have more defaults", made).await.ok();
    let (_, _, message) = kit.post(&path, pod("b", json!({}))).await.failure();
    assert_eq!(
        message,
        "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    );
    let ended = json!({"status": {"phase": "Succeeded"}});
    let status = kit.path("pods/a/status");
    let ended = kit.merge(&status, ended);
    kit.not_compared("pods have more defaults", ended).await.ok();
    until_used(&kit, "q", json!({"pods": "0", "count/pods": "1"})).await;
    let made = until_made(&kit, &path, pod("b", json!({})));
    kit.not_compared("pods have more defaults", made).await;
}

#[tokio::test]
async fn a_quota_may_be_for_some_pods_only() {
    let kit = Kit::new().await;
    account(&kit).await;
    quota(&kit, "q", json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]})).await;
    let (code, _, message) = kit.post(&kit.path("pods"), pod("a", json!({}))).await.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"
    );
    let path = kit.path("pods");
    let made = kit.post(&path, pod("a", json!({"requests": {"cpu": "1m"}})));
    kit.not_compared("pods have more defaults", made).await.ok();
    assert_eq!(used(&kit, "q").await, json!({"pods": "0"}));
}

#[tokio::test]
async fn many_at_once_do_not_exceed_a_quota() {
    let kit = Kit::new().await;
    quota(&kit, "q", json!({"hard": {"secrets": "5"}})).await;
    let path = kit.path("secrets");
    let creates = (0..20).map(|n| kit.post(&path, named(&format!("m{n}"))));
    let answers =
        kit.not_compared("who is first is chance", futures::future::join_all(creates)).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made, 5);
    assert!(answers.iter().all(|answer| matches!(answer.code, 201 | 403)));
    let list = kit.not_compared("who was first is chance", kit.get(&path)).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 5);
    assert_eq!(used(&kit, "q").await, json!({"secrets": "5"}));
}

#[tokio::test]
async fn what_fails_otherwise_is_not_charged() {
    let Some(kit) = Kit::embedded_only("a real server counts it until it counts anew").await else {
        return;
    };
    quota(&kit, "q", json!({"hard": {"secrets": "2"}})).await;
    secret(&kit, "a").await;
    for _ in 0..3 {
        let answer = kit.post(&kit.path("secrets"), named("a")).await;
        assert_eq!(answer.code, 409, "{}", answer.text);
    }
    assert_eq!(used(&kit, "q").await, json!({"secrets": "1"}));
}

#[tokio::test]
async fn a_dry_run_is_refused_and_not_charged() {
    let kit = Kit::new().await;
    quota(&kit, "q", json!({"hard": {"secrets": "1"}})).await;
    let path = kit.path("secrets?dryRun=All");
    kit.post(&path, named("a")).await.ok();
    assert_eq!(used(&kit, "q").await, json!({"secrets": "0"}));
    secret(&kit, "a").await;
    assert_eq!(kit.post(&path, named("b")).await.code, 403);
}

#[tokio::test]
async fn a_service_that_becomes_another_kind_is_charged() {
    let kit = Kit::new().await;
    let hard = json!({"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"});
    quota(&kit, "q", json!({"hard": hard})).await;
    let service = |name: &str, ports: Value| json!({"metadata": {"name": name}, "spec": {"type": "ClusterIP", "ports": ports}});
    let one = json!([{"name": "a", "port": 80}]);
    let two = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let path = kit.path("services");
    let reason = "addresses are chance";
    kit.not_compared(reason, kit.post(&path, service("a", one))).await.ok();
    kit.not_compared(reason, kit.post(&path, service("b", two))).await.ok();
    let node_port = json!({"spec": {"type": "NodePort"}});
    let (code, _, message) = kit.merge(&kit.path("services/b"), node_port).await.failure();
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "services \"b\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"
    );
    let balancer = json!({"spec": {"type": "LoadBalancer"}});
    let (_, _, message) = kit.merge(&kit.path("services/a"), balancer).await.failure();
    assert_eq!(
        message,
        "services \"a\" is forbidden: exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0"
    );
}

#[tokio::test]
async fn all_quotas_of_a_namespace_count() {
    let kit = Kit::new().await;
    quota(&kit, "a", json!({"hard": {"secrets": "5"}})).await;
    quota(&kit, "b", json!({"hard": {"count/secrets": "1"}})).await;
    secret(&kit, "a").await;
    let (_, _, message) = kit.post(&kit.path("secrets"), named("b")).await.failure();
    assert_eq!(
        message,
        "secrets \"b\" is forbidden: exceeded quota: b, requested: count/secrets=1, used: count/secrets=1, limited: count/secrets=1"
    );
    assert_eq!(used(&kit, "a").await, json!({"secrets": "1"}));
    kit.delete(&kit.path("resourcequotas/b"), Value::Null).await.ok();
    let path = kit.path("secrets");
    let made = until_made(&kit, &path, named("b"));
    kit.not_compared("how often it is tried is chance", made).await;
}

#[tokio::test]
async fn a_changed_limit_is_taken_over() {
    let kit = Kit::new().await;
    quota(&kit, "q", json!({"hard": {"secrets": "1"}})).await;
    secret(&kit, "a").await;
    let path = kit.path("resourcequotas/q");
    let change = json!({"spec": {"hard": {"secrets": "2", "services": "7"}}});
    kit.merge(&path, change).await.ok();
    let expected = json!({
        "hard": {"secrets": "2", "services": "7"}, "used": {"secrets": "1", "services": "0"},
    });
    kit.until(&path, |answer| answer.json()["status"] == expected).await;
    let path = kit.path("secrets");
    let made = until_made(&kit, &path, named("b"));
    kit.not_compared("how often it is tried is chance", made).await;
}

#[rstest]
#[case::name(json!({"hard": {"things": "1"}}), "[spec.hard[things]: Invalid value: \"things\": must be a standard resource type or fully qualified, spec.hard[things]: Invalid value: \"things\": must be a standard resource for quota]")]
#[case::malformed(json!({"hard": {"a b": "1"}}), "[spec.hard[a b]: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.hard[a b]: Invalid value: \"a b\": must be a standard resource for quota]")]
#[case::negative(json!({"hard": {"pods": "-1"}}), "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0")]
#[case::part(json!({"hard": {"pods": "500m"}}), "spec.hard[pods]: Invalid value: \"500m\": must be an integer")]
#[case::scope(json!({"hard": {"secrets": "1"}, "scopes": ["BestEffort"]}), "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource")]
#[case::scopes(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}), "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes")]
#[case::unknown_scope(json!({"hard": {"pods": "1"}, "scopes": ["Thing"]}), "spec.scopes: Invalid value: [\"Thing\"]: unsupported scope")]
#[tokio::test]
async fn rules_of_quotas(#[case] spec: Value, #[case] problem: &str) {
    let kit = Kit::new().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": spec});
    let (code, _, message) = kit.post(&kit.path("resourcequotas"), quota).await.failure();
    assert_eq!(code, 422);
    assert_eq!(message, format!("ResourceQuota \"q\" is invalid: {problem}"));
}

#[tokio::test]
async fn the_scopes_of_a_quota_stay() {
    let kit = Kit::new().await;
    quota(&kit, "q", json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})).await;
    let change = json!({"spec": {"scopes": ["Terminating"]}});
    let (code, _, message) = kit.merge(&kit.path("resourcequotas/q"), change).await.failure();
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "ResourceQuota \"q\" is invalid: spec.scopes: Invalid value: [\"Terminating\"]: field is immutable"
    );
}
