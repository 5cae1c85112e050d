//! A cluster with a node in a directory of its own.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded::node::{BackoffLimits, ImageEntry, ImageTable, Node, NodeOptions};
use embedded::{Cluster, Options};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) cluster: Cluster,
    pub(crate) node: Option<Node>,
    pub(crate) client: Client,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(Options::new(dir.path().join("store"))).await.unwrap();
        let client = cluster.client();
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": embedded::node::PROVISIONER, "reclaimPolicy": "Delete",
        });
        let mut place = Self { dir, cluster, node: None, client };
        let classes: Api<k8s_openapi::api::storage::v1::StorageClass> =
            Api::all(place.client.clone());
        let class = serde_json::from_value(class).unwrap();
        classes.create(&PostParams::default(), &class).await.unwrap();
        place.start_node(&["test/shell"]).await;
        let logs = embedded::node::Logs::new(&place.files());
        place.cluster.set_log_source(std::sync::Arc::new(logs));
        place
    }

    /// Starts a node (again) that knows these images, all of which are a shell.
    pub(crate) async fn start_node(&mut self, images: &[&str]) {
        self.node = None;
        let entries = images.iter().map(|image| ImageEntry {
            image: (*image).to_owned(),
            command: vec!["/bin/sh".into(), "-c".into()],
            args: Vec::new(),
            env: BTreeMap::new(),
        });
        let shim = PathBuf::from(env!("CARGO_BIN_EXE_pod-shim"));
        let mut options = NodeOptions::new(self.files(), ImageTable::new(entries).unwrap(), shim);
        options.backoff = BackoffLimits {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            forgiven_after: Duration::from_secs(600),
        };
        self.node = Some(Node::start(self.client.clone(), options).await.unwrap());
    }

    /// Where the node keeps its files.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("node")
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// A pod with one container that runs a shell script.
    pub(crate) async fn shell(&self, name: &str, policy: &str, script: &str) -> Pod {
        self.create(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [
                {"name": "main", "image": "test/shell", "args": [script]},
            ]},
        }))
        .await
    }

    /// Waits until the object is as wanted.
    pub(crate) async fn until<K>(&self, name: &str, what: &str, fits: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        let mut last = None;
        let wait = async {
            loop {
                last = self.api::<K>().get_opt(name).await.unwrap();
                if let Some(object) = last.as_ref().filter(|object| fits(object)) {
                    return object.clone();
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(object) => object,
            Err(_) => panic!("{name} never was {what}: {last:#?}"),
        }
    }

    pub(crate) async fn until_running(&self, name: &str) -> Pod {
        self.until(name, "ready", |pod: &Pod| is_ready(pod)).await
    }

    pub(crate) async fn until_gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        let api = self.api::<K>();
        let gone = async || api.get_opt(name).await.unwrap().is_none();
        eventually(&format!("{name} is gone"), gone).await;
    }

    /// The messages of the events about an object, with their reasons.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events = self.api::<Event>().list(&Default::default()).await.unwrap();
        let about =
            events.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        about
            .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect()
    }

    pub(crate) async fn until_event(&self, name: &str, reason: &str) -> String {
        let found = async || {
            let events = self.events(name).await;
            events.iter().any(|(known, _)| known == reason)
        };
        eventually(&format!("{name} has an event {reason}"), found).await;
        let events = self.events(name).await;
        events.into_iter().find(|(known, _)| known == reason).unwrap().1
    }

    /// The newest version of anything in the store.
    pub(crate) async fn version(&self) -> String {
        let list = self.api::<Pod>().list(&Default::default()).await.unwrap();
        list.metadata.resource_version.unwrap()
    }

    /// Waits until nothing has been written for a while.
    pub(crate) async fn until_settled(&self) -> String {
        let mut last = self.version().await;
        let mut quiet = 0;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while quiet < 25 {
            assert!(tokio::time::Instant::now() < deadline, "the cluster never settles");
            tokio::time::sleep(PAUSE).await;
            let now = self.version().await;
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        last
    }
}

impl Drop for Place {
    /// Pods outlive their node, but not their test.
    fn drop(&mut self) {
        self.node = None;
        let mark = format!("QUARTERMASTER_POD_DIR={}", self.files().display());
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            let marked = environment
                .split(|byte| *byte == 0)
                .any(|entry| entry.starts_with(mark.as_bytes()));
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|_| marked).and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|known| known.type_ == "Ready" && known.status == "True")
}

/// The directory of a pod.
pub(crate) fn directory(place: &Place, pod: &Pod) -> PathBuf {
    place.files().join("pods").join(pod.uid().unwrap())
}

pub(crate) async fn eventually(what: &str, fits: impl AsyncFn() -> bool) {
    let wait = async {
        while !fits().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

/// Waits for a file that has something in it.
pub(crate) async fn content(path: &Path) -> String {
    let there = async || std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
    eventually(&format!("{} is written", path.display()), there).await;
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

pub(crate) fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
