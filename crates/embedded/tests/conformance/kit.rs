//! The way to the server, and what most cases need.

mod record;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{AsyncBufReadExt, StreamExt, stream::BoxStream};
use http::Request;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use record::Record;

/// How long a case waits for something that must happen. A real garbage collector looks for new
/// kinds every 30 s.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

static NAMES: AtomicUsize = AtomicUsize::new(0);

/// Names the kubeconfig of a real cluster to ask instead of the embedded one.
const KUBECONFIG: &str = "QUARTERMASTER_CONFORMANCE_KUBECONFIG";

/// A client of the server under test, and what must live as long as it.
async fn client() -> (Client, Option<Arc<dyn Send + Sync>>) {
    if let Some(file) = std::env::var_os(KUBECONFIG) {
        let kubeconfig = kube::config::Kubeconfig::read_from(file).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
        let mut config = config.unwrap();
        // A case wants to see what the server says at first.
        config.default_retry = false;
        return (Client::try_from(config).unwrap(), None);
    }
    let directory = tempfile::tempdir().unwrap();
    let cluster =
        embedded::Cluster::open(embedded::Options::new(directory.path().join("data"))).await;
    let cluster = cluster.unwrap();
    (cluster.client(), Some(Arc::new((directory, cluster))))
}

/// A server and a namespace in it.
pub(crate) struct Kit {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    record: Arc<Record>,
    _server: Option<Arc<dyn Send + Sync>>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.text);
        self.json()
    }

    /// Code, reason and message of a failure.
    pub(crate) fn failure(&self) -> (u16, String, String) {
        let status = self.json();
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["apiVersion"], "v1");
        assert_eq!(status["metadata"], json!({}));
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["code"], self.code);
        (self.code, text(&status["reason"]), text(&status["message"]))
    }

    pub(crate) fn details(&self) -> Value {
        self.json()["details"].clone()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A name that no other case uses.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
}

impl Kit {
    pub(crate) async fn new() -> Self {
        let (client, server) = client().await;
        let namespace = unique("conformance");
        let kit = Self { client, namespace, record: Arc::new(Record::new()), _server: server };
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kit.namespace}});
        kit.post("/api/v1/namespaces", namespace).await.ok();
        if std::env::var_os(KUBECONFIG).is_some() {
            // A real cluster refuses pods before there is one.
            let path = kit.path("serviceaccounts/default");
            kit.seen(&path, |answer| answer.code == 200).await;
        }
        kit
    }

    /// A kit for a case that no other server could pass, and why. `None` on a real cluster.
    pub(crate) async fn embedded_only(reason: &str) -> Option<Self> {
        if std::env::var_os(KUBECONFIG).is_some() {
            Record::new().left_out(reason);
            return None;
        }
        Some(Self::new().await)
    }

    /// Does something whose answers are left to chance: they are not compared with another server's.
    pub(crate) async fn not_compared<T>(&self, reason: &str, work: impl Future<Output = T>) -> T {
        self.record.pause(reason);
        let result = work.await;
        self.record.resume();
        result
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        self.answer(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn send_accepting(&self, method: &str, path: &str, accept: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("accept", accept);
        self.answer(request.body(vec![]).unwrap()).await
    }

    pub(crate) async fn answer(&self, request: Request<Vec<u8>>) -> Answer {
        let place = self.record.begin();
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        let sent = if place.is_some() { request.body().clone() } else { vec![] };
        let answer = self.unrecorded(request).await;
        self.record.exchange(place, &method, &path, &sent, &answer);
        answer
    }

    pub(crate) async fn unrecorded(&self, request: Request<Vec<u8>>) -> Answer {
        let response = self.client.send(request.map(Body::from)).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, "application/json", body.to_string()).await
    }

    pub(crate) async fn merge(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", body.to_string()).await
    }

    pub(crate) async fn json_patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, "application/json-patch+json", body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, options: Value) -> Answer {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.send("DELETE", path, "application/json", body).await
    }

    /// The path of a core resource in the namespace of this case.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    pub(crate) fn group_path(&self, group_version: &str, rest: &str) -> String {
        format!("/apis/{group_version}/namespaces/{}/{rest}", self.namespace)
    }

    /// Makes a ConfigMap.
    pub(crate) async fn config_map(&self, name: &str, extra: Value) -> Value {
        let mut object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        });
        json_patch::merge(&mut object, &extra);
        self.post(&self.path("configmaps"), object).await.ok()
    }

    /// Opens a watch. The path has the query, `watch=true` is added.
    pub(crate) async fn watch(&self, path: &str) -> Watching {
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = Request::get(format!("{path}{joint}watch=true"));
        let lines = self.client.request_stream(request.body(vec![]).unwrap()).await.unwrap();
        let lines = Box::pin(lines.lines().map(|line| line.unwrap()));
        Watching { lines, path: path.to_owned(), record: self.record.clone() }
    }

    /// Waits until a path answers with something that fits.
    pub(crate) async fn until(&self, path: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
        let answer = self.seen(path, fits).await;
        self.record.exchange(self.record.begin(), "GET", path, &[], &answer);
        answer
    }

    /// The same, left out of the record.
    async fn seen(&self, path: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
        within(path, async || {
            let request = Request::get(path).body(vec![]).unwrap();
            let answer = self.unrecorded(request).await;
            if fits(&answer) { Ok(answer) } else { Err(answer.text) }
        })
        .await
    }

    /// Posts something that stores nothing until the answer fits.
    pub(crate) async fn until_posted(
        &self,
        path: &str,
        body: &Value,
        fits: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let sent = body.to_string().into_bytes();
        let answer = within(path, async || {
            let request = Request::post(path).header("content-type", "application/json");
            let answer = self.unrecorded(request.body(sent.clone()).unwrap()).await;
            if fits(&answer) { Ok(answer) } else { Err(answer.text) }
        })
        .await;
        self.record.exchange(self.record.begin(), "POST", path, &sent, &answer);
        answer
    }

    pub(crate) async fn until_gone(&self, path: &str) {
        self.until(path, |answer| answer.code == 404).await;
    }
}

