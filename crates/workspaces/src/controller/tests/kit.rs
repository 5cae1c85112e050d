//! A cluster, a controller's context on it, and a layer between the two that counts writes and
//! makes them fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cluster::{
    Cache, Key, Object,
    controller::{Outcome, Turn},
};
use futures::StreamExt;
use http::{Method, Request, Response};
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    client::Body,
    core::ApiResource,
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testcluster::TestCluster;

use crate::{
    Caches,
    controller::{
        Context, Options,
        activity::Watch,
        children::{Child, Children},
        has_role_bindings, kind,
        memory::Memory,
        routes,
        routes::Routes,
        workspace,
    },
    model::{Workspace, WorkspaceKind, fixtures, label},
};

pub(super) const NAMESPACE: &str = "team-a";
/// A real garbage collector looks for new kinds every 30 s; all else takes milliseconds.
pub(super) const DEADLINE: Duration = Duration::from_secs(90);

/// What an injected failure does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The call is not done.
    Before,
    /// The call is done and its answer is an error.
    After,
    /// Somebody else was faster.
    Conflict,
    /// The API has too much to do.
    Busy,
    /// The connection breaks when the call is done.
    Cut,
}

/// What happens to watches.
#[derive(Default)]
struct Watches {
    /// Changes when all that are open end.
    cut: tokio::sync::watch::Sender<usize>,
    /// So many that are opened find that their version is too old.
    expired: AtomicUsize,
    /// Whether those of workspaces are silent for now.
    held: tokio::sync::watch::Sender<bool>,
}

/// Counts the writes of the controller, and lets one of its calls fail. Watches are not counted.
#[derive(Clone, Default)]
pub(super) struct Wire {
    writes: Arc<Mutex<Vec<String>>>,
    plan: Arc<Mutex<Option<(usize, Fault)>>>,
    calls: Arc<AtomicUsize>,
    watches: Arc<Watches>,
    hit: Arc<AtomicBool>,
}

impl Wire {
    pub(super) fn client(&self, api: &Client) -> Client {
        let (wire, api) = (self.clone(), api.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (wire, api) = (wire.clone(), api.clone());
            async move {
                if is_watch(&request) {
                    return wire.watch(&api, request).await;
                }
                let fault = wire.note(&request);
                match fault {
                    Some(Fault::Before) => return Ok(failed(500, "InternalError")),
                    Some(Fault::Conflict) => return Ok(failed(409, "Conflict")),
                    Some(Fault::Busy) => return Ok(failed(429, "TooManyRequests")),
                    Some(Fault::After | Fault::Cut) | None => {}
                }
                let answer = api.send(request).await?;
                match fault {
                    Some(Fault::After) => Ok(failed(500, "InternalError")),
                    Some(Fault::Cut) => Err("the connection broke".into()),
                    _ => Ok::<_, tower::BoxError>(answer.map(axum::body::Body::new)),
                }
            }
        });
        Client::new(service, "default")
    }

    /// Passes a watch on, until it is cut.
    async fn watch(
        &self,
        api: &Client,
        request: Request<Body>,
    ) -> Result<Response<axum::body::Body>, tower::BoxError> {
        let expired = &self.watches.expired;
        let less = |count: usize| count.checked_sub(1);
        if let Ok(left) = expired.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            // An API server says it in one of two ways.
            if left % 2 == 0 {
                return Ok(failed(410, "Expired"));
            }
            let status =
                json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "x"});
            let event = json!({"type": "ERROR", "object": status}).to_string() + "\n";
            return Ok(Response::new(axum::body::Body::from(event)));
        }
        let of_workspaces = request.uri().path().ends_with("/workspaces");
        let held = self.watches.held.subscribe();
        let mut cut = self.watches.cut.subscribe();
        let ended = async move { drop(cut.changed().await) };
        let answer = api.send(request).await?;
        Ok(answer.map(|body| {
            let bytes = http_body_util::BodyExt::into_data_stream(body).then(move |bytes| {
                let mut held = held.clone();
                async move {
                    // The sender lives as long as the watch.
                    let _ = held.wait_for(|held| !(*held && of_workspaces)).await;
                    bytes
                }
            });
            axum::body::Body::from_stream(bytes.take_until(Box::pin(ended)))
        }))
    }

    /// Ends all watches that are open; so many that follow find that their version is too old.
    pub(super) fn cut_watches(&self, expired: usize) {
        self.watches.expired.store(expired, Ordering::SeqCst);
        self.watches.cut.send_modify(|count| *count += 1);
    }

    /// Keeps news of workspaces back, or lets them go.
    pub(super) fn hold_workspaces(&self, held: bool) {
        self.watches.held.send_replace(held);
    }

    fn note(&self, request: &Request<Body>) -> Option<Fault> {
        if request.method() != Method::GET {
            let path = request.uri().path().trim_start_matches("/api");
            self.writes.lock().push(format!("{} {path}", request.method()));
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = self.plan.lock().take_if(|(nth, _)| *nth == number).map(|(_, fault)| fault);
        if fault.is_some() {
            self.hit.store(true, Ordering::SeqCst);
        }
        fault
    }

    /// Lets the n-th call from now fail.
    pub(super) fn fail(&self, nth: usize, fault: Fault) {
        self.calls.store(0, Ordering::SeqCst);
        self.hit.store(false, Ordering::SeqCst);
        *self.plan.lock() = Some((nth, fault));
    }

    /// Whether a call was made to fail since.
    pub(super) fn has_failed(&self) -> bool {
        self.hit.load(Ordering::SeqCst)
    }

    /// The writes since the last call, in the form `POST /v1/…`.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.writes.lock())
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("watch="))
}

