//! What this crate does with a Kubernetes API, on a whole one.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{sync::Arc, time::Duration};

use cluster::{
    Access, Key, Object, Source,
    access::{Attributes, Reviews, TokenReviews},
    apply::{ApplyError, Wanted, api},
    crds::{self, InstallError},
    lease::{Lease, Timing},
    permissions::{self, Rule, WATCH},
};
use http::{HeaderName, HeaderValue, Request};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        coordination,
        core::v1::{ConfigMap, Service, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
    core::ApiResource,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testcluster::TestCluster;
use tokio_util::sync::CancellationToken;
use web::{Authenticate as _, Identity, Kind};

const NAMESPACE: &str = "team";
/// Nothing takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

async fn world() -> (TestCluster, Client) {
    let cluster = TestCluster::open().await;
    cluster.make_namespace(NAMESPACE).await;
    let client = cluster.client();
    (cluster, client)
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn namespaced<K>(client: &Client) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn until<F: Future<Output = bool>>(what: &str, met: impl Fn() -> F) {
    let wait = async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "never: {what}");
}

fn definition(properties: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.cluster.example.com"},
        "spec": {
            "group": "cluster.example.com",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": properties},
                }}},
            }],
        },
    })
}

#[tokio::test]
async fn definitions_are_installed_and_brought_up_to_date() {
    let (_cluster, client) = world().await;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let size = json!({"size": {"type": "integer", "maximum": 10}});
    let wanted = || vec![definition(&size)];
    let missing = crds::served(&client, wanted()).await;
    assert!(matches!(missing, Err(InstallError::NotServed { .. })), "{missing:?}");
    crds::install(&client, wanted()).await.unwrap();
    until("it is served", || async { crds::served(&client, wanted()).await.is_ok() }).await;
    let spec = async || {
        let definition = definitions.get("gadgets.cluster.example.com").await.unwrap();
        (definition.metadata.generation, definition.spec.versions[0].schema.clone())
    };
    let first = spec().await;
    crds::install(&client, wanted()).await.unwrap();
    assert_eq!(spec().await, first, "what is as wanted is not written");
    let more = json!({"size": {"type": "integer"}, "colour": {"type": "string"}});
    crds::install(&client, vec![definition(&more)]).await.unwrap();
    assert_ne!(spec().await, first);
    let gadget = json!({
        "apiVersion": "cluster.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"},
        "spec": {"size": 11, "colour": "red"},
    });
    let resource = ApiResource {
        group: "cluster.example.com".into(),
        version: "v1".into(),
        api_version: "cluster.example.com/v1".into(),
        kind: "Gadget".into(),
        plural: "gadgets".into(),
    };
    let gadgets = api(&client, &resource, NAMESPACE);
    until("the new rule counts", || async {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let made = gadgets.create(&dry, &gadget.clone().into()).await;
        made.is_ok_and(|made| made.text("/spec/colour") == "red")
    })
    .await;
    let name = "gadgets.cluster.example.com";
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    until("it is gone", || async { definitions.get_opt(name).await.unwrap().is_none() }).await;
}

#[tokio::test]
async fn a_cache_follows_what_others_do() {
    let (_cluster, client) = world().await;
    let maps = namespaced::<ConfigMap>(&client);
    let map = |name: &str, colour: &str| -> ConfigMap {
        object(json!({"metadata": {"name": name, "labels": {"colour": colour}}}))
    };
    maps.create(&PostParams::default(), &map("before", "blue")).await.unwrap();
    maps.create(&PostParams::default(), &map("other", "red")).await.unwrap();
    let source = Source::all().labels("colour in (blue, green)");
    let cache = source
        .index(|map: &ConfigMap| map.metadata.labels.as_ref()?.get("colour").map(String::as_str))
        .start(&client);
    cache.ready().await;
    let names = |maps: Vec<Arc<ConfigMap>>| -> Vec<String> {
        let mut names: Vec<_> = maps.iter().map(|map| map.name_any()).collect();
        names.sort();
        names
    };
    assert_eq!(names(cache.list(Some(NAMESPACE))), ["before"]);
    let made = maps.create(&PostParams::default(), &map("after", "blue")).await.unwrap();
    let seen = async |map: &ConfigMap| {
        let version = map.resource_version().unwrap();
        cache.wait_for_version(&Key::of(&map.metadata), &version, DEADLINE).await
    };
    assert!(seen(&made).await);
    assert_eq!(names(cache.indexed("blue")), ["after", "before"]);
    let paint = |colour: &str| Patch::Merge(json!({"metadata": {"labels": {"colour": colour}}}));
    let green = maps.patch("after", &PatchParams::default(), &paint("green")).await.unwrap();
    assert!(seen(&green).await);
    assert_eq!(names(cache.indexed("green")), ["after"]);
    // What leaves the selection is gone for this cache.
    maps.patch("after", &PatchParams::default(), &paint("red")).await.unwrap();
    let gone = Key::new(Some(NAMESPACE), "after");
    assert!(cache.wait_for(&gone, DEADLINE, |map| map.is_none()).await);
    maps.delete("before", &DeleteParams::default()).await.unwrap();
    let gone = Key::new(Some(NAMESPACE), "before");
    assert!(cache.wait_for(&gone, DEADLINE, |map| map.is_none()).await);
    assert!(cache.is_empty());
}