/// Tries until it works, at most for [`DEADLINE`], and tells what it met last.
pub(crate) async fn within<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let mut last = String::new();
    let wait = async {
        loop {
            match attempt().await {
                Ok(found) => return found,
                Err(met) => last = met,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let result = tokio::time::timeout(DEADLINE, wait).await;
    result.unwrap_or_else(|_| panic!("{what} stays at {last}"))
}

/// An open watch.
pub(crate) struct Watching {
    lines: BoxStream<'static, String>,
    path: String,
    record: Arc<Record>,
}

impl Watching {
    /// The next event; `None` at the end of the watch.
    pub(crate) async fn try_next(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(DEADLINE, self.lines.next()).await;
        let line = next.unwrap_or_else(|_| panic!("no event came"));
        let event: Option<Value> = line.map(|line| serde_json::from_str(&line).unwrap());
        self.record.event(&self.path, event.as_ref());
        event
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.unwrap_or_else(|| panic!("the watch ended"))
    }

    /// Type and name of the next event.
    pub(crate) async fn next_name(&mut self) -> (String, String) {
        let event = self.next().await;
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// A definition of a namespaced kind `Widget` in a group of its own.
pub(crate) struct Widgets {
    pub(crate) group: String,
    pub(crate) definition: String,
}

impl Widgets {
    pub(crate) fn new() -> Self {
        let group = format!("{}.example.com", unique("g"));
        Self { definition: format!("widgets.{group}"), group }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.definition},
            "spec": {
                "group": self.group,
                "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
                "scope": "Namespaced",
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "required": ["size"], "properties": {
                            "size": {"type": "integer", "minimum": 1},
                            "colour": {"type": "string", "default": "blue", "enum": ["blue", "red"]},
                            "names": {"type": "array", "items": {"type": "string"}},
                        }},
                        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                    }}},
                }],
            },
        })
    }

    pub(crate) async fn install(kit: &Kit) -> Self {
        let widgets = Self::new();
        kit.post(DEFINITIONS, widgets.json()).await.ok();
        widgets.established(kit).await;
        widgets
    }

    pub(crate) async fn established(&self, kit: &Kit) {
        kit.until(&format!("{DEFINITIONS}/{}", self.definition), |answer| {
            let conditions = answer.json()["status"]["conditions"].clone();
            conditions.as_array().is_some_and(|all| {
                all.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
            })
        })
        .await;
        kit.until(&self.path(kit, ""), |answer| answer.code == 200).await;
    }

    pub(crate) fn path(&self, kit: &Kit, name: &str) -> String {
        let path = kit.group_path(&format!("{}/v1", self.group), "widgets");
        if name.is_empty() { path } else { format!("{path}/{name}") }
    }

    pub(crate) fn object(&self, name: &str, spec: Value) -> Value {
        json!({
            "apiVersion": format!("{}/v1", self.group), "kind": "Widget",
            "metadata": {"name": name}, "spec": spec,
        })
    }
}

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