fn failed(code: u16, reason: &str) -> Response<axum::body::Body> {
    let status = json!({"kind": "Status", "code": code, "reason": reason, "message": "x"});
    let body = axum::body::Body::from(status.to_string());
    Response::builder().status(code).body(body).unwrap()
}

pub(super) struct World {
    /// The tests' own way to the API, which nobody counts.
    pub(super) client: Client,
    pub(super) wire: Wire,
    pub(super) context: Context,
    _cluster: TestCluster,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(Options { now: || 1_000, ..Options::default() }).await
    }

    /// A cluster with the namespace and the kind of the fixtures.
    pub(super) async fn with(options: Options) -> Self {
        Self::with_kinds(options, &[]).await
    }

    /// A cluster that serves some more kinds, and no other routes.
    pub(super) async fn with_kinds(options: Options, kinds: &[ApiResource]) -> Self {
        Self::on(TestCluster::open().await, options, kinds).await
    }

    /// A cluster to see a failure on. What a server does when its answer is lost is seen on both
    /// sorts; the other failures are none of its business.
    pub(super) async fn failing(
        fault: Fault,
        options: Options,
        kinds: &[ApiResource],
    ) -> Option<Self> {
        let cluster = match fault {
            Fault::After => TestCluster::open().await,
            _ => {
                let reason =
                    "the call that fails does not reach the server, or it is all one to it";
                TestCluster::embedded_only(reason).await?
            }
        };
        Some(Self::on(cluster, options, kinds).await)
    }

    async fn on(cluster: TestCluster, options: Options, kinds: &[ApiResource]) -> Self {
        let client = cluster.client();
        cluster::crds::install(&client, crate::crds()).await.unwrap();
        cluster.make_namespace(NAMESPACE).await;
        Api::all(client.clone()).create(&PostParams::default(), &fixtures::kind()).await.unwrap();
        for kind in [routes::virtual_services(), routes::http_routes()] {
            define(&client, &kind, kinds.contains(&kind)).await;
        }
        let wire = Wire::default();
        let recorded = wire.client(&client);
        let caches = Caches::start(&recorded);
        let children =
            Children::start(&recorded, has_role_bindings(&recorded).await, options.connect_secret);
        tokio::join!(caches.ready(), children.ready());
        let routes = Routes::start(&recorded, &options).await;
        let context = Context {
            client: recorded,
            caches,
            children,
            routes,
            activity: Watch::new(&options.activity),
            options,
            kinds: Mutex::default(),
            memory: Memory::default(),
            workspace_queue: cluster::Queue::new(),
            kind_queue: cluster::Queue::new(),
        };
        Self { client, wire, context, _cluster: cluster }
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates an object and waits until the controller's caches are as new.
    pub(super) async fn create(&self, mut workspace: Workspace) {
        workspace.metadata.namespace = Some(NAMESPACE.to_owned());
        let made = self.api().create(&PostParams::default(), &workspace).await.unwrap();
        self.seen(&made).await;
    }

    /// Creates many at a time.
    pub(super) async fn create_all(&self, workspaces: impl Iterator<Item = Workspace>) {
        let api = self.api::<Workspace>();
        let created = futures::stream::iter(workspaces).map(|workspace| {
            let api = api.clone();
            async move { drop(api.create(&PostParams::default(), &workspace).await.unwrap()) }
        });
        created.buffer_unordered(32).collect::<()>().await;
    }

    pub(super) async fn patch(&self, name: &str, patch: Value) {
        let api = self.api::<Workspace>();
        let made = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        self.seen(&made).await;
    }

    pub(super) async fn patch_status(&self, name: &str, patch: Value) {
        let api = self.api::<Workspace>();
        let patch = Patch::Merge(patch);
        let made = api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        self.seen(&made).await;
    }

    async fn seen(&self, made: &Workspace) {
        let version = made.resource_version().unwrap();
        let cache = &self.context.caches.workspaces;
        assert!(cache.wait_for_version(&Key::of(&made.metadata), &version, DEADLINE).await);
    }

    /// Waits until the controller knows this version of an object.
    pub(super) async fn sees(&self, cache: &Cache<Child>, object: &impl ResourceExt) {
        let key = Key::new(object.namespace().as_deref(), &object.name_any());
        let version = object.resource_version().unwrap();
        assert!(cache.wait_for_version(&key, &version, DEADLINE).await);
    }

    /// Changes the kind of the fixtures.
    pub(super) async fn patch_kind(&self, patch: Value) {
        let api = Api::<WorkspaceKind>::all(self.client.clone());
        let patch = Patch::Merge(patch);
        let kind = api.patch("notebook", &PatchParams::default(), &patch).await.unwrap();
        let version = kind.resource_version().unwrap();
        let cache = &self.context.caches.kinds;
        assert!(cache.wait_for_version(&Key::of(&kind.metadata), &version, DEADLINE).await);
    }

    pub(super) async fn workspace(&self, name: &str) -> Workspace {
        self.api().get(name).await.unwrap()
    }

    /// A pass that looks at everything, whatever it knows.
    pub(super) async fn reconcile(&self, name: &str) -> Outcome {
        self.reconcile_in(Turn::Later, name).await
    }

    /// The pass of a turn, when the writes of the last one are seen.
    pub(super) async fn reconcile_in(&self, turn: Turn, name: &str) -> Outcome {
        self.sees_writes(name).await;
        self.pass(turn, name).await
    }

    /// Waits until the caches show what the last pass wrote.
    pub(super) async fn sees_writes(&self, name: &str) {
        let (context, key) = (&self.context, Key::new(Some(NAMESPACE), name));
        until("the last writes are seen", || async {
            context.memory.has_seen(&key, &context.caches.workspaces)
        })
        .await;
    }

    /// The pass of a turn, whether they are or not.
    pub(super) async fn pass(&self, turn: Turn, name: &str) -> Outcome {
        workspace::reconcile(&self.context, &Key::new(Some(NAMESPACE), name), turn).await
    }

    /// State and message.
    pub(super) async fn told(&self, name: &str) -> (String, String) {
        let status = self.workspace(name).await.status.unwrap_or_default();
        (status.state.to_string(), status.state_message)
    }

    pub(super) async fn count_workspaces(&self) -> usize {
        self.all::<Workspace>().await.len()
    }

    /// Whether all workspaces are in that state.
    pub(super) async fn all_in_state(&self, state: &str) -> bool {
        self.all::<Workspace>().await.iter().all(|ws| ws.text("/status/state") == state)
    }

    pub(super) async fn reconcile_kind(&self) -> Outcome {
        kind::reconcile(&self.context, &Key::new(None, "notebook")).await
    }

    pub(super) async fn kind(&self) -> WorkspaceKind {
        Api::all(self.client.clone()).get("notebook").await.unwrap()
    }

    /// All objects of a kind in the namespace, as JSON, but for those that a cluster makes itself.
    pub(super) async fn all<K>(&self) -> Vec<Object>
    where
        K: Resource<DynamicType = ()>,
    {
        self.all_of(&ApiResource::erase::<K>(&())).await
    }

    /// The same, for kinds without a type.
    pub(super) async fn all_of(&self, resource: &ApiResource) -> Vec<Object> {
        let api = cluster::apply::api(&self.client, resource, NAMESPACE);
        let mut all = api.list(&ListParams::default()).await.unwrap().items;
        all.retain(|object| resource.kind != "ServiceAccount" || object.name_any() != "default");
        all
    }

    /// The one object of a kind.
    pub(super) async fn only<K>(&self) -> Object
    where
        K: Resource<DynamicType = ()>,
    {
        let mut all = self.all::<K>().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.pop().unwrap()
    }

    pub(super) async fn post<K>(&self, value: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(value).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    pub(super) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Deletes all objects of a kind that belong to workspaces, without grace.
    pub(super) async fn delete_all<K>(&self)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let of_workspaces = ListParams::default().labels(label::WORKSPACE_NAME);
        let at_once = DeleteParams::default().grace_period(0);
        self.api::<K>().delete_collection(&at_once, &of_workspaces).await.unwrap();
    }

    /// Does what the controller of StatefulSets would: says that it has seen the newest version.
    pub(super) async fn observe_stateful_set(&self) -> String {
        let set = self.only::<StatefulSet>().await;
        let name = set.text("/metadata/name").to_owned();
        let generation = set.value().pointer("/metadata/generation").unwrap().as_i64().unwrap();
        let patch = json!({"status": {"observedGeneration": generation, "replicas": 1}});
        let api = self.api::<StatefulSet>();
        let set =
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let version = set.resource_version().unwrap();
        let key = Key::of(&set.metadata);
        let sets = &self.context.children.stateful_sets;
        assert!(sets.wait_for_version(&key, &version, DEADLINE).await);
        name
    }

    /// Makes the pod of a StatefulSet with that status, or changes it.
    pub(super) async fn pod(&self, stateful_set: &str, status: Value) -> Pod {
        let set: StatefulSet = self.api().get(stateful_set).await.unwrap();
        let name = format!("{stateful_set}-0");
        let api = self.api::<Pod>();
        if api.get_opt(&name).await.unwrap().is_none() {
            let template = &set.spec.as_ref().unwrap().template;
            let labels = &template.metadata;
            let image = &template.spec.as_ref().unwrap().containers[0].image;
            self.post::<Pod>(json!({
                "metadata": {
                    "name": name,
                    "labels": labels.as_ref().unwrap().labels,
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": stateful_set,
                        "uid": set.uid(), "controller": true,
                    }],
                },
                "spec": {"nodeName": "n", "containers": [{"name": "main", "image": image}]},
            }))
            .await;
        }
        let patch = Patch::Merge(json!({"status": status}));
        let pod = api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        let version = pod.resource_version().unwrap();
        let key = Key::of(&pod.metadata);
        assert!(self.context.caches.pods.wait_for_version(&key, &version, DEADLINE).await);
        pod
    }
}