/// A Service that a ConfigMap owns: an API server fills in much of one.
fn owned_service(owner: &ConfigMap, port: u16) -> Wanted {
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": NAMESPACE, "labels": {"ours": "yes"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(),
                "uid": owner.uid(), "controller": true,
            }],
        },
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": port}]},
    });
    Wanted::new(ApiResource::erase::<Service>(&()), value, &["/spec/ports", "/spec/selector"])
}

#[tokio::test]
async fn what_is_as_wanted_is_not_written_again() {
    let (_cluster, client) = world().await;
    let owner = object(json!({"metadata": {"name": "owner"}}));
    let owner = namespaced(&client).create(&PostParams::default(), &owner).await.unwrap();
    let wanted = owned_service(&owner, 80);
    let version = |object: &Object| object.text("/metadata/resourceVersion").to_owned();
    let made = wanted.create(&client).await.unwrap();
    assert!(wanted.is_met_by(made.value()), "defaults are no difference: {:?}", made.value());
    assert_eq!(version(&wanted.create(&client).await.unwrap()), version(&made));
    assert_eq!(version(&wanted.replace(&client, "web").await.unwrap()), version(&made));
    let services = namespaced::<Service>(&client);
    let theirs = json!({
        "metadata": {"labels": {"ours": "no", "theirs": "yes"}},
        "spec": {"sessionAffinity": "ClientIP", "selector": {"app": "other"}},
    });
    services.patch("web", &PatchParams::default(), &Patch::Merge(theirs)).await.unwrap();
    let mended = wanted.replace(&client, "web").await.unwrap();
    assert_eq!(mended.value()["spec"]["selector"], json!({"app": "web"}));
    assert_eq!(mended.text("/spec/sessionAffinity"), "ClientIP", "not ours");
    assert_eq!(mended.value()["metadata"]["labels"], json!({"ours": "yes", "theirs": "yes"}));
    let changed = owned_service(&owner, 81).replace(&client, "web").await.unwrap();
    assert_eq!(changed.value()["spec"]["ports"][0]["port"], 81);
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_left_alone() {
    let (_cluster, client) = world().await;
    let maps = namespaced(&client);
    let map = |name: &str| object::<ConfigMap>(json!({"metadata": {"name": name}}));
    let owner = maps.create(&PostParams::default(), &map("owner")).await.unwrap();
    let other = maps.create(&PostParams::default(), &map("other")).await.unwrap();
    let made = owned_service(&other, 80).create(&client).await.unwrap();
    for answer in [
        owned_service(&owner, 81).create(&client).await,
        owned_service(&owner, 81).replace(&client, "web").await,
    ] {
        assert!(matches!(answer, Err(ApplyError::Foreign { .. })), "{answer:?}");
    }
    let now = namespaced::<Service>(&client).get("web").await.unwrap();
    assert_eq!(now.uid().as_deref(), Some(made.uid()));
    assert_eq!(now.spec.unwrap().ports.unwrap()[0].port, 80);
}

#[tokio::test]
async fn one_leads_and_hands_over() {
    let (_cluster, client) = world().await;
    let timing = Timing::of(Duration::from_secs(15));
    let leader = Arc::new(parking_lot::Mutex::new(Vec::<&str>::new()));
    let start = |name: &'static str| {
        let lease = Lease::new(&client, NAMESPACE, "work", name.to_owned(), timing);
        let (stop, leader) = (CancellationToken::new(), leader.clone());
        let (token, work) = (stop.clone(), move |stop: CancellationToken| {
            let leader = leader.clone();
            async move {
                leader.lock().push(name);
                stop.cancelled().await;
            }
        });
        (stop, tokio::spawn(async move { lease.run(token, work).await }))
    };
    let (stop_first, first) = start("first");
    until("somebody leads", || async { !leader.lock().is_empty() }).await;
    let (stop_second, second) = start("second");
    let leases = namespaced::<coordination::v1::Lease>(&client);
    let holder = async || leases.get("work").await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder().await.as_deref(), Some("first"));
    stop_first.cancel();
    first.await.unwrap();
    until("the other leads", || async { leader.lock().len() == 2 }).await;
    assert_eq!(holder().await.as_deref(), Some("second"));
    stop_second.cancel();
    second.await.unwrap();
    assert_eq!(*leader.lock(), ["first", "second"]);
    assert_eq!(holder().await, None, "given back");
}

