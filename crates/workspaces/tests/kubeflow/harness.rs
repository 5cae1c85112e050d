//! A server on a cluster, with a switch for faults between the two.

use std::{
    convert::Infallible,
    fmt::Write,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use cluster::{Access, Cache, Key};
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use k8s_openapi::{api::storage::v1::StorageClass, serde::de::DeserializeOwned};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use regex::Regex;
use serde_json::{Value, json};
use testcluster::TestCluster;
use tower::{Service, ServiceExt};
use web::{Handler, Identity};
use workspaces::{
    Caches,
    dialect::kubeflow::{Options, State, before},
    model::{Workspace, WorkspaceKind},
};

/// Much longer than anything takes; the garbage collector of a real cluster is the slowest.
use crate::document;

pub(crate) const SOON: Duration = Duration::from_secs(90);

/// A running server; everything it keeps goes with it.
pub(crate) struct Server {
    router: Handler,
    pub(crate) client: Client,
    pub(crate) cluster: TestCluster,
    pub(crate) caches: Caches,
    pub(crate) faults: Faults,
}

impl Server {
    /// A server with a namespace, a storage class and a kind.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let server = Self::open(TestCluster::open().await, options, Faults::default()).await;
        server.furnish().await;
        server
    }

    /// A server for a test that no real cluster could pass, and why. `None` on a real cluster.
    pub(crate) async fn embedded_only(reason: &str) -> Option<Self> {
        let cluster = TestCluster::embedded_only(reason).await?;
        let server = Self::open(cluster, Options::default(), Faults::default()).await;
        server.furnish().await;
        Some(server)
    }

    /// A server whose cluster does not answer.
    pub(crate) async fn without_cluster() -> Self {
        let faults = Faults::default();
        faults.set(Method::GET, Fault::Timeout);
        Self::open(TestCluster::open().await, Options::default(), faults).await
    }

    async fn open(cluster: TestCluster, options: Options, faults: Faults) -> Self {
        let client = cluster.client();
        cluster::crds::install(&client, workspaces::crds()).await.unwrap();
        let faulty = Faulty { inner: client.clone(), faults: faults.clone() };
        let faulty = Client::new(faulty, "default");
        let caches = Caches::start(&faulty);
        let state = State {
            client: faulty,
            caches: caches.clone(),
            access: Access::Local,
            health: None,
            options,
        };
        let router = before(Router::new(), state);
        Self { router, client, cluster, caches, faults }
    }

    async fn furnish(&self) {
        let namespace = self.cluster.make_namespace("team-a").await;
        let class = json!({
            "metadata": {
                "name": "standard",
                "labels": {"notebooks.kubeflow.org/can-use": "true"},
                "annotations": {"notebooks.kubeflow.org/display-name": "Standard"},
            },
            "provisioner": "quartermaster.io/local",
        });
        let class = self.make::<StorageClass>(None, class).await;
        let kind = self.make::<WorkspaceKind>(None, kind("lab")).await;
        tokio::time::timeout(SOON, self.caches.ready()).await.unwrap();
        seen(&self.caches.namespaces, &namespace).await;
        seen(&self.caches.storage_classes, &class).await;
        seen(&self.caches.kinds, &kind).await;
    }

    /// Makes an object behind the server's back.
    pub(crate) async fn make<K>(&self, namespace: Option<&str>, object: Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + serde::Serialize,
        K: std::fmt::Debug,
    {
        let resource = kube::api::ApiResource::erase::<K>(&());
        let mut object = object;
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let api: Api<cluster::Object> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let made = api.create(&PostParams::default(), &object.into()).await.unwrap();
        serde_json::from_value(made.into_value()).unwrap()
    }

    /// Writes the status of a workspace, as the controller would, and waits until it is seen.
    pub(crate) async fn set_status(&self, name: &str, status: Value) {
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), "team-a");
        let mut whole = json!({
            "activity": {"lastActivity": 0, "lastUpdate": 0},
            "lastRunningTime": 0,
            "pauseTime": 0,
            "pendingRestart": false,
            "podTemplateOptions": {"imageConfig": {}, "podConfig": {}},
            "podTemplatePod": {"name": "", "nodeName": ""},
            "state": "Unknown",
            "stateMessage": "",
        });
        json_patch::merge(&mut whole, &status);
        let patch = Patch::Merge(json!({"status": whole}));
        let written = api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        seen(&self.caches.workspaces, &written).await;
    }

    /// Sends a request as the owner of the machine.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Identity::local());
        self.send_as_is(request).await
    }

    /// Sends a request without an identity, unless it has one already.
    pub(crate) async fn send_as_is(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response: Result<_, Infallible> = self.router.clone().oneshot(request).await;
        let (mut head, body) = response.unwrap().into_parts();
        // As the connection says it.
        if let Some(length) = body.size_hint().exact().filter(|_| may_have_length(head.status)) {
            head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
        }
        // A broken cluster may say what none would: that is passed on, and not in the document.
        if !self.faults.are_set() {
            document::check(&method, &path, head.status, &head.headers);
        }
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Sends a request as the owner of the machine; the answer is not read yet.
    pub(crate) async fn stream(&self, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(Identity::local());
        let response: Result<_, Infallible> = self.router.clone().oneshot(request).await;
        response.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request(Method::DELETE, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, "application/json", body.to_string()).await
    }

    pub(crate) async fn post_text(
        &self,
        path: &str,
        media_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let request = request(Method::POST, path).header(header::CONTENT_TYPE, media_type);
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Makes a workspace in `team-a`.
    pub(crate) async fn make_workspace(&self, name: &str) {
        let answer = self.post("/api/v1/workspaces/team-a", &workspace(name)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    }
}

/// Waits until a cache has an object.
pub(crate) async fn seen<K>(cache: &Cache<K>, object: &K)
where
    K: Resource + Send + Sync + 'static,
{
    let key = Key::of(object.meta());
    let version = object.resource_version().unwrap();
    assert!(cache.wait_for_version(&key, &version, SOON).await);
}

pub(crate) fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// The body that makes a workspace.
pub(crate) fn workspace(name: &str) -> Value {
    json!({"data": {
        "name": name,
        "kind": "lab",
        "podTemplate": {"options": {"imageConfig": "lab_1", "podConfig": "small"}},
    }})
}

fn may_have_length(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// A small kind that uses most of what there is.
pub(crate) fn kind(name: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "WorkspaceKind",
        "metadata": {"name": name},
        "spec": {
            "spawner": {
                "displayName": "Lab",
                "description": "A laboratory",
                "icon": {"url": "https://img.example.org/icon.svg"},
                "logo": {"configMap": {
                    "name": "logos",
                    "namespace": "platform",
                    "key": "lab.svg",
                    "mediaType": "image/svg+xml",
                }},
            },
            "podTemplate": {
                "podMetadata": {"labels": {"team": "a"}},
                "volumeMounts": {"home": "/home/user"},
                "ports": [{"id": "web", "protocol": "HTTP", "defaultDisplayName": "Notebook"}],
                "activityProbe": {"jupyter": {"lastActivity": true, "portId": "web"}},
                "extraEnv": [{"name": "BASE", "value": "{{ httpPathPrefix \"web\" }}"}],
                "options": {
                    "imageConfig": {
                        "spawner": {"default": "lab_1"},
                        "values": [
                            {
                                "id": "lab_0",
                                "spawner": {"displayName": "Lab 0", "hidden": true},
                                "redirect": {
                                    "to": "lab_1",
                                    "message": {"level": "Warning", "text": "Lab 0 is old"},
                                },
                                "spec": {
                                    "image": "lab:0",
                                    "ports": [{"id": "web", "port": 8888}],
                                },
                            },
                            {
                                "id": "lab_1",
                                "spawner": {
                                    "displayName": "Lab 1",
                                    "description": "Newest",
                                    "labels": [{"key": "python", "value": "3.13"}],
                                },
                                "spec": {
                                    "image": "lab:1",
                                    "ports": [
                                        {"id": "web", "port": 8888, "displayName": "JupyterLab"},
                                    ],
                                },
                            },
                        ],
                    },
                    "podConfig": {
                        "spawner": {"default": "small"},
                        "values": [{
                            "id": "small",
                            "spawner": {
                                "displayName": "Small",
                                "labels": [{"key": "cpu", "value": "100m"}],
                            },
                            "spec": {"resources": {"requests": {"cpu": "100m"}}},
                        }],
                    },
                },
            },
            "activityRules": [{
                "config": {"secondsSinceActive": 7200},
                "effect": {"pauseWorkspace": true},
            }],
        },
    })
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The whole answer, without what differs from run to run.
    pub(crate) fn show(&self) -> String {
        let mut text = format!("{}\n", self.status);
        for (name, value) in &self.headers {
            let _ = writeln!(text, "{name}: {}", value.to_str().unwrap());
        }
        text.push('\n');
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(json) => text.push_str(&serde_json::to_string_pretty(&json).unwrap()),
            Err(_) => text.push_str(&String::from_utf8_lossy(&self.body)),
        }
        let changing = [
            (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", "TIME"),
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
            (r"[0-9a-f]{64}", "REVISION"),
            (r#"W/"[0-9a-f]+-[0-9a-f]+s?""#, "TAG"),
            (r"content-length: \d+", "content-length: LENGTH"),
        ];
        changing.iter().fold(text, |text, (pattern, word)| {
            Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned()
        })
    }

    /// Status, message and the fields at fault, in one line each.
    pub(crate) fn error(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert_eq!(error["code"], self.status.as_str(), "{}", self.show());
        let mut text = format!("{} {}", self.status.as_u16(), error["message"].as_str().unwrap());
        let validation = error["cause"]["validation_errors"].as_array();
        for cause in validation.into_iter().flatten() {
            let part = |key: &str| cause[key].as_str().unwrap_or("-").to_owned();
            let (origin, reason) = (part("origin"), part("type"));
            let _ = write!(text, "\n{origin} {reason} {}: {}", part("field"), part("message"));
        }
        let conflicts = error["cause"]["conflict_cause"].as_array();
        for cause in conflicts.into_iter().flatten() {
            let _ = write!(text, "\n{} {}", cause["origin"], cause["message"]);
        }
        text
    }
}

/// What goes wrong with a request to the cluster.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It answers with this status.
    Status(u16, &'static str),
    /// It does not answer in time.
    Timeout,
    /// Its answer breaks off.
    Torn,
}

/// The fault that the next requests meet, and which requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Wanted>>>);

#[derive(Debug)]
struct Wanted {
    method: Method,
    fault: Fault,
    /// So many requests pass before.
    pass: u32,
    times: u32,
}

impl Faults {
    pub(crate) fn set(&self, method: Method, fault: Fault) {
        self.set_times(method, fault, u32::MAX);
    }

    /// Only so many requests fail.
    pub(crate) fn set_times(&self, method: Method, fault: Fault, times: u32) {
        *self.0.lock() = Some(Wanted { method, fault, pass: 0, times });
    }

    /// So many requests pass, those after them fail.
    pub(crate) fn set_after(&self, pass: u32, method: Method, fault: Fault) {
        *self.0.lock() = Some(Wanted { method, fault, pass, times: u32::MAX });
    }

    fn are_set(&self) -> bool {
        self.0.lock().is_some()
    }

    fn of(&self, method: &Method) -> Option<Fault> {
        let mut set = self.0.lock();
        let wanted = set.as_mut().filter(|wanted| wanted.method == *method && wanted.times > 0)?;
        if wanted.pass > 0 {
            wanted.pass -= 1;
            return None;
        }
        wanted.times -= 1;
        Some(wanted.fault.clone())
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Faulty {
    inner: Client,
    faults: Faults,
}

impl Service<Request<kube::client::Body>> for Faulty {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let fault = self.faults.of(request.method());
        let inner = self.inner.clone();
        Box::pin(async move {
            match fault {
                None => {
                    let response = inner.send(request).await.map_err(BoxError::from)?;
                    Ok(response.map(Body::new))
                }
                Some(Fault::Status(code, reason)) => {
                    let status = json!({
                        "kind": "Status",
                        "apiVersion": "v1",
                        "status": "Failure",
                        "code": code,
                        "reason": reason,
                        "message": "in the words of the cluster",
                    });
                    let response = Response::builder().status(code);
                    Ok(response.body(Body::from(status.to_string())).unwrap())
                }
                Some(Fault::Timeout) => {
                    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out").into())
                }
                Some(Fault::Torn) => {
                    let pieces = [
                        Ok(Bytes::from_static(br#"{"kind":"Work"#)),
                        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
                    ];
                    let body = Body::from_stream(futures::stream::iter(pieces));
                    Ok(Response::new(body))
                }
            }
        })
    }
}