/// Makes the API serve a kind, with objects of any form, or not serve it.
pub(super) async fn define(client: &Client, kind: &ApiResource, served: bool) {
    let name = format!("{}.{}", kind.plural, kind.group);
    if served {
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": name,
                // Where the group belongs to Kubernetes.
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
            },
            "spec": {
                "group": kind.group, "scope": "Namespaced",
                "names": {
                    "kind": kind.kind, "plural": kind.plural,
                    "singular": kind.kind.to_lowercase(),
                },
                "versions": [{
                    "name": kind.version, "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": any},
                }],
            },
        });
        cluster::crds::install(client, vec![definition]).await.unwrap();
        let api = cluster::apply::api(client, kind, NAMESPACE);
        until("the kind can be listed", || async {
            api.list(&ListParams::default()).await.is_ok()
        })
        .await;
        return;
    }
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    until("the kind is gone", || async {
        // Gone already is as good.
        let _ = definitions.delete(&name, &DeleteParams::default()).await;
        definitions.get_opt(&name).await.unwrap().is_none()
    })
    .await;
}

/// A workspace of the fixtures, paused.
pub(super) fn paused(name: &str) -> Workspace {
    let mut workspace = fixtures::workspace(name);
    workspace.spec.paused = true;
    workspace
}

/// Polls until the condition holds.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "not in time: {what}");
}