/// Lets a service account of the namespace do what a role of the cluster allows.
async fn bind(client: &Client, account: &str, role: &str) {
    let account_object: ServiceAccount = object(json!({"metadata": {"name": account}}));
    namespaced(client).create(&PostParams::default(), &account_object).await.unwrap();
    let binding: RoleBinding = object(json!({
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    }));
    namespaced(client).create(&PostParams::default(), &binding).await.unwrap();
}

#[tokio::test]
async fn the_roles_of_the_cluster_decide() {
    let (_cluster, client) = world().await;
    bind(&client, "reader", "view").await;
    let identity = |name: &str| Identity {
        user: format!("system:serviceaccount:{NAMESPACE}:{name}"),
        groups: vec!["system:serviceaccounts".to_owned()],
    };
    let may = |verb, resource, namespace| Attributes {
        verb,
        group: "",
        version: "v1",
        resource,
        namespace: Some(namespace),
        name: None,
    };
    let allowed = async |name: &str, attributes: Attributes<'_>| {
        // What was answered before is remembered for a while, by each of them.
        let access = Access::Reviewed(Reviews::new(&client));
        match access.check(&identity(name), &attributes).await {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Forbidden);
                false
            }
        }
    };
    until("the role counts", || allowed("reader", may("list", "configmaps", NAMESPACE))).await;
    assert!(!allowed("reader", may("create", "configmaps", NAMESPACE)).await);
    assert!(!allowed("reader", may("get", "secrets", NAMESPACE)).await);
    assert!(!allowed("reader", may("list", "configmaps", "default")).await);
    assert!(!allowed("nobody", may("list", "configmaps", NAMESPACE)).await);
}

#[tokio::test]
async fn a_token_of_the_cluster_is_known() {
    let (_cluster, client) = world().await;
    bind(&client, "caller", "view").await;
    let accounts = namespaced::<ServiceAccount>(&client);
    let token = async |audiences: &[&str]| {
        let spec = TokenRequestSpec {
            audiences: audiences.iter().map(|&audience| audience.to_owned()).collect(),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let now = PostParams::default();
        let made = accounts.create_token_request("caller", &now, &request).await.unwrap();
        made.status.unwrap().token
    };
    let whose = async |reviews: &TokenReviews, token: &str| {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let known = reviews.authenticate(&mut parts).await;
        known.map(|identity| identity.user).map_err(|error| error.kind())
    };
    let caller = Ok(format!("system:serviceaccount:{NAMESPACE}:caller"));
    let of_the_api = TokenReviews::new(&client, Vec::new());
    let of_ours = TokenReviews::new(&client, vec!["ours".to_owned()]);
    assert_eq!(whose(&of_the_api, &token(&[]).await).await, caller);
    let ours = token(&["ours"]).await;
    assert_eq!(whose(&of_ours, &ours).await, caller);
    assert_eq!(whose(&of_the_api, &ours).await, Err(Kind::Unauthenticated));
    assert_eq!(whose(&of_ours, &token(&[]).await).await, Err(Kind::Unauthenticated));
    assert_eq!(whose(&of_ours, "no.such.token").await, Err(Kind::Unauthenticated));
}

/// A client that acts as a service account of the namespace.
fn acting_as(client: &Client, account: &str) -> Client {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let user = HeaderValue::from_str(&user).unwrap();
    let client = client.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        request.headers_mut().insert(HeaderName::from_static("impersonate-user"), user.clone());
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, NAMESPACE)
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (_cluster, client) = world().await;
    let name = "team-lister";
    let role: ClusterRole = object(json!({
        "metadata": {"name": name},
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        ],
    }));
    Api::all(client.clone()).create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": NAMESPACE}],
    }));
    Api::all(client.clone()).create(&PostParams::default(), &binding).await.unwrap();
    let rules = [
        Rule::new("", &["configmaps"], WATCH),
        Rule::new("", &["pods/log"], &["get"]),
        Rule::new("apps", &["statefulsets"], &["create"]).or_else("nothing runs"),
    ];
    let worker = acting_as(&client, "worker");
    let missing = async |namespace| {
        let missing = permissions::missing(&worker, &rules, namespace).await.unwrap();
        missing.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    until("the role counts", || async { missing(None).await.len() == 2 }).await;
    assert_eq!(missing(None).await, ["watch configmaps", "create statefulsets.apps"]);
    assert_eq!(
        missing(Some(NAMESPACE)).await,
        ["watch configmaps in namespace team", "create statefulsets.apps in namespace team"]
    );
    assert_eq!(permissions::missing(&client, &rules, None).await.unwrap(), []);
}
